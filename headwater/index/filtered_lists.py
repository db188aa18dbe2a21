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
from headwater.index.centroids import has_graph, stored_centroids
from headwater.index.cold_costs import Effort
from headwater.index.effort import graph_effort
from headwater.index.exact import products
from headwater.index.faiss_index import complete, searched
from headwater.index.placed_lists import RowLists
from headwater.index.scan_lists import scan_lists
from headwater.store import SingleFlight
from headwater.types import Bitmap, FloatMatrix, RowIds

__all__ = ["EXACT_NUMBERS", "FilteredLists"]

_MAX_KEPT = 64
_MAX_PARAMETERS = 256
_MOST_REFINED = 3.0
_SPARSE = 0.5
"""Where the lists around a query hold less than this share of the allowed rows that chance would put there, the filter
goes against the query, and `_FURTHER` times as many lists are probed."""

_FURTHER = 4
_EXPECTED = 16
"""Allowed rows that chance would put into the lists that this is told by, at the least: of fewer, none may be there by
chance. Told by one list alone, one query in sixty was compared with every allowed row of a filter of a fifth."""

_EMPTY = 0.05
"""Below this share, the neighbours are all about equally far, which no order of lists tells apart: exact search."""

_SPARE = 1.25
"""So many times the lists that are wanted are asked of the graph, as some hold no allowed row."""

_MOST_WALKED = 0.125
"""Of the lists; for more the distances of all centroids are computed, which is no dearer then."""

EXACT_NUMBERS = 1 << 26
"""Numbers that such an exact search may read, some 50 ms; beyond, the further lists must do."""


class _Allowed(NamedTuple):
    """The rows of a filter, as a search of the lists needs them.

    Attributes:
        selector: faiss's view of the bitmap.
        scans: parameters of scans of so many lists inside it: making them costs as much as scanning a list.
        counts: (nlist,) allowed rows of each list.
        lists: (m,) the lists that hold an allowed row, ascending.
        concentration: rows of the segment over rows in these lists: 1 for a filter that has nothing to do with the
            vectors, more for one that goes along with them.
    """

    selector: Any
    scans: dict[int, Any]
    counts: npt.NDArray[np.int64]
    lists: npt.NDArray[np.int64]
    concentration: float

    @property
    def held_bytes(self) -> int:
        """What is kept of it."""
        return sum(int(one.nbytes) for one in (self.counts, self.lists)) + int(self.selector.n)

    def parameters(self, probes: int) -> Any:
        """Parameters of a scan of so many lists for these rows."""
        made = self.scans.get(probes)
        if made is None:
            made = faiss.SearchParametersIVF(sel=self.selector, nprobe=probes)
            if len(self.scans) < _MAX_PARAMETERS:
                self.scans[probes] = made
        return made


def _nearest(key: FloatMatrix, count: int) -> npt.NDArray[np.int64]:
    """(q, count) columns with the least values, ascending by value."""
    if count < key.shape[1]:
        columns = np.argpartition(key, count - 1, axis=1)[:, :count]
        key = np.take_along_axis(key, columns, axis=1)
        return np.take_along_axis(columns, np.argsort(key, axis=1), axis=1)
    return np.argsort(key, axis=1)


def _first(key: FloatMatrix, count: int) -> npt.NDArray[np.int64]:
    """(q, count) columns with the least values, in any order."""
    return np.argpartition(key, min(count, key.shape[1]) - 1, axis=1)[:, :count]


def _holding_enough(
    lists: npt.NDArray[np.int64], key: FloatMatrix, counts: npt.NDArray[np.int64], enough: int
) -> npt.NDArray[np.int64]:
    """The lists of each query, and the nearest ones instead where these hold too few rows.

    Args:
        lists: (q, p) chosen, -1 for none.
        key: (q, nlist) distances of all lists, the less the nearer.
        counts: (nlist,) rows of each list that may be found.
        enough: rows wanted, at most those there are.

    Returns:
        (q, p') lists.
    """
    if enough <= 0:
        return lists
    held = np.where(lists >= 0, counts[lists], 0).sum(axis=1)
    short = np.flatnonzero(held < enough)
    if not len(short):
        return lists
    usable = np.flatnonzero(counts)
    order = usable[np.argsort(key[short][:, usable], axis=1)]
    reached = np.cumsum(counts[order], axis=1)
    needed = (reached < enough).sum(axis=1) + 1
    width = max(lists.shape[1], int(needed.max()))
    grown = np.full((len(lists), width), -1, np.int64)
    grown[:, : lists.shape[1]] = lists
    nearest = np.where(np.arange(order.shape[1]) < needed[:, None], order, -1)[:, :width]
    grown[short] = -1
    grown[short, : nearest.shape[1]] = nearest
    return grown


