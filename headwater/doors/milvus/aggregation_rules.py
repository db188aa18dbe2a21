"""What Milvus allows of aggregating searches. Some of what is refused here the engine can do, such as JSON paths."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.placeholders import by_lists
from headwater.doors.milvus.search_request import SearchWords
from headwater.schema import Field, Schema
from headwater.types import DataType

__all__ = ["check_aggregation"]

_MAX_LEVELS = 4
_MAX_ENTRIES = 10_000
"""Hits of one search: queries times buckets times hits of a bucket."""
_RESERVED = ("_count", "_key")


def check_aggregation(request: milvus_pb2.SearchRequest, schema: Schema, words: SearchWords) -> None:
    """Check a search that may aggregate.

    Args:
        request: the search.
        schema: of what is searched.
        words: of the request.

    Raises:
        MilvusError: 1100.
    """
    if not request.HasField("search_aggregation"):
        return
    levels = _levels(request.search_aggregation)
    seen: set[str] = set()
    for level in levels:
        _check_fields(level, schema, seen)
        _check_metrics(level.metrics, schema)
        _check_sort(level.top_hits, schema)
        for one in level.order:
            if one.key not in _RESERVED and one.key not in level.metrics:
                raise invalid(f'order key "{one.key}" is neither reserved key nor metric alias')
    buckets = math.prod(level.search_size or level.size for level in levels)
    shown = max((level.top_hits.size for level in levels if level.HasField("top_hits")), default=1)
    if max(request.nq, 1) * buckets * max(shown, 1) > _MAX_ENTRIES:
        raise invalid("number of search_aggregation result entries is too large")
    _check_beside(request, words)
    if words.field.type.data_type is DataType.STRUCT_ARRAY:
        _check_elements(words, seen, schema)


def _levels(spec: common_pb2.SearchAggregationSpec) -> list[common_pb2.SearchAggregationSpec]:
    levels = [spec]
    while levels[-1].HasField("sub_aggregation"):
        levels.append(levels[-1].sub_aggregation)
    if len(levels) > _MAX_LEVELS:
        raise invalid(f"search_aggregation nesting exceeds max {_MAX_LEVELS} levels")
    return levels


def _check_fields(level: common_pb2.SearchAggregationSpec, schema: Schema, seen: set[str]) -> None:
    for name in level.fields:
        field = _field(schema, name, "group_by field")
        if field.type.data_type in (DataType.FLOAT, DataType.DOUBLE):
            raise invalid(
                f'group_by field "{name}": FLOAT / DOUBLE fields are not supported with search_aggregation'
            )
        if name in seen:
            where = "in one level" if list(level.fields).count(name) > 1 else "across levels"
            raise invalid(f'duplicated group_by field "{name}" {where}')
        seen.add(name)


def _check_metrics(metrics: Mapping[str, common_pb2.MetricAggSpec], schema: Schema) -> None:
    for alias in sorted(metrics):
        name = metrics[alias].field_name
        if name not in ("_score", "*"):
            _field(schema, name, f'invalid metric "{alias}": metric field')


def _check_sort(top: common_pb2.TopHitsSpec, schema: Schema) -> None:
    for one in top.sort:
        if one.field_name == "_score":
            continue
        if "[" in one.field_name and "]" in one.field_name:
            raise invalid(f'top_hits.sort JSON path is not yet supported: "{one.field_name}"')
        _field(schema, one.field_name, "top_hits.sort field")


def _field(schema: Schema, name: str, usage: str) -> Field:
    base = name.partition("[")[0]
    if base not in schema.names and not schema.dynamic:
        raise invalid(f'{usage} "{name}": field "{name}" not found in schema')
    if base not in schema.names or schema.field(base).type.data_type is DataType.JSON:
        raise invalid(
            f'{usage} "{name}": JSON / dynamic fields are not yet supported with search_aggregation'
        )
    return schema.field(base)


def _check_beside(request: milvus_pb2.SearchRequest, words: SearchWords) -> None:
    """What does not go with an aggregation."""
    options = words.options
    if any(name in options for name in ("group_by_field", "group_by_fields", "group_size")):
        raise invalid("search_aggregation and group_by_field are mutually exclusive")
    if words.iterator:
        raise invalid("search iterator is not supported with search_aggregation")
    if options.get("offset"):
        raise invalid("offset is not supported with search_aggregation")
    if options.get("order_by_fields"):
        raise invalid("order_by_fields is not supported with search_aggregation")
    if request.HasField("highlighter"):
        raise invalid("highlighter and search_aggregation cannot be used simultaneously")


def _check_elements(words: SearchWords, fields: set[str], schema: Schema) -> None:
    if by_lists(words.field, words.params):
        said = "group by is not supported for multi-search-multi on embedding list fields"
    elif fields != {schema.primary_key}:
        said = "only group by primary key is supported for element-level search"
    else:
        return
    raise invalid(said, expected="", actual="")
