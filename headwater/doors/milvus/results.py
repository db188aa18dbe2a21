"""Answers of searches and queries in the protocol's messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as field_of
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.field_data import field_data
from headwater.doors.milvus.rpc import OK
from headwater.engine import CollectionAt
from headwater.query import QueryResult, SearchResult
from headwater.query.buckets import AggregationBucket, AggregationHit
from headwater.query.columns import Column
from headwater.schema import Field, Int64, VarChar
from headwater.schema.fields import Double
from headwater.types import DataType

__all__ = ["Shown", "aggregate_results", "check_timezone", "query_results", "search_results", "set_ids"]

_TIME_PARTS: dict[str, Callable[[Any], Any]] = {
    "year": pc.year,
    "month": pc.month,
    "day": pc.day,
    "hour": pc.hour,
    "minute": pc.minute,
    "second": pc.second,
    "microsecond": lambda times: pc.add(pc.multiply(pc.millisecond(times), 1000), pc.microsecond(times)),
}


@dataclass(frozen=True)
class Shown:
    """What of the rows the client wants to see.

    Attributes:
        fetch: fields to fetch.
        told: names that the client is told: fields, and keys of the dynamic field.
        timezone: in which times are told; the collection's, UTC by default.
        time_fields: parts of times to tell in place of them.
        members: of struct arrays that are shown in part, the members that are.
    """

    fetch: tuple[str, ...]
    told: tuple[str, ...]
    timezone: str | None = None
    time_fields: tuple[str, ...] = ()
    members: Mapping[str, tuple[str, ...]] = field_of(default_factory=dict)

    def fields(
        self, state: CollectionAt, columns: Mapping[str, Column | pa.ChunkedArray]
    ) -> list[schema_pb2.FieldData]:
        """The output fields of some rows."""
        made = []
        for name in self.fetch:
            field = state.schema.field(name)
            if name in self.members:
                some = tuple(one for one in field.type.fields if one.name in self.members[name])
                field = replace(field, type=replace(field.type, fields=some))
            if self.time_fields and field.type.data_type is DataType.TIMESTAMPTZ:
                made.append(self._parts(field, columns[name]))
            else:
                made.append(field_data(name, field, columns[name], timezone=self.timezone))
        return made

    def _parts(self, field: Field, column: Column | pa.ChunkedArray) -> schema_pb2.FieldData:
        times = column if isinstance(column, pa.ChunkedArray) else column.to_arrow()
        local = pc.local_timestamp(times.cast(pa.timestamp("us", self.timezone or "UTC")))
        for part in self.time_fields:
            if part not in _TIME_PARTS:
                raise invalid(
                    f"time_fields: {part!r} is no part of a time, expected one of {', '.join(_TIME_PARTS)}"
                )
        parts = [_TIME_PARTS[part](local).to_pylist() for part in self.time_fields]
        out = schema_pb2.FieldData(type=schema_pb2.DataType.Array, field_name=field.name)
        out.scalars.array_data.element_type = schema_pb2.DataType.Int64
        out.scalars.array_data.data.extend(
            schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=() if None in row else row))
            for row in zip(*parts, strict=True)
        )
        if field.nullable:
            out.valid_data.extend(times.is_valid().to_pylist())
        return out


def check_timezone(name: str | None) -> str | None:
    """A time zone by its IANA name.

    Raises:
        MilvusError: 1100, there is none of that name.
    """
    if name is not None:
        try:
            ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise invalid(f"unknown or invalid IANA Time Zone ID: {name}") from error
    return name


def search_results(
    state: CollectionAt, name: str, result: SearchResult, shown: Shown, *, highlighted: bool = False
) -> milvus_pb2.SearchResults:
    """The answer of a search.

    Args:
        state: what was searched.
        name: the collection, as the client called it.
        result: the hits.
        shown: which fields.
        highlighted: whether hits carry marked texts.
    """
    answer = milvus_pb2.SearchResults(status=OK, collection_name=name)
    counts = [int(count) for count in result.counts]
    data = answer.results
    data.num_queries, data.top_k = len(counts), max(counts, default=0)
    data.topks.extend(counts)
    set_ids(data.ids, state, result.keys)
    data.scores.extend(result.distances.tolist())
    data.primary_field_name = state.schema.primary_key or "row_id"
    if result.agg_buckets is None:
        data.fields_data.extend(shown.fields(state, result.columns))
        data.output_fields.extend(shown.told)
    if result.flat_elements is not None:
        data.element_indices.SetInParent()
        data.element_indices.data.extend(result.flat_elements.tolist())
    if highlighted:
        _set_highlights(data, result)
    if result.agg_buckets is not None:
        for buckets in result.agg_buckets:
            data.agg_topks.append(len(buckets))
            data.agg_buckets.extend(_bucket(state, bucket) for bucket in buckets)
    return answer


def set_ids(ids: schema_pb2.IDs, state: CollectionAt, keys: Column | pa.ChunkedArray) -> None:
    """Primary keys."""
    key = state.schema.primary_key
    values = keys.to_pylist()
    if key is not None and state.schema.field(key).type.data_type in (DataType.VARCHAR, DataType.TEXT):
        ids.str_id.data.extend(values)
    else:
        ids.int_id.data.extend(values)


def _set_highlights(data: schema_pb2.SearchResultData, result: SearchResult) -> None:
    hits = [hit for one in result for hit in one]
    names = dict.fromkeys(name for hit in hits for name in hit.get("highlight", {}))
    for name in names:
        marked = data.highlight_results.add(field_name=name)
        for hit in hits:
            found = hit["highlight"].get(name, {"fragments": ()})
            marked.datas.add(fragments=found["fragments"])


def _bucket(state: CollectionAt, bucket: AggregationBucket) -> schema_pb2.AggBucket:
    made = schema_pb2.AggBucket(count=bucket.count)
    for entry in bucket.key:
        one = made.key.add(field_name=entry["field_name"])
        _set_value(one, entry["value"], integer="int_val", real=None)
    for alias, value in bucket.metrics.items():
        if value is not None:
            _set_value(made.metrics[alias], value, integer="int_val", real="double_val")
    made.hits.extend(_agg_hit(hit) for hit in bucket.hits)
    made.sub_groups.extend(_bucket(state, one) for one in bucket.sub_groups)
    return made


def _set_value(message: Any, value: Any, *, integer: str, real: str | None) -> None:
    if isinstance(value, bool):
        message.bool_val = value
    elif isinstance(value, int):
        setattr(message, integer, value)
    elif isinstance(value, float) and real is not None:
        setattr(message, real, value)
    elif value is not None:
        message.string_val = str(value)


def _agg_hit(hit: AggregationHit) -> schema_pb2.AggHit:
    made = schema_pb2.AggHit(score=hit.score)
    if isinstance(hit.pk, str):
        made.str_pk = hit.pk
    else:
        made.int_pk = hit.pk
    for name, value in hit.fields.items():
        one = made.fields.add(field_name=name)
        if isinstance(value, bytes):
            one.bytes_val = value
        else:
            _set_value(one, value, integer="int_val", real="double_val")
    return made


def query_results(
    state: CollectionAt, name: str, result: QueryResult, shown: Shown
) -> milvus_pb2.QueryResults:
    """The answer of a query: rows, and of each the elements that `element_filter` means."""
    table = result.to_arrow()
    columns = {one: table.column(one) for one in shown.fetch}
    answer = milvus_pb2.QueryResults(
        status=OK,
        collection_name=name,
        fields_data=shown.fields(state, columns),
        output_fields=shown.told,
        primary_field_name=state.schema.primary_key or "row_id",
    )
    for places in result.element_indices or ():
        answer.element_indices.add().indices.data.extend(places)
    return answer


def aggregate_results(
    state: CollectionAt, name: str, result: QueryResult, asked: Sequence[str]
) -> milvus_pb2.QueryResults:
    """The answer of an aggregating query: a column for each field and aggregate asked for."""
    table = result.to_arrow()
    made = []
    for column in asked:
        values = table.column(column)
        field = (
            state.schema.field(column) if column in state.schema.names else Field(column, _type_of(values))
        )
        made.append(field_data(column, field, values))
    return milvus_pb2.QueryResults(status=OK, collection_name=name, fields_data=made, output_fields=asked)


def _type_of(values: pa.ChunkedArray) -> Any:
    """The field type in which an aggregate is told."""
    if pa.types.is_integer(values.type):
        return Int64
    return Double if pa.types.is_floating(values.type) else VarChar(65_535)
