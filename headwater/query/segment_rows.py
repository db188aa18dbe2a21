"""One segment as a filter sees it: hot columns, JSON paths, and the indexes that cover it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.index.json_paths import JsonPath, JsonValues, numbers_of_texts, shred
from headwater.index.predicates import Answer, Predicate
from headwater.lake import Segment
from headwater.query.inverted import InvertedIndexes
from headwater.query.opened import Opened
from headwater.query.scalar_indexes import ScalarIndexes
from headwater.schema import Schema
from headwater.types import Bitmap, RowIds

if TYPE_CHECKING:
    from headwater.query.expr import TextQuery

__all__ = ["SegmentRows"]

_FEW = 32
"""One row in so many is read in place; more of them cost what decoding all does."""


class SegmentRows:
    """See `expr.FilterRows`.

    Args:
        opened: the cache that columns and indexes come from.
        schema: names the fields.
        segment: whose rows.
        indexes: the scalar indexes of the version; None for none.
        inverted: its inverted indexes; None for none.
    """

    def __init__(
        self,
        opened: Opened,
        schema: Schema,
        segment: Segment,
        indexes: ScalarIndexes | None = None,
        inverted: InvertedIndexes | None = None,
    ) -> None:
        self._opened = opened
        self._schema = schema
        self._segment = segment
        self._indexes = indexes
        self._inverted = InvertedIndexes() if inverted is None else inverted

    @property
    def num_rows(self) -> int:
        """See `expr.FilterRows`."""
        return self._segment.num_rows

    @property
    def seed(self) -> int:
        """See `expr.FilterRows`."""
        return zlib.crc32(str(self._segment.id).encode())

    def column(self, name: str) -> pa.Array:
        """See `expr.FilterRows`."""
        array = self._opened.fields.column(self._segment, self._schema, name)
        if len(array) != self._segment.num_rows:
            raise SchemaMismatch(
                f"field {name!r} has {len(array)} rows in segment {self._segment.id}, "
                f"expected {self._segment.num_rows}"
            )
        return array

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """See `expr.FilterRows`."""
        if self._casts(name, path):
            return self._opened.fields.json_numbers(self._segment, self._schema, name, path)
        return self._opened.fields.json_path(self._segment, self._schema, name, path)

    def _casts(self, name: str, path: JsonPath) -> bool:
        """Whether texts at a path that spell a number are numbers."""
        if self._indexes is None or not self._indexes.cast_paths:
            return False
        return (self._schema.field(name).id, path) in self._indexes.cast_paths

    def some(self, name: str, rows: RowIds) -> pa.Array:
        """See `expr.FilterRows`."""
        if len(rows) * _FEW <= self._segment.num_rows:
            return self._opened.fields.take(self._segment, self._schema, name, rows).to_arrow()
        return self.column(name).take(pa.array(rows))

    def some_json(self, name: str, path: JsonPath, rows: RowIds) -> JsonValues:
        """See `expr.FilterRows`."""
        few = len(rows) * _FEW <= self._segment.num_rows
        if few and not self._opened.fields.decoded(self._segment, self._schema, name, path):
            found = shred(self.some(name, rows), path)
            return numbers_of_texts(found) if self._casts(name, path) else found
        return self.json_path(name, path).take(rows)

    def indexed(self, name: str, path: tuple[str | int, ...], predicate: Predicate) -> Answer | None:
        """See `expr.FilterRows`."""
        if self._indexes is None:
            return None
        return self._indexes.ask(self._opened, self._schema, self._segment, name, path, predicate)

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """See `expr.FilterRows`."""
        return self._inverted.matching(self._opened, self._schema, self._segment, name, query)
