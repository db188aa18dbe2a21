"""What Milvus checks of one field when it is declared, in Milvus's words."""

from __future__ import annotations

import json
import re
from typing import Any

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import MISSING_PARAMETER, MilvusError, invalid
from headwater.doors.milvus.names import check_field_name
from headwater.doors.milvus.schemas import MAX_CAPACITY, MAX_VARCHAR, params_of, type_name
from headwater.doors.milvus.tier_rules import check_evictable
from headwater.errors import InvalidArgument, SchemaMismatch
from headwater.schema import Field, Geometry, TimestampTz, check_default

__all__ = ["VECTORS", "check_field", "check_struct"]

Proto = schema_pb2.DataType

MAX_DIM = 32768
DENSE = frozenset(
    (Proto.FloatVector, Proto.Float16Vector, Proto.BFloat16Vector, Proto.Int8Vector, Proto.BinaryVector)
)
VECTORS = DENSE | {Proto.SparseFloatVector, Proto.ArrayOfVector}
ELEMENTS = frozenset(
    (
        Proto.Bool,
        Proto.Int8,
        Proto.Int16,
        Proto.Int32,
        Proto.Int64,
        Proto.Float,
        Proto.Double,
        Proto.VarChar,
    )
)
_NUMBER = re.compile(r"[+-]?\d+")
_KNOWN = frozenset(
    (
        "dim",
        "max_length",
        "max_capacity",
        "mmap.enabled",
        "warmup",
        "evictable",
        "enable_match",
        "enable_analyzer",
        "analyzer_params",
        "multi_analyzer_params",
        "field.skipLoad",
    )
)
_SLOTS: dict[str, tuple[frozenset[int], str]] = {
    "bool_data": (frozenset((Proto.Bool,)), "DataType_Bool"),
    "int_data": (frozenset((Proto.Int8, Proto.Int16, Proto.Int32)), "DataType_Int"),
    "long_data": (frozenset((Proto.Int64,)), "DataType_Int64"),
    "float_data": (frozenset((Proto.Float,)), "DataType_Float"),
    "double_data": (frozenset((Proto.Double,)), "DataType_Double"),
    "timestamptz_data": (frozenset((Proto.Timestamptz,)), "DataType_Timestamptz"),
    "string_data": (frozenset((Proto.VarChar, Proto.Timestamptz)), "DataType_VarChar"),
    "bytes_data": (frozenset((Proto.JSON,)), "DataType_SJON"),
}


def missing(detail: str) -> MilvusError:
    """A parameter that Milvus wants and that is not there."""
    return MilvusError(MISSING_PARAMETER, detail)


def check_field(field: schema_pb2.FieldSchema, collection: str) -> None:
    """Check a field that is no struct.

    Args:
        field: as a client declares it.
        collection: the name of its collection.

    Raises:
        MilvusError: it breaks a rule.
    """
    check_field_name(field.name)
    _check_params(field)
    params = params_of(field.type_params)
    if field.data_type in VECTORS:
        _check_dim(field, field.data_type, params)
    if field.data_type == Proto.VarChar:
        _check_length(field.name, params, collection)
    if field.data_type == Proto.Array:
        _check_array(field, params, collection)
    if field.data_type == Proto.ArrayOfVector:
        raise invalid(f"array of vector can only be in the struct array field, field name: {field.name}")
    _check_hints(field.name, params, "field")
    check_default_value(field, params)
    _check_analyzer(field, params)


def check_type(field: schema_pb2.FieldSchema) -> None:
    """Check that a field is of a type that fields can be of.

    Raises:
        MilvusError: it is not.
    """
    if field.data_type == Proto.String:
        raise invalid("string data type not supported yet, please use VarChar type instead")
    if field.data_type == getattr(Proto, "None"):
        raise invalid("data type None is not valid")
    if field.data_type == Proto.ArrayOfVector:
        raise invalid(f"array of vector can only be in the struct array field, field name: {field.name}")
    if field.data_type in (Proto.ArrayOfStruct, Proto.Struct):
        raise invalid(f"Invalid field type, type:{type_name(field.data_type)}, name:{field.name}")
    unknown = field.data_type not in Proto.values()
    if unknown or field.data_type in (Proto.Mol, Proto.Date, Proto.Time, Proto.Decimal):
        raise invalid(f"data type {type_name(field.data_type)} is not supported, field name: {field.name}")
    if field.data_type == Proto.Array:
        check_element(field.element_type)


def check_element(element: int) -> None:
    """Check that arrays can hold elements of a type.

    Raises:
        MilvusError: they cannot.
    """
    if element == Proto.String:
        raise invalid("string data type not supported yet, please use VarChar type instead")
    if element == getattr(Proto, "None"):
        raise invalid("element data type None is not valid")
    if element not in ELEMENTS:
        raise invalid(f"element type {type_name(element)} is not supported")


