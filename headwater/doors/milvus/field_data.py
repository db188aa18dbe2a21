"""Fields of an answer as the protocol's `FieldData`.

Scalars are as many as the rows, nulls filled with a zero and marked in `valid_data`; vectors are only those that are
there. Numbers go as whole arrays; texts and nested values as lists that Arrow makes.
"""

from __future__ import annotations

import base64
import datetime
import json
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.packed import packed_message
from headwater.doors.milvus.schemas import PROTO_TYPES, field_number
from headwater.query.columns import Column, NumberColumn
from headwater.schema import DYNAMIC_FIELD, Field
from headwater.schema.geometry import to_wkt
from headwater.types import TEXT_TYPES, DataType

__all__ = ["field_data", "iso_time"]

_SPARSE_PAIR = np.dtype([("index", "<u4"), ("value", "<f4")])
_BYTE_VECTORS = {
    DataType.BINARY_VECTOR: "binary_vector",
    DataType.FLOAT16_VECTOR: "float16_vector",
    DataType.BFLOAT16_VECTOR: "bfloat16_vector",
    DataType.INT8_VECTOR: "int8_vector",
}
_LISTS: dict[DataType, tuple[str, Any, Any]] = {
    DataType.BOOL: ("bool_data", schema_pb2.BoolArray, False),
    DataType.INT8: ("int_data", schema_pb2.IntArray, 0),
    DataType.INT16: ("int_data", schema_pb2.IntArray, 0),
    DataType.INT32: ("int_data", schema_pb2.IntArray, 0),
    DataType.INT64: ("long_data", schema_pb2.LongArray, 0),
    DataType.FLOAT: ("float_data", schema_pb2.FloatArray, 0.0),
    DataType.DOUBLE: ("double_data", schema_pb2.DoubleArray, 0.0),
    DataType.VARCHAR: ("string_data", schema_pb2.StringArray, ""),
    DataType.TEXT: ("string_data", schema_pb2.StringArray, ""),
    DataType.JSON: ("json_data", schema_pb2.JSONArray, b""),
    DataType.GEOMETRY: ("geometry_wkt_data", schema_pb2.GeometryWktArray, ""),
    DataType.TIMESTAMPTZ: ("string_data", schema_pb2.StringArray, ""),
    DataType.BINARY: ("string_data", schema_pb2.StringArray, ""),
    DataType.REFERENCE: ("json_data", schema_pb2.JSONArray, b""),
}
_PACKED: dict[DataType, str] = {DataType.FLOAT: "<f4", DataType.DOUBLE: "<f8"}


def field_data(
    name: str,
    field: Field,
    column: pa.Array | pa.ChunkedArray | Column,
    *,
    timezone: str | None = None,
) -> schema_pb2.FieldData:
    """One field of an answer's rows.

    Args:
        name: what the client asked for it as.
        field: the field.
        column: its values.
        timezone: in which moments are told; UTC by default.
    """
    kind = field.type.data_type
    out = schema_pb2.FieldData(
        type=PROTO_TYPES[kind],
        field_name=name,
        field_id=field_number(field),
        is_dynamic=field.name == DYNAMIC_FIELD,
    )
    if isinstance(column, NumberColumn):
        _set_numbers(out.scalars, kind, column.numbers)
        if field.nullable:
            out.valid_data.extend([True] * len(column.numbers))
        return out
    if kind in TEXT_TYPES and not isinstance(column, pa.Array | pa.ChunkedArray):
        texts = column.to_pylist()
        if field.nullable:
            out.valid_data.extend([text is not None for text in texts])
            texts = ["" if text is None else text for text in texts]
        out.scalars.string_data.data.extend(texts)
        return out
    array = _array(column)
    if field.nullable and not out.is_dynamic and kind is not DataType.STRUCT_ARRAY:
        out.valid_data.extend(array.is_valid().to_pylist())
    if kind.dense_vector:
        out.vectors.dim = field.type.dim or 0
        _set_vectors(out.vectors, kind, array)
    elif kind is DataType.SPARSE_FLOAT_VECTOR:
        _set_sparse(out.vectors, array)
    elif kind is DataType.ARRAY and field.type.element is not None:
        _set_arrays(out.scalars.array_data, field.type.element.data_type, array)
    elif kind is DataType.STRUCT_ARRAY:
        _set_structs(out, field, array)
    else:
        _set_scalars(out.scalars, field, array, timezone)
    return out


def _array(column: pa.Array | pa.ChunkedArray | Column) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    return column if isinstance(column, pa.Array) else column.to_arrow()


def _set_numbers(scalars: schema_pb2.ScalarField, kind: DataType, numbers: npt.NDArray[Any]) -> None:
    slot, message, _ = _LISTS[kind]
    if kind in _PACKED:
        whole = packed_message(message, np.ascontiguousarray(numbers, _PACKED[kind]))
        getattr(scalars, slot).CopyFrom(whole)
    else:
        getattr(scalars, slot).data.extend(numbers.tolist())
    if not len(numbers):
        getattr(scalars, slot).SetInParent()


def _set_scalars(
    scalars: schema_pb2.ScalarField, field: Field, array: pa.Array, timezone: str | None
) -> None:
    kind = field.type.data_type
    slot, message, filler = _LISTS[kind]
    if kind in _PACKED or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
        whole = array.fill_null(filler) if array.null_count else array
        _set_numbers(scalars, kind, whole.to_numpy(zero_copy_only=False))
        return
    if kind is DataType.JSON and field.name == DYNAMIC_FIELD:
        filler = b"{}"
    values = _told(kind, array, timezone)
    if array.null_count:
        values = [filler if value is None else value for value in values]
    getattr(scalars, slot).CopyFrom(message(data=values))


