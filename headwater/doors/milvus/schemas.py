"""Schemas between the protocol's messages and ours.

A field's number in the protocol is its id here plus 99, so that the first is 100, as clients expect. What the lake does
not act upon, such as hints about memory, stays with the field as `Field.params` and is told again as it came.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pymilvus.grpc_gen import common_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.schema import (
    DYNAMIC_FIELD,
    ROW_KEY_SOURCE,
    Field,
    FieldType,
    Function,
    FunctionType,
    Schema,
)
from headwater.types import DataType

__all__ = [
    "PROTO_TYPES",
    "VIRTUAL_KEY",
    "default_of",
    "field_from_proto",
    "field_number",
    "field_to_proto",
    "function_from_proto",
    "function_to_proto",
    "params_of",
    "schema_from_proto",
    "schema_to_proto",
    "struct_from_proto",
    "type_name",
    "value_field",
]

Proto = schema_pb2.DataType

VIRTUAL_KEY = "__virtual_pk__"
"""The key that clients are told of a collection without one: the stable row id."""

FIRST_FIELD_NUMBER = 100
MAX_VARCHAR = 65535
MAX_CAPACITY = 4096
_VIRTUAL_NUMBER = 1 << 20
_MEMBER_NUMBERS = 1 << 10

PROTO_TYPES: dict[DataType, int] = {
    DataType.BOOL: Proto.Bool,
    DataType.INT8: Proto.Int8,
    DataType.INT16: Proto.Int16,
    DataType.INT32: Proto.Int32,
    DataType.INT64: Proto.Int64,
    DataType.FLOAT: Proto.Float,
    DataType.DOUBLE: Proto.Double,
    DataType.VARCHAR: Proto.VarChar,
    DataType.TEXT: Proto.Text,
    DataType.JSON: Proto.JSON,
    DataType.ARRAY: Proto.Array,
    DataType.STRUCT_ARRAY: Proto.ArrayOfStruct,
    DataType.TIMESTAMPTZ: Proto.Timestamptz,
    DataType.GEOMETRY: Proto.Geometry,
    DataType.BINARY: Proto.VarChar,
    DataType.REFERENCE: Proto.JSON,
    DataType.FLOAT_VECTOR: Proto.FloatVector,
    DataType.FLOAT16_VECTOR: Proto.Float16Vector,
    DataType.BFLOAT16_VECTOR: Proto.BFloat16Vector,
    DataType.INT8_VECTOR: Proto.Int8Vector,
    DataType.BINARY_VECTOR: Proto.BinaryVector,
    DataType.SPARSE_FLOAT_VECTOR: Proto.SparseFloatVector,
}
"""The protocol's number of each type; bytes are told as base64 text and references as JSON."""

_OURS: dict[int, DataType] = {
    number: kind for kind, number in PROTO_TYPES.items() if kind not in (DataType.BINARY, DataType.REFERENCE)
} | {Proto.String: DataType.VARCHAR}

_FUNCTIONS: dict[int, FunctionType] = {
    schema_pb2.FunctionType.BM25: FunctionType.BM25,
    schema_pb2.FunctionType.TextEmbedding: FunctionType.TEXT_EMBEDDING,
    schema_pb2.FunctionType.MinHash: FunctionType.MINHASH,
}
_TYPE_PARAMS = ("dim", "max_length", "max_capacity")

VALUE_SLOTS: dict[DataType, tuple[str, Callable[[Any], Any]]] = {
    DataType.BOOL: ("bool_data", bool),
    DataType.INT8: ("int_data", int),
    DataType.INT16: ("int_data", int),
    DataType.INT32: ("int_data", int),
    DataType.INT64: ("long_data", int),
    DataType.FLOAT: ("float_data", float),
    DataType.DOUBLE: ("double_data", float),
    DataType.VARCHAR: ("string_data", str),
    DataType.TEXT: ("string_data", str),
    DataType.TIMESTAMPTZ: ("string_data", str),
    DataType.GEOMETRY: ("string_data", str),
}
"""Where the protocol keeps a default value of each type."""


def type_name(number: int) -> str:
    """The protocol's name of a data type; its number where it has none."""
    known = Proto.DESCRIPTOR.values_by_number.get(number)
    return str(number) if known is None else str(known.name)


def params_of(pairs: Iterable[Any]) -> dict[str, str]:
    """The parameters of a field's type, by name; ones that arrive inside one JSON text are taken apart."""
    found: dict[str, str] = {}
    for pair in pairs:
        if pair.key == "params" and pair.value.startswith("{"):
            found.update({str(key): _text(value) for key, value in json.loads(pair.value).items()})
        else:
            found[pair.key] = pair.value
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def field_number(field: Field) -> int:
    """A field's number in the protocol."""
    return field.id + FIRST_FIELD_NUMBER - 1


# -- from the protocol ------------------------------------------------------------------------------------------


