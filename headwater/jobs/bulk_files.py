"""Files of rows as the writers of Milvus clients make them - Parquet, JSON, JSON lines, CSV, numpy - as tables.

Each format holds some types in a form of its own: sparse vectors and JSON as text, half-precision vectors as their
bytes. Here they are brought to the form that validation takes, in pieces of bounded size. A file that cannot be read
is `Corrupt`; a value that no field of its type could hold is a `SchemaMismatch`; both name the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from headwater.errors import Corrupt, InvalidArgument, SchemaMismatch, UnsupportedOption
from headwater.schema import DYNAMIC_FIELD, Field, Schema, arrow_type
from headwater.types import NUMBER_TYPES, DataType

__all__ = ["BULK_KINDS", "BulkFile", "file_kind", "read_bulk"]

BULK_KINDS = (".parquet", ".json", ".jsonl", ".ndjson", ".csv", ".npy")
"""Endings of the files that can be read."""

_PIECE_ROWS = 50_000
_HALVES = {DataType.FLOAT16_VECTOR: np.float16, DataType.BFLOAT16_VECTOR: np.uint16}

BulkFile = tuple[str, Callable[[], bytes]]
"""A file's name, and what reads it."""


def file_kind(paths: Sequence[str]) -> str:
    """The ending that all files of a group have.

    Raises:
        UnsupportedOption: no file of that ending can be read.
        InvalidArgument: the endings differ, or files that are whole by themselves are in one group.
    """
    kinds = [PurePosixPath(path).suffix.lower() for path in paths]
    for path, kind in zip(paths, kinds, strict=True):
        if kind not in BULK_KINDS:
            raise UnsupportedOption(
                f"unexpected file type, files={list(paths)}: {path!r} has the ending {kind!r}",
                hint=f"expected one of {', '.join(BULK_KINDS)}",
            )
    if len(set(kinds)) > 1:
        raise InvalidArgument(f"inconsistency in file types, files={list(paths)}")
    if kinds[0] != ".npy" and len(kinds) > 1:
        raise InvalidArgument(
            f"for {kinds[0][1:].upper()} import, accepts only one file in a group, got {list(paths)}"
        )
    return kinds[0]


def read_bulk(files: Sequence[BulkFile], schema: Schema, options: Mapping[str, str]) -> Iterator[Any]:
    """The rows of a group of files, in pieces that `insert` takes.

    Args:
        files: one file, or for numpy one for each field.
        schema: the fields that they are for.
        options: `sep` and `nullkey` of CSV.

    Raises:
        Corrupt: a file is not readable.
        SchemaMismatch: a column does not fit its field.
    """
    kind = file_kind([name for name, _ in files])
    name, read = files[0]
    try:
        if kind == ".npy":
            yield from _numpy(files, schema)
        elif kind == ".parquet":
            yield from _parquet(name, read(), schema)
        elif kind == ".csv":
            yield from _csv(name, read(), schema, options)
        else:
            yield from _json(name, read(), schema, lines=kind != ".json")
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        said = str(error).replace("CSV parse error: Expected", "wrong number of fields: expected")
        raise Corrupt(f"{name!r} is not readable as {kind[1:]}: {said}", path=name) from error


# -- parquet ----------------------------------------------------------------------------------------------------------


def _parquet(name: str, content: bytes, schema: Schema) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    # Times of Hive and older Sparks as nanoseconds reach from 1677 to 2262 only.
    opened = pq.ParquetFile(io.BytesIO(content), coerce_int96_timestamp_unit="us")
    names = opened.schema_arrow.names
    _refuse_twice(name, names)
    for batch in opened.iter_batches(_PIECE_ROWS):
        columns: dict[str, Any] = {
            column: batch.column(place) for place, column in enumerate(names) if column in schema.names
        }
        unknown = [column for column in names if column not in schema.names]
        if unknown and not schema.dynamic:
            raise SchemaMismatch(
                f"{name!r}: column {unknown[0]!r} is no field of the collection",
                hint=f"fields: {', '.join(schema.names)}",
            )
        made: dict[str, Any] = {
            column: _told(schema.field(column), values, name) for column, values in columns.items()
        }
        if unknown:
            made[DYNAMIC_FIELD] = _with_unknown(made.get(DYNAMIC_FIELD), batch.select(unknown))
        yield made


