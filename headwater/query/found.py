"""Hits before their fields are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.lake import Segment
from headwater.types import RowIds

__all__ = ["Found"]


class Found(NamedTuple):
    """Hits whose fields are not fetched yet, by query, best first.

    Attributes:
        segments: that `which` points into.
        which: (n,) int32, the segment of each hit.
        rows: (n,) int64, its position in that segment.
        distances: (n,) float32 values of the metric.
        counts: hits of each query.
        elements: (n,) int64, of hits that are elements their positions in the arrays of their rows; None of rows.
    """

    segments: Sequence[Segment]
    which: npt.NDArray[np.int32]
    rows: RowIds
    distances: npt.NDArray[np.float32]
    counts: list[int]
    elements: RowIds | None = None

    def taken(self, chosen: npt.NDArray[Any] | slice, counts: list[int]) -> Found:
        """Some of the hits, in the order given."""
        elements = None if self.elements is None else self.elements[chosen]
        parts = self.which[chosen], self.rows[chosen], self.distances[chosen]
        return Found(self.segments, *parts, counts, elements)

    @classmethod
    def joined(cls, several: Sequence[Found], counts: list[int]) -> Found:
        """The hits of several, one after the other, which have the same segments."""
        elements = [one.elements for one in several if one.elements is not None]
        return cls(
            several[0].segments,
            np.concatenate([one.which for one in several]),
            np.concatenate([one.rows for one in several]),
            np.concatenate([one.distances for one in several]),
            counts,
            np.concatenate(elements) if elements else None,
        )

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """(2 or 3, n) int64 that name each hit: segment, row, and element of those that are elements."""
        own = () if self.elements is None else (self.elements,)
        return np.stack([self.which.astype(np.int64), self.rows, *own])
