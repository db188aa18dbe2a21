"""How each field type is laid out in Arrow, and which field type an Arrow column becomes."""

from __future__ import annotations

import pyarrow as pa

from headwater.errors import SchemaMismatch
from headwater.schema.fields import FieldType
from headwater.types import DataType

__all__ = ["arrow_type", "infer_type"]

REFERENCE = pa.struct(
    [
        pa.field("uri", pa.string()),
        pa.field("offset", pa.int64()),
        pa.field("length", pa.int64()),
        pa.field("media_type", pa.string()),
        pa.field("etag", pa.string()),
    ]
)
SPARSE = pa.list_(pa.struct([pa.field("index", pa.uint32()), pa.field("value", pa.float32())]))

_SCALARS: dict[DataType, pa.DataType] = {
    DataType.BOOL: pa.bool_(),
    DataType.INT8: pa.int8(),
    DataType.INT16: pa.int16(),
    DataType.INT32: pa.int32(),
    DataType.INT64: pa.int64(),
    DataType.FLOAT: pa.float32(),
    DataType.DOUBLE: pa.float64(),
    DataType.VARCHAR: pa.string(),
    DataType.TEXT: pa.string(),
    DataType.JSON: pa.string(),
    DataType.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    DataType.GEOMETRY: pa.binary(),
    DataType.BINARY: pa.binary(),
    DataType.REFERENCE: REFERENCE,
    DataType.SPARSE_FLOAT_VECTOR: SPARSE,
}
_VECTORS: dict[DataType, pa.DataType] = {
    DataType.FLOAT_VECTOR: pa.float32(),
    DataType.FLOAT16_VECTOR: pa.float16(),
    DataType.BFLOAT16_VECTOR: pa.uint16(),
    DataType.INT8_VECTOR: pa.int8(),
    DataType.BINARY_VECTOR: pa.uint8(),
}


def arrow_type(field_type: FieldType) -> pa.DataType:
    """The Arrow type of a field's column.

    Vectors are fixed-size lists, so that row *i* is one byte range; a binary vector of `dim` bits is `dim / 8` uint8,
    a bfloat16 vector is `dim` uint16. JSON is its text, geometry is WKB.
    """
    kind = field_type.data_type
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind in _VECTORS:
        dim = field_type.dim or 0
        return pa.list_(_VECTORS[kind], dim // 8 if kind is DataType.BINARY_VECTOR else dim)
    if kind is DataType.ARRAY and field_type.element is not None:
        return pa.list_(arrow_type(field_type.element))
    return pa.list_(pa.struct([pa.field(f.name, arrow_type(f.type)) for f in field_type.fields]))


def infer_type(name: str, column: pa.DataType) -> FieldType:
    """The field type that an Arrow column becomes.

    Raises:
        SchemaMismatch: no field type fits; names the column.
    """
    if pa.types.is_dictionary(column):
        return infer_type(name, column.value_type)
    for kind in (DataType.BOOL, DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64):
        if column == _SCALARS[kind]:
            return FieldType(kind)
    if pa.types.is_unsigned_integer(column):
        wider = {8: DataType.INT16, 16: DataType.INT32, 32: DataType.INT64, 64: DataType.INT64}
        return FieldType(wider[column.bit_width])
    if pa.types.is_floating(column):
        return FieldType(DataType.DOUBLE if column.bit_width == 64 else DataType.FLOAT)
    if pa.types.is_decimal(column):
        return FieldType(DataType.DOUBLE)
    if pa.types.is_timestamp(column) or pa.types.is_date(column):
        return FieldType(DataType.TIMESTAMPTZ)
    if pa.types.is_string(column) or pa.types.is_large_string(column) or column == pa.string_view():
        return FieldType(DataType.VARCHAR)
    if _is_bytes(column):
        return FieldType(DataType.BINARY)
    nested = _infer_nested(name, column)
    if nested is not None and not (nested.data_type is DataType.JSON and _holds_bytes(column)):
        return nested
    raise SchemaMismatch(
        f"column {name!r} has type {column}, which no field type holds"
        + (": JSON has no bytes" if nested is not None else ""),
        hint="of files, schema=hw.Schema.of([hw.Field(...), ...]) takes only the columns that it names",
        column=name,
    )


def _infer_nested(name: str, column: pa.DataType) -> FieldType | None:
    if pa.types.is_fixed_size_list(column):
        vectors = {
            pa.float32(): DataType.FLOAT_VECTOR,
            pa.float64(): DataType.FLOAT_VECTOR,
            pa.float16(): DataType.FLOAT16_VECTOR,
            pa.int8(): DataType.INT8_VECTOR,
        }
        kind = vectors.get(column.value_type)
        if kind is not None:
            return FieldType(kind, dim=column.list_size)
        return FieldType(DataType.ARRAY, element=infer_type(name, column.value_type))
    if pa.types.is_list(column) or pa.types.is_large_list(column):
        element = column.value_type
        if pa.types.is_struct(element) or pa.types.is_list(element):
            return FieldType(DataType.JSON)
        return FieldType(DataType.ARRAY, element=infer_type(name, element))
    if pa.types.is_struct(column) or pa.types.is_map(column):
        return FieldType(DataType.JSON)
    return None


def _is_bytes(column: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(column)
        or pa.types.is_large_binary(column)
        or pa.types.is_fixed_size_binary(column)
        or column == pa.binary_view()
    )


def _holds_bytes(column: pa.DataType) -> bool:
    """Whether a nested type has bytes somewhere inside."""
    return any(
        _is_bytes(column.field(i).type) or _holds_bytes(column.field(i).type)
        for i in range(column.num_fields)
    )
