"""Late interaction through an index: it names rows that may be the best, which are compared by all of their vectors.

Each vector of a query names the rows of the elements that are nearest to it. A row with the best sum has an element
near some vector of the query, nearly always near many, so little effort for each vector is enough: far less than it
takes to find the nearest elements themselves. How much is found out query by query: a round looks twice as far as the
one before, and a query is answered when twice as far changes none of its best rows. Where that comes near the cost of
comparing every element, that is done instead.

References: Khattab and Zaharia, "ColBERT", 2020; Santhanam et al., "PLAID: An Efficient Engine for Late Interaction
Retrieval", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index.exact import best
from headwater.index.protocol import SupportsGlance
from headwater.query.max_sim import VectorLists, compare_rows, search_rows
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Near", "search_near"]

_NAMED = 12
"""Elements named in the first round, as a multiple of the hits, by all vectors of a query together at the least."""

_ELEMENT_PAIRS = 8
_SEARCH_PAIRS = 10_000
_CODE_PAIRS = 5
_GATHERED_PAIRS = 1.6
"""What reading an element takes, a search of the index, a code that it looks at, and a pair of a vector of the query
and one of a row that lies by itself; in pairs compared one after the other, which take 4 ns of 128 numbers."""

_FIRST_SHARE, _SHARE = 0.25, 0.5
"""Of what comparing every element takes, the most that the first round may, and all rounds together."""

_MOST_NAMED = 256
"""Elements that a vector of a query names, at the most: where more are wanted, lists hold too few."""

_STEADY = 0.7
"""Of the best rows of a round, what must be among the best of the next; else the index knows too little of them."""


class Near(NamedTuple):
    """An index over the elements of a segment, and which of them may be found.

    Attributes:
        by: the index, opened.
        options: search parameters.
        rows: (n,) the rows to consider, which have vectors, ascending.
        kept: (num_rows,) the same as a bitmap; None for all.
        allowed: (elements,) their elements, where these are few among all; None where the others are left out after.
    """

    by: SupportsGlance
    options: Mapping[str, Any]
    rows: RowIds
    kept: Bitmap | None
    allowed: Bitmap | None


def search_near(
    near: Near, lists: VectorLists, queries: Sequence[npt.NDArray[Any]], k: int, metric: MetricType
) -> tuple[FloatMatrix, RowIds]:
    """The k best rows for each query, by the index where that is cheaper; as `search_lists`."""
    found: dict[int, tuple[FloatMatrix, RowIds]] = {}
    elements = int((lists.offsets[near.rows + 1] - lists.offsets[near.rows]).sum())
    if len(near.rows) > k:
        for at, query in enumerate(queries):
            hits = _rounds(near, lists, query, k, metric, elements)
            if hits is not None:
                found[at] = hits
    left = [at for at in range(len(queries)) if at not in found]
    trace.note(strategy="candidates of the index" if found else "exact", exact_queries=len(left))
    if left:
        distances, rows = search_rows(lists, [queries[at] for at in left], k, metric, near.rows)
        found.update({at: (distances[i : i + 1], rows[i : i + 1]) for i, at in enumerate(left)})
    every = [found[at] for at in range(len(queries))]
    return np.concatenate([one[0] for one in every]), np.concatenate([one[1] for one in every])


def _rounds(
    near: Near, lists: VectorLists, query: npt.NDArray[Any], k: int, metric: MetricType, elements: int
) -> tuple[FloatMatrix, RowIds] | None:
    """(1, k) distances and rows; None where comparing every element is cheaper."""
    m, per_row = len(query), len(lists.vectors) / (len(lists.offsets) - 1)
    every = elements * (m + _ELEMENT_PAIRS)
    width, done, reach, spent = k * math.ceil(max(1.0, _NAMED / m)), 0, 0, 0.0
    seen, values, before = np.empty(0, np.int64), np.empty((1, 0), np.float32), np.empty(0, np.int64)
    while width <= min(_MOST_NAMED, len(lists.vectors) // 8):
        options, looked_at = near.by.glance(reach, width)
        compared = _GATHERED_PAIRS * m * (width - done) * per_row
        spent += m * (_SEARCH_PAIRS + _CODE_PAIRS * looked_at + compared)
        if spent > (_SHARE if reach else _FIRST_SHARE) * every:
            break
        named = _named(near, lists, query, width, {**options, **near.options})
        new = np.setdiff1d(named, seen, assume_unique=True)
        if len(new):
            seen = np.concatenate([seen, new])
            values = np.concatenate([values, compare_rows(lists, new, [query], metric)], axis=1)
        order = best(values, k, metric)
        now = seen[order[0]]
        steady = len(np.intersect1d(now, before, assume_unique=True))
        if steady == k:
            trace.count(vectors_compared=m * int((lists.offsets[seen + 1] - lists.offsets[seen]).sum()))
            return np.take_along_axis(values, order, axis=1), seen[order]
        if len(before) == k and steady < _STEADY * k:
            break
        before, width, done, reach = now, 2 * width, width, reach + 1
    return None


def _named(
    near: Near, lists: VectorLists, query: npt.NDArray[Any], width: int, options: Mapping[str, Any]
) -> RowIds:
    """The rows that the nearest elements of each vector of a query are of, ascending."""
    _, numbers = near.by.search(query, width, allowed=near.allowed, vectors=lists.vectors, options=options)
    rows = np.unique(lists.rows_of(np.unique(numbers[numbers >= 0])))
    return rows if near.kept is None else rows[near.kept[rows]]
