"""Schemas: from JSON into the protocol, and back for descriptions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.rest.errors import invalid_value
from headwater.doors.rest.fields import ANY, FLAG, OBJECT, TEXTS, Field, Listed, Record, Schema, need
from headwater.doors.rest.ids import whole
from headwater.doors.rest.route import pairs, shape

__all__ = [
    "DataType",
    "FIELD",
    "FIELD_SHAPE",
    "FUNCTION",
    "STRUCT_FIELD",
    "field_schema",
    "function_schema",
    "is_struct_array",
    "shown_fields",
    "shown_functions",
    "shown_struct_fields",
    "struct_field_schema",
]

DataType = schema_pb2.DataType


@dataclass(frozen=True)
class _Within:
    """A record that holds itself: named first, known later."""

    name: str

    def read(self, value: Any, at: str) -> Any:
        return FIELD.read(value, at)

    def schema(self) -> Schema:
        return {"$ref": f"#/components/schemas/{self.name}"}


FIELD = Record(
    "FieldSchema",
    (
        need("fieldName"),
        Field("description", default=""),
        need("dataType", about="Int64, VarChar, FloatVector, ..., with its capitals"),
        Field("elementDataType", about="of an Array"),
        Field("externalField", default="", about="the column of the external source"),
        Field("isPrimary", FLAG, default=False),
        Field("isPartitionKey", FLAG, default=False),
        Field("isClusteringKey", FLAG, default=False),
        Field("elementTypeParams", OBJECT, about="dim, max_length, max_capacity, enable_analyzer, ..."),
        Field("typeParams", OBJECT, about="the same"),
        Field("fields", Listed(_Within("FieldSchema")), about="of an array of structs"),
        Field("nullable", FLAG, default=False),
        Field("defaultValue", ANY),
    ),
)
"""A field of a collection."""

STRUCT_FIELD = Record(
    "StructFieldSchema",
    (
        need("fieldName"),
        Field("description", default=""),
        need("fields", Listed(FIELD)),
        Field("typeParams", OBJECT, about="max_capacity"),
        Field("nullable", FLAG, default=False),
    ),
)
"""A field that holds arrays of structs."""

FUNCTION = Record(
    "FunctionSchema",
    (
        need("name"),
        Field("description", default=""),
        need("type", about="BM25, TextEmbedding, MinHash, Rerank"),
        Field("inputFieldNames", TEXTS),
        Field("outputFieldNames", TEXTS),
        Field("params", OBJECT),
    ),
)
"""A function of a collection, or one that reranks."""


def _data_type(name: str, what: str) -> int:
    if name not in DataType.keys():  # noqa: SIM118 (an enum of protobuf is no mapping)
        raise invalid_value(f"{what} {name} is invalid(case sensitive)")
    return int(DataType.Value(name))


def field_schema(told: dict[str, Any], auto_id: bool = False) -> schema_pb2.FieldSchema:
    """A field in the protocol's form.

    Args:
        told: read by `FIELD`.
        auto_id: whether its values are made by the server, if it is the primary key.
    """
    kind = _data_type(told["dataType"], "data type")
    found = schema_pb2.FieldSchema(
        name=told["fieldName"],
        description=told["description"],
        data_type=kind,
        is_primary_key=told["isPrimary"],
        is_partition_key=told["isPartitionKey"],
        is_clustering_key=told["isClusteringKey"],
        nullable=told["nullable"],
        external_field=told["externalField"],
        autoID=auto_id and told["isPrimary"],
        type_params=pairs({**(told["typeParams"] or {}), **(told["elementTypeParams"] or {})}),
    )
    if told["fields"]:
        raise invalid_value(f"field {told['fieldName']}: only an array of structs has fields")
    if kind in (DataType.Array, DataType.ArrayOfVector):
        found.element_type = _data_type(told["elementDataType"] or "", "element data type")
    elif told["elementDataType"]:
        raise invalid_value(f"field {told['fieldName']}: only an Array has elementDataType")
    if told["defaultValue"] is not None:
        found.default_value.CopyFrom(_default(told["fieldName"], told["defaultValue"], kind))
    return found


def _default(name: str, value: Any, kind: int) -> schema_pb2.ValueField:
    wrong = invalid_value(
        f"convert defaultValue fail, err: field {name}: cannot use {value!r} as {DataType.Name(kind)} default value"
    )
    if kind == DataType.Bool and isinstance(value, bool):
        return schema_pb2.ValueField(bool_data=value)
    number = whole(value, 64 if kind == DataType.Int64 else 32) if not isinstance(value, str) else None
    if kind == DataType.Int64 and number is not None:
        return schema_pb2.ValueField(long_data=number)
    if kind in (DataType.Int8, DataType.Int16, DataType.Int32) and number is not None:
        return schema_pb2.ValueField(int_data=number)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind == DataType.Float:
            return schema_pb2.ValueField(float_data=float(value))
        if kind == DataType.Double:
            return schema_pb2.ValueField(double_data=float(value))
    if isinstance(value, str) and kind in (
        DataType.VarChar,
        DataType.String,
        DataType.Timestamptz,
        DataType.Geometry,
    ):
        return schema_pb2.ValueField(string_data=value)
    raise wrong


def is_struct_array(told: dict[str, Any]) -> bool:
    """Whether a field holds arrays of structs."""
    return told["dataType"] == "ArrayOfStruct" or (told["dataType"], told["elementDataType"]) == (
        "Array",
        "Struct",
    )


def struct_field_schema(told: dict[str, Any]) -> schema_pb2.StructArrayFieldSchema:
    """An array of structs in the protocol's form, from `STRUCT_FIELD` or a `FIELD` that is one."""
    name = told["fieldName"]
    if not told["fields"]:
        raise invalid_value(f"struct field {name} must contain at least one sub-field")
    params = {**(told["typeParams"] or {}), **(told.get("elementTypeParams") or {})}
    found = schema_pb2.StructArrayFieldSchema(
        name=name, description=told["description"], nullable=told["nullable"], type_params=pairs(params)
    )
    seen: set[str] = set()
    for sub in told["fields"]:
        made = field_schema(sub)
        about = f"sub-field {sub['fieldName']} of struct {name}"
        if made.data_type not in (DataType.Array, DataType.ArrayOfVector):
            raise invalid_value(f"{about} must be Array or ArrayOfVector, got {sub['dataType']}")
        if made.is_primary_key or made.is_partition_key or made.is_clustering_key:
            raise invalid_value(f"{about} cannot be primary / partition / clustering key")
        if made.nullable:
            raise invalid_value(f"{about} cannot be nullable")
        if made.HasField("default_value"):
            raise invalid_value(f"{about} cannot set defaultValue")
        if made.name in seen:
            raise invalid_value(f"duplicated sub-field name {made.name} in struct {name}")
        seen.add(made.name)
        if "max_capacity" in params and all(pair.key != "max_capacity" for pair in made.type_params):
            made.type_params.extend(pairs({"max_capacity": params["max_capacity"]}))
        found.fields.append(made)
    return found