def schema_from_proto(proto: schema_pb2.CollectionSchema, num_partitions: int = 0) -> Schema:
    """Our schema of a checked message.

    Args:
        proto: the message; see `schema_rules` for what has been checked.
        num_partitions: partitions that a partition key spreads rows over.
    """
    fields = [field_from_proto(one) for one in proto.fields]
    fields += [struct_from_proto(one) for one in proto.struct_array_fields]
    key = next((one.name for one in proto.fields if one.is_primary_key), None)
    spread = next((one.name for one in proto.fields if one.is_partition_key), None)
    made = Schema.of(
        fields,
        primary_key=key,
        dynamic=proto.enable_dynamic_field,
        functions=[function_from_proto(one) for one in proto.functions],
    )
    auto = any(one.is_primary_key and one.autoID for one in proto.fields)
    return Schema(
        made.fields,
        made.primary_key,
        made.dynamic,
        made.last_field_id,
        auto_id=auto,
        partition_key=spread,
        num_partitions=num_partitions if spread is not None else 0,
        functions=made.functions,
    )


def field_from_proto(proto: schema_pb2.FieldSchema) -> Field:
    """One of the fields that are no structs."""
    params = params_of(proto.type_params)
    return Field(
        proto.name,
        _type_of(proto.data_type, proto.element_type, params, proto.name),
        nullable=proto.nullable,
        default=default_of(proto),
        source=proto.external_field or None,
        description=proto.description,
        params=_kept(params),
    )


def struct_from_proto(proto: schema_pb2.StructArrayFieldSchema) -> Field:
    """A field of arrays of structs."""
    members = []
    capacity = MAX_CAPACITY
    for one in proto.fields:
        params = params_of(one.type_params)
        capacity = int(params.pop("max_capacity", capacity))
        kind = _type_of(one.element_type, 0, params, one.name)
        name = member_name(proto.name, one.name)
        members.append(Field(name, kind, nullable=True, description=one.description, params=_kept(params)))
    kind = FieldType(DataType.STRUCT_ARRAY, fields=tuple(members), max_capacity=capacity)
    return Field(
        proto.name,
        kind,
        nullable=proto.nullable,
        description=proto.description,
        params=_kept(params_of(proto.type_params)),
    )


def member_name(struct: str, name: str) -> str:
    """The name of a member, which may come as ``struct[member]``."""
    if name.startswith(f"{struct}[") and name.endswith("]"):
        return name[len(struct) + 1 : -1]
    return name


def _kept(params: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in params.items() if key not in _TYPE_PARAMS))


def _type_of(number: int, element: int, params: Mapping[str, str], name: str) -> FieldType:
    kind = _OURS.get(number)
    if kind is None:
        raise invalid(f"field {name}: data type {type_name(number)} is not supported")
    dim = int(params["dim"]) if kind.dense_vector else None
    if kind is DataType.ARRAY:
        inner = _type_of(element, 0, params, name)
        return FieldType(kind, element=inner, max_capacity=int(params.get("max_capacity", MAX_CAPACITY)))
    length = int(params["max_length"]) if kind is DataType.VARCHAR and "max_length" in params else None
    return FieldType(kind, dim=dim, max_length=length, analyzer=_analyzer(kind, params))


def _analyzer(kind: DataType, params: Mapping[str, str]) -> str | None:
    if kind not in (DataType.VARCHAR, DataType.TEXT) or params.get("enable_analyzer", "").lower() != "true":
        return None
    several = params.get("multi_analyzer_params")
    given = several or params.get("analyzer_params") or '{"tokenizer": "standard"}'
    analyzer: str = json.dumps(json.loads(given), sort_keys=True, ensure_ascii=False)
    return analyzer


def default_of(proto: schema_pb2.FieldSchema) -> Any:
    """The value that rows get which leave a field out; None where there is none."""
    if not proto.HasField("default_value"):
        return None
    slot = proto.default_value.WhichOneof("data")
    value = None if slot is None else getattr(proto.default_value, slot)
    return value.decode() if isinstance(value, bytes) else value


_MINHASH_NAMES = {"hash_seed": "seed", "character": "char", "xxhash": "xxhash64"}
"""What Milvus takes as another name of a parameter or of its value."""


def function_from_proto(proto: schema_pb2.FunctionSchema) -> Function:
    """A schema function."""
    kind = _FUNCTIONS.get(proto.type)
    if kind is None:
        raise invalid(f"check function params with unknown function type {proto.type}")
    options: dict[str, Any] = {pair.key: pair.value for pair in proto.params}
    if kind is FunctionType.MINHASH:
        options = {
            _MINHASH_NAMES.get(key.lower(), key.lower()): int(value)
            if value.lstrip("-").isdigit()
            else _MINHASH_NAMES.get(value.lower(), value.lower())
            for key, value in options.items()
        }
    return Function(proto.name, kind, list(proto.input_field_names), list(proto.output_field_names), options)


# -- to the protocol --------------------------------------------------------------------------------------------


