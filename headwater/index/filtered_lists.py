"""Inverted lists searched inside a filter's bitmap.

Neighbours lie further out, over more lists, the fewer rows are allowed. And where a filter goes along with the vectors
(a topic, a language, a tenant), most of the lists around a query hold no allowed row at all: probing the nearest lists
whatever is in them found .82 to .93 of the neighbours, probing the nearest of those that hold an allowed row finds more
than .96 at the same cost (100,000 rows, filters of 3 to 50 %: the rows nearest to some point, those furthest from it,
whole clusters). A query that has hardly an allowed row around it looks further, and in the end at every allowed row.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index.centroids import stored_centroids
from headwater.index.faiss_index import scan_lists
from headwater.index.placed_lists import RowLists
from headwater.types import Bitmap, FloatMatrix, RowIds

__all__ = ["Effort", "FilteredLists"]

_MAX_KEPT = 64
_MOST_REFINED = 3.0
_SPARSE = 0.5
"""Where the lists around a query hold less than this share of the allowed rows that chance would put there, the filter
goes against the query, and `_FURTHER` times as many lists are probed."""

_FURTHER = 4
_EMPTY = 0.05
"""Below this share, the neighbours are all about equally far, which no order of lists tells apart: exact search."""

_EXACT_NUMBERS = 1 << 26
"""Numbers that such an exact search may read, some 50 ms; beyond, the further lists must do."""


class Effort(NamedTuple):
    """Lists to probe, and candidates to refine as a multiple of k, of a search without a filter."""

    nprobe: int
    refine_k: float


class _Allowed(NamedTuple):
    """The rows of a filter, as a search of the lists needs them.

    Attributes:
        selector: faiss's view of the bitmap.
        lists: (m,) the lists that hold an allowed row, ascending.
        shares: (nlist,) share of each list's rows that is allowed.
        concentration: rows of the segment over rows in these lists: 1 for a filter that has nothing to do with the
            vectors, more for one that goes along with them.
    """

    selector: Any
    lists: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    concentration: float


def _nearest(key: FloatMatrix, count: int) -> npt.NDArray[np.int64]:
    """(q, count) columns with the least values, ascending by value."""
    if count < key.shape[1]:
        columns = np.argpartition(key, count - 1, axis=1)[:, :count]
        key = np.take_along_axis(key, columns, axis=1)
        return np.take_along_axis(columns, np.argsort(key, axis=1), axis=1)
    return np.argsort(key, axis=1)


def _allowed_around(key: FloatMatrix, nprobe: int, rows: _Allowed, share: float) -> npt.NDArray[np.float64]:
    """(q,) allowed share in the lists that a search without a filter probes, over the share in all lists."""
    nearest = np.argpartition(key, min(nprobe, key.shape[1]) - 1, axis=1)[:, :nprobe]
    around: npt.NDArray[np.float64] = rows.shares[nearest].mean(axis=1) / share
    return around


class FilteredLists:
    """Searches of one inverted file that only some rows may answer.

    Args:
        index: faiss's inverted file, of any code; it is not changed.
        num_rows: rows in it.
        lists: its lists.
        owners: tells the list that each row is in; asked when first needed.
    """

    def __init__(
        self, index: Any, num_rows: int, lists: RowLists, owners: Callable[[], npt.NDArray[Any]]
    ) -> None:
        self._owners = owners
        self._index = index
        self._lists = lists
        self._num_rows = num_rows
        self._nlist = int(index.nlist)
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[weakref.ref[Bitmap], _Allowed]] = {}

    @property
    def held_bytes(self) -> int:
        """What searches with a filter have put into memory so far."""
        made = (self.__dict__.get(name) for name in ("_centroids", "_list_of"))
        return sum(int(array.nbytes) for array in made if array is not None)

    def candidates(self, asked: FloatMatrix, k: int, effort: Effort, allowed: Bitmap, count: int) -> RowIds:
        """(q, c) candidates among the allowed rows, k <= c, -1 where there are no more.

        Args:
            asked: (q, dim) as the index takes them.
            k: hits wanted of each query.
            effort: what finds enough without a filter.
            allowed: (num_rows,) rows to consider.
            count: how many they are.
        """
        rows = self._rows_allowed(allowed)
        share = count / self._num_rows
        least = min(math.ceil(effort.nprobe / math.sqrt(share)), len(rows.lists))
        most = min(_FURTHER * least, len(rows.lists))
        distances = self._centroid_distances(asked)
        key = -distances if self._index.metric_type == faiss.METRIC_INNER_PRODUCT else distances
        around = _allowed_around(key, effort.nprobe, rows, share)
        against = bool((around < _SPARSE).any())
        probes = most if against else least
        lists = rows.lists[_nearest(key[:, rows.lists], probes)]
        # Queries with allowed rows around them stop sooner.
        lists[around >= _SPARSE, least:] = -1
        # Neighbours of a filter that goes along with the vectors are further away than codes tell apart.
        more = _MOST_REFINED if against else min(_MOST_REFINED, rows.concentration)
        refine_k = max(1.0, effort.refine_k * more)
        trace.note(
            strategy="inverted lists inside the filter's bitmap", lists_probed=probes, refine_k=refine_k
        )
        found = self._scanned(asked, min(count, math.ceil(k * refine_k)), lists, distances, rows.selector)
        far = around < _EMPTY
        if far.any() and count * asked.shape[1] <= _EXACT_NUMBERS:
            trace.note(exact_queries=int(far.sum()))
            found[far] = -1
        return found

    def _scanned(
        self,
        asked: FloatMatrix,
        wanted: int,
        lists: npt.NDArray[np.int64],
        distances: FloatMatrix,
        selector: Any,
    ) -> RowIds:
        """(q, wanted) rows whose codes are nearest, of the selected rows in some lists of each query."""
        given = np.ascontiguousarray(np.take_along_axis(distances, np.maximum(lists, 0), axis=1))
        with self._lists.holding(lists):
            return scan_lists(self._index, asked, wanted, lists, given, selector)[1]

    def _centroid_distances(self, asked: FloatMatrix) -> FloatMatrix:
        """(q, nlist) distances of the centroids, as faiss computes them."""
        if self._index.metric_type == faiss.METRIC_L2:
            squared: FloatMatrix = faiss.pairwise_distances(asked, self._centroids)
            return squared
        return asked @ self._centroids.T

    def _rows_allowed(self, allowed: Bitmap) -> _Allowed:
        """What a search needs of a bitmap; kept for those that cannot change, which the planner keeps too."""
        kept = self._kept.get(id(allowed))
        if kept is not None and kept[0]() is allowed:
            return kept[1]
        counts = np.bincount(self._list_of[allowed], minlength=self._nlist)
        lists = np.flatnonzero(counts)
        around = int(self._list_sizes[lists].sum())
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        rows = _Allowed(
            selector, lists, counts / np.maximum(1, self._list_sizes), self._num_rows / max(1, around)
        )
        if not allowed.flags.writeable:
            with self._lock:
                while len(self._kept) >= _MAX_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[id(allowed)] = (weakref.ref(allowed), rows)
        return rows

    @cached_property
    def _centroids(self) -> FloatMatrix:
        """(nlist, dim)."""
        return stored_centroids(self._index)

    @cached_property
    def _list_of(self) -> npt.NDArray[Any]:
        """(num_rows,) the list that each row is in."""
        return self._owners()

    @property
    def _list_sizes(self) -> npt.NDArray[np.int64]:
        """(nlist,) rows in each list."""
        return self._lists.sizes
