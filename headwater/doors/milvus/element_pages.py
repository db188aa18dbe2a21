"""Queries with `element_filter`, whose answer has an entry for each element: pages of entries, not of rows.

The protocol has the rows, and with each the positions of its elements; a client makes an entry of each. So a page may
begin and end inside a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from headwater.engine import CollectionAt
from headwater.query import QueryResult

__all__ = ["Seen", "element_page"]


class Seen(NamedTuple):
    """The last entry of an iterator.

    Attributes:
        key: of its row, as text.
        offset: its position in the row's array.
    """

    key: str
    offset: int


def element_page(
    state: CollectionAt,
    asked: Mapping[str, Any],
    *,
    limit: int | None,
    offset: int,
    seen: Seen | None = None,
) -> QueryResult:
    """A page of the entries of a query whose filter has `element_filter`.

    Args:
        state: what is read.
        asked: of `CollectionAt.query`, without a limit and an offset.
        limit: entries; None for all.
        offset: entries to skip.
        seen: entries up to this one are skipped too, where its row is the first.

    Returns:
        The rows that have an entry on the page, and of each the elements that are on it.
    """
    key = state.schema.primary_key
    most = None if limit is None else offset + limit + (seen is not None)
    first = state.query(**{**asked, "output_fields": [] if key is None else [key]}, limit=most)
    elements = first.element_indices or []
    ends = np.cumsum([len(one) for one in elements], dtype=np.int64)
    start = offset + _skipped(first, elements, key, seen)
    total = int(ends[-1]) if len(ends) else 0
    stop = total if limit is None else min(total, start + limit)
    if start >= stop:
        return state.query(**asked, limit=0)
    begin, end = int(np.searchsorted(ends, start, "right")), int(np.searchsorted(ends, stop, "left")) + 1
    page = state.query(**asked, limit=end - begin, offset=begin)
    starts = ends - [len(one) for one in elements]
    page.element_indices = [
        elements[row][max(0, start - int(starts[row])) : stop - int(starts[row])] for row in range(begin, end)
    ]
    return page


def _skipped(rows: QueryResult, elements: list[list[int]], key: str | None, seen: Seen | None) -> int:
    """Entries of the first row that an iterator has handed out already."""
    if seen is None or key is None or not elements:
        return 0
    table: pa.Table = rows.to_arrow()
    if str(table.column(key)[0].as_py()) != seen.key:
        return 0
    return int(np.searchsorted(elements[0], seen.offset, "right"))
