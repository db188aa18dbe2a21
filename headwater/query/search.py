"""Nearest-neighbour search over one snapshot.

Each segment answers by itself - through its index where one covers it, exactly otherwise - and the answers are merged.
So a result is complete whatever is indexed; only its cost changes. Filters are evaluated first, into a bitmap per
segment, and the search happens inside the bitmap.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.errors import DimensionMismatch, InvalidArgument, SchemaMismatch
from headwater.formats import Vectors
from headwater.index import Index, exact_range, exact_search, search_threads
from headwater.index.exact import normalised
from headwater.index.protocol import SupportsFilterAhead, SupportsGlance
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.lake.log import GrowingSegment
from headwater.query.away import done, fields_ahead, open_fields, quietly
from headwater.query.candidates import Asked, Pending, compared, pending
from headwater.query.collapse import Collapse
from headwater.query.elements import allowed_elements, placed
from headwater.query.fetch import fetch_hits, json_names
from headwater.query.inverted_search import search_inverted
from headwater.query.max_sim import VectorLists, rows_with_vectors, search_lists, single_metric
from headwater.query.merge import Partial, merge
from headwater.query.near_lists import Near, search_near
from headwater.query.opened import Opened
from headwater.query.results import SearchResult
from headwater.query.snapshot import Selection, Snapshot
from headwater.query.sparse_queries import sparse_queries
from headwater.schema import Field, stored_bytes
from headwater.store import Ahead, ahead, together
from headwater.types import Bitmap, DataType, FloatMatrix, MetricType, RowIds

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = [
    "MAX_TOP_K",
    "Found",
    "SearchPlan",
    "begin",
    "find",
    "finish",
    "most_in_place",
    "query_matrix",
    "search",
    "search_segment",
    "spare_hits",
    "without_deleted",
]

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

MAX_TOP_K = 16_384
"""Milvus's bound on the hits of one query."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search looks for, checked and bound to a schema; queries come with each search.

    Attributes:
        field: the dense vector field.
        top_k: hits per query.
        metric: how closeness is measured.
        filter: rows to consider; None for all.
        output_fields: fields of the hits.
        radius: outer bound of a range search: worse hits are left out.
        range_filter: inner bound: better hits are left out.
        options: search parameters of the index kind (`nprobe`, `ef`, ...).
        within: (num_rows,) True for the rows of a segment that may be found, besides the filter; None for all.
        collapse: of a leg that finds elements, how those of a row become one hit; None for the best of them.
    """

    field: Field
    top_k: int
    metric: MetricType
    filter: expr.Bound | None = None
    output_fields: tuple[str, ...] = ()
    radius: float | None = None
    range_filter: float | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    within: Callable[[Segment], Bitmap] | None = None
    collapse: Collapse | None = None

    @property
    def ranged(self) -> bool:
        """Whether distances are bounded."""
        return self.radius is not None or self.range_filter is not None

    @property
    def in_lists(self) -> bool:
        """Whether rows hold several vectors each."""
        return self.field.type.data_type is DataType.STRUCT_ARRAY

    @property
    def of_elements(self) -> bool:
        """Whether rows hold several vectors each, and each of them is a hit by itself."""
        return self.in_lists and not self.metric.startswith("MAX_SIM")

    def __post_init__(self) -> None:
        whole = isinstance(self.top_k, int | np.integer) and not isinstance(self.top_k, bool)
        if not whole or not 1 <= self.top_k <= MAX_TOP_K:
            raise InvalidArgument(f"top_k must be an integer from 1 to {MAX_TOP_K}, got {self.top_k!r}")
        for name, bound in (("radius", self.radius), ("range_filter", self.range_filter)):
            if bound is not None and (
                isinstance(bound, bool) or not isinstance(bound, int | float | np.number) or bound != bound
            ):
                raise InvalidArgument(f"{name} must be a number, got {bound!r}")


class Found(NamedTuple):
    """Hits whose fields are not fetched yet, by query, best first.

    Attributes:
        segments: that `which` points into.
        which: (n,) int32, the segment of each hit.
        rows: (n,) int64, its position in that segment.
        distances: (n,) float32 values of the metric.
        counts: hits of each query.
        elements: (n,) int64, of hits that are elements their positions in the arrays of their rows; None of rows.
    """

    segments: Sequence[Segment]
    which: npt.NDArray[np.int32]
    rows: RowIds
    distances: npt.NDArray[np.float32]
    counts: list[int]
    elements: RowIds | None = None

    def taken(self, chosen: npt.NDArray[Any] | slice, counts: list[int]) -> Found:
        """Some of the hits, in the order given."""
        elements = None if self.elements is None else self.elements[chosen]
        parts = self.which[chosen], self.rows[chosen], self.distances[chosen]
        return Found(self.segments, *parts, counts, elements)

    @classmethod
    def joined(cls, several: Sequence[Found], counts: list[int]) -> Found:
        """The hits of several, one after the other, which have the same segments."""
        elements = [one.elements for one in several if one.elements is not None]
        return cls(
            several[0].segments,
            np.concatenate([one.which for one in several]),
            np.concatenate([one.rows for one in several]),
            np.concatenate([one.distances for one in several]),
            counts,
            np.concatenate(elements) if elements else None,
        )

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """(2 or 3, n) int64 that name each hit: segment, row, and element of those that are elements."""
        own = () if self.elements is None else (self.elements,)
        return np.stack([self.which.astype(np.int64), self.rows, *own])


def query_matrix(data: Any, vector_field: Field) -> npt.NDArray[Any]:
    """Query vectors as one matrix, checked against the field.

    Args:
        data: one vector, or a sequence or array of them; bytes for vectors as stored; of a sparse field mappings, lists
            of (index, value) pairs or a scipy matrix, or texts where BM25 fills it.
        vector_field: the field searched.

    Returns:
        (q, dim) float32; (q, dim / 8) uint8 for a binary field; (q,) objects for a sparse one.

    Raises:
        DimensionMismatch: a vector has another length than the field.
        SchemaMismatch: a value is not a number, or not finite.
    """
    dim = vector_field.type.dim or 0
    name = vector_field.name
    if vector_field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return sparse_queries(data, vector_field)
    if vector_field.type.data_type is DataType.BINARY_VECTOR:
        rows = [data] if isinstance(data, bytes | bytearray) else list(data)
        packed = [np.frombuffer(bytes(row), np.uint8) for row in rows]
        for i, row in enumerate(packed):
            if len(row) * 8 != dim:
                raise DimensionMismatch(f"query {i}, field {name!r}: expected {dim} bits, got {len(row) * 8}")
        return np.stack(packed) if packed else np.empty((0, dim // 8), np.uint8)
    data = stored_bytes(data, vector_field)
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], np.ndarray):
        data = data[0]
    try:
        matrix = np.asarray(data, dtype=np.float32)
    except (TypeError, ValueError) as error:
        lengths = _lengths(data)
        for i, length in enumerate(lengths):
            if length != dim:
                raise DimensionMismatch(
                    f"query {i}, field {name!r}: expected {dim} numbers, got {length}"
                ) from error
        raise SchemaMismatch(f"queries on field {name!r} are not all numbers: {error}") from error
    if matrix.ndim == 1:
        matrix = matrix[None, :] if len(matrix) else matrix.reshape(0, dim)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise DimensionMismatch(f"queries on field {name!r}: expected (q, {dim}), got {matrix.shape}")
    # A sum of squares is finite unless a number is not, or it overflows; only then is each number looked at.
    flat = matrix.reshape(-1)
    if not math.isfinite(flat.dot(flat)) and not (finite := np.isfinite(matrix).all(axis=1)).all():
        raise SchemaMismatch(f"query {int(np.argmin(finite))}, field {name!r}: holds NaN or infinity")
    return np.ascontiguousarray(matrix)


def _lengths(data: Any) -> list[int]:
    return (
        [len(row) for row in data if isinstance(row, Sequence | np.ndarray)]
        if isinstance(data, Sequence)
        else []
    )


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
    opening = [ahead(partial(quietly, partial(_open_segment, snapshot, plan, one))) for one in segments]
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
    spec = snapshot.index_of(plan.field)
    info = snapshot.info(started=started, pruned=pruned, spec=spec, searched=True)
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
        calls = [partial(_ask_segment, snapshot, plan, queries, one, len(segments)) for one in segments]
        asked = Asked(queries, plan.top_k, plan.metric, plan.options, len(segments))
        fields = partial(fields_ahead, snapshot, segments, names=plan.output_fields)
        parts = compared(together(calls), asked, fields)
        return [Partial(distances, _inside(plan, distances, rows)) for distances, rows in parts]
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
    spec, seen = _spec_of(snapshot, plan), 1.0
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


def _open_segment(
    snapshot: Snapshot, plan: SearchPlan, segment: Segment, queries: npt.NDArray[Any] | None = None
) -> None:
    """Open what a search of a segment needs, and evaluate its filter, at once."""
    opened, schema = snapshot.opened, snapshot.schema
    calls: list[Callable[[], Any]] = [partial(opened.vectors, segment, schema, plan.field.name)]
    spec = _spec_of(snapshot, plan)
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
    index = opened.index(build, spec)
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


def _ask_segment(
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
        _open_segment(snapshot, plan, segment, queries)
        selection = _selected(snapshot, plan, segment)
        if selection.count == 0 or len(queries) == 0:
            return _nothing(queries)
        opened = None if plan.range_filter is not None else _index_of(snapshot, plan, segment)
        if opened is not None:
            vectors = snapshot.opened.vectors(segment, snapshot.schema, plan.field.name)
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
    lists = snapshot.opened.lists(segment, snapshot.schema, plan.field)
    trace.note(elements=len(lists.vectors))
    k = selection.count if plan.ranged else plan.top_k
    index = None if plan.ranged or plan.within is not None else _index_of(snapshot, plan, segment)
    if isinstance(index, SupportsGlance):
        search_threads(sum(map(len, queries)))
        near = _near(snapshot, plan, index, selection, lists)
        distances, rows = search_near(near, lists, queries, k, plan.metric)
    else:
        trace.note(strategy="exact", why="no index of its rows serves the search")
        distances, rows = search_lists(lists, queries, k, plan.metric, selection.bitmap)
    rows = _inside(plan, distances, rows)
    if plan.range_filter is not None:
        rows = np.where(_within(distances, plan.range_filter, plan.metric), -1, rows)
    return Partial(distances, rows)


def _near(
    snapshot: Snapshot, plan: SearchPlan, index: SupportsGlance, selection: Selection, lists: VectorLists
) -> Near:
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
        lists, queries = opened.lists(segment, schema, plan.field), np.concatenate(queries)
        trace.note(elements=len(lists.vectors))
    vectors = opened.vectors(segment, schema, plan.field.name) if lists is None else lists.vectors
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
        distances, rows = _uncovered(snapshot, plan, queries, segment, vectors, allowed, lengths)
    return Partial(distances, _inside(plan, distances, rows))


def _spec_of(snapshot: Snapshot, plan: SearchPlan) -> IndexSpec | None:
    """The index declared on the field, where it compares vectors as the plan does."""
    spec = snapshot.index_of(plan.field)
    if spec is None or single_metric(MetricType(spec.metric)) is not single_metric(plan.metric):
        return None
    return spec


def _index_of(snapshot: Snapshot, plan: SearchPlan, segment: Segment) -> Index | None:
    """The opened index that serves the plan in a segment."""
    opened, spec = snapshot.opened, _spec_of(snapshot, plan)
    build = snapshot.build_of(spec, segment)
    if spec is None or build is None:
        return None
    index = opened.index(build, spec)
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


def _uncovered(
    snapshot: Snapshot,
    plan: SearchPlan,
    queries: npt.NDArray[Any],
    segment: Segment,
    vectors: Vectors,
    allowed: Bitmap | None,
    lengths: npt.NDArray[np.float32] | None,
) -> tuple[FloatMatrix, RowIds]:
    """Search rows without the index: by codes where an index is declared and the rows are many, else one by one."""
    spec = _spec_of(snapshot, plan)
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


def _inside(plan: SearchPlan, distances: FloatMatrix, rows: RowIds) -> RowIds:
    """Rows within the outer bound of a range search; -1 for others."""
    if plan.radius is None:
        return rows
    return np.where(_within(distances, plan.radius, plan.metric), rows, -1)


def _within(distances: FloatMatrix, radius: float, metric: MetricType) -> npt.NDArray[np.bool_]:
    return distances > radius if metric.larger_is_closer else distances < radius
