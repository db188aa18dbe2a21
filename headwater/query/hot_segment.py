"""A segment that is open, for searches by one plan: what finding its nearest rows takes, found out once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.index import num_selected
from headwater.index.protocol import supports_effort
from headwater.lake import IndexSpec, Segment
from headwater.lake.log import GrowingSegment
from headwater.query.opened import HotParts, HotPlaces
from headwater.query.search_plan import SearchPlan
from headwater.query.search_segment import spare_hits, without_deleted
from headwater.query.snapshot import Snapshot
from headwater.types import FloatMatrix, RowIds

__all__ = ["HotSegment", "RowsInMemory", "SegmentSearch", "ways_of"]


class HotSegment(NamedTuple):
    """One segment whose index and vectors are in memory or mapped.

    Attributes:
        segment: the segment.
        places: where the caches have what is open of it.
        effort: how its index searches.
        past_deleted: hits wanted of each query, where its index looks for some more and deleted ones are left out of
            them; 0 where it looks at nothing but the rows that may be found.
    """

    segment: Segment
    places: HotPlaces
    effort: Any
    past_deleted: int

    def nearest(self, queries: npt.NDArray[Any], parts: HotParts) -> tuple[FloatMatrix, RowIds] | None:
        """(q, k) distances and rows; None where the long way has to find them.

        Args:
            queries: (q, dim) float32, C-contiguous.
            parts: what the caches have at the places.
        """
        found: tuple[FloatMatrix, RowIds] | None
        if not self.past_deleted or parts.selected is None:
            found = parts.index.nearest(queries, parts.vectors, self.effort, parts.selected)
            return found
        found = parts.index.nearest(queries, parts.vectors, self.effort, None)
        if found is None:
            return None
        distances, rows = found
        return without_deleted(distances, rows, parts.selected, self.past_deleted)


class RowsInMemory(NamedTuple):
    """A segment of rows in memory, all of which may be found.

    Attributes:
        segment: the segment.
        vectors: (num_rows, dim) of it.
    """

    segment: GrowingSegment
    vectors: npt.NDArray[Any]


SegmentSearch = HotSegment | RowsInMemory | Segment
"""How a segment is searched: the short way, or the long way where none of it is an index."""


def ways_of(
    snapshot: Snapshot, plan: SearchPlan, segments: Sequence[Segment], names: Sequence[str]
) -> tuple[SegmentSearch, ...]:
    """How each segment is searched that holds rows of the filter; nothing where they have to be opened first.

    Args:
        snapshot: what is searched.
        plan: of a field with an index of the plan's metric, and not by a range.
        segments: that statistics do not rule out.
        names: fields of the hits, each with a column.
    """
    spec = snapshot.index_of(plan.field)
    assert spec is not None
    ways: list[SegmentSearch] = []
    for segment in segments:
        way = _way_of(snapshot, plan, spec, segment, names)
        if way is None:
            return ()
        if not isinstance(way, _Nothing):
            ways.append(way)
    return tuple(ways) if any(isinstance(way, HotSegment) for way in ways) else ()


class _Nothing(NamedTuple):
    """A filter selects no row of the segment."""


def _way_of(
    snapshot: Snapshot, plan: SearchPlan, spec: IndexSpec, segment: Segment, names: Sequence[str]
) -> SegmentSearch | _Nothing | None:
    """How a segment is searched; None where it has to be opened first."""
    opened, schema, build = snapshot.opened, snapshot.schema, snapshot.build_of(spec, segment)
    if isinstance(segment, GrowingSegment) and (rows := _rows_in_memory(snapshot, plan, segment)) is not None:
        return rows
    if build is None or isinstance(segment, GrowingSegment):
        here = not opened.waits or opened.near(segment, schema, plan.field.name, build)
        return segment if here else None
    past_deleted, selected = plan.filter is None and segment.num_deleted > 0, None
    if past_deleted or plan.filter is not None:
        selected = snapshot.selected_by(segment, plan.filter)
        known = opened.selections.known(segment, *selected)
        if known is None:
            return None
        if not num_selected(known):
            return _Nothing()
    places = opened.hot_places(segment, schema, plan.field, build, names, selected)
    parts = None if places is None else opened.hot_parts(places)
    if places is None or parts is None:
        return None
    # Last, as it is read where it is not known: never before all the rest is here.
    if not supports_effort(parts.index) or snapshot.present(segment, plan.field) is not None:
        return segment
    top_k, allowed = plan.top_k, parts.selected
    if past_deleted:
        if segment.num_rows - segment.num_deleted < top_k:
            return segment
        top_k, allowed = top_k + spare_hits(top_k), None
    effort = parts.index.effort(top_k, parts.vectors, plan.options, allowed)
    if effort is None:
        return segment
    return HotSegment(segment, places, effort, plan.top_k if past_deleted else 0)


def _rows_in_memory(snapshot: Snapshot, plan: SearchPlan, segment: GrowingSegment) -> RowsInMemory | None:
    """A growing segment of which each row has a vector and none is left out; None for others."""
    if plan.filter is not None or plan.in_lists or segment.num_deleted or plan.field.nullable:
        return None
    vectors = snapshot.opened.vectors.of(segment, snapshot.schema, plan.field.name)
    return RowsInMemory(segment, vectors) if isinstance(vectors, np.ndarray) else None
