"""Aggregates over the rows that a filter selects: counted, summed, averaged, per group, without fetching a row.

Each segment is aggregated by itself and the parts are merged, so memory is bounded by one segment's columns and the
number of groups. Nulls are as in SQL: aggregates leave them out, `count(*)` counts them, and rows whose key is null are
a group. Integer sums are exact: beyond 64 bits they come as decimals.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater import trace
from headwater.errors import InvalidArgument
from headwater.index.json_paths import json_values
from headwater.lake import Segment
from headwater.query.ordering import OrderBy, json_sort_columns, sorted_places
from headwater.query.paths import FieldPath, column_of, field_path, numbers_of
from headwater.query.results import QueryResult
from headwater.query.snapshot import Snapshot
from headwater.schema import Schema
from headwater.types import INTEGER_TYPES, NUMBER_TYPES, ORDERED_TYPES, TEXT_TYPES, DataType

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = ["AggregateQuery", "aggregate", "aggregate_query", "names_aggregate"]

_CALL = re.compile(r"\s*(count|sum|avg|min|max)\s*\(\s*(.+?)\s*\)\s*", re.IGNORECASE)
_HISTOGRAM = re.compile(r"\s*histogram\s*\(\s*(.+?)\s*,\s*(.+?)\s*\)\s*", re.IGNORECASE)
_SPAN = re.compile(r"['\"]?\s*(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d|w)?\s*['\"]?")
_MICROSECONDS = {
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "m": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
    "w": 604800 * 10**6,
}
_KEYS = INTEGER_TYPES | TEXT_TYPES | {DataType.TIMESTAMPTZ, DataType.BOOL, DataType.JSON}
_EXACT = pa.decimal128(38, 0)
_MERGE_ROWS = 1 << 16


@dataclass(frozen=True)
class Key:
    """What groups share: a value, or the bucket that it falls in.

    Attributes:
        text: as the caller wrote it, and the name of its column.
        path: where the value is.
        width: of the buckets, in the field's unit, microseconds for timestamps; None for the value itself.
    """

    text: str
    path: FieldPath
    width: float | int | None = None


@dataclass(frozen=True)
class Aggregate:
    """One number for each group.

    Attributes:
        text: as the caller wrote it, and the name of its column.
        op: count, sum, avg, min or max.
        path: where the values are; None for ``count(*)``.
    """

    text: str
    op: str
    path: FieldPath | None


@dataclass(frozen=True)
class AggregateQuery:
    """An aggregating query, checked.

    Attributes:
        filter: rows to look at; None for all.
        keys: what groups share; none for one group of all rows.
        aggregates: the numbers.
        columns: names of the result's columns, in order.
        order_by: columns of the result, or keys; by the keys without it, nulls last.
        limit: most groups to return; None for all.
        offset: groups to skip first.
    """

    filter: expr.Bound | None
    keys: tuple[Key, ...]
    aggregates: tuple[Aggregate, ...]
    columns: tuple[str, ...]
    order_by: tuple[OrderBy, ...] = ()
    limit: int | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("offset", self.offset)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise InvalidArgument(f"{name} must be an integer of 0 or more, got {value!r}")
        names = {*self.columns, *(key.text for key in self.keys)}
        for one in self.order_by:
            if one.name not in names:
                raise InvalidArgument(
                    f"order_by {one.name!r}: an aggregating query is ordered by its columns and groups",
                    hint=f"columns: {', '.join(self.columns)}",
                )


def names_aggregate(schema: Schema, output_fields: Sequence[str] | None) -> bool:
    """Whether an output field is an aggregate, such as ``count(*)``."""
    return any(
        isinstance(name, str) and name not in schema.names and _CALL.fullmatch(name) is not None
        for name in output_fields or ()
    )


def aggregate_query(
    schema: Schema,
    filter: expr.Bound | None,
    output_fields: Sequence[str] | None,
    group_by_fields: Sequence[str] = (),
    **page: Any,
) -> AggregateQuery:
    """An aggregating query from a caller's words.

    Args:
        schema: the snapshot's.
        filter: rows to look at.
        output_fields: ``count(*)``, ``sum(x)``, ``avg(x)``, ``min(x)``, ``max(x)``, ``count(x)`` and keys; the keys and
            ``count(*)`` by default.
        group_by_fields: fields, paths such as ``meta["region"]``, ``histogram(price, 10)`` or ``histogram(at, "1d")``.
        **page: `order_by`, `limit`, `offset`.

    Raises:
        FieldNotFound: a name is no field.
        InvalidArgument: a field cannot be grouped by or aggregated so, or an output field is neither key nor aggregate.
    """
    if isinstance(group_by_fields, str):
        raise InvalidArgument(f"group_by_fields: expected a list of fields, got {group_by_fields!r}")
    keys = tuple(_key(schema, text) for text in group_by_fields)
    names = [key.text for key in keys]
    if len(set(names)) != len(names):
        raise InvalidArgument(f"group_by_fields: expected different fields, got {', '.join(names)}")
    aggregates = []
    columns = list(dict.fromkeys([*names, "count(*)"] if output_fields is None else output_fields))
    for text in columns:
        if text in names:
            continue
        call = _CALL.fullmatch(text) if isinstance(text, str) else None
        if call is None:
            raise InvalidArgument(
                f"output field {text!r} is neither an aggregate nor one of group_by_fields",
                hint="expected count(*), sum(x), avg(x), min(x), max(x), or a field that is grouped by",
            )
        aggregates.append(_aggregate(schema, text, call[1].lower(), call[2]))
    return AggregateQuery(filter, keys, tuple(aggregates), tuple(columns), **page)


def _key(schema: Schema, text: Any) -> Key:
    histogram = _HISTOGRAM.fullmatch(text) if isinstance(text, str) and text not in schema.names else None
    path = field_path(schema, text if histogram is None else histogram[1], "group_by_fields")
    kind = path.data_type
    if histogram is None:
        if kind is not None and kind not in _KEYS:
            raise InvalidArgument(
                f"group_by_fields: {text!r} is {kind}: expected an integer, bool, text or timestamp field, or a JSON "
                "path",
                hint="histogram(field, width) groups numbers by bucket",
            )
        return Key(text, path)
    span = _SPAN.fullmatch(histogram[2])
    moment = kind is DataType.TIMESTAMPTZ
    if span is None or not float(span[1]) or (not moment and (kind not in NUMBER_TYPES or span[2])):
        raise InvalidArgument(
            f'{text}: expected histogram(number field, width) or histogram(timestamp field, "1d"), width above 0'
        )
    if moment:
        return Key(text, path, max(1, round(float(span[1]) * _MICROSECONDS[span[2] or "s"])))
    return Key(text, path, int(span[1]) if span[1].isdigit() else float(span[1]))


def _aggregate(schema: Schema, text: str, op: str, argument: str) -> Aggregate:
    if argument == "*":
        if op != "count":
            raise InvalidArgument(f"{text}: only count takes *")
        return Aggregate(text, op, None)
    path = field_path(schema, argument, text)
    allowed = {"count": None, "sum": NUMBER_TYPES, "avg": NUMBER_TYPES}.get(op, ORDERED_TYPES)
    kind = path.data_type
    if allowed is not None and kind is not None and path.path is None and kind not in allowed:
        raise InvalidArgument(f"{text}: field {argument!r} is {kind}, of which there is no {op}")
    return Aggregate(text, op, path)


def aggregate(snapshot: Snapshot, query: AggregateQuery) -> QueryResult:
    """The groups of one snapshot, one row each."""
    started = time.perf_counter()
    with trace.step("aggregate", keys=[key.text for key in query.keys]):
        segments = snapshot.survivors(query.filter)
        merged: pa.Table | None = None
        waiting: list[pa.Table] = []
        for segment in segments:
            part = _part(snapshot, segment, query)
            if part is not None:
                waiting.append(part)
            if sum(one.num_rows for one in waiting) > max(
                _MERGE_ROWS, merged.num_rows if merged is not None else 0
            ):
                merged, waiting = _merged([merged, *waiting] if merged is not None else waiting, query), []
        if waiting:
            merged = _merged([merged, *waiting] if merged is not None else waiting, query)
        table = _result(snapshot, query, merged)
    info = snapshot.info(started=started, pruned=len(snapshot.segments) - len(segments))
    parsed = _parsed(query)
    return QueryResult(table, info, parsed & set(query.columns))


def _part(snapshot: Snapshot, segment: Segment, query: AggregateQuery) -> pa.Table | None:
    """One segment's groups: the keys, and what its aggregates are made of."""
    selection = snapshot.select(segment, query.filter)
    if not selection.count:
        return None
    # With no key all rows share one.
    columns = {"k": pa.array(np.zeros(segment.num_rows, np.int8))}
    for i, key in enumerate(query.keys):
        columns[f"k{i}"] = _bucket(column_of(snapshot, segment, key.path), key.width)
    wanted = _parts(query)
    for i, one in enumerate(query.aggregates):
        if one.path is not None:
            read = column_of if one.op == "count" else numbers_of
            columns[f"a{i}"] = read(snapshot, segment, one.path)
    table = pa.table(columns)
    if selection.bitmap is not None:
        table = table.filter(pa.array(selection.bitmap))
    for i, one in enumerate(query.aggregates):
        if one.op in ("sum", "avg") and _may_overflow(table.column(f"a{i}")):
            table = table.set_column(
                table.column_names.index(f"a{i}"), f"a{i}", table.column(f"a{i}").cast(_EXACT)
            )
    grouped = table.group_by(_key_names(query), use_threads=False).aggregate(wanted)
    for i, one in enumerate(query.aggregates):
        name = f"a{i}_sum"
        if one.op in ("sum", "avg") and pa.types.is_integer(grouped.column(name).type):
            grouped = grouped.set_column(
                grouped.column_names.index(name), name, grouped.column(name).cast(_EXACT)
            )
    return grouped


