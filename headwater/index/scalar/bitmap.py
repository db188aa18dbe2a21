"""Bitmap: for each of few values, one bit a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.index.scalar.entries import Entries, packed
from headwater.index.scalar.keys import write_keys
from headwater.index.scalar.lists import Lists
from headwater.index.scalar.pages import Pages, write_pages
from headwater.index.scalar.spans import Spans
from headwater.types import Bitmap

__all__ = ["MAX_BITMAPS", "BitmapLayout"]

MAX_BITMAPS = 1000
"""Distinct values, at most: with more, the bits are many times the rows, and a segment is laid out inverted."""


class BitmapLayout:
    """See `Layout`."""

    name = "bitmap"

    def write(self, writer: ArtifactWriter, prefix: str, entries: Entries, num_rows: int) -> dict[str, Any]:
        """See `Layout`."""
        count = len(entries.keys)
        bits = np.zeros((count, -(-num_rows // 8)), np.uint8)
        for key in range(count):
            marked = np.zeros(num_rows, np.bool_)
            marked[entries.rows[entries.starts[key] : entries.starts[key + 1]]] = True
            bits[key] = packed(marked)
        write_pages(writer, prefix + "bits", bits.reshape(-1))
        counts = np.diff(entries.starts).astype("<i8")
        writer.section(prefix + "counts", [counts] if count else [])
        return {**write_keys(writer, prefix, entries.keys), "num_rows": num_rows}

    def open(self, artifact: Artifact, prefix: str, about: dict[str, Any]) -> Lists:
        """See `Layout`."""
        return _BitmapLists(artifact, prefix, about["num_rows"])


class _BitmapLists:
    def __init__(self, artifact: Artifact, prefix: str, num_rows: int) -> None:
        self._bits = Pages(artifact, prefix + "bits", np.uint8)
        self._artifact = artifact
        self._prefix = prefix
        self._num_rows = num_rows

    def count(self, spans: Spans) -> int:
        counts = np.frombuffer(self._artifact.section(self._prefix + "counts"), "<i8")
        return sum(int(counts[start:stop].sum()) for start, stop in spans)

    def mark(self, spans: Spans, rows: Bitmap) -> None:
        width = -(-self._num_rows // 8)
        parts = self._bits.slices([(int(start) * width, int(stop) * width) for start, stop in spans])
        merged = None
        for part in parts:
            one = np.bitwise_or.reduce(part.reshape(-1, width), axis=0)
            merged = one if merged is None else merged | one
        if merged is not None:
            rows |= np.unpackbits(merged, count=self._num_rows, bitorder="little").view(np.bool_)
