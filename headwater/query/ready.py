"""A search worked out but for its queries, kept while a snapshot is: what a hot search does again and again.

Most searches ask a question of segments whose index, vectors and fields are in memory or mapped, and it is known which
of their rows are deleted or selected by a filter. All that such a search has to find out is the same every time, and
finding it out takes longer than a small index takes to answer. So it is found out once for each form of request. Rows
that no index covers yet are searched along the long way, as few as they are. What is opened stays with the caches: it
is asked of them each time, and a search goes the long way where they let it go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.errors import HeadwaterError
from headwater.index import search_threads
from headwater.lake import Segment
from headwater.query.away import parts_of
from headwater.query.columns import Column, concatenated
from headwater.query.fetch import fetch, json_names
from headwater.query.found import Found
from headwater.query.hot_segment import HotSegment, RowsInMemory, SegmentSearch, ways_of
from headwater.query.merge import Partial, merge
from headwater.query.opened import HotParts
from headwater.query.results import ResultInfo, SearchResult
from headwater.query.search import find, most_in_place, search
from headwater.query.search_plan import SearchPlan, query_matrix
from headwater.query.search_segment import search_segment, uncovered
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.schema import Schema
from headwater.types import DataType, MetricType, RowIds

__all__ = ["ReadySearch", "make_ready", "plain_queries"]

_FLOAT32 = np.dtype(np.float32)

_MOST_AGAIN = 4
"""Searches that are made ready before they are asked again."""


class _Hot(NamedTuple):
    """What is known of a search whose segments are open.

    Attributes:
        ways: how each segment that holds hits is searched.
        only: the way, where it is one and a hot segment's that leaves out no deleted rows.
        most_queries: that all segments are searched for in one thread.
        version: of the snapshot.
        created_s: when it was committed.
        coverage: share of rows under the index.
        segments: in the snapshot.
        pruned: of them, by statistics.
        num_rows: in the snapshot.
    """

    ways: tuple[SegmentSearch, ...]
    only: HotSegment | None
    most_queries: float
    version: int
    created_s: float
    coverage: float
    segments: int
    pruned: int
    num_rows: int


_Near = tuple[
    Sequence[HotParts | None],
    npt.NDArray[np.int32] | None,
    RowIds,
    npt.NDArray[np.float32],
    list[int],
]
"""What was found: what is open of each segment, None of those that are searched the long way; the place of each hit's
segment, None where there is one; and positions, values of the metric and hits of each query, see `Merged`."""


class ReadySearch:
    """Searches of one snapshot by one plan.

    Args:
        snapshot: what is searched.
        plan: what for.
        fetch: whether to `search`, which fetches fields; else to `find`.

    Attributes:
        plan: what for.
        dim: of plain queries; 0 where there are none, because the field is not searched by float32 vectors.
    """

    __slots__ = ("_columns", "_hot", "_json", "_names", "_segments", "dim", "plan")

    def __init__(self, snapshot: Snapshot, plan: SearchPlan, *, fetch: bool = True) -> None:
        self.plan = plan
        kind = plan.field.type.data_type
        plain = kind.dense_vector and kind is not DataType.BINARY_VECTOR
        self.dim = (plan.field.type.dim or 0) if plain else 0
        self._json = json_names(snapshot.schema, plan.output_fields)
        self._names = (snapshot.schema.primary_key or ROW_ID, *plan.output_fields) if fetch else ()
        self._columns = self._names if _have_columns(snapshot.schema, self._names) else ()
        # Of a snapshot they stay the same, and statistics are not looked through for every search.
        usual = self.dim and _is_usual(snapshot, plan)
        self._segments = tuple(snapshot.survivors(plan.filter)) if usual else ()
        self._hot: _Hot | None = None

    def search(self, snapshot: Snapshot, queries: npt.NDArray[Any]) -> SearchResult:
        """See `query.search`.

        Args:
            snapshot: the one that this was made for.
            queries: as `query_matrix` makes them.
        """
        started, recorded = time.perf_counter(), trace.recording()
        hot = self._hot or self._look(snapshot)
        nearest = _nearest_noted if recorded else _nearest
        near = None if hot is None else nearest(snapshot, self.plan, hot, queries)
        if hot is None or near is None:
            self._hot = None
            return search(snapshot, self.plan, self._checked(queries))
        parts, which, rows, distances, counts = near
        if recorded:
            with trace.step("fetch", rows=len(rows), fields=list(self.plan.output_fields)):
                key, *fields = self._taken(snapshot, hot, parts, which, rows)
        else:
            key, *fields = self._taken(snapshot, hot, parts, which, rows)
        named = dict(zip(self.plan.output_fields, fields, strict=True))
        age_s, elapsed_s = max(0.0, time.time() - hot.created_s), time.perf_counter() - started
        info = ResultInfo(hot.version, age_s, hot.coverage, hot.segments, hot.pruned, hot.num_rows, elapsed_s)
        return SearchResult(key, distances, named, counts, info, self._json)

    def find(self, snapshot: Snapshot, queries: Any) -> Found:
        """See `query.search.find`.

        Args:
            snapshot: the one that this was made for.
            queries: in the form that the field is searched by.
        """
        hot = self._hot or self._look(snapshot)
        nearest = _nearest_noted if trace.recording() else _nearest
        near = None if hot is None else nearest(snapshot, self.plan, hot, queries)
        if hot is None or near is None:
            self._hot = None
            return find(snapshot, self.plan, self._checked(queries))
        _, which, rows, distances, counts = near
        which = np.zeros(len(rows), np.int32) if which is None else which
        return Found([_segment_of(way) for way in hot.ways], which, rows, distances, counts)

    def _checked(self, queries: Any) -> Any:
        """Queries as they may go the long way: that their numbers are finite is not known yet."""
        return query_matrix(queries, self.plan.field) if self.dim else queries

    def _look(self, snapshot: Snapshot) -> _Hot | None:
        """Find out what searches need, where what they read is open."""
        if self._segments:
            self._hot = _looked_up(snapshot, self.plan, self._segments, self._columns)
        return self._hot

    def _taken(
        self,
        snapshot: Snapshot,
        hot: _Hot,
        parts: Sequence[HotParts | None],
        which: npt.NDArray[np.int32] | None,
        rows: RowIds,
    ) -> list[Column]:
        """The key and the fields of what was found."""
        only = parts[0]
        if which is None and only is not None and only.columns:
            return [column.take(rows) for column in only.columns]
        if which is None:
            which = np.zeros(len(rows), np.int32)
        found = self._gathered(snapshot, hot, parts, which, rows) if self._columns else None
        if found is None:
            # Fields that are read often are in memory soon: then they are taken from there.
            self._hot = None if self._columns else hot
            segments = [_segment_of(way) for way in hot.ways]
            columns = fetch(snapshot, segments, which, rows, self._names)
            found = [columns[name] for name in self._names]
        return found

    def _gathered(
        self,
        snapshot: Snapshot,
        hot: _Hot,
        parts: Sequence[HotParts | None],
        which: npt.NDArray[np.int32],
        rows: RowIds,
    ) -> list[Column] | None:
        """Fields from columns in memory; None where a segment's are not there."""
        opened, schema = snapshot.opened, snapshot.schema
        chosen, back = parts_of(which, rows)
        columns: list[list[Column]] = [[] for _ in self._columns]
        for place, some in chosen:
            part = parts[place]
            if part is None:
                segment = _segment_of(hot.ways[place])
                taken = [opened.fields.take(segment, schema, name, some) for name in self._columns]
            elif part.columns is None:
                return None
            else:
                taken = [column.take(some) for column in part.columns]
            for column, one in zip(columns, taken, strict=True):
                column.append(one)
        return [concatenated(column, back) for column in columns]


