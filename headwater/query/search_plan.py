"""What a search looks for, and the queries it looks with, checked against the schema."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headwater.errors import DimensionMismatch, InvalidArgument, SchemaMismatch
from headwater.lake import Segment
from headwater.query.collapse import Collapse
from headwater.query.sparse_queries import sparse_queries
from headwater.schema import Field, stored_bytes
from headwater.types import Bitmap, DataType, MetricType

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = ["MAX_TOP_K", "SearchPlan", "query_matrix"]

MAX_TOP_K = 16_384
"""Milvus's bound on the hits of one query."""


@dataclass(frozen=True)
class SearchPlan:
    """What a search looks for, checked and bound to a schema; queries come with each search.

    Attributes:
        field: the dense vector field.
        top_k: hits per query.
        metric: how closeness is measured.
        filter: rows to consider; None for all.
        output_fields: fields of the hits.
        radius: outer bound of a range search: worse hits are left out.
        range_filter: inner bound: better hits are left out.
        options: search parameters of the index kind (`nprobe`, `ef`, ...).
        within: (num_rows,) True for the rows of a segment that may be found, besides the filter; None for all.
        collapse: of a leg that finds elements, how those of a row become one hit; None for the best of them.
    """

    field: Field
    top_k: int
    metric: MetricType
    filter: expr.Bound | None = None
    output_fields: tuple[str, ...] = ()
    radius: float | None = None
    range_filter: float | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    within: Callable[[Segment], Bitmap] | None = None
    collapse: Collapse | None = None

    @cached_property
    def ranged(self) -> bool:
        """Whether distances are bounded."""
        return self.radius is not None or self.range_filter is not None

    @cached_property
    def in_lists(self) -> bool:
        """Whether rows hold several vectors each."""
        return self.field.type.data_type is DataType.STRUCT_ARRAY

    @cached_property
    def of_elements(self) -> bool:
        """Whether rows hold several vectors each, and each of them is a hit by itself."""
        return self.in_lists and not self.metric.startswith("MAX_SIM")

    def __post_init__(self) -> None:
        whole = isinstance(self.top_k, int | np.integer) and not isinstance(self.top_k, bool)
        if not whole or not 1 <= self.top_k <= MAX_TOP_K:
            raise InvalidArgument(f"top_k must be an integer from 1 to {MAX_TOP_K}, got {self.top_k!r}")
        for name, bound in (("radius", self.radius), ("range_filter", self.range_filter)):
            if bound is not None and (
                isinstance(bound, bool) or not isinstance(bound, int | float | np.number) or bound != bound
            ):
                raise InvalidArgument(f"{name} must be a number, got {bound!r}")


def query_matrix(data: Any, vector_field: Field) -> npt.NDArray[Any]:
    """Query vectors as one matrix, checked against the field.

    Args:
        data: one vector, or a sequence or array of them; bytes for vectors as stored; of a sparse field mappings, lists
            of (index, value) pairs or a scipy matrix, or texts where BM25 fills it.
        vector_field: the field searched.

    Returns:
        (q, dim) float32; (q, dim / 8) uint8 for a binary field; (q,) objects for a sparse one.

    Raises:
        DimensionMismatch: a vector has another length than the field.
        SchemaMismatch: a value is not a number, or not finite.
    """
    dim = vector_field.type.dim or 0
    name = vector_field.name
    if vector_field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
        return sparse_queries(data, vector_field)
    if vector_field.type.data_type is DataType.BINARY_VECTOR:
        rows = [data] if isinstance(data, bytes | bytearray) else list(data)
        packed = [np.frombuffer(bytes(row), np.uint8) for row in rows]
        for i, row in enumerate(packed):
            if len(row) * 8 != dim:
                raise DimensionMismatch(f"query {i}, field {name!r}: expected {dim} bits, got {len(row) * 8}")
        return np.stack(packed) if packed else np.empty((0, dim // 8), np.uint8)
    data = stored_bytes(data, vector_field)
    if isinstance(data, list) and len(data) == 1 and isinstance(data[0], np.ndarray):
        data = data[0]
    try:
        matrix = np.asarray(data, dtype=np.float32)
    except (TypeError, ValueError) as error:
        lengths = _lengths(data)
        for i, length in enumerate(lengths):
            if length != dim:
                raise DimensionMismatch(
                    f"query {i}, field {name!r}: expected {dim} numbers, got {length}"
                ) from error
        raise SchemaMismatch(f"queries on field {name!r} are not all numbers: {error}") from error
    if matrix.ndim == 1:
        matrix = matrix[None, :] if len(matrix) else matrix.reshape(0, dim)
    if matrix.ndim != 2 or matrix.shape[1] != dim:
        raise DimensionMismatch(f"queries on field {name!r}: expected (q, {dim}), got {matrix.shape}")
    # A sum of squares is finite unless a number is not, or it overflows; only then is each number looked at.
    flat = matrix.reshape(-1)
    if not math.isfinite(flat.dot(flat)) and not (finite := np.isfinite(matrix).all(axis=1)).all():
        raise SchemaMismatch(f"query {int(np.argmin(finite))}, field {name!r}: holds NaN or infinity")
    return np.ascontiguousarray(matrix)


def _lengths(data: Any) -> list[int]:
    return (
        [len(row) for row in data if isinstance(row, Sequence | np.ndarray)]
        if isinstance(data, Sequence)
        else []
    )
