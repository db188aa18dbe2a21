"""Build an index: one artifact per segment, each committed when it is done.

A killed build keeps the segments it finished; running it again covers the rest. A build never blocks readers or
writers: rows without an artifact are searched exactly.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from headwater import index as index_kinds
from headwater.formats import Vectors, file_checksum
from headwater.index.artifact import opening_bytes
from headwater.index.text import INVERTED_KINDS
from headwater.jobs.build_inverted import write_inverted
from headwater.lake import SCAN_KIND, AddBuilds, FileRef, IndexBuild, IndexSpec, Lake, Manifest, Segment
from headwater.query.max_sim import indexed_field
from headwater.query.opened import index_params
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.store import local_errors, scratch_folder
from headwater.types import Bitmap, DataType

__all__ = [
    "BuildReport",
    "Progress",
    "build_index",
    "build_segment",
    "put_artifact",
    "share_of",
    "usable_cores",
]

Progress = Callable[[int, int], None]
"""Called with (rows indexed, rows to index)."""


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        index: name of the index.
        segments_built: artifacts made.
        segments_covered: segments that had one already.
        rows: rows indexed now.
        bytes_written: size of the new artifacts.
        seconds: wall time.
        version: the version that names them.
    """

    index: str
    segments_built: int
    segments_covered: int
    rows: int
    bytes_written: int
    seconds: float
    version: int


def build_index(
    lake: Lake,
    spec: IndexSpec,
    open_snapshot: Callable[[Manifest], Snapshot],
    *,
    progress: Progress | None = None,
    threads: int | None = None,
    min_rows: int = 0,
) -> BuildReport:
    """Cover every segment that the index does not cover yet.

    Args:
        lake: the collection's lake.
        spec: the index, already named in the manifest.
        open_snapshot: opens a version for reading.
        progress: called as rows are indexed.
        threads: cores to use; all of them by default.
        min_rows: leave smaller segments to exact search.

    Raises:
        CommitConflict: the index was dropped meanwhile.
    """
    started = time.perf_counter()
    manifest = lake.latest()
    covered = {build.segment for build in manifest.builds if build.index == spec.name}
    field = manifest.schema.field_by_id(spec.field_id)
    todo = [
        segment
        for segment in manifest.segments
        if segment.id not in covered
        and segment.num_rows >= min_rows
        and spec.kind != SCAN_KIND
        and not segment.awaits(field)
    ]
    total = sum(segment.num_rows for segment in todo)
    snapshot = open_snapshot(manifest)
    done, written = 0, 0
    for segment in todo:
        build = build_segment(
            lake, snapshot, spec, segment, progress=_shifted(progress, done, segment, total), threads=threads
        )
        if build is not None:
            manifest = lake.commit(
                manifest, [AddBuilds(spec, (build,))], operation=f"build index {spec.name}"
            )
            written += build.file.size_bytes
        done += segment.num_rows
    return BuildReport(
        index=spec.name,
        segments_built=len(todo),
        segments_covered=len(covered),
        rows=total,
        bytes_written=written,
        seconds=time.perf_counter() - started,
        version=manifest.version,
    )


def _shifted(
    progress: Progress | None, done: int, segment: Segment, total: int
) -> Callable[[float], None] | None:
    if progress is None:
        return None
    report = progress
    return lambda share: report(done + int(share * segment.num_rows), total)


def build_segment(
    lake: Lake,
    snapshot: Snapshot,
    spec: IndexSpec,
    segment: Segment,
    *,
    progress: Callable[[float], None] | None,
    threads: int | None,
) -> IndexBuild | None:
    """Build one artifact; None where there is nothing to build. Nothing names it until a commit does."""
    if segment.num_rows == 0 or spec.kind == SCAN_KIND:
        return None
    field = indexed_field(snapshot.schema, spec)
    with scratch_folder("build") as folder:
        path = folder / "index.hwx"
        with local_errors("write", str(path)):
            if spec.kind in index_kinds.SCALAR_KINDS:
                _write_scalar(snapshot, spec, segment, field, path)
            elif spec.kind in INVERTED_KINDS:
                write_inverted(snapshot, segment, field, path)
            else:
                vectors, present = _indexed(snapshot, segment, field)
                params = index_params(spec, _share(snapshot.manifest, segment, field))
                index_kinds.get(params.kind).build(
                    vectors,
                    params,
                    path,
                    present=present,
                    progress=progress,
                    threads=threads or usable_cores(),
                )
        return put_artifact(lake, spec, segment, path)


def _indexed(snapshot: Snapshot, segment: Segment, field: Field) -> tuple[Vectors, Bitmap | None]:
    """What an artifact is built over, and which of it is there: the vectors of the rows, or those of their elements.

    Those of elements are all held meanwhile, and the artifact does not count on them: between searches the budget of
    memory may let them go. Where a segment has none, one that is not there stands for them.
    """
    opened, schema = snapshot.opened, snapshot.schema
    if field.type.data_type is not DataType.STRUCT_ARRAY:
        return opened.vectors.streamed(segment, schema, field.name), snapshot.present(segment, field)
    vectors = opened.vectors.read_lists(segment, schema, field).vectors
    if not len(vectors):
        return np.zeros((1, vectors.shape[1]), vectors.dtype), np.zeros(1, np.bool_)
    return vectors, np.ones(len(vectors), np.bool_)


def put_artifact(lake: Lake, spec: IndexSpec, segment: Segment, path: Path) -> IndexBuild:
    """Bring a built file to the lake. Nothing names it until a commit does."""
    key = f"{lake.root}/indexes/{segment.id}/{spec.field_id}-{uuid.uuid4().hex}/index.hwx"
    reference = FileRef(key, path.stat().st_size, file_checksum(path), opening_bytes(path))
    lake.store.put_file(key, path)
    return IndexBuild(index=spec.name, segment=segment.id, file=reference, num_rows=segment.num_rows)


def share_of(rows: int, manifest: Manifest) -> float:
    """What part of a collection's rows so many are."""
    return min(1.0, rows / max(1, sum(segment.num_rows for segment in manifest.segments)))


def _share(manifest: Manifest, segment: Segment, field: Field) -> float:
    """What part of a collection's vectors of a field a segment has; of elements, by the bytes that hold them."""

    def held(one: Segment) -> int:
        groups = (group for group in one.column_groups if group.file and field.id in group.field_ids)
        return sum(group.file.size_bytes for group in groups if group.file)

    total = sum(map(held, manifest.segments)) if field.type.data_type is DataType.STRUCT_ARRAY else 0
    own = held(segment) if total else 0
    return min(1.0, own / total) if own else share_of(segment.num_rows, manifest)


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _write_scalar(snapshot: Snapshot, spec: IndexSpec, segment: Segment, field: Field, path: Path) -> None:
    """Build over the column as the segment has it; it is read for this and not kept."""
    kind = snapshot.schema.to_arrow([field.name]).field(0).type
    batches = snapshot.opened.readers.bulk(segment, snapshot.schema).scan([field.name])
    column = pa.chunked_array([batch.column(0) for batch in batches], kind).combine_chunks()
    params = index_kinds.ScalarParams(spec.kind, spec.options)
    index_kinds.SCALAR_KINDS[spec.kind].build(column, params, path)
