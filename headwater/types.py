"""Words that every room shares: data types, metrics, byte ranges, row positions."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "INTEGER_TYPES",
    "NUMBER_TYPES",
    "ORDERED_TYPES",
    "TEXT_TYPES",
    "Bitmap",
    "ByteRange",
    "ConsistencyLevel",
    "DataType",
    "FloatMatrix",
    "MetricType",
    "RowIds",
]

RowIds = npt.NDArray[np.int64]
"""(n,) int64: positions in a segment or stable row ids, as the parameter says."""

Bitmap = npt.NDArray[np.bool_]
"""(num_rows,) bool: True marks a selected row."""

FloatMatrix = npt.NDArray[np.float32]
"""(n, dim) float32."""


class DataType(enum.StrEnum):
    """Type of a field. The value is the word stored in manifests; the names are Milvus's."""

    BOOL = "bool"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float"
    DOUBLE = "double"
    VARCHAR = "varchar"
    TEXT = "text"
    JSON = "json"
    ARRAY = "array"
    STRUCT_ARRAY = "struct_array"
    TIMESTAMPTZ = "timestamptz"
    GEOMETRY = "geometry"
    BINARY = "binary"
    REFERENCE = "reference"
    FLOAT_VECTOR = "float_vector"
    FLOAT16_VECTOR = "float16_vector"
    BFLOAT16_VECTOR = "bfloat16_vector"
    INT8_VECTOR = "int8_vector"
    BINARY_VECTOR = "binary_vector"
    SPARSE_FLOAT_VECTOR = "sparse_float_vector"

    @property
    def dense_vector(self) -> bool:
        """Whether values are vectors of one fixed dimension."""
        return self.value.endswith("_vector") and self is not DataType.SPARSE_FLOAT_VECTOR


INTEGER_TYPES = frozenset((DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64))
NUMBER_TYPES = INTEGER_TYPES | {DataType.FLOAT, DataType.DOUBLE}
TEXT_TYPES = frozenset((DataType.VARCHAR, DataType.TEXT))
ORDERED_TYPES = NUMBER_TYPES | TEXT_TYPES | {DataType.BOOL, DataType.TIMESTAMPTZ}
"""Types whose values have one order: rows are sorted by them, and they have a least and a greatest."""


class ConsistencyLevel(enum.StrEnum):
    """What a read is promised to see; the names and promises are Milvus's.

    STRONG: everything acknowledged before the read began, by any process.
    BOUNDED: everything acknowledged more than the staleness bound ago (5 s by default).
    SESSION: everything that this session, which is a connection, has written itself.
    EVENTUALLY: some earlier state; the cheapest.
    """

    STRONG = "Strong"
    BOUNDED = "Bounded"
    SESSION = "Session"
    EVENTUALLY = "Eventually"


class MetricType(enum.StrEnum):
    """Similarity metric.

    IP, COSINE, BM25, MHJACCARD and the MAX_SIM of IP and COSINE grow with similarity; the others shrink.

    MAX_SIM metrics compare rows of several vectors: the sum, over the query's vectors, of the best match in the row.
    """

    L2 = "L2"
    IP = "IP"
    COSINE = "COSINE"
    HAMMING = "HAMMING"
    JACCARD = "JACCARD"
    BM25 = "BM25"
    MHJACCARD = "MHJACCARD"
    MAX_SIM_COSINE = "MAX_SIM_COSINE"
    MAX_SIM_IP = "MAX_SIM_IP"
    MAX_SIM_L2 = "MAX_SIM_L2"
    MAX_SIM_HAMMING = "MAX_SIM_HAMMING"
    MAX_SIM_JACCARD = "MAX_SIM_JACCARD"

    @property
    def larger_is_closer(self) -> bool:
        """Whether a larger value means a closer vector."""
        return self in _LARGER_IS_CLOSER


_LARGER_IS_CLOSER = frozenset(
    (
        MetricType.IP,
        MetricType.COSINE,
        MetricType.BM25,
        MetricType.MHJACCARD,
        MetricType.MAX_SIM_COSINE,
        MetricType.MAX_SIM_IP,
    )
)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `[start, stop)` of an object."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"byte range [{self.start}, {self.stop}) is not ordered")

    @property
    def size_bytes(self) -> int:
        """Length in bytes."""
        return self.stop - self.start
