"""Searching by primary key: the stored vectors of some rows are the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headwater.errors import InvalidArgument, NotFound
from headwater.index.exact import to_float32
from headwater.lake import Segment
from headwater.query.scan import locate
from headwater.query.search import query_matrix
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import DataType

__all__ = ["having_vectors", "stored_queries"]


def having_vectors(snapshot: Snapshot, field: Field, ids: Sequence[Any]) -> list[bool]:
    """Of each key, whether its row has a vector to search by; True of a key that is not there.

    Raises:
        InvalidArgument: a key has another type than the primary key.
    """
    kind = field.type.data_type
    vectors = kind.dense_vector or kind is DataType.SPARSE_FLOAT_VECTOR
    if not field.nullable or not vectors or field.name in snapshot.schema.virtual:
        return [True] * len(ids)
    segments, places = locate(snapshot, ids)
    held = {}
    for key, (ordinal, position) in places.items():
        if kind.dense_vector:
            present = snapshot.present(segments[ordinal], field)
            held[key] = present is None or bool(present[position])
        else:
            held[key] = _value(snapshot, segments[ordinal], position, field) is not None
    return [held.get(key, True) for key in ids]


def stored_queries(snapshot: Snapshot, field: Field, ids: Sequence[Any]) -> Any:
    """The vectors of rows, as queries on the same field.

    Args:
        snapshot: what to read.
        field: a dense or sparse vector field.
        ids: primary keys, or row ids without one, of rows that have a vector; one may come twice.

    Returns:
        (len(ids), dim) in the order of `ids`, in the form that the field is searched by.

    Raises:
        NotFound: there is no row of a key.
        InvalidArgument: a key has another type than the field, or the field has no vectors to read.
    """
    if field.name in snapshot.schema.virtual:
        raise InvalidArgument(
            f"ids: field {field.name!r} has no stored values to search by", hint="search it by text"
        )
    segments, places = locate(snapshot, ids)
    missing = [key for key in ids if key not in places]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise NotFound(f"ids: no row of key {missing[0]!r}{more}", hint="search by keys that are there")
    if not field.type.data_type.dense_vector:
        values = [_value(snapshot, segments[places[key][0]], places[key][1], field) for key in ids]
        return query_matrix(values, field)
    dim = field.type.dim or 0
    binary = field.type.data_type is DataType.BINARY_VECTOR
    rows = [np.empty((0, dim // 8), np.uint8) if binary else np.empty((0, dim), np.float32)]
    for key in ids:
        ordinal, position = places[key]
        vectors = snapshot.opened.vectors(segments[ordinal], snapshot.schema, field.name)
        one = vectors[np.array([position])]
        rows.append(one if binary else to_float32(one))
    stored = np.concatenate(rows)
    return stored if binary else query_matrix(stored, field)


def _value(snapshot: Snapshot, segment: Segment, position: int, field: Field) -> Any:
    [value] = snapshot.opened.take(segment, snapshot.schema, field.name, np.array([position])).to_pylist()
    return value
