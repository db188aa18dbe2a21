"""Aggregating a search: its nearest rows in buckets that share values, level within level, as Milvus 3.0 has it.

What is counted are retained candidates, not the whole collection: for each query the nearest buckets are searched for,
as grouping does, and of each the nearest rows, as many as the largest `TopHits` of any level. So there are fewer
buckets than asked only where the collection has no more. A bucket's count and metrics are over its own candidates and
those of the buckets inside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.lake import Segment
from headwater.query.fetch import fetch, fetch_keys, json_names
from headwater.query.found import Found
from headwater.query.group import Grouping, distinct, find_groups, members
from headwater.query.ordering import OrderBy, sort_columns, sorted_places
from headwater.query.paths import FieldPath, column_of, field_path, numbers_at, ordered_path, shown, values_of
from headwater.query.results import SearchResult, python_values
from headwater.query.search_plan import MAX_TOP_K, SearchPlan
from headwater.query.snapshot import Snapshot
from headwater.schema import Schema
from headwater.types import NUMBER_TYPES, ORDERED_TYPES, Bitmap

Bitmaps = Callable[[Segment], Bitmap]
"""(num_rows,) True for the rows of a segment that are meant."""

__all__ = ["AggregationBucket", "AggregationHit", "SearchAggregation", "TopHits", "aggregated_search"]

_MAX_LEVELS = 4
_MAX_FIELDS = 10
_OPS = ("count", "sum", "avg", "min", "max")
_SCORE = "_score"


@dataclass(frozen=True)
class TopHits:
    """The rows that are shown of a bucket.

    Attributes:
        size: how many, at least 1.
        sort: ``[{"field": "asc" | "desc"}, ...]``, `_score` included: which of the retained rows are shown, and in
            what order; nearest first without it.

    Raises:
        InvalidArgument: the size or an order is wrong.
    """

    size: int
    sort: Sequence[dict[str, str]] | None = None

    def __post_init__(self) -> None:
        _positive("TopHits", "size", self.size)
        object.__setattr__(self, "sort", _orders("TopHits.sort", self.sort))


@dataclass(frozen=True)
class SearchAggregation:
    """One level of buckets.

    Attributes:
        fields: whose values a bucket shares.
        size: buckets that are returned, of each bucket above.
        metrics: alias to ``{op: field}``: count, sum, avg, min or max; ``{"count": "*"}``; `_score` is the distance.
        order: ``[{alias: "asc" | "desc"}, ...]``, `_count` and `_key` included; nearest first without it.
        top_hits: rows that are shown of each bucket.
        sub_aggregation: buckets inside each bucket; at most 4 levels and 10 fields in all.
        search_size: buckets that are looked at before they are ordered; `size` by default.

    Raises:
        InvalidArgument: a part is wrong; says which.
    """

    fields: Sequence[str]
    size: int
    metrics: dict[str, dict[str, str]] = field(default_factory=dict)
    order: Sequence[dict[str, str]] | None = None
    top_hits: TopHits | None = None
    sub_aggregation: SearchAggregation | None = None
    search_size: int | None = None

    def __post_init__(self) -> None:
        owner = "SearchAggregation"
        if (
            isinstance(self.fields, str)
            or not self.fields
            or not all(isinstance(one, str) for one in self.fields)
        ):
            raise InvalidArgument(
                f"{owner}: fields must be a list of at least one field, got {self.fields!r}"
            )
        _positive(owner, "size", self.size)
        if self.search_size is not None:
            _positive(owner, "search_size", self.search_size)
            if self.search_size < self.size:
                raise InvalidArgument(f"{owner}: search_size {self.search_size} is below size {self.size}")
        object.__setattr__(self, "metrics", dict(self.metrics or {}))
        for alias, metric in self.metrics.items():
            _one_pair(f"{owner}: metric {alias!r}", metric)
            [(op, name)] = metric.items()
            if op not in _OPS or (name == "*" and op != "count"):
                raise InvalidArgument(
                    f"{owner}: metric {alias!r}: {op}({name}): expected {', '.join(_OPS)} of a field"
                )
        object.__setattr__(self, "order", _orders(f"{owner}.order", self.order))
        for item in self.order or ():
            [key] = item
            if key not in (*self.metrics, "_count", "_key"):
                known = ", ".join((*self.metrics, "_count", "_key"))
                raise InvalidArgument(f"{owner}: order {key!r}: expected one of {known}")
        for name, part, kind in (
            ("top_hits", self.top_hits, TopHits),
            ("sub_aggregation", self.sub_aggregation, SearchAggregation),
        ):
            if part is not None and not isinstance(part, kind):
                raise InvalidArgument(f"{owner}: {name} must be a {kind.__name__}, got {type(part).__name__}")
        if len(self.levels) > _MAX_LEVELS or sum(len(level.fields) for level in self.levels) > _MAX_FIELDS:
            raise InvalidArgument(f"{owner}: at most {_MAX_LEVELS} levels and {_MAX_FIELDS} fields in all")

    @property
    def levels(self) -> list[SearchAggregation]:
        """This one and those inside it, outermost first."""
        return [self, *(self.sub_aggregation.levels if self.sub_aggregation is not None else [])]


@dataclass(frozen=True)
class AggregationHit:
    """A row shown of a bucket: its primary key, its distance, its output fields."""

    pk: Any
    score: float
    fields: dict[str, Any]


@dataclass(frozen=True)
class AggregationBucket:
    """A bucket.

    Attributes:
        key: ``[{"field_name": ..., "value": ...}, ...]`` in the order of the level's fields.
        count: candidates in it.
        metrics: alias to value; None over no value.
        hits: the rows of its `TopHits`.
        sub_groups: the buckets inside it.
    """

    key: list[dict[str, Any]]
    count: int
    metrics: dict[str, Any]
    hits: list[AggregationHit] = field(default_factory=list)
    sub_groups: list[AggregationBucket] = field(default_factory=list)


def _positive(owner: str, name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_TOP_K:
        raise InvalidArgument(f"{owner}: {name} must be an integer from 1 to {MAX_TOP_K}, got {value!r}")


def _one_pair(what: str, item: Any) -> None:
    if (
        not isinstance(item, dict)
        or len(item) != 1
        or not all(isinstance(x, str) for pair in item.items() for x in pair)
    ):
        raise InvalidArgument(f"{what}: expected one pair of texts, got {item!r}")


def _orders(what: str, items: Any) -> list[dict[str, str]] | None:
    if items is None:
        return None
    if not isinstance(items, list | tuple):
        raise InvalidArgument(f"{what}: expected a list such as [{{'price': 'asc'}}], got {items!r}")
    for item in items:
        _one_pair(what, item)
        if next(iter(item.values())) not in ("asc", "desc"):
            raise InvalidArgument(f"{what}: expected asc or desc, got {item!r}")
    return list(items)


def aggregated_search(
    snapshot: Snapshot, plan: SearchPlan, queries: Any, aggregation: SearchAggregation, names: Sequence[str]
) -> SearchResult:
    """The buckets of each query.

    Args:
        snapshot: what to read.
        plan: what to search; its `top_k` is not used.
        queries: one for each question.
        aggregation: the levels.
        names: output fields of the hits of buckets.

    Returns:
        A result without hits; its `agg_buckets` has a list of buckets for each query.

    Raises:
        FieldNotFound: a field is not there.
        InvalidArgument: a field cannot be grouped by, or aggregated so.

    Cost: a search for each bucket that has buckets inside it.
    """
    started = time.perf_counter()
    levels = [_Level.of(snapshot.schema, level) for level in aggregation.levels]
    budget = max(
        (level.top_hits.size for level in aggregation.levels if level.top_hits is not None), default=1
    )
    every = []
    for i in range(len(queries)):
        tree = _Tree(snapshot, plan, queries[i : i + 1], levels, budget, tuple(names))
        every.append([bucket for bucket, _ in tree.buckets(0, None)[: aggregation.size]])
    coverage = snapshot.coverage_of(plan.field)
    pruned = len(snapshot.segments) - len(snapshot.survivors(plan.filter))
    info = snapshot.info(started=started, pruned=pruned, coverage=coverage)
    none = np.empty(0, np.int64)
    keys = fetch_keys(snapshot, snapshot.segments, none.astype(np.int32), none)
    return SearchResult(keys, none.astype(np.float32), {}, [0] * len(queries), info, agg_buckets=every)


@dataclass(frozen=True)
class _Level:
    """A level, bound to a schema."""

    spec: SearchAggregation
    paths: tuple[FieldPath, ...]
    metrics: dict[str, tuple[str, FieldPath | None]]
    sort: list[tuple[FieldPath | None, OrderBy]]

    @classmethod
    def of(cls, schema: Schema, spec: SearchAggregation) -> _Level:
        paths = tuple(field_path(schema, name, "SearchAggregation") for name in spec.fields)
        metrics: dict[str, tuple[str, FieldPath | None]] = {}
        for alias, metric in spec.metrics.items():
            [(op, name)] = metric.items()
            path = None if name in ("*", _SCORE) else field_path(schema, name, f"metric {alias!r}")
            if path is not None and not _has(op, path):
                raise InvalidArgument(
                    f"metric {alias!r}: field {name!r} is {path.data_type}, of which there is no {op}"
                )
            metrics[alias] = (op if name != "*" else "count_all", path)
        sort = []
        for item in (spec.top_hits.sort if spec.top_hits is not None else None) or ():
            [(name, direction)] = item.items()
            path = None if name == _SCORE else ordered_path(schema, name, "TopHits.sort")
            sort.append((path, OrderBy(name, direction == "desc")))
        return cls(spec, paths, metrics, sort)


def _has(op: str, path: FieldPath) -> bool:
    """Whether there is such a metric of a field; of a JSON path its numbers have a least and a largest."""
    if op in ("sum", "avg"):
        return path.data_type in NUMBER_TYPES
    return op == "count" or path.path is not None or path.data_type is None or path.data_type in ORDERED_TYPES


class _Rows:
    """Candidates: where they are, and how near."""

    def __init__(self, found: Found, part: npt.NDArray[np.int64]) -> None:
        self.segments, self.found = found.segments, found.taken(part, [])
        self.which, self.rows, self.distances = self.found.which, self.found.rows, self.found.distances

    @classmethod
    def joined(cls, several: Sequence[_Rows], larger: bool) -> _Rows:
        """All of them once, nearest first."""
        every = Found.joined([one.found for one in several], [])
        _, once = np.unique(every.places, axis=1, return_index=True)
        distances = every.distances
        order = once[np.lexsort((once, -distances[once] if larger else distances[once]))]
        return cls(every, order)


class _Tree:
    """The buckets of one query."""

    def __init__(
        self,
        snapshot: Snapshot,
        plan: SearchPlan,
        query: Any,
        levels: list[_Level],
        budget: int,
        names: tuple[str, ...],
    ) -> None:
        self._snapshot, self._plan, self._query = snapshot, plan, query
        self._levels, self._budget, self._names = levels, budget, names

    def buckets(self, depth: int, inside: Bitmaps | None) -> list[tuple[AggregationBucket, _Rows]]:
        """The buckets of a level within a bucket above that are looked at, in order, with their candidates.

        A bucket holds the candidates of all that are looked at inside it, of which it shows the first `size`.
        """
        level = self._levels[depth]
        spec = level.spec
        grouping = Grouping(level.paths, size=self._budget, strict=True)
        plan = replace(self._plan, within=inside)
        found = find_groups(self._snapshot, plan, self._query, grouping, spec.search_size or spec.size)
        keys, codes = distinct(self._table(found, level.paths))
        made = []
        for code in range(min(keys.num_rows, spec.search_size or spec.size)):
            part = np.flatnonzero(codes == code)[: self._budget]
            rows = _Rows(found, part)
            below: list[tuple[AggregationBucket, _Rows]] = []
            if depth + 1 < len(self._levels):
                key = keys.slice(code, 1)
                below = self.buckets(depth + 1, partial(self._inside, inside, level.paths, key))
                rows = _Rows.joined([rows, *(rows for _, rows in below)], self._plan.metric.larger_is_closer)
            shown = below[: spec.sub_aggregation.size] if spec.sub_aggregation is not None else []
            made.append((self._bucket(level, keys, code, rows, [bucket for bucket, _ in shown]), rows))
        return self._ordered(spec, made)

    def _inside(
        self, outer: Bitmaps | None, paths: tuple[FieldPath, ...], key: pa.Table, segment: Segment
    ) -> Bitmap:
        here = members([column_of(self._snapshot, segment, path) for path in paths], key)
        return here if outer is None else here & outer(segment)

    def _table(self, found: Found, paths: Sequence[FieldPath]) -> pa.Table:
        at = (self._snapshot, found.segments, found.which, found.rows)
        return pa.table([values_of(*at, path) for path in paths], names=[str(i) for i in range(len(paths))])

    def _bucket(
        self, level: _Level, keys: pa.Table, code: int, rows: _Rows, below: list[AggregationBucket]
    ) -> AggregationBucket:
        key = [
            {"field_name": path.text, "value": shown(keys.column(i).slice(code, 1), path)[0]}
            for i, path in enumerate(level.paths)
        ]
        metrics = {alias: self._metric(op, path, rows) for alias, (op, path) in level.metrics.items()}
        hits = self._hits(level, rows) if level.spec.top_hits is not None else []
        return AggregationBucket(key, len(rows.rows), metrics, hits, below)

    def _sort_columns(self, path: FieldPath | None, rows: _Rows) -> list[pa.Array | pa.ChunkedArray]:
        if path is None:
            return [pa.array(rows.distances)]
        return sort_columns(self._snapshot, rows.segments, rows.which, rows.rows, path)

    def _metric(self, op: str, path: FieldPath | None, rows: _Rows) -> Any:
        if op == "count_all":
            return len(rows.rows)
        at = (self._snapshot, rows.segments, rows.which, rows.rows)
        if op == "count":
            return len(rows.rows) - (0 if path is None else values_of(*at, path).null_count)
        values = pa.array(rows.distances) if path is None else numbers_at(*at, path)
        compute = {"sum": pc.sum, "avg": pc.mean, "min": pc.min, "max": pc.max}[op]
        return compute(values).as_py()

    def _hits(self, level: _Level, rows: _Rows) -> list[AggregationHit]:
        assert level.spec.top_hits is not None
        chosen = np.arange(len(rows.rows))
        if level.sort:
            by = [(order, self._sort_columns(path, rows)) for path, order in level.sort]
            chosen = sorted_places([], by)
        chosen = chosen[: level.spec.top_hits.size]
        at = (self._snapshot, rows.segments, rows.which[chosen], rows.rows[chosen])
        keys = fetch_keys(*at).to_pylist()
        fields = fetch(*at, self._names)
        parsed = json_names(self._snapshot.schema, self._names)
        listed = {
            name: python_values(name, column, parse_json=name in parsed) for name, column in fields.items()
        }
        return [
            AggregationHit(
                key, float(rows.distances[row]), {name: values[i] for name, values in listed.items()}
            )
            for i, (key, row) in enumerate(zip(keys, chosen.tolist(), strict=True))
        ]

    @staticmethod
    def _ordered(
        spec: SearchAggregation, made: list[tuple[AggregationBucket, _Rows]]
    ) -> list[tuple[AggregationBucket, _Rows]]:
        """By the orders given, most significant first; nulls last; equal ones nearest first."""
        for item in reversed(spec.order or []):
            [(name, direction)] = item.items()
            for values in _values_of(name, len(made[0][0].key) if made else 0):
                made = _sorted(made, [values(bucket) for bucket, _ in made], direction == "desc")
        return made


def _values_of(name: str, parts: int) -> list[Callable[[AggregationBucket], Any]]:
    """What buckets are ordered by, least significant first."""
    if name == "_count":
        return [lambda bucket: bucket.count]
    if name != "_key":
        return [lambda bucket: bucket.metrics[name]]
    return [partial(_key_part, i) for i in reversed(range(parts))]


def _key_part(i: int, bucket: AggregationBucket) -> Any:
    return bucket.key[i]["value"]


def _sorted(made: list[Any], values: list[Any], down: bool) -> list[Any]:
    """Stable; nulls last, and what is not a number; values of several types, as JSON has them, type by type."""
    absent = [value is None or value != value for value in values]
    there = [i for i, none in enumerate(absent) if not none]
    there.sort(key=lambda i: _place(values[i]), reverse=down)
    return [made[i] for i in (*there, *(i for i, none in enumerate(absent) if none))]


def _place(value: Any) -> tuple[int, Any]:
    """What orders as the value does: truth values, then numbers, then all else, of which a field has one type."""
    if isinstance(value, bool):
        return 0, value
    if isinstance(value, int | float | Decimal):
        return 1, value
    return (3, str(value)) if isinstance(value, list | dict) else (2, value)
