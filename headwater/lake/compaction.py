"""What to compact: a version in, tasks out. Pure; `jobs.compact` does it.

Segments of one partition and about one size are merged when there are enough of them, so a row is rewritten a
logarithmic number of times on its way to a full segment (size-tiered, as in Cassandra and Lucene). A segment that has
lost too many rows is rewritten by itself, or with what it is merged with.

While rows are loaded, large segments wait until they make a full one, so that a load is written twice and not three
times, and the disk is first of all its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.lake.manifest import Manifest, Segment

__all__ = ["CompactionTask", "plan_compaction", "plan_optimization"]

_TIER = 4.0

_LARGE_BYTES = 8 << 20
"""Of segments that wait for others while rows are loaded; to merge smaller ones costs nobody much."""

_MOST_WAITING = 4
"""Times as many segments as are merged else: more of them do not wait, because a search looks into each."""


@dataclass(frozen=True)
class CompactionTask:
    """Segments to rewrite together, without their deleted rows.

    Attributes:
        segments: ids, of one partition, in row order.
        why: for people.
    """

    segments: tuple[str, ...]
    why: str


def _live(segment: Segment) -> int:
    return segment.num_rows - segment.num_deleted


def _by_partition(manifest: Manifest) -> list[list[Segment]]:
    grouped: dict[int, list[Segment]] = {}
    for segment in manifest.segments:
        grouped.setdefault(segment.partition, []).append(segment)
    return list(grouped.values())


def plan_compaction(
    manifest: Manifest,
    *,
    target_rows: int,
    target_bytes: int,
    merge_segments: int,
    deleted_share: float,
    small_rows: int = 0,
    loading: bool = False,
) -> list[CompactionTask]:
    """What is worth compacting now.

    Args:
        manifest: the version.
        target_rows: rows of a full segment; larger ones are not merged.
        target_bytes: bytes of a full segment, whichever is reached first.
        merge_segments: so many segments of one size are merged.
        deleted_share: a segment that has lost more of its rows is rewritten.
        small_rows: segments of fewer rows count as of one size: they have no index, and each costs a search the same.
        loading: whether more segments are just coming.
    """
    tasks: list[CompactionTask] = []
    for segments in _by_partition(manifest):
        tiers: dict[int, list[Segment]] = {}
        for segment in segments:
            if _live(segment) < target_rows and _live_bytes(segment) < target_bytes:
                tiers.setdefault(int(math.log(max(_live(segment), small_rows, 1), _TIER)), []).append(segment)
        merged: set[str] = set()
        for tier in sorted(tiers):
            if len(tiers[tier]) >= merge_segments:
                runs = _filled(tiers[tier], target_rows, target_bytes)
                for run in runs:
                    more = loading and run is runs[-1] and len(run) < _MOST_WAITING * merge_segments
                    if len(run) == 1 or (more and sum(map(_live_bytes, run)) > _LARGE_BYTES * len(run)):
                        continue
                    merged.update(segment.id for segment in run)
                    tasks.append(_task(run, f"{len(run)} segments of about {_live(run[0]):,} rows"))
        for segment in segments:
            if segment.id not in merged and segment.num_deleted > deleted_share * segment.num_rows:
                share = segment.num_deleted / segment.num_rows
                tasks.append(_task([segment], f"{share:.0%} of {segment.num_rows:,} rows are deleted"))
    return tasks


def plan_optimization(
    manifest: Manifest, *, target_rows: int, target_bytes: int, everything: bool = False
) -> list[CompactionTask]:
    """What brings a version to its best form: full segments, no deleted rows.

    Args:
        manifest: the version.
        target_rows: rows of a full segment.
        target_bytes: bytes of a full segment, whichever is reached first.
        everything: rewrite all rows of a partition together, as clustering by a key needs.
    """
    tasks = []
    for segments in _by_partition(manifest):
        small = [
            one
            for one in segments
            if one.num_deleted or (_live(one) < target_rows // 2 and _live_bytes(one) < target_bytes // 2)
        ]
        if everything and segments:
            tasks.append(_task(segments, "cluster"))
            continue
        runs = _filled(small, target_rows, target_bytes)
        tasks += [_task(run, "optimize") for run in runs if len(run) > 1 or run[0].num_deleted]
    return tasks


def _filled(segments: Sequence[Segment], target_rows: int, target_bytes: int) -> list[list[Segment]]:
    """Runs of segments that make about one full segment each."""
    runs: list[list[Segment]] = []
    rows = size = 0
    for segment in segments:
        if not runs or rows + _live(segment) > target_rows or size + _live_bytes(segment) > target_bytes:
            runs.append([])
            rows = size = 0
        runs[-1].append(segment)
        rows += _live(segment)
        size += _live_bytes(segment)
    return runs


def _live_bytes(segment: Segment) -> int:
    size = sum(group.file.size_bytes for group in segment.column_groups if group.file is not None)
    return size * _live(segment) // max(1, segment.num_rows)


def _task(segments: Sequence[Segment], why: str) -> CompactionTask:
    return CompactionTask(tuple(segment.id for segment in segments), why)
