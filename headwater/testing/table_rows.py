"""Filters over plain tables, for tests of the language by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from headwater.errors import UnsupportedOption
from headwater.index.json_paths import JsonPath, JsonValues, shred
from headwater.index.predicates import Answer, Predicate
from headwater.query.expr import TextQuery
from headwater.types import Bitmap, RowIds

__all__ = ["TableRows"]


class TableRows:
    """`FilterRows` of a table, without indexes.

    Args:
        table: has the columns that the filter reads.
    """

    def __init__(self, table: pa.RecordBatch | pa.Table) -> None:
        self._table = table
        self._paths: dict[tuple[str, JsonPath], JsonValues] = {}

    @property
    def num_rows(self) -> int:
        """See `FilterRows`."""
        return int(self._table.num_rows)

    @property
    def seed(self) -> int:
        """See `FilterRows`."""
        return 0

    def column(self, name: str) -> pa.Array:
        """See `FilterRows`."""
        column = self._table.column(name)
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """See `FilterRows`."""
        key = (name, path)
        if key not in self._paths:
            self._paths[key] = shred(self.column(name), path)
        return self._paths[key]

    def some(self, name: str, rows: RowIds) -> pa.Array:
        """See `FilterRows`."""
        return self.column(name).take(pa.array(rows))

    def some_json(self, name: str, path: JsonPath, rows: RowIds) -> JsonValues:
        """See `FilterRows`."""
        return self.json_path(name, path).take(rows)

    def indexed(self, name: str, path: Sequence[str | int], predicate: Predicate) -> Answer | None:
        """See `FilterRows`."""
        return None

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """Refused: a table has no words."""
        raise UnsupportedOption(f"a table has no index of the texts of {name!r}")
