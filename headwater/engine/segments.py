"""The segments of a collection, as one who looks after a server sees them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from headwater.engine.core import CollectionCore
from headwater.lake import Segment, lineage
from headwater.lake.log import GrowingSegment

__all__ = [
    "SegmentInfo",
    "filled_segments",
    "flushed_until",
    "list_segments",
    "list_segments_ever",
    "segment_number",
]


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
        dropped: whether it is in older versions only.
        sources: numbers of the segments that a compaction made it from, where that was asked for.
    """

    number: int
    id: str
    num_rows: int
    num_deleted: int
    partition: int
    growing: bool
    size_bytes: int
    indexes: tuple[str, ...]
    dropped: bool = False
    sources: tuple[int, ...] = ()


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


def list_segments_ever(collection: CollectionCore) -> list[SegmentInfo]:
    """The same, with what the kept versions tell: segments that are gone, and what each was made from."""
    told = lineage(collection._lake)
    gone = [replace(_info(one, []), dropped=True) for one in told.gone]
    known = {one.id for one in gone}
    found = [*gone, *(one for one in list_segments(collection) if one.id not in known)]
    return [
        replace(one, sources=tuple(segment_number(source) for source in told.sources.get(one.id, ())))
        for one in found
    ]


def filled_segments(collection: CollectionCore) -> tuple[int, int]:
    """How many segments have every field that functions compute, and how many there are."""
    live = collection._live()
    schema = live.manifest.schema
    computed = [schema.field(name).id for name, function in schema.outputs.items() if function.stored]
    total = len({segment.id for segment in (*live.manifest.segments, *live.pinned.segments)})
    lacking = sum(not all(map(segment.has_field, computed)) for segment in live.manifest.segments)
    return total - lacking, total


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