def _key_names(query: AggregateQuery) -> list[str]:
    return [f"k{i}" for i in range(len(query.keys))] or ["k"]


def _parts(query: AggregateQuery) -> list[Any]:
    return [([], "count_all"), *((f"a{i}", op) for i, op in _partial_ops(query))]


def _partial_ops(query: AggregateQuery) -> Iterator[tuple[int, str]]:
    """What each aggregate is made of: an average of a sum and a count."""
    for i, one in enumerate(query.aggregates):
        if one.path is not None:
            yield from ((i, op) for op in (("sum", "count") if one.op == "avg" else (one.op,)))


def _may_overflow(column: pa.ChunkedArray) -> bool:
    if not pa.types.is_integer(column.type) or not len(column):
        return False
    ends = pc.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is not None and max(abs(low), abs(high)) * len(column) >= 1 << 63


def _bucket(values: pa.Array, width: float | int | None) -> pa.Array:
    """The lower end of each value's bucket; null for null and for NaN."""
    if width is None:
        return values
    moments = pa.types.is_timestamp(values.type)
    plain = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) if moments else values
    whole = pa.types.is_integer(plain.type) and isinstance(width, int)
    numbers = pc.fill_null(plain.cast(pa.int64() if whole else pa.float64(), safe=False), 0).to_numpy(
        zero_copy_only=False
    )
    with np.errstate(invalid="ignore"):
        # Plus 0, because a negative zero is a group of its own; what is infinite is in no bucket of a width.
        lower = np.where(np.isinf(numbers), numbers, np.floor_divide(numbers, width) * width + 0)
    absent = values.is_null().to_numpy(zero_copy_only=False) | np.isnan(lower)
    buckets = pa.array(lower, mask=absent)
    return buckets.cast(pa.timestamp("us", "UTC")) if moments else buckets