def schema_to_proto(
    schema: Schema,
    name: str,
    *,
    description: str = "",
    clustering_key: str | None = None,
    source: tuple[str, str] = ("", ""),
) -> schema_pb2.CollectionSchema:
    """The message that describes a schema.

    Args:
        schema: ours.
        name: the collection's.
        description: the collection's.
        clustering_key: the field by which compaction sorts rows.
        source: where an external collection's rows come from: a URI and a spec.
    """
    out = schema_pb2.CollectionSchema(
        name=name,
        description=description,
        autoID=schema.auto_id,
        enable_dynamic_field=schema.dynamic,
        version=schema.version - 1,
        external_source=source[0],
        external_spec=source[1],
    )
    for field in schema.fields:
        if schema.dynamic and field.name == DYNAMIC_FIELD:
            continue
        if field.type.data_type is DataType.STRUCT_ARRAY:
            out.struct_array_fields.append(_struct_to_proto(field))
        else:
            out.fields.append(field_to_proto(field, schema, clustering_key))
    if schema.primary_key is None:
        out.fields.append(
            schema_pb2.FieldSchema(
                fieldID=_VIRTUAL_NUMBER,
                name=VIRTUAL_KEY,
                is_primary_key=True,
                autoID=True,
                data_type=Proto.Int64,
            )
        )
    out.functions.extend(function_to_proto(one, schema) for one in schema.functions)
    return out


def field_to_proto(field: Field, schema: Schema, clustering_key: str | None = None) -> schema_pb2.FieldSchema:
    """The message of one field that is no struct."""
    kind = field.type
    out = schema_pb2.FieldSchema(
        fieldID=field_number(field),
        name=field.name,
        description=field.description,
        is_primary_key=field.name == schema.primary_key,
        data_type=PROTO_TYPES[kind.data_type],
        autoID=schema.auto_id and field.name == schema.primary_key,
        is_partition_key=field.name == schema.partition_key,
        is_clustering_key=field.name == clustering_key,
        nullable=field.nullable,
        is_function_output=field.name in schema.outputs,
        external_field="" if field.source == ROW_KEY_SOURCE else field.source or "",
    )
    if field.name == schema.primary_key and kind.data_type not in (DataType.INT64, DataType.VARCHAR):
        whole = kind.data_type in (DataType.INT8, DataType.INT16, DataType.INT32)
        out.data_type = Proto.Int64 if whole else Proto.VarChar
    if kind.element is not None:
        out.element_type = PROTO_TYPES[kind.element.data_type]
    if field.default is not None:
        value = value_field(kind.data_type, field.default)
        if value is not None:
            out.default_value.CopyFrom(value)
    params = dict(field.params)
    if kind.analyzer is not None and "enable_analyzer" not in params:
        params |= {"enable_analyzer": "true", "enable_match": "true", "analyzer_params": kind.analyzer}
    out.type_params.extend(_pairs(_type_params(kind) | params))
    return out


def _struct_to_proto(field: Field) -> schema_pb2.StructArrayFieldSchema:
    out = schema_pb2.StructArrayFieldSchema(
        fieldID=field_number(field), name=field.name, description=field.description, nullable=field.nullable
    )
    out.type_params.extend(_pairs(dict(field.params)))
    for place, member in enumerate(field.type.fields):
        vector = member.type.data_type.dense_vector
        one = out.fields.add(
            fieldID=_VIRTUAL_NUMBER + field.id * _MEMBER_NUMBERS + place + 1,
            name=member.name,
            description=member.description,
            data_type=Proto.ArrayOfVector if vector else Proto.Array,
            element_type=PROTO_TYPES[member.type.data_type],
            nullable=field.nullable,
        )
        params = _type_params(member.type) | {"max_capacity": str(field.type.max_capacity or MAX_CAPACITY)}
        one.type_params.extend(_pairs(params | dict(member.params)))
    return out


def _type_params(kind: FieldType) -> dict[str, str]:
    params: dict[str, str] = {}
    if kind.dim is not None:
        params["dim"] = str(kind.dim)
    inner = kind.element or kind
    if inner.data_type in (DataType.VARCHAR, DataType.BINARY):
        params["max_length"] = str(inner.max_length or MAX_VARCHAR)
    if kind.data_type is DataType.ARRAY:
        params["max_capacity"] = str(kind.max_capacity or MAX_CAPACITY)
    return params


def _pairs(params: Mapping[str, str]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value) for key, value in params.items()]


def value_field(kind: DataType, value: Any) -> schema_pb2.ValueField | None:
    """A default value as the protocol has it; None for a type that has none there."""
    slot = VALUE_SLOTS.get(kind)
    if slot is None:
        return None
    name, convert = slot
    return schema_pb2.ValueField(**{name: convert(value)})


def function_to_proto(function: Function, schema: Schema) -> schema_pb2.FunctionSchema:
    """The message of a schema function, whose number is that of its output, so that it stays when others go.

    Args:
        function: the function.
        schema: whose it is.
    """
    kinds = {kind: proto for proto, kind in _FUNCTIONS.items()}
    output = field_number(schema.field(function.output))
    out = schema_pb2.FunctionSchema(
        name=function.name,
        id=output,
        type=kinds[function.type],
        input_field_names=function.inputs,
        output_field_names=[function.output],
        input_field_ids=[field_number(schema.field(name)) for name in function.inputs],
        output_field_ids=[output],
    )
    out.params.extend(_pairs({key: _text(value) for key, value in function.options.items()}))
    return out
