"""The calls of the protocol, by topic; importing this registers them all."""

from headwater.doors.milvus.calls import (
    analysis,
    collections,
    connection,
    indexes,
    loading,
    partitions,
    rows,
    snapshots,
)

__all__ = [
    "analysis",
    "collections",
    "connection",
    "indexes",
    "loading",
    "partitions",
    "rows",
    "snapshots",
]
