"""Nearest-neighbour search over one snapshot.

Each segment answers by itself, see `search_segment`, and the answers are merged. So a result is complete whatever is
indexed; only its cost changes.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy.typing as npt

from headwater import trace
from headwater.errors import InvalidArgument
from headwater.lake import Segment
from headwater.lake.log import GrowingSegment
from headwater.query.away import done, fields_ahead, open_fields, quietly
from headwater.query.candidates import Asked, compared
from headwater.query.elements import placed
from headwater.query.fetch import fetch_hits, json_names
from headwater.query.found import Found
from headwater.query.inverted_search import search_inverted
from headwater.query.merge import Partial, merge
from headwater.query.results import SearchResult
from headwater.query.search_plan import SearchPlan
from headwater.query.search_segment import ask_segment, inside, open_segment, search_segment, spec_of
from headwater.query.snapshot import Snapshot
from headwater.store import Ahead, ahead, together
from headwater.types import DataType

__all__ = ["begin", "find", "finish", "most_in_place", "search"]

_LARGE_WORK = 4_000_000
"""Vector components to look at, at most, that are searched faster than another thread is woken."""

_LISTED = 8
"""Vectors of a row that has several, about."""

_SEEN_BY_INDEX = 1 / 256
"""Share of a segment's vectors that an index looks at, by what it takes: 40 us of 100 k x 128, 80 us of 1 M x 768."""

_SEEN_BY_CODES = 1 / 16
"""The same of codes: 0.2 ms of 65,536 x 128, where comparing them takes 4."""

_CORES = os.cpu_count() or 1

_MOST_BEGUN = 16
"""Segments of which something is opened before the search begins."""


def search(snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any]) -> SearchResult:
    """Search one snapshot.

    Args:
        snapshot: what to read.
        plan: what to find.
        queries: (q, dim) float32, or (q, dim / 8) uint8 for binary vectors, as `query_matrix` makes them.

    Returns:
        Up to `top_k` hits per query, best first. Distances are exact values of the metric wherever the segment's
        vectors refine the index's codes (every default does).
    """
    if plan.collapse is not None:
        raise InvalidArgument(
            "element_scope says how the elements of a leg of a hybrid search become rows",
            hint="group_by_field the primary key finds each row once",
        )
    started = time.perf_counter()
    fields = plan.output_fields
    begun = open_fields(snapshot, snapshot.survivors(plan.filter), fields) if snapshot.opened.waits else ()
    found = find(snapshot, plan, queries)
    done(begun)
    return finish(snapshot, plan, found, started=started)


def begin(snapshot: Snapshot, plan: SearchPlan, output_fields: Sequence[str]) -> list[Ahead[None]]:
    """Begin to open what a search of cold segments needs, before it is known what the log adds to them.

    Args:
        snapshot: a version, which may have been replaced.
        plan: what will be searched for.
        output_fields: fields of the hits.

    Returns:
        What was begun, for `done`.
    """
    segments = [one for one in snapshot.survivors(plan.filter) if not isinstance(one, GrowingSegment)]
    if len(segments) > _MOST_BEGUN or plan.in_lists or not plan.field.type.data_type.dense_vector:
        return []
    opening = [ahead(partial(quietly, partial(open_segment, snapshot, plan, one))) for one in segments]
    return [*open_fields(snapshot, segments, output_fields), *opening]


def find(snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any]) -> Found:
    """`search`, without fetching a field."""
    with trace.step("search", field=plan.field.name, queries=len(queries), top_k=plan.top_k):
        segments = snapshot.survivors(plan.filter)
        partials = _search_all(snapshot, plan, queries, segments)
        with trace.step("merge"):
            found = merge(partials, len(queries), plan.top_k, plan.metric, ordered=not plan.ranged)
        if not plan.of_elements:
            return Found(segments, *found)
        rows, elements = placed(snapshot, plan.field, segments, found.which, found.rows)
        return Found(segments, found.which, rows, found.distances, found.counts, elements)