def make_ready(snapshot: Snapshot, before: Snapshot) -> None:
    """Work out for a snapshot what was searched last in the one before, so that the next search finds it ready.

    Args:
        snapshot: nobody searches it yet.
        before: of the same collection.
    """
    kinds = (before.ready, snapshot.ready, True), (before.ready_legs, snapshot.ready_legs, False)
    for known, kept, fetches in kinds:
        for key, ready in list(known.items())[-_MOST_AGAIN:]:
            with suppress(HeadwaterError):
                if snapshot.manifest is before.manifest:
                    kept[key] = again = ReadySearch(snapshot, ready.plan, fetch=fetches)
                    again._look(snapshot)
                elif ready.dim and snapshot.schema == before.schema:
                    # Opens what came with the version. Whoever asks plans it anew, as indexes may be others.
                    search(snapshot, ready.plan, np.ones((1, ready.dim), np.float32))


def _nearest(snapshot: Snapshot, plan: SearchPlan, hot: _Hot, queries: npt.NDArray[Any]) -> _Near | None:
    """Distances and rows; None where something is not open any more, or a query found too few rows."""
    if not len(queries):
        return None
    if hot.only is not None:
        return _nearest_of_one(snapshot, hot.only, queries)
    return _nearest_of_several(snapshot, plan, hot, queries)