def _merged(parts: list[pa.Table], query: AggregateQuery) -> pa.Table:
    """Groups of several segments as one; of one key type, whatever its width in memory."""
    if len(parts) == 1:
        return parts[0]
    again = {"min": "min", "max": "max"}
    merging = [("count_all", "sum"), *((f"a{i}_{op}", again.get(op, "sum")) for i, op in _partial_ops(query))]
    whole = pa.concat_tables(parts, promote_options="permissive")
    merged = whole.group_by(_key_names(query), use_threads=False).aggregate(merging)
    names = {f"{name}_{op}": name for name, op in merging}
    return merged.rename_columns([names.get(name, name) for name in merged.column_names])


def _result(snapshot: Snapshot, query: AggregateQuery, merged: pa.Table | None) -> pa.Table:
    """The columns asked for, in their order, one row for each group of the page."""
    if merged is None:
        return _of_nothing(snapshot, query)
    keys = {key.text: f"k{i}" for i, key in enumerate(query.keys)}
    numbers = {one.text: _finished(merged, i, one) for i, one in enumerate(query.aggregates)}
    arrays = [merged.column(keys[name]) if name in keys else numbers[name] for name in query.columns]
    table = pa.Table.from_arrays(arrays, names=list(query.columns))
    named = {one.name for one in query.order_by}
    order = query.order_by + tuple(OrderBy(name) for name in keys if name not in named)
    if order:
        # Keys that are not shown order too, so that pages agree.
        sortable = {name: merged.column(column) for name, column in keys.items()}
        sortable.update({name: table.column(name) for name, _, _ in order if name in table.column_names})
        parsed = _parsed(query)
        by = [(one, _sort_columns(sortable[one.name], one.name in parsed)) for one in order]
        table = table.take(pa.array(sorted_places([], by)))
    stop = None if query.limit is None else query.limit
    return table.slice(query.offset, stop)


