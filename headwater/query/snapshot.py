"""A snapshot: one version of a collection, pinned, with what is opened of it.

A snapshot never changes. Two reads of one snapshot see the same rows, whatever is committed meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater import trace
from headwater.index import default_metric, num_selected
from headwater.lake import FieldStats, IndexBuild, IndexSpec, Manifest, Segment
from headwater.lake.log import GoneRows, Pinned
from headwater.query.inverted import InvertedIndexes
from headwater.query.lru import LruCache
from headwater.query.max_sim import list_metric, member_path
from headwater.query.opened import Opened
from headwater.query.results import ResultInfo
from headwater.query.scalar_indexes import ScalarIndexes
from headwater.query.segment_rows import SegmentRows
from headwater.query.turns import Turns
from headwater.schema import Field, FunctionType, Schema
from headwater.types import Bitmap, DataType, MetricType

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = [
    "ROW_ID",
    "ISOLATION_PROPERTY",
    "TIMEZONE_PROPERTY",
    "TTL_FIELD_PROPERTY",
    "TTL_PROPERTY",
    "WRITTEN_FIELD",
    "Selection",
    "Snapshot",
    "VersionCache",
    "lasting",
]

ROW_ID = "row_id"
"""Name under which a collection without a primary key shows its stable row ids."""

TTL_PROPERTY = "ttl_seconds"
"""Property of a collection: how long after its last write a row lives."""

TTL_FIELD_PROPERTY = "ttl_field"
"""Property of a collection: the field that holds the moment at which a row is gone."""

ISOLATION_PROPERTY = "partitionkey.isolation"
"""Property of a collection: every search must ask for one value of the partition key."""

TIMEZONE_PROPERTY = "timezone"
"""Property of a collection: IANA name of the time zone that times without an offset are in."""

WRITTEN_FIELD = "$written"
"""Hidden field: when the row was written; only kept by collections with a time to live."""

_FILTERS = 256
_PLANS = 256
_LONGEST_KEPT = 4096


@dataclass(frozen=True)
class Selection:
    """The rows of one segment that a filter selects.

    Attributes:
        segment: the segment.
        bitmap: (num_rows,) True where selected; None when every row is.
        count: selected rows.
    """

    segment: Segment
    bitmap: Bitmap | None
    count: int

    def narrowed(self, within: Bitmap) -> Selection:
        """Those of them that are also in another bitmap."""
        return _selection(self.segment, within if self.bitmap is None else self.bitmap & within)


class VersionCache:
    """What the snapshots of one version share, however the log goes on: bound filters and plans, and sums.

    Args:
        manifest: the version.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.plans: LruCache[Hashable, Any] = LruCache(_PLANS)
        self.filters: LruCache[str, expr.Bound] = LruCache(_FILTERS)
        self.builds = {(build.index, build.segment): build for build in manifest.builds}
        self.specs = {(spec.field_id, spec.path): spec for spec in manifest.indexes if spec.metric}
        self.scalars = ScalarIndexes(manifest.indexes, self.builds)
        self.inverted = InvertedIndexes(manifest.schema, manifest.indexes, self.builds)
        self._covered: dict[str, int] = {}
        self.turns: LruCache[Hashable, Turns] = LruCache(_PLANS)

    @cached_property
    def num_rows(self) -> int:
        """Rows of the segments, deleted ones included."""
        return sum(segment.num_rows for segment in self._manifest.segments)

    @cached_property
    def num_live(self) -> int:
        """Rows of the segments, deleted ones excluded."""
        return self.num_rows - sum(segment.num_deleted for segment in self._manifest.segments)

    def num_covered(self, spec: IndexSpec | None) -> int:
        """Rows of the segments that have a build of an index."""
        if spec is None:
            return 0
        if spec.name not in self._covered:
            rows = [s.num_rows for s in self._manifest.segments if (spec.name, s.id) in self.builds]
            self._covered[spec.name] = sum(rows)
        return self._covered[spec.name]


