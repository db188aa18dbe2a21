"""How Arrow types lie in a record batch: nodes, buffers and strides. Pure functions over types and arrays."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from headwater.formats.ipc_layout import BatchLayout
from headwater.types import ByteRange

__all__ = ["Column", "build", "plain_vectors", "stride_of", "unsupported"]


def unsupported(kind: pa.DataType) -> pa.DataType | None:
    """The part of a type whose layout is not a plain list of buffers, None when there is none."""
    plain = (
        not isinstance(kind, pa.BaseExtensionType)
        and not pa.types.is_dictionary(kind)
        and not pa.types.is_union(kind)
        and not pa.types.is_run_end_encoded(kind)
    )
    if not plain:
        return kind
    for child in range(kind.num_fields):
        if (found := unsupported(kind.field(child).type)) is not None:
            return found
    return None


def stride_of(kind: pa.DataType) -> int | None:
    """Bytes of one value when values lie at a fixed stride, else None."""
    if pa.types.is_fixed_size_list(kind):
        inner = stride_of(kind.value_type) if pa.types.is_primitive(kind.value_type) else None
        return None if inner is None else inner * kind.list_size
    if pa.types.is_fixed_size_binary(kind):
        return int(kind.byte_width)
    if pa.types.is_primitive(kind) and kind.bit_width % 8 == 0:
        return int(kind.bit_width // 8)
    return None


def _parts(kind: pa.DataType) -> tuple[int, int]:
    """(nodes, buffers) that a column of this type takes in a record batch."""
    nodes, buffers = 1, 0 if pa.types.is_null(kind) else kind.num_buffers
    for child in range(kind.num_fields):
        more_nodes, more_buffers = _parts(kind.field(child).type)
        nodes, buffers = nodes + more_nodes, buffers + more_buffers
    return nodes, buffers


class Column:
    """Where one column lies among the nodes and buffers of a batch."""

    def __init__(self, field: pa.Field, node: int, buffer: int) -> None:
        self.field = field
        self.node = node
        self.buffer = buffer
        self.num_nodes, self.num_buffers = _parts(field.type)
        self.vector = pa.types.is_fixed_size_list(field.type)
        self.values = buffer + (2 if self.vector else 1)
        self.stride = stride_of(field.type)

    def strided(self, batch: BatchLayout) -> bool:
        """Whether this batch's values are at a fixed stride, with no null inside a vector."""
        return self.stride is not None and not (self.vector and batch.nodes[self.node + 1][1])

    def spans(self, batch: BatchLayout) -> list[ByteRange]:
        """The column's buffers."""
        return list(batch.buffers[self.buffer : self.buffer + self.num_buffers])


def build(kind: pa.DataType, nodes: Iterator[tuple[int, int]], buffers: Iterator[pa.Buffer]) -> pa.Array:
    """An array over its buffers, its children first to last after it."""
    length, nulls = next(nodes)
    if pa.types.is_null(kind):
        return pa.nulls(length)
    own: list[pa.Buffer | None] = [next(buffers) for _ in range(kind.num_buffers)]
    if not nulls:
        own[0] = None
    children = [build(kind.field(child).type, nodes, buffers) for child in range(kind.num_fields)]
    return pa.Array.from_buffers(kind, length, own, nulls, children=children or None)


def plain_vectors(array: pa.Array) -> pa.Array:
    """The array without marks of null values inside null vectors: every row keeps a fixed stride."""
    kind = array.type
    if not pa.types.is_fixed_size_list(kind) or stride_of(kind) is None or not array.values.null_count:
        return array
    if array.flatten().null_count:
        return array
    mask, values = array.buffers()[0], array.values
    child = pa.Array.from_buffers(
        kind.value_type, len(values), [None, values.buffers()[1]], 0, offset=values.offset
    )
    return pa.Array.from_buffers(kind, len(array), [mask], array.null_count, array.offset, [child])
