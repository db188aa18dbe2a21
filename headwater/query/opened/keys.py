"""What names a thing that is opened: the bytes it came from."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from headwater.lake import Segment
from headwater.lake.log import GrowingSegment
from headwater.schema import Field
from headwater.tiers import MemoryView

__all__ = ["bitmap_key", "column_key", "kept"]

V = TypeVar("V")


def column_key(segment: Segment, field: Field) -> tuple[Hashable, ...]:
    """Of the values of a field in a segment."""
    return (segment.id, field.id, segment.columns_key)


def bitmap_key(segment: Segment, bound: Hashable, gone: int | None) -> Hashable:
    """Of the rows of a segment that a filter selects."""
    deletes = segment.delete_vector.key if segment.delete_vector else None
    return (segment.id, segment.columns_key, deletes, gone, bound)


def kept(cache: MemoryView[Any, V], segment: Segment, key: Hashable, make: Callable[[], V]) -> V:
    """From a cache; what comes from rows in memory is kept with them, and goes with them."""
    if not isinstance(segment, GrowingSegment):
        return cache.get_or(key, make)
    if key not in segment.memo:
        segment.memo[key] = make()
    found: V = segment.memo[key]
    return found
