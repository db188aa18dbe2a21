"""A search worked out but for its queries, kept while a snapshot is: what a hot search does again and again.

Most searches ask an unfiltered question of segments that nothing is deleted from and whose index, vectors and fields
are in memory or mapped. All that such a search has to find out is the same every time, and finding it out takes longer
than a small index takes to answer. So it is found out once for each form of request. What is opened stays with the
caches: it is asked of them each time, and a search goes the long way where they let it go.
"""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index import search_threads
from headwater.index.protocol import SupportsEffort
from headwater.lake import Segment
from headwater.lake.log import GrowingSegment
from headwater.query.columns import Column
from headwater.query.fetch import json_names
from headwater.query.opened import HotKeys
from headwater.query.results import ResultInfo, SearchResult
from headwater.query.search import SearchPlan, search
from headwater.query.snapshot import Snapshot
from headwater.types import DataType, MetricType

__all__ = ["ReadySearch", "plain_queries"]

_FLOAT32 = np.dtype(np.float32)


class _Hot(NamedTuple):
    """What is known of a search whose segment is open.

    Attributes:
        keys: of what is open.
        effort: how the index searches.
        version: of the snapshot.
        created_s: when it was committed.
        coverage: share of rows under the index.
        segments: in the snapshot.
        pruned: of them that have no rows.
        num_rows: in the snapshot.
    """

    keys: HotKeys
    effort: Any
    version: int
    created_s: float
    coverage: float
    segments: int
    pruned: int
    num_rows: int


class ReadySearch:
    """Searches of one snapshot by one plan.

    Args:
        snapshot: what is searched.
        plan: what for.

    Attributes:
        plan: what for.
        dim: of plain queries; 0 where there are none, because the field is not searched by float32 vectors.
    """

    __slots__ = ("_again", "_hot", "_json", "dim", "plan")

    def __init__(self, snapshot: Snapshot, plan: SearchPlan) -> None:
        self.plan = plan
        kind = plan.field.type.data_type
        plain = kind.dense_vector and kind is not DataType.BINARY_VECTOR
        self.dim = (plan.field.type.dim or 0) if plain else 0
        self._json = json_names(snapshot.schema, plan.output_fields)
        self._hot: _Hot | None = None
        self._again = False

    def search(self, snapshot: Snapshot, queries: npt.NDArray[Any]) -> SearchResult:
        """See `query.search`.

        Args:
            snapshot: the one that this was made for.
            queries: as `query_matrix` makes them.
        """
        if self._hot is not None and not trace.recording():
            found = self._searched(snapshot, self._hot, queries)
            if found is not None:
                return found
        found = search(snapshot, self.plan, queries)
        # A search that nobody makes twice is not worth looking into, and what it needs is open after the first.
        self._hot = _looked_up(snapshot, self.plan) if self._again and self.dim else None
        self._again = True
        return found

    def _searched(self, snapshot: Snapshot, hot: _Hot, queries: npt.NDArray[Any]) -> SearchResult | None:
        """The answer; None where something is not open any more, or a query found less than it asked for."""
        started, q = time.perf_counter(), len(queries)
        parts = snapshot.opened.hot_parts(hot.keys)
        if parts is None or not q:
            return None
        search_threads(q)
        found = parts.near.nearest(queries, parts.vectors, hot.effort)
        if found is None:
            return None
        distances, rows = found
        flat, k = rows.reshape(-1), rows.shape[1]
        key, *fields = [column.take(flat) for column in parts.columns]
        columns: dict[str, Column] = dict(zip(self.plan.output_fields, fields, strict=True))
        age_s, elapsed_s = max(0.0, time.time() - hot.created_s), time.perf_counter() - started
        info = ResultInfo(hot.version, age_s, *hot[4:], elapsed_s)
        return SearchResult(key, distances.reshape(-1), columns, [k] * q, info, self._json)


def _only_segment(snapshot: Snapshot, plan: SearchPlan) -> Segment | None:
    """The segment that has all rows, where nothing of it is left out; None where a search is not that plain."""
    segments = snapshot.survivors(None) if plan.filter is None and not snapshot.expires else ()
    if len(segments) != 1 or segments[0].num_deleted or isinstance(segments[0], GrowingSegment):
        return None
    ranged = plan.radius is not None or plan.range_filter is not None
    spec = snapshot.index_of(plan.field.id)
    if ranged or plan.within is not None or spec is None or MetricType(spec.metric) is not plan.metric:
        return None
    schema = snapshot.schema
    stored = [schema.primary_key, *plan.output_fields]
    if not all(name in schema.names and name not in schema.geometry_fields for name in stored):
        return None
    return segments[0] if snapshot.build_of(spec, segments[0]) is not None else None


def _looked_up(snapshot: Snapshot, plan: SearchPlan) -> _Hot | None:
    """What a search needs to know, after it went the long way; None where it has to go that way again."""
    segment = _only_segment(snapshot, plan)
    if segment is None:
        return None
    manifest, spec = snapshot.manifest, snapshot.index_of(plan.field.id)
    build, key = snapshot.build_of(spec, segment), snapshot.schema.primary_key
    if build is None or key is None or snapshot.present(segment, plan.field) is not None:
        return None
    keys = snapshot.opened.hot_keys(segment, snapshot.schema, plan.field, build, (key, *plan.output_fields))
    parts = snapshot.opened.hot_parts(keys)
    if parts is None or not isinstance(parts.near, SupportsEffort):
        return None
    effort = parts.near.effort(plan.top_k, parts.vectors, plan.options)
    if effort is None:
        return None
    total = len(snapshot.segments)
    created_s = manifest.created_ms / 1000
    at = (manifest.version, created_s, snapshot.coverage(spec), total, total - 1, snapshot.num_rows)
    return _Hot(keys, effort, *at)


def plain_queries(data: Any, dim: int) -> npt.NDArray[np.float32] | None:
    """Queries that are searched by as they are; None where they have to be looked at closely.

    Args:
        data: one vector, a list of one, or an array of them.
        dim: of the field; 0 where it is not searched by float32 vectors.
    """
    if type(data) is list and len(data) == 1:
        data = data[0]
    if type(data) is not np.ndarray or data.dtype is not _FLOAT32 or not data.flags.c_contiguous:
        return None
    matrix: npt.NDArray[np.float32] = data[None] if data.ndim == 1 else data
    if not dim or matrix.ndim != 2 or matrix.shape[1] != dim:
        return None
    flat = matrix.reshape(-1)
    # A sum of squares is finite unless a number is not, or it overflows.
    return matrix if math.isfinite(flat.dot(flat)) else None
