"""Searches and queries in the words of the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pymilvus import DataType as MilvusDataType
from pymilvus import Function as MilvusFunction
from pymilvus import FunctionScore as MilvusFunctionScore
from pymilvus import FunctionType as MilvusFunctionType
from pymilvus import RRFRanker as MilvusRRFRanker
from pymilvus import WeightedRanker as MilvusWeightedRanker
from pymilvus.client.abstract import BaseRanker
from pymilvus.client.prepare import Prepare
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.remote.raised import unsupported
from headwater.engine import AnnSearchRequest
from headwater.engine.requests import Paging, Refining, checked_options, named_metric, ordering
from headwater.errors import DimensionMismatch, InvalidArgument
from headwater.query.expr import filter_text
from headwater.query.max_sim import list_field, list_metric, list_queries
from headwater.query.ordering import OrderBy
from headwater.query.rerank import FunctionScore, RerankFunction, RRFRanker, WeightedRanker
from headwater.schema import Field, Schema
from headwater.schema.vectors import bfloat16_bits
from headwater.types import ConsistencyLevel, DataType, MetricType

__all__ = ["Reading", "hybrid_request", "query_request", "search_request"]

_LEVELS = {
    ConsistencyLevel.STRONG: common_pb2.ConsistencyLevel.Strong,
    ConsistencyLevel.SESSION: common_pb2.ConsistencyLevel.Session,
    ConsistencyLevel.BOUNDED: common_pb2.ConsistencyLevel.Bounded,
    ConsistencyLevel.EVENTUALLY: common_pb2.ConsistencyLevel.Eventually,
}
_PACKED: dict[DataType, tuple[int, Any]] = {
    DataType.FLOAT_VECTOR: (common_pb2.PlaceholderType.FloatVector, np.float32),
    DataType.FLOAT16_VECTOR: (common_pb2.PlaceholderType.Float16Vector, np.float16),
    DataType.BFLOAT16_VECTOR: (common_pb2.PlaceholderType.BFloat16Vector, np.uint16),
    DataType.INT8_VECTOR: (common_pb2.PlaceholderType.Int8Vector, np.int8),
    DataType.BINARY_VECTOR: (common_pb2.PlaceholderType.BinaryVector, np.uint8),
}
_LISTS = {
    number: common_pb2.PlaceholderType.Value(f"EmbList{common_pb2.PlaceholderType.Name(number)}")
    for number, _ in _PACKED.values()
}
_NO_WORDS = ("highlighter", "search_aggregation", "function_chains")


class Reading:
    """What every read may say: `consistency_level`, `min_timestamp`, `partitions`.

    Args:
        options: the arguments of a read; these are taken out of them.
        level: the collection's own.
        written: timestamp of the last write through this door; it is always seen.
    """

    def __init__(self, options: dict[str, Any], level: ConsistencyLevel, written: int) -> None:
        for name in ("version", "min_version"):
            if options.pop(name, None) is not None:
                raise unsupported(f"reading with {name}=")
        given = options.pop("consistency_level", None)
        self.partitions = options.pop("partitions", None)
        least = max(options.pop("min_timestamp", None) or 0, written)
        try:
            self._level = level if given is None else ConsistencyLevel(str(given).capitalize())
        except ValueError as error:
            known = ", ".join(ConsistencyLevel)
            raise InvalidArgument(f"unknown consistency_level {given!r}, expected one of {known}") from error
        marks = {ConsistencyLevel.STRONG: 0, ConsistencyLevel.BOUNDED: 2, ConsistencyLevel.EVENTUALLY: 1}
        self.timestamp = marks.get(self._level, 1)
        if least and self._level is not ConsistencyLevel.STRONG:
            self.timestamp = least

    def words(self) -> dict[str, Any]:
        """Arguments of the requests."""
        return {
            "partition_names": list(self.partitions) if self.partitions is not None else None,
            "guarantee_timestamp": self.timestamp,
            "use_default_consistency": False,
            "consistency_level": _LEVELS[self._level],
        }


def search_request(
    name: str,
    schema: Schema,
    data: Any,
    reading: Reading,
    request: Mapping[str, Any],
) -> milvus_pb2.SearchRequest:
    """A search.

    Args:
        name: the collection.
        schema: its schema.
        data: the queries, or None where `ids` are given.
        reading: what every read may say.
        request: `anns_field`, `top_k`, `filter`, `filter_params`, `params`, `output_fields`, and what refines.
    """
    left = dict(request)
    field = _searched(schema, left.pop("anns_field", None))
    ids = left.pop("ids", None)
    if (data is None) == (ids is None):
        raise InvalidArgument("search takes queries (data) or the keys of rows (ids), one of them")
    top_k, filter = left.pop("top_k", 10), left.pop("filter", None)
    top_k = left.pop("limit", top_k)
    filter_params, params = left.pop("filter_params", None), left.pop("params", None)
    output, ranker = left.pop("output_fields", None), left.pop("ranker", None)
    for one in _NO_WORDS:
        if left.pop(one, None) is not None:
            raise unsupported(f"{one}= of a search")
    _check_top_k(top_k)
    checked_options("search", left, Refining)
    params = _params(params, field)
    queries, packed, number = (None, None, 0) if data is None else _asked(data, field, params)
    made: milvus_pb2.SearchRequest = Prepare.search_requests_with_expr(
        name,
        field.name,
        params,
        top_k,
        data=queries,
        ids=None if ids is None else _list(ids),
        expr=filter_text(filter),
        output_fields=output,
        ranker=None if ranker is None else _declared(ranker),
        expr_params=dict(filter_params or {}),
        **reading.words(),
        **_paging(left),
    )
    return _with_queries(made, packed, number)


def _with_queries(
    made: milvus_pb2.SearchRequest, packed: bytes | None, number: int
) -> milvus_pb2.SearchRequest:
    if packed is not None:
        made.placeholder_group, made.nq = packed, number
    return made


def hybrid_request(
    name: str,
    schema: Schema,
    reqs: Any,
    ranker: Any,
    reading: Reading,
    request: Mapping[str, Any],
) -> milvus_pb2.HybridSearchRequest:
    """A hybrid search; arguments as of `search_request`."""
    left = dict(request)
    several = list(reqs) if isinstance(reqs, list | tuple) else [reqs]
    for one in several:
        if not isinstance(one, AnnSearchRequest):
            raise InvalidArgument(f"hybrid_search: expected an AnnSearchRequest, got {type(one).__name__}")
    if not several:
        raise InvalidArgument("hybrid_search needs at least one AnnSearchRequest, got none")
    legs = []
    for one in several:
        field = _searched(schema, one.anns_field)
        params = _params(one.param, field)
        queries, packed, number = _asked(one.data, field, params)
        leg = Prepare.search_requests_with_expr(
            name,
            one.anns_field,
            params,
            one.limit,
            data=queries,
            expr=filter_text(one.chosen_filter),
            expr_params=dict(one.chosen_params or {}),
            **reading.words(),
        )
        legs.append(_with_queries(leg, packed, number))
    limit, output = left.pop("limit", 10), left.pop("output_fields", None)
    checked_options("hybrid_search", left, Paging)
    return Prepare.hybrid_search_request_with_ranker(
        name,
        legs,
        _fusing(ranker),
        limit,
        output_fields=output,
        **reading.words(),
        **_paging(left),
    )


def query_request(
    name: str,
    filter: str | None,
    reading: Reading,
    output_fields: Sequence[str],
    filter_params: Mapping[str, Any] | None,
    **words: Any,
) -> milvus_pb2.QueryRequest:
    """A query.

    Args:
        name: the collection.
        filter: which rows.
        reading: what every read may say.
        output_fields: columns.
        filter_params: values for templates in the filter.
        **words: `limit`, `offset`, `order_by_fields`, `group_by_fields`, `iterator`, ...
    """
    order = words.pop("order_by", None)
    if order:
        words["order_by_fields"] = [_order_text(one) for one in ordering(order)]
    return Prepare.query_request(
        name,
        filter_text(filter) or "",
        list(output_fields),
        expr_params=dict(filter_params or {}),
        **reading.words(),
        **words,
    )


def _paging(given: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: value for name, value in given.items() if value is not None}
    if words.get("order_by_fields"):
        words["order_by_fields"] = ",".join(_order_text(one) for one in ordering(words["order_by_fields"]))
    if "json_type" in words:
        words["json_type"] = _json_type(words["json_type"])
    if "group_by_fields" in words:
        words["group_by_fields"] = list(words["group_by_fields"])
    return words


def _order_text(one: OrderBy) -> str:
    direction, nulls = ("desc" if one.descending else "asc"), ("first" if one.nulls_first else "last")
    return f"{one.name}:{direction}:nulls_{nulls}"


def _json_type(kind: Any) -> Any:
    """A type in pymilvus's enum, by its name there."""
    try:
        return getattr(MilvusDataType, DataType(kind).name)
    except (AttributeError, ValueError) as error:
        raise InvalidArgument(f"json_type {kind!r}: expected bool, an integer type or varchar") from error


