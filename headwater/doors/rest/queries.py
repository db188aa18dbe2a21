"""What is searched for: vectors and texts as placeholders, ids, template values, parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from pymilvus.grpc_gen import common_pb2, schema_pb2

from headwater.doors.milvus.codes import FIELD_NOT_FOUND, MilvusError
from headwater.doors.rest.errors import BAD_FORMAT, BAD_PRIMARY_KEY, Refused, invalid_value
from headwater.doors.rest.ids import whole
from headwater.doors.rest.packing import client_packing, vector_of
from headwater.errors import InvalidArgument

__all__ = ["find_vector", "ids_of", "key_filter", "level_of", "placeholders", "search_params", "templates"]

DataType = schema_pb2.DataType
Placeholder = common_pb2.PlaceholderType
_TYPES = {
    DataType.FloatVector: (Placeholder.FloatVector, Placeholder.EmbListFloatVector),
    DataType.BinaryVector: (Placeholder.BinaryVector, Placeholder.EmbListBinaryVector),
    DataType.Float16Vector: (Placeholder.Float16Vector, Placeholder.EmbListFloat16Vector),
    DataType.BFloat16Vector: (Placeholder.BFloat16Vector, Placeholder.EmbListBFloat16Vector),
    DataType.Int8Vector: (Placeholder.Int8Vector, Placeholder.EmbListInt8Vector),
}
_IDS = "__pk_ids"
_TOLD = {"ignoreGrowing": "ignore_growing", "metricType": "metric_type"}
"""What the routes call in a way of their own."""


def _vectors(schema: schema_pb2.CollectionSchema) -> dict[str, schema_pb2.FieldSchema]:
    found = {
        field.name: field
        for field in schema.fields
        if DataType.BinaryVector <= field.data_type <= DataType.Int8Vector
    }
    for struct in schema.struct_array_fields:
        for sub in struct.fields:
            if sub.data_type == DataType.ArrayOfVector:
                short = sub.name.removeprefix(f"{struct.name}[").removesuffix("]")
                found[f"{struct.name}[{short}]"] = sub
    return found


def find_vector(schema: schema_pb2.CollectionSchema, name: str | None) -> tuple[str, schema_pb2.FieldSchema]:
    """The vector field to search, by name, or the only one."""
    fields = _vectors(schema)
    if name:
        if name not in fields:
            raise Refused.because(MilvusError(FIELD_NOT_FOUND, "cannot find a vector field", field=name))
        return name, fields[name]
    plain = [each for each in fields if "[" not in each]
    if len(plain) > 1:
        raise invalid_value(
            f"search without annsField, but already found multiple vector fields: [{plain[0]}, {plain[1]},,,]"
        )
    if not plain:
        raise Refused.because(MilvusError(FIELD_NOT_FOUND, "cannot find a vector field", field=""))
    return plain[0], fields[plain[0]]


def placeholders(
    schema: schema_pb2.CollectionSchema, name: str, field: schema_pb2.FieldSchema, data: list[Any]
) -> bytes:
    """Query vectors, texts or lists of vectors, as the protocol has them.

    Args:
        schema: of the collection.
        name: of the field, for errors.
        field: the vector field.
        data: one query each.
    """
    filled = any(name in function.output_field_names for function in schema.functions)
    try:
        if filled and all(isinstance(each, str) for each in data):
            kind, values = Placeholder.VarChar, [each.encode() for each in data]
        elif filled and field.data_type == DataType.SparseFloatVector:
            raise Refused(0, "a text query must be a string")
        elif field.data_type == DataType.SparseFloatVector:
            rows = [vector_of(field.data_type, 0, name, each) for each in data]
            kind, values = Placeholder.SparseFloatVector, client_packing().packed_sparse(rows)
        else:
            kind, values = _dense(name, field, data)
    except Refused as error:
        detail = error.message.removeprefix("fail to deal the insert data, error: ")
        raise Refused.of(BAD_FORMAT, detail) from error
    except InvalidArgument as error:
        raise Refused.of(BAD_FORMAT, error.message) from error
    group = common_pb2.PlaceholderGroup()
    group.placeholders.add(tag="$0", type=kind, values=values)
    return bytes(group.SerializeToString())


def _dense(name: str, field: schema_pb2.FieldSchema, data: list[Any]) -> tuple[int, list[bytes]]:
    dim = next((int(pair.value) for pair in field.type_params if pair.key == "dim"), 0)
    nested = field.data_type == DataType.ArrayOfVector
    kind = field.element_type if nested else field.data_type
    single, several = _TYPES[kind]
    lists = nested and all(
        isinstance(each, list) and each and isinstance(each[0], list | str) for each in data
    )
    if lists:
        return several, [b"".join(_bytes(kind, dim, name, one) for one in each) for each in data]
    return single, [_bytes(kind, dim, name, each) for each in data]


def _bytes(kind: int, dim: int, name: str, value: Any) -> bytes:
    found = vector_of(kind, dim, name, value)
    return found if isinstance(found, bytes) else bytes(found.tobytes())


def _key(schema: schema_pb2.CollectionSchema) -> schema_pb2.FieldSchema:
    for field in schema.fields:
        if field.is_primary_key:
            return field
    raise invalid_value(f"collection: {schema.name} has no primary field")


def ids_of(schema: schema_pb2.CollectionSchema, told: list[Any]) -> schema_pb2.IDs:
    """Primary keys to search by."""
    if _key(schema).data_type == DataType.Int64:
        numbers = [whole(each) for each in told]
        for place, number in enumerate(numbers):
            if number is None:
                raise invalid_value(
                    f"invalid int64 id at index {place}: {told[place]!r} is not an integer in the int64 range"
                )
        return schema_pb2.IDs(int_id=schema_pb2.LongArray(data=numbers))
    for place, each in enumerate(told):
        if isinstance(each, bool) or not isinstance(each, str | int) or each == "":
            raise invalid_value(f"invalid id type at index {place}: expected a string, got {each!r}")
    return schema_pb2.IDs(str_id=schema_pb2.StringArray(data=[str(each) for each in told]))


def key_filter(schema: schema_pb2.CollectionSchema, told: Any) -> tuple[str, dict[str, Any]]:
    """A filter for primary keys, given as one value or an array, and its template values."""
    key = _key(schema)
    values = told if isinstance(told, list) else [told]
    if key.data_type == DataType.Int64:
        found: list[Any] = [whole(each) for each in values]
        if None in found:
            wrong = values[found.index(None)]
            raise _bad_key(f"id must be an integer for an Int64 primary key, got: {wrong!r}")
    else:
        for each in values:
            if isinstance(each, bool) or not isinstance(each, str | int):
                raise _bad_key(f"id must be a string or a number for a VarChar primary key, got: {each!r}")
        found = [str(each) for each in values]
    array = (
        schema_pb2.TemplateArrayValue(long_data=schema_pb2.LongArray(data=found))
        if key.data_type == DataType.Int64
        else schema_pb2.TemplateArrayValue(string_data=schema_pb2.StringArray(data=found))
    )
    return f"{key.name} in {{{_IDS}}}", {_IDS: schema_pb2.TemplateValue(array_val=array)}


def _bad_key(detail: str) -> Refused:
    return Refused.of(BAD_PRIMARY_KEY, f"{detail}: invalid parameter")


def templates(told: Mapping[str, Any] | None) -> dict[str, schema_pb2.TemplateValue]:
    """Values of a filter's `{names}`."""
    return {name: _template(name, value) for name, value in (told or {}).items()}


