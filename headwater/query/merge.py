"""The best of what each segment found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.index import complete
from headwater.types import FloatMatrix, MetricType, RowIds

__all__ = ["Merged", "Partial", "merge"]


class Partial(NamedTuple):
    """One segment's best: (q, k) distances and positions, -1 where there is none."""

    distances: FloatMatrix
    rows: RowIds


class Merged(NamedTuple):
    """Hits over segments, by query, best first.

    Attributes:
        which: (n,) int32, the place of each hit's segment.
        rows: (n,) int64, its position in that segment.
        distances: (n,) float32 values of the metric.
        counts: hits of each query.
    """

    which: npt.NDArray[np.int32]
    rows: RowIds
    distances: npt.NDArray[np.float32]
    counts: list[int]


def merge(partials: Sequence[Partial], q: int, top_k: int, metric: MetricType, *, ordered: bool) -> Merged:
    """The best hits of each query over the segments; of equal ones those of earlier segments.

    Args:
        partials: what each segment found.
        q: queries.
        top_k: hits of each query, at most.
        metric: how closeness is measured.
        ordered: whether each segment's hits are `top_k` at most, and ordered.
    """
    if not partials:
        return Merged(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), [0] * q)
    only = partials[0]
    k = only.rows.shape[1]
    if len(partials) == 1 and ordered and k and complete(only.rows):
        return Merged(np.zeros(q * k, np.int32), only.rows.reshape(-1), only.distances.reshape(-1), [k] * q)
    if q == 1:
        return _merged_one(partials, top_k, metric)
    distances = np.concatenate([partial.distances for partial in partials], axis=1)
    rows = np.concatenate([partial.rows for partial in partials], axis=1)
    which = _places(partials)
    sign = -1.0 if metric.larger_is_closer else 1.0
    order_key = np.where(rows >= 0, sign * distances, np.inf)
    order = np.argsort(order_key, axis=1, kind="stable")[:, :top_k]
    rows = np.take_along_axis(rows, order, axis=1)
    distances = np.take_along_axis(distances, order, axis=1)
    kept = rows >= 0
    counts = [int(count) for count in kept.sum(axis=1)]
    return Merged(which[order][kept], rows[kept], distances[kept], counts)


def _merged_one(partials: Sequence[Partial], top_k: int, metric: MetricType) -> Merged:
    """`merge` of one query."""
    distances = np.concatenate([partial.distances[0] for partial in partials])
    rows = np.concatenate([partial.rows[0] for partial in partials])
    there = np.flatnonzero(rows >= 0)
    nearest = -distances[there] if metric.larger_is_closer else distances[there]
    order = there[np.argsort(nearest, kind="stable")[:top_k]]
    return Merged(_places(partials)[order], rows[order], distances[order], [len(order)])


def _places(partials: Sequence[Partial]) -> npt.NDArray[np.int32]:
    """The place of the segment of each hit of a query."""
    return np.repeat(
        np.arange(len(partials), dtype=np.int32), [partial.rows.shape[1] for partial in partials]
    )
