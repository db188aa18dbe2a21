"""Add a column: one new column group per segment, no other file touched.

The values come from an Arrow array in row order, a table keyed by the primary key (or row id), a function over record
batches, or one constant for every row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument, SchemaMismatch
from headwater.lake import (
    AddColumns,
    ColumnGroup,
    FieldStats,
    Lake,
    Manifest,
    Segment,
    preferred_format,
    write_column_group,
)
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.schema import Field, Schema, arrow_type, infer_schema, validate

__all__ = ["ColumnValues", "add_column", "by_key", "column_values", "infer_field"]

ColumnValues = Any
"""pa.Array | numpy array | list in row order; pa.Table with the key and the column; Callable[[pa.RecordBatch], Any]; a
scalar."""


def add_column(
    lake: Lake,
    snapshot: Snapshot,
    field: Field,
    values: ColumnValues,
    *,
    inputs: tuple[str, ...] = (),
) -> tuple[Manifest, int]:
    """Write the column for every segment of a snapshot and commit it.

    Args:
        lake: the collection's lake.
        snapshot: the version that the values are for.
        field: the new field; its id is set here.
        values: the column, see `ColumnValues`.
        inputs: fields that a function reads; all of them when empty.

    Returns:
        The new manifest, and the bytes written for the column.

    Raises:
        SchemaMismatch: the values do not fit the field, or their number is not the number of rows.
        CommitConflict: segments changed meanwhile in a way that the column does not apply to.
    """
    schema = snapshot.schema.add(field)
    added = schema.field(field.name)
    produce = _producer(snapshot, added, values, inputs)
    groups: dict[str, ColumnGroup] = {}
    stats: dict[str, dict[int, FieldStats]] = {}
    written = 0
    for segment in snapshot.manifest.segments:
        column = produce(segment)
        if len(column) != segment.num_rows:
            raise SchemaMismatch(
                f"column {added.name!r} has {len(column)} values for segment {segment.id}, "
                f"expected {segment.num_rows}"
            )
        table = validate(pa.table({added.name: column}), _alone(added))
        group, group_stats = write_column_group(
            lake.store, lake.root, segment.id, table, (added,), form=preferred_format(snapshot.manifest)
        )
        groups[segment.id], stats[segment.id] = group, dict(group_stats)
        written += group.file.size_bytes if group.file else 0
    change = AddColumns(fields=(added,), groups=groups, stats=stats)
    manifest = lake.commit(snapshot.manifest, [change], operation=f"add column {added.name}")
    return manifest, written


def column_values(name: str, values: Any) -> ColumnValues:
    """What a caller gave as a column: frames as tables, and columns of frames and lists as arrays.

    Args:
        name: of the column.
        values: as given.

    Raises:
        SchemaMismatch: they are of no one type.
    """
    try:
        if hasattr(values, "iloc") and hasattr(values, "columns"):
            return pa.Table.from_pandas(values, preserve_index=False)
        return _as_array(values) if _column_of_frame(values) else values
    except (pa.ArrowException, TypeError) as error:
        raise SchemaMismatch(f"column {name!r}: {error}", column=name) from error


def by_key(snapshot: Snapshot, name: str, values: ColumnValues) -> ColumnValues:
    """The same values for a later version, whose rows may be in another order: those by place become those by key.

    Args:
        snapshot: the version whose rows the values are for.
        name: of the column.
        values: see `ColumnValues`.
    """
    by_place = not isinstance(values, pa.Table) and not callable(values) and _many(values)
    if not by_place or not snapshot.manifest.segments:
        return values
    keys = []
    for segment in snapshot.manifest.segments:
        own, bitmap = _keys(snapshot, segment), snapshot.select(segment, None).bitmap
        keys.append(own if bitmap is None else own.filter(pa.array(bitmap)))
    return pa.table({snapshot.schema.primary_key or ROW_ID: pa.chunked_array(keys), name: _as_array(values)})


def infer_field(name: str, values: ColumnValues) -> Field:
    """A nullable field that fits the values.

    Raises:
        InvalidArgument: the type cannot be seen from the values (a function, an empty list).
    """
    if callable(values):
        raise InvalidArgument(
            f"the type of column {name!r} cannot be inferred from a function", hint="pass type="
        )
    if isinstance(values, pa.Table) and name not in values.column_names:
        raise SchemaMismatch(f"the table has no column {name!r}, but {', '.join(values.column_names)}")
    try:
        array = (
            values.column(name)
            if isinstance(values, pa.Table)
            else _as_array(values if _many(values) else [values])
        )
    except (pa.ArrowException, TypeError) as error:
        raise InvalidArgument(
            f"the type of column {name!r} cannot be inferred: {error}", hint="pass type="
        ) from error
    if pa.types.is_null(array.type):
        raise InvalidArgument(f"the type of column {name!r} cannot be inferred from nulls", hint="pass type=")
    field = infer_schema(pa.schema([pa.field(name, array.type)])).field(name)
    return Field(name=name, type=field.type, nullable=True)


def _many(values: ColumnValues) -> bool:
    return isinstance(values, list | tuple | np.ndarray | pa.Array | pa.ChunkedArray) or _column_of_frame(
        values
    )


def _column_of_frame(values: Any) -> bool:
    """Whether it is a column of Polars or of pandas."""
    return hasattr(values, "to_arrow") or (hasattr(values, "iloc") and hasattr(values, "dtype"))


def _as_array(values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if hasattr(values, "to_arrow"):
        return values.to_arrow()
    if hasattr(values, "iloc"):
        return pa.array(values, from_pandas=True)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    return pa.array(values)


def _alone(field: Field) -> Schema:
    return Schema(fields=(field,), last_field_id=field.id)


def _producer(
    snapshot: Snapshot, field: Field, values: ColumnValues, inputs: tuple[str, ...]
) -> Callable[[Segment], pa.Array | pa.ChunkedArray]:
    """How to get the column of one segment, deleted rows included (their values are never read)."""
    if isinstance(values, pa.Table):
        return lambda segment: _joined(snapshot, segment, field, values)
    if callable(values):
        return lambda segment: _computed(snapshot, segment, field, values, inputs)
    if _many(values):
        array = _as_array(values)
        if len(array) != snapshot.num_rows:
            raise SchemaMismatch(
                f"column {field.name!r} has {len(array)} values, the collection has {snapshot.num_rows} rows"
            )
        starts, start = {}, 0
        for segment in snapshot.manifest.segments:
            starts[segment.id] = start
            start += segment.num_rows - segment.num_deleted
        return lambda segment: _spread(snapshot, segment, array, starts[segment.id])
    return lambda segment: pa.array([values] * segment.num_rows)


def _spread(
    snapshot: Snapshot, segment: Segment, array: pa.Array | pa.ChunkedArray, start: int
) -> pa.Array | pa.ChunkedArray:
    selection = snapshot.select(segment, None)
    mine = array.slice(start, selection.count)
    if selection.bitmap is None:
        return mine
    positions = np.cumsum(selection.bitmap) - 1
    return mine.take(pa.array(positions, mask=~selection.bitmap))


def _joined(snapshot: Snapshot, segment: Segment, field: Field, table: pa.Table) -> pa.Array:
    name = snapshot.schema.primary_key or ROW_ID
    if name not in table.column_names or field.name not in table.column_names:
        raise SchemaMismatch(
            f"a table of column {field.name!r} needs the columns {name!r} and {field.name!r}"
        )
    own = _keys(snapshot, segment)
    keys = table.column(name).cast(own.type)
    return table.column(field.name).take(pc.index_in(own, value_set=keys)).combine_chunks()


def _keys(snapshot: Snapshot, segment: Segment) -> pa.Array:
    """The primary keys of a segment's rows, or their row ids where there are none."""
    name = snapshot.schema.primary_key
    if name is None:
        return pa.array(snapshot.opened.readers.of(segment, snapshot.schema).row_ids())
    return snapshot.opened.fields.column(segment, snapshot.schema, name)


def _computed(
    snapshot: Snapshot,
    segment: Segment,
    field: Field,
    function: Callable[[pa.RecordBatch], Any],
    inputs: tuple[str, ...],
) -> pa.ChunkedArray:
    names = list(inputs) or list(snapshot.schema.readable_names)
    reader = snapshot.opened.readers.of(segment, snapshot.schema)
    pieces: list[pa.Array] = []
    for batch in reader.scan(names):
        given = function(batch)
        try:
            piece = _as_array(given)
        except (pa.ArrowException, TypeError) as error:
            raise SchemaMismatch(
                f"column {field.name!r}: the function returned {type(given).__name__}, which is no array ({error})",
                hint="a function takes a record batch, and returns as many values as that has rows",
            ) from error
        if len(piece) != batch.num_rows:
            raise SchemaMismatch(
                f"column {field.name!r}: the function returned {len(piece)} values for {batch.num_rows} rows"
            )
        pieces.extend(piece.chunks if isinstance(piece, pa.ChunkedArray) else [piece])
    return pa.chunked_array(pieces, None if pieces else arrow_type(field.type))
