"""What the evaluation of a filter reads: columns of some rows, and, where there are any, indexes over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from headwater.index.json_paths import JsonPath, JsonValues, shred
from headwater.index.predicates import Answer, Predicate
from headwater.types import Bitmap, RowIds

__all__ = ["FilterRows", "TableRows", "TextQuery"]


@dataclass(frozen=True)
class TextQuery:
    """What a text predicate looks for in one field, after templates are filled in.

    Attributes:
        kind: match (any of the analysed terms), phrase, or fuzzy (any term within an edit distance).
        text: analysed by the field's analyzer.
        minimum_should_match: of match: how many different terms of `text` a row must hold.
        slop: of phrase: how far its terms may be moved altogether.
        max_edits: of fuzzy: largest edit distance of a term.
    """

    kind: str
    text: str
    minimum_should_match: int = 1
    slop: int = 0
    max_edits: int = 0


class FilterRows(Protocol):
    """Rows that a filter is evaluated over."""

    @property
    def num_rows(self) -> int:
        """How many."""
        ...

    @property
    def seed(self) -> int:
        """Says which rows these are, from 0 to 2^63: the same for the same rows, so that samples are too."""
        ...

    def column(self, name: str) -> pa.Array:
        """All rows of a field, in its Arrow type."""
        ...

    def json_path(self, name: str, path: JsonPath) -> JsonValues:
        """The values at a path of a JSON field, sorted by type."""
        ...

    def some(self, name: str, rows: RowIds) -> pa.Array:
        """Some rows of a field; of a field that is not in memory, a few are read and no more.

        Args:
            name: the field.
            rows: (m,) int64 ascending positions.
        """
        ...

    def some_json(self, name: str, path: JsonPath, rows: RowIds) -> JsonValues:
        """`json_path` of some rows."""
        ...

    def indexed(self, name: str, path: tuple[str | int, ...], predicate: Predicate) -> Answer | None:
        """What a scalar index says; None where none is there, none serves it, or scanning is cheaper.

        Args:
            name: the field.
            path: in a JSON field; empty for other fields.
            predicate: what is asked.
        """
        ...

    def matching(self, name: str, query: TextQuery) -> Bitmap:
        """(num_rows,) True for rows whose text matches; False where the text is null."""
        ...


class TableRows:
    """Rows of a table, without indexes.

    Args:
        table: has the columns that the filter reads.
        texts: answers text predicates: called with the field's column and the query; None where there are none.
    """

    def __init__(self, table: pa.RecordBatch | pa.Table, texts: Any = None) -> None:
        self._table = table
        self._texts = texts
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
        """See `FilterRows`."""
        found: Bitmap = self._texts(name, self.column(name), query)
        return found
