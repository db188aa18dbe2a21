"""The best of one segment: through its index where one covers it, exactly otherwise.

The filter is evaluated first, into a bitmap, and the search happens inside the bitmap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index import Index, exact_range, exact_search, search_threads
from headwater.index.exact import normalised
from headwater.index.protocol import SupportsFilterAhead, SupportsGlance
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.query.away import quietly
from headwater.query.candidates import Asked, Pending, pending
from headwater.query.elements import allowed_elements
from headwater.query.max_sim import VectorLists, rows_with_vectors, search_lists, single_metric
from headwater.query.merge import Partial
from headwater.query.near_lists import Near, search_near
from headwater.query.opened import Opened
from headwater.query.search_plan import SearchPlan
from headwater.query.snapshot import Selection, Snapshot
from headwater.store import together
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = [
    "ask_segment",
    "inside",
    "open_segment",
    "search_segment",
    "spare_hits",
    "spec_of",
    "uncovered",
    "without_deleted",
]


def open_segment(
    snapshot: Snapshot, plan: SearchPlan, segment: Segment, queries: npt.NDArray[Any] | None = None
) -> None:
    """Open what a search of a segment needs, and evaluate its filter, at once."""
    opened, schema = snapshot.opened, snapshot.schema
    calls: list[Callable[[], Any]] = [partial(opened.vectors.of, segment, schema, plan.field.name)]
    spec = spec_of(snapshot, plan)
    build = snapshot.build_of(spec, segment)
    if spec is not None and build is not None:
        filtered = plan.filter is not None or plan.within is not None
        new = plan.filter is not None and not snapshot.knows(segment, plan.filter)
        near = (queries, plan.options) if new and queries is not None else None
        calls.append(partial(_open_index, opened, build, spec, filtered, near))
    if not snapshot.expires:
        # Kept with the filter, where a time to live does not make it another one each second.
        calls.append(partial(snapshot.select, segment, plan.filter))
    together(calls)


def _open_index(
    opened: Opened,
    build: IndexBuild,
    spec: IndexSpec,
    filtered: bool,
    near: tuple[npt.NDArray[Any], Mapping[str, Any]] | None,
) -> None:
    """Open an index, and read what filters want of it; lists of some queries too, where theirs is not evaluated."""
    index = opened.indexes.vector(build, spec)
    if filtered and isinstance(index, SupportsFilterAhead):
        calls: list[Callable[[], object]] = [index.prepare_filter]
        if near is not None:
            calls.append(partial(quietly, partial(index.bring_near, *near)))
        together(calls)


def search_segment(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any], segment: Segment
) -> Partial:
    """The best of one segment, opened where it is not.

    Args:
        snapshot: what is searched.
        plan: what to find.
        queries: as `query_matrix` makes them.
        segment: one of the snapshot's.
    """
    with trace.step("segment", segment=segment.id, rows=segment.num_rows):
        selection = _selected(snapshot, plan, segment)
        if selection.count == 0 or len(queries) == 0:
            return _nothing(queries)
        if plan.in_lists and not plan.of_elements:
            return _search_lists(snapshot, plan, queries, selection)
        return _search_dense(snapshot, plan, queries, selection)


def ask_segment(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any], segment: Segment, among: int
) -> Partial | Pending:
    """`search_segment` of one that is a request away; candidates where those of all segments are compared together.

    Args:
        snapshot: what is searched.
        plan: what to find.
        queries: to search for.
        segment: one of them.
        among: segments searched together.
    """
    with trace.step("segment", segment=segment.id, rows=segment.num_rows):
        open_segment(snapshot, plan, segment, queries)
        selection = _selected(snapshot, plan, segment)
        if selection.count == 0 or len(queries) == 0:
            return _nothing(queries)
        opened = None if plan.range_filter is not None else _index_of(snapshot, plan, segment)
        if opened is not None:
            vectors = snapshot.opened.vectors.of(segment, snapshot.schema, plan.field.name)
            allowed, kept = _allowed(snapshot, plan, selection)
            search_threads(len(queries))
            how = Asked(queries, plan.top_k, plan.metric, plan.options, among)
            found = pending(opened, vectors, how, allowed=allowed, kept=kept)
            if found is not None:
                return found
        return _search_dense(snapshot, plan, queries, selection)


def _selected(snapshot: Snapshot, plan: SearchPlan, segment: Segment) -> Selection:
    selection = snapshot.select(segment, plan.filter)
    if plan.within is not None:
        selection = selection.narrowed(plan.within(segment))
    trace.note(rows_selected=selection.count)
    return selection


def _nothing(queries: npt.NDArray[Any]) -> Partial:
    return Partial(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64))


def _search_lists(snapshot: Snapshot, plan: SearchPlan, queries: Any, selection: Selection) -> Partial:
    segment = selection.segment
    lists = snapshot.opened.vectors.lists(segment, snapshot.schema, plan.field)
    trace.note(elements=len(lists.vectors))
    k = selection.count if plan.ranged else plan.top_k
    index = None if plan.ranged or plan.within is not None else _index_of(snapshot, plan, segment)
    if isinstance(index, SupportsGlance):
        search_threads(sum(map(len, queries)))
        near = _near(plan, index, selection, lists)
        distances, rows = search_near(near, lists, queries, k, plan.metric)
    else:
        trace.note(strategy="exact", why="no index of its rows serves the search")
        distances, rows = search_lists(lists, queries, k, plan.metric, selection.bitmap)
    rows = inside(plan, distances, rows)
    if plan.range_filter is not None:
        rows = np.where(_within(distances, plan.range_filter, plan.metric), -1, rows)
    return Partial(distances, rows)


def _near(plan: SearchPlan, index: SupportsGlance, selection: Selection, lists: VectorLists) -> Near:
    """What an index finds the lists near by, inside a selection."""
    rows, allowed = rows_with_vectors(lists, selection.bitmap), None
    if selection.bitmap is not None and 2 * selection.count < selection.segment.num_rows:
        allowed = np.repeat(selection.bitmap, np.diff(lists.offsets))
    return Near(index, plan.options, rows, selection.bitmap, allowed)


def _search_dense(snapshot: Snapshot, plan: SearchPlan, queries: Any, selection: Selection) -> Partial:
    """The nearest rows of a segment, or elements, as numbers among its vectors."""
    search_threads(len(queries))
    schema, opened, segment = snapshot.schema, snapshot.opened, selection.segment
    lists: VectorLists | None = None
    if plan.of_elements:
        lists, queries = opened.vectors.lists(segment, schema, plan.field), np.concatenate(queries)
        trace.note(elements=len(lists.vectors))
    vectors = opened.vectors.of(segment, schema, plan.field.name) if lists is None else lists.vectors
    if not len(vectors):
        return _nothing(queries)
    if trace.recording():
        trace.note(vectors=opened.open_files.tier_of_field(segment, plan.field))
    allowed, kept = _allowed(snapshot, plan, selection, lists)
    if plan.range_filter is not None:
        trace.note(strategy="exact range")
        found = exact_range(vectors, queries, plan.metric, plan.radius, plan.range_filter, allowed)
        return Partial(*found)
    index = _index_of(snapshot, plan, segment)
    if index is not None:
        past = None if kept is None else _past_deleted(index, plan, queries, kept, vectors)
        distances, rows = past or index.search(
            queries, plan.top_k, allowed=allowed, vectors=vectors, options=plan.options
        )
    else:
        lengths = None if lists is None or plan.metric is not MetricType.COSINE else lists.lengths
        distances, rows = uncovered(snapshot, plan, queries, segment, vectors, allowed, lengths)
    return Partial(distances, inside(plan, distances, rows))


def spec_of(snapshot: Snapshot, plan: SearchPlan) -> IndexSpec | None:
    """The index declared on the field, where it compares vectors as the plan does."""
    spec = snapshot.index_of(plan.field)
    if spec is None or single_metric(MetricType(spec.metric)) is not single_metric(plan.metric):
        return None
    return spec


def _index_of(snapshot: Snapshot, plan: SearchPlan, segment: Segment) -> Index | None:
    """The opened index that serves the plan in a segment."""
    opened, spec = snapshot.opened, spec_of(snapshot, plan)
    build = snapshot.build_of(spec, segment)
    if spec is None or build is None:
        return None
    index = opened.indexes.vector(build, spec)
    if trace.recording():
        trace.note(index=spec.name, kind=spec.kind, tier=opened.open_files.tier_of(build.file))
    return index


def _allowed(
    snapshot: Snapshot, plan: SearchPlan, selection: Selection, lists: VectorLists | None = None
) -> tuple[Bitmap | None, Bitmap | None]:
    """What may be found, None for all; and the same where it leaves out what is deleted and nothing else."""
    allowed = selection.bitmap
    if lists is not None:
        narrowed = plan.within is not None
        allowed = allowed_elements(snapshot, selection, plan.field, plan.filter, lists, narrowed=narrowed)
    elif (present := snapshot.present(selection.segment, plan.field)) is not None:
        return (present if allowed is None else allowed & present), None
    free = plan.filter is None and plan.within is None and not snapshot.expires
    return allowed, allowed if free else None


def uncovered(
    snapshot: Snapshot,
    plan: SearchPlan,
    queries: npt.NDArray[Any],
    segment: Segment,
    vectors: Vectors,
    allowed: Bitmap | None = None,
    lengths: npt.NDArray[np.float32] | None = None,
) -> tuple[FloatMatrix, RowIds]:
    """Search rows without the index: by codes where an index is declared and the rows are many, else one by one.

    Args:
        snapshot: what is searched.
        plan: what to find, by no range.
        queries: as `query_matrix` makes them.
        segment: one of the snapshot's.
        vectors: of it.
        allowed: rows, or elements, to consider; None for all.
        lengths: of the vectors, where they are known.
    """
    spec = spec_of(snapshot, plan)
    build = snapshot.build_of(snapshot.index_of(plan.field), segment)
    if build is None and spec is not None and not plan.of_elements:
        codes = snapshot.opened.codes.of(segment, plan.field, spec, vectors)
        if codes is not None and isinstance(vectors, np.ndarray):
            found = codes.search(vectors, queries, plan.top_k, allowed=allowed)
            if found is not None:
                return found
    trace.note(strategy="exact", why="no index covers the segment" if build is None else "another metric")
    asked = queries if lengths is None else normalised(queries)
    return exact_search(vectors, asked, plan.top_k, plan.metric, allowed=allowed, row_lengths=lengths)


def _past_deleted(
    index: Index,
    plan: SearchPlan,
    queries: npt.NDArray[Any],
    kept: Bitmap,
    vectors: Vectors,
) -> tuple[FloatMatrix, RowIds] | None:
    """Search as if nothing were deleted, for a few more hits, and leave out the deleted ones.

    Looking up each row that an index passes by costs more than a few hits too many. None where a query found too few;
    it is then searched among the rows that are left.
    """
    distances, rows = index.search(
        queries, plan.top_k + spare_hits(plan.top_k), allowed=None, vectors=vectors, options=plan.options
    )
    return without_deleted(distances, rows, kept, plan.top_k)


def spare_hits(top_k: int) -> int:
    """How many hits more are searched for where deleted rows may be among them."""
    return 4 + top_k // 4


def without_deleted(
    distances: FloatMatrix, rows: RowIds, kept: Bitmap, top_k: int
) -> tuple[FloatMatrix, RowIds] | None:
    """(q, top_k) distances and rows of those found that are kept; None where a query found too few.

    Args:
        distances: (q, k) of what was found, best first.
        rows: (q, k) positions, -1 where there are no more.
        kept: (num_rows,) True where a row is not deleted.
        top_k: hits wanted of each query.
    """
    alive = (rows >= 0) & kept[rows]
    if int(alive.sum(axis=1).min()) < top_k:
        return None
    if len(rows) == 1:
        first = np.flatnonzero(alive[0])[:top_k]
        return distances[:, first], rows[:, first]
    order = np.argsort(~alive, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)


def inside(plan: SearchPlan, distances: FloatMatrix, rows: RowIds) -> RowIds:
    """Rows within the outer bound of a range search; -1 for others."""
    if plan.radius is None:
        return rows
    return np.where(_within(distances, plan.radius, plan.metric), rows, -1)


def _within(distances: FloatMatrix, radius: float, metric: MetricType) -> npt.NDArray[np.bool_]:
    return distances > radius if metric.larger_is_closer else distances < radius
