"""A search worked out but for its queries, kept while a snapshot is: what a hot search does again and again.

Most searches ask a question of one segment whose index, vectors and fields are in memory or mapped: nothing is deleted
from it, or it is known which of its rows a filter selects. All that such a search has to find out is the same every
time, and finding it out takes longer than a small index takes to answer. So it is found out once for each form of
request. What is opened stays with the caches: it is asked of them each time, and a search goes the long way where they
let it go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index import num_selected, search_threads
from headwater.index.protocol import SupportsEffort
from headwater.lake import Segment
from headwater.lake.log import GrowingSegment
from headwater.query.columns import Column, HotColumn
from headwater.query.fetch import json_names
from headwater.query.opened import HotPlaces
from headwater.query.results import ResultInfo, SearchResult
from headwater.query.search import Found, SearchPlan, find, query_matrix, search
from headwater.query.snapshot import ROW_ID, Snapshot
from headwater.types import DataType, FloatMatrix, MetricType, RowIds

__all__ = ["ReadySearch", "plain_queries"]

_FLOAT32 = np.dtype(np.float32)


class _Hot(NamedTuple):
    """What is known of a search whose segment is open.

    Attributes:
        places: of what is open.
        effort: how the index searches.
        segment: that has all rows.
        version: of the snapshot.
        created_s: when it was committed.
        coverage: share of rows under the index.
        segments: in the snapshot; all but one of them have no rows.
        num_rows: in the snapshot.
    """

    places: HotPlaces
    effort: Any
    segment: Segment
    version: int
    created_s: float
    coverage: float
    segments: int
    num_rows: int


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

    __slots__ = ("_hot", "_json", "_names", "_segment", "dim", "plan")

    def __init__(self, snapshot: Snapshot, plan: SearchPlan, *, fetch: bool = True) -> None:
        self.plan = plan
        kind = plan.field.type.data_type
        plain = kind.dense_vector and kind is not DataType.BINARY_VECTOR
        self.dim = (plan.field.type.dim or 0) if plain else 0
        self._json = json_names(snapshot.schema, plan.output_fields)
        self._names = (snapshot.schema.primary_key or ROW_ID, *plan.output_fields) if fetch else ()
        # Of a snapshot it stays the same, and statistics are not looked through for every search.
        self._segment = _only_segment(snapshot, plan, self._names) if self.dim else None
        self._hot: _Hot | None = None

    def search(self, snapshot: Snapshot, queries: npt.NDArray[Any]) -> SearchResult:
        """See `query.search`.

        Args:
            snapshot: the one that this was made for.
            queries: as `query_matrix` makes them.
        """
        started, hot = time.perf_counter(), self._hot or self._look(snapshot)
        near = None if hot is None else _nearest(snapshot, self.plan, hot, queries)
        if hot is None or near is None:
            self._hot = None
            return search(snapshot, self.plan, self._checked(queries))
        columns, distances, rows = near
        q, k = rows.shape
        key, *fields = _taken(columns, rows.reshape(-1), self.plan.output_fields)
        named = dict(zip(self.plan.output_fields, fields, strict=True))
        age_s, elapsed_s = max(0.0, time.time() - hot.created_s), time.perf_counter() - started
        info = ResultInfo(
            hot.version, age_s, hot.coverage, hot.segments, hot.segments - 1, hot.num_rows, elapsed_s
        )
        return SearchResult(key, distances.reshape(-1), named, [k] * q, info, self._json)

    def find(self, snapshot: Snapshot, queries: Any) -> Found:
        """See `query.search.find`.

        Args:
            snapshot: the one that this was made for.
            queries: in the form that the field is searched by.
        """
        hot = self._hot or self._look(snapshot)
        near = None if hot is None else _nearest(snapshot, self.plan, hot, queries)
        if hot is None or near is None:
            self._hot = None
            return find(snapshot, self.plan, self._checked(queries))
        _, distances, rows = near
        q, k = rows.shape
        return Found(
            [hot.segment], np.zeros(q * k, np.int32), rows.reshape(-1), distances.reshape(-1), [k] * q
        )

    def _checked(self, queries: Any) -> Any:
        """Queries as they may go the long way: that their numbers are finite is not known yet."""
        return query_matrix(queries, self.plan.field) if self.dim else queries

    def _look(self, snapshot: Snapshot) -> _Hot | None:
        """Find out what searches need, where what they read is open."""
        if self._segment is not None:
            self._hot = _looked_up(snapshot, self.plan, self._segment, self._names)
        return self._hot


def _nearest(
    snapshot: Snapshot, plan: SearchPlan, hot: _Hot, queries: npt.NDArray[Any]
) -> tuple[list[HotColumn], FloatMatrix, RowIds] | None:
    """Fields, distances and rows; None where something is not open any more, or a query found too few rows."""
    q, recorded = len(queries), trace.recording()
    # Who reads what a search did wants to know more than the short way finds out.
    explained = recorded and trace.explaining()
    parts = snapshot.opened.hot_parts(hot.places) if q and not explained else None
    if parts is None:
        return None
    near, vectors, selected, columns = parts
    # One query is told by the answer, but for ways that would warn of the arithmetic first.
    if (q > 1 or selected is not None) and not math.isfinite(np.vdot(queries, queries)):
        return None
    search_threads(q)
    if recorded:
        with trace.step("search", field=plan.field.name, queries=q, top_k=plan.top_k):
            found = near.nearest(queries, vectors, hot.effort, selected)
    else:
        found = near.nearest(queries, vectors, hot.effort, selected)
    # What is not finite is at no finite distance from anything.
    return (columns, *found) if found is not None and math.isfinite(found[0].item(0)) else None


def _taken(columns: Sequence[HotColumn], rows: RowIds, names: Sequence[str]) -> list[Column]:
    """Some rows of each column; named are all but the first, which is the key."""
    if trace.recording():
        with trace.step("fetch", rows=len(rows), fields=list(names)):
            return [column.take(rows) for column in columns]
    return [column.take(rows) for column in columns]


def _only_segment(snapshot: Snapshot, plan: SearchPlan, names: Sequence[str]) -> Segment | None:
    """The segment that has all rows, where none or a filter alone leaves some out; None where it is not that plain."""
    segments = () if snapshot.expires else snapshot.survivors(plan.filter)
    if len(segments) != 1 or isinstance(segments[0], GrowingSegment):
        return None
    if plan.filter is None and segments[0].num_deleted:
        return None
    ranged = plan.radius is not None or plan.range_filter is not None
    spec = snapshot.index_of(plan.field.id)
    if ranged or plan.within is not None or spec is None or MetricType(spec.metric) is not plan.metric:
        return None
    schema = snapshot.schema
    if not all(name in schema.names and name not in schema.geometry_fields for name in names):
        return None
    return segments[0] if snapshot.build_of(spec, segments[0]) is not None else None


def _looked_up(snapshot: Snapshot, plan: SearchPlan, segment: Segment, names: Sequence[str]) -> _Hot | None:
    """What a search needs to know; None where it has to go the long way."""
    manifest, spec = snapshot.manifest, snapshot.index_of(plan.field.id)
    build = snapshot.build_of(spec, segment)
    if build is None:
        return None
    selected = None if plan.filter is None else snapshot.selected_by(segment, plan.filter)
    places = snapshot.opened.hot_places(segment, snapshot.schema, plan.field, build, names, selected)
    parts = None if places is None else snapshot.opened.hot_parts(places)
    if places is None or parts is None or not isinstance(parts.index, SupportsEffort):
        return None
    if parts.selected is not None and not num_selected(parts.selected):
        return None
    # Last, as it is read where it is not known: never before all the rest is here.
    if snapshot.present(segment, plan.field) is not None:
        return None
    effort = parts.index.effort(plan.top_k, parts.vectors, plan.options, parts.selected)
    if effort is None:
        return None
    return _Hot(
        places=places,
        effort=effort,
        segment=segment,
        version=manifest.version,
        created_s=manifest.created_ms / 1000,
        coverage=snapshot.coverage(spec),
        segments=len(snapshot.segments),
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