def _nearest_noted(
    snapshot: Snapshot, plan: SearchPlan, hot: _Hot, queries: npt.NDArray[Any]
) -> _Near | None:
    """`_nearest` as a step of what is recorded."""
    if trace.explaining():
        # Who reads what a search did wants to know more than the short way finds out.
        return None
    with trace.step("search", field=plan.field.name, queries=len(queries), top_k=plan.top_k):
        return _nearest(snapshot, plan, hot, queries)


def _nearest_of_one(snapshot: Snapshot, only: HotSegment, queries: npt.NDArray[Any]) -> _Near | None:
    q, parts = len(queries), snapshot.opened.hot_parts(only.places)
    if parts is None:
        return None
    near, vectors, selected, _ = parts
    # One query is told by the answer, but for ways that would warn of the arithmetic first.
    if (q > 1 or selected is not None) and not math.isfinite(np.vdot(queries, queries)):
        return None
    search_threads(q)
    found = near.nearest(queries, vectors, only.effort, selected)
    # What is not finite is at no finite distance from anything.
    if found is None or not math.isfinite(found[0].item(0)):
        return None
    distances, rows = found
    return (parts,), None, rows.reshape(-1), distances.reshape(-1), [rows.shape[1]] * q


def _nearest_of_several(
    snapshot: Snapshot, plan: SearchPlan, hot: _Hot, queries: npt.NDArray[Any]
) -> _Near | None:
    q, opened = len(queries), snapshot.opened
    if q > hot.most_queries or not math.isfinite(np.vdot(queries, queries)):
        return None
    parts: list[HotParts | None] = []
    partials: list[Partial] = []
    search_threads(q)
    for way in hot.ways:
        if isinstance(way, HotSegment):
            part = opened.hot_parts(way.places)
            near = None if part is None else way.nearest(queries, part)
            if near is None:
                return None
            parts.append(part)
            partials.append(Partial(*near))
        elif isinstance(way, RowsInMemory):
            # No index covers them, and it is known that nothing leaves a row out.
            parts.append(None)
            found = uncovered(snapshot, plan, queries, way.segment, way.vectors)
            partials.append(Partial(*found))
        else:
            parts.append(None)
            partials.append(search_segment(snapshot, plan, queries, way))
    merged = merge(partials, q, plan.top_k, plan.metric, ordered=True)
    return (parts, *merged) if len(merged.rows) else None


def _segment_of(way: SegmentSearch) -> Segment:
    return way if isinstance(way, Segment) else way.segment


def _is_usual(snapshot: Snapshot, plan: SearchPlan) -> bool:
    """Whether an index may answer, and nothing but a filter and what is deleted leaves rows out."""
    spec = snapshot.index_of(plan.field)
    if snapshot.expires or plan.ranged or plan.within is not None:
        return False
    return spec is not None and MetricType(spec.metric) is plan.metric


def _have_columns(schema: Schema, names: Sequence[str]) -> bool:
    """Whether what is asked for is in columns of those names, as it is."""
    return all(name in schema.names and name not in schema.geometry_fields for name in names)


def _looked_up(
    snapshot: Snapshot, plan: SearchPlan, segments: Sequence[Segment], names: Sequence[str]
) -> _Hot | None:
    """What a search needs to know; None where it has to go the long way."""
    ways = ways_of(snapshot, plan, segments, names)
    if not ways:
        return None
    manifest, first = snapshot.manifest, ways[0]
    return _Hot(
        ways=ways,
        only=first if len(ways) == 1 and isinstance(first, HotSegment) and not first.past_deleted else None,
        most_queries=most_in_place(snapshot, plan, [_segment_of(way) for way in ways]),
        version=manifest.version,
        created_s=manifest.created_ms / 1000,
        coverage=snapshot.coverage_of(plan.field),
        segments=len(snapshot.segments),
        pruned=len(snapshot.segments) - len(segments),
        num_rows=snapshot.num_rows,
    )


def plain_queries(data: Any, dim: int) -> npt.NDArray[np.float32] | None:
    """Queries that may be searched by as they are; None where they have to be looked at closely.

    Whether their numbers are finite is not looked at: `ReadySearch` does.

    Args:
        data: one vector, a list of one, or an array of them.
        dim: of the field; 0 where it is not searched by float32 vectors.
    """
    if type(data) is list and len(data) == 1:
        data = data[0]
    if type(data) is not np.ndarray or data.dtype is not _FLOAT32 or not data.flags.c_contiguous:
        return None
    matrix: npt.NDArray[np.float32] = data[None] if data.ndim == 1 else data
    return matrix if dim and matrix.ndim == 2 and matrix.shape[1] == dim else None
