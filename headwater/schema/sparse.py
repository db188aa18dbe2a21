"""Sparse vectors as callers have them, brought to one form: indices ascending, each once, values that are finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import SchemaMismatch
from headwater.schema.arrow import SPARSE
from headwater.schema.fields import Field

__all__ = ["sparse_column", "sparse_row"]

_LARGEST_INDEX = (1 << 32) - 2

Row = tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]


def sparse_row(value: Any) -> Row:
    """One sparse vector.

    Args:
        value: a mapping of index to value; a list of (index, value) pairs, or of ``{"index", "value"}``;
            ``{"indices": [...], "values": [...]}``; or a scipy sparse array of one row.

    Returns:
        Indices, ascending, and values.

    Raises:
        ValueError: an index comes twice or is out of range; a value is negative or not finite.
        TypeError: it is none of these.
    """
    indices, values = _parts(value)
    if len(indices) != len(values):
        raise ValueError(f"{len(indices)} indices and {len(values)} values")
    if any(isinstance(one, bool) or not isinstance(one, int | np.integer) for one in indices):
        raise TypeError("expected whole numbers as indices")
    if any(isinstance(one, bool) or not isinstance(one, int | float | np.number) for one in values):
        raise TypeError("expected numbers as values")
    if any(not 0 <= one <= _LARGEST_INDEX for one in indices):
        raise ValueError(f"expected indices from 0 to {_LARGEST_INDEX}")
    places, weights = np.array(indices, np.int64), np.array(values, np.float64)
    with np.errstate(over="ignore"):
        single = weights.astype(np.float32)
    if not np.isfinite(single).all() or (single < 0).any():
        raise ValueError("expected values that are finite and not negative")
    order = np.argsort(places, kind="stable")
    if (np.diff(places[order]) == 0).any():
        raise ValueError("an index comes twice")
    return places[order].astype(np.uint32), single[order]


def _parts(value: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    if hasattr(value, "tocoo"):
        # A row of a matrix, or an array of one dimension.
        row = value.tocoo()
        return row.col.tolist() if hasattr(row, "col") else row.coords[-1].tolist(), row.data.tolist()
    if isinstance(value, Mapping):
        if set(value) == {"indices", "values"}:
            return list(value["indices"]), list(value["values"])
        return list(value), list(value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        pairs = [(one["index"], one["value"]) if isinstance(one, Mapping) else tuple(one) for one in value]
        if all(len(pair) == 2 for pair in pairs):
            return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    raise TypeError(f"expected a mapping of index to value or a list of pairs, got {type(value).__name__}")


def sparse_column(field: Field, values: Any, where: str = "") -> pa.ChunkedArray:
    """A column of sparse vectors.

    Args:
        field: for errors.
        values: an Arrow column of lists of structs of index and value, rows as `sparse_row` takes them, or a scipy
            sparse matrix.
        where: what to name in errors, such as a file.

    Raises:
        SchemaMismatch: a row does not fit; names it.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _arrow(field, values, where)
    if hasattr(values, "tocsr"):
        matrix = values.tocsr()
        values = [matrix[i : i + 1] for i in range(matrix.shape[0])]
    offsets, indices, weights, present = [0], [], [], []
    for row, value in enumerate(values):
        if value is not None:
            try:
                places, parts = sparse_row(value)
            except (TypeError, ValueError, KeyError) as error:
                raise _mismatch(field, row, str(error), where) from error
            indices.append(places)
            weights.append(parts)
        present.append(value is not None)
        offsets.append(offsets[-1] + (len(places) if value is not None else 0))
    flat = pa.StructArray.from_arrays(
        [
            pa.array(np.concatenate(indices) if indices else np.empty(0, np.uint32)),
            pa.array(np.concatenate(weights) if weights else np.empty(0, np.float32)),
        ],
        fields=[SPARSE.value_type.field(0), SPARSE.value_type.field(1)],
    )
    mask = None if all(present) else pa.array([not one for one in present])
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat, mask=mask)
    return pa.chunked_array([lists.cast(SPARSE)])


def _arrow(field: Field, values: Any, where: str) -> pa.ChunkedArray:
    nothing = pa.types.is_null(values.type)
    if not nothing and not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
        raise _mismatch(field, 0, f"expected lists of structs of index and value, got {values.type}", where)
    try:
        column = values.cast(SPARSE)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise _mismatch(field, 0, str(error), where) from error
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return pa.chunked_array([_in_order(field, chunk, where) for chunk in column.chunks], SPARSE)


def _in_order(field: Field, chunk: pa.ListArray, where: str) -> pa.ListArray:
    flat = chunk.flatten()
    if flat.null_count or flat.field("index").null_count or flat.field("value").null_count:
        raise _mismatch(field, 0, "an index or a value is null", where)
    rows = pc.list_parent_indices(chunk).to_numpy().astype(np.int64)
    indices = flat.field("index").to_numpy().astype(np.int64)
    values = flat.field("value").to_numpy()
    wrong = ~np.isfinite(values) | (values < 0) | (indices > _LARGEST_INDEX)
    if wrong.any():
        raise _mismatch(field, int(rows[np.argmax(wrong)]), "a value is negative or not finite", where)
    keys = (rows << 32) | indices
    if (np.diff(keys) > 0).all():
        return chunk
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(twice):
        raise _mismatch(field, int(rows[order[twice[0]]]), "an index comes twice", where)
    sizes = pc.fill_null(pc.list_value_length(chunk), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    mask = chunk.is_null() if chunk.null_count else None
    return pa.ListArray.from_arrays(pa.array(offsets), flat.take(pa.array(order)), mask=mask).cast(SPARSE)


def _mismatch(field: Field, row: int, why: str, where: str) -> SchemaMismatch:
    place = f"{where}, row {row}" if where else f"row {row}"
    return SchemaMismatch(
        f'{place}, field "{field.name}": not a sparse vector: {why}', row=row, field=field.name
    )
