"""Look at the source again, and commit the difference as one version.

Small files share a segment; a huge file is several, split between row groups. A segment that holds rows of a
changed or removed file is replaced; its unchanged fragments go on as they are - not read, with their row ids and with
the values of their overlay columns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pyarrow as pa

from headwater.errors import CommitConflict, ObjectNotFound
from headwater.lake.changes import (
    AppendSegments,
    Change,
    ExpectRows,
    FillColumn,
    ReplaceSegments,
    SetSource,
)
from headwater.lake.external.source import (
    Progress,
    RefreshPlan,
    RefreshReport,
    SourceFile,
    TableSource,
    fragments_of,
    plan_refresh,
)
from headwater.lake.external.spec import SOURCE_PROPERTY
from headwater.lake.lake import Lake
from headwater.lake.manifest import ColumnGroup, FieldStats, Fragment, Manifest, Segment
from headwater.lake.segment_files import write_column_group
from headwater.lake.segments import open_segment
from headwater.lake.stats import field_stats
from headwater.schema import Field, Function, Schema
from headwater.settings import LakeSettings
from headwater.types import RowIds

__all__ = ["refresh"]

_ATTEMPTS = 10


@dataclass(frozen=True)
class _Part:
    """Rows of one segment to be: a fragment, and where its rows were before (None for new rows)."""

    fragment: Fragment
    stats: Mapping[int, FieldStats]
    old: tuple[Segment, int] | None = None


class FillOutput(Protocol):
    """Computes what a schema function fills."""

    def __call__(self, function: Function, field: Field, texts: pa.Array) -> pa.Array:
        """The output over texts, of the field's Arrow type."""
        ...


def refresh(
    lake: Lake,
    source: TableSource,
    *,
    limits: LakeSettings,
    fill: FillOutput | None = None,
    extra: Sequence[Change] = (),
    keep_some: bool = False,
    files: Sequence[SourceFile] | None = None,
    progress: Progress | None = None,
) -> tuple[Manifest, RefreshReport]:
    """Bring a collection up to its source.

    Args:
        lake: the collection.
        source: its source.
        limits: how many rows a segment has; a larger file is split, and smaller ones share a segment.
        fill: computes the outputs of the schema's functions for new rows; they stay empty without it.
        extra: committed with the difference, even where there is none.
        keep_some: refuse a source that has no file.
        files: those that there are, where they were listed just now.
        progress: called for each file that is read.

    Raises:
        ObjectNotFound: the source has no file, and `keep_some` was asked for.
        Corrupt: a new or changed file is not readable; names it, and nothing is committed.
        SchemaMismatch: a new or changed file does not fit the schema; names file and column.
        CommitConflict: the rows are to come from another source meanwhile, or ten others were first.
    """
    started = time.perf_counter()
    source.bytes_read = 0
    manifest = lake.latest()
    named = next((each.source for each in extra if isinstance(each, SetSource)), manifest.source)
    attempt = 1
    while True:
        listed = source.list_files() if files is None else files
        if keep_some and named is not None and not listed:
            raise ObjectNotFound(
                f"no Parquet file matches {', '.join(named.urls)}",
                hint="a folder, a glob or files that end in .parquet",
            )
        plan, changes = _planned(_Target(lake, source, manifest, fill, progress), listed, limits)
        columns = {segment.id: segment.column_groups for segment in manifest.segments}
        all_or_none = [ExpectRows(manifest.source, columns), *changes, *extra]
        try:
            if changes or extra:
                manifest = lake.commit(manifest, all_or_none, operation="refresh")
            break
        except CommitConflict:
            # Another refresh, or a column of ours, came first: what is left to do is another thing now.
            newest = lake.latest()
            if attempt == _ATTEMPTS or newest.source != manifest.source:
                raise
            attempt, manifest, files = attempt + 1, newest, None
    report = RefreshReport(
        version=manifest.version,
        added=tuple(file.path for file in plan.added),
        changed=tuple(file.path for file in plan.changed),
        removed=plan.removed,
        unchanged=plan.unchanged,
        rows=sum(segment.num_rows - segment.num_deleted for segment in manifest.segments),
        bytes_read=source.bytes_read,
        seconds=time.perf_counter() - started,
    )
    return manifest, report


