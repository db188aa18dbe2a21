"""What Milvus checks of the values of a column, in Milvus's words; whole columns at a time."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from headwater.doors.milvus.codes import invalid
from headwater.schema import Field
from headwater.schema.vectors import bfloat16_numbers
from headwater.types import DataType

__all__ = ["check_values"]

JSON_MAX_LENGTH = 65536
_FLOATS = (
    DataType.FLOAT,
    DataType.DOUBLE,
    DataType.FLOAT_VECTOR,
    DataType.FLOAT16_VECTOR,
    DataType.BFLOAT16_VECTOR,
)


def check_values(field: Field, array: pa.Array, *, dynamic: bool = False) -> None:
    """Check one column of a request's rows.

    Args:
        field: that they fill.
        array: the values, null where a row has none.
        dynamic: whether the field holds what the schema does not name.

    Raises:
        MilvusError: a value breaks a rule.
    """
    kind = field.type.data_type
    if array.null_count and not field.nullable and field.default is None:
        row = int(np.argmin(array.is_valid().to_numpy(zero_copy_only=False)))
        raise invalid(
            f"the length of valid_data of field({field.name}) is wrong: row {row} is null, "
            "and the field is not nullable",
            expected=0,
            actual=len(array),
        )
    if kind in _FLOATS:
        _check_finite(kind, array)
    elif kind is DataType.VARCHAR:
        _check_lengths(field, array)
    elif kind is DataType.JSON:
        _check_json(field, array, dynamic)
    elif kind is DataType.ARRAY:
        _check_array(field, array)
    elif kind is DataType.SPARSE_FLOAT_VECTOR:
        _check_sparse(array)
    elif kind is DataType.STRUCT_ARRAY:
        _check_structs(field, array)
    elif kind is DataType.TIMESTAMPTZ and pa.types.is_string(array.type):
        _check_moments(array)


# What is wrong is seldom the time zone, but these are Milvus's words for every moment that it cannot read.
_NO_MOMENT = "invalid timezone name; must be a valid IANA Time Zone ID (e.g., 'Asia/Shanghai' or 'UTC')"


def _check_moments(array: pa.Array) -> None:
    for text in array.to_pylist():
        if text is not None:
            try:
                datetime.datetime.fromisoformat(text)
            except ValueError as error:
                raise invalid(f"got invalid timestamptz string '{text}': {_NO_MOMENT}") from error


def _check_finite(kind: DataType, array: pa.Array) -> None:
    flat = array.flatten() if pa.types.is_fixed_size_list(array.type) else array.drop_null()
    numbers: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    if kind is DataType.BFLOAT16_VECTOR:
        numbers = bfloat16_numbers(numbers)
    # A sum is finite unless a part is not, or it overflows; it costs no second array.
    with np.errstate(over="ignore", invalid="ignore"):
        total = numbers.sum(dtype=None if kind is DataType.DOUBLE else np.float32)
    if len(numbers) and not np.isfinite(total):
        wrong = ~np.isfinite(numbers)
        if wrong.any():
            value = float(numbers[int(np.argmax(wrong))])
            told = "NaN" if np.isnan(value) else "+Inf" if value > 0 else "-Inf"
            raise invalid(f"value '{told}' is not a number or infinity")


def _check_lengths(field: Field, array: pa.Array) -> None:
    most = field.type.max_length
    if most is None:
        return
    lengths = pc.binary_length(array)
    if (pc.max(lengths).as_py() or 0) > most:
        row = int(np.argmax(pc.fill_null(lengths, 0).to_numpy() > most))
        raise invalid(
            f"length of varchar field {field.name} exceeds max length, row number: {row}, "
            f"length: {lengths[row].as_py()}, max length: {most}"
        )


def _check_json(field: Field, array: pa.Array, dynamic: bool) -> None:
    longest = pc.max(pc.binary_length(array)).as_py() or 0
    if longest > JSON_MAX_LENGTH:
        what = "dynamic field" if dynamic else f"json field ({field.name})"
        raise invalid(
            f"the length ({longest}) of {what} exceeds max length ({JSON_MAX_LENGTH})",
            expected="valid length dynamic field" if dynamic else "valid length json string",
            actual="length exceeds max length",
        )
    if dynamic:
        return
    load: Callable[[str], Any] = orjson.loads
    for row, text in enumerate(array.to_pylist()):
        if text is not None:
            try:
                load(text)
            except orjson.JSONDecodeError as error:
                if "recursion" in str(error).lower():
                    continue
                raise invalid(f"json field ({field.name}), row {row} is not JSON: {error}") from error


def _check_array(field: Field, array: pa.Array) -> None:
    _check_capacity(field, array)
    element = field.type.element
    if element is None:
        return
    flat = array.flatten()
    if element.data_type in (DataType.FLOAT, DataType.DOUBLE):
        _check_finite(element.data_type, flat)
    most = element.max_length if element.data_type is DataType.VARCHAR else None
    if most is not None and (pc.max(pc.binary_length(flat)).as_py() or 0) > most:
        at = int(np.argmax(pc.binary_length(flat).to_numpy() > most))
        row, place = _place(array, at)
        raise invalid(
            f'length of Array array field "{field.name}" exceeds max length, row number: {row}, '
            f"array index: {place}, length: {len(flat[at].as_py().encode())}, max length: {most}"
        )


def _place(array: pa.Array, at: int) -> tuple[int, int]:
    """The row, and the place in it, of an element by its number among all."""
    ends = np.cumsum(pc.fill_null(pc.list_value_length(array), 0).to_numpy())
    row = int(np.searchsorted(ends, at, side="right"))
    return row, at - (int(ends[row - 1]) if row else 0)


def _check_capacity(field: Field, array: pa.Array) -> None:
    most = field.type.max_capacity
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
    if most is not None and len(sizes) and sizes.max() > most:
        row = int(np.argmax(sizes > most))
        raise invalid(
            f"the length ({sizes[row]}) of {row}th array exceeds max capacity ({most})",
            expected="valid length array",
            actual="array length exceeds max capacity",
        )


def _check_sparse(array: pa.Array) -> None:
    flat = array.flatten()
    values = flat.field("value").to_numpy()
    if not np.isfinite(values).all():
        raise invalid(f"value '{values[np.argmin(np.isfinite(values))]}' is not a number or infinity")
    if len(values) and values.min() < 0:
        raise invalid(f"negative value in sparse float vector: {values.min()}")
    indices = flat.field("index").to_numpy()
    if len(indices) and int(indices.max()) >= 0xFFFFFFFF:
        raise invalid("invalid index in sparse float vector: must be less than 2^32-1")
    rows = pc.list_parent_indices(array).to_numpy().astype(np.int64)
    if (np.diff((rows << 32) | indices.astype(np.int64)) <= 0).any():
        raise invalid("unsorted or same indices in sparse float vector")


def _check_structs(field: Field, array: pa.Array) -> None:
    _check_capacity(field, array)
    flat = array.flatten()
    for member in field.type.fields:
        check_values(member, flat.field(member.name))
