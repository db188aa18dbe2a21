"""Bring a caller's rows, or a file's columns, to a schema's Arrow types, or say exactly which value does not fit.

Arrow input is checked by whole columns; only a failure looks at rows, to name the first bad one. Nothing is rounded,
truncated or guessed: a value that the type cannot hold is a `SchemaMismatch`.
"""

from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument, SchemaMismatch
from headwater.schema.arrow import arrow_type
from headwater.schema.fields import Field
from headwater.schema.geometry import to_wkb, wkb_column
from headwater.schema.schema import DYNAMIC_FIELD, Schema
from headwater.schema.sparse import sparse_column
from headwater.schema.vectors import cast_vectors, check_elements
from headwater.types import DataType

__all__ = ["cast_column", "check_default", "refuse_outputs", "same_kind", "tabular", "validate"]

_SHOWN_ROWS = 1000


def validate(data: Any, schema: Schema) -> pa.Table:
    """Rows as a table of the schema's Arrow types.

    Args:
        data: Arrow table or record batch, pandas or Polars frame, list of dicts, or dict of columns.
        schema: what they must fit.

    Returns:
        One column per field that rows bring, in schema order; defaults filled in. Outputs of functions are not among
        them.

    Raises:
        InvalidArgument: the output of a function is given; names the function.
        SchemaMismatch: an unknown, missing or duplicate field, a null or value that does not fit; names row, field,
            expectation and what came.
        DimensionMismatch: a vector has another length than its field.
    """
    refuse_outputs(data, schema)
    schema = schema.given
    columns, num_rows = _columns(data, schema)
    unknown = [name for name in columns if name not in schema.names]
    if unknown and schema.dynamic:
        columns[DYNAMIC_FIELD] = _dynamic(columns, unknown)
    elif unknown:
        raise SchemaMismatch(
            f"unknown field {unknown[0]!r}",
            hint=f"fields: {', '.join(schema.names)}; or create the collection dynamic",
        )
    arrays = []
    for field in schema.fields:
        values = columns.get(field.name)
        if values is None:
            if field.default is None and not field.nullable:
                as_index = getattr(getattr(data, "index", None), "name", None) == field.name
                raise SchemaMismatch(
                    f'field "{field.name}" is missing and has no default',
                    hint="it is the index of the frame, which is no column: reset_index()"
                    if as_index
                    else None,
                    field=field.name,
                )
            values = pa.nulls(num_rows, arrow_type(field.type))
        arrays.append(_checked(field, values))
    return pa.Table.from_arrays(arrays, schema=schema.to_arrow())


def refuse_outputs(data: Any, schema: Schema) -> None:
    """Refuse rows that bring what a function fills in.

    Raises:
        InvalidArgument: they do; names the function.
    """
    if not schema.functions:
        return
    if isinstance(data, list | tuple):
        given = {name for row in data if isinstance(row, Mapping) for name in row}
    elif isinstance(data, pa.RecordBatch):
        given = set(data.schema.names)
    else:
        named = getattr(data, "column_names", None)
        given = set(named if named is not None else getattr(data, "columns", data))
    for name in schema.names:
        if name in given and name in schema.outputs:
            raise InvalidArgument(
                f"field {name!r} is filled in by the function {schema.outputs[name].name!r}, and was given",
                hint="leave it out",
                field=name,
            )


def tabular(data: Any) -> Any:
    """Record batches and Polars frames as a table, pandas frames as columns; all else as it is."""
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if hasattr(data, "to_arrow"):
        return data.to_arrow()
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return _frame_columns(data)
    return data


def _frame_columns(frame: Any) -> dict[str, Any]:
    """The columns of a pandas frame, each as it is: objects of several kinds stay the caller's own."""
    names = [str(name) for name in frame.columns]
    for name in names:
        if names.count(name) > 1:
            raise SchemaMismatch(f"column {name!r} appears {names.count(name)} times", field=name)
    return {name: _series(frame.iloc[:, at]) for at, name in enumerate(names)}


def _series(series: Any) -> Any:
    """A pandas column as Arrow, or as a list where Arrow has no one type for it, or would invent keys of dicts."""
    try:
        array = pa.array(series, from_pandas=True)
    except pa.ArrowException:
        array = None
    if array is None or _holds_structs(array.type):
        return series.astype(object).where(series.notna(), None).tolist()
    return array