@dataclass(frozen=True)
class _Target:
    """Where segments are made."""

    lake: Lake
    source: TableSource
    manifest: Manifest
    fill: FillOutput | None
    progress: Progress | None


def _planned(
    target: _Target, files: Sequence[SourceFile], limits: LakeSettings
) -> tuple[RefreshPlan, list[Change]]:
    """The difference between a version and the source now, and the changes that it takes."""
    plan = plan_refresh(target.manifest, files)
    changes: list[Change] = []
    if plan.added or plan.changed or plan.removed:
        changes = _changes(target, plan, limits)
    return plan, [*changes, *_added_columns(target, plan, files, limits.target_segment_rows)]


def _added_columns(
    target: _Target, plan: RefreshPlan, files: Sequence[SourceFile], segment_rows: int
) -> list[Change]:
    """Columns of the files for fields that were added to the schema after their segments were made."""
    source, manifest = target.source, target.manifest
    stale = {segment.id for segment in plan.stale}
    overlay = {number for s in manifest.segments for g in s.column_groups if g.file for number in g.field_ids}
    kept = [segment for segment in manifest.segments if segment.id not in stale and segment.num_rows]
    changes: list[Change] = []
    lacked: dict[str, list[Field]] = {}
    for field in manifest.schema.given.fields:
        lacking = [segment for segment in kept if not segment.has_field(field.id)]
        if field.id in overlay or not lacking:
            continue
        for path in sorted({fragment.path for segment in lacking for fragment in fragments_of(segment)}):
            lacked.setdefault(path, []).append(field)
        groups = {
            segment.id: ColumnGroup(source.name, (field.id,), None, fragments_of(segment))
            for segment in lacking
        }
        changes.append(FillColumn(field, groups, {}))
    present = {file.path: file for file in files}
    asked: dict[tuple[Field, ...], list[SourceFile]] = {}
    for path, fields in lacked.items():
        asked.setdefault(tuple(fields), []).append(present[path])
    for together, found in asked.items():
        # Says so where a file does not fit a field.
        source.fragments(
            found,
            together,
            segment_rows=segment_rows,
            mapped=_mapped(manifest),
            progress=target.progress,
        )
    return changes


def _changes(target: _Target, plan: RefreshPlan, limits: LakeSettings) -> list[Change]:
    manifest, source = target.manifest, target.source
    schema = manifest.schema
    touched = {file.path for file in plan.changed} | set(plan.removed)
    kept = [
        _Part(fragment, _stats_of_some(segment, fragment.num_rows), (segment, start))
        for segment in plan.stale
        for fragment, start in _with_starts(segment)
        if fragment.path not in touched
    ]
    wanted = sorted((*plan.added, *plan.changed), key=lambda file: file.path)
    overlay_ids = {
        number for s in manifest.segments for g in s.column_groups if g.file for number in g.field_ids
    }
    fields = [field for field in schema.given.fields if field.id not in overlay_ids]
    fresh = [
        _Part(found.fragment, found.stats)
        for found in source.fragments(
            wanted,
            fields,
            segment_rows=limits.target_segment_rows,
            mapped=_mapped(manifest),
            progress=target.progress,
        )
    ]
    # Kept rows stay apart from new ones, so that the index of a huge unchanged file is not rebuilt for a small new one.
    segments = tuple(
        _segment(target, overlay_ids, group)
        for parts in (kept, fresh)
        for group in _grouped(parts, limits.shared_fragment_rows)
    )
    if not plan.stale:
        return [AppendSegments(segments)]
    return [ReplaceSegments(tuple(segment.id for segment in plan.stale), segments)]


def _mapped(manifest: Manifest) -> bool:
    """Whether the collection was declared, field by field, before its files were looked at."""
    return SOURCE_PROPERTY in manifest.properties


def _with_starts(segment: Segment) -> list[tuple[Fragment, int]]:
    placed, start = [], 0
    for fragment in fragments_of(segment):
        placed.append((fragment, start))
        start += fragment.num_rows
    return placed


def _grouped(parts: Sequence[_Part], shared_rows: int) -> list[list[_Part]]:
    grouped: list[list[_Part]] = []
    rows = 0
    for part in parts:
        if not grouped or rows + part.fragment.num_rows > shared_rows:
            grouped.append([])
            rows = 0
        grouped[-1].append(part)
        rows += part.fragment.num_rows
    return grouped


