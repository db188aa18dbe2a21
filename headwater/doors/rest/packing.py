"""Rows of JSON into the columns of the protocol, by the collection's schema.

JSON has fewer types than fields have: an int64 may come as text, bytes as base 64, a vector of 16-bit floats as
numbers. Values are brought into the form that the client library takes, whose own packing does the rest.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.rest.errors import BAD_INSERT, Refused
from headwater.doors.rest.ids import whole
from headwater.doors.rest.written import Written, integer_of
from headwater.errors import InvalidArgument
from headwater.extras import load_extra

__all__ = ["client_packing", "insert_request", "sparse_row", "upsert_request", "vector_of"]

DataType = schema_pb2.DataType
_BITS = {DataType.Int8: 8, DataType.Int16: 16, DataType.Int32: 32, DataType.Int64: 64}
_TRUE = {"true": True, "True": True, "TRUE": True, "t": True, "T": True, "1": True}
_FALSE = {"false": False, "False": False, "FALSE": False, "f": False, "F": False, "0": False}
_BOOLEANS = _TRUE | _FALSE


def _bad(detail: str) -> Refused:
    return Refused.of(BAD_INSERT, f"{detail}: invalid parameter")


def _boolean(name: str, value: Any) -> bool:
    found = (
        value
        if isinstance(value, bool)
        else _BOOLEANS.get(str(value))
        if isinstance(value, str | int)
        else None
    )
    if found is None:
        raise _bad(f"field {name} value must be a boolean, got {_shown(value)}")
    return found


def _integer(bits: int) -> Callable[[str, Any], int]:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1

    def read(name: str, value: Any) -> int:
        found = whole(value, bits)
        if found is None:
            raise _bad(f"field {name} value must be an integer in range [{low}, {high}], got {_shown(value)}")
        return found

    return read


def _real(name: str, value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(f"field {name} value must be a finite number, got {_shown(value)}")
    return float(value)


def _single(name: str, value: Any) -> float:
    found = _real(name, value)
    if abs(found) > 3.4028235677973366e38:
        raise _bad(f"field {name} value must be in the range of a float, got {found}")
    return found


def _string(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        raise _bad(f"field {name} expects a string, got {_shown(value)}")
    return value


def _document(name: str, value: Any) -> Any:
    """A JSON value; text is a document that is a string, for which the client library takes its JSON."""
    return orjson.dumps(value).decode() if isinstance(value, str) else value


def _unquoted(value: str) -> Any:
    """What a text of JSON says; the text itself where it says nothing."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _shown(value: Any) -> str:
    names = {dict: "an object", list: "an array", type(None): "null"}
    return names.get(type(value)) or repr(value)[:80]


def _array(element: int) -> Callable[[str, Any], list[Any]]:
    read = _reader(element, 0)

    def run(name: str, value: Any) -> list[Any]:
        if isinstance(value, str):
            value = _unquoted(value)
        if not isinstance(value, list):
            raise _bad(f"field {name} is an array field, but the value sent is not an array")
        if None in value:
            raise _bad(
                f"field {name} has a null at index {value.index(None)}; an array element cannot be null"
            )
        return [read(name, each) for each in value]

    return run