def _note(lists: npt.NDArray[np.int64], refine_k: float) -> None:
    trace.note(
        strategy="inverted lists inside the filter's bitmap", lists_probed=lists.shape[1], refine_k=refine_k
    )


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
        self._known_owners: npt.NDArray[Any] | None = None
        self._asking = SingleFlight()
        self._index = index
        self._lists = lists
        self._num_rows = num_rows
        self._nlist = int(index.nlist)
        self._walks: dict[int, Any] = {}
        self._graph = has_graph(index)
        self._quantizer = faiss.downcast_index(index.quantizer)
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[weakref.ref[Bitmap], _Allowed]] = {}

    @property
    def held_bytes(self) -> int:
        """What searches with a filter have put into memory so far."""
        made = (self.__dict__.get("_centroids"), self._known_owners)
        kept = sum(rows.held_bytes for _, rows in list(self._kept.values()))
        return sum(int(array.nbytes) for array in made if array is not None) + kept

    def candidates(
        self, asked: FloatMatrix, k: int, effort: Effort, allowed: Bitmap, count: int
    ) -> tuple[FloatMatrix, RowIds, npt.NDArray[np.int64]]:
        """Candidates among the allowed rows.

        Args:
            asked: (q, dim) as the index takes them.
            k: hits wanted of each query.
            effort: what finds enough without a filter, and how far this may go.
            allowed: (num_rows,) rows to consider.
            count: how many they are.

        Returns:
            (q, c) estimated distances and positions, k <= c, -1 where there are no more; and (q,) the nearest list of
            each query that holds an allowed row.
        """
        rows = self._rows_allowed(allowed)
        share = count / self._num_rows
        bound = len(rows.lists) if effort.most_probes is None else min(effort.most_probes, len(rows.lists))
        least = min(math.ceil(effort.nprobe / math.sqrt(share)), bound)
        enough = min(effort.least_rows, count)
        if (near := self._nearest_lists(asked, effort.nprobe, least, rows, share, enough)) is not None:
            refine_k = max(1.0, effort.refine_k * min(_MOST_REFINED, rows.concentration))
            _note(near[0], refine_k)
            wanted = min(count, math.ceil(k * refine_k))
            found = scan_lists(
                self._index, self._lists, asked, wanted, *near, rows.parameters(near[0].shape[1])
            )
            return *found, near[0][:, 0]
        most = min(_FURTHER * least, bound)
        distances = self._centroid_distances(asked)
        key = self._key(distances)
        around = self._around(_first(key, self._looked_at(effort.nprobe, least, share)), rows) / share
        against = bool((around < _SPARSE).any())
        probes = most if against else least
        lists = rows.lists[_nearest(key[:, rows.lists], probes)]
        # Queries with allowed rows around them stop sooner.
        lists[around >= _SPARSE, least:] = -1
        lists = _holding_enough(lists, key, rows.counts, enough)
        # Neighbours of a filter that goes along with the vectors are further away than codes tell apart.
        more = _MOST_REFINED if against else min(_MOST_REFINED, rows.concentration)
        refine_k = max(1.0, effort.refine_k * more)
        _note(lists, refine_k)
        wanted = min(count, math.ceil(k * refine_k))
        parameters = rows.parameters(lists.shape[1])
        estimates, hits = self._scanned(asked, wanted, lists, distances, parameters)
        far = around < _EMPTY
        if count <= effort.exact_rows and far.any():
            trace.note(exact_queries=int(far.sum()))
            hits[far] = -1
        return estimates, hits, lists[:, 0]

    def _nearest_lists(
        self,
        asked: FloatMatrix,
        nprobe: int,
        least: int,
        rows: _Allowed,
        share: float,
        enough: int,
    ) -> tuple[npt.NDArray[np.int64], FloatMatrix] | None:
        """(q, least) lists and distances of their centroids, as a search without a filter finds them.

        None where a graph would walk over most of the centroids, or where the filter goes against one of the queries:
        then it takes the distances of all centroids to find the lists.

        Args:
            asked: (q, dim) queries.
            nprobe: lists that find enough without a filter.
            least: lists that do inside this one.
            rows: of the filter.
            share: of all rows that it allows.
            enough: rows that the lists of a query must hold.
        """
        everywhere = len(rows.lists) == self._nlist
        spare = 1.0 if everywhere else _SPARE * self._nlist / max(1, len(rows.lists))
        width = max(nprobe, math.ceil(spare * least))
        if width > (self._nlist * _MOST_WALKED if self._graph else self._nlist):
            return None
        apart, numbers = searched(self._quantizer, asked, width, self._walk(width))
        if not complete(numbers):
            return None
        around = self._around(numbers[:, : self._looked_at(nprobe, least, share)], rows)
        if around.min() < _SPARSE * share:
            return None
        if not everywhere and not (usable := rows.counts[numbers] > 0).all():
            if usable.sum(axis=1).min() < least:
                return None
            first = np.argsort(~usable, axis=1, kind="stable")
            apart = np.take_along_axis(apart, first, axis=1)
            numbers = np.take_along_axis(numbers, first, axis=1)
        lists = numbers[:, :least]
        if enough > 0 and rows.counts[lists].sum(axis=1).min() < enough:
            # For one query, the next lists are found by the graph too.
            more = len(asked) == 1 and 2 * least <= len(rows.lists)
            return self._nearest_lists(asked, nprobe, 2 * least, rows, share, enough) if more else None
        return lists, apart[:, :least]

    def _looked_at(self, nprobe: int, least: int, share: float) -> int:
        """Of the nearest lists, how many tell whether a filter goes against a query.

        Those that a search without a filter probes, or more where they hold few rows.
        """
        telling = math.ceil(_EXPECTED * self._nlist / (share * self._num_rows))
        return max(nprobe, min(telling, least))

    def _around(self, lists: npt.NDArray[np.int64], rows: _Allowed) -> npt.NDArray[np.float64]:
        """(q,) share of the rows in some lists of each query that is allowed."""
        held: npt.NDArray[np.int64] = self._list_sizes[lists].sum(axis=1)
        around: npt.NDArray[np.float64] = rows.counts[lists].sum(axis=1) / np.maximum(1, held)
        return around

    def _walk(self, width: int) -> Any:
        """Parameters of a search for so many lists; None where every centroid is compared."""
        if not self._graph:
            return None
        walk = self._walks.get(width)
        if walk is None:
            walk = faiss.SearchParametersHNSW(efSearch=graph_effort(width))
            if len(self._walks) < _MAX_PARAMETERS:
                self._walks[width] = walk
        return walk

    def further(self, asked: FloatMatrix, wanted: int) -> tuple[FloatMatrix, RowIds]:
        """(q, wanted) of all rows, from as many of the nearest lists as hold so many."""
        distances = self._centroid_distances(asked)
        none = np.empty((len(asked), 0), np.int64)
        lists = _holding_enough(none, self._key(distances), self._list_sizes, wanted)
        trace.note(lists_probed=lists.shape[1])
        return self._scanned(asked, wanted, lists, distances, None)

    def _key(self, distances: FloatMatrix) -> FloatMatrix:
        """Distances as the less the nearer."""
        return -distances if self._index.metric_type == faiss.METRIC_INNER_PRODUCT else distances

    def _scanned(
        self,
        asked: FloatMatrix,
        wanted: int,
        lists: npt.NDArray[np.int64],
        distances: FloatMatrix,
        parameters: Any,
    ) -> tuple[FloatMatrix, RowIds]:
        """(q, wanted) rows whose codes are nearest, of those that faiss's parameters select, in some lists of each."""
        given = np.ascontiguousarray(np.take_along_axis(distances, np.maximum(lists, 0), axis=1))
        return scan_lists(self._index, self._lists, asked, wanted, lists, given, parameters)

    def _centroid_distances(self, asked: FloatMatrix) -> FloatMatrix:
        """(q, nlist) distances of the centroids, as faiss computes them."""
        if self._index.metric_type == faiss.METRIC_L2:
            squared: FloatMatrix = faiss.pairwise_distances(asked, self._centroids)
            return squared
        return products(asked, self._centroids)

    def _rows_allowed(self, allowed: Bitmap) -> _Allowed:
        """What a search needs of a bitmap; kept for those that cannot change, which the planner keeps too."""
        kept = self._kept.get(id(allowed))
        if kept is not None and kept[0]() is allowed:
            return kept[1]
        counts = np.bincount(self._list_of[allowed], minlength=self._nlist)
        lists = np.flatnonzero(counts)
        around = int(self._list_sizes[lists].sum())
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        rows = _Allowed(selector, {}, counts, lists, self._num_rows / max(1, around))
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

    @property
    def _list_of(self) -> npt.NDArray[Any]:
        """(num_rows,) the list that each row is in."""
        # Not a cached property: those of all indexes share one lock, under which each would wait for the store in turn.
        known = self._known_owners
        return self._asking.once("owners", self._read_owners) if known is None else known

    def owners(self) -> npt.NDArray[Any]:
        """(num_rows,) the list that each row is in, which every search with a filter needs; kept once read."""
        return self._list_of

    def _read_owners(self) -> npt.NDArray[Any]:
        if self._known_owners is None:
            self._known_owners = self._owners()
        return self._known_owners

    @property
    def _list_sizes(self) -> npt.NDArray[np.int64]:
        """(nlist,) rows in each list."""
        return self._lists.sizes