def check_struct(struct: schema_pb2.StructArrayFieldSchema, collection: str) -> None:
    """Check a field of arrays of structs, and its members.

    Args:
        struct: as a client declares it.
        collection: the name of its collection.

    Raises:
        MilvusError: it breaks a rule.
    """
    if not struct.fields:
        raise invalid(f"struct array field {struct.name} has no sub-fields")
    _check_hints(struct.name, params_of(struct.type_params), "struct field")
    capacities: list[int] = []
    for one in struct.fields:
        _check_member(one, collection)
        capacity = _capacity(one.name, params_of(one.type_params), collection)
        capacities.append(capacity)
        if capacity != capacities[0]:
            raise invalid(
                "all sub-fields in struct array field must have the same max_capacity: "
                f"structName={struct.name}, subFieldName={one.name}, max_capacity={capacity}, "
                f"expected={capacities[0]}"
            )
        if one.nullable and not struct.nullable:
            raise invalid(
                "sub-field in non-nullable struct cannot be nullable individually, set nullable on the struct "
                f"instead: structName={struct.name}, subFieldName={one.name}"
            )


def _check_member(field: schema_pb2.FieldSchema, collection: str) -> None:
    plain = field.name[field.name.index("[") + 1 : -1] if field.name.endswith("]") else field.name
    check_field_name(plain)
    _check_params(field)
    params = params_of(field.type_params)
    for set_, what in (
        (field.is_primary_key, "primary key"),
        (field.autoID, "autoID"),
        (field.is_partition_key, "partition key"),
        (field.is_clustering_key, "clustering key"),
        (field.HasField("default_value"), "default value"),
        (field.is_function_output, "function output"),
    ):
        if set_:
            raise invalid(f"{what} is not supported for struct field, field name = {field.name}")
    if field.data_type not in (Proto.Array, Proto.ArrayOfVector):
        raise invalid(
            "fields in StructArrayField can only be array or array of struct, "
            f"but field {field.name} is {type_name(field.data_type)}"
        )
    if field.element_type in (Proto.ArrayOfVector, Proto.ArrayOfStruct):
        raise invalid(f"nested {type_name(field.element_type)} is not supported for field {field.name}")
    if field.data_type == Proto.Array:
        _check_array(field, params, collection)
    else:
        if field.element_type not in DENSE:
            raise invalid(
                f"Unsupported element type {type_name(field.element_type)} of ArrayOfVector field {field.name}, "
                "only fixed dimension vector types are supported"
            )
        _check_dim(field, field.element_type, params)
        _capacity(field.name, params, collection)
    _check_hints(field.name, params, "field")


def _check_params(field: schema_pb2.FieldSchema) -> None:
    seen: set[str] = set()
    for pair in field.type_params:
        if pair.key in seen:
            raise invalid(f'duplicated type param key "{pair.key}"')
        seen.add(pair.key)
    unknown = sorted(set(params_of(field.type_params)) - _KNOWN)
    if unknown:
        raise invalid(
            f"field {field.name} has an unknown type param {unknown[0]}, "
            f"expected one of {', '.join(sorted(_KNOWN))}"
        )


