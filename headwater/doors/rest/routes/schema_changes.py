"""Routes that change a collection's schema: fields, structs, functions."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import invalid_value
from headwater.doors.rest.fields import INT64, PROPERTIES, Field, need
from headwater.doors.rest.route import COLLECTION, Answer, Route, direct, route
from headwater.doors.rest.routes.indexes import INDEX_PARAM, extra_params
from headwater.doors.rest.schemas import (
    FIELD,
    FUNCTION,
    field_schema,
    function_schema,
    is_struct_array,
    struct_field_schema,
)

__all__ = ["ROUTES"]

_Request = milvus_pb2.AlterCollectionSchemaRequest


async def _alter(ask: Ask, **action: Any) -> Answer:
    request = _Request(collection_name=ask["collectionName"], action=_Request.Action(**action))
    await ask.call("AlterCollectionSchema", request)
    ask.changed(ask["collectionName"])
    return {"data": {}}


async def _add_field(ask: Ask) -> Answer:
    told = ask["schema"]
    if is_struct_array(told):
        raise invalid_value(
            "StructArray field must be added through /v2/vectordb/collections/struct_fields/add"
        )
    info = _Request.FieldInfo(field_schema=field_schema(told))
    return await _alter(ask, add_request=_Request.AddRequest(field_infos=[info]))


async def _drop_field(ask: Ask) -> Answer:
    name, number = ask["fieldName"], ask["fieldId"]
    if bool(name) == (number is not None):
        raise invalid_value("exactly one of fieldName or fieldId is required")
    if number is not None and number <= 0:
        raise invalid_value("fieldId must be greater than 0")
    which = {"field_name": name} if name else {"field_id": number}
    return await _alter(ask, drop_request=_Request.DropRequest(**which))


async def _add_struct(ask: Ask) -> Answer:
    told = ask["schema"]
    if not is_struct_array(told):
        raise invalid_value(
            "StructArray field must use ArrayOfStruct or Array with Struct element, got dataType "
            f"{told['dataType']} and elementDataType {told['elementDataType'] or ''}"
        )
    request = milvus_pb2.AddCollectionStructFieldRequest(
        collection_name=ask["collectionName"], struct_array_field_schema=struct_field_schema(told)
    )
    await ask.call("AddCollectionStructField", request)
    ask.changed(ask["collectionName"])
    return {"data": {}}


async def _add_function(ask: Ask) -> Answer:
    request = milvus_pb2.AddCollectionFunctionRequest(
        collection_name=ask["collectionName"], functionSchema=function_schema(ask["function"])
    )
    await ask.call("AddCollectionFunction", request)
    ask.changed(ask["collectionName"])
    return {"data": {}}


async def _alter_function(ask: Ask) -> Answer:
    request = milvus_pb2.AlterCollectionFunctionRequest(
        collection_name=ask["collectionName"],
        function_name=ask["functionName"],
        functionSchema=function_schema(ask["function"]),
    )
    await ask.call("AlterCollectionFunction", request)
    ask.changed(ask["collectionName"])
    return {"data": {}}


async def _add_function_field(ask: Ask) -> Answer:
    field, index = ask["outputField"], ask["indexParams"]
    info = _Request.FieldInfo(field_schema=field_schema(field))
    if index is not None:
        if index["fieldName"] != field["fieldName"]:
            raise invalid_value(
                f'indexParams.fieldName "{index["fieldName"]}" must match outputField.fieldName '
                f'"{field["fieldName"]}"'
            )
        info.index_name = index["indexName"] or ""
        info.extra_params.extend(extra_params(index))
    info.field_schema.is_function_output = True
    request = _Request.AddRequest(field_infos=[info], func_schema=[function_schema(ask["function"])])
    return await _alter(ask, add_request=request)


async def _drop_function_field(ask: Ask) -> Answer:
    request = _Request.DropRequest(function_name=ask["functionName"], drop_function_output_fields=True)
    return await _alter(ask, drop_request=request)


_BM25 = {
    "name": "words",
    "type": "BM25",
    "inputFieldNames": ["text"],
    "outputFieldNames": ["terms"],
}
_FUNCTION = need("functionName")

ROUTES: tuple[Route, ...] = (
    route(
        "collections/fields/add",
        "AlterCollectionSchema",
        "Add a nullable field.",
        (COLLECTION, need("schema", FIELD)),
        _add_field,
        example={
            "collectionName": "books",
            "schema": {
                "fieldName": "shelf",
                "dataType": "VarChar",
                "nullable": True,
                "elementTypeParams": {"max_length": 64},
            },
        },
    ),
    direct(
        "collections/fields/alter_properties",
        "AlterCollectionField",
        "Change parameters of a field, such as its maximal length.",
        (COLLECTION, need("fieldName"), Field("fieldParams", PROPERTIES)),
        into={"fieldParams": "properties"},
        example={"collectionName": "books", "fieldName": "shelf", "fieldParams": {"max_length": 128}},
    ),
    route(
        "collections/fields/drop",
        "AlterCollectionSchema",
        "Drop a field.",
        (COLLECTION, Field("fieldName"), Field("fieldId", INT64)),
        _drop_field,
        example={"collectionName": "books", "fieldName": "shelf"},
    ),
    route(
        "collections/struct_fields/add",
        "AddCollectionStructField",
        "Add a nullable array of structs.",
        (COLLECTION, need("schema", FIELD)),
        _add_struct,
        example={
            "collectionName": "books",
            "schema": {
                "fieldName": "chapters",
                "dataType": "ArrayOfStruct",
                "nullable": True,
                "typeParams": {"max_capacity": 10},
                "fields": [
                    {
                        "fieldName": "title",
                        "dataType": "Array",
                        "elementDataType": "VarChar",
                        "elementTypeParams": {"max_length": 100},
                    }
                ],
            },
        },
    ),
    route(
        "collections/add_function_field",
        "AlterCollectionSchema",
        "Add a function and the field that it fills; rows that are there are filled in the background.",
        (
            COLLECTION,
            need("function", FUNCTION),
            need("outputField", FIELD),
            Field("indexParams", INDEX_PARAM),
        ),
        _add_function_field,
        example={
            "collectionName": "books",
            "function": _BM25,
            "outputField": {"fieldName": "terms", "dataType": "SparseFloatVector"},
            "indexParams": {"fieldName": "terms", "metricType": "BM25"},
        },
    ),
    route(
        "collections/drop_function_field",
        "AlterCollectionSchema",
        "Drop a function and the field that it fills.",
        (COLLECTION, _FUNCTION),
        _drop_function_field,
        example={"collectionName": "books", "functionName": "words"},
    ),
    route(
        "collections/add_function",
        "AddCollectionFunction",
        "Refused, as by Milvus 3: a function comes with its field, by add_function_field.",
        (COLLECTION, need("function", FUNCTION)),
        _add_function,
        example={"collectionName": "books", "function": _BM25},
    ),
    route(
        "collections/alter_function",
        "AlterCollectionFunction",
        "Change how a function reaches the service that computes it.",
        (COLLECTION, _FUNCTION, need("function", FUNCTION)),
        _alter_function,
        example={"collectionName": "books", "functionName": "words", "function": _BM25},
    ),
    direct(
        "collections/drop_function",
        "DropCollectionFunction",
        "Refused, as by Milvus 3: a function goes with its field, by drop_function_field.",
        (COLLECTION, _FUNCTION),
        example={"collectionName": "books", "functionName": "words"},
    ),
)
"""The routes under `collections/` that change schemas."""
