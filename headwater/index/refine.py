"""Exact distances of candidates: what makes a compressed index's answer exact but for the choice of candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.exact import best, exact_search, score_at
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["refine"]

_FETCHED_BYTES = 64 << 20
"""Vectors fetched together, at the most, for as many queries as that holds the candidates of."""


def refine(
    vectors: Vectors,
    queries: npt.NDArray[Any],
    candidates: RowIds,
    k: int,
    metric: MetricType,
    *,
    allowed: Bitmap | None = None,
    row_lengths: npt.NDArray[np.float32] | None = None,
) -> tuple[FloatMatrix, RowIds]:
    """The best k of each query's candidates by exact distance; exact search for queries that have fewer than k.

    Args:
        vectors: (n, width) the segment's vectors as stored.
        queries: (q, width).
        candidates: (q, c) positions, -1 where there are no more; c >= k.
        k: how many, at most the number of allowed rows.
        metric: how closeness is measured.
        allowed: (n,) rows to consider; None for all.
        row_lengths: (n,) lengths of the vectors, where they are known; the queries of COSINE are then of length one.

    Returns:
        (q, k) distances and positions, best first.
    """
    if not isinstance(vectors, np.ndarray):
        together = max(1, _FETCHED_BYTES // (candidates.shape[1] * vectors.shape[1] * vectors.dtype.itemsize))
        if len(queries) > together:
            parts = [
                refine(
                    vectors,
                    queries[start : start + together],
                    candidates[start : start + together],
                    k,
                    metric,
                    allowed=allowed,
                    row_lengths=row_lengths,
                )
                for start in range(0, len(queries), together)
            ]
            return np.concatenate([one[0] for one in parts]), np.concatenate([one[1] for one in parts])
    trace.count(vectors_compared=candidates.size)
    if candidates.min(initial=0) >= 0:
        distances = score_at(vectors, queries, candidates, metric, row_lengths)
        return _ordered(distances, candidates, k, metric)
    present = candidates >= 0
    rows = np.where(present, candidates, 0)
    distances = score_at(vectors, queries, rows, metric, row_lengths)
    distances[~present] = -np.inf if metric.larger_is_closer else np.inf
    found = _ordered(distances, rows, k, metric)
    short = np.flatnonzero(present.sum(axis=1) < k)
    if len(short):
        found[0][short], found[1][short] = exact_search(
            vectors, queries[short], k, metric, allowed=allowed, row_lengths=row_lengths
        )
    return found


def _ordered(distances: FloatMatrix, rows: RowIds, k: int, metric: MetricType) -> tuple[FloatMatrix, RowIds]:
    order = best(distances, k, metric)
    if len(rows) == 1:
        first = order[0]
        return distances[:, first], rows[:, first]
    each = np.arange(len(rows))[:, None]
    return distances[each, order], rows[each, order]