def _refuse_twice(name: str, columns: Sequence[str]) -> None:
    """Refuse a file that has a column twice: the values of one would be lost."""
    for column in columns:
        if columns.count(column) > 1:
            raise SchemaMismatch(f"{name!r}: column {column!r} appears {columns.count(column)} times")


def _with_unknown(dynamic: Any, rest: pa.RecordBatch) -> list[Any]:
    known: list[Any] = [None] * rest.num_rows if dynamic is None else pa.array(dynamic).to_pylist()
    return [
        {**(json.loads(one) if isinstance(one, str) else one or {}), **more}
        for one, more in zip(known, rest.to_pylist(), strict=True)
    ]


# -- one JSON value a row ---------------------------------------------------------------------------------------------


def _json(name: str, content: bytes, schema: Schema, *, lines: bool) -> Iterator[list[Any]]:
    rows = _json_rows(name, content, lines)
    sparse = {field.name for field in schema.sparse_fields}
    for start in range(0, len(rows), _PIECE_ROWS):
        piece = rows[start : start + _PIECE_ROWS]
        for number, row in enumerate(piece, start):
            if not isinstance(row, dict):
                raise SchemaMismatch(f"{name!r}, row {number}: expected an object, got {type(row).__name__}")
            for column in sparse & row.keys():
                row[column] = _sparse(row[column])
            for column, member in row.items():
                if isinstance(member, str) and column in schema.json_fields:
                    row[column] = _json_text(member, name, column, number)
            if DYNAMIC_FIELD in row:
                row[DYNAMIC_FIELD] = _dynamic(row, schema, name, number)
        yield piece


def _dynamic(row: dict[str, Any], schema: Schema, name: str, number: int) -> dict[str, Any]:
    """What a row has in its dynamic field, none of which it may say by itself, too: one value would be lost."""
    told = row[DYNAMIC_FIELD]
    told = json.loads(told) if isinstance(told, str) else told
    if told is not None and not isinstance(told, dict):
        raise SchemaMismatch(
            f'{name!r}, row {number}, field "{DYNAMIC_FIELD}": expected an object, got {type(told).__name__}'
        )
    found: dict[str, Any] = told or {}
    twice = (row.keys() & found.keys()) - set(schema.names)
    if twice:
        raise SchemaMismatch(f"{name!r}, row {number}: duplicated key {min(twice)!r} in dynamic field")
    return found


def _json_rows(name: str, content: bytes, lines: bool) -> list[Any]:
    try:
        if lines:
            return [json.loads(line) for line in content.splitlines() if line.strip()]
        parsed = json.loads(content)
    except ValueError as error:
        torn = isinstance(error, json.JSONDecodeError) and error.pos >= len(error.doc.rstrip())
        end = ", unexpected EOF" if torn else ""
        raise Corrupt(f"{name!r} is not readable JSON{end}: {error}", path=name) from error
    rows = parsed.get("rows") if isinstance(parsed, dict) else parsed
    if not isinstance(rows, list):
        raise Corrupt(
            f'{name!r}: expected a list of objects, or an object with "rows"', path=name, found=type(parsed)
        )
    return rows


def _json_text(text: str, name: str, column: str, row: int) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise SchemaMismatch(
            f'{name!r}, row {row}, field "{column}": not JSON: {text[:60]!r} ({error})'
        ) from error
    return text


def _sparse(value: Any) -> Any:
    """A sparse vector whose indices are texts, as keys in JSON are."""
    if isinstance(value, Mapping) and set(value) != {"indices", "values"}:
        return {int(key): one for key, one in value.items()}
    return value


# -- csv --------------------------------------------------------------------------------------------------------------


def _csv(name: str, content: bytes, schema: Schema, options: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    separator = options.get("sep", ",")
    if len(separator) != 1 or separator in '\0\n\r"':
        raise InvalidArgument(f"unsupported csv separator: {separator!r}")
    null = options.get("nullkey", "")
    header = pa.csv.open_csv(
        io.BytesIO(content), parse_options=pa.csv.ParseOptions(delimiter=separator)
    ).schema.names
    _refuse_twice(name, header)
    for column in header:
        if column not in schema.names and not schema.dynamic:
            raise SchemaMismatch(
                f"{name!r}: column {column!r} is no field of the collection",
                hint=f"fields: {', '.join(schema.names)}",
            )
    table = pa.csv.read_csv(
        io.BytesIO(content),
        parse_options=pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types={column: pa.string() for column in header}, strings_can_be_null=False
        ),
    )
    for start in range(0, table.num_rows, _PIECE_ROWS):
        piece = table.slice(start, _PIECE_ROWS)
        made: dict[str, Any] = {}
        for column in header:
            if column in schema.names:
                field = schema.field(column)
                texts = piece.column(column)
                if field.nullable or field.default is not None:
                    texts = pc.if_else(pc.equal(texts, null), None, texts)
                made[column] = _told(field, texts, name)
        rest = [column for column in header if column not in schema.names]
        if rest:
            batch = piece.select(rest).combine_chunks().to_batches()[0]
            made[DYNAMIC_FIELD] = _with_unknown(made.get(DYNAMIC_FIELD), batch)
        yield made


