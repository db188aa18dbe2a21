"""Inverted: every distinct value once, in order, and the rows of each, one value's after another's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.scalar.entries import Entries
from headwater.index.scalar.keys import write_keys
from headwater.index.scalar.lists import Lists
from headwater.index.scalar.pages import Pages, write_pages
from headwater.index.scalar.spans import Spans
from headwater.types import Bitmap

__all__ = ["InvertedLayout", "InvertedLists"]

_FEW = 16


class InvertedLayout:
    """See `Layout`."""

    name = "inverted"

    def write(self, writer: ArtifactWriter, prefix: str, entries: Entries, num_rows: int) -> dict[str, Any]:
        """See `Layout`."""
        write_pages(writer, prefix + "starts", entries.starts.astype("<i8", copy=False))
        write_pages(writer, prefix + "rows", entries.rows)
        return write_keys(writer, prefix, entries.keys)

    def open(self, artifact: Artifact, prefix: str, about: dict[str, Any]) -> Lists:
        """See `Layout`."""
        return InvertedLists(artifact, prefix)


class InvertedLists:
    """See `Lists`.

    Args:
        artifact: the file.
        prefix: of the names of the sections.
    """

    def __init__(self, artifact: Artifact, prefix: str) -> None:
        self._starts = Pages(artifact, prefix + "starts", "<i8")
        self._rows = Pages(artifact, prefix + "rows", "<u4")

    def ranges(self, spans: Spans) -> npt.NDArray[np.int64]:
        """(m, 2) where the rows of each span begin and end."""
        if len(spans) > _FEW and self._starts.near:
            return self._starts.whole()[spans]
        flat = spans.reshape(-1).tolist()
        found = [int(part[0]) for part in self._starts.slices([(at, at + 1) for at in flat])]
        return np.asarray(found, np.int64).reshape(-1, 2)

    def count(self, spans: Spans) -> int:
        """See `Lists`."""
        ranges = self.ranges(spans)
        return int((ranges[:, 1] - ranges[:, 0]).sum())

    def mark(self, spans: Spans, rows: Bitmap) -> None:
        """See `Lists`."""
        ranges = self.ranges(spans)
        if len(ranges) > _FEW and self._rows.near:
            sizes = ranges[:, 1] - ranges[:, 0]
            ends = np.cumsum(sizes)
            at = np.arange(ends[-1]) + np.repeat(ranges[:, 0] - ends + sizes, sizes)
            rows[self._rows.whole()[at]] = True
            return
        for part in self.rows_of(ranges):
            rows[part] = True

    def rows_of(self, ranges: npt.NDArray[np.int64]) -> list[npt.NDArray[np.uint32]]:
        """The rows in each range."""
        return self._rows.slices([(int(start), int(stop)) for start, stop in ranges])