def function_schema(told: dict[str, Any]) -> schema_pb2.FunctionSchema:
    """A function in the protocol's form, from `FUNCTION`."""
    kinds = schema_pb2.FunctionType
    if told["type"] not in kinds.keys():  # noqa: SIM118 (an enum of protobuf is no mapping)
        raise invalid_value(f"Unsupported function type: {told['type']}")
    return schema_pb2.FunctionSchema(
        name=told["name"],
        description=told["description"],
        type=kinds.Value(told["type"]),
        input_field_names=told["inputFieldNames"] or [],
        output_field_names=told["outputFieldNames"] or [],
        params=pairs(told["params"]),
    )


FIELD_SHAPE = shape(
    ("params", "elementType", "defaultValue", "isFunctionOutput", "externalField"),
    name="string",
    id="integer",
    type="string",
    primaryKey="boolean",
    partitionKey="boolean",
    clusteringKey="boolean",
    autoId="boolean",
    description="string",
    nullable="boolean",
    params={"type": "array", "items": shape(key="string", value="string")},
    elementType="string",
    defaultValue="object",
    isFunctionOutput="boolean",
    externalField="string",
)
"""A field as a description has it."""


def shown_fields(fields: Iterable[schema_pb2.FieldSchema]) -> list[dict[str, Any]]:
    """Fields as descriptions have them; the dynamic field is not one of them."""
    return [_shown_field(field) for field in fields if not field.is_dynamic and field.name != "$meta"]


def _shown_field(field: schema_pb2.FieldSchema) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": field.name,
        "id": field.fieldID,
        "type": DataType.Name(field.data_type),
        "primaryKey": field.is_primary_key,
        "partitionKey": field.is_partition_key,
        "clusteringKey": field.is_clustering_key,
        "autoId": field.autoID,
        "description": field.description,
        "nullable": field.nullable,
    }
    if field.type_params:
        found["params"] = [{"key": pair.key, "value": pair.value} for pair in field.type_params]
    if field.data_type in (DataType.Array, DataType.ArrayOfVector):
        found["elementType"] = DataType.Name(field.element_type)
    if (which := field.default_value.WhichOneof("data")) is not None:
        tall = "".join(part.capitalize() for part in which.split("_"))
        value = getattr(field.default_value, which)
        found["defaultValue"] = {"Data": {tall: value.decode() if isinstance(value, bytes) else value}}
    if field.is_function_output:
        found["isFunctionOutput"] = True
    if field.external_field:
        found["externalField"] = field.external_field
    return found


def shown_struct_fields(fields: Iterable[schema_pb2.StructArrayFieldSchema]) -> list[dict[str, Any]]:
    """Arrays of structs as descriptions have them."""
    found = []
    for field in fields:
        subs = shown_fields(field.fields)
        for sub in subs:
            sub["name"] = sub["name"].removeprefix(f"{field.name}[").removesuffix("]")
        found.append(
            {
                "name": field.name,
                "id": field.fieldID,
                "type": "ArrayOfStruct",
                "description": field.description,
                "nullable": field.nullable,
                "fields": subs,
                "params": [{"key": pair.key, "value": pair.value} for pair in field.type_params],
            }
        )
    return found


def shown_functions(functions: Iterable[schema_pb2.FunctionSchema]) -> list[dict[str, Any]]:
    """Functions as descriptions have them."""
    return [
        {
            "name": function.name,
            "id": function.id,
            "type": function.type,
            "description": function.description,
            "inputFieldNames": list(function.input_field_names),
            "outputFieldNames": list(function.output_field_names),
            "params": [{"key": pair.key, "value": pair.value} for pair in function.params] or None,
        }
        for function in functions
    ]
