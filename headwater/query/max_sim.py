"""Rows of several vectors: a struct array with a vector in each element, searched by all of them.

With a MAX_SIM metric a query is several vectors too, and a row's value is the sum, over the query's vectors, of the
best match among the row's (late interaction). With a plain metric a query is one vector that finds elements, see
`query.elements`. A row without elements is never found.

Reference: Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction
over BERT", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import DimensionMismatch, FieldNotFound, InvalidArgument, SchemaMismatch
from headwater.index.exact import best, score, to_float32
from headwater.index.exact import lengths as vector_lengths
from headwater.index.scalar import path_of, spell_json_path
from headwater.lake import IndexSpec
from headwater.schema import Field, FieldType, Schema, arrow_type
from headwater.types import Bitmap, DataType, FloatMatrix, MetricType, RowIds

__all__ = [
    "VectorLists",
    "compare_rows",
    "indexed_field",
    "list_field",
    "list_metric",
    "list_queries",
    "member_path",
    "rows_with_vectors",
    "search_lists",
    "search_rows",
    "single_metric",
    "vector_lists",
]

_BLOCK_SCORES = 8 << 20
"""Scores held at once, so that memory is bounded by a block."""

_BLOCK_VECTORS = 65_536

_SINGLE = {
    MetricType.MAX_SIM_COSINE: MetricType.COSINE,
    MetricType.MAX_SIM_IP: MetricType.IP,
    MetricType.MAX_SIM_L2: MetricType.L2,
    MetricType.MAX_SIM_HAMMING: MetricType.HAMMING,
    MetricType.MAX_SIM_JACCARD: MetricType.JACCARD,
}
_OF_BITS = frozenset((MetricType.HAMMING, MetricType.JACCARD))


class VectorLists(NamedTuple):
    """The vectors of a segment's rows, one row after the other.

    Attributes:
        vectors: (elements, width) as stored.
        offsets: (num_rows + 1,) where those of each row start.
        places: (elements,) position of each in its row's list; None where no element is left out.
        lengths: (elements,) float32 lengths of vectors of numbers; None of binary vectors.
    """

    vectors: npt.NDArray[Any]
    offsets: RowIds
    places: npt.NDArray[np.int64] | None
    lengths: npt.NDArray[np.float32] | None

    def rows_of(self, numbers: RowIds) -> RowIds:
        """(n,) the row that each vector is of."""
        return np.searchsorted(self.offsets, numbers, side="right") - 1

    def places_of(self, numbers: RowIds, rows: RowIds) -> RowIds:
        """(n,) the position of each vector in the list of its row."""
        return numbers - self.offsets[rows] if self.places is None else self.places[numbers]

    @property
    def nbytes(self) -> int:
        """Memory of its own."""
        return sum(one.nbytes for one in self if one is not None)


def list_field(schema: Schema, path: str) -> Field:
    """What ``chunks[emb]`` names: the struct array with that member alone.

    Raises:
        FieldNotFound: there is no such field or member.
        InvalidArgument: the field is no struct array, or the member no dense vector.
    """
    name, _, member = path.removesuffix("]").partition("[")
    parent = schema.field(name)
    if parent.type.data_type is not DataType.STRUCT_ARRAY:
        raise InvalidArgument(f"anns_field {path!r}: {name!r} is {parent.type}, not an array of structs")
    for one in parent.type.fields:
        if one.name == member:
            if not one.type.data_type.dense_vector:
                raise InvalidArgument(f"anns_field {path!r}: {member!r} is {one.type}, not a dense vector")
            kind = FieldType(DataType.STRUCT_ARRAY, fields=(one,))
            return Field(f"{name}[{member}]", kind, id=parent.id, nullable=True)
    known = ", ".join(one.name for one in parent.type.fields)
    raise FieldNotFound(f"anns_field {path!r}: {name!r} has no member {member!r}", hint=f"members: {known}")


def member_path(field: Field) -> str:
    """The path of an index on a field: which member of a struct array, as `list_field` gives it, else none."""
    if field.type.data_type is not DataType.STRUCT_ARRAY:
        return ""
    return spell_json_path((field.name.removesuffix("]").partition("[")[2],))


def indexed_field(schema: Schema, spec: IndexSpec) -> Field:
    """What an index is on: a field, or what `list_field` gives of a member of a struct array."""
    field = schema.field_by_id(spec.field_id)
    if field.type.data_type is not DataType.STRUCT_ARRAY or not spec.metric:
        return field
    return list_field(schema, f"{field.name}[{path_of(spec.path)[0]}]")


def single_metric(metric: MetricType) -> MetricType:
    """How two vectors are compared, where rows may be by all of theirs."""
    return _SINGLE.get(metric, metric)


def list_metric(field: Field, metric: MetricType | None) -> MetricType:
    """The metric of a search in a struct array's vectors; MAX_SIM_COSINE by default.

    Raises:
        InvalidArgument: the metric does not fit the vectors.
    """
    binary = field.type.fields[0].type.data_type is DataType.BINARY_VECTOR
    if metric is None:
        return MetricType.HAMMING if binary else MetricType.MAX_SIM_COSINE
    fitting = [one for pair in _SINGLE.items() for one in pair if (pair[1] in _OF_BITS) == binary]
    if metric not in fitting:
        known = ", ".join(fitting)
        raise InvalidArgument(
            f"metric_type {metric} does not fit {field.name!r}", hint=f"expected one of {known}"
        )
    return metric


def list_queries(data: Any, field: Field, metric: MetricType) -> list[npt.NDArray[Any]]:
    """Queries, each a matrix of vectors.

    Args:
        data: of a MAX_SIM metric one (m, dim) matrix or a list of them; of a plain one a vector, a list of them, or a
            (q, dim) matrix. Binary vectors are bytes, and a matrix of them a list of bytes or packed uint8.
        field: as `list_field` gives it.
        metric: decides which.

    Returns:
        For each query (m, dim) float32, or packed uint8 for binary vectors.

    Raises:
        DimensionMismatch: a vector has another length than the field's.
        SchemaMismatch: a value is not a number, or not finite, or a query has no vector.
    """
    member = field.type.fields[0].type
    matrices: list[npt.NDArray[Any]]
    if member.data_type is DataType.BINARY_VECTOR:
        rows = [data] if isinstance(data, bytes | bytearray) else list(data)
        if metric not in _SINGLE:
            matrices = [np.frombuffer(bytes(row), np.uint8)[None] for row in rows]
        else:
            alone = len(rows) > 0 and (isinstance(rows[0], bytes | bytearray) or np.ndim(rows[0]) == 1)
            matrices = [_bits(one, field) for one in ([rows] if alone else rows)]
    elif metric in _SINGLE:
        several = isinstance(data, list | tuple) and len(data) > 0 and np.ndim(data[0]) == 2
        several = several or (isinstance(data, np.ndarray) and data.ndim == 3)
        matrices = [_numbers(one, field) for one in (data if several else [data])]
    else:
        matrix = _numbers(data, field)
        matrices = [row[None] for row in (matrix if matrix.ndim == 2 else matrix[None])]
    width = arrow_type(member).list_size
    for i, matrix in enumerate(matrices):
        if matrix.ndim != 2 or matrix.shape[1] != width:
            raise DimensionMismatch(
                f"query {i}, field {field.name!r}: expected vectors of {member.dim}, got shape {matrix.shape}",
                hint="a query of a MAX_SIM metric is a matrix of vectors",
            )
        if not len(matrix):
            raise SchemaMismatch(f"query {i}, field {field.name!r}: it has no vector")
        if matrix.dtype == np.float32 and not np.isfinite(matrix).all():
            raise SchemaMismatch(f"query {i}, field {field.name!r}: holds NaN or infinity")
    return matrices


def _bits(data: Any, field: Field) -> npt.NDArray[np.uint8]:
    rows = [np.frombuffer(bytes(row), np.uint8) for row in data]
    if len({len(row) for row in rows}) > 1:
        raise DimensionMismatch(f"queries on field {field.name!r}: vectors of one query differ in length")
    return (
        np.stack(rows) if rows else np.empty((0, arrow_type(field.type.fields[0].type).list_size), np.uint8)
    )


def _numbers(data: Any, field: Field) -> npt.NDArray[np.float32]:
    try:
        return np.ascontiguousarray(np.asarray(data, np.float32))
    except (TypeError, ValueError) as error:
        raise SchemaMismatch(
            f"queries on field {field.name!r} are not matrices of numbers: {error}"
        ) from error


def vector_lists(column: pa.Array, field: Field) -> VectorLists:
    """The vectors of a struct array's column, without null rows and null elements; views where nothing is null.

    Args:
        column: (num_rows,) of the whole struct array.
        field: as `list_field` gives it.
    """
    member = field.type.fields[0]
    target = arrow_type(member.type)
    # `flatten` leaves out what null rows hold.
    elements, lengths = column.flatten(), column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = (
        elements.field(member.name)
        if not elements.null_count
        else elements.flatten()[_place(elements, member)]
    )
    places = None
    if values.null_count:
        kept = values.is_valid().to_numpy(zero_copy_only=False)
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = (np.arange(len(values)) - starts)[kept]
        owners = np.repeat(np.arange(len(lengths)), lengths)[kept]
        lengths = np.bincount(owners, minlength=len(lengths))
        values = values.drop_null()
    flat = values.values.slice(values.offset * target.list_size, len(values) * target.list_size)
    vectors = flat.to_numpy(zero_copy_only=False).reshape(-1, target.list_size)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    binary = member.type.data_type is DataType.BINARY_VECTOR
    return VectorLists(vectors, offsets, places, None if binary else _lengths(vectors))


def _lengths(vectors: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Of all vectors, of which few are widened at a time."""
    blocks = range(0, len(vectors), _BLOCK_VECTORS)
    parts = [vector_lengths(to_float32(vectors[start : start + _BLOCK_VECTORS])) for start in blocks]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _place(elements: pa.StructArray, member: Field) -> int:
    return int(elements.type.get_field_index(member.name))