def _params(given: Mapping[str, Any] | None, field: Field) -> dict[str, Any]:
    """Search parameters in the nested form; of vectors of struct arrays they say the metric."""
    flat = dict(given or {})
    flat.update(flat.pop("params", None) or {})
    outer: dict[str, Any] = {
        name: flat.pop(name) for name in ("metric_type", "analyzer_name") if name in flat
    }
    if field.type.data_type is DataType.STRUCT_ARRAY:
        named = outer.get("metric_type")
        outer["metric_type"] = str(list_metric(field, None if named is None else named_metric(named)))
    return {**outer, "params": flat}


def _check_top_k(top_k: Any) -> None:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 1 <= top_k <= 16_384:
        raise InvalidArgument(f"top_k must be an integer from 1 to 16384, got {top_k!r}")


def _searched(schema: Schema, name: str | None) -> Field:
    """The field that is searched; the struct array with that member alone where it is one."""
    if name is not None:
        return list_field(schema, name) if name.endswith("]") else schema.field(name)
    return schema.only_vector()


def _asked(data: Any, field: Field, params: Mapping[str, Any]) -> tuple[Any, bytes | None, int]:
    """Queries as pymilvus packs them, or, of vectors that are one matrix, packed already; and how many."""
    if field.type.data_type is DataType.STRUCT_ARRAY:
        return _of_lists(data, field, MetricType(params["metric_type"]))
    if isinstance(data, str):
        data = [data]
    if isinstance(data, list) and data and isinstance(data[0], str | bytes | dict):
        return data, None, len(data)
    kind = field.type.data_type
    if kind is DataType.SPARSE_FLOAT_VECTOR:
        data = [data] if isinstance(data, dict) else data
        return data, None, len(data)
    if kind not in _PACKED:
        return data, None, len(data)
    number, dtype = _PACKED[kind]
    width = (field.type.dim or 0) // (8 if kind is DataType.BINARY_VECTOR else 1)
    if kind is DataType.BFLOAT16_VECTOR:
        matrix = np.atleast_2d(bfloat16_bits(np.asarray(data, np.float32)))
    else:
        matrix = np.atleast_2d(np.asarray(data, dtype))
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise DimensionMismatch(f"queries on field {field.name!r}: expected (q, {width}), got {matrix.shape}")
    return _packed(number, [row.tobytes() for row in np.ascontiguousarray(matrix)])


