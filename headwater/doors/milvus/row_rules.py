"""What Milvus checks of the rows of a request before it looks at their values, in Milvus's order and words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.given_rows import column
from headwater.doors.milvus.schemas import type_name
from headwater.doors.milvus.value_rules import check_values
from headwater.engine.rows import ALLOW_KEYS_PROPERTY
from headwater.lake import Manifest
from headwater.schema import DYNAMIC_FIELD, Schema
from headwater.types import DataType

__all__ = ["keys_allowed", "rows_of"]


def keys_allowed(manifest: Manifest) -> bool:
    """Whether rows may bring keys that the lake would make."""
    return manifest.properties.get(ALLOW_KEYS_PROPERTY, "").lower() == "true"


def rows_of(
    request: Any, manifest: Manifest, vectors: Mapping[str, memoryview], *, partial: bool = False
) -> pa.Table:
    """The rows that a request brings, checked.

    Args:
        request: to insert or to upsert.
        manifest: of the collection that they go to.
        vectors: those that the request has been left without, by field.
        partial: whether rows may leave fields out that they then keep.

    Raises:
        MilvusError: a row breaks a rule.
    """
    schema = manifest.schema
    upsert = isinstance(request, milvus_pb2.UpsertRequest)
    if request.num_rows <= 0:
        raise invalid(
            "num_rows should be greater than 0", expected="invalid num_rows", actual=request.num_rows
        )
    given = _given(request, schema)
    _check_given(given, schema, manifest, upsert=upsert, partial=partial)
    names, columns = [], []
    for name, data in given.items():
        field = schema.field(name)
        if name == DYNAMIC_FIELD and data.is_dynamic:
            _check_dynamic(data, schema, partial=partial)
        array = column(data, field, request.num_rows, vectors.get(data.field_name))
        check_values(field, array, dynamic=data.is_dynamic)
        names.append(name)
        columns.append(array)
    if upsert:
        _check_unique(columns[names.index(str(schema.primary_key))])
    return pa.Table.from_arrays(columns, names)


def _given(request: Any, schema: Schema) -> dict[str, schema_pb2.FieldData]:
    given: dict[str, schema_pb2.FieldData] = {}
    known = set(schema.names)
    for data in request.fields_data:
        name = DYNAMIC_FIELD if data.is_dynamic else data.field_name
        if name == DYNAMIC_FIELD and not schema.dynamic:
            raise invalid(f"without dynamic schema enabled, the field name cannot be set to {DYNAMIC_FIELD}")
        if name in given:
            raise invalid(f"duplicated field {name} found")
        if name not in known:
            raise invalid(
                f"fieldName {name} not exist in collection schema, "
                f"fieldType {type_name(data.type)}, fieldId {data.field_id}"
            )
        given[name] = data
    return given


def _check_given(
    given: dict[str, schema_pb2.FieldData], schema: Schema, manifest: Manifest, *, upsert: bool, partial: bool
) -> None:
    """Which fields are there: every one that must be, and none that is computed."""
    key = schema.primary_key
    if upsert and key not in given:
        raise invalid(f"must assign pk when upsert, primary field: {key}")
    if key in given and schema.auto_id and not upsert and not keys_allowed(manifest):
        most = len(schema.given.fields)
        raise invalid("more fieldData has pass in", expected=most, actual=most + 1)
    for name in given:
        if name in schema.outputs:
            function = schema.outputs[name]
            raise invalid(
                f"field {name} is the output of function {function.name}, and cannot be inserted",
                expected=len(schema.given.fields),
                actual=len(given),
            )
    if partial:
        return
    for field in schema.given.fields:
        if field.name in given or field.nullable or field.default is not None:
            continue
        if field.name == key and schema.auto_id:
            continue
        if field.type.data_type is DataType.STRUCT_ARRAY:
            raise invalid(f"required struct array field '{field.name}' is missing in insert data")
        raise invalid(f"fieldSchema({field.name}) has no corresponding fieldData pass in")


def _check_dynamic(data: schema_pb2.FieldData, schema: Schema, *, partial: bool) -> None:
    rows = data.scalars.json_data.data
    static = frozenset(schema.names)
    load: Callable[[bytes], Any] = orjson.loads
    for row in rows:
        if row == b"{}":
            continue
        try:
            held = load(row)
        except orjson.JSONDecodeError as error:
            held = _slowly(row, error)
        if not isinstance(held, dict):
            raise invalid("invalid dynamic field data, only json map is supported")
        if DYNAMIC_FIELD in held:
            raise invalid(f"cannot set json key to: {DYNAMIC_FIELD}")
        if not partial and not static.isdisjoint(held):
            name = next(name for name in held if name in static)
            raise invalid(f"dynamic field name cannot include the static field name: {name}")


def _slowly(row: bytes, error: ValueError) -> Any:
    """JSON that the fast parser refuses: deeper than it goes, or none."""
    try:
        return json.loads(row)
    except ValueError:
        raise invalid(f"invalid dynamic field data, only json map is supported: {error}") from error


def _check_unique(keys: pa.Array) -> None:
    if len(keys.unique()) != len(keys):
        raise invalid("duplicate primary keys are not allowed in the same batch")