def _numbers(name: str, value: Any, kind: Any) -> np.ndarray[Any, Any]:
    if not isinstance(value, list):
        raise _bad(f"field {name} expects a vector, got {_shown(value)}")
    if not set(map(type, value)) <= {int, float}:
        wrong = next(each for each in value if type(each) not in (int, float))
        raise _bad(f"field {name}: a vector element must be a number, got {_shown(wrong)}")
    given = np.array(value, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        found: np.ndarray[Any, Any] = given.astype(kind)
    if found.dtype != np.float32 and not np.array_equal(found.astype(np.float64), given):
        raise _bad(f"field {name}: a vector element must be an integer in the range of {found.dtype}")
    return found


def _decoded(name: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"field {name}: the vector is not base 64: {error}") from error


def vector_of(kind: int, dim: int, name: str, value: Any) -> Any:
    """A vector as the client library takes it: an array of 32-bit floats or of int8, a mapping, or bytes.

    Args:
        kind: of the vector.
        dim: that it must have.
        name: of the field, for errors.
        value: numbers, or base 64 of the bytes for vectors that are not of 32-bit floats.
    """
    if kind == DataType.SparseFloatVector:
        return sparse_row(name, value)
    if kind == DataType.FloatVector:
        return _sized(name, _numbers(name, value, np.float32), dim)
    width = {DataType.BinaryVector: dim // 8, DataType.Int8Vector: dim}.get(kind, dim * 2)
    if isinstance(value, str):
        found = _decoded(name, value)
    elif kind == DataType.BinaryVector:
        found = _numbers(name, value, np.uint8).tobytes()
    elif kind == DataType.Int8Vector:
        found = _numbers(name, value, np.int8).tobytes()
    else:
        found = _half(kind, _sized(name, _numbers(name, value, np.float32), dim))
    if len(found) != width:
        raise _bad(f"field {name}: the vector must have {width} bytes (dim {dim}), got {len(found)}")
    return np.frombuffer(found, np.int8) if kind == DataType.Int8Vector else found


def _half(kind: int, given: np.ndarray[Any, Any]) -> bytes:
    """32-bit floats as 16-bit ones, rounded to the nearest."""
    if kind == DataType.Float16Vector:
        with np.errstate(over="ignore"):
            return given.astype("<f2").tobytes()
    bits = given.view("<u4").astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def _sized(name: str, found: np.ndarray[Any, Any], dim: int) -> np.ndarray[Any, Any]:
    if len(found) != dim:
        raise _bad(f"field {name}: the vector's dimension must be {dim}, got {len(found)}")
    return found


def sparse_row(name: str, value: Any) -> dict[int, float]:
    """A sparse vector: `{"7": 0.5}`, or `{"indices": [7], "values": [0.5]}`."""
    if not isinstance(value, dict):
        raise _bad(f"field {name} expects a sparse vector, got {_shown(value)}")
    if set(value) == {"indices", "values"}:
        indices, values = value["indices"], value["values"]
        if not isinstance(indices, list) or not isinstance(values, list) or len(indices) != len(values):
            raise _bad(f"field {name}: indices and values of a sparse vector must be arrays of one length")
    else:
        indices, values = list(value), list(value.values())
    found: dict[int, float] = {}
    for index, each in zip(indices, values, strict=True):
        place = whole(index)
        if place is None or not 0 <= place < (1 << 32) - 1:
            raise _bad(f"field {name}: an index of a sparse vector must be below 2^32-1, got {_shown(index)}")
        if isinstance(each, bool) or not isinstance(each, int | float):
            raise _bad(f"field {name}: a value of a sparse vector must be a number, got {_shown(each)}")
        found[place] = float(each)
    return found


def _reader(kind: int, dim: int, element: int = 0) -> Callable[[str, Any], Any]:
    """What brings a value of JSON into the client library's form."""
    if kind in _BITS:
        return _integer(_BITS[kind])
    simple: dict[int, Callable[[str, Any], Any]] = {
        DataType.Bool: _boolean,
        DataType.Float: _single,
        DataType.Double: _real,
        DataType.VarChar: _string,
        DataType.String: _string,
        DataType.JSON: _document,
    }
    if kind in simple:
        return simple[kind]
    if kind == DataType.Array:
        return _array(element)
    if kind == DataType.ArrayOfVector:
        return lambda name, value: vector_of(element, dim, name, value)
    if DataType.BinaryVector <= kind <= DataType.Int8Vector:
        return lambda name, value: vector_of(kind, dim, name, value)
    return _text


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _bad(f"field {name} expects a string, got {_shown(value)}")
    return value


class _Plan(NamedTuple):
    """How rows of a collection are read.

    Attributes:
        fields: and what reads each.
        structs: what reads each member of an array of structs.
        known: the names that rows may hold; None where others go to the dynamic field.
        scalars: the fields that are no documents.
    """

    fields: dict[str, tuple[schema_pb2.FieldSchema, Callable[[str, Any], Any]]]
    structs: dict[str, dict[str, Callable[[str, Any], Any]]]
    known: frozenset[str] | None
    scalars: frozenset[str]


def _dim(field: schema_pb2.FieldSchema) -> int:
    return next((int(pair.value) for pair in field.type_params if pair.key == "dim"), 0)


def _plan(schema: schema_pb2.CollectionSchema) -> _Plan:
    fields = {
        field.name: (field, _reader(field.data_type, _dim(field), field.element_type))
        for field in schema.fields
        if not field.is_dynamic
    }
    structs = {
        struct.name: {
            sub.name.removeprefix(f"{struct.name}[").removesuffix("]"): _reader(sub.element_type, _dim(sub))
            for sub in struct.fields
        }
        for struct in schema.struct_array_fields
    }
    known = frozenset((*fields, *structs))
    documents = {name for name, (field, _) in fields.items() if field.data_type == DataType.JSON}
    return _Plan(fields, structs, None if schema.enable_dynamic_field else known, known - documents)


def _rows(plan: _Plan, rows: list[Any], partial: bool, written: Written | None) -> list[dict[str, Any]]:
    if written is not None and written.doubtful and (fault := written.fault(plan.scalars)):
        raise _bad(fault)
    try:
        return [_row(plan, place, row, partial) for place, row in enumerate(rows)]
    except Refused:
        if written is None:
            raise
    return [
        _row(plan, place, _as_written(plan, place, row, written), partial) for place, row in enumerate(rows)
    ]


def _as_written(plan: _Plan, place: int, row: Any, written: Written) -> Any:
    """A row whose integers and texts are what was written where a float is not."""
    if not isinstance(row, dict):
        return row
    found = dict(row)
    for name, text in written.spelled(place, plan.fields).items():
        kind = plan.fields[name][0].data_type
        if kind in (DataType.VarChar, DataType.String):
            found[name] = text
        elif kind in _BITS and (number := integer_of(text)) is not None:
            found[name] = number
    return found


def _row(plan: _Plan, place: int, row: Any, partial: bool) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise _bad(f"data[{place}] must be an object, got {_shown(row)}")
    if "$meta" in row:
        raise _bad(f"data[{place}]: write dynamic fields by their names, not in $meta")
    if plan.known is not None and not row.keys() <= plan.known:
        unknown = ", ".join(sorted(row.keys() - plan.known)[:3])
        raise _bad(f"has pass more field without dynamic schema, please check it: {unknown[:200]}")
    found = dict(row)
    for name, (field, read) in plan.fields.items():
        value = row.get(name)
        if value is not None:
            found[name] = read(name, value)
        elif name in row:
            _check_null(field)
            found[name] = None
        elif not partial:
            _check_missing(field)
    for name, subs in plan.structs.items():
        if isinstance(row.get(name), list):
            found[name] = [_struct(name, subs, each) for each in row[name]]
    return found


def _check_null(field: schema_pb2.FieldSchema) -> None:
    if not (field.nullable or field.HasField("default_value")):
        raise _bad(f"field {field.name} is not nullable")


def _check_missing(field: schema_pb2.FieldSchema) -> None:
    filled = field.is_function_output or (field.is_primary_key and field.autoID)
    if not (filled or field.nullable or field.HasField("default_value")):
        raise Refused.of(BAD_INSERT, f"field {field.name} is required: missing required parameters")


def _struct(name: str, subs: dict[str, Callable[[str, Any], Any]], value: Any) -> Any:
    if not isinstance(value, dict):
        raise _bad(f"field {name} expects objects, got {_shown(value)}")
    return {
        key: subs[key](f"{name}[{key}]", each) if key in subs and each is not None else each
        for key, each in value.items()
    }


def client_packing() -> Any:
    """The client library's packing, imported when it is first needed."""
    return load_extra("headwater.doors.rest.client_packing", "server")


def _packed(described: Any, rows: list[dict[str, Any]], **how: Any) -> Any:
    """The client library's packing, its complaints in the words of the routes."""
    try:
        return client_packing().packed_rows(described, rows, **how)
    except InvalidArgument as error:
        raise Refused.of(BAD_INSERT, error.message) from error


def insert_request(
    described: milvus_pb2.DescribeCollectionResponse,
    name: str,
    partition: str,
    data: list[Any],
    *,
    written: Written | None = None,
) -> milvus_pb2.InsertRequest:
    """Rows to insert, packed.

    Args:
        described: the collection.
        name: of the collection, as the caller named it.
        partition: empty for the one that they belong to.
        data: objects of JSON.
        written: what they were parsed from.
    """
    rows = _rows(_plan(described.schema), data, False, written)
    return _packed(described, rows, upsert=False, collection_name=name, partition_name=partition)


def upsert_request(
    described: milvus_pb2.DescribeCollectionResponse,
    name: str,
    partition: str,
    data: list[Any],
    *,
    partial: bool,
    operations: dict[str, int],
    written: Written | None = None,
) -> milvus_pb2.UpsertRequest:
    """Rows to put in place of those with their keys, packed.

    Args:
        described: the collection.
        name: of the collection, as the caller named it.
        partition: empty for the one that they belong to.
        data: objects of JSON.
        partial: whether fields that are not given keep their values.
        operations: what becomes of a field's value, such as appending to an array, by name of the field.
        written: what they were parsed from.
    """
    partial = partial or any(operations.values())
    rows = _rows(_plan(described.schema), data, partial, written)
    request = _packed(
        described,
        rows,
        upsert=True,
        collection_name=name,
        partition_name=partition,
        partial_update=partial,
    )
    for field, operation in operations.items():
        request.field_ops.add(field_name=field, op=operation)
    return request
