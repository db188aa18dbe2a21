"""A long array in an artifact that is read by parts: every 64 KiB has a checksum of its own.

When the file is local it is mapped, a part is a view of the map, and each page is checked the first time it is seen.
When it is not, a part is one range of whole pages, and the parts of one step are asked for together.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.index.artifact import Artifact, ArtifactWriter
from headwater.store import Ahead, ahead

__all__ = ["PAGE_BYTES", "Begun", "Pages", "write_pages"]

PAGE_BYTES = 1 << 16
"""Bytes under one checksum: small enough to read for one value, large enough for few checksums."""

_KEPT_BYTES = 4 * PAGE_BYTES
"""A cold section up to this size is fetched whole and kept."""

_SUMS = ".sums"


def write_pages(writer: ArtifactWriter, name: str, array: npt.NDArray[Any]) -> None:
    """Write an array as a section `name`, and its checksums as a section of their own.

    Args:
        writer: of the artifact.
        name: of the section.
        array: 1-dimensional, of any fixed-size type; stored little-endian.
    """
    data = memoryview(np.ascontiguousarray(array).data).cast("B") if array.size else memoryview(b"")
    sums = [zlib.crc32(data[at : at + PAGE_BYTES]) for at in range(0, len(data), PAGE_BYTES)]
    writer.section(name, [data] if len(data) else [])
    writer.section(name + _SUMS, [np.asarray(sums, "<u4")] if sums else [])


class Begun(NamedTuple):
    """Whole pages that are being read: where the first begins, and their bytes."""

    low: int
    high: int
    read: Ahead[memoryview]


class Pages:
    """An array that `write_pages` wrote. Safe between threads.

    Args:
        artifact: the file.
        name: of the section.
        dtype: of the elements.
    """

    def __init__(self, artifact: Artifact, name: str, dtype: npt.DTypeLike) -> None:
        self._artifact = artifact
        self._name = name
        self._dtype = np.dtype(dtype)
        self._size = artifact.size_of(name)
        if self._size % self._dtype.itemsize:
            raise artifact.corrupt(f"section {name!r} of {self._size} bytes is not of {self._dtype}")
        self._checked = np.zeros(-(-self._size // PAGE_BYTES), np.bool_)
        self._kept: memoryview | None = None
        self._known_sums: npt.NDArray[np.uint32] | None = None

    def __len__(self) -> int:
        return self._size // self._dtype.itemsize

    @property
    def near(self) -> bool:
        """Whether reading all of it costs no request: it is mapped, or so small that it is kept."""
        return self._artifact.mapped or self._size <= _KEPT_BYTES

    @property
    def _sums(self) -> npt.NDArray[np.uint32]:
        # Not a cached property: those of all arrays share one lock, under which each would wait for the store in turn.
        if self._known_sums is None:
            self._take_sums(self._artifact.section(self._name + _SUMS))
        assert self._known_sums is not None
        return self._known_sums

    def _take_sums(self, data: memoryview) -> None:
        sums = np.frombuffer(data, "<u4")
        if len(sums) != len(self._checked):
            raise self._artifact.corrupt(f"section {self._name!r} has {len(sums)} checksums")
        self._known_sums = sums

    def _parts(self, wide: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Whole pages, and with the first of them the checksums."""
        if self._known_sums is not None or not self._artifact.has(self._name + _SUMS):
            return self._artifact.parts(self._name, wide)
        size = self._artifact.size_of(self._name + _SUMS)
        places = [(self._name + _SUMS, 0, size), *((self._name, low, high) for low, high in wide)]
        sums, *parts = self._artifact.parts_of(places)
        self._take_sums(sums)
        return parts

    def begin(self, start: int, stop: int) -> Begun | None:
        """Begin to read elements `[start, stop)`, for `slices`; None where that costs no request."""
        if self.near or self._artifact.source.tier != "cold" or stop <= start:
            return None
        size = self._dtype.itemsize
        low, high = self._pages(start * size, stop * size)
        return Begun(low, high, ahead(lambda: self._parts([(low, high)])[0]))

    def whole(self) -> npt.NDArray[Any]:
        """All of it."""
        return self.slices([(0, len(self))])[0]

    def slice(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Elements `[start, stop)`, read-only.

        Raises:
            Corrupt: a checksum differs.
        """
        return self.slices([(start, stop)])[0]

    def slices(self, spans: Sequence[tuple[int, int]], begun: Begun | None = None) -> list[npt.NDArray[Any]]:
        """Several spans of elements; one store call for all of them, none for those inside what was begun."""
        size = self._dtype.itemsize
        wide = [self._pages(start * size, stop * size) for start, stop in spans]
        if self._artifact.mapped or self._kept is not None:
            parts = [self._kept_part(low, high) for low, high in wide]
        elif begun is not None and all(begun.low <= low and high <= begun.high for low, high in wide):
            whole = begun.read.result()
            parts = [whole[low - begun.low : high - begun.low] for low, high in wide]
            for part, (low, _) in zip(parts, wide, strict=True):
                self._check(part, low)
        elif self._size <= _KEPT_BYTES:
            (kept,) = self._parts([(0, self._size)])
            self._check(kept, 0)
            self._kept = kept
            parts = [kept[low:high] for low, high in wide]
        else:
            parts = self._parts(wide)
            for part, (low, _) in zip(parts, wide, strict=True):
                self._check(part, low)
        return [
            np.frombuffer(part, self._dtype)
            if not (start * size - low or stop * size - high)
            else np.frombuffer(part[start * size - low : stop * size - low], self._dtype)
            for part, (low, high), (start, stop) in zip(parts, wide, spans, strict=True)
        ]

    def _pages(self, start: int, stop: int) -> tuple[int, int]:
        """The bytes of the pages that a span of bytes touches."""
        if stop <= start:
            return start, start
        return start - start % PAGE_BYTES, min(-(-stop // PAGE_BYTES) * PAGE_BYTES, self._size)

    def _kept_part(self, low: int, high: int) -> memoryview:
        if self._kept is not None:
            return self._kept[low:high]
        (part,) = self._artifact.parts(self._name, [(low, high)])
        first, last = low // PAGE_BYTES, -(-high // PAGE_BYTES)
        if not self._checked[first:last].all():
            self._check(part, low)
            self._checked[first:last] = True
        return part

    def _check(self, part: memoryview, low: int) -> None:
        first = low // PAGE_BYTES
        for number, at in enumerate(range(0, len(part), PAGE_BYTES), first):
            found = zlib.crc32(part[at : at + PAGE_BYTES])
            if found != self._sums[number]:
                raise self._artifact.corrupt(
                    f"section {self._name!r}, page {number}: checksum {found:08x}, not {self._sums[number]:08x}"
                )
