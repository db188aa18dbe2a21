"""Routes of searches: by vectors, texts or keys, and hybrid ones."""

from __future__ import annotations

from typing import Any

import orjson
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.chains import (
    AGGREGATION,
    FUNCTION_CHAIN,
    FUNCTION_SCORE,
    aggregation_spec,
    function_chain,
    function_score,
)
from headwater.doors.rest.errors import MISSING, Refused, invalid_value
from headwater.doors.rest.fields import (
    ANY,
    FLAG,
    INT32,
    NUMBER,
    OBJECT,
    TEXTS,
    Field,
    Listed,
    Mapped,
    Record,
    Schema,
    need,
)
from headwater.doors.rest.queries import find_vector, ids_of, level_of, placeholders, search_params, templates
from headwater.doors.rest.route import COLLECTION, Answer, Route, pairs, route
from headwater.doors.rest.routes.entities import COST, LEVEL, PARTITIONS, ROWS
from headwater.doors.rest.rows import aggregations, cost_of, hits

__all__ = ["ROUTES"]

_GROUPING = ("group_by_field", "group_by_fields", "group_size", "strict_group_size")


def _grouping(ask: Ask) -> dict[str, Any]:
    """The parameters of a grouped search."""
    field = (ask["groupingField"] or "").strip()
    size, strict = ask["groupSize"], ask["strictGroupSize"]
    if not field:
        if size is not None or strict is not None:
            raise invalid_value("groupSize and strictGroupSize require groupingField")
        return {}
    if size is not None and size <= 0:
        raise invalid_value(f"groupSize must be a positive integer, got: {size}")
    return {"group_by_field": field, "group_size": size, "strict_group_size": strict}


def _check_grouping(ask: Ask) -> None:
    told = ask["searchParams"] or {}
    twice = any(ask[name] is not None for name in ("groupingField", "groupSize", "strictGroupSize"))
    there = [name for name in _GROUPING if told.get(name) is not None]
    if twice and there:
        raise invalid_value(
            "ambiguous grouping: use either the top-level groupingField/groupSize/strictGroupSize or the "
            "searchParams group keys, not both"
        )
    grouped = ask["groupingField"] or any(name in there for name in _GROUPING[:2])
    if there and not grouped:
        raise invalid_value("searchParams group_size/strict_group_size require a group field")
    inner = told.get("params")
    if isinstance(inner, dict) and not grouped:
        for name in _GROUPING:
            if name in inner:
                raise invalid_value(
                    f"searchParams.params cannot carry {name}; use the top-level grouping fields or "
                    f"searchParams.{name}"
                )
    ordered = any("order_by_fields" in one for one in (told, inner) if isinstance(one, dict))
    if ask["orderByFields"] and ordered:
        raise invalid_value(
            "ambiguous order by: use either orderByFields or searchParams.order_by_fields, not both"
        )


def _check_aggregation(ask: Ask) -> None:
    told = ask["searchParams"] or {}
    if ask["ids"]:
        raise invalid_value("ids and searchAggregation cannot be used simultaneously")
    if ask["offset"]:
        raise invalid_value("offset is not supported with searchAggregation")
    if any(ask[name] is not None for name in ("groupingField", "groupSize", "strictGroupSize")):
        raise invalid_value(
            "groupingField/groupSize/strictGroupSize and searchAggregation cannot be used simultaneously"
        )
    if any(name in told for name in _GROUPING):
        raise invalid_value(
            "searchParams.group_by_field(s) and searchAggregation cannot be used simultaneously, and neither "
            "can group_size/strict_group_size"
        )
    if ask["orderByFields"]:
        raise invalid_value("orderByFields and searchAggregation cannot be used simultaneously")


def _check_input(ask: Ask) -> None:
    if ask["ids"] and ask["data"]:
        raise invalid_value(
            "primary keys (ids) and query vectors (data) are mutually exclusive. Please provide either 'ids' "
            "or 'data', not both"
        )
    if not ask["ids"] and not ask["data"]:
        raise Refused(
            MISSING.code,
            "either 'ids' (for primary key search) or 'data' (for vector search) must be provided",
        )


async def _search(ask: Ask) -> Answer:
    _check_input(ask)
    _check_grouping(ask)
    if ask["searchAggregation"] is not None:
        _check_aggregation(ask)
    schema = (await ask.described(ask["collectionName"])).schema
    request = await ask.aside(_search_request, ask, schema)
    response = await ask.call("Search", request)
    return await ask.aside(_found, ask, response, schema)


