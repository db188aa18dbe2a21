"""Reading an answer in batches: a place in it that goes on from batch to batch, over one snapshot.

A search goes on by asking each index for a few more rows among those not seen yet, twice as many each time. When that
has come to a good part of the rows, the distances of all that are left are computed once and put in order. So every row
comes, and comes once. Without an index the order is exact; with one, a row that it missed comes as soon as it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.formats import Vectors
from headwater.index.exact import in_range, score
from headwater.lake import Segment
from headwater.query.elements import allowed_elements, placed
from headwater.query.fetch import fetch_keys
from headwater.query.found import Found
from headwater.query.max_sim import VectorLists
from headwater.query.search import find
from headwater.query.search_plan import MAX_TOP_K, SearchPlan
from headwater.query.snapshot import Snapshot
from headwater.types import Bitmap, RowIds

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = ["Place", "QueryCursor", "SearchCursor"]

_BLOCK_ROWS = 65_536
_EXACT_AFTER = 2 * MAX_TOP_K
"""Rows after which the rest is put in order at once: asking an index for more costs about as much."""


class Place(NamedTuple):
    """Rows across segments, in order.

    Attributes:
        which: (n,) int32, the segment of each.
        rows: (n,) int64, its position in that segment.
        distances: (n,) float32 values of the metric.
    """

    which: npt.NDArray[np.int32]
    rows: RowIds
    distances: npt.NDArray[np.float32]

    def cut(self, start: int, stop: int | None = None) -> Place:
        """Some of them."""
        return Place(self.which[start:stop], self.rows[start:stop], self.distances[start:stop])


_NOTHING = Place(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32))


def _joined(places: Sequence[Place]) -> Place:
    return Place(
        np.concatenate([one.which for one in places]),
        np.concatenate([one.rows for one in places]),
        np.concatenate([one.distances for one in places]),
    )


class SearchCursor:
    """A place in the hits of one query.

    Args:
        snapshot: what is searched.
        plan: what to find; its `top_k` is how many to ask for first.
        query: (1, width), in the form that the field is searched by.
        seen: by segment id, rows that came before.
    """

    def __init__(
        self, snapshot: Snapshot, plan: SearchPlan, query: Any, seen: Mapping[str, Bitmap] | None = None
    ) -> None:
        self._snapshot = snapshot
        self._plan = plan
        self._query = query
        self._segments = snapshot.survivors(plan.filter)
        self._seen = {name: bitmap.copy() for name, bitmap in (seen or {}).items()}
        self._num_seen = sum(int(bitmap.sum()) for bitmap in self._seen.values())
        self._held = _NOTHING
        self._width = plan.top_k
        self._ended = False
        spec = snapshot.index_of(plan.field)
        self._dense = plan.field.type.data_type.dense_vector
        self._indexed = spec is not None and any(snapshot.build_of(spec, s) for s in self._segments)

    def take(self, count: int) -> Found:
        """The next hits, at most `count`; fewer only at the end."""
        while len(self._held.rows) < count and not self._ended:
            self._find_more(count)
        taken, self._held = self._held.cut(0, count), self._held.cut(count)
        which, rows, counts, elements = taken.which, taken.rows, [len(taken.rows)], None
        if self._plan.of_elements:
            rows, elements = placed(self._snapshot, self._plan.field, self._segments, which, rows)
        return Found(self._segments, which, rows, taken.distances, counts, elements)

    def seen(self) -> dict[str, Bitmap]:
        """By segment id, the rows that were taken: what a new cursor needs to go on."""
        taken = {name: bitmap.copy() for name, bitmap in self._seen.items()}
        for ordinal in np.unique(self._held.which):
            taken[self._segments[ordinal].id][self._held.rows[self._held.which == ordinal]] = False
        return {name: bitmap for name, bitmap in taken.items() if bitmap.any()}

    def _find_more(self, count: int) -> None:
        if self._plan.of_elements or (self._dense and (not self._indexed or self._many_seen())):
            more, self._ended = self._rest(), True
        else:
            width = min(MAX_TOP_K, max(self._width, count))
            plan = replace(self._plan, top_k=width, within=self._unseen)
            found = find(self._snapshot, plan, self._query)
            more = Place(found.which, found.rows, found.distances)
            self._width = min(MAX_TOP_K, 2 * width)
            if len(more.rows) < width:
                # Rows within a radius that an index has missed are found by looking at all that are left.
                missed = self._dense and self._plan.radius is not None
                self._indexed, self._ended = not missed, not missed
        self._mark(more)
        held = _joined([self._held, more])
        sign = -1 if self._plan.metric.larger_is_closer else 1
        order = np.argsort(sign * held.distances, kind="stable")
        self._held = Place(held.which[order], held.rows[order], held.distances[order])

    def _many_seen(self) -> bool:
        if self._num_seen >= _EXACT_AFTER:
            return True
        if not self._num_seen:
            return False
        every = sum(self._snapshot.select(segment, self._plan.filter).count for segment in self._segments)
        return 4 * self._num_seen >= every

    def _mark(self, more: Place) -> None:
        for ordinal in np.unique(more.which):
            segment = self._segments[ordinal]
            bitmap = self._seen.setdefault(segment.id, np.zeros(self._size(segment), np.bool_))
            bitmap[more.rows[more.which == ordinal]] = True
        self._num_seen += len(more.rows)

    def _unseen(self, segment: Segment) -> Bitmap:
        seen = self._seen.get(segment.id)
        return np.ones(self._size(segment), np.bool_) if seen is None else ~seen

    def _size(self, segment: Segment) -> int:
        """What may be found in a segment: rows, or elements."""
        return len(self._lists(segment).vectors) if self._plan.of_elements else segment.num_rows

    def _lists(self, segment: Segment) -> VectorLists:
        return self._snapshot.opened.vectors.lists(segment, self._snapshot.schema, self._plan.field)

    def _left(self, segment: Segment) -> tuple[Vectors, RowIds]:
        """The vectors of a segment, and the places of those that may be found and were not seen."""
        selection = self._snapshot.select(segment, self._plan.filter)
        if self._plan.of_elements:
            lists = self._lists(segment)
            known = allowed_elements(self._snapshot, selection, self._plan.field, self._plan.filter, lists)
            vectors: Vectors = lists.vectors
        else:
            known = selection.bitmap
            present = self._snapshot.present(segment, self._plan.field)
            if present is not None:
                known = present if known is None else known & present
            vectors = self._snapshot.opened.vectors.of(segment, self._snapshot.schema, self._plan.field.name)
        unseen = self._unseen(segment)
        return vectors, np.flatnonzero(unseen if known is None else known & unseen)

    def _rest(self) -> Place:
        """Every row, or element, that was not seen, with its exact distance."""
        whole = [_NOTHING]
        query = self._query[0] if self._plan.of_elements else self._query
        for ordinal, segment in enumerate(self._segments):
            vectors, rows = self._left(segment)
            distances = np.empty(len(rows), np.float32)
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = slice(start, start + _BLOCK_ROWS)
                distances[block] = score(vectors[rows[block]], query, self._plan.metric)[0]
            distances, kept = in_range(
                distances, self._plan.metric, self._plan.radius, self._plan.range_filter
            )
            rows, distances = rows[kept], distances[kept]
            whole.append(Place(np.full(len(rows), ordinal, np.int32), rows.astype(np.int64), distances))
        return _joined(whole)


class QueryCursor:
    """A place in the rows that a filter selects, ordered by primary key, or by row id without one.

    The order is made once, at the first batch; it holds about 20 bytes for each selected row.

    Args:
        snapshot: what is read.
        bound: the filter; None for every row.
        taken: rows that came before.

    Attributes:
        bound: see above.
        taken: rows that came before, those of this cursor among them.
    """

    def __init__(self, snapshot: Snapshot, bound: expr.Bound | None, taken: int = 0) -> None:
        self._snapshot = snapshot
        self.bound = bound
        self._segments = snapshot.survivors(bound)
        self._order: tuple[npt.NDArray[np.int32], RowIds] | None = None
        self.taken = taken

    def take(self, count: int) -> tuple[list[Segment], npt.NDArray[np.int32], RowIds]:
        """The next rows, at most `count`: segments, the segment of each row, and its position there."""
        if self._order is None:
            self._order = self._ordered()
        which, rows = self._order
        page = slice(self.taken, self.taken + count)
        self.taken += len(rows[page])
        return self._segments, which[page], rows[page]

    def _ordered(self) -> tuple[npt.NDArray[np.int32], RowIds]:
        parts_which, parts_rows = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for ordinal, segment in enumerate(self._segments):
            selection = self._snapshot.select(segment, self.bound)
            if selection.bitmap is None:
                rows = np.arange(segment.num_rows, dtype=np.int64)
            else:
                rows = np.flatnonzero(selection.bitmap).astype(np.int64, copy=False)
            parts_rows.append(rows)
            parts_which.append(np.full(len(rows), ordinal, np.int32))
        which, rows = np.concatenate(parts_which), np.concatenate(parts_rows)
        keys = fetch_keys(self._snapshot, self._segments, which, rows).to_arrow()
        # The position breaks ties, so that the order is the same whoever makes it.
        ties = pa.array(np.arange(len(keys)))
        order = pc.sort_indices(
            pa.table({"key": keys, "tie": ties}),
            sort_keys=[("key", "ascending", "at_end"), ("tie", "ascending", "at_end")],
        ).to_numpy()
        return which[order], rows[order]
