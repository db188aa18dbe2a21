"""Results of the protocol as rows of JSON: columns are decoded whole, then turned."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.rest.errors import BAD_RESULT, Refused

__all__ = ["aggregations", "cost_of", "entries", "hits", "ids", "rows"]

DataType = schema_pb2.DataType
_Column = list[Any]


def ids(found: schema_pb2.IDs, whole: bool) -> list[Any]:
    """Primary keys.

    Args:
        found: of either type.
        whole: whether int64 may be numbers.
    """
    if found.WhichOneof("id_field") == "str_id":
        return list(found.str_id.data)
    return _longs(found.int_id.data, whole)


def _longs(values: Iterable[int], whole: bool) -> list[Any]:
    return list(values) if whole else [str(value) for value in values]


def rows(fields: Iterable[schema_pb2.FieldData], output: Iterable[str], whole: bool) -> list[dict[str, Any]]:
    """Rows of columns.

    Args:
        fields: the columns.
        output: the names that were asked for; those of the dynamic field are among them.
        whole: whether int64 may be numbers.
    """
    columns = list(fields)
    names = [column.field_name for column in columns if not column.is_dynamic]
    decoded = [_column(column, whole) for column in columns if not column.is_dynamic]
    found: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in zip(*decoded, strict=True)]
    for column in columns:
        if column.is_dynamic:
            found = found or [{} for _ in column.scalars.json_data.data]
            _put_dynamic(found, column, set(output) - set(names))
    return found


def _put_dynamic(found: list[dict[str, Any]], column: schema_pb2.FieldData, wanted: set[str]) -> None:
    everything = column.field_name in wanted or "*" in wanted
    documents = _full(column, list(column.scalars.json_data.data))
    for row, raw in zip(found, documents, strict=True):
        keys = orjson.loads(raw) if raw else {}
        row.update(keys if everything else {name: keys[name] for name in wanted & keys.keys()})


def hits(results: schema_pb2.SearchResultData, key: str, whole: bool) -> list[dict[str, Any]]:
    """Hits of a search, of all queries one after the other.

    Args:
        results: of the search.
        key: the name of the primary key.
        whole: whether int64 may be numbers.
    """
    found = rows(results.fields_data, results.output_fields, whole)
    keys = ids(results.ids, whole)
    found = found or [{} for _ in keys]
    scores = np.array(results.scores, np.float32)
    elements = list(results.element_indices.data) if results.HasField("element_indices") else None
    if not len(found) == len(keys) == len(scores) or len(elements or scores) != len(scores):
        raise Refused(BAD_RESULT.code, BAD_RESULT.base)
    for row, value, score in zip(found, keys, scores, strict=True):
        row[key] = value
        row["distance"] = score
    for row, offset in zip(found, elements or (), strict=False):
        row["offset"] = offset
    return found


def entries(
    found: list[dict[str, Any]], elements: Iterable[milvus_pb2.ElementIndices]
) -> list[dict[str, Any]]:
    """Rows of a query, or in place of each an entry for each of its elements that the filter means.

    Args:
        found: the rows.
        elements: of each row; none where the filter means none.
    """
    places = [list(one.indices.data) for one in elements]
    if not places:
        return found
    return [{**row, "offset": at} for row, own in zip(found, places, strict=True) for at in own]


def cost_of(status: common_pb2.Status) -> int:
    """What a call cost, in the units of its own report; 0 where it reports nothing."""
    told = status.extra_info.get("report_value", "0")
    return int(told) if told.isdecimal() else 0


def _full(field: schema_pb2.FieldData, values: _Column) -> _Column:
    """Values aligned with rows: some columns have values of valid rows only."""
    valid = field.valid_data
    if not valid:
        return values
    if len(values) == len(valid):
        return [value if there else None for value, there in zip(values, valid, strict=True)]
    rest = iter(values)
    return [next(rest) if there else None for there in valid]


def _column(field: schema_pb2.FieldData, whole: bool) -> _Column:
    if field.type == DataType.ArrayOfStruct:
        return _structs(field, whole)
    if field.WhichOneof("field") == "vectors":
        return _full(field, _vectors(field.type, field.vectors))
    return _full(field, _scalars(field.scalars, whole))


def _scalars(scalars: schema_pb2.ScalarField, whole: bool) -> _Column:
    which = scalars.WhichOneof("data")
    if which is None:
        return []
    data = getattr(scalars, which).data
    if which == "long_data":
        return _longs(data, whole)
    if which == "float_data":
        return list(np.array(data, np.float32))
    if which == "json_data":
        return [orjson.Fragment(raw or b"null") for raw in data]
    if which in ("bytes_data", "geometry_data"):
        return [base64.b64encode(raw).decode() for raw in data]
    if which == "array_data":
        return [_scalars(each, whole) for each in data]
    return list(data)


def _vectors(kind: int, vectors: schema_pb2.VectorField) -> _Column:
    if kind == DataType.SparseFloatVector:
        return [_sparse(raw) for raw in vectors.sparse_float_vector.contents]
    if kind == DataType.ArrayOfVector:
        inner = vectors.vector_array.element_type
        return [_vectors(inner, each) for each in vectors.vector_array.data]
    dim = max(vectors.dim, 1)
    if kind == DataType.FloatVector:
        return list(np.array(vectors.float_vector.data, np.float32).reshape(-1, dim))
    if kind == DataType.Int8Vector:
        return list(np.frombuffer(vectors.int8_vector, np.int8).reshape(-1, dim))
    raw, width = {
        DataType.BinaryVector: (vectors.binary_vector, dim // 8),
        DataType.Float16Vector: (vectors.float16_vector, dim * 2),
        DataType.BFloat16Vector: (vectors.bfloat16_vector, dim * 2),
    }[kind]
    width = max(width, 1)
    return [base64.b64encode(raw[at : at + width]).decode() for at in range(0, len(raw), width)]


def _sparse(raw: bytes) -> dict[str, Any]:
    found = np.frombuffer(raw, [("index", "<u4"), ("value", "<f4")])
    return {str(index): value for index, value in zip(found["index"].tolist(), found["value"], strict=True)}


def _structs(field: schema_pb2.FieldData, whole: bool) -> _Column:
    prefix = f"{field.field_name}["
    names = [sub.field_name.removeprefix(prefix).removesuffix("]") for sub in field.struct_arrays.fields]
    columns = [_column(sub, whole) for sub in field.struct_arrays.fields]
    found: _Column = []
    for row in zip(*columns, strict=True):
        if None in [None if each is None else 0 for each in row]:
            found.append(None)
        else:
            found.append([dict(zip(names, each, strict=True)) for each in zip(*row, strict=True)])
    return _full(field, found)


def aggregations(results: schema_pb2.SearchResultData, key: str, whole: bool) -> list[dict[str, Any]]:
    """Groups of hits, for each query.

    Args:
        results: of a search with an aggregation.
        key: the name of the primary key.
        whole: whether int64 may be numbers.
    """
    rest = iter(results.agg_buckets)
    return [
        {"buckets": [_bucket(next(rest), key, whole) for _ in range(count)]} for count in results.agg_topks
    ]


def _bucket(bucket: schema_pb2.AggBucket, key: str, whole: bool) -> dict[str, Any]:
    return {
        "key": [
            {
                "fieldName": each.field_name or str(each.field_id),
                "fieldId": each.field_id if whole else str(each.field_id),
                "value": _one(each, "value", whole),
            }
            for each in bucket.key
        ],
        "count": bucket.count if whole else str(bucket.count),
        "metrics": {name: _one(each, "value", whole) for name, each in bucket.metrics.items()},
        "hits": [
            {
                **{each.field_name or str(each.field_id): _one(each, "value", whole) for each in hit.fields},
                key: _one(hit, "pk", whole),
                "distance": np.float32(hit.score),
            }
            for hit in bucket.hits
        ],
        "subGroups": [_bucket(each, key, whole) for each in bucket.sub_groups],
    }


def _one(message: Any, oneof: str, whole: bool) -> Any:
    """The value of a message that has one of several types."""
    which = message.WhichOneof(oneof)
    if which is None:
        return None
    value = getattr(message, which)
    if which in ("int_val", "int_pk"):
        return value if whole else str(value)
    if which == "float_val":
        return np.float32(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value
