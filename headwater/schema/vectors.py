"""Dense vectors as callers give them - arrays, lists, bytes, Arrow - brought to the field's Arrow type.

Numbers are numbers: a list, or an array of another type, is converted by value, and what the type cannot hold is
refused (half precision and bfloat16 round to the nearest). Bytes are the stored bytes; so is an array of uint16 for a
bfloat16 vector, whose bits these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import DimensionMismatch, SchemaMismatch
from headwater.schema.arrow import arrow_type
from headwater.schema.fields import Field
from headwater.types import DataType

__all__ = ["bfloat16_bits", "bfloat16_numbers", "cast_vectors", "check_elements", "stored_bytes"]

_HALVES = (DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR)
_FLOATS = (DataType.FLOAT_VECTOR, DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR)


def bfloat16_bits(numbers: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """The bits of numbers as bfloat16, rounded to the nearest, ties to even."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32).astype(np.uint64)
    rounded: npt.NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded


def bfloat16_numbers(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The numbers that bits of bfloat16 stand for."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def stored_bytes(data: Any, field: Field) -> Any:
    """Queries given in the stored form, bytes or the bits of bfloat16, as numbers; all else is handed back.

    Args:
        data: queries of any form.
        field: a dense vector field, not a binary one.

    Raises:
        DimensionMismatch: bytes are not a vector of the field.
    """
    rows = [data] if isinstance(data, bytes | bytearray) else data
    target = arrow_type(field.type)
    dtype = np.dtype(target.value_type.to_pandas_dtype())
    brain = field.type.data_type is DataType.BFLOAT16_VECTOR
    if isinstance(rows, list | tuple) and rows and all(isinstance(row, bytes | bytearray) for row in rows):
        wanted = target.list_size * dtype.itemsize
        for i, row in enumerate(rows):
            if len(row) != wanted:
                raise DimensionMismatch(
                    f"query {i}, field {field.name!r}: expected {wanted} bytes, got {len(row)}"
                )
        data = np.stack([np.frombuffer(row, dtype) for row in rows])
    elif brain and isinstance(rows, list | tuple) and rows and _is_bits(rows[0]):
        data = np.stack([np.asarray(row) for row in rows])
    if brain and _is_bits(data):
        return bfloat16_numbers(data.view(np.uint16))
    return data


def _is_bits(array: Any) -> bool:
    return isinstance(array, np.ndarray) and (array.dtype == np.uint16 or array.dtype.name == "bfloat16")


def cast_vectors(field: Field, values: Any, target: pa.DataType, where: str) -> pa.ChunkedArray:
    """One column of dense vectors; see `validate.cast_column`.

    Raises:
        SchemaMismatch: a number does not fit, or is not finite.
        DimensionMismatch: a vector has another length than the field.
    """
    width = target.list_size
    if isinstance(values, np.ndarray) and values.ndim == 2:
        _check_width(field, np.array([values.shape[1]]), width, where)
        array = _packed(_stored(field, values, target, where).reshape(-1), target)
    elif isinstance(values, pa.Array | pa.ChunkedArray):
        array = _arrow_vectors(field, values, target, where)
    else:
        array = _python_vectors(field, values, target, where)
    whole = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    if field.type.data_type in _FLOATS:
        _check_finite(field, whole, width, where)
    return whole


def _packed(flat: npt.NDArray[Any], target: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, target.value_type), target.list_size)