def _template(name: str, value: Any) -> schema_pb2.TemplateValue:
    about = f"expression template parameter {name}"
    if isinstance(value, bool):
        return schema_pb2.TemplateValue(bool_val=value)
    if isinstance(value, str):
        return schema_pb2.TemplateValue(string_val=value)
    if isinstance(value, int | float):
        if (number := whole(value)) is not None and isinstance(value, int):
            return schema_pb2.TemplateValue(int64_val=number)
        if isinstance(value, int) or not math.isfinite(value):
            raise invalid_value(f"{about} has an unrepresentable number {value}")
        return schema_pb2.TemplateValue(float_val=value)
    if isinstance(value, list):
        return schema_pb2.TemplateValue(array_val=_template_array(about, value, 0))
    what = "must not be null" if value is None else "must be a bool, number, string or array"
    raise invalid_value(f"{about} {what}")


def _template_array(about: str, values: list[Any], depth: int) -> schema_pb2.TemplateArrayValue:
    if depth > 64:
        raise invalid_value(f"{about} exceeds the maximum nesting depth 64")
    if not values:
        raise invalid_value(f"{about} must not be an empty array")
    if None in values:
        raise invalid_value(f"{about} must not contain null")
    kinds = {type(each) for each in values}
    made = schema_pb2.TemplateArrayValue
    if kinds == {bool}:
        return made(bool_data=schema_pb2.BoolArray(data=values))
    if kinds == {str}:
        return made(string_data=schema_pb2.StringArray(data=values))
    if kinds == {int} and all(whole(each) is not None for each in values):
        return made(long_data=schema_pb2.LongArray(data=values))
    if kinds == {float}:
        return made(double_data=schema_pb2.DoubleArray(data=values))
    if kinds == {list}:
        nested = [_template_array(about, each, depth + 1) for each in values]
        return made(array_data=schema_pb2.TemplateArrayValueArray(data=nested))
    return made(json_data=schema_pb2.JSONArray(data=[orjson.dumps(each) for each in values]))


