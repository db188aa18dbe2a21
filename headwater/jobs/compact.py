"""Compact: rewrite segments as one without their deleted rows, build its indexes, and swap it in, in one commit.

Reads and writes go on. Rows that are deleted while the job runs are found again in the new segment by their row ids; a
segment that somebody else replaced meanwhile makes the job give up, and its files are garbage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headwater.errors import CommitConflict
from headwater.jobs.build_ahead import build_ahead
from headwater.jobs.build_index import build_segment, put_artifact
from headwater.jobs.live_rows import LiveRows
from headwater.lake import (
    CompactionTask,
    IndexBuild,
    IndexSpec,
    Lake,
    Manifest,
    ReplaceSegments,
    Segment,
    preferred_format,
    with_row_ids,
    write_rows,
)
from headwater.lake.log import write_delete_vector
from headwater.query.snapshot import Snapshot
from headwater.store import scratch_folder
from headwater.types import Bitmap, RowIds

__all__ = ["CompactReport", "compact"]

_ATTEMPTS = 10


@dataclass(frozen=True)
class CompactReport:
    """What a compaction did.

    Attributes:
        segments_before: segments that went.
        segments_after: segments that came.
        rows: rows written.
        rows_dropped: deleted rows that are gone for good, once old versions expire.
        seconds: wall time.
        version: the version that has the result; None when the job gave up.
        added: ids of the segments that came.
    """

    segments_before: int
    segments_after: int
    rows: int
    rows_dropped: int
    seconds: float
    version: int | None
    added: tuple[str, ...] = ()


def compact(
    lake: Lake,
    task: CompactionTask,
    open_snapshot: Callable[[Manifest], Snapshot],
    *,
    cluster_by: str | None = None,
    segment_rows: int = 1_000_000,
    segment_bytes: int = 1 << 30,
    index_rows: int = 0,
    threads: int | None = None,
) -> CompactReport:
    """Do one task.

    Args:
        lake: the collection.
        task: which segments.
        open_snapshot: opens a version for reading.
        cluster_by: sort the rows by this field, so that filters on it skip segments.
        segment_rows: most rows of a new segment.
        segment_bytes: about the most bytes of a new segment that is made of several.
        index_rows: a segment of fewer rows gets no index unless one of those before had one.
        threads: cores for index builds; all by default.
    """
    started = time.perf_counter()
    manifest = lake.latest()
    snapshot = open_snapshot(manifest)
    by_id = {segment.id: segment for segment in manifest.segments}
    old = [by_id[name] for name in task.segments if name in by_id]
    if len(old) < len(task.segments) or _half_filled(snapshot, old):
        return CompactReport(len(task.segments), 0, 0, 0, time.perf_counter() - started, None)
    rows = LiveRows(snapshot, old)
    if len(old) > 1:
        segment_rows = min(segment_rows, max(1, int(segment_bytes / max(rows.row_bytes, 1e-9))))
    made, builds = _merged(
        lake, rows, cluster_by=cluster_by, segment_rows=segment_rows, index_rows=index_rows, threads=threads
    )
    change = ReplaceSegments(
        removed=task.segments,
        added=tuple(segment for segment, _ in made),
        deletes={segment.id: segment.delete_vector for segment in old},
        columns={segment.id: segment.column_groups for segment in old},
        builds=tuple(builds),
        specs=manifest.indexes,
    )
    version = _commit(lake, open_snapshot, old, made, change, manifest)
    written = sum(len(ids) for _, ids in made)
    return CompactReport(
        segments_before=len(old),
        segments_after=len(change.added),
        rows=written,
        rows_dropped=sum(segment.num_rows for segment in old) - written,
        seconds=time.perf_counter() - started,
        version=version,
        added=() if version is None else tuple(segment.id for segment in change.added),
    )


def _merged(
    lake: Lake,
    rows: LiveRows,
    *,
    cluster_by: str | None,
    segment_rows: int,
    index_rows: int,
    threads: int | None,
) -> tuple[list[tuple[Segment, RowIds]], list[IndexBuild]]:
    """The new segments, each with the row ids of its rows in order, and the builds of their indexes.

    Rows that fit one segment may stand in the order of the lists of its index, which is built before they are written.
    """
    snapshot, old = rows.snapshot, rows.segments
    builds: list[IndexBuild] = []
    with scratch_folder("lists") as folder:
        ahead = None
        if cluster_by is None and 0 < rows.num_rows <= segment_rows:
            ahead = build_ahead(rows, _wanted(snapshot, old, rows.num_rows, index_rows), folder, threads)
        if ahead is not None:
            made = _rewritten(lake, rows, ahead.order, segment_rows)
            builds.append(put_artifact(lake, ahead.spec, made[0][0], ahead.path))
        else:
            order = None if cluster_by is None else rows.sorted_by(cluster_by)
            made = _rewritten(lake, rows, order, segment_rows)
    covered = {build.index for build in builds}
    for segment, _ in made:
        for spec in _wanted(snapshot, old, segment.num_rows, index_rows):
            if spec.name not in covered:
                build = build_segment(lake, snapshot, spec, segment, progress=None, threads=threads)
                builds += [] if build is None else [build]
    return made, builds


def _half_filled(snapshot: Snapshot, old: Sequence[Segment]) -> bool:
    """Whether a function's output is filled in some of the segments only: merged, the others never would be."""
    filled = [
        {segment.has_field(snapshot.schema.field(name).id) for segment in old}
        for name, function in snapshot.schema.outputs.items()
        if function.stored
    ]
    return any(len(one) > 1 for one in filled)


