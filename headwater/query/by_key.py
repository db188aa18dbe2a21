"""Searching by primary key: the stored vectors of some rows are the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headwater.errors import InvalidArgument, NotFound
from headwater.index.exact import to_float32
from headwater.query.scan import locate
from headwater.query.search import query_matrix
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import DataType

__all__ = ["stored_queries"]


def stored_queries(snapshot: Snapshot, field: Field, ids: Sequence[Any]) -> Any:
    """The vectors of rows, as queries on the same field.

    Args:
        snapshot: what to read.
        field: a dense or sparse vector field.
        ids: primary keys, or row ids without one; one may come twice.

    Returns:
        (len(ids), dim) in the order of `ids`, in the form that the field is searched by.

    Raises:
        NotFound: there is no row of a key.
        InvalidArgument: a key has another type than the field, the row has no vector, or the field none to read.
    """
    if field.name in snapshot.schema.virtual:
        raise InvalidArgument(
            f"ids: field {field.name!r} has no stored values to search by", hint="search it by text"
        )
    if not len(ids):
        raise InvalidArgument("ids: expected at least one key, got none")
    segments, places = locate(snapshot, ids)
    missing = [key for key in ids if key not in places]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotFound(f"ids: no row of key {missing[0]!r}{more}", hint="search by keys that are there")
    if not field.type.data_type.dense_vector:
        return query_matrix(_values(snapshot, segments, places, ids, field), field)
    rows = []
    for key in ids:
        ordinal, position = places[key]
        present = snapshot.present(segments[ordinal], field)
        if present is not None and not present[position]:
            raise InvalidArgument(f"ids: the row of key {key!r} has no {field.name!r}, it is null")
        vectors = snapshot.opened.vectors(segments[ordinal], snapshot.schema, field.name)
        rows.append(vectors[np.array([position])])
    stored = np.concatenate(rows)
    if field.type.data_type is DataType.BINARY_VECTOR:
        return stored
    return query_matrix(to_float32(stored), field)


def _values(
    snapshot: Snapshot,
    segments: Sequence[Any],
    places: dict[Any, tuple[int, int]],
    ids: Sequence[Any],
    field: Field,
) -> list[Any]:
    values = []
    for key in ids:
        ordinal, position = places[key]
        taken = snapshot.opened.take(segments[ordinal], snapshot.schema, field.name, np.array([position]))
        [value] = taken.to_pylist()
        if value is None:
            raise InvalidArgument(f"ids: the row of key {key!r} has no {field.name!r}, it is null")
        values.append(value)
    return values
