"""Sorted: every value in order, and beside each its row. A range of values is one range of rows.

Texts are stored once each, as the inverted layout does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.scalar.entries import Entries
from headwater.index.scalar.keys import write_keys
from headwater.index.scalar.lists import Lists
from headwater.index.scalar.pages import Begun, Pages, write_pages
from headwater.index.scalar.spans import Spans, total
from headwater.types import Bitmap

__all__ = ["SortedLayout", "SortedLists"]


class SortedLayout:
    """See `Layout`; of numbers only."""

    name = "sorted"

    def write(self, writer: ArtifactWriter, prefix: str, entries: Entries, num_rows: int) -> dict[str, Any]:
        """See `Layout`."""
        assert isinstance(entries.keys, np.ndarray)
        write_pages(writer, prefix + "rows", entries.rows)
        return write_keys(writer, prefix, np.repeat(entries.keys, np.diff(entries.starts)))

    def open(self, artifact: Artifact, prefix: str, about: dict[str, Any]) -> Lists:
        """See `Layout`."""
        return SortedLists(artifact, prefix)


class SortedLists:
    """See `Lists`."""

    def __init__(self, artifact: Artifact, prefix: str) -> None:
        self._rows = Pages(artifact, prefix + "rows", "<u4")

    def count(self, spans: Spans) -> int:
        """See `Lists`."""
        return total(spans)

    def begin(self, start: int, stop: int) -> Begun | None:
        """Begin to read the rows of keys that may be among the wanted ones; None where that costs no request."""
        return self._rows.begin(start, stop)

    def mark(self, spans: Spans, rows: Bitmap, begun: Begun | None = None) -> None:
        """See `Lists`."""
        for part in self._rows.slices([(int(start), int(stop)) for start, stop in spans], begun):
            rows[part] = True