_OUTER = {
    "metric_type",
    "ignore_growing",
    "round_decimal",
    "hints",
    "group_by_field",
    "group_by_fields",
    "group_size",
    "strict_group_size",
    "order_by_fields",
    "analyzer_name",
    "timezone",
    "time_fields",
    "json_path",
    "json_type",
    "strict_cast",
}
"""Parameters that the protocol has beside `params`."""
_OWN = {"topk": "limit", "limit": "limit", "offset": "offset", "anns_field": "annsField"}


def search_params(told: Mapping[str, Any] | None, **own: Any) -> list[common_pb2.KeyValuePair]:
    """Parameters of a search as the client library sends them: in `params`, and those of the search itself beside it.

    Args:
        told: `searchParams` of the body.
        **own: what the body says elsewhere: `topk`, `offset`, `anns_field`, ...; None is left out.
    """
    given = {_TOLD.get(name, name): value for name, value in (told or {}).items()}
    inner = given.get("params") or {}
    if not isinstance(inner, dict):
        raise invalid_value("searchParams.params must be a dict")
    params = dict(inner)
    for name, value in given.items():
        if name == "params" or value is None:
            continue
        if name in _OWN:
            raise invalid_value(f"searchParams.{name}: say it as {_OWN[name]}")
        if name in params and params[name] != value:
            raise invalid_value(
                f"ambiguous parameter: {name}, in search_param: {value}, in search_param.params: {params[name]}"
            )
        params[name] = value
    pairs = {name: given[name] for name in _OUTER if given.get(name) is not None}
    pairs |= {name: value for name, value in own.items() if value is not None}
    pairs.setdefault("round_decimal", -1)
    return [
        common_pb2.KeyValuePair(key="params", value=orjson.dumps(params).decode()),
        *(common_pb2.KeyValuePair(key=name, value=_said(value)) for name, value in pairs.items()),
    ]


def _said(value: Any) -> str:
    """A parameter as the client library says it."""
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return orjson.dumps(value).decode() if isinstance(value, dict) else str(value)


def level_of(told: str | None) -> dict[str, Any]:
    """A consistency level, by name, as fields of a message."""
    if not told:
        return {"consistency_level": common_pb2.Bounded, "use_default_consistency": True}
    if told not in common_pb2.ConsistencyLevel.keys():  # noqa: SIM118 (an enum of protobuf is no mapping)
        refused = invalid_value(f"parameter:'{told}' is incorrect, please check it")
        raise Refused(
            refused.code,
            "consistencyLevel can only be [Strong, Session, Bounded, Eventually, Customized], "
            f"default: Bounded, err:{refused.message}",
        )
    return {"consistency_level": common_pb2.ConsistencyLevel.Value(told), "use_default_consistency": False}
