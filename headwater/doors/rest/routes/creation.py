"""The route that makes a collection: from a dimension alone, or from a schema and indexes."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.rest.ask import Ask
from headwater.doors.rest.errors import MISSING, Refused, invalid_value
from headwater.doors.rest.fields import FLAG, INT32, OBJECT, PROPERTIES, TEXT, Field, Listed, Record
from headwater.doors.rest.ids import whole
from headwater.doors.rest.route import COLLECTION, Answer, Route, as_text, pairs, route
from headwater.doors.rest.routes.indexes import INDEX_PARAM, create_index
from headwater.doors.rest.schemas import (
    FIELD,
    FUNCTION,
    STRUCT_FIELD,
    DataType,
    field_schema,
    function_schema,
    is_struct_array,
    struct_field_schema,
)

__all__ = ["LEVELS", "ROUTES"]

_SCHEMA = Record(
    "CollectionSchema",
    (
        Field("fields", Listed(FIELD)),
        Field("structFields", Listed(STRUCT_FIELD)),
        Field("functions", Listed(FUNCTION)),
        Field("autoID", FLAG, default=False),
        Field("enableDynamicField", FLAG, default=False),
        Field("externalSource", TEXT, default=""),
        Field("externalSpec", TEXT, default=""),
    ),
)
LEVELS: tuple[str, ...] = tuple(common_pb2.ConsistencyLevel.keys())
"""The names of consistency levels."""
_METRICS = {"BinaryVector": "HAMMING", "SparseFloatVector": "IP"}
_VECTORS = ("FloatVector", "BinaryVector", "Float16Vector", "BFloat16Vector", "SparseFloatVector")
_TTL = "collection.ttl.seconds"
_PARAM_PROPERTIES = {
    "ttlSeconds": _TTL,
    "ttlField": "ttl_field",
    "partitionKeyIsolation": "partitionkey.isolation",
    "mmap.enabled": "mmap.enabled",
    "warmup.scalarField": "warmup.scalarField",
    "warmup.scalarIndex": "warmup.scalarIndex",
    "warmup.vectorField": "warmup.vectorField",
    "warmup.vectorIndex": "warmup.vectorIndex",
    "tier.policy": "tier.policy",
}
"""Parameters that are properties of the collection."""
_PARAMS = {"max_length", "enableDynamicField", "partitionsNum", "shardsNum", "consistencyLevel"}


async def _create(ask: Ask) -> Answer:
    name = ask["collectionName"]
    if ask["externalSource"] or ask["externalSpec"]:
        raise invalid_value(
            "externalSource and externalSpec belong to the schema: schema.externalSource/schema.externalSpec"
        )
    quick = not ((ask["schema"] or {}).get("fields") or (ask["schema"] or {}).get("structFields"))
    schema = _quick_schema(ask) if quick else _full_schema(ask)
    indexes = [_quick_index(ask)] if quick else ask["indexParams"] or []
    known = {field.name for field in schema.fields}
    for struct in schema.struct_array_fields:
        known |= {struct.name, *(f"{struct.name}[{field.name}]" for field in struct.fields)}
    for index in indexes:
        if index["fieldName"] not in known:
            raise Refused.of(MISSING, f"`{index['fieldName']}` hasn't defined in schema")
    request = milvus_pb2.CreateCollectionRequest(
        collection_name=name,
        schema=schema.SerializeToString(),
        consistency_level=_level(ask),
        properties=pairs(_properties(ask)),
        shards_num=_number(ask, "shardsNum", 1),
    )
    if any(field.is_partition_key for field in schema.fields):
        request.num_partitions = _number(ask, "partitionsNum", 0)
    elif "partitionsNum" in (ask["params"] or {}):
        raise invalid_value("params.partitionsNum is only for a collection with a partition key")
    await ask.call("CreateCollection", request)
    ask.changed(name)
    for index in indexes:
        await create_index(ask, name, index)
    if indexes:
        await ask.call("LoadCollection", milvus_pb2.LoadCollectionRequest(collection_name=name))
    return {"data": {}}


def _quick_schema(ask: Ask) -> schema_pb2.CollectionSchema:
    given = ask["schema"] or {}
    if given.get("externalSource") or given.get("externalSpec"):
        raise _refuse(
            "external collection is not supported by quick create; provide schema.fields with externalField",
            "schema.fields",
            "empty schema fields",
        )
    if given.get("functions"):
        raise _refuse("functions are not supported for quickly create collection", "schema", "functions")
    vector, key = _quick_vector(ask), _quick_key(ask)
    dynamic = (ask["params"] or {}).get("enableDynamicField", True)
    if as_text(dynamic).lower() not in ("true", "false", "1", "0"):
        raise invalid_value(f"parse enableDynamicField fail, err: expected a boolean, got {dynamic!r}")
    return schema_pb2.CollectionSchema(
        name=ask["collectionName"],
        description=ask["description"],
        fields=[key, vector],
        enable_dynamic_field=as_text(dynamic).lower() in ("true", "1"),
    )


def _quick_vector(ask: Ask) -> schema_pb2.FieldSchema:
    vector = ask["vectorFieldType"] or "FloatVector"
    if vector not in _VECTORS:
        names = ", ".join(_VECTORS)
        raise _refuse(f"vectorFieldType can only be [{names}], default: FloatVector", names, vector)
    dim = ask["dimension"] or 0
    if vector == "SparseFloatVector" and dim:
        raise _refuse("dimension should not be specified for SparseFloatVector quick create", 0, dim)
    if vector != "SparseFloatVector" and not dim:
        raise _refuse(
            "dimension is required for quickly create collection(default metric type: COSINE)",
            "collectionName & dimension",
            "collectionName",
        )
    return schema_pb2.FieldSchema(
        fieldID=101,
        name=ask["vectorFieldName"] or "vector",
        data_type=DataType.Value(vector),
        type_params=pairs({"dim": dim} if dim else {}),
    )


def _quick_key(ask: Ask) -> schema_pb2.FieldSchema:
    kind = ask["idType"] or "Int64"
    if kind not in ("Int64", "int64", "VarChar", "Varchar"):
        raise _refuse("idType can only be [Int64, VarChar], default: Int64", "Int64, Varchar", kind)
    text = kind.lower() == "varchar"
    return schema_pb2.FieldSchema(
        fieldID=100,
        name=ask["primaryFieldName"] or "id",
        is_primary_key=True,
        data_type=DataType.VarChar if text else DataType.Int64,
        autoID=ask["autoID"],
        type_params=pairs({"max_length": (ask["params"] or {}).get("max_length")} if text else {}),
    )


def _quick_index(ask: Ask) -> dict[str, Any]:
    if ask["indexParams"]:
        raise invalid_value(
            "indexParams needs schema.fields; a collection made from a dimension has its index"
        )
    name = ask["vectorFieldName"] or "vector"
    metric = ask["metricType"] or _METRICS.get(ask["vectorFieldType"] or "", "COSINE")
    return {"fieldName": name, "indexName": name, "metricType": metric, "indexType": None, "params": None}


_QUICK = (
    "dimension",
    "idType",
    "metricType",
    "vectorFieldType",
    "primaryFieldName",
    "vectorFieldName",
)


def _full_schema(ask: Ask) -> schema_pb2.CollectionSchema:
    given = ask["schema"]
    for name in _QUICK:
        if ask[name]:
            raise invalid_value(f"{name} is for a collection without schema.fields")
    fields = given["fields"] or []
    structs = [each for each in fields if is_struct_array(each)] + (given["structFields"] or [])
    functions = [function_schema(each) for each in given["functions"] or []]
    filled = {name for function in functions for name in function.output_field_names}
    auto = given["autoID"] or ask["autoID"]
    found = schema_pb2.CollectionSchema(
        name=ask["collectionName"],
        description=ask["description"],
        autoID=auto,
        enable_dynamic_field=given["enableDynamicField"],
        external_source=given["externalSource"],
        external_spec=given["externalSpec"],
        functions=functions,
        fields=[field_schema(each, auto) for each in fields if not is_struct_array(each)],
    )
    for field in found.fields:
        field.is_function_output = field.name in filled
    names = {field.name for field in found.fields}
    for told in structs:
        if told["fieldName"] in names:
            raise invalid_value(f"duplicated field name: {told['fieldName']}")
        names.add(told["fieldName"])
        found.struct_array_fields.append(struct_field_schema(told))
    return found


def _level(ask: Ask) -> int:
    params = ask["params"] or {}
    outer, inner = ask["consistencyLevel"], params.get("consistencyLevel")
    if outer and inner and outer != inner:
        raise _refuse(
            "top-level consistencyLevel conflicts with params.consistencyLevel",
            "same consistencyLevel",
            inner,
        )
    level = outer or inner
    if not level:
        return int(common_pb2.Bounded)
    if level not in LEVELS:
        names = ", ".join(LEVELS)
        raise _refuse(f"consistencyLevel can only be [{names}], default: Bounded", names, level)
    return int(common_pb2.ConsistencyLevel.Value(level))


def _properties(ask: Ask) -> dict[str, Any]:
    params = ask["params"] or {}
    for name in params:
        if name not in _PARAM_PROPERTIES and name not in _PARAMS:
            known = ", ".join(sorted({*_PARAM_PROPERTIES, *_PARAMS}))
            raise invalid_value(f"params.{name[:100]} is not known; known are {known}")
    found = dict(ask["properties"] or {})
    if "ttl.seconds" in found:
        if _TTL in found:
            raise invalid_value("collection TTL is specified multiple times")
        found[_TTL] = found.pop("ttl.seconds")
    for name, value in params.items():
        if target := _PARAM_PROPERTIES.get(name):
            if target in found:
                what = "collection TTL" if target == _TTL else target
                raise invalid_value(f"{what} is specified multiple times")
            found[target] = value
    return found


def _number(ask: Ask, name: str, default: int) -> int:
    told = (ask["params"] or {}).get(name, default)
    found = whole(told, 31)
    if found is None or found < 0:
        raise invalid_value(f"params.{name}: expected a number, got {told!r}")
    return found


def _refuse(detail: str, expected: Any, actual: Any) -> Refused:
    return Refused.because(invalid(detail, expected=expected, actual=actual))


_FIELDS = (
    COLLECTION,
    Field("dimension", INT32, about="of the vectors; makes a collection of two fields and an index"),
    Field("idType", about="Int64 or VarChar; Int64 if absent"),
    Field("autoID", FLAG, default=False),
    Field("metricType", about="COSINE if absent"),
    Field("vectorFieldType", about="FloatVector if absent"),
    Field("consistencyLevel", about="Bounded if absent"),
    Field("primaryFieldName", about="id if absent", also=("primaryField",)),
    Field("vectorFieldName", about="vector if absent", also=("vectorField",)),
    Field("schema", _SCHEMA),
    Field("indexParams", Listed(INDEX_PARAM), about="indexes; the collection is loaded when they are there"),
    Field("params", OBJECT, about="max_length, partitionsNum, shardsNum, ttlSeconds, mmap.enabled, ..."),
    Field("properties", PROPERTIES),
    Field("description", default=""),
    *(
        Field(name, about="refused here: it belongs to the schema")
        for name in ("externalSource", "externalSpec")
    ),
)

ROUTES: tuple[Route, ...] = (
    route(
        "collections/create",
        "CreateCollection",
        "Make a collection; with indexes it is loaded, too.",
        _FIELDS,
        _create,
        example={
            "collectionName": "books",
            "description": "what is on the shelves",
            "schema": {
                "enableDynamicField": True,
                "fields": [
                    {"fieldName": "id", "dataType": "Int64", "isPrimary": True},
                    {
                        "fieldName": "text",
                        "dataType": "VarChar",
                        "elementTypeParams": {"max_length": 1000, "enable_analyzer": True},
                    },
                    {"fieldName": "year", "dataType": "Int32", "nullable": True},
                    {"fieldName": "vector", "dataType": "FloatVector", "elementTypeParams": {"dim": 4}},
                ],
            },
            "indexParams": [{"fieldName": "vector", "metricType": "L2", "indexName": "by_vector"}],
        },
    ),
)
"""The route that makes a collection."""