def _told(kind: DataType, array: pa.Array, timezone: str | None) -> Sequence[Any]:
    """Values in the protocol's form, None for null."""
    if kind is DataType.JSON:
        wide = pa.types.is_large_string(array.type)
        raw: list[Any] = array.cast(pa.large_binary() if wide else pa.binary()).to_pylist()
        return raw
    if kind is DataType.GEOMETRY:
        return to_wkt(array.to_pylist())
    if kind is DataType.TIMESTAMPTZ:
        zone = zoneinfo.ZoneInfo(timezone or "UTC")
        return [None if one is None else iso_time(one, zone) for one in array.cast(pa.int64()).to_pylist()]
    if kind is DataType.BINARY:
        return [None if one is None else base64.b64encode(one).decode() for one in array.to_pylist()]
    if kind is DataType.REFERENCE:
        return [None if one is None else json.dumps(one).encode() for one in array.to_pylist()]
    values: list[Any] = array.to_pylist()
    return values


_ROUND, _MIDDLE = 400, 5000
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def iso_time(microseconds: int, zone: zoneinfo.ZoneInfo) -> str:
    """A moment as Milvus writes it: RFC 3339, no zeros at the end of a fraction, `Z` for UTC."""
    utc = _EPOCH + datetime.timedelta(microseconds=microseconds)
    try:
        moment, year = utc.astimezone(zone), 0
    except OverflowError:
        # Beyond the years that Python counts: 400 years are a whole number of weeks, and of rounds of leap years.
        shift = -_ROUND if utc.year > _MIDDLE else _ROUND
        moment, year = utc.replace(year=utc.year + shift).astimezone(zone), -shift
    text = f"{moment.year + year:04d}{moment:-%m-%dT%H:%M:%S}"
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    offset = moment.strftime("%z")
    return f"{text}Z" if offset == "+0000" else f"{text}{offset[:3]}:{offset[3:5]}"


# -- vectors ----------------------------------------------------------------------------------------------------


def _set_vectors(vectors: schema_pb2.VectorField, kind: DataType, array: pa.Array) -> None:
    """Dense vectors, those that are there; `flatten` leaves nulls out."""
    numbers = array.flatten().to_numpy(zero_copy_only=False)
    if kind is DataType.FLOAT_VECTOR:
        whole = packed_message(schema_pb2.FloatArray, np.ascontiguousarray(numbers, "<f4"))
        vectors.float_vector.CopyFrom(whole)
    else:
        setattr(vectors, _BYTE_VECTORS[kind], np.ascontiguousarray(numbers).tobytes())


def _set_sparse(vectors: schema_pb2.VectorField, array: pa.Array) -> None:
    present = array.drop_null() if array.null_count else array
    flat = present.flatten()
    pairs = np.empty(len(flat), _SPARSE_PAIR)
    pairs["index"], pairs["value"] = flat.field("index").to_numpy(), flat.field("value").to_numpy()
    raw = pairs.tobytes()
    ends = (np.cumsum(pc.list_value_length(present).to_numpy()) * _SPARSE_PAIR.itemsize).tolist()
    starts = [0, *ends]
    contents = [raw[start:end] for start, end in zip(starts, ends, strict=False)]
    dim = int(pairs["index"].max()) + 1 if len(pairs) else 0
    vectors.dim = dim
    vectors.sparse_float_vector.CopyFrom(schema_pb2.SparseFloatArray(contents=contents, dim=dim))


# -- nested -----------------------------------------------------------------------------------------------------


def _set_arrays(out: schema_pb2.ArrayArray, element: DataType, array: pa.Array) -> None:
    slot, message, _ = _LISTS[element]
    out.element_type = PROTO_TYPES[element]
    out.data.extend(schema_pb2.ScalarField(**{slot: message(data=row or ())}) for row in array.to_pylist())


def _set_structs(out: schema_pb2.FieldData, field: Field, array: pa.Array) -> None:
    """Struct arrays: each member's values of a row are one array."""
    valid = array.is_valid().to_pylist()
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
    stops = np.cumsum(lengths)
    flat = array.flatten()
    for member in field.type.fields:
        one = out.struct_arrays.fields.add(field_name=member.name)
        kind = member.type.data_type
        values = flat.field(member.name)
        if field.nullable:
            one.valid_data.extend(valid)
        if not kind.dense_vector:
            one.type = schema_pb2.DataType.Array
            offsets = np.concatenate([[0], stops]).astype(np.int32)
            _set_arrays(one.scalars.array_data, kind, pa.ListArray.from_arrays(pa.array(offsets), values))
            continue
        one.type = schema_pb2.DataType.ArrayOfVector
        one.vectors.dim = member.type.dim or 0
        rows = one.vectors.vector_array
        rows.dim, rows.element_type = member.type.dim or 0, PROTO_TYPES[kind]
        write: Callable[..., None] = _set_vectors
        for length, stop in zip(lengths.tolist(), stops.tolist(), strict=True):
            vectors = rows.data.add(dim=member.type.dim or 0)
            write(vectors, kind, values.slice(stop - length, length))
