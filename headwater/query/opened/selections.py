"""The rows that recent filters selected."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from headwater.lake import Segment
from headwater.query.opened.keys import bitmap_key
from headwater.query.opened.views import Views
from headwater.query.placed import array_bytes
from headwater.tiers import MemoryView, Place
from headwater.types import Bitmap

__all__ = ["Selections"]

_BITMAP_BYTES = 64 << 20
"""Budget of the bitmaps, one byte a row."""

_MOST_BITMAPS = 8192
"""Filters that nobody asks for again leave theirs behind, and those of small segments are lighter than their keys."""


class Selections:
    """Which rows of each segment a filter selects, deleted ones excluded.

    A selection is named by `bound`, which names the filter and what else its answer depends on, None for all rows; and
    by `gone`, which says what rows are deleted besides those of the delete vector.

    Args:
        views: where bitmaps are kept.
    """

    def __init__(self, views: Views) -> None:
        self.view: MemoryView[Hashable, Bitmap] = views.new(
            "filters", array_bytes, most=_MOST_BITMAPS, grows=False, most_bytes=_BITMAP_BYTES
        )

    def of(
        self, segment: Segment, bound: Hashable, gone: int | None, evaluate: Callable[[], Bitmap]
    ) -> Bitmap:
        """(num_rows,) True for the rows selected; evaluated where they are not known."""

        def make() -> Bitmap:
            bitmap = evaluate()
            bitmap.flags.writeable = False
            return bitmap

        return self.view.get_or(bitmap_key(segment, bound, gone), make)

    def known(self, segment: Segment, bound: Hashable, gone: int | None) -> Bitmap | None:
        """What `of` would give; None where it would evaluate."""
        return self.view.get(bitmap_key(segment, bound, gone))

    def has(self, segment: Segment, bound: Hashable, gone: int | None) -> bool:
        """Whether `of` need not evaluate; not a use of what is kept."""
        return bitmap_key(segment, bound, gone) in self.view

    def place(self, segment: Segment, bound: Hashable, gone: int | None) -> Place | None:
        """Where a bitmap is; None where it is not known."""
        return self.view.place(bitmap_key(segment, bound, gone))
