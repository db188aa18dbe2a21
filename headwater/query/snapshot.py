"""A snapshot: one version of a collection, pinned, with what is opened of it.

A snapshot never changes. Two reads of one snapshot see the same rows, whatever is committed meanwhile.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.index import default_metric
from headwater.lake import FieldStats, IndexBuild, IndexSpec, Manifest, Segment
from headwater.query import expr
from headwater.query.opened import LruCache, Opened
from headwater.query.results import ResultInfo
from headwater.schema import Field, Schema
from headwater.types import Bitmap, MetricType

__all__ = ["ROW_ID", "Selection", "Snapshot"]

ROW_ID = "row_id"
"""Name under which a collection without a primary key shows its stable row ids."""

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


@dataclass(frozen=True)
class Snapshot:
    """One pinned version.

    Attributes:
        manifest: the version's state.
        opened: shared cache of opened segments and indexes.
    """

    manifest: Manifest
    opened: Opened = dataclasses.field(compare=False)

    @property
    def schema(self) -> Schema:
        """The schema at this version."""
        return self.manifest.schema

    @cached_property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return sum(segment.num_rows - segment.num_deleted for segment in self.manifest.segments)

    @cached_property
    def _builds(self) -> dict[tuple[str, str], IndexBuild]:
        return {(build.index, build.segment): build for build in self.manifest.builds}

    @cached_property
    def _specs(self) -> dict[int, IndexSpec]:
        return {spec.field_id: spec for spec in self.manifest.indexes}

    def index_of(self, field_id: int) -> IndexSpec | None:
        """The index declared on a field, if any."""
        return self._specs.get(field_id)

    @cached_property
    def _metrics(self) -> dict[int, MetricType]:
        return {spec.field_id: MetricType(spec.metric) for spec in self.manifest.indexes}

    def metric_of(self, field: Field) -> MetricType:
        """The metric of a field's index; the default of its type without one."""
        return self._metrics.get(field.id) or default_metric(field.type)

    def build_of(self, spec: IndexSpec | None, segment: Segment) -> IndexBuild | None:
        """The build that covers a segment, if any."""
        return None if spec is None else self._builds.get((spec.name, segment.id))

    @cached_property
    def _coverage(self) -> dict[str, float]:
        return {}

    def coverage(self, spec: IndexSpec | None) -> float:
        """Share of rows under a build of this index; 1.0 for an empty collection."""
        name = "" if spec is None else spec.name
        if name not in self._coverage:
            self._coverage[name] = self._covered_share(spec)
        return self._coverage[name]

    def _covered_share(self, spec: IndexSpec | None) -> float:
        total = sum(segment.num_rows for segment in self.manifest.segments)
        covered = sum(s.num_rows for s in self.manifest.segments if self.build_of(spec, s) is not None)
        return covered / total if total else 1.0

    @cached_property
    def _populated(self) -> list[Segment]:
        return [segment for segment in self.manifest.segments if segment.num_rows > segment.num_deleted]

    @cached_property
    def plans(self) -> LruCache[Hashable, Any]:
        """Recent searches of this version, bound and checked, by what the caller asked for."""
        return LruCache(_PLANS)

    @cached_property
    def _filters(self) -> LruCache[str, expr.Bound]:
        return LruCache(_FILTERS)

    def bind(self, text: str | None, params: Mapping[str, Any] | None = None) -> expr.Bound | None:
        """A filter bound to the schema; None where there is no filter. Recent ones are kept.

        Args:
            text: the filter.
            params: values of its ``{name}`` templates.

        Raises:
            FilterSyntax: the text does not parse, names an unknown field, or compares types that do not compare.
        """
        if text is None or not text.strip():
            return None
        if params or len(text) > _LONGEST_KEPT:
            return expr.bind(expr.parse(text, params), self.schema)
        return self._filters.get_or(text, lambda: expr.bind(expr.parse(text), self.schema))

    def survivors(self, bound: expr.Bound | None) -> list[Segment]:
        """Segments that statistics cannot rule out."""
        segments = self._populated
        if bound is None:
            return segments
        return [s for s in segments if expr.may_match(bound, self._stats_of(s), s.num_rows)]

    def _stats_of(self, segment: Segment) -> expr.StatsOf:
        def stats(name: str) -> FieldStats | None:
            known = self.schema.names
            return segment.stats.get(self.schema.field(name).id) if name in known else None

        return stats

    def select(self, segment: Segment, bound: expr.Bound | None) -> Selection:
        """Evaluate a filter over one segment, deleted rows excluded."""
        deleted = self.opened.reader(segment, self.schema).deleted() if segment.num_deleted else None
        if bound is None:
            if deleted is None:
                return Selection(segment, None, segment.num_rows)
            return Selection(segment, ~deleted, segment.num_rows - segment.num_deleted)

        def evaluate() -> Bitmap:
            held = expr.evaluate(bound, self.columns(segment, sorted(bound.fields)))
            return held if deleted is None else held & ~deleted

        bitmap = self.opened.selected(segment, bound, evaluate)
        return Selection(segment, bitmap, int(np.count_nonzero(bitmap)))

    def present(self, segment: Segment, field: Field) -> Bitmap | None:
        """(num_rows,) True where a field is not null; None when it nowhere is."""
        stats = segment.stats.get(field.id)
        if not field.nullable or (stats is not None and stats.null_count == 0):
            return None
        column = self.opened.column(segment, self.schema, field.name)
        if column.null_count == 0:
            return None
        valid: Bitmap = column.is_valid().to_numpy(zero_copy_only=False)
        return valid

    def columns(self, segment: Segment, names: list[str]) -> pa.Table:
        """Whole fields of one segment, hot where the budget allows."""
        if not names:
            return pa.table({"": pa.nulls(segment.num_rows)})
        arrays = [self.opened.column(segment, self.schema, name) for name in names]
        for name, array in zip(names, arrays, strict=True):
            if len(array) != segment.num_rows:
                raise SchemaMismatch(
                    f"field {name!r} has {len(array)} rows in segment {segment.id}, expected {segment.num_rows}"
                )
        return pa.Table.from_arrays(arrays, names=names)

    def info(
        self, *, started: float, pruned: int = 0, spec: IndexSpec | None = None, searched: bool = False
    ) -> ResultInfo:
        """What an answer from this snapshot is an answer to."""
        manifest = self.manifest
        return ResultInfo(
            manifest.version,
            max(0.0, time.time() - manifest.created_ms / 1000),
            self.coverage(spec) if searched else 1.0,
            len(manifest.segments),
            pruned,
            self.num_rows,
            time.perf_counter() - started,
        )
