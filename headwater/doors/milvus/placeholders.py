"""The queries of a search, as clients pack them: one placeholder whose values are vectors or texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2

from headwater.doors.milvus.codes import invalid, unexpected
from headwater.doors.milvus.hit_order import SEGCORE_NAMES
from headwater.doors.milvus.params import MAX_WINDOW
from headwater.query.max_sim import list_metric
from headwater.schema import Field, bfloat16_numbers
from headwater.types import DataType

__all__ = ["by_lists", "checked_count", "queries"]

_Kind = common_pb2.PlaceholderType
_DENSE: dict[int, tuple[DataType, type[Any], int]] = {
    _Kind.FloatVector: (DataType.FLOAT_VECTOR, np.float32, 4),
    _Kind.Float16Vector: (DataType.FLOAT16_VECTOR, np.float16, 2),
    _Kind.BFloat16Vector: (DataType.BFLOAT16_VECTOR, np.uint16, 2),
    _Kind.Int8Vector: (DataType.INT8_VECTOR, np.int8, 1),
    _Kind.EmbListFloatVector: (DataType.FLOAT_VECTOR, np.float32, 4),
    _Kind.EmbListFloat16Vector: (DataType.FLOAT16_VECTOR, np.float16, 2),
    _Kind.EmbListBFloat16Vector: (DataType.BFLOAT16_VECTOR, np.uint16, 2),
    _Kind.EmbListInt8Vector: (DataType.INT8_VECTOR, np.int8, 1),
}
_FROM_FLOATS = frozenset((DataType.FLOAT16_VECTOR, DataType.BFLOAT16_VECTOR))
"""Fields that numbers of 32 bits are searched for in."""

_LISTS = frozenset(kind for name, kind in _Kind.items() if name.startswith("EmbList"))


def by_lists(field: Field, params: Mapping[str, Any]) -> bool:
    """Whether a search of a struct array's vectors is of lists of them, by a MAX_SIM metric.

    Args:
        field: as `max_sim.list_field` gives it.
        params: of the search.
    """
    metric = params.get("metric_type") or list_metric(field, None)
    return str(metric).upper().startswith("MAX_SIM")


def checked_count(count: int) -> int:
    """The number of queries of a search.

    Raises:
        MilvusError: 65535, it is out of range.
    """
    if not 1 <= count <= MAX_WINDOW:
        raise unexpected(
            f"nq [{count}] is invalid, nq (number of search vector per search request) should be in range "
            f"[1, {MAX_WINDOW}], but got {count}"
        )
    return count


def queries(
    placeholder_group: bytes, field: Field, params: Mapping[str, Any], *, by_text: bool = False
) -> Any:
    """The queries in the form that the engine takes for a field.

    Args:
        placeholder_group: serialised `PlaceholderGroup`.
        field: which they are for.
        params: of the search; the metric says whether vectors of struct arrays are searched by lists of vectors.
        by_text: whether the field is searched by texts only, as what BM25 computes is.

    Returns:
        (q, dim) numbers; (q,) bytes for a binary field; a list of mappings for a sparse one; texts; or a list of
        (n, dim) matrices, one for each query of several vectors.

    Raises:
        MilvusError: the placeholder does not parse, there are too few or too many queries, or its vectors have another
            type or length than the field's.
    """
    found = _placeholders(placeholder_group)
    checked_count(sum(len(one.values) for one in found))
    if len(found) != 1:
        raise invalid(f"expected one placeholder, got {len(found)}")
    placeholder = found[0]
    kind, values = placeholder.type, placeholder.values
    nested = field.type.data_type is DataType.STRUCT_ARRAY
    lists = nested and by_lists(field, params)
    if nested and kind in _LISTS and not lists:
        metric = params.get("metric_type")
        raise invalid(
            "metric type not match", expected="MAX_SIM of a search by lists of vectors", actual=metric
        )
    if kind == _Kind.VarChar:
        return [value.decode() for value in values]
    if by_text:
        raise invalid(f"please provide varchar/text for BM25 Function based search, got {_name(kind)}")
    if kind == _Kind.SparseFloatVector:
        _same_type(field, DataType.SPARSE_FLOAT_VECTOR)
        return [_sparse(value) for value in values]
    if kind == _Kind.BinaryVector:
        _same_type(field, DataType.BINARY_VECTOR)
        _same_length(field, values, _dim(field) // 8)
        return [_packed(value, _dim(field) // 8) for value in values] if lists else list(values)
    if kind == _Kind.EmbListBinaryVector:
        return [_packed(value, _dim(field) // 8) for value in values]
    if kind not in _DENSE:
        raise invalid(f"queries of type {_name(kind)} cannot be searched for")
    data_type, dtype, width = _DENSE[kind]
    if kind in _LISTS:
        return [_matrix([value], dtype, _dim(field)) for value in values]
    _same_type(field, data_type)
    dim = _dim(field)
    _same_length(field, values, dim * width)
    matrix = _matrix(values, dtype, dim)
    return [row[None] for row in matrix] if lists else matrix


def _placeholders(placeholder_group: bytes) -> list[Any]:
    try:
        return list(common_pb2.PlaceholderGroup.FromString(placeholder_group).placeholders)
    except DecodeError as error:
        raise invalid(f"placeholder_group does not parse: {error}") from error


def _matrix(values: Any, dtype: Any, dim: int) -> npt.NDArray[Any]:
    flat = np.frombuffer(values[0] if len(values) == 1 else b"".join(values), dtype)
    if dim and len(flat) % dim:
        raise invalid(f"vector dimension mismatch, expected a multiple of {dim} numbers, actual {len(flat)}")
    matrix = flat.reshape(-1, dim or len(flat))
    return bfloat16_numbers(matrix) if dtype is np.uint16 else matrix


def _packed(value: bytes, width: int) -> npt.NDArray[Any]:
    """Binary vectors of one query, one after the other."""
    if not value or len(value) % width:
        raise unexpected(
            f"vector dimension mismatch, expected a multiple of {width} bytes, actual {len(value)}."
        )
    return np.frombuffer(value, np.uint8).reshape(-1, width)


def _dim(field: Field) -> int:
    """The dimension of a vector field, or of the vectors of a struct array's one member."""
    return field.type.dim or (field.type.fields[0].type.dim if field.type.fields else 0) or 0


def _same_type(field: Field, found: DataType) -> None:
    wanted = field.type.data_type
    if found is DataType.FLOAT_VECTOR and wanted in _FROM_FLOATS:
        return
    if wanted is not found and wanted is not DataType.STRUCT_ARRAY:
        raise invalid(
            f"vector type must be the same, field {field.name} - type {SEGCORE_NAMES.get(wanted, wanted)}, "
            f"search info type {SEGCORE_NAMES.get(found, found)}"
        )


def _same_length(field: Field, values: Any, expected: int) -> None:
    for value in values:
        if len(value) != expected:
            raise unexpected(
                f"vector dimension mismatch, expected vector size(byte) {expected}, actual {len(value)}."
            )


def _sparse(value: bytes) -> dict[int, float]:
    if len(value) % 8:
        raise invalid(f"invalid sparse vector: expected pairs of 8 bytes, got {len(value)} bytes")
    pairs = np.frombuffer(value, np.dtype([("index", "<u4"), ("value", "<f4")]))
    return dict(zip(pairs["index"].tolist(), pairs["value"].tolist(), strict=True))


def _name(kind: int) -> str:
    try:
        return str(_Kind.Name(kind))
    except ValueError:
        return str(kind)