def search_lists(
    lists: VectorLists,
    queries: Sequence[npt.NDArray[Any]],
    k: int,
    metric: MetricType,
    allowed: Bitmap | None,
) -> tuple[FloatMatrix, RowIds]:
    """The k best rows for each query, exactly.

    Args:
        lists: the rows' vectors.
        queries: each (m, width).
        k: how many.
        metric: a MAX_SIM metric.
        allowed: (num_rows,) rows to consider; None for all.

    Returns:
        (q, k') distances and positions, best first; k' is less than k where fewer rows have vectors.
    """
    return search_rows(lists, queries, k, metric, rows_with_vectors(lists, allowed))


def rows_with_vectors(lists: VectorLists, allowed: Bitmap | None) -> RowIds:
    """Those of the allowed rows that may be found, ascending."""
    counts = np.diff(lists.offsets)
    return np.flatnonzero(counts if allowed is None else (counts > 0) & allowed)


def search_rows(
    lists: VectorLists, queries: Sequence[npt.NDArray[Any]], k: int, metric: MetricType, rows: RowIds
) -> tuple[FloatMatrix, RowIds]:
    """`search_lists` among some rows, which all have vectors."""
    together = np.concatenate(queries)
    starts = np.cumsum([0, *(len(one) for one in queries[:-1])])
    found = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for block in _blocks(rows, lists.offsets[rows + 1] - lists.offsets[rows], len(together)):
        values = _summed(lists, block, together, starts, metric)
        distances = np.concatenate([found[0], values], axis=1)
        positions = np.concatenate([found[1], np.tile(block, (len(queries), 1))], axis=1)
        order = best(distances, min(k, distances.shape[1]), metric)
        found = np.take_along_axis(distances, order, axis=1), np.take_along_axis(positions, order, axis=1)
    return found


