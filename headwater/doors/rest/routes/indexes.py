"""Routes of indexes."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import INDEX_NOT_FOUND
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import Refused
from headwater.doors.rest.fields import INT64, OBJECT, PROPERTIES, TEXTS, Field, Listed, Record, need
from headwater.doors.rest.route import COLLECTION, NAMES, Answer, Route, as_text, direct, pairs, route, shape
from headwater.doors.rest.routes.databases import PAIRS, shown_pairs

__all__ = ["INDEX_PARAM", "ROUTES", "create_index", "extra_params"]

INDEX_PARAM = Record(
    "IndexParam",
    (
        need("fieldName"),
        Field("indexName", about="the field's name if absent"),
        Field("metricType", about="COSINE, L2, IP, ..."),
        Field("indexType", about="AUTOINDEX if absent"),
        Field("params", OBJECT, about="build parameters"),
    ),
)
"""An index to build."""
_INDEX = need("indexName")
_EXAMPLE = {"collectionName": "books", "indexName": "by_vector"}


def extra_params(param: dict[str, Any]) -> list[common_pb2.KeyValuePair]:
    """The parameters of an index as the protocol has them."""
    params = dict(param["params"] or {})
    kind = param["indexType"] or params.pop("index_type", None)
    found = {"index_type": kind, "metric_type": param["metricType"] or params.pop("metric_type", None)}
    told = pairs({name: as_text(value) for name, value in found.items() if value})
    return [*told, *pairs({"params": params} if params else {})]


async def create_index(ask: Ask, collection: str, param: dict[str, Any]) -> None:
    """Make the call that builds an index."""
    request = milvus_pb2.CreateIndexRequest(
        collection_name=collection,
        field_name=param["fieldName"],
        index_name=param["indexName"] or "",
        extra_params=extra_params(param),
    )
    await ask.call("CreateIndex", request)


async def _create(ask: Ask) -> Answer:
    for param in ask["indexParams"]:
        await create_index(ask, ask["collectionName"], param)
    return {"data": {}}


async def _list(ask: Ask) -> Answer:
    request = milvus_pb2.DescribeIndexRequest(collection_name=ask["collectionName"])
    try:
        response = await ask.call("DescribeIndex", request)
    except Refused as error:
        if error.code == INDEX_NOT_FOUND.code:
            return {"data": []}
        raise
    return {"data": [each.index_name for each in response.index_descriptions]}


def _described(ask: Ask, response: milvus_pb2.DescribeIndexResponse) -> Any:
    return [_one(each) for each in response.index_descriptions]


def _one(index: milvus_pb2.IndexDescription) -> dict[str, Any]:
    params = {pair.key: pair.value for pair in index.params}
    return {
        "indexName": index.index_name,
        "fieldName": index.field_name,
        "indexType": params.get("index_type", ""),
        "metricType": params.get("metric_type", ""),
        "mmap.enabled": params.get("mmap.enabled", ""),
        "indexoffsetcache.enabled": params.get("indexoffsetcache.enabled", ""),
        "warmup": params.get("warmup", ""),
        "totalRows": index.total_rows,
        "pendingRows": index.pending_index_rows,
        "indexedRows": index.indexed_rows,
        "indexState": common_pb2.IndexState.Name(index.state),
        "failReason": index.index_state_fail_reason,
        "minIndexVersion": index.min_index_version,
        "maxIndexVersion": index.max_index_version,
        "indexParams": shown_pairs(index.params),
    }


_DESCRIPTION = shape(
    indexName="string",
    fieldName="string",
    indexType="string",
    metricType="string",
    totalRows="integer",
    pendingRows="integer",
    indexedRows="integer",
    indexState="string",
    failReason="string",
    minIndexVersion="integer",
    maxIndexVersion="integer",
    indexParams=PAIRS,
)

ROUTES: tuple[Route, ...] = (
    route(
        "indexes/create",
        "CreateIndex",
        "Build indexes.",
        (COLLECTION, need("indexParams", Listed(INDEX_PARAM))),
        _create,
        example={
            "collectionName": "books",
            "indexParams": [
                {
                    "fieldName": "vector",
                    "indexName": "by_vector",
                    "indexType": "HNSW",
                    "metricType": "L2",
                    "params": {"M": 16, "efConstruction": 200},
                }
            ],
        },
    ),
    route(
        "indexes/list",
        "DescribeIndex",
        "The names of a collection's indexes.",
        (COLLECTION,),
        _list,
        data=NAMES,
        example={"collectionName": "books"},
    ),
    direct(
        "indexes/describe",
        "DescribeIndex",
        "An index: its parameters, and how far it covers the rows.",
        (COLLECTION, _INDEX, Field("timestamp", INT64)),
        show=_described,
        data={"type": "array", "items": _DESCRIPTION},
        example=_EXAMPLE,
    ),
    direct(
        "indexes/alter_properties",
        "AlterIndex",
        "Set properties of an index of a released collection.",
        (COLLECTION, _INDEX, Field("properties", PROPERTIES)),
        into={"properties": "extra_params"},
        example={**_EXAMPLE, "properties": {"mmap.enabled": True}},
    ),
    direct(
        "indexes/drop_properties",
        "AlterIndex",
        "Take properties of an index away.",
        (COLLECTION, _INDEX, Field("propertyKeys", TEXTS, also=("deleteKeys",))),
        into={"propertyKeys": "delete_keys"},
        example={**_EXAMPLE, "propertyKeys": ["mmap.enabled"]},
    ),
    direct(
        "indexes/drop",
        "DropIndex",
        "Drop an index of a released collection.",
        (COLLECTION, _INDEX),
        example=_EXAMPLE,
    ),
)
"""The routes under `indexes/`."""
