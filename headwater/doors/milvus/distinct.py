"""Answers have a key once and are in the order of keys, as Milvus's are, whatever rows were inserted when."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.query.columns import ArrowColumn, Column
from headwater.query.results import QueryResult, SearchResult

__all__ = ["distinct_hits", "distinct_rows", "rows_by_key"]


def distinct_rows(result: QueryResult, key: str | None) -> QueryResult:
    """Rows of different keys: of those of one key the one that is stored last.

    Args:
        result: has the key among its columns.
        key: the primary key, if the collection has one.
    """
    table = result.to_arrow()
    if result.element_indices is not None:
        return result
    if key is None or len(table) < 2 or pc.count_distinct(table.column(key)).as_py() == len(table):
        return result
    last = {value: place for place, value in enumerate(table.column(key).to_pylist())}
    return QueryResult(table.take(pa.array(sorted(last.values()))), result.info, result.json_fields)


def rows_by_key(result: QueryResult, key: str | None) -> QueryResult:
    """The rows of a query that names no order, in the order of keys.

    Args:
        result: has the key among its columns.
        key: the primary key, if the collection has one.
    """
    table = result.to_arrow()
    if key is None or result.element_indices is not None or len(table) < 2:
        return result
    keys = table.column(key)
    if pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py():
        return result
    return QueryResult(table.take(pc.sort_indices(keys)), result.info, result.json_fields)


def distinct_hits(result: SearchResult) -> SearchResult:
    """Hits of different keys for each query: of those of one key the best; of elements those of one key and place."""
    if result.agg_buckets is not None:
        return result
    keys, elements = result.keys.to_pylist(), result.flat_elements
    if elements is not None:
        keys = list(zip(keys, elements.tolist(), strict=True))
    if len(set(keys)) == len(keys):
        return result
    kept: list[int] = []
    counts, start = [], 0
    for count in result.counts:
        first: dict[object, int] = {}
        for place in range(start, start + int(count)):
            first.setdefault(keys[place], place)
        kept += first.values()
        counts.append(len(first))
        start += int(count)
    if len(kept) == len(keys):
        return result
    places = np.array(kept, np.int64)
    distinct = SearchResult(
        _taken(result.keys, places),
        result.distances[places],
        {name: _taken(column, places) for name, column in result.columns.items()},
        counts,
        result.info,
        result.json_fields,
        leg_scores=None if result.flat_leg_scores is None else result.flat_leg_scores[places],
    )
    distinct.flat_elements = None if elements is None else elements[places]
    return distinct


def _taken(column: Column | pa.ChunkedArray, places: npt.NDArray[np.int64]) -> Column:
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column.to_arrow()
    return ArrowColumn(values.take(pa.array(places)))
