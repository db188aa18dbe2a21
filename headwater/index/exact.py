"""Exact search: the oracle, the path of rows without an index, and of filters that leave few rows.

Vectors stay as they are stored; blocks of them are widened to float32, so memory is bounded by a block.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = [
    "best",
    "exact_range",
    "exact_search",
    "in_range",
    "lengths",
    "normalised",
    "products",
    "score",
    "score_at",
    "to_float32",
]

_BLOCK_ROWS = 65_536
_BLOCK_QUERIES = 256
_SORTED = 256
"""So few distances are sorted sooner than the best of them are parted from the others."""

_IN_PLACE_QUERIES = 4
"""Up to this many queries, chosen rows are scored where they are; beyond, a copy and one matrix product is faster."""


_FEW = 4
"""Queries up to so many are compared one by one, which is exact and takes no longer than products of matrices."""


def to_float32(vectors: npt.NDArray[Any]) -> FloatMatrix:
    """Stored vectors as float32: half precision, int8, and bfloat16 (as uint16 bits) widened; float32 as it is."""
    if vectors.dtype == np.float32:
        return np.ascontiguousarray(vectors)
    if vectors.dtype == np.uint16:
        return (vectors.astype(np.uint32) << 16).view(np.float32)
    return vectors.astype(np.float32)


def lengths(vectors: FloatMatrix) -> npt.NDArray[np.float32]:
    """(n,) Euclidean lengths, never zero, so that dividing by them leaves zero vectors zero."""
    squares: npt.NDArray[np.float32] = np.einsum("ij,ij->i", vectors, vectors)
    return np.maximum(np.sqrt(squares), np.float32(1e-30))


def normalised(vectors: FloatMatrix) -> FloatMatrix:
    """Vectors scaled to length one; zero vectors stay zero."""
    if len(vectors) == 1:
        # Four times as fast as by numpy, and there is one for each search.
        one = vectors.copy()
        faiss.fvec_renorm_L2(one.shape[1], 1, faiss.swig_ptr(one))
        return one
    scaled: FloatMatrix = vectors / lengths(vectors)[:, None]
    return scaled


def score(vectors: npt.NDArray[Any], queries: npt.NDArray[Any], metric: MetricType) -> FloatMatrix:
    """(q, n) values of the metric; of MHJACCARD the shares of hashes that agree, of L2 the squared distances."""
    if metric is MetricType.MHJACCARD:
        return _score_signatures(vectors, queries)
    if metric in (MetricType.HAMMING, MetricType.JACCARD):
        return _score_binary(vectors, queries, metric)
    wide, asked = to_float32(vectors), to_float32(queries)
    if metric is MetricType.COSINE:
        return _cosine(wide, asked)
    if metric is MetricType.L2:
        return _squared(asked, wide)
    return products(asked, wide)


def _squared(asked: FloatMatrix, wide: FloatMatrix) -> FloatMatrix:
    """(q, n) squared distances, never below zero, as rounding makes those of equal vectors by products of matrices."""
    if 0 < len(asked) <= _FEW:
        alone = [_score_one(faiss.fvec_L2sqr_ny, asked[i : i + 1], wide) for i in range(len(asked))]
        return alone[0] if len(alone) == 1 else np.concatenate(alone)
    squared: FloatMatrix = faiss.pairwise_distances(asked, wide)
    return np.maximum(squared, 0, out=squared)


def products(asked: FloatMatrix, wide: FloatMatrix) -> FloatMatrix:
    """(q, n) inner products of float32 vectors."""
    if len(asked) == 1:
        return _score_one(faiss.fvec_inner_products_ny, asked, wide)
    of_all: FloatMatrix = asked @ wide.T
    return of_all


def _score_one(kernel: Any, asked: FloatMatrix, wide: FloatMatrix) -> FloatMatrix:
    """(1, n) of one query, in one pass over the vectors.

    Products of matrices take three to six times as long for L2, and wake other threads, which costs up to 4 ms.
    """
    out = np.empty((1, len(wide)), np.float32)
    kernel(*map(faiss.swig_ptr, (out, asked, wide)), wide.shape[1], len(wide))
    return out


def _cosine(wide: FloatMatrix, asked: FloatMatrix) -> FloatMatrix:
    """Products first, lengths after: nothing of the vectors' size is written."""
    cosines = products(asked, wide)
    cosines /= lengths(wide)
    cosines /= lengths(asked)[:, None]
    return cosines


