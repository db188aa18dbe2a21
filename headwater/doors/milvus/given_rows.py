"""Rows that a client sends, as Arrow: column by column, without a Python object for each number.

A client leaves nulls out of the data and marks them in `valid_data`; data that is as long as the rows is taken too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.packed import fixed_numbers, whole_numbers
from headwater.schema import Field, arrow_type
from headwater.schema.vectors import bfloat16_bits
from headwater.types import DataType

__all__ = ["column"]

_NUMPY: dict[DataType, Any] = {
    DataType.INT8: np.int8,
    DataType.INT16: np.int16,
    DataType.INT32: np.int32,
}
_SLOTS: dict[DataType, str] = {
    DataType.BOOL: "bool_data",
    DataType.INT8: "int_data",
    DataType.INT16: "int_data",
    DataType.INT32: "int_data",
    DataType.INT64: "long_data",
    DataType.FLOAT: "float_data",
    DataType.DOUBLE: "double_data",
    DataType.VARCHAR: "string_data",
    DataType.TEXT: "string_data",
    DataType.JSON: "json_data",
    DataType.ARRAY: "array_data",
    DataType.GEOMETRY: "geometry_wkt_data",
    DataType.TIMESTAMPTZ: "string_data",
}
_BYTE_VECTORS: dict[DataType, tuple[str, Any]] = {
    DataType.BINARY_VECTOR: ("binary_vector", np.uint8),
    DataType.FLOAT16_VECTOR: ("float16_vector", np.float16),
    DataType.BFLOAT16_VECTOR: ("bfloat16_vector", np.uint16),
    DataType.INT8_VECTOR: ("int8_vector", np.int8),
}
_SPARSE_PAIR = np.dtype([("index", "<u4"), ("value", "<f4")])


def column(
    data: schema_pb2.FieldData, field: Field, num_rows: int, values: memoryview | None = None
) -> pa.Array:
    """One field of the rows.

    Args:
        data: the message.
        field: what it fills.
        num_rows: rows of the request.
        values: of its vectors, where the message has been left without them.

    Raises:
        MilvusError: the data is not of the field's type, or not of this many rows.
    """
    kind = field.type.data_type
    if kind is DataType.STRUCT_ARRAY:
        return _structs(data, field, num_rows)
    _check_slot(data, field)
    if kind.dense_vector:
        array = _vectors(data.vectors, field, values)
    elif kind is DataType.SPARSE_FLOAT_VECTOR:
        array = _sparse(data.vectors.sparse_float_vector.contents)
    elif kind is DataType.ARRAY and field.type.element is not None:
        array = _arrays(data.scalars.array_data.data, field.type.element.data_type, field)
    else:
        array = _scalars(data.scalars, kind)
    return _spread(array, data.valid_data, field, num_rows)


_NEEDS: dict[DataType, tuple[str, str]] = {
    DataType.BOOL: ("field", "need bool array"),
    DataType.INT8: ("field", "need int array"),
    DataType.INT16: ("field", "need int array"),
    DataType.INT32: ("field", "need int array"),
    DataType.INT64: ("field", "need long int array"),
    DataType.FLOAT: ("field", "need float32 array"),
    DataType.DOUBLE: ("field", "need float64(double) array"),
    DataType.VARCHAR: ("varchar field", "need string array"),
    DataType.TEXT: ("text field", "need text array"),
    DataType.JSON: ("json field", "need json array"),
    DataType.GEOMETRY: ("geometry field", "need geometry array"),
    DataType.ARRAY: ("array field", "need array"),
    DataType.TIMESTAMPTZ: ("field", "need string array"),
    DataType.FLOAT_VECTOR: ("float vector field", "need float vector"),
    DataType.BINARY_VECTOR: ("binary float vector field", "need bytes array"),
    DataType.FLOAT16_VECTOR: ("float16 float field", "need vector_float16 array"),
    DataType.BFLOAT16_VECTOR: ("bfloat16 float field", "need vector_bfloat16 array"),
    DataType.INT8_VECTOR: ("int8 vector field", "need vector_int8 array"),
    DataType.SPARSE_FLOAT_VECTOR: ("sparse float field", "need sparse float array"),
}
_ALSO: dict[DataType, frozenset[str]] = {
    DataType.TIMESTAMPTZ: frozenset(("timestamptz_data",)),
    DataType.GEOMETRY: frozenset(("geometry_data",)),
    DataType.FLOAT16_VECTOR: frozenset(("float_vector",)),
    DataType.BFLOAT16_VECTOR: frozenset(("float_vector",)),
}


def _check_slot(data: schema_pb2.FieldData, field: Field) -> None:
    """Refuse values of another type; none at all is allowed where every row may leave the field out."""
    kind = field.type.data_type
    if kind.dense_vector or kind is DataType.SPARSE_FLOAT_VECTOR:
        slot = "sparse_float_vector"
        if kind is DataType.FLOAT_VECTOR:
            slot = "float_vector"
        elif kind in _BYTE_VECTORS:
            slot = _BYTE_VECTORS[kind][0]
        held = data.vectors.WhichOneof("data")
    else:
        slot, held = _SLOTS[kind], data.scalars.WhichOneof("data")
    if held == slot or held in _ALSO.get(kind, ()):
        return
    if held is None and (field.nullable or field.default is not None):
        return
    what, need = _NEEDS[kind]
    raise invalid(
        f"{what} '{field.name}' is illegal, array type mismatch", expected=need, actual=f"got {held or 'nil'}"
    )


def _spread(array: pa.Array, valid_data: Sequence[bool], field: Field, num_rows: int) -> pa.Array:
    """Values with nulls where the rows have none."""
    if not valid_data:
        if len(array) != num_rows:
            raise length_mismatch(field, num_rows, len(array))
        return array
    if len(valid_data) != num_rows:
        raise invalid(
            f"the length of valid_data of field({field.name}) is wrong",
            expected=num_rows,
            actual=len(valid_data),
        )
    valid = np.fromiter(valid_data, np.bool_, num_rows)
    count = int(np.count_nonzero(valid))
    if count == num_rows == len(array):
        return array
    if len(array) == count:
        places = np.cumsum(valid) - 1
    elif len(array) == num_rows:
        places = np.arange(num_rows)
    else:
        raise invalid("the length of field is wrong", expected=count, actual=len(array))
    return array.take(pa.array(places, pa.int64(), mask=~valid))


def length_mismatch(field: Field, expected: int, got: int) -> Exception:
    """The error of a field that does not have as many values as there are rows."""
    return invalid(
        f"the num_rows ({got}) of field ({field.name}) is not equal to passed num_rows ({expected})",
        expected=expected,
        actual=got,
    )


# -- scalars ----------------------------------------------------------------------------------------------------


def _scalars(scalars: schema_pb2.ScalarField, kind: DataType) -> pa.Array:
    if kind is DataType.TIMESTAMPTZ and scalars.WhichOneof("data") == "timestamptz_data":
        moments = scalars.timestamptz_data.data
        return pa.array(whole_numbers(moments, len(moments), np.int64)).cast(pa.timestamp("us", "UTC"))
    if kind is DataType.GEOMETRY and scalars.WhichOneof("data") == "geometry_data":
        return pa.array(list(scalars.geometry_data.data), pa.binary())
    message = getattr(scalars, _SLOTS[kind])
    if kind is DataType.FLOAT:
        return pa.array(fixed_numbers(message, "<f4"))
    if kind is DataType.DOUBLE:
        return pa.array(fixed_numbers(message, "<f8"))
    if kind is DataType.BOOL:
        return pa.array(fixed_numbers(message, np.uint8).astype(np.bool_))
    values = message.data
    if kind is DataType.INT64:
        return pa.array(whole_numbers(values, len(values), np.int64))
    if kind in _NUMPY:
        return pa.array(_narrow(whole_numbers(values, len(values), np.int32), kind))
    if kind is DataType.JSON:
        return pa.array(list(values), pa.binary()).cast(pa.string())
    return pa.array(list(values), pa.string())


def _narrow(numbers: npt.NDArray[Any], kind: DataType) -> npt.NDArray[Any]:
    dtype = _NUMPY[kind]
    if dtype is not np.int32 and len(numbers):
        limits = np.iinfo(dtype)
        wrong = (numbers < limits.min) | (numbers > limits.max)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise invalid(
                f"the {at}th element ({numbers[at]}) out of range: [{limits.min}, {limits.max}]",
                expected="integer doesn't overflow",
                actual="out of range",
            )
    return numbers.astype(dtype)


def _arrays(rows: Sequence[schema_pb2.ScalarField], element: DataType, field: Field) -> pa.Array:
    slot = _SLOTS[element]
    parts = [getattr(row, slot).data for row in rows]
    for part, row in zip(parts, rows, strict=True):
        if not len(part) and row.WhichOneof("data") not in (slot, None):
            word = _ARRAY_WORDS[element]
            raise invalid(
                f"field {field.name}: insert data does not match",
                expected=f"{word} array",
                actual=f"{row.WhichOneof('data')} array",
            )
    offsets = _offsets(map(len, parts), len(parts))
    total = int(offsets[-1])
    flat: Iterable[Any] = itertools.chain.from_iterable(parts)
    values: Any
    if element in _NUMPY:
        values = _narrow(np.fromiter(flat, np.int32, total), element)
    elif element in _FLAT:
        values = np.fromiter(flat, _FLAT[element], total)
    else:
        values = list(flat)
    kind = pa.string() if element in (DataType.VARCHAR, DataType.TEXT) else None
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values, kind))


_ARRAY_WORDS: dict[DataType, str] = {
    DataType.BOOL: "bool",
    DataType.INT8: "int",
    DataType.INT16: "int",
    DataType.INT32: "int",
    DataType.INT64: "int64",
    DataType.FLOAT: "float",
    DataType.DOUBLE: "double",
    DataType.VARCHAR: "string",
    DataType.TEXT: "string",
}
_FLAT: dict[DataType, Any] = {
    DataType.BOOL: np.bool_,
    DataType.INT64: np.int64,
    DataType.FLOAT: np.float32,
    DataType.DOUBLE: np.float64,
}


def _offsets(lengths: Iterable[int], count: int) -> npt.NDArray[np.int32]:
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(np.fromiter(lengths, np.int32, count), out=offsets[1:])
    return offsets


# -- vectors ----------------------------------------------------------------------------------------------------


def _vectors(vectors: schema_pb2.VectorField, field: Field, values: memoryview | None = None) -> pa.Array:
    """Dense vectors; half-precision ones may come as floats."""
    kind, target = field.type.data_type, arrow_type(field.type)
    if kind is DataType.FLOAT_VECTOR:
        numbers = _floats(vectors, values)
    elif vectors.WhichOneof("data") == "float_vector" and kind in (
        DataType.FLOAT16_VECTOR,
        DataType.BFLOAT16_VECTOR,
    ):
        floats = _floats(vectors, values)
        with np.errstate(over="ignore"):
            numbers = floats.astype(np.float16) if kind is DataType.FLOAT16_VECTOR else bfloat16_bits(floats)
    else:
        slot, dtype = _BYTE_VECTORS[kind]
        raw = getattr(vectors, slot) if values is None else values
        width = target.list_size * np.dtype(dtype).itemsize
        if len(raw) % width:
            raise _wrong_length(field, len(raw))
        numbers = np.frombuffer(raw, dtype)
    if len(numbers) % target.list_size:
        raise _wrong_length(field, len(numbers))
    if len(numbers) and vectors.dim != field.type.dim:
        raise _wrong_dim(field, vectors)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers, target.value_type), target.list_size)


def _floats(vectors: schema_pb2.VectorField, values: memoryview | None) -> npt.NDArray[Any]:
    return fixed_numbers(vectors.float_vector, "<f4") if values is None else np.frombuffer(values, "<f4")


def _wrong_length(field: Field, length: int) -> Exception:
    """Values that are no whole number of vectors."""
    kind, dim = field.type.data_type, field.type.dim
    if kind is DataType.BINARY_VECTOR:
        return invalid(f"the num({length * 8}) of all bits should divide the dim({dim})")
    word = {
        DataType.FLOAT16_VECTOR: "float16",
        DataType.BFLOAT16_VECTOR: "bfloat16",
        DataType.INT8_VECTOR: "int8",
    }.get(kind, "float")
    return invalid(f"the length({length}) of {word} data should divide the dim({dim})")


def _wrong_dim(field: Field, vectors: schema_pb2.VectorField) -> Exception:
    return invalid(
        f"the dim ({vectors.dim}) of field data({field.name}) is not equal to schema dim ({field.type.dim})",
        expected=field.type.dim,
        actual=vectors.dim,
    )


def _sparse(contents: Sequence[bytes]) -> pa.Array:
    count = len(contents)
    sizes = np.fromiter(map(len, contents), np.int64, count)
    if (sizes % _SPARSE_PAIR.itemsize).any():
        at = int(np.argmax(sizes % _SPARSE_PAIR.itemsize > 0))
        raise invalid(f"invalid data length in sparse float vector: {sizes[at]}")
    pairs = np.frombuffer(b"".join(contents), _SPARSE_PAIR)
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(sizes // _SPARSE_PAIR.itemsize, out=offsets[1:])
    flat = pa.StructArray.from_arrays(
        [
            pa.array(np.ascontiguousarray(pairs["index"])),
            pa.array(np.ascontiguousarray(pairs["value"])),
        ],
        ["index", "value"],
    )
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


# -- structs ----------------------------------------------------------------------------------------------------


def _structs(data: schema_pb2.FieldData, field: Field, num_rows: int) -> pa.Array:
    """Struct arrays: the values of a row's members are as many as its structs."""
    given = {_plain(one.field_name): one for one in data.struct_arrays.fields}
    offsets: npt.NDArray[np.int32] | None = None
    valid_data: Sequence[bool] = ()
    columns = []
    for member in field.type.fields:
        if member.name not in given:
            raise invalid(f"struct field {field.name}: sub-field {member.name} is missing")
        one = given[member.name]
        lists = _member(one, member, field)
        if offsets is None:
            offsets, valid_data = lists.offsets.to_numpy(), one.valid_data
        elif not np.array_equal(offsets, lists.offsets.to_numpy()):
            raise invalid(
                f"inconsistent array length in struct field {field.name}: {member.name} differs from the others"
            )
        columns.append(lists.values)
    flat = pa.StructArray.from_arrays(columns, [member.name for member in field.type.fields])
    if offsets is None:
        raise invalid(f"struct field {field.name} has no sub-fields")
    array = pa.ListArray.from_arrays(pa.array(offsets), flat)
    return _spread(array, valid_data, field, num_rows)


def _plain(name: str) -> str:
    return name[name.index("[") + 1 : -1] if name.endswith("]") and "[" in name else name


def _member(data: schema_pb2.FieldData, member: Field, field: Field) -> pa.ListArray:
    kind = member.type.data_type
    if not kind.dense_vector:
        return _arrays(data.scalars.array_data.data, kind, field)
    rows = data.vectors.vector_array.data
    read: Callable[..., pa.Array] = _vectors
    parts = [read(row, member) for row in rows]
    offsets = _offsets(map(len, parts), len(parts))
    whole = pa.concat_arrays(parts) if parts else pa.array([], arrow_type(member.type))
    return pa.ListArray.from_arrays(pa.array(offsets), whole)
