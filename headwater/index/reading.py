"""One pass over a segment's vectors, in which a build does all it has to do with every row.

Memory is that of a few blocks, wherever the vectors are: `formats.blocks` reads ahead of the work.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.formats import Vectors, blocks, drawn
from headwater.index.exact import best, lengths, to_float32
from headwater.index.faiss_index import all_one, sample_rows
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Nearest", "Reading", "at_least", "spread_rows"]

_LONGEST_RUN = 32


def spread_rows(num_rows: int, wanted: int, present: Bitmap | None, run: int) -> RowIds:
    """About `wanted` positions of present rows, ascending: runs of neighbours, one in each equal part of the rows.

    A run is one range of a file, where as many single rows are a range each. Every part of the rows has its run, so
    that rows which lie in the order of their clusters are drawn from all of these.

    Args:
        num_rows: of the segment.
        wanted: positions.
        present: (n,) rows that have a vector; None for all.
        run: neighbours drawn together; shorter than the rows that one list will hold.
    """
    rows = np.arange(num_rows) if present is None else np.flatnonzero(present)
    if len(rows) <= wanted:
        return rows
    parts = max(1, wanted // run)
    bounds = np.linspace(0, len(rows), parts + 1).astype(np.int64)
    room = np.maximum(1, np.diff(bounds) - run + 1)
    firsts = bounds[:-1] + (np.random.default_rng(0).random(parts) * room).astype(np.int64)
    drawn_rows: RowIds = rows[(firsts[:, None] + np.arange(run)).reshape(-1)]
    return drawn_rows


class Reading:
    """The vectors of a segment as a build reads them.

    Attributes:
        lengths: (n,) Euclidean lengths as stored, of the rows that a pass came by.

    Args:
        vectors: (n, width) as stored.
        metric: how closeness is measured.
        present: (n,) rows that have a vector; None for all.
    """

    def __init__(self, vectors: Vectors, metric: MetricType, present: Bitmap | None) -> None:
        self._vectors = vectors
        self._metric = metric
        self._present = present
        self.lengths: npt.NDArray[np.float32] = np.ones(len(vectors), np.float32)

    @property
    def unit(self) -> bool:
        """Whether every present vector is of length one."""
        return all_one(self.lengths, self._present)

    def blocks(self) -> Iterator[tuple[int, FloatMatrix, Bitmap | None]]:
        """(position of the first row, rows as faiss takes them, which of them are present), in order; once."""
        own = not isinstance(self._vectors, np.ndarray)
        for start, stored in blocks(self._vectors):
            here = None if self._present is None else self._present[start : start + len(stored)]
            here = None if here is None or here.all() else here
            rows, self.lengths[start : start + len(stored)] = self._prepared(stored, here, own=own)
            yield start, rows, here

    def sample(self, wanted: int, nlist: int, num_queries: int) -> tuple[FloatMatrix, FloatMatrix, RowIds]:
        """Rows to train on, and rows to search for: one read of both.

        Args:
            wanted: rows to train on.
            nlist: lists that they are for.
            num_queries: rows to search for.

        Returns:
            (m, dim) rows to train on, and (q, dim) queries and their positions.
        """
        n = len(self._vectors)
        if isinstance(self._vectors, np.ndarray) or self._vectors.scan is not None:
            training = sample_rows(n, wanted, self._present)
        else:
            run = min(_LONGEST_RUN, wanted // nlist // 2)
            training = spread_rows(n, wanted, self._present, max(1, run))
        asked = sample_rows(n, num_queries, self._present, seed=1)
        both = np.union1d(training, asked)
        rows, _ = self._prepared(drawn(self._vectors, both), None, own=True)
        queries = rows[np.searchsorted(both, asked)]
        # A query is trained on where it was drawn for that too: another row stands twice in its place.
        alone = np.searchsorted(both, np.setdiff1d(asked, training))
        rows[alone] = rows[alone - 1]
        return rows, queries, asked

    def _prepared(
        self, stored: npt.NDArray[Any], here: Bitmap | None, *, own: bool
    ) -> tuple[FloatMatrix, npt.NDArray[np.float32]]:
        """Rows as faiss takes them, absent ones zero, and their lengths as stored; in place where they are our own."""
        rows = to_float32(stored)
        own = own or rows is not stored
        row_lengths = lengths(rows)
        if here is not None:
            rows = rows if own else rows.copy()
            rows[~here] = 0
            own = True
        if self._metric is MetricType.COSINE and not all_one(row_lengths, here):
            scale = row_lengths if here is None else np.where(here, row_lengths, np.float32(1))
            rows = np.divide(rows, scale[:, None], out=rows if own else None)
        return rows, row_lengths


def at_least(rows: FloatMatrix, least: int) -> FloatMatrix:
    """Rows, and made ones after them where training needs more than there are."""
    if len(rows) >= least:
        return rows
    made = np.random.default_rng(0).standard_normal((least - len(rows), rows.shape[1])).astype(np.float32)
    spread = np.float32(rows.std() if len(rows) else 1)
    return np.concatenate([rows, made * spread])


class Nearest:
    """The rows nearest to some queries, of all the blocks that were added.

    Attributes:
        rows: (q, k') positions, best first.
        distances: (q, k') squared distances or inner products.

    Args:
        queries: (q, dim) as faiss takes them.
        k: how many.
        metric: how closeness is measured.
    """

    def __init__(self, queries: FloatMatrix, k: int, metric: MetricType) -> None:
        self._queries = queries
        self._k = k
        self._metric = MetricType.L2 if metric is MetricType.L2 else MetricType.IP
        self.distances: FloatMatrix = np.empty((len(queries), 0), np.float32)
        self.rows: RowIds = np.empty((len(queries), 0), np.int64)

    def add(self, start: int, rows: FloatMatrix, here: Bitmap | None) -> None:
        """Look at a block.

        Args:
            start: position of its first row.
            rows: (m, dim) as faiss takes them.
            here: (m,) which of them count; None for all.
        """
        positions = start + (np.arange(len(rows)) if here is None else np.flatnonzero(here))
        if not len(positions) or not len(self._queries):
            return
        block = rows if here is None else rows[here]
        kind = faiss.METRIC_L2 if self._metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
        found, places = faiss.knn(self._queries, block, min(self._k, len(block)), metric=kind)
        distances = np.concatenate([self.distances, found], axis=1)
        nearest = np.concatenate([self.rows, positions[places]], axis=1)
        order = best(distances, min(self._k, distances.shape[1]), self._metric)
        self.distances = np.take_along_axis(distances, order, axis=1)
        self.rows = np.take_along_axis(nearest, order, axis=1)