def _search_request(ask: Ask, schema: schema_pb2.CollectionSchema) -> milvus_pb2.SearchRequest:
    told = dict(ask["searchParams"] or {})
    if ask["params"]:
        told["params"] = {**ask["params"], **(told.get("params") or {})}
    if ask["searchAggregation"] is not None:
        told = _unordered(told)
    name, field = find_vector(schema, ask["annsField"])
    request = milvus_pb2.SearchRequest(
        collection_name=ask["collectionName"],
        partition_names=ask["partitionNames"] or [],
        dsl=ask["filter"],
        dsl_type=common_pb2.BoolExprV1,
        output_fields=ask["outputFields"] or [],
        expr_template_values=templates(ask["exprParams"]),
        nq=len(ask["data"] or ask["ids"]),
        function_chains=[function_chain(each) for each in ask["functionChains"] or []],
        search_params=search_params(
            told,
            topk=ask["limit"],
            offset=ask["offset"],
            anns_field=name,
            order_by_fields=",".join(ask["orderByFields"] or []) or None,
            **_grouping(ask),
        ),
        **level_of(ask["consistencyLevel"]),
    )
    if ask["ids"]:
        request.ids.CopyFrom(ids_of(schema, ask["ids"]))
    else:
        request.placeholder_group = placeholders(schema, name, field, ask["data"])
    if ask["functionScore"] is not None:
        request.function_score.CopyFrom(function_score(ask["functionScore"]))
    if ask["searchAggregation"] is not None:
        request.search_aggregation.CopyFrom(aggregation_spec(ask["searchAggregation"]))
    return request


def _unordered(told: dict[str, Any]) -> dict[str, Any]:
    """Search parameters without an order of hits, which Milvus passes over where hits are aggregated."""
    kept = {key: value for key, value in told.items() if key != "order_by_fields"}
    if isinstance(kept.get("params"), dict):
        kept["params"] = {key: value for key, value in kept["params"].items() if key != "order_by_fields"}
    return kept


def _found(ask: Ask, response: milvus_pb2.SearchResults, schema: schema_pb2.CollectionSchema) -> Answer:
    results, cost = response.results, cost_of(response.status)
    key = next((field.name for field in schema.fields if field.is_primary_key), "id")
    if results.agg_topks or results.agg_buckets:
        found = aggregations(results, key, ask.whole_numbers)
        answer: Answer = {"data": found, "cost": cost, "aggTopks": list(results.agg_topks)}
    else:
        found = hits(results, key, ask.whole_numbers)
        answer = {"data": found, "cost": cost, "topks": list(results.topks)}
    if results.recalls:
        answer["recalls"] = list(results.recalls)
    return answer


async def _hybrid(ask: Ask) -> Answer:
    if ask["searchAggregation"] is not None or any(
        each["searchAggregation"] is not None for each in ask["search"] or []
    ):
        raise invalid_value("searchAggregation is not supported for hybrid search")
    if ask["functionChains"]:
        raise invalid_value("functionChains is not supported for hybrid search yet")
    schema = (await ask.described(ask["collectionName"])).schema
    request = await ask.aside(_hybrid_request, ask, schema)
    response = await ask.call("HybridSearch", request)
    return await ask.aside(_found, ask, response, schema)


def _hybrid_request(ask: Ask, schema: schema_pb2.CollectionSchema) -> milvus_pb2.HybridSearchRequest:
    rerank = ask["rerank"] or {"strategy": "", "params": None}
    given = {
        "strategy": rerank["strategy"] or None,
        "params": orjson.dumps(rerank["params"] or {}).decode() if rerank["strategy"] else None,
        "limit": ask["limit"],
        "offset": ask["offset"],
        "round_decimal": -1,
        **_grouping(ask),
    }
    request = milvus_pb2.HybridSearchRequest(
        collection_name=ask["collectionName"],
        partition_names=ask["partitionNames"] or [],
        output_fields=ask["outputFields"] or [],
        requests=[_leg(ask, schema, each) for each in ask["search"] or []],
        rank_params=pairs({name: _said(value) for name, value in given.items() if value is not None}),
        **level_of(ask["consistencyLevel"]),
    )
    if ask["functionScore"] is not None:
        request.function_score.CopyFrom(function_score(ask["functionScore"]))
    return request


def _said(value: Any) -> str:
    return str(value)