def _stored(field: Field, rows: npt.NDArray[Any], target: pa.DataType, where: str) -> npt.NDArray[Any]:
    """(n, width) numbers in the stored type."""
    dtype = target.value_type.to_pandas_dtype()
    if field.type.data_type is DataType.BFLOAT16_VECTOR:
        return np.ascontiguousarray(rows).view(np.uint16) if _is_bits(rows) else bfloat16_bits(rows)
    if rows.dtype == dtype:
        return np.ascontiguousarray(rows)
    if rows.dtype.kind not in "iuf":
        raise SchemaMismatch(
            f'{_at(where, 0)}, field "{field.name}": expected {field.type}, got an array of {rows.dtype}',
            row=0,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        cast = np.ascontiguousarray(rows.astype(dtype))
    if field.type.data_type not in _FLOATS and not (same := (cast == rows).all(axis=1)).all():
        row = int(np.argmin(same))
        bad = rows[row][cast[row] != rows[row]][0]
        raise SchemaMismatch(
            f'{_at(where, row)}, field "{field.name}": {bad} does not fit {np.dtype(dtype)}', row=row
        )
    return cast


def _arrow_vectors(field: Field, values: Any, target: pa.DataType, where: str) -> Any:
    if values.type == target:
        return values
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(target)
    if field.type.data_type in _HALVES and _holds_bytes(array, 2 * target.list_size):
        return _from_bytes(array, target)
    if pa.types.is_fixed_size_list(kind):
        _check_width(field, np.array([kind.list_size]), target.list_size, where)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.list_value_length(array)
        _check_width(field, pc.fill_null(lengths, target.list_size).to_numpy(), target.list_size, where)
    elif pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _python_vectors(field, array.to_pylist(), target, where)
    else:
        raise SchemaMismatch(f'{where or "column"}, field "{field.name}": expected {field.type}, got {kind}')
    if field.type.data_type is DataType.BFLOAT16_VECTOR and not pa.types.is_uint16(kind.value_type):
        return _python_vectors(field, array.to_pylist(), target, where)
    try:
        return array.cast(pa.list_(target.value_type)).cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaMismatch(f'field "{field.name}": expected {field.type}, got {kind} ({error})') from error


def _from_bytes(array: Any, target: pa.DataType) -> pa.Array:
    """Vectors from lists of their bytes."""
    flat = array.flatten().to_numpy(zero_copy_only=False)
    present = _packed(np.ascontiguousarray(flat).view(target.value_type.to_pandas_dtype()), target)
    if not array.null_count:
        return present
    places = np.cumsum(array.is_valid().to_numpy(zero_copy_only=False)) - 1
    return present.take(pa.array(places, mask=array.is_null().to_numpy(zero_copy_only=False)))


def _holds_bytes(array: Any, width: int) -> bool:
    """Whether an array holds each vector as a list of so many bytes."""
    kind = array.type
    if pa.types.is_fixed_size_list(kind):
        return bool(kind.value_type == pa.uint8() and kind.list_size == width)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or kind.value_type != pa.uint8():
        return False
    return bool(pc.all(pc.equal(pc.list_value_length(array), width)).as_py())


def _python_vectors(field: Field, values: Any, target: pa.DataType, where: str) -> Any:
    """Vectors given one by one, each as whatever NumPy takes for one, or None, in Arrow's form."""
    rows = _vectors_of(field, values, target, where)
    present = [vector for vector in rows if vector is not None]
    if not present:
        return pa.array(rows, target)
    kinds = {vector.dtype for vector in present}
    alike = len(kinds) == 1 and (_is_bits(present[0]) or present[0].dtype.kind in "iuf")
    flat = (_stored_together if alike else _stored_singly)(field, rows, target, where)
    if len(present) == len(rows):
        return _packed(flat, target)
    there = iter(flat.reshape(-1, target.list_size))
    return pa.array([None if vector is None else next(there) for vector in rows], target)


def _vectors_of(
    field: Field, values: Iterable[Any], target: pa.DataType, where: str
) -> list[npt.NDArray[Any] | None]:
    """Each value as an array as wide as the field's vectors, of whatever kind it comes as; None stays None."""
    width, dtype = target.list_size, target.value_type.to_pandas_dtype()
    rows: list[npt.NDArray[Any] | None] = []
    for row, value in enumerate(values):
        if value is None:
            rows.append(None)
            continue
        try:
            vector = np.frombuffer(value, dtype) if isinstance(value, bytes) else np.asarray(value)
            if isinstance(value, list | tuple) and any(isinstance(one, bool | str) for one in value):
                raise TypeError("not numbers")
        except (TypeError, ValueError, OverflowError) as error:
            raise SchemaMismatch(
                f'{_at(where, row)}, field "{field.name}": expected {field.type}, got {type(value).__name__} ({error})',
                row=row,
            ) from error
        if vector.shape != (width,):
            raise DimensionMismatch(_width_text(field, width, vector.size, _at(where, row)), row=row)
        rows.append(vector)
    return rows


def _stored_together(
    field: Field, rows: Sequence[npt.NDArray[Any] | None], target: pa.DataType, where: str
) -> npt.NDArray[Any]:
    """The values of vectors of one kind; an error names the row among all, those that are null included."""
    there = [row for row, vector in enumerate(rows) if vector is not None]
    try:
        stacked = np.stack([vector for vector in rows if vector is not None])
        return _stored(field, stacked, target, where).reshape(-1)
    except SchemaMismatch as error:
        counted = error.details.get("row", 0)
        row = there[counted]
        raise SchemaMismatch(str(error).replace(f"row {counted},", f"row {row},", 1), row=row) from error


def _stored_singly(
    field: Field, rows: Sequence[npt.NDArray[Any] | None], target: pa.DataType, where: str
) -> npt.NDArray[Any]:
    """The values of vectors of several kinds, one by one: bits of bfloat16 among numbers stay bits."""
    stored = []
    for row, vector in enumerate(rows):
        if vector is None:
            continue
        try:
            stored.append(_stored(field, vector[None], target, where)[0])
        except (SchemaMismatch, TypeError, ValueError) as error:
            raise SchemaMismatch(
                f'{_at(where, row)}, field "{field.name}": expected {field.type}, got {vector.dtype} ({error})',
                row=row,
            ) from error
    return np.concatenate(stored)


def check_elements(field: Field, array: pa.ChunkedArray, where: str) -> None:
    """Check that the vectors inside a struct array are finite.

    Raises:
        SchemaMismatch: one holds NaN or infinity; names the row.
    """
    for member in field.type.fields:
        if member.type.data_type not in _FLOATS:
            continue
        start = 0
        for chunk in array.chunks:
            vectors = chunk.flatten().field(member.name)
            numbers = vectors.flatten().to_numpy(zero_copy_only=False)
            if len(numbers) and not np.isfinite(numbers).all():
                rows = [
                    row
                    for row, value in enumerate(chunk.to_pylist())
                    for one in value or ()
                    if one
                    and one[member.name]
                    and not np.isfinite(np.array(one[member.name], np.float64)).all()
                ]
                if rows:
                    raise SchemaMismatch(
                        f'{_at(where, start + rows[0])}, field "{field.name}": {member.name!r} holds NaN or infinity',
                        row=start + rows[0],
                    )
            start += len(chunk)


def _at(where: str, row: int) -> str:
    return f"{where}, row {row}" if where else f"row {row}"


def _width_text(field: Field, width: int, got: int, at: str) -> str:
    unit = "bytes" if field.type.data_type is DataType.BINARY_VECTOR else "numbers"
    return f'{at}, field "{field.name}": expected {width} {unit}, got {got}'


def _check_width(field: Field, lengths: Any, width: int, where: str) -> None:
    wrong = np.flatnonzero(lengths != width)
    if len(wrong):
        row = int(wrong[0])
        raise DimensionMismatch(_width_text(field, width, int(lengths[row]), _at(where, row)), row=row)


def _check_finite(field: Field, array: pa.ChunkedArray, width: int, where: str) -> None:
    start = 0
    for chunk in array.chunks:
        values = chunk.values.slice(chunk.offset * width, len(chunk) * width)
        if field.type.data_type is DataType.BFLOAT16_VECTOR:
            numbers = bfloat16_numbers(values.fill_null(0).to_numpy(zero_copy_only=False))
        else:
            numbers = np.asarray(values.to_numpy(zero_copy_only=False))
        numbers = numbers.reshape(len(chunk), width)
        # A sum is finite unless a part is not (or it overflows), and costs one pass without a temporary.
        with np.errstate(over="ignore", invalid="ignore"):
            total = numbers.sum(dtype=np.float32)
        if len(chunk) and not np.isfinite(total):
            bad = ~np.isfinite(numbers).all(axis=1) & chunk.is_valid().to_numpy(zero_copy_only=False)
            if bad.any():
                row = start + int(np.argmax(bad))
                raise SchemaMismatch(
                    f'{_at(where, row)}, field "{field.name}": holds NaN or infinity', row=row
                )
        start += len(chunk)
