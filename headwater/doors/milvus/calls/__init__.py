"""The calls of the protocol, by topic; importing this registers them all."""

from headwater.doors.milvus.calls import (
    collections,
    connection,
    indexes,
    loading,
    partitions,
    rows,
    snapshots,
)

__all__ = [
    "collections",
    "connection",
    "indexes",
    "loading",
    "partitions",
    "rows",
    "snapshots",
]
