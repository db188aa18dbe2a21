"""Rows and hits of an answer: Arrow, made from whole arrays of the message."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from headwater.doors.milvus.given_rows import column
from headwater.doors.remote.raised import unsupported
from headwater.query import QueryResult, SearchResult
from headwater.query.columns import WKB, ArrowColumn, Column, GeometryColumn
from headwater.query.fetch import several_names
from headwater.query.results import ResultInfo
from headwater.schema import (
    DYNAMIC_FIELD,
    JSON,
    Bool,
    Double,
    Field,
    Float,
    Int64,
    Schema,
    VarChar,
    cast_column,
)
from headwater.types import DataType

__all__ = ["asked_names", "hits_of", "rows_of"]

_LOOSE = {
    schema_pb2.DataType.Int64: Int64,
    schema_pb2.DataType.Double: Double,
    schema_pb2.DataType.Float: Float,
    schema_pb2.DataType.Bool: Bool,
    schema_pb2.DataType.JSON: JSON,
}
"""Types of what is computed, such as `count(*)`."""


def asked_names(schema: Schema, asked: Sequence[str] | None, default: Sequence[str]) -> list[str]:
    """The columns of an answer: fields, keys of the dynamic field, aggregates; `*` is every field."""
    if asked is None:
        return list(default)
    names = [
        one for name in several_names(asked) for one in (schema.readable_names if name == "*" else [name])
    ]
    return list(dict.fromkeys(names))


def rows_of(
    answer: milvus_pb2.QueryResults, schema: Schema, names: Sequence[str], started: float
) -> QueryResult:
    """The rows of a query's answer.

    Args:
        answer: the message.
        schema: of the collection.
        names: the columns, in order.
        started: when the call was made, by `time.perf_counter`.
    """
    count = max((_length(one) for one in answer.fields_data), default=0)
    columns, parsed = _columns(answer.fields_data, schema, names, count)
    fields = [
        pa.field(name, array.type, metadata=WKB if _is_geometry(schema, name) else None)
        for name, array in columns.items()
    ]
    table = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))
    elements = [list(one.indices.data) for one in answer.element_indices] or None
    return QueryResult(table, _info(started), parsed, element_indices=elements)


def hits_of(
    data: schema_pb2.SearchResultData,
    schema: Schema,
    names: Sequence[str],
    started: float,
    most: int | None = None,
) -> SearchResult:
    """The hits of a search's answer; arguments as of `rows_of`, and of one query's hits the first `most`."""
    counts = list(data.topks)
    total = sum(counts)
    keys = pa.array(list(data.ids.str_id.data), pa.string()) if data.ids.HasField("str_id") else None
    if keys is None:
        keys = pa.array(np.fromiter(data.ids.int_id.data, np.int64, len(data.ids.int_id.data)))
    arrays, parsed = _columns(data.fields_data, schema, names, total)
    scores = np.fromiter(data.scores, np.float32, len(data.scores))
    if most is not None and total > most:
        keys, scores, counts = keys[:most], scores[:most], [most]
        arrays = {name: array[:most] for name, array in arrays.items()}
    shown: dict[str, Column] = {
        name: GeometryColumn(ArrowColumn(array)) if _is_geometry(schema, name) else ArrowColumn(array)
        for name, array in arrays.items()
    }
    found = SearchResult(ArrowColumn(keys), scores, shown, counts, _info(started), parsed)
    if data.HasField("element_indices"):
        found.flat_elements = np.fromiter(data.element_indices.data, np.int64)[: len(scores)]
    return found


def _columns(
    fields_data: Sequence[schema_pb2.FieldData], schema: Schema, names: Sequence[str], count: int
) -> tuple[dict[str, pa.Array], frozenset[str]]:
    """The columns by name, and which of them hold JSON text."""
    given = {DYNAMIC_FIELD if one.is_dynamic else one.field_name: one for one in fields_data}
    columns: dict[str, pa.Array] = {}
    parsed = set()
    for name in names:
        field = schema.field(name) if name in schema.names else None
        if name in given:
            field = field or Field(name, _LOOSE.get(given[name].type, VarChar(65_535)), nullable=True)
            columns[name] = _typed(column(given[name], field, count), field)
            if field.type.data_type is DataType.JSON:
                parsed.add(name)
        elif field is not None:
            if field.type.data_type is DataType.JSON:
                parsed.add(name)
            columns[name] = pa.nulls(count, schema.to_arrow([name]).field(0).type)
        elif DYNAMIC_FIELD in given:
            columns[name], text = _dynamic(given[DYNAMIC_FIELD], name)
            if text:
                parsed.add(name)
        else:
            columns[name] = pa.nulls(count, pa.string())
    return columns, frozenset(parsed)


def _typed(array: pa.Array, field: Field) -> pa.Array:
    kind = field.type.data_type
    if kind in (DataType.BINARY, DataType.REFERENCE):
        raise unsupported(f"field {field.name!r} of type {kind}")
    if kind is DataType.TIMESTAMPTZ and pa.types.is_string(array.type):
        return array.cast(pa.timestamp("us", "UTC"))
    if kind is DataType.GEOMETRY:
        return cast_column(field, array).combine_chunks()
    return array


def _dynamic(data: schema_pb2.FieldData, name: str) -> tuple[pa.Array, bool]:
    """One key of the dynamic field, and whether it is told as JSON text."""
    values = [json.loads(one or b"{}").get(name) for one in data.scalars.json_data.data]
    if not any(isinstance(value, dict | list) for value in values):
        try:
            return pa.array(values), False
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            pass
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string()), True


def _is_geometry(schema: Schema, name: str) -> bool:
    return name in schema.names and schema.field(name).type.data_type is DataType.GEOMETRY


def _length(data: schema_pb2.FieldData) -> int:
    """How many rows a field has values of."""
    if data.valid_data:
        return len(data.valid_data)
    if data.HasField("struct_arrays"):
        return max((_length(one) for one in data.struct_arrays.fields), default=0)
    if data.HasField("scalars"):
        slot = data.scalars.WhichOneof("data")
        return 0 if slot is None else len(getattr(data.scalars, slot).data)
    return _num_vectors(data.vectors)


_BYTES_OF: Mapping[str, float] = {
    "binary_vector": 1 / 8,
    "float16_vector": 2,
    "bfloat16_vector": 2,
    "int8_vector": 1,
}


def _num_vectors(vectors: schema_pb2.VectorField) -> int:
    slot = vectors.WhichOneof("data")
    if slot is None:
        return 0
    held: Any = getattr(vectors, slot)
    if slot == "float_vector":
        return int(len(held.data) // vectors.dim)
    if slot == "sparse_float_vector":
        return len(held.contents)
    if slot == "vector_array":
        return len(held.data)
    return int(len(held) // (vectors.dim * _BYTES_OF[slot]))


def _info(started: float) -> ResultInfo:
    """What is known here of an answer: how long it took. Versions and segments are the server's to know."""
    unknown = float("nan")
    return ResultInfo(-1, unknown, unknown, -1, -1, -1, time.perf_counter() - started)