def _holds_structs(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    return bool(pa.types.is_struct(inner))


def _columns(data: Any, schema: Schema) -> tuple[dict[str, Any], int]:
    data = tabular(data)
    if isinstance(data, pa.Table):
        for name in data.column_names:
            if data.column_names.count(name) > 1:
                raise SchemaMismatch(f"column {name!r} appears {data.column_names.count(name)} times")
        return {name: data.column(name) for name in data.column_names}, data.num_rows
    if isinstance(data, Mapping):
        columns = {name: _plain(name, values) for name, values in data.items()}
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise SchemaMismatch(f"columns have different lengths: {lengths}")
        return columns, next(iter(lengths.values()), 0)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return _from_rows(data, schema), len(data)
    raise InvalidArgument(
        f"cannot take rows from {type(data).__name__}",
        hint="pass an Arrow table, a pandas or Polars frame, a list of dicts, a dict of columns or a Parquet path",
    )


def _plain(name: str, values: Any) -> Any:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        raise SchemaMismatch(
            f'column "{name}": expected a list of values, got {_shown(values)} ({type(values).__name__})',
            hint="a dict holds columns; one row is given in a list: [{...}]",
            field=name,
        )
    return values if hasattr(values, "__len__") else list(values)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _from_rows(rows: Sequence[Any], schema: Schema) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    given = set() if rows else set(schema.names)
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise SchemaMismatch(f"row {number}: expected a dict, got {type(row).__name__}", row=number)
        extra = [name for name in row if name not in columns]
        if extra and not schema.dynamic:
            raise SchemaMismatch(
                f'row {number}: unknown field "{extra[0]}"',
                hint=f"fields: {', '.join(schema.names)}",
                row=number,
            )
        given.update(row)
        for field in schema.fields:
            if field.name in row or field.nullable or field.default is not None:
                columns[field.name].append(row.get(field.name))
            else:
                raise SchemaMismatch(
                    f'row {number}, field "{field.name}": missing, and has no default', row=number
                )
        if schema.dynamic:
            columns[DYNAMIC_FIELD][-1] = {
                **(row.get(DYNAMIC_FIELD) or {}),
                **{name: row[name] for name in extra},
            }
    if schema.dynamic:
        given.add(DYNAMIC_FIELD)
    return {name: values for name, values in columns.items() if name in given}


def _dynamic(columns: dict[str, Any], unknown: Sequence[str]) -> list[dict[str, Any]]:
    """What columns that the schema does not name hold, by row; a row has not the keys of which it has null."""
    values = [_listed(columns.pop(name)) for name in unknown]
    given = columns.get(DYNAMIC_FIELD)
    kept = [{}] * len(values[0]) if given is None else [_loaded(one) for one in _listed(given)]
    return [
        {**old, **{name: one for name, one in zip(unknown, row, strict=True) if one is not None}}
        for old, row in zip(kept, zip(*values, strict=True), strict=True)
    ]


def _listed(values: Any) -> list[Any]:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return list(values.to_pylist())
    return list(values)


def _loaded(value: Any) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    return dict(found or {})


def _checked(field: Field, values: Any) -> pa.ChunkedArray:
    array = cast_column(field, values)
    if field.default is not None and array.null_count:
        array = pc.fill_null(array, pa.scalar(_prepared(field, field.default), array.type))
    if not field.nullable and array.null_count:
        row = int(np.argmin(array.is_valid().to_numpy()))
        raise SchemaMismatch(f'row {row}, field "{field.name}": null, and the field is not nullable', row=row)
    return array


def cast_column(field: Field, values: Any, *, where: str = "") -> pa.ChunkedArray:
    """One column brought to a field's Arrow type.

    Args:
        field: what it must fit.
        values: an Arrow array, a numpy array, or a list of Python values.
        where: what to name in errors, such as a file; empty for rows of a call.

    Raises:
        SchemaMismatch: a value does not fit.
        DimensionMismatch: a vector has another length than the field.
    """
    target = arrow_type(field.type)
    if field.type.data_type.dense_vector:
        return cast_vectors(field, values, target, where)
    if field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return sparse_column(field, values, where)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if field.type.data_type is DataType.GEOMETRY:
            values = _shapes(field, values, where)
        array = _cast_arrow(field, values, target, where)
    else:
        array = _from_python(field, values, target, where)
    if field.type.fields:
        check_elements(field, array, where)
    if field.type.max_capacity is not None and len(array):
        _check_capacity(field, array, where)
    if field.type.max_length is not None and len(array):
        lengths = pc.binary_length(array)
        if (pc.max(lengths).as_py() or 0) > field.type.max_length:
            row = int(np.argmax(pc.fill_null(lengths, 0).to_numpy() > field.type.max_length))
            raise SchemaMismatch(
                f'{_at(where, row)}, field "{field.name}": expected at most {field.type.max_length} bytes, '
                f"got {lengths[row].as_py()}",
                row=row,
            )
    return array


def _shapes(field: Field, values: pa.Array | pa.ChunkedArray, where: str) -> pa.Array | pa.ChunkedArray:
    """WKT, or WKB of any byte order, as ours."""
    if _kind_of(values.type) not in ("text", "bytes"):
        return values
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    wkb, bad = wkb_column(array.cast(pa.string() if _textual(array.type) else pa.binary()))
    if bad is not None:
        raise _mismatch(field, [array[bad].as_py()], where, first=bad)
    return wkb


def _check_capacity(field: Field, array: pa.ChunkedArray, where: str) -> None:
    sizes = pc.fill_null(pc.list_value_length(array), 0).to_numpy()
    if sizes.max() > field.type.max_capacity:
        row = int(np.argmax(sizes > field.type.max_capacity))
        raise SchemaMismatch(
            f'{_at(where, row)}, field "{field.name}": expected at most {field.type.max_capacity} elements, '
            f"got {sizes[row]}",
            row=row,
        )


def check_default(field: Field) -> None:
    """Check that a field's default is one of its values.

    Raises:
        InvalidArgument: it is not.
    """
    if field.default is not None:
        try:
            cast_column(field, [field.default])
        except SchemaMismatch as error:
            raise InvalidArgument(f"default of {str(error).removeprefix('row 0, ')}") from error


def _at(where: str, row: int) -> str:
    return f"{where}, row {row}" if where else f"row {row}"


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _cast_arrow(field: Field, values: Any, target: pa.DataType, where: str) -> pa.ChunkedArray:
    if values.type == target:
        return _chunked(values)
    if field.type.data_type is DataType.JSON and not _textual(values.type):
        return _from_python(field, values.to_pylist(maps_as_pydicts="lossy"), target, where)
    if pa.types.is_timestamp(target) and pa.types.is_timestamp(values.type) and values.type.tz is None:
        values = values.cast(pa.timestamp(values.type.unit, "UTC"))
    if not same_kind(values.type, target) and values.null_count < len(values):
        raise _mismatch(
            field, values.slice(0, _SHOWN_ROWS).to_pylist(), where, TypeError(f"got {values.type}")
        )
    try:
        return _chunked(values.cast(target))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        if pa.types.is_timestamp(target) and _textual(values.type):
            # Arrow reads fewer spellings of a time than Python does.
            return _from_python(field, values.to_pylist(), target, where)
        raise SchemaMismatch(
            f'{where + ", " if where else ""}field "{field.name}": expected {field.type}, got {values.type} ({error})',
            field=field.name,
        ) from error


def same_kind(column: pa.DataType, target: pa.DataType) -> bool:
    """Whether values of one Arrow type are of the kind that another holds: numbers, texts, bytes, times, nested.

    A number in a field of texts, or a text in one of numbers, is a mistake that a cast would hide.
    """
    kinds = _kind_of(column), _kind_of(target)
    return kinds[0] == kinds[1] or kinds[0] == "null" or kinds == ("text", "time")


def _kind_of(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return _kind_of(kind.value_type)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return str(kind)
    if _textual(kind):
        return "text"
    binary = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return "bytes" if any(check(kind) for check in binary) else "nested"


def _textual(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view())


def _from_python(field: Field, values: Any, target: pa.DataType, where: str) -> pa.ChunkedArray:
    if isinstance(values, np.ndarray):
        values = values.tolist() if values.dtype == object or values.ndim > 1 else values
    try:
        if any(member.type.data_type.dense_vector for member in field.type.fields):
            values = [_elements(field, value, _at(where, row)) for row, value in enumerate(values)]
        prepared = values if isinstance(values, np.ndarray) else [_prepared(field, value) for value in values]
        if isinstance(prepared, np.ndarray):
            return _cast_arrow(field, pa.array(prepared), target, where)
        if not pa.types.is_boolean(target) and any(isinstance(value, bool) for value in prepared):
            raise _mismatch(field, prepared, where)
        if _textual(target) and any(isinstance(value, bytes) for value in prepared):
            raise _mismatch(field, prepared, where)
        if any(_truncated(value, target) for value in prepared):
            raise _mismatch(field, prepared, where)
        return _chunked(pa.array(prepared, target))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, SchemaMismatch):
            raise
        raise _mismatch(field, list(values), where, error) from error


def _truncated(value: Any, target: pa.DataType) -> bool:
    """Whether Arrow would drop the fraction of a number without a word."""
    if isinstance(value, float | np.floating):
        return (
            bool(pa.types.is_integer(target) or pa.types.is_timestamp(target))
            and not float(value).is_integer()
        )
    if isinstance(value, list | tuple) and pa.types.is_list(target):
        return any(_truncated(item, target.value_type) for item in value)
    if isinstance(value, Mapping) and pa.types.is_struct(target):
        return any(
            _truncated(item, target.field(name).type) for name, item in value.items() if name in target.names
        )
    return False


def _prepared(field: Field, value: Any) -> Any:
    """A Python value in the form that Arrow takes for the field."""
    if value is None:
        return None
    kind = field.type.data_type
    if kind is DataType.JSON:
        if isinstance(value, str):
            json.loads(value, parse_constant=_no_json)
            return value
        return json.dumps(
            value,
            separators=(",", ":"),
            ensure_ascii=False,
            sort_keys=True,
            allow_nan=False,
            default=_json_value,
        )
    if kind is DataType.GEOMETRY:
        return to_wkb(value)
    if kind is DataType.TIMESTAMPTZ:
        return _moment(value)
    if kind is DataType.REFERENCE and isinstance(value, str):
        return {"uri": value}
    return value


def _moment(value: Any) -> Any:
    """A time of any spelling; UTC where it says no offset."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if isinstance(value, int | float | np.number):
        raise TypeError(
            "a number says not what it counts: give a datetime or a text such as 2026-01-31T12:00:00Z"
        )
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)
    return value


def _no_json(word: str) -> Any:
    raise ValueError(f"{word} is no value of JSON")


def _json_value(value: Any) -> Any:
    """What JSON has for a value that it has not: lists and numbers, and ISO 8601 for moments."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _elements(field: Field, value: Any, at: str) -> Any:
    """The structs of an array, their vectors given as bytes, arrays or lists made arrays of the stored numbers."""
    if not isinstance(value, list | tuple):
        return value
    made = []
    for one in value:
        if isinstance(one, Mapping):
            one = dict(one)
            for member in field.type.fields:
                if one.get(member.name) is not None and member.type.data_type.dense_vector:
                    one[member.name] = _element_vector(field, member, one[member.name], at)
        made.append(one)
    return made


def _element_vector(field: Field, member: Field, value: Any, at: str) -> Any:
    try:
        whole = cast_vectors(member, [value], arrow_type(member.type), "")
    except SchemaMismatch as error:
        why = str(error).removeprefix("row 0, ")
        raise SchemaMismatch(f'{at}, field "{field.name}": in an element, {why}', field=field.name) from error
    return whole.chunk(0).flatten().to_numpy(zero_copy_only=False)


def _mismatch(
    field: Field, values: Iterable[Any], where: str, cause: Exception | None = None, first: int = 0
) -> SchemaMismatch:
    """The error that names the first value that does not fit by itself."""
    target = arrow_type(field.type)
    for row, value in enumerate(values, first):
        try:
            prepared = _prepared(field, value)
            if isinstance(prepared, bool) and not pa.types.is_boolean(target):
                raise TypeError("bool")
            if isinstance(prepared, bytes) and _textual(target):
                raise TypeError("bytes")
            if _truncated(prepared, target):
                raise ValueError("fraction")
            pa.scalar(prepared, target)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            told = field.type.data_type in (DataType.JSON, DataType.TIMESTAMPTZ)
            why = f": {error}" if told else ""
            return SchemaMismatch(
                f'{_at(where, row)}, field "{field.name}": expected {field.type}, got {_shown(value)} '
                f"({type(value).__name__}){why}",
                row=row,
                field=field.name,
            )
    return SchemaMismatch(f'field "{field.name}": expected {field.type} ({cause})', field=field.name)