def _whole(name: str, value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise invalid(f'the value "{value}" of {name} must be an integer')
    return int(value)


def _check_dim(field: schema_pb2.FieldSchema, kind: int, params: dict[str, str]) -> None:
    given = params.get("dim")
    if kind == Proto.SparseFloatVector:
        if given is not None:
            raise invalid(
                f"dim should not be specified for sparse vector field {field.name}({field.fieldID})"
            )
        return
    if given is None:
        raise invalid(
            f"dimension is not defined in field type params of field {field.name}, "
            "check type param `dim` for vector field"
        )
    dim = _whole(f"dim of field {field.name}", given)
    if dim <= 1:
        raise invalid(f"invalid dimension: {dim}. should be in range 2 ~ {MAX_DIM}")
    word, most = ("binary", MAX_DIM * 8) if kind == Proto.BinaryVector else ("float", MAX_DIM)
    if kind == Proto.BinaryVector and dim % 8:
        raise invalid(
            f"invalid dimension: {dim} of field {field.name}. binary vector dimension should be multiple of 8. "
        )
    if dim > most:
        raise invalid(
            f"invalid dimension: {dim} of field {field.name}. {word} vector dimension should be in range 2 ~ {most}"
        )


def _check_length(name: str, params: dict[str, str], collection: str) -> None:
    if "max_length" not in params:
        raise missing(
            f"type param(max_length) should be specified for the field({name}) of collection {collection}"
        )
    length = _whole(f"max_length of field {name}", params["max_length"])
    if not 0 < length <= MAX_VARCHAR:
        raise invalid(
            f"the maximum length specified for the field({name}) should be in (0, {MAX_VARCHAR}], "
            f"but got {length} instead"
        )


def _check_array(field: schema_pb2.FieldSchema, params: dict[str, str], collection: str) -> None:
    check_element(field.element_type)
    if field.element_type == Proto.VarChar:
        _check_length(field.name, params, collection)
    _capacity(field.name, params, collection)


def _capacity(name: str, params: dict[str, str], collection: str) -> int:
    given = params.get("max_capacity")
    if given is None:
        raise missing(
            f"type param(max_capacity) should be specified for array field {name} of collection {collection}"
        )
    if not _NUMBER.fullmatch(given):
        raise invalid(f"the value for max_capacity of field {name} must be an integer")
    if not 0 < int(given) <= MAX_CAPACITY:
        raise invalid(f"the maximum capacity specified for a Array should be in (0, {MAX_CAPACITY}]")
    return int(given)


def _check_hints(name: str, params: dict[str, str], what: str) -> None:
    """Hints about memory and loading: kept and told again, so their values must make sense."""
    warmup = params.get("warmup")
    if warmup is not None and warmup not in ("sync", "async", "disable"):
        raise invalid(
            f"invalid warmup policy for {what} {name}: "
            f"invalid warmup policy {warmup}, must be one of sync, async, disable"
        )
    if "evictable" in params:
        check_evictable("evictable", params["evictable"])
    for key in ("mmap.enabled", "field.skipLoad"):
        value = params.get(key)
        if value is not None and value.lower() not in ("true", "false"):
            raise invalid(f"invalid {key} value: {value}, expected: true, false")


def check_default_value(field: schema_pb2.FieldSchema, params: dict[str, str]) -> None:
    """Check a field's default value, and that its type may have one.

    Raises:
        MilvusError: it breaks a rule.
    """
    kind = type_name(field.data_type)
    told = f"type:{kind}, name:{field.name}"
    if field.is_primary_key and field.nullable:
        raise invalid(f"primary field not support null, {told}")
    if not field.HasField("default_value") or field.default_value.WhichOneof("data") is None:
        return
    if field.is_primary_key:
        raise invalid(f"primary field not support default_value, {told}")
    if field.data_type in VECTORS or field.data_type in (Proto.Array, Proto.JSON):
        raise invalid(f"type not support default_value, {told}")
    slot = field.default_value.WhichOneof("data")
    value = getattr(field.default_value, slot)
    if field.data_type == Proto.Text:
        raise invalid(f"type not support default_value, {told}")
    if field.data_type == Proto.Geometry:
        _check_said(Field(field.name, Geometry, default=value), "invalid default value for geometry field")
        return
    fits, name = _SLOTS.get(slot, (frozenset(), slot))
    if field.data_type not in fits:
        raise invalid(
            f"type ({kind}) of field ({field.name}) is not equal to the type({name}) of default_value"
        )
    if field.data_type == Proto.Timestamptz and slot == "string_data":
        _check_said(
            Field(field.name, TimestampTz, default=value),
            f"invalid timestamp string: '{value}'. Does not match any known format",
        )
    for narrow, bits in ((Proto.Int8, 7), (Proto.Int16, 15)):
        if field.data_type == narrow and not -(1 << bits) <= value < 1 << bits:
            raise invalid(
                "default value out of range",
                expected=f"[{-(1 << bits)}, {(1 << bits) - 1}]",
                actual=value,
            )
    if field.data_type == Proto.VarChar and len(value.encode()) > int(params["max_length"]):
        raise invalid(
            f"the length ({len(value.encode())}) of string exceeds max length ({params['max_length']})",
            expected="valid length string",
            actual="string length exceeds max length",
        )


def _check_said(field: Field, said: str) -> None:
    try:
        check_default(field)
    except (InvalidArgument, SchemaMismatch) as error:
        raise invalid(said) from error


def _check_analyzer(field: schema_pb2.FieldSchema, params: dict[str, str]) -> None:
    for key in ("enable_match", "enable_analyzer"):
        value = params.get(key)
        if value is not None and value.lower() not in ("true", "false"):
            raise invalid(f"invalid {key} value: {value} of field {field.name}, expected: true, false")
    enabled = params.get("enable_analyzer", "").lower() == "true"
    matched = params.get("enable_match", "").lower() == "true"
    if (enabled or matched) and field.data_type not in (Proto.VarChar, Proto.Text):
        raise invalid(
            f"field {field.name} is {type_name(field.data_type)}: only VarChar and Text can have an analyzer"
        )
    if matched and not enabled:
        raise invalid(f"field {field.name} is set to enable match or bm25 function but not enable analyzer")
    for key in ("analyzer_params", "multi_analyzer_params"):
        if key in params:
            _check_json(field.name, key, params[key])
    if enabled and "multi_analyzer_params" in params:
        if matched:
            raise invalid(
                f"multi analyzer now only support for bm25, but now field {field.name} enable match"
            )
        if "analyzer_params" in params:
            raise invalid(f"field {field.name} analyzer params should be none if has multi analyzer params")


def _check_json(name: str, key: str, text: str) -> None:
    try:
        held: Any = json.loads(text)
    except ValueError as error:
        raise invalid(f"{key} of field {name} is not JSON: {error}") from error
    if not isinstance(held, dict):
        raise invalid(f"{key} of field {name} must be a JSON object, got {text}")