# -- numpy ------------------------------------------------------------------------------------------------------------


def _numpy(files: Sequence[BulkFile], schema: Schema) -> Iterator[dict[str, Any]]:
    columns: dict[str, Any] = {}
    for name, read in files:
        column = PurePosixPath(name).stem
        if column not in schema.names:
            raise SchemaMismatch(
                f"{name!r}: {column!r} is no field of the collection",
                hint=f"fields: {', '.join(schema.names)}",
            )
        try:
            array = np.load(io.BytesIO(read()), allow_pickle=False)
        except ValueError as error:
            raise Corrupt(
                f"{name!r} is not a readable numpy array: {error}", hint="arrays of objects are not read"
            ) from error
        columns[column] = _told_array(schema.field(column), array, name)
    counts = {column: len(values) for column, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise SchemaMismatch(
            f"the files of a group are not aligned, they have different numbers of rows: {counts}"
        )
    for start in range(0, next(iter(counts.values()), 0), _PIECE_ROWS):
        yield {column: values[start : start + _PIECE_ROWS] for column, values in columns.items()}


def _told_array(field: Field, array: np.ndarray[Any, Any], name: str) -> Any:
    half = _HALVES.get(field.type.data_type)
    if half is not None and array.dtype == np.uint8 and array.ndim == 2:
        return _halves(field, array, name)
    if array.dtype.kind in "US":
        texts = pa.array(array.astype(str).tolist(), pa.string())
        return _told(field, texts, name)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# -- forms of values --------------------------------------------------------------------------------------------------


def _told(field: Field, values: Any, name: str) -> Any:
    """A column in the form that validation takes."""
    kind = field.type.data_type
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    textual = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if textual and kind not in (DataType.VARCHAR, DataType.TEXT, DataType.GEOMETRY, DataType.TIMESTAMPTZ):
        return _from_texts(field, array, name)
    return array


def _halves(field: Field, rows: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """Vectors of half precision from their bytes."""
    if rows.shape[1] != 2 * (field.type.dim or 0):
        raise SchemaMismatch(
            f'{name!r}, field "{field.name}": expected {2 * (field.type.dim or 0)} bytes a row, got {rows.shape[1]}'
        )
    return np.ascontiguousarray(rows).view(_HALVES[field.type.data_type])


def _from_texts(field: Field, texts: pa.Array, name: str) -> Any:
    kind = field.type.data_type
    if kind is DataType.BOOL:
        return _booleans(field, texts, name)
    if kind in NUMBER_TYPES:
        try:
            return texts.cast(arrow_type(field.type))
        except pa.ArrowInvalid as error:
            raise SchemaMismatch(
                f'{name!r}, field "{field.name}": expected {field.type} ({error})'
            ) from error
    parsed: list[Any] = []
    for row, text in enumerate(texts.to_pylist()):
        if text is None:
            parsed.append(None)
            continue
        try:
            value = json.loads(text)
        except ValueError as error:
            raise SchemaMismatch(
                f'{name!r}, row {row}, field "{field.name}": expected {field.type} as JSON, got {text[:60]!r}'
            ) from error
        if kind is DataType.JSON:
            parsed.append(None if value is None and field.nullable else text)
        else:
            parsed.append(_sparse(value) if kind is DataType.SPARSE_FLOAT_VECTOR else value)
    return parsed


def _booleans(field: Field, texts: pa.Array, name: str) -> pa.Array:
    known = {"true": True, "false": False, "1": True, "0": False}
    made = []
    for row, text in enumerate(texts.to_pylist()):
        if text is not None and text.lower() not in known:
            raise SchemaMismatch(f'{name!r}, row {row}, field "{field.name}": expected a bool, got {text!r}')
        made.append(None if text is None else known[text.lower()])
    return pa.array(made, pa.bool_())
