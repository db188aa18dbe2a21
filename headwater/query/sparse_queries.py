"""Queries of sparse vector fields, in the forms that callers have them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.errors import SchemaMismatch
from headwater.schema import Field, sparse_row

__all__ = ["sparse_queries"]


def sparse_queries(data: Any, field: Field) -> npt.NDArray[np.object_]:
    """Queries of a sparse field.

    Args:
        data: a text, a mapping of index to value, or several; a list of (index, value) pairs is one vector, a list of
            such lists several; or a scipy sparse matrix of a row for each query.
        field: the field searched.

    Returns:
        (q,) objects: each a text, or a pair of arrays, indices (uint32, ascending) and values (float32).

    Raises:
        SchemaMismatch: a query is none of these, or has an index or value that does not fit.
    """
    rows = _rows(data)
    found = np.empty(len(rows), object)
    for i, row in enumerate(rows):
        if isinstance(row, str):
            found[i] = row
            continue
        try:
            indices, values = sparse_row(row)
        except (TypeError, ValueError) as error:
            raise SchemaMismatch(f"query {i}, field {field.name!r}: {error}") from error
        found[i] = (indices, values)
    return found


def _rows(data: Any) -> list[Any]:
    if isinstance(data, str | Mapping):
        return [data]
    if hasattr(data, "tocsr"):
        whole = data.tocsr()
        return [whole[i : i + 1] for i in range(whole.shape[0])]
    rows = list(data)
    return [rows] if rows and _is_pair(rows[0]) else rows


def _is_pair(one: Any) -> bool:
    """Whether this is an index and a value, rather than a vector of two of those."""
    if isinstance(one, Mapping):
        return set(one) == {"index", "value"} and all(not isinstance(part, str) for part in one.values())
    if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 2:
        return False
    return all(isinstance(part, int | float | np.number) for part in one)