def _packed(number: int, values: list[bytes]) -> tuple[Any, bytes, int]:
    packed = common_pb2.PlaceholderGroup(
        placeholders=[common_pb2.PlaceholderValue(tag="$0", type=number, values=values)]
    )
    return [[0.0]], packed.SerializeToString(), len(values)


def _of_lists(data: Any, field: Field, metric: MetricType) -> tuple[Any, bytes, int]:
    """Queries on the vectors of struct arrays: each a list of vectors by a MAX_SIM metric, and one vector by others."""
    kind, lists = field.type.fields[0].type.data_type, metric.startswith("MAX_SIM")
    number, dtype = _PACKED[kind]
    if lists:
        number = _LISTS[number]
    queries = list_queries(data, field, metric)
    return _packed(number, [np.ascontiguousarray(one, dtype).tobytes() for one in queries])


def _list(ids: Any) -> list[Any]:
    many = ids.tolist() if hasattr(ids, "tolist") else ids
    return list(many) if isinstance(many, list | tuple | set) else [many]


def _declared(ranker: Any) -> Any:
    """A declared reranker in pymilvus's class."""
    if isinstance(ranker, MilvusFunction | MilvusFunctionScore):
        return ranker
    if isinstance(ranker, RerankFunction):
        return MilvusFunction(
            ranker.name,
            MilvusFunctionType.RERANK,
            list(ranker.input_field_names),
            params={key: value for key, value in ranker.params.items()},
        )
    if isinstance(ranker, FunctionScore):
        functions = ranker.functions if isinstance(ranker.functions, list | tuple) else [ranker.functions]
        return MilvusFunctionScore([_declared(one) for one in functions], params=dict(ranker.params or {}))
    raise unsupported(f"a ranker of class {type(ranker).__name__} (declare it as RerankFunction(...))")


def _fusing(ranker: Any) -> Any:
    """How legs are made one answer."""
    if ranker is None:
        return MilvusRRFRanker()
    if isinstance(ranker, BaseRanker):
        return ranker
    if isinstance(ranker, RRFRanker):
        return MilvusRRFRanker(ranker.k)
    if isinstance(ranker, WeightedRanker):
        return MilvusWeightedRanker(*ranker.weights, norm_score=ranker.norm_score)
    return _declared(ranker)