def _rewritten(
    lake: Lake, rows: LiveRows, order: RowIds | None, segment_rows: int
) -> list[tuple[Segment, RowIds]]:
    """The new segments, each with the row ids of its rows in order."""
    form = preferred_format(rows.snapshot.manifest)
    made = []
    for start in range(0, rows.num_rows, segment_rows):
        part = rows.part(start, min(start + segment_rows, rows.num_rows), order)
        written = write_rows(lake.store, lake.root, part, rows.snapshot.schema, form=form)
        ids = part.row_ids()
        numbered = with_row_ids(lake.store, lake.root, written, ids)
        made.append((replace(numbered, partition=rows.segments[0].partition), ids))
    return made


def _wanted(snapshot: Snapshot, old: Sequence[Segment], num_rows: int, index_rows: int) -> list[IndexSpec]:
    """The indexes that a new segment of so many rows gets."""
    return [
        spec
        for spec in snapshot.manifest.indexes
        if num_rows >= max(index_rows, 1)
        or any(snapshot.build_of(spec, segment) is not None for segment in old)
    ]


def _commit(
    lake: Lake,
    open_snapshot: Callable[[Manifest], Snapshot],
    old: Sequence[Segment],
    made: Sequence[tuple[Segment, RowIds]],
    change: ReplaceSegments,
    base: Manifest,
) -> int | None:
    """The version that holds the result; None where segments were replaced, or got a column, meanwhile."""
    for _ in range(_ATTEMPTS):
        try:
            return lake.commit(base, [change], operation="compact").version
        except CommitConflict:
            base = lake.latest()
            now = {segment.id: segment for segment in base.segments}
            if any(
                segment.id not in now or now[segment.id].column_groups != segment.column_groups
                for segment in old
            ):
                return None
            change = _with_new_deletes(lake, open_snapshot(base), [now[s.id] for s in old], made, change)
    return None


def _with_new_deletes(
    lake: Lake,
    snapshot: Snapshot,
    old: Sequence[Segment],
    made: Sequence[tuple[Segment, RowIds]],
    change: ReplaceSegments,
) -> ReplaceSegments:
    """The same, with the rows that were deleted meanwhile deleted in the new segments."""
    found = [np.empty(0, np.int64)]
    for segment in old:
        reader = snapshot.opened.readers.of(segment, snapshot.schema)
        gone = reader.deleted()
        if gone is not None:
            found.append(reader.row_ids()[gone])
    gone_ids = np.concatenate(found)
    added: list[Segment] = []
    for segment, ids in made:
        bitmap: Bitmap = np.isin(ids, gone_ids)
        if not bitmap.any():
            added.append(segment)
        elif not bitmap.all():
            vector = write_delete_vector(lake.store, lake.root, segment.id, bitmap)
            added.append(replace(segment, delete_vector=vector, num_deleted=int(bitmap.sum())))
    kept = {segment.id for segment in added}
    return replace(
        change,
        deletes={segment.id: segment.delete_vector for segment in old},
        added=tuple(added),
        builds=tuple(build for build in change.builds if build.segment in kept),
    )
