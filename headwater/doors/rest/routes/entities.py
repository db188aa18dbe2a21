"""Routes of rows: insert, upsert, delete, get, query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import BAD_INSERT, MISSING, Refused, invalid_value
from headwater.doors.rest.fields import ANY, FLAG, INT32, OBJECT, TEXTS, Field, Listed, Record, Schema, need
from headwater.doors.rest.packing import insert_request, upsert_request
from headwater.doors.rest.queries import key_filter, level_of, templates
from headwater.doors.rest.route import COLLECTION, Answer, Route, pairs, route, shape
from headwater.doors.rest.rows import cost_of, entries, ids, rows

__all__ = ["COST", "LEVEL", "PARTITIONS", "ROUTES", "ROWS"]

_MISMATCH = 62
"""The older number of an answer to rows that were packed by a schema that has changed."""
LEVEL = Field(
    "consistencyLevel", about="Strong, Session, Bounded, Eventually; reads see all writes in any case"
)
PARTITIONS = Field("partitionNames", TEXTS)
COST: Schema = {"type": "integer"}
ROWS: Schema = {"type": "array", "items": {"type": "object"}}
_IDS: Schema = {"type": "array", "items": {"type": ["integer", "string"]}}
_PARTITION = Field("partitionName", default="")
_OPERATION = Record(
    "FieldOperation", (need("fieldName"), need("op", about="REPLACE, ARRAY_APPEND, ARRAY_REMOVE"))
)


async def _write(ask: Ask, call: str, make: Callable[[Any], Awaitable[Any]]) -> Any:
    """Pack and send rows; once more when the schema is not what it was."""
    name = ask["collectionName"]
    if not ask["data"]:
        raise Refused.of(BAD_INSERT, MISSING.base)
    try:
        return await ask.call(call, await make(await ask.described(name)))
    except Refused as error:
        if error.code not in (_MISMATCH, 109, BAD_INSERT.code):
            raise
        ask.changed(name)
    return await ask.call(call, await make(await ask.described(name)))


async def _insert(ask: Ask) -> Answer:
    async def make(described: Any) -> Any:
        return await ask.aside(
            insert_request,
            described,
            ask["collectionName"],
            ask["partitionName"],
            ask["data"],
            written=ask.written,
        )

    response = await _write(ask, "Insert", make)
    found = ids(response.IDs, ask.whole_numbers)
    return {
        "data": {"insertCount": response.insert_cnt, "insertIds": found},
        "cost": cost_of(response.status),
    }


def _operations(ask: Ask) -> dict[str, int]:
    kinds = schema_pb2.FieldPartialUpdateOp.OpType
    found: dict[str, int] = {}
    for each in ask["fieldOps"] or []:
        word = each["op"].strip().upper()
        if word not in kinds.keys():  # noqa: SIM118 (an enum of protobuf is no mapping)
            raise invalid_value(f"unsupported partial update op: {each['op']}")
        if each["fieldName"] in found:
            raise invalid_value(f"fieldOps has field {each['fieldName']} twice")
        found[each["fieldName"]] = kinds.Value(word)
    return found


async def _upsert(ask: Ask) -> Answer:
    operations = _operations(ask)

    async def make(described: Any) -> Any:
        return await ask.aside(
            upsert_request,
            described,
            ask["collectionName"],
            ask["partitionName"],
            ask["data"],
            partial=ask["partialUpdate"],
            operations=operations,
            written=ask.written,
        )

    response = await _write(ask, "Upsert", make)
    found = ids(response.IDs, ask.whole_numbers)
    return {
        "data": {"upsertCount": response.upsert_cnt, "upsertIds": found},
        "cost": cost_of(response.status),
    }


async def _delete(ask: Ask) -> Answer:
    request = milvus_pb2.DeleteRequest(
        collection_name=ask["collectionName"],
        partition_name=ask["partitionName"],
        expr=ask["filter"],
        expr_template_values=templates(ask["exprParams"]),
    )
    response = await ask.told("Delete", request)
    return {"data": {"deleteCount": response.delete_cnt}, "cost": cost_of(response.status)}


def _shown(ask: Ask, response: milvus_pb2.QueryResults) -> Answer:
    found = rows(response.fields_data, response.output_fields, ask.whole_numbers)
    return {"data": entries(found, response.element_indices), "cost": cost_of(response.status)}


async def _get(ask: Ask) -> Answer:
    described = await ask.described(ask["collectionName"])
    expr, values = key_filter(described.schema, ask["id"])
    partitions = [*(ask["partitionNames"] or []), *([ask["partitionName"]] if ask["partitionName"] else [])]
    request = milvus_pb2.QueryRequest(
        collection_name=ask["collectionName"],
        expr=expr,
        expr_template_values=values,
        output_fields=_wanted(ask),
        partition_names=partitions,
        **level_of(ask["consistencyLevel"]),
    )
    return _shown(ask, await ask.call("Query", request))


def _wanted(ask: Ask) -> list[str]:
    return ["*"] if ask["outputFields"] is None else list(ask["outputFields"])


async def _query(ask: Ask) -> Answer:
    wanted, groups = _wanted(ask), ask["groupByFields"] or []
    counted = not groups and len(wanted) == 1 and wanted[0].strip().lower() == "count(*)"
    params = {
        "offset": None if counted else ask["offset"] or None,
        "limit": None if counted else ask["limit"] or None,
        "order_by_fields": ",".join(ask["orderByFields"] or []) or None,
        "group_by_fields": ",".join(groups) or None,
    }
    request = milvus_pb2.QueryRequest(
        collection_name=ask["collectionName"],
        expr=ask["filter"],
        expr_template_values=templates(ask["exprParams"]),
        output_fields=wanted,
        partition_names=ask["partitionNames"] or [],
        query_params=pairs(params),
        **level_of(ask["consistencyLevel"]),
    )
    response = await ask.told("Query", request)
    return await ask.aside(_shown, ask, response)


_TEMPLATES = Field("exprParams", OBJECT, about="values for the {names} of the filter")
_DATA = need("data", Listed(ANY), "rows: objects with the fields' names")
_BESIDE = {"cost": COST}
_BOOKS = [
    {"id": 1, "text": "The trees of the north", "year": 1999, "vector": [0.1, 0.2, 0.3, 0.4], "shelf": "A"},
    {"id": 2, "text": "Walking at night", "year": None, "vector": [0.4, 0.3, 0.2, 0.1], "shelf": "B"},
    {"id": 3, "text": "A tree grows", "year": 2012, "vector": [0.2, 0.2, 0.3, 0.3], "shelf": "A"},
]

ROUTES: tuple[Route, ...] = (
    route(
        "entities/insert",
        "Insert",
        "Insert rows.",
        (COLLECTION, _PARTITION, _DATA),
        _insert,
        data=shape(insertCount="integer", insertIds=_IDS),
        beside=_BESIDE,
        rows=True,
        example={"collectionName": "books", "data": _BOOKS},
    ),
    route(
        "entities/upsert",
        "Upsert",
        "Put rows in place of those with their keys.",
        (
            COLLECTION,
            _PARTITION,
            _DATA,
            Field("partialUpdate", FLAG, default=False, about="fields that are not given keep their values"),
            Field("fieldOps", Listed(_OPERATION), about="append to arrays, or remove from them"),
        ),
        _upsert,
        data=shape(upsertCount="integer", upsertIds=_IDS),
        beside=_BESIDE,
        rows=True,
        example={"collectionName": "books", "data": [{**_BOOKS[1], "year": 2001}]},
    ),
    route(
        "entities/get",
        "Query",
        "Rows by primary key.",
        (
            COLLECTION,
            need("id", ANY, "a key, or an array of them"),
            _PARTITION,
            PARTITIONS,
            Field("outputFields", TEXTS, about="all if absent"),
            LEVEL,
        ),
        _get,
        data=ROWS,
        beside=_BESIDE,
        example={"collectionName": "books", "id": [1, 2], "outputFields": ["text", "shelf"]},
    ),
    route(
        "entities/query",
        "Query",
        "Rows that a filter matches.",
        (
            COLLECTION,
            Field("filter", default=""),
            _TEMPLATES,
            PARTITIONS,
            Field("outputFields", TEXTS, about="all if absent; count(*) counts"),
            Field("limit", INT32, default=100),
            Field("offset", INT32, default=0),
            Field("orderByFields", TEXTS, about="such as year:desc"),
            Field("groupByFields", TEXTS, about="with count(*), sum(x), ... in outputFields"),
            LEVEL,
        ),
        _query,
        data=ROWS,
        beside=_BESIDE,
        example={
            "collectionName": "books",
            "filter": "year > {since}",
            "exprParams": {"since": 2000},
            "outputFields": ["id", "text", "year"],
            "limit": 10,
        },
    ),
    route(
        "entities/delete",
        "Delete",
        "Delete the rows that a filter matches.",
        (COLLECTION, _PARTITION, need("filter"), _TEMPLATES),
        _delete,
        data=shape(deleteCount="integer"),
        beside=_BESIDE,
        example={"collectionName": "books", "filter": "id in [3]"},
    ),
)
"""The routes under `entities/`, but for searches."""
