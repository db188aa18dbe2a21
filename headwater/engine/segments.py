"""The segments of a collection, as one who looks after a server sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from headwater.engine.core import CollectionCore
from headwater.lake import Segment
from headwater.lake.log import GrowingSegment

__all__ = ["SegmentInfo", "flushed_until", "list_segments", "segment_number"]


@dataclass(frozen=True)
class SegmentInfo:
    """What is known of a segment.

    Attributes:
        number: 63 bits that follow from its id.
        id: its id in the lake.
        num_rows: rows, deleted ones included.
        num_deleted: those that are gone.
        partition: id of its partition.
        growing: whether its rows are in the log only.
        size_bytes: of its files.
        indexes: names of the indexes that have an artifact over it.
    """

    number: int
    id: str
    num_rows: int
    num_deleted: int
    partition: int
    growing: bool
    size_bytes: int
    indexes: tuple[str, ...]


def segment_number(segment: str) -> int:
    """A segment's id as a positive number below 2^63."""
    return int.from_bytes(hashlib.blake2b(segment.encode(), digest_size=8).digest()) >> 1


def list_segments(collection: CollectionCore) -> list[SegmentInfo]:
    """The segments of a collection now; rows that are in the log only are in growing ones."""
    live = collection._live()
    built: dict[str, list[str]] = {}
    for build in live.manifest.builds:
        built.setdefault(build.segment, []).append(build.index)
    known = {segment.id for segment in live.manifest.segments}
    added = [segment for segment in live.pinned.segments if segment.id not in known]
    return [_info(one, built.get(one.id, [])) for one in (*live.manifest.segments, *added)]


def _info(segment: Segment, indexes: list[str]) -> SegmentInfo:
    growing = isinstance(segment, GrowingSegment)
    files = [group.file.size_bytes for group in segment.column_groups if group.file is not None]
    return SegmentInfo(
        number=segment_number(segment.id),
        id=segment.id,
        num_rows=segment.num_rows,
        num_deleted=segment.num_deleted,
        partition=segment.partition,
        growing=growing,
        size_bytes=segment.rows.nbytes if isinstance(segment, GrowingSegment) else sum(files),
        indexes=tuple(sorted(indexes)),
    )


def flushed_until(collection: CollectionCore, until_ms: int) -> bool:
    """Whether everything that was written before a moment is in segments."""
    collection._log.pin()
    oldest_ms = collection._log.oldest_ms
    return oldest_ms is None or oldest_ms >= until_ms
