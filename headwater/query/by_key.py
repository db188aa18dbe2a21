"""Searching by primary key: the stored vectors of some rows are the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from headwater.errors import InvalidArgument, NotFound
from headwater.index.exact import to_float32
from headwater.lake import Segment
from headwater.query.scan import locate
from headwater.query.search_plan import query_matrix
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import DataType

__all__ = ["StoredQueries"]


class StoredQueries:
    """Rows that are searched by; where they are is looked up once, when it is first asked.

    Args:
        snapshot: what to read.
        keys: primary keys, or row ids without one; one may come twice.
    """

    def __init__(self, snapshot: Snapshot, keys: Sequence[Any]) -> None:
        self.keys = keys
        self._snapshot = snapshot
        self._known: tuple[list[Segment], dict[Any, tuple[int, int]]] | None = None

    def _located(self) -> tuple[list[Segment], dict[Any, tuple[int, int]]]:
        if self._known is None:
            self._known = locate(self._snapshot, self.keys)
        return self._known

    def kept(self, chosen: Sequence[bool]) -> StoredQueries:
        """Some of them."""
        some = StoredQueries(self._snapshot, [key for key, one in zip(self.keys, chosen, strict=True) if one])
        some._known = self._known
        return some

    def have_vectors(self, field: Field) -> list[bool]:
        """Of each key, whether its row has a vector to search by; True of a key that is not there.

        Raises:
            InvalidArgument: a key has another type than the primary key.
        """
        kind = field.type.data_type
        vectors = kind.dense_vector or kind is DataType.SPARSE_FLOAT_VECTOR
        if not field.nullable or not vectors or field.name in self._snapshot.schema.virtual:
            return [True] * len(self.keys)
        segments, places = self._located()
        held = {}
        for key, (ordinal, position) in places.items():
            if kind.dense_vector:
                present = self._snapshot.present(segments[ordinal], field)
                held[key] = present is None or bool(present[position])
            else:
                held[key] = self._value(segments[ordinal], position, field) is not None
        return [held.get(key, True) for key in self.keys]

    def vectors(self, field: Field) -> Any:
        """The vectors of rows that all have one, as queries on the same field.

        Args:
            field: a dense or sparse vector field.

        Returns:
            (len(keys), dim) in the order of the keys, in the form that the field is searched by.

        Raises:
            NotFound: there is no row of a key.
            InvalidArgument: a key has another type than the field, or the field has no vectors to read.
        """
        if field.name in self._snapshot.schema.virtual:
            raise InvalidArgument(
                f"ids: field {field.name!r} has no stored values to search by", hint="search it by text"
            )
        segments, places = self._located()
        missing = [key for key in self.keys if key not in places]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise NotFound(f"ids: no row of key {missing[0]!r}{more}", hint="search by keys that are there")
        if not field.type.data_type.dense_vector:
            values = [self._value(segments[places[key][0]], places[key][1], field) for key in self.keys]
            return query_matrix(values, field)
        dim = field.type.dim or 0
        binary = field.type.data_type is DataType.BINARY_VECTOR
        rows = [np.empty((0, dim // 8), np.uint8) if binary else np.empty((0, dim), np.float32)]
        for key in self.keys:
            ordinal, position = places[key]
            vectors = self._snapshot.opened.vectors.of(segments[ordinal], self._snapshot.schema, field.name)
            one = vectors[np.array([position])]
            rows.append(one if binary else to_float32(one))
        stored = np.concatenate(rows)
        return stored if binary else query_matrix(stored, field)

    def _value(self, segment: Segment, position: int, field: Field) -> Any:
        taken = self._snapshot.opened.fields.take(
            segment, self._snapshot.schema, field.name, np.array([position])
        )
        [value] = taken.to_pylist()
        return value