def _score_binary(vectors: npt.NDArray[Any], queries: npt.NDArray[Any], metric: MetricType) -> FloatMatrix:
    out = np.empty((len(queries), len(vectors)), np.float32)
    for i, query in enumerate(queries):
        differ = np.bitwise_count(vectors ^ query).sum(axis=1, dtype=np.int64)
        if metric is MetricType.HAMMING:
            out[i] = differ
        else:
            union = np.bitwise_count(vectors | query).sum(axis=1, dtype=np.int64)
            out[i] = np.where(union == 0, 0.0, differ / np.maximum(union, 1))
    return out


def _score_signatures(vectors: npt.NDArray[Any], queries: npt.NDArray[Any]) -> FloatMatrix:
    """(q, n) shares of the 32-bit hashes that agree: estimates of the Jaccard similarity of what was hashed."""
    stored, asked = (np.ascontiguousarray(one).view("<u4") for one in (vectors, queries))
    out = np.empty((len(asked), len(stored)), np.float32)
    for i, query in enumerate(asked):
        out[i] = np.count_nonzero(stored == query, axis=1) / np.float32(stored.shape[1])
    return out


def score_at(
    vectors: Vectors,
    queries: npt.NDArray[Any],
    rows: RowIds,
    metric: MetricType,
    row_lengths: npt.NDArray[np.float32] | None = None,
) -> FloatMatrix:
    """(q, c) values of the metric between each query and its own rows; float32 rows are read where they are.

    Args:
        vectors: (n, width) as stored.
        queries: (q, width) float32, or packed uint8 for binary.
        rows: (q, c) positions in [0, n).
        metric: how closeness is measured.
        row_lengths: (n,) lengths of the vectors, where they are known; the queries of COSINE are then of length one.
    """
    if not isinstance(vectors, np.ndarray):
        # Rows that several queries share are fetched once, and all of them together.
        distinct, places = np.unique(rows, return_inverse=True)
        known = None if row_lengths is None else row_lengths[distinct]
        return score_at(vectors[distinct], queries, places.reshape(rows.shape), metric, known)
    if vectors.dtype != np.float32 or not vectors.flags.c_contiguous:
        return np.stack([score(vectors[r], queries[i : i + 1], metric)[0] for i, r in enumerate(rows)])
    asked, wanted = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(rows, np.int64)
    out = np.empty(rows.shape, np.float32)
    kernel = faiss.fvec_L2sqr_by_idx if metric is MetricType.L2 else faiss.fvec_inner_products_by_idx
    kernel(*map(faiss.swig_ptr, (out, asked, vectors, wanted)), vectors.shape[1], *rows.shape)
    if metric is MetricType.COSINE:
        if row_lengths is not None:
            out /= np.maximum(row_lengths[rows], np.float32(1e-30))
        else:
            out /= np.stack([lengths(vectors[r]) for r in rows])
            out /= lengths(asked)[:, None]
    return out


def best(distances: FloatMatrix, k: int, metric: MetricType) -> npt.NDArray[np.int64]:
    """(q, k) positions of the best columns, best first; equal values by position."""
    key = -distances if metric.larger_is_closer else distances
    if len(key) == 1:
        return _best_of_row(key[0], k)[None]
    if k >= key.shape[1]:
        return np.argsort(key, axis=1, kind="stable")
    each = np.arange(len(key))[:, None]
    chosen = np.argpartition(key, k - 1, axis=1)[:, :k].copy()
    bounds = key[each[:, 0], chosen[:, k - 1]]
    for row in np.flatnonzero(np.count_nonzero(key <= bounds[:, None], axis=1) > k):
        chosen[row] = _first_of_equal(key[row], k, bounds[row])
    chosen.sort(axis=1)
    ordered: npt.NDArray[np.int64] = chosen[each, np.argsort(key[each, chosen], axis=1, kind="stable")]
    return ordered


def _best_of_row(key: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.int64]:
    if k >= len(key) or len(key) <= _SORTED:
        return key.argsort(kind="stable")[:k]
    # One place alone is parted six times as fast as two, so what is equal across it is counted.
    chosen = key.argpartition(k - 1)[:k]
    bound = key[chosen[k - 1]]
    if np.count_nonzero(key <= bound) > k:
        chosen = _first_of_equal(key, k, bound)
    chosen.sort()
    return chosen[key[chosen].argsort(kind="stable")]


