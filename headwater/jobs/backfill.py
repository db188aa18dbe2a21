"""Fill a field that a function computes, in the rows that were there before it: one new column group a segment.

Each segment is committed when it is done, so a killed job keeps what it has, and running it again does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from headwater.jobs.build_index import Progress
from headwater.jobs.functions import Functions
from headwater.lake import FillColumn, Lake, Manifest, Segment, preferred_format, write_column_group
from headwater.query.snapshot import Snapshot
from headwater.schema import arrow_type

__all__ = ["BackfillReport", "backfill"]


@dataclass(frozen=True)
class BackfillReport:
    """What a backfill did.

    Attributes:
        field: that was filled.
        segments_filled: segments that got their values.
        rows: rows computed.
        bytes_written: size of the new column groups.
        seconds: wall time.
        version: the version that has them.
    """

    field: str
    segments_filled: int
    rows: int
    bytes_written: int
    seconds: float
    version: int


def backfill(
    lake: Lake,
    name: str,
    functions: Functions,
    open_snapshot: Callable[[Manifest], Snapshot],
    *,
    progress: Progress | None = None,
) -> BackfillReport:
    """Compute a function for every segment that has no values of its output.

    Args:
        lake: the collection's lake.
        name: of the function.
        functions: compute it.
        open_snapshot: opens a version for reading.
        progress: called with (rows filled, rows to fill).

    Raises:
        FieldNotFound: there is no such function.
        CommitConflict: the field was dropped meanwhile.
    """
    started = time.perf_counter()
    manifest = lake.latest()
    output = manifest.schema.function(name).output
    segments_filled = rows = seen = written = 0
    # Until none is left: what was merged, or sealed by a process that does not know the function, comes anew.
    while todo := _unfilled(manifest, name):
        total, snapshot = seen + sum(segment.num_rows for segment in todo), open_snapshot(manifest)
        function = snapshot.schema.function(name)
        field = snapshot.schema.field(function.output)
        for segment in todo:
            if all(one.id != segment.id for one in manifest.segments):
                seen += segment.num_rows
                continue
            parts = []
            reader = snapshot.opened.readers.bulk(segment, snapshot.schema)
            for batch in reader.scan([function.inputs[0]]):
                parts.append(functions.column(function, field, batch.column(0)))
                seen += batch.num_rows
                if progress is not None:
                    progress(seen, total)
            column = pa.chunked_array(parts, arrow_type(field.type))
            manifest, size_bytes = _commit(lake, snapshot, segment, name, column)
            written += size_bytes
            if any(one.id == segment.id for one in manifest.segments):
                segments_filled, rows = segments_filled + 1, rows + segment.num_rows
    return BackfillReport(
        field=output,
        segments_filled=segments_filled,
        rows=rows,
        bytes_written=written,
        seconds=time.perf_counter() - started,
        version=manifest.version,
    )


def _unfilled(manifest: Manifest, name: str) -> list[Segment]:
    """The segments without values of a function's output."""
    function = manifest.schema.function(name)
    number = manifest.schema.field(function.output).id
    return [one for one in manifest.segments if function.stored and not one.has_field(number)]


def _commit(
    lake: Lake, snapshot: Snapshot, segment: Segment, name: str, column: pa.ChunkedArray
) -> tuple[Manifest, int]:
    """Write and commit one segment's values; the version, and the bytes written."""
    field = snapshot.schema.field(snapshot.schema.function(name).output)
    group, stats = write_column_group(
        lake.store,
        lake.root,
        segment.id,
        pa.table({field.name: column}),
        (field,),
        form=preferred_format(snapshot.manifest),
    )
    change = FillColumn(field, {segment.id: group}, {segment.id: stats[field.id]})
    manifest = lake.commit(lake.latest(), [change], operation=f"backfill {field.name}")
    return manifest, group.file.size_bytes if group.file else 0