def compare_rows(
    lists: VectorLists, rows: RowIds, queries: Sequence[npt.NDArray[Any]], metric: MetricType
) -> FloatMatrix:
    """(q, len(rows)) values of some rows, which all have vectors."""
    together, starts = np.concatenate(queries), np.cumsum([0, *(len(one) for one in queries[:-1])])
    blocks = _blocks(rows, lists.offsets[rows + 1] - lists.offsets[rows], len(together))
    return np.concatenate([_summed(lists, block, together, starts, metric) for block in blocks], axis=1)


def _blocks(rows: RowIds, counts: RowIds, queries: int) -> list[RowIds]:
    """Rows cut so that the scores of a block are at most `_BLOCK_SCORES`, or it is one row.

    Args:
        rows: ascending.
        counts: (n,) elements of each.
        queries: vectors that each element is compared with.
    """
    most, ends = max(1, _BLOCK_SCORES // queries), np.cumsum(counts)
    blocks, start = [], 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, "right")))
        blocks.append(rows[start:stop])
        start = stop
    return blocks


def _summed(
    lists: VectorLists, rows: RowIds, queries: npt.NDArray[Any], starts: npt.NDArray[Any], metric: MetricType
) -> FloatMatrix:
    """(q, len(rows)) values of rows that all have vectors."""
    counts = lists.offsets[rows + 1] - lists.offsets[rows]
    first = np.cumsum(counts) - counts
    if len(rows) == int(rows[-1]) - int(rows[0]) + 1:
        vectors = lists.vectors[lists.offsets[rows[0]] : lists.offsets[rows[-1] + 1]]
    else:
        chosen = np.repeat(lists.offsets[rows] - first, counts) + np.arange(int(counts.sum()))
        vectors = lists.vectors[chosen]
    single = _SINGLE[metric]
    scores = score(vectors, queries, single)
    reduced = (np.maximum if single.larger_is_closer else np.minimum).reduceat(scores, first, axis=1)
    summed: FloatMatrix = np.add.reduceat(reduced, starts, axis=0)
    return summed
