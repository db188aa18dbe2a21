"""Checks and small steps that every reader shares: names, positions, bitmaps. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headwater.errors import FieldNotFound, InvalidArgument, RowOutOfRange
from headwater.types import Bitmap, RowIds

__all__ = [
    "check_bitmap",
    "check_columns",
    "check_rows",
    "distinct_rows",
    "one_batch",
    "same_type",
]


def check_columns(schema: pa.Schema, columns: Sequence[str], *, what: str) -> pa.Schema:
    """The schema of the named columns, in their order.

    Raises:
        FieldNotFound: no such column.
    """
    for name in columns:
        if schema.get_field_index(name) < 0:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(schema.names) or 'none'}"
            raise FieldNotFound(f"{what} has no column {name!r}", hint=hint, column=name)
    return pa.schema([schema.field(name) for name in columns])


def check_rows(rows: RowIds, num_rows: int, *, what: str) -> RowIds:
    """Positions as int64, each inside the file.

    Raises:
        InvalidArgument: not one dimension of integers.
        RowOutOfRange: a position is outside; names the first one.
    """
    array = np.asarray(rows)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidArgument(
            f"{what}: expected (n,) integer row positions, got {array.dtype} of shape {array.shape}"
        )
    outside = (array < 0) | (array >= num_rows)
    if outside.any():
        first = int(array[int(np.argmax(outside))])
        raise RowOutOfRange(f"{what}: row {first} is outside [0, {num_rows})", row=first, num_rows=num_rows)
    return array.astype(np.int64, copy=False)


def check_bitmap(rows: Bitmap, num_rows: int, *, what: str) -> Bitmap:
    """The bitmap, when it has one boolean per row.

    Raises:
        InvalidArgument: another shape or type.
    """
    array = np.asarray(rows)
    if array.shape != (num_rows,) or array.dtype != np.bool_:
        raise InvalidArgument(
            f"{what}: expected a bitmap of shape ({num_rows},), got {array.dtype} of shape {array.shape}"
        )
    return array


def distinct_rows(rows: RowIds) -> tuple[RowIds, RowIds | None]:
    """Strictly increasing positions, and where each asked row is among them (None: already in that order)."""
    if len(rows) < 2 or bool((rows[1:] > rows[:-1]).all()):
        return rows, None
    found, inverse = np.unique(rows, return_inverse=True)
    return found, inverse.astype(np.int64, copy=False)


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """All rows of a table as one batch."""
    if not table.num_columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * table.num_rows, pa.struct([])))
    arrays = []
    for column in table.columns:
        chunks = column.chunks
        arrays.append(
            chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks or [pa.array([], column.type)])
        )
    return pa.RecordBatch.from_arrays(arrays, schema=table.schema)


def same_type(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether two types agree; names and nullability inside lists do not matter to the bytes."""
    if left.id != right.id or left.num_fields != right.num_fields:
        return False
    if not left.num_fields:
        return bool(left == right)
    if pa.types.is_fixed_size_list(left) and left.list_size != right.list_size:
        return False
    pairs = [(left.field(i), right.field(i)) for i in range(left.num_fields)]
    if pa.types.is_struct(left) and any(one.name != other.name for one, other in pairs):
        return False
    return all(same_type(one.type, other.type) for one, other in pairs)