def _parsed(query: AggregateQuery) -> frozenset[str]:
    """The keys whose values are JSON texts."""
    return frozenset(key.text for key in query.keys if key.path.path is not None and key.width is None)


def _sort_columns(column: pa.ChunkedArray, of_json: bool) -> list[pa.Array | pa.ChunkedArray]:
    """What a column is sorted by; JSON texts by their values, and those that have no order by the texts."""
    if not of_json:
        return [column]
    texts = column.combine_chunks()
    return [*json_sort_columns(json_values(texts)), texts]


def _finished(merged: pa.Table, i: int, one: Aggregate) -> pa.ChunkedArray:
    if one.path is None:
        return merged.column("count_all").cast(pa.int64())
    if one.op == "avg":
        counts = merged.column(f"a{i}_count").cast(pa.float64())
        none = pc.equal(counts, 0.0)
        return pc.if_else(
            none,
            None,
            pc.divide(merged.column(f"a{i}_sum").cast(pa.float64()), pc.if_else(none, 1.0, counts)),
        )
    column = merged.column(f"a{i}_{one.op}")
    if pa.types.is_decimal(column.type):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            return column
    return column.cast(pa.int64()) if one.op == "count" else column


def _of_nothing(snapshot: Snapshot, query: AggregateQuery) -> pa.Table:
    """No row: no group, or, without keys, one of no rows, of which counts are 0 and all else is null."""
    rows = 0 if query.keys or query.offset or query.limit == 0 else 1
    types = {key.text: _key_type(snapshot.schema, key) for key in query.keys}
    types.update({one.text: _value_type(snapshot.schema, one) for one in query.aggregates})
    counted = {one.text for one in query.aggregates if one.op == "count"}
    arrays = [pa.array([0 if name in counted else None] * rows, types[name]) for name in query.columns]
    return pa.Table.from_arrays(arrays, names=list(query.columns))


def _key_type(schema: Schema, key: Key) -> pa.DataType:
    if key.path.path is not None:
        return pa.large_string()
    return pa.int64() if key.path.data_type is None else schema.to_arrow([key.path.field]).field(0).type


def _value_type(schema: Schema, one: Aggregate) -> pa.DataType:
    if one.op == "count" or one.path is None:
        return pa.int64()
    if one.op == "avg" or one.path.path is not None:
        return pa.float64()
    kind = pa.int64() if one.path.data_type is None else schema.to_arrow([one.path.field]).field(0).type
    if one.op == "sum":
        return pa.int64() if pa.types.is_integer(kind) else pa.float64()
    return kind
