"""Write a segment's files: its column groups, one after another, and the ids of its rows.

Rows are a stream that each group reads for itself, so that memory is that of a few batches, however many they are.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from headwater import formats
from headwater.formats import ArrowIpcFormat
from headwater.lake.manifest import ColumnGroup, FieldStats, FileRef, Manifest, Segment
from headwater.lake.stats import MAX_BLOOM_KEYS, RunningStats, key_bloom
from headwater.schema import Field, Schema, arrow_type
from headwater.store import ObjectStore, scratch_folder, together
from headwater.tiers import checksum_of
from headwater.types import RowIds

__all__ = [
    "FORMAT_PROPERTY",
    "Rows",
    "preferred_format",
    "runs_of",
    "with_row_ids",
    "write_column_group",
    "write_rows",
    "write_segment",
]

FORMAT_PROPERTY = "headwater.format"
"""Property of a collection that names the format of all its column groups."""

_MOST_RUNS = 1_000
"""Runs of row ids that a manifest holds for a segment."""


class Rows(Protocol):
    """Rows to write, read as often as there are files to write.

    Attributes:
        num_rows: how many.
        names: their fields.
    """

    num_rows: int
    names: Sequence[str]

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some fields of all rows, always in the same order."""
        ...

    def sample(self, name: str) -> pa.ChunkedArray:
        """Values by which the format of a field is chosen."""
        ...


class _TableRows:
    """Rows that are in memory."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.num_rows: int = table.num_rows
        self.names: Sequence[str] = table.column_names

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from self._table.select(names).to_batches()

    def sample(self, name: str) -> pa.ChunkedArray:
        return self._table.column(name)


def preferred_format(manifest: Manifest) -> str | None:
    """The one format that a collection is kept in, where its owner asked for one."""
    return manifest.properties.get(FORMAT_PROPERTY)


def write_segment(
    store: ObjectStore,
    root: str,
    table: pa.Table,
    schema: Schema,
    *,
    form: str | None = None,
    waited: bool = False,
) -> Segment:
    """Write rows as a new segment; nothing is visible until a commit names it.

    Args:
        store: where.
        root: the collection's prefix.
        table: rows of the schema's Arrow types; the output of a function may be absent, to be filled later.
        schema: the fields.
        form: write every column in this format; each in the one that suits it by default.
        waited: whether somebody waits for it: its files are written at once, and past the page cache where they stay on
            this machine. Others are read next, by the build of their index and by who searched their rows in the log.

    Returns:
        The segment, without row ids; the commit gives them.
    """
    return write_rows(store, root, _TableRows(table), schema, form=form, waited=waited)


def write_rows(
    store: ObjectStore,
    root: str,
    rows: Rows,
    schema: Schema,
    *,
    form: str | None = None,
    waited: bool = False,
) -> Segment:
    """`write_segment` of rows that need not be in memory."""
    segment_id = uuid.uuid4().hex
    alike: dict[str, list[Field]] = {}
    for field in schema.stored_fields:
        if field.name in schema.outputs and field.name not in rows.names:
            continue
        name = form or formats.default_format(field.type, rows.sample(field.name))
        alone = name == ArrowIpcFormat.name or field.type.data_type.dense_vector
        alike.setdefault(f"{name}/{field.id}" if alone else name, []).append(field)
    groups, stats = [], {}
    # The filter comes first: this thread works it out while others wait for the disk.
    calls: list[Callable[[], Any]] = [
        partial(_bloom_of, rows, schema),
        *(
            partial(
                _write_group, store, root, segment_id, rows, fields, word.split("/")[0], cached=not waited
            )
            for word, fields in alike.items()
        ),
    ]
    bloom, *written = together(calls) if waited else [call() for call in calls]
    for group, group_stats in written:
        groups.append(group)
        stats.update(group_stats)
    return Segment(segment_id, rows.num_rows, (), tuple(groups), stats, bloom)


def _bloom_of(rows: Rows, schema: Schema) -> str | None:
    """The filter on the primary key; None where there is none, or are too many."""
    if not schema.primary_key or rows.num_rows > MAX_BLOOM_KEYS:
        return None
    keys = [batch.column(0) for batch in rows.batches([schema.primary_key])]
    return key_bloom(pa.chunked_array(keys, schema.to_arrow([schema.primary_key]).field(0).type))


def write_column_group(
    store: ObjectStore,
    root: str,
    segment_id: str,
    table: pa.Table,
    fields: Sequence[Field],
    *,
    form: str | None = None,
) -> tuple[ColumnGroup, dict[int, FieldStats]]:
    """Write some fields of a segment as one file.

    Args:
        store: where.
        root: the collection's prefix.
        segment_id: the segment whose row *i* is the table's row *i*.
        table: has the fields' columns.
        fields: all of one format.
        form: that format; the one that suits the first field by default.

    Returns:
        The column group, and each field's statistics by id.
    """
    name = form or formats.default_format(fields[0].type, table.column(fields[0].name))
    return _write_group(store, root, segment_id, _TableRows(table), fields, name)


def _write_group(
    store: ObjectStore,
    root: str,
    segment_id: str,
    rows: Rows,
    fields: Sequence[Field],
    name: str,
    *,
    cached: bool = True,
) -> tuple[ColumnGroup, dict[int, FieldStats]]:
    writer = formats.get(name)
    # Columns are named by field id in the file, so that a rename touches nothing.
    schema = pa.schema([pa.field(str(field.id), arrow_type(field.type)) for field in fields])
    running = {field.id: RunningStats() for field in fields}

    def looked_at() -> Iterator[pa.RecordBatch]:
        for batch in rows.batches([field.name for field in fields]):
            for one, column in zip(running.values(), batch.columns, strict=True):
                one.add(column)
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

    key = f"{root}/segments/{segment_id}/{uuid.uuid4().hex}{writer.suffix}"
    with scratch_folder("write") as folder:
        path = folder / f"group{writer.suffix}"
        # What is going to be uploaded is read next.
        uploaded = store.local_path(key) is None
        written = writer.write(looked_at(), schema, path, cached=cached or uploaded)
        store.put_file(key, path)
    reference = FileRef(key, written.size_bytes, written.checksum)
    stats = {number: one.done() for number, one in running.items()}
    return ColumnGroup(writer.name, tuple(field.id for field in fields), reference), stats


def runs_of(row_ids: RowIds) -> tuple[tuple[int, int], ...]:
    """The runs of (first, count) that row ids are made of, in order."""
    if len(row_ids) == 0:
        return ()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(row_ids) != 1) + 1])
    counts = np.diff(np.concatenate([starts, [len(row_ids)]]))
    return tuple(zip(row_ids[starts].tolist(), counts.tolist(), strict=True))


def with_row_ids(store: ObjectStore, root: str, segment: Segment, row_ids: RowIds) -> Segment:
    """A segment whose rows have these ids: in the manifest as runs, in a file of its own where these are many.

    Args:
        store: where.
        root: the collection's prefix.
        segment: just written.
        row_ids: (num_rows,) in row order.
    """
    if len(row_ids) == 0 or 1 + np.count_nonzero(np.diff(row_ids) != 1) <= _MOST_RUNS:
        return replace(segment, row_ids=runs_of(row_ids))
    data = row_ids.astype("<i8").tobytes()
    key = f"{root}/segments/{segment.id}/{uuid.uuid4().hex}.rows"
    store.put(key, data)
    first, last = int(row_ids.min()), int(row_ids.max())
    file = FileRef(key, len(data), checksum_of(zlib.crc32(data)))
    return replace(segment, row_ids=((first, last - first + 1),), row_id_file=file)
