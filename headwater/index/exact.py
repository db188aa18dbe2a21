"""Exact search: the oracle, the path of rows without an index, and of filters that leave few rows.

Vectors stay as they are stored; blocks of them are widened to float32, so memory is bounded by a block.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["exact_range", "exact_search", "normalised", "score", "to_float32"]

_BLOCK_ROWS = 65_536


def to_float32(vectors: npt.NDArray[Any]) -> FloatMatrix:
    """Stored vectors as float32: half precision, int8, and bfloat16 (as uint16 bits) widened; float32 as it is."""
    if vectors.dtype == np.float32:
        return np.ascontiguousarray(vectors)
    if vectors.dtype == np.uint16:
        return (vectors.astype(np.uint32) << 16).view(np.float32)
    return vectors.astype(np.float32)


def normalised(vectors: FloatMatrix) -> FloatMatrix:
    """Vectors scaled to length one; zero vectors stay zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    scaled: FloatMatrix = vectors / np.maximum(norms, np.float32(1e-30))[:, None]
    return scaled


def score(vectors: npt.NDArray[Any], queries: npt.NDArray[Any], metric: MetricType) -> FloatMatrix:
    """(q, n) values of the metric: squared L2, inner product, cosine, Hamming bits, or Jaccard distance."""
    if metric in (MetricType.HAMMING, MetricType.JACCARD):
        return _score_binary(vectors, queries, metric)
    wide, asked = to_float32(vectors), to_float32(queries)
    if metric is MetricType.COSINE:
        return _cosine(wide, asked)
    if metric is MetricType.L2:
        squared: FloatMatrix = faiss.pairwise_distances(asked, wide)
        return squared
    products: FloatMatrix = asked @ wide.T
    return products


def _cosine(wide: FloatMatrix, asked: FloatMatrix) -> FloatMatrix:
    """Products first, lengths after: nothing of the vectors' size is written."""
    products: FloatMatrix = asked @ wide.T
    products /= np.maximum(np.sqrt(np.einsum("ij,ij->i", wide, wide)), np.float32(1e-30))
    products /= np.maximum(np.sqrt(np.einsum("ij,ij->i", asked, asked)), np.float32(1e-30))[:, None]
    return products


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


def _best(distances: FloatMatrix, k: int, metric: MetricType) -> npt.NDArray[np.int64]:
    """(q, k) positions of the best columns, best first; equal values by position."""
    key = -distances if metric.larger_is_closer else distances
    if k < key.shape[1]:
        part = np.sort(np.argpartition(key, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(key, part, axis=1), axis=1, kind="stable")
        return np.take_along_axis(part, order, axis=1)
    return np.argsort(key, axis=1, kind="stable")


def exact_search(
    vectors: npt.NDArray[Any],
    queries: npt.NDArray[Any],
    k: int,
    metric: MetricType,
    *,
    allowed: Bitmap | None = None,
) -> tuple[FloatMatrix, RowIds]:
    """The k nearest rows of each query, exactly.

    Args:
        vectors: (n, width) as stored.
        queries: (q, width) float32, or packed uint8 for binary.
        k: how many.
        metric: how closeness is measured.
        allowed: (n,) rows to consider; None for all.

    Returns:
        (q, k') distances and positions, best first, k' = min(k, rows considered).
    """
    rows = None if allowed is None else np.flatnonzero(allowed)
    total = len(vectors) if rows is None else len(rows)
    k = min(k, total)
    best = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if k == 0:
        return best
    for start in range(0, total, _BLOCK_ROWS):
        chosen = slice(start, start + _BLOCK_ROWS) if rows is None else rows[start : start + _BLOCK_ROWS]
        block = score(vectors[chosen], queries, metric)
        top = _best(block, min(k, block.shape[1]), metric)
        found = top + start if rows is None else rows[start : start + _BLOCK_ROWS][top]
        distances = np.concatenate([best[0], np.take_along_axis(block, top, axis=1)], axis=1)
        positions = np.concatenate([best[1], found], axis=1)
        order = _best(distances, min(k, distances.shape[1]), metric)
        best = np.take_along_axis(distances, order, axis=1), np.take_along_axis(positions, order, axis=1)
    return best


def exact_range(
    vectors: npt.NDArray[Any],
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
    kept = np.ones(distances.shape, np.bool_)
    closer = metric.larger_is_closer
    if radius is not None:
        kept &= distances > radius if closer else distances < radius
    if range_filter is not None:
        kept &= distances <= range_filter if closer else distances >= range_filter
    return distances, np.where(kept, rows, -1)
