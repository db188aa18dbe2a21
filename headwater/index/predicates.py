"""What a filter may ask a scalar index, and what an index answers.

A predicate is about one field, or about one path in a JSON field. It speaks of values, not of text of the filter
language, so an index never sees an expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.types import Bitmap

__all__ = ["Answer", "HasAll", "HasAny", "IsNull", "Matches", "OneOf", "Predicate", "Range", "Spatial"]


@dataclass(frozen=True)
class OneOf:
    """The value equals one of `values`."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """The value lies between two bounds, either of which may be None for none."""

    low: Any = None
    high: Any = None
    low_inclusive: bool = True
    high_inclusive: bool = True


@dataclass(frozen=True)
class Matches:
    """The text matches a pattern.

    Attributes:
        pattern: of `like` (``%`` any text, ``_`` one character, backslash escapes), or a regular expression (RE2),
            which may match anywhere in the text.
        regex: which of the two.
    """

    pattern: str
    regex: bool = False


@dataclass(frozen=True)
class HasAny:
    """The array has one of `values` among its elements."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class HasAll:
    """The array has every one of `values` among its elements."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class IsNull:
    """There is no value."""


@dataclass(frozen=True)
class Spatial:
    """The geometry stands in a relation to another.

    Attributes:
        relation: contains, within, intersects, equals, touches, overlaps, crosses or dwithin: of the field to `wkb`.
        wkb: the other geometry.
        distance_m: of dwithin, metres on the sphere (longitude and latitude in degrees).
    """

    relation: str
    wkb: bytes
    distance_m: float | None = None


Predicate = OneOf | Range | Matches | HasAny | HasAll | IsNull | Spatial


@dataclass(frozen=True)
class Answer:
    """Rows that an index found.

    Attributes:
        rows: (num_rows,) True for rows that satisfy the predicate; rows without a value are never True, except for
            `IsNull`.
        exact: whether every marked row satisfies it; otherwise they are candidates, and no other row does.
    """

    rows: Bitmap
    exact: bool = True