def finish(snapshot: Snapshot, plan: SearchPlan, found: Found, *, started: float) -> SearchResult:
    """Fetch the keys and output fields of hits.

    Args:
        snapshot: what was searched.
        plan: names the field searched and the output fields.
        found: the hits.
        started: `time.perf_counter()` when the search began.
    """
    segments, which, rows, distances, counts, elements = found
    with trace.step("fetch", rows=len(rows), fields=list(plan.output_fields)):
        ids, fields = fetch_hits(snapshot, segments, which, rows, plan.output_fields)
    pruned = len(snapshot.segments) - len(segments)
    coverage = snapshot.coverage_of(plan.field)
    info = snapshot.info(started=started, pruned=pruned, coverage=coverage)
    parsed = json_names(snapshot.schema, plan.output_fields)
    result = SearchResult(ids, distances, fields, counts, info, parsed)
    result.flat_elements = elements
    return result


def _search_all(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any], segments: Sequence[Segment]
) -> list[Partial]:
    """Each segment's best. Large segments are searched in parallel; handing a small one on costs more than it.

    Segments of which something is a request away are searched at once, whatever their size.
    """
    if plan.field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return [Partial(*one) for one in search_inverted(snapshot, plan, queries, segments)]
    if snapshot.opened.waits and _away(snapshot, plan, segments):
        calls = [partial(ask_segment, snapshot, plan, queries, one, len(segments)) for one in segments]
        asked = Asked(queries, plan.top_k, plan.metric, plan.options, len(segments))
        fields = partial(fields_ahead, snapshot, segments, names=plan.output_fields)
        parts = compared(together(calls), asked, fields)
        return [Partial(distances, inside(plan, distances, rows)) for distances, rows in parts]
    shared = _shared_out(snapshot, plan, len(queries), segments)
    found: dict[str, Partial] = {}
    for part in together([partial(_search_each, snapshot, plan, queries, some) for some in shared]):
        found.update(part)
    return [found[segment.id] for segment in segments]


def _shared_out(
    snapshot: Snapshot, plan: SearchPlan, q: int, segments: Sequence[Segment]
) -> list[list[Segment]]:
    """Segments by the thread that searches them, the calling one first; large ones are divided among the cores."""
    if q <= most_in_place(snapshot, plan, segments):
        return [list(segments)]
    work = {segment.id: q * _work(snapshot, plan, segment) for segment in segments}
    large = [segment for segment in segments if work[segment.id] > _LARGE_WORK]
    threads: list[list[Segment]] = [[] for _ in large[:_CORES]]
    for one in sorted(large, key=lambda one: -work[one.id]):
        min(threads, key=lambda some: sum(work[held.id] for held in some)).append(one)
    threads[0] += [one for one in segments if work[one.id] <= _LARGE_WORK]
    return threads


def most_in_place(snapshot: Snapshot, plan: SearchPlan, segments: Sequence[Segment]) -> float:
    """Queries, at most, that are searched for without dividing the segments: one of them is large, or none."""
    work = sorted(_work(snapshot, plan, segment) for segment in segments)
    return _LARGE_WORK / work[-2] if len(work) > 1 else math.inf


def _work(snapshot: Snapshot, plan: SearchPlan, segment: Segment) -> float:
    """Vector components, about, that a query looks at in a segment."""
    spec, seen = spec_of(snapshot, plan), 1.0
    if spec is not None and not plan.ranged:
        if snapshot.build_of(spec, segment) is not None:
            seen = _SEEN_BY_INDEX
        elif snapshot.opened.codes.made_of(segment, plan.field, spec):
            seen = _SEEN_BY_CODES
    width = sum(_LISTED * (one.type.dim or 1) for one in plan.field.type.fields) or plan.field.type.dim or 1
    return segment.num_rows * width * seen


def _search_each(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any], segments: Sequence[Segment]
) -> dict[str, Partial]:
    return {one.id: search_segment(snapshot, plan, queries, one) for one in segments}


def _away(snapshot: Snapshot, plan: SearchPlan, segments: Sequence[Segment]) -> bool:
    if plan.in_lists:
        return False
    opened, schema, spec = snapshot.opened, snapshot.schema, snapshot.index_of(plan.field)
    return not all(
        opened.near(segment, schema, plan.field.name, snapshot.build_of(spec, segment))
        for segment in segments
    )