def _first_of_equal(key: npt.NDArray[np.float32], k: int, bound: np.float32) -> npt.NDArray[np.int64]:
    """The k best positions where values equal to the k-th lie on both sides of it: of those the first ones."""
    better = np.flatnonzero(key < bound)
    return np.concatenate([better, np.flatnonzero(key == bound)[: k - len(better)]])


def exact_search(
    vectors: Vectors,
    queries: npt.NDArray[Any],
    k: int,
    metric: MetricType,
    *,
    allowed: Bitmap | None = None,
    row_lengths: npt.NDArray[np.float32] | None = None,
) -> tuple[FloatMatrix, RowIds]:
    """The k nearest rows of each query, exactly.

    Args:
        vectors: (n, width) as stored.
        queries: (q, width) float32, or packed uint8 for binary.
        k: how many.
        metric: how closeness is measured.
        allowed: (n,) rows to consider; None for all.
        row_lengths: see `score_at`.

    Returns:
        (q, k') distances and positions, best first, k' = min(k, rows considered).
    """
    if len(queries) > _BLOCK_QUERIES:
        parts = [
            exact_search(
                vectors,
                queries[start : start + _BLOCK_QUERIES],
                k,
                metric,
                allowed=allowed,
                row_lengths=row_lengths,
            )
            for start in range(0, len(queries), _BLOCK_QUERIES)
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    rows = None if allowed is None else np.flatnonzero(allowed)
    total = len(vectors) if rows is None else len(rows)
    k = min(k, total)
    found = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if k == 0:
        return found
    trace.count(vectors_compared=len(queries) * total)
    if total <= _BLOCK_ROWS:
        block = _scored(vectors, queries, metric, slice(0, total) if rows is None else rows, row_lengths)
        top = best(block, k, metric)
        return np.take_along_axis(block, top, axis=1), top if rows is None else rows[top]
    for start in range(0, total, _BLOCK_ROWS):
        stop = min(total, start + _BLOCK_ROWS)
        chosen = slice(start, stop) if rows is None else rows[start:stop]
        block = _scored(vectors, queries, metric, chosen, row_lengths)
        top = best(block, min(k, block.shape[1]), metric)
        distances = np.concatenate([found[0], np.take_along_axis(block, top, axis=1)], axis=1)
        positions = np.concatenate([found[1], top + start if rows is None else rows[start + top]], axis=1)
        order = best(distances, min(k, distances.shape[1]), metric)
        found = np.take_along_axis(distances, order, axis=1), np.take_along_axis(positions, order, axis=1)
    return found


def _scored(
    vectors: Vectors,
    queries: npt.NDArray[Any],
    metric: MetricType,
    chosen: slice | RowIds,
    row_lengths: npt.NDArray[np.float32] | None,
) -> FloatMatrix:
    known = row_lengths is not None or metric in (MetricType.L2, MetricType.IP)
    if isinstance(chosen, slice) or not known or len(queries) > _IN_PLACE_QUERIES:
        if row_lengths is None or metric is not MetricType.COSINE:
            return score(vectors[chosen], queries, metric)
        cosines = products(to_float32(queries), to_float32(vectors[chosen]))
        cosines /= np.maximum(row_lengths[chosen], np.float32(1e-30))
        return cosines
    return score_at(vectors, queries, np.tile(chosen, (len(queries), 1)), metric, row_lengths)


def exact_range(
    vectors: Vectors,
    queries: npt.NDArray[Any],
    metric: MetricType,
    radius: float | None,
    range_filter: float | None,
    allowed: Bitmap | None,
) -> tuple[FloatMatrix, RowIds]:
    """Rows between the inner and the outer bound, best first, padded with -1 to the longest.

    As in Milvus: for IP and COSINE `radius < distance <= range_filter`; else `range_filter <= distance < radius`.
    """
    distances, rows = exact_search(vectors, queries, len(vectors), metric, allowed=allowed)
    distances, kept = in_range(distances, metric, radius, range_filter)
    return distances, np.where(kept, rows, -1)


def in_range(
    distances: npt.NDArray[np.float32], metric: MetricType, radius: float | None, range_filter: float | None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Distances, cosines at most 1 where rounding makes more, and which are between the bounds of `exact_range`."""
    if metric is MetricType.COSINE:
        distances = np.clip(distances, -1, 1)
    kept = np.ones(distances.shape, np.bool_)
    closer = metric.larger_is_closer
    if radius is not None:
        kept &= distances > radius if closer else distances < radius
    if range_filter is not None:
        kept &= distances <= range_filter if closer else distances >= range_filter
    return distances, kept