@dataclass(frozen=True)
class Snapshot:
    """One pinned version, and the log after it up to some entry.

    Attributes:
        manifest: the version's state.
        opened: shared cache of opened segments and indexes.
        pinned: what the log adds; nothing for an older version.
        cache: shared with other snapshots of the version.
        partitions: ids of the partitions that are read; None for all.
    """

    manifest: Manifest
    opened: Opened = dataclasses.field(compare=False)
    pinned: Pinned = dataclasses.field(default_factory=Pinned)
    cache: VersionCache = dataclasses.field(default=None, compare=False)  # type: ignore[assignment]
    partitions: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.cache is None:
            object.__setattr__(self, "cache", VersionCache(self.manifest))

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Sealed and growing segments; `num_deleted` of each counts every row that is gone."""
        sealed, gone = self.manifest.segments, self.pinned.gone
        if gone:
            sealed = tuple(_counted(segment, gone) for segment in sealed)
        every = (*sealed, *(_counted(segment, gone) for segment in self.pinned.segments))
        if self.schema.partition_key is None:
            # Rows that were on their way to a partition while it was dropped went with it.
            named = {0, *self.manifest.partitions.values()}
            every = tuple(segment for segment in every if segment.partition in named)
        if self.partitions is None:
            return every
        return tuple(segment for segment in every if segment.partition in self.partitions)

    @cached_property
    def row_starts(self) -> npt.NDArray[np.int64]:
        """(segments + 1,) int64, rows of the segments before each."""
        return np.cumsum([0, *(segment.num_rows for segment in self.segments)], dtype=np.int64)

    @property
    def schema(self) -> Schema:
        """The schema at this version."""
        return self.manifest.schema

    @cached_property
    def expires(self) -> bool:
        """Whether rows have a time to live."""
        return bool(time_to_live(self.manifest))

    @cached_property
    def ready(self) -> dict[Hashable, Any]:
        """Searches that are worked out, by the form of the request; whoever adds one keeps them few."""
        return {}

    @cached_property
    def ready_legs(self) -> dict[Hashable, Any]:
        """`ready` of searches that fetch nothing."""
        return {}

    @cached_property
    def whole(self) -> Snapshot:
        """The same, of all partitions."""
        return self if self.partitions is None else dataclasses.replace(self, partitions=None)

    def within(self, partitions: frozenset[int]) -> Snapshot:
        """The same, of some partitions only."""
        return dataclasses.replace(self, partitions=partitions)

    @cached_property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        if self.expires:
            return sum(self.select(segment, None).count for segment in self._populated)
        if self.partitions is None and not self.pinned.segments and not self.pinned.gone:
            return self.cache.num_live
        return sum(segment.num_rows - segment.num_deleted for segment in self.segments)

    def index_of(self, field: Field) -> IndexSpec | None:
        """The index of vectors declared on a field, or on a member of a struct array, if any."""
        return self.cache.specs.get((field.id, member_path(field)))

    def metric_of(self, field: Field) -> MetricType:
        """The metric of a field's index; the default of its type without one."""
        spec = self.index_of(field)
        if spec is not None:
            return MetricType(spec.metric)
        if field.type.data_type is DataType.STRUCT_ARRAY:
            return list_metric(field, None)
        if field.name in self.schema.virtual:
            return MetricType.BM25
        function = self.schema.outputs.get(field.name)
        signatures = function is not None and function.type is FunctionType.MINHASH
        return MetricType.MHJACCARD if signatures else default_metric(field.type)

    def build_of(self, spec: IndexSpec | None, segment: Segment) -> IndexBuild | None:
        """The build that covers a segment, if any."""
        return None if spec is None else self.cache.builds.get((spec.name, segment.id))

    def coverage(self, spec: IndexSpec | None) -> float:
        """Share of rows under a build of this index; 1.0 for an empty collection."""
        growing = sum(segment.num_rows for segment in self.pinned.segments)
        total = self.cache.num_rows + growing
        return self.cache.num_covered(spec) / total if total else 1.0

    def coverage_of(self, field: Field) -> float:
        """`coverage` of a field's index of vectors."""
        key = (field.id, field.name)  # members of a struct array have its number
        known = self._coverages.get(key)
        if known is None:
            known = self._coverages[key] = self.coverage(self.index_of(field))
        return known

    @cached_property
    def _coverages(self) -> dict[tuple[int, str], float]:
        return {}

    @cached_property
    def _populated(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.num_rows > segment.num_deleted]

    def bind(self, text: str | None, params: Mapping[str, Any] | None = None) -> expr.Bound | None:
        """A filter bound to the schema; None where there is no filter. Recent ones are kept.

        Args:
            text: the filter.
            params: values of its ``{name}`` templates.

        Raises:
            InvalidArgument: it is no text.
            FilterSyntax: the text does not parse, names an unknown field, or compares types that do not compare.
        """
        if text is None:
            return None
        from headwater.query import expr

        text = expr.filter_text(text) or ""
        if not text.strip():
            return None
        timezone = self.manifest.properties.get(TIMEZONE_PROPERTY)
        if not lasting(text, params):
            return expr.bind(expr.parse(text, params), self.schema, timezone=timezone)
        return self.cache.filters.get_or(
            text, lambda: expr.bind(expr.parse(text), self.schema, timezone=timezone)
        )

    def survivors(self, bound: expr.Bound | None) -> list[Segment]:
        """Segments that statistics cannot rule out."""
        segments = self._populated
        if bound is None:
            return segments
        from headwater.query import expr

        kept = [s for s in segments if expr.may_match(bound, self._stats_of(s), s.num_rows)]
        if trace.recording():
            gone = {segment.id for segment in segments} - {segment.id for segment in kept}
            trace.note(segments=len(segments), pruned_by_statistics=sorted(gone))
        return kept

    def _stats_of(self, segment: Segment) -> expr.StatsOf:
        def stats(name: str) -> FieldStats | None:
            known = self.schema.names
            return segment.stats.get(self.schema.field(name).id) if name in known else None

        return stats

    def select(self, segment: Segment, bound: expr.Bound | None) -> Selection:
        """Evaluate a filter over one segment, deleted rows excluded."""
        if bound is None and not self.expires:
            if not segment.num_deleted:
                return Selection(segment, None, segment.num_rows)
            kept = self.opened.selections.of(
                segment, *self.selected_by(segment, None), lambda: ~self._known_gone(segment)
            )
            return Selection(segment, kept, segment.num_rows - segment.num_deleted)
        deleted = self.gone(segment)
        if bound is None:
            if deleted is None:
                return Selection(segment, None, segment.num_rows)
            return _selection(segment, ~deleted)

        def evaluate() -> Bitmap:
            from headwater.query import expr

            trace.note(source="evaluated")
            indexes = self.cache.scalars, self.cache.inverted
            held = expr.evaluate(bound, SegmentRows(self.opened, self.schema, segment, *indexes))
            return held if deleted is None else held & ~deleted

        if self.expires:
            # The moment is part of what is selected.
            return _selection(segment, evaluate())
        with trace.step("filter", rows=segment.num_rows, source="kept from an earlier read"):
            bitmap = self.opened.selections.of(segment, *self.selected_by(segment, bound), evaluate)
            selection = _selection(segment, bitmap)
            trace.note(rows_selected=selection.count)
        return selection

    def chosen_elements(self, segment: Segment, bound: expr.Bound, name: str) -> Bitmap:
        """(elements,) which elements of a field of lists a filter means; see `expr.evaluate_elements`. Kept."""
        from headwater.query import expr

        indexes = self.cache.scalars, self.cache.inverted
        rows = SegmentRows(self.opened, self.schema, segment, *indexes)
        key = ("elements", name, self._filter_key(bound)), self._token(segment)
        return self.opened.selections.of(segment, *key, lambda: expr.evaluate_elements(bound, rows, name))

    def _filter_key(self, bound: expr.Bound) -> Hashable:
        casts = self.cache.scalars.cast_paths
        return (bound.number, casts) if casts else bound.number

    def selected_by(self, segment: Segment, bound: expr.Bound | None) -> tuple[Hashable, int | None]:
        """What `Selections.of` is asked by for the rows that a filter selects, while they do not expire."""
        return None if bound is None else self._filter_key(bound), self._token(segment)

    def knows(self, segment: Segment, bound: expr.Bound) -> bool:
        """Whether it is known, without reading anything, which rows of a segment a filter selects."""
        return not self.expires and self.opened.selections.has(segment, *self.selected_by(segment, bound))

    def deleted(self, segment: Segment) -> Bitmap | None:
        """(num_rows,) True where a row is gone; None when none is."""
        gone = self.pinned.gone.get(segment.id)
        if gone is not None:
            return gone.bitmap
        return self.opened.readers.of(segment, self.schema).deleted() if segment.num_deleted else None

    def _known_gone(self, segment: Segment) -> Bitmap:
        deleted = self.deleted(segment)
        return np.zeros(segment.num_rows, np.bool_) if deleted is None else deleted

    def gone_token(self, segment: Segment) -> Hashable:
        """Says which rows are deleted: equal only where the same are."""
        return (segment.delete_vector.key if segment.delete_vector else "", self._token(segment))

    def _token(self, segment: Segment) -> int | None:
        """Says which rows are deleted besides those of the delete vector."""
        gone = self.pinned.gone.get(segment.id)
        return None if gone is None else gone.token

    def gone(self, segment: Segment, *, spared_s: int = 0) -> Bitmap | None:
        """(num_rows,) True where a row is deleted or past its time; None when none is.

        Args:
            segment: one of these.
            spared_s: rows whose time has been over for less than this do not count.
        """
        deleted, expired = self.deleted(segment), self._expired(segment, self.now_s - spared_s)
        if deleted is None or expired is None:
            return expired if deleted is None else deleted
        return deleted | expired

    def _expired(self, segment: Segment, now_s: int) -> Bitmap | None:
        """(num_rows,) True where a row is past its time at a moment; None when none is."""
        gone: Bitmap | None = None
        for field, lifetime_s in time_to_live(self.manifest):
            column = self.opened.fields.column(segment, self.schema, field.name)
            until = pa.scalar(int((now_s - lifetime_s) * 1e6), pa.int64())
            past = pc.less(pc.cast(column, pa.timestamp("us", "UTC")).cast(pa.int64()), until)
            bitmap = pc.fill_null(past, False).to_numpy(zero_copy_only=False)
            if bitmap.any():
                gone = bitmap if gone is None else gone | bitmap
        return gone

    @cached_property
    def now_s(self) -> int:
        """The moment that times to live are measured at, seconds since 1970."""
        return int(time.time())

    def present(self, segment: Segment, field: Field) -> Bitmap | None:
        """(num_rows,) True where a field is not null; None when it nowhere is."""
        stats = segment.stats.get(field.id)
        if not field.nullable or (stats is not None and stats.null_count == 0):
            return None
        if field.type.data_type.dense_vector:
            return self.opened.vectors.present(segment, self.schema, field.name)
        column = self.opened.fields.column(segment, self.schema, field.name)
        if column.null_count == 0:
            return None
        valid: Bitmap = column.is_valid().to_numpy(zero_copy_only=False)
        return valid

    def info(self, *, started: float, pruned: int = 0, coverage: float = 1.0) -> ResultInfo:
        """What an answer from this snapshot is an answer to."""
        manifest = self.manifest
        return ResultInfo(
            manifest.version,
            max(0.0, time.time() - manifest.created_ms / 1000),
            coverage,
            len(self.segments),
            pruned,
            self.num_rows,
            time.perf_counter() - started,
        )


def lasting(text: str, params: Mapping[str, Any] | None) -> bool:
    """Whether what is bound to a filter may be kept: of long ones, templates and samples it is made each time."""
    drawn = "random_sample" in text or "RANDOM_SAMPLE" in text
    return not params and len(text) <= _LONGEST_KEPT and not drawn


def time_to_live(manifest: Manifest) -> list[tuple[Field, float]]:
    """Fields that hold a moment, and how many seconds after it a row is gone."""
    lives: list[tuple[Field, float]] = []
    seconds, name = manifest.properties.get(TTL_PROPERTY), manifest.properties.get(TTL_FIELD_PROPERTY)
    if seconds is not None:
        lives += [(field, float(seconds)) for field in manifest.schema.hidden if field.name == WRITTEN_FIELD]
    if name is not None and name in manifest.schema.names:
        lives.append((manifest.schema.field(name), 0.0))
    return lives


def _selection(segment: Segment, bitmap: Bitmap) -> Selection:
    return Selection(segment, bitmap, num_selected(bitmap))


def _counted(segment: Segment, gone: Mapping[str, GoneRows]) -> Segment:
    rows = gone.get(segment.id)
    return segment if rows is None else dataclasses.replace(segment, num_deleted=rows.count)