def _leg(ask: Ask, schema: schema_pb2.CollectionSchema, told: dict[str, Any]) -> milvus_pb2.SearchRequest:
    if told["groupingField"]:
        raise invalid_value("search[].groupingField: say it beside search, for the whole hybrid search")
    name, field = find_vector(schema, told["annsField"])
    return milvus_pb2.SearchRequest(
        db_name=ask.database,
        collection_name=ask["collectionName"],
        partition_names=ask["partitionNames"] or [],
        dsl=told["filter"],
        dsl_type=common_pb2.BoolExprV1,
        output_fields=ask["outputFields"] or [],
        expr_template_values=templates(told["exprParams"]),
        nq=len(told["data"]),
        placeholder_group=placeholders(schema, name, field, told["data"]),
        search_params=search_params(
            told["params"],
            topk=told["limit"] or ask["limit"],
            offset=told["offset"],
            anns_field=name,
            metric_type=told["metricType"],
        ),
    )


_TEMPLATES = Field("exprParams", OBJECT, about="values for the {names} of the filter")
_QUERIES = Listed(ANY)
_GROUP_FIELDS = (
    Field("groupingField", about="hits are grouped by it"),
    Field("groupSize", INT32),
    Field("strictGroupSize", FLAG),
)
_LEG = Record(
    "SubSearch",
    (
        need("data", _QUERIES),
        Field("annsField"),
        Field("filter", default=""),
        _TEMPLATES,
        Field("groupingField"),
        Field("metricType"),
        Field("limit", INT32, default=0, about="the whole search's if absent"),
        Field("offset", INT32, default=0),
        Field("params", OBJECT, about="parameters of the search"),
        Field("searchAggregation", AGGREGATION),
        Field("outputFields", TEXTS, about="those of the whole search hold"),
    ),
)
_RERANK = Record("Rerank", (Field("strategy", default="", about="rrf or weighted"), Field("params", OBJECT)))
_SHARED = (
    COLLECTION,
    PARTITIONS,
    Field("limit", INT32, default=100),
    Field("offset", INT32, default=0),
    *_GROUP_FIELDS,
    Field("outputFields", TEXTS),
    LEVEL,
    Field("functionScore", FUNCTION_SCORE),
    Field("functionChains", Listed(FUNCTION_CHAIN)),
    Field("searchAggregation", AGGREGATION),
)
_NUMBERS: Schema = {"type": "array", "items": {"type": "integer"}}
_BESIDE: dict[str, Schema] = {
    "cost": COST,
    "topks": _NUMBERS,
    "aggTopks": _NUMBERS,
    "recalls": {"type": "array", "items": {"type": "number"}},
}
_LEGS = [
    {"annsField": "vector", "data": [[0.1, 0.2, 0.3, 0.4]], "limit": 10},
    {"annsField": "vector", "data": [[0.4, 0.3, 0.2, 0.1]], "limit": 10, "filter": "year > 1990"},
]
_HYBRID = {
    "collectionName": "books",
    "search": _LEGS,
    "rerank": {"strategy": "rrf", "params": {"k": 60}},
    "limit": 3,
    "outputFields": ["text"],
}

ROUTES: tuple[Route, ...] = (
    route(
        "entities/search",
        "Search",
        "The rows nearest to vectors, to texts, or to other rows.",
        (
            *_SHARED,
            Field("data", _QUERIES, about="vectors, or texts where a function fills the field"),
            Field("ids", _QUERIES, about="primary keys, in place of data"),
            Field("annsField", about="the vector field; may be absent if there is one"),
            Field("filter", default=""),
            _TEMPLATES,
            Field("searchParams", OBJECT, about="metric_type, and the parameters of the index"),
            Field("orderByFields", TEXTS, about="such as year:desc"),
            Field("params", Mapped(NUMBER), about="as in searchParams.params, for older callers"),
        ),
        _search,
        data=ROWS,
        beside=_BESIDE,
        example={
            "collectionName": "books",
            "data": [[0.1, 0.2, 0.3, 0.4]],
            "annsField": "vector",
            "filter": "shelf == 'A'",
            "limit": 2,
            "outputFields": ["text", "shelf"],
        },
    ),
    *(
        route(
            f"entities/{word}_search",
            "HybridSearch",
            about,
            (*_SHARED, Field("search", Listed(_LEG)), Field("rerank", _RERANK)),
            _hybrid,
            data=ROWS,
            beside=_BESIDE,
            example=_HYBRID,
        )
        for word, about in (
            ("hybrid", "Several searches, their hits ranked together."),
            ("advanced", "The same, by its older name."),
        )
    ),
)
"""The searches under `entities/`."""