def _segment(target: _Target, overlay_ids: set[int], parts: Sequence[_Part]) -> Segment:
    lake, source, schema = target.lake, target.source, target.manifest.schema
    segment_id = uuid.uuid4().hex
    source_ids = tuple(field.id for field in schema.given.fields if field.id not in overlay_ids)
    groups = [ColumnGroup(source.name, source_ids, None, tuple(part.fragment for part in parts))]
    stats = _merged_stats(parts, source_ids)
    runs: list[tuple[int, int]] = []
    for part in parts:
        if part.fragment.num_rows:
            runs.extend(_old_runs(part) if part.old else [(-1, part.fragment.num_rows)])
    for field in schema.fields:
        function = schema.outputs.get(field.name)
        if function is not None and function.stored and target.fill is not None:
            column = pa.concat_arrays([_filled(target, overlay_ids, part, function, field) for part in parts])
        elif field.id in overlay_ids and any(part.old for part in parts):
            column = pa.concat_arrays([_old_values(lake, source, schema, part, field.name) for part in parts])
        else:
            continue
        if len(column):
            group, _ = write_column_group(
                lake.store, lake.root, segment_id, pa.table({field.name: column}), [field]
            )
            groups.append(group)
            stats[field.id] = field_stats(column)
    return Segment(segment_id, sum(p.fragment.num_rows for p in parts), tuple(runs), tuple(groups), stats)


def _stats_of_some(segment: Segment, num_rows: int) -> dict[int, FieldStats]:
    """What statistics of a segment say of some of its rows; nothing where only some are null, and who knows which."""
    if num_rows == segment.num_rows:
        return dict(segment.stats)
    return {
        number: replace(stats, null_count=min(stats.null_count, num_rows))
        for number, stats in segment.stats.items()
        if stats.null_count in (0, segment.num_rows)
    }


def _merged_stats(parts: Sequence[_Part], field_ids: Sequence[int]) -> dict[int, FieldStats]:
    merged = {}
    for number in field_ids:
        if all(number in part.stats for part in parts):
            all_stats = [part.stats[number] for part in parts]
            known = all(stats.min is not None for stats in all_stats)
            merged[number] = FieldStats(
                min(stats.min for stats in all_stats) if known else None,
                max(stats.max for stats in all_stats) if known else None,
                sum(stats.null_count for stats in all_stats),
            )
    return merged


def _old_rows(part: _Part) -> RowIds:
    if part.old is None:
        return np.empty(0, np.int64)
    start = part.old[1]
    return np.arange(start, start + part.fragment.num_rows, dtype=np.int64)


def _old_runs(part: _Part) -> list[tuple[int, int]]:
    """The row-id runs that a kept fragment's rows had."""
    assert part.old is not None
    segment, start = part.old
    stop, position, runs = start + part.fragment.num_rows, 0, []
    for first, count in segment.row_ids:
        low, high = max(start, position), min(stop, position + count)
        if low < high:
            runs.append((first + low - position, high - low))
        position += count
    return runs


def _filled(
    target: _Target, overlay_ids: set[int], part: _Part, function: Function, field: Field
) -> pa.Array:
    """The output of a function: what it was, computed for new rows."""
    lake, source, schema = target.lake, target.source, target.manifest.schema
    if part.old is not None and part.old[0].has_field(field.id):
        return _old_values(lake, source, schema, part, field.name)
    given = schema.field(function.inputs[0])
    if given.id in overlay_ids:
        texts = _old_values(lake, source, schema, part, given.name)
    else:
        batches = list(source.open([part.fragment], [given]).scan([given.name]))
        texts = pa.concat_arrays([pa.array([], pa.string()), *(batch.column(0) for batch in batches)])
    assert target.fill is not None
    return target.fill(function, field, texts)


def _old_values(lake: Lake, source: TableSource, schema: Schema, part: _Part, name: str) -> pa.Array:
    if part.old is None:
        return pa.nulls(part.fragment.num_rows, schema.to_arrow([name]).field(0).type)
    reader = open_segment(lake.store, part.old[0], schema, source=source)
    return reader.take([name], _old_rows(part)).column(0).combine_chunks()
