"""What is opened or decoded, as the budget of memory weighs it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from headwater.formats import FetchedVectors, Vectors
from headwater.index import held_bytes
from headwater.index.text import Postings
from headwater.lake import KeyLookup, SegmentReader
from headwater.query.columns import HotColumn
from headwater.tiers import MAPPED, Residency

__all__ = [
    "Placed",
    "array_bytes",
    "column_bytes",
    "lookup_bytes",
    "placed_bytes",
    "postings_bytes",
    "reader_bytes",
    "vectors_bytes",
]

V = TypeVar("V")


class Placed(Generic[V]):
    """What was opened from a file, which stays open with it; None where it came from memory."""

    __slots__ = ("residency", "value")

    def __init__(self, value: V, residency: Residency | None) -> None:
        self.value = value
        self.residency = residency


def vectors_bytes(vectors: Vectors) -> int:
    """What vectors cost us: nothing where they are fetched, or a view of somebody else's memory (a memory map)."""
    if isinstance(vectors, FetchedVectors) or MAPPED.holds(vectors.ctypes.data):
        return 0
    return int(vectors.nbytes)


def reader_bytes(reader: SegmentReader) -> int:
    """Memory of an opened segment."""
    return reader.held_bytes


def placed_bytes(placed: Placed[Any]) -> int:
    """Memory of an opened index, and of its file where that was read."""
    read = 0 if placed.residency is None else placed.residency.held_bytes
    return max(read, held_bytes(placed.value))


def array_bytes(array: Any) -> int:
    """Memory of an array."""
    return int(array.nbytes)


def column_bytes(column: HotColumn) -> int:
    """Memory of a decoded field."""
    return column.held_bytes


def postings_bytes(placed: Placed[Postings]) -> int:
    """Memory of an inverted index."""
    return int(placed.value.size_bytes)


def lookup_bytes(lookup: KeyLookup) -> int:
    """Memory of a lookup of row ids."""
    return lookup.held_bytes
