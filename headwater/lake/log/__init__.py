"""The write-ahead log of a collection, and the rows in it that no segment holds yet.

Promises: what is acknowledged is in the log, durable, at one place in one order; a reader that has read the log up to
some entry sees exactly the entries up to it; a log is truncated by the commit that seals its rows.
"""

from headwater.lake.log.collection_log import CollectionLog, Receipt, ShardClosed
from headwater.lake.log.entry import LOGICAL_BITS
from headwater.lake.log.growing import GoneRows, Pinned, SegmentKeys
from headwater.lake.log.growing_segment import (
    GrowingReader,
    GrowingSegment,
    column_in,
    open_rows,
    places_in,
    vectors_in,
)
from headwater.lake.log.large import write_large
from headwater.lake.log.live import Live
from headwater.lake.log.room import Room
from headwater.lake.log.seal import seal, write_delete_vector
from headwater.lake.log.splitting import split_shard
from headwater.lake.log.writes import Deletion, NewRows, NewSegments, size_bytes

__all__ = [
    "LOGICAL_BITS",
    "CollectionLog",
    "Deletion",
    "GoneRows",
    "GrowingReader",
    "GrowingSegment",
    "Live",
    "NewRows",
    "NewSegments",
    "Pinned",
    "Receipt",
    "ShardClosed",
    "Room",
    "SegmentKeys",
    "column_in",
    "open_rows",
    "seal",
    "size_bytes",
    "split_shard",
    "places_in",
    "vectors_in",
    "write_delete_vector",
    "write_large",
]
