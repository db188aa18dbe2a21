"""What the evaluation of a filter reads: columns of some rows, and, where there are any, indexes over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from headwater.index.json_paths import JsonPath, JsonValues
from headwater.index.predicates import Answer, Predicate
from headwater.types import Bitmap, RowIds

__all__ = ["FilterRows", "TextQuery"]


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
