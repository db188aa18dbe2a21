"""A local file mapped for random reads, and asked for ahead of time.

Reading far-apart rows of a mapped file costs one wait per page when the page cache is cold, one after another.
`read_ahead` names all rows first, so that the disk serves them together; when the pages are there already it costs a
few microseconds.
"""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.tiers.mapped import advise, map_file

__all__ = ["MappedFile"]

_RANDOM: int | None = getattr(mmap, "MADV_RANDOM", None)
_WILL_NEED: int | None = getattr(mmap, "MADV_WILLNEED", None)
_SAMPLES = 4
_MOST_RANGES = 16_384


def _mincore() -> Any:
    """The system call that says which pages are in memory; None where there is none."""
    try:
        return ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):
        return None


_MINCORE = _mincore()


class MappedFile:
    """A file that is never changed, mapped read-only.

    Attributes:
        data: (size,) uint8 view of the file.

    Args:
        path: the file.
        size_bytes: how much of it.

    Raises:
        OSError: it cannot be opened or mapped.
        ValueError: it is shorter than `size_bytes`, or empty.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.data: npt.NDArray[np.uint8] = map_file(path, size_bytes)
        self._start = int(self.data.ctypes.data)
        advise(self._start, size_bytes, _RANDOM)

    def read_ahead(self, starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64] | int) -> None:
        """Ask for ranges that will be read next; returns at once.

        Args:
            starts: (n,) offsets of the ranges.
            sizes: their lengths, or one length for all.
        """
        if _WILL_NEED is None or not 1 < len(starts) <= _MOST_RANGES or self._resident(starts):
            return
        pages = starts - starts % mmap.PAGESIZE
        lengths = np.maximum(starts + sizes - pages, 1)
        for page, length in zip(pages.tolist(), lengths.tolist(), strict=True):
            advise(self._start + page, length, _WILL_NEED)

    def _resident(self, starts: npt.NDArray[np.int64]) -> bool:
        """Whether a few of the ranges' first pages are all in memory."""
        if _MINCORE is None:
            return False
        base, found = self.data.ctypes.data, ctypes.c_ubyte()
        for start in starts[:: max(1, len(starts) // _SAMPLES)].tolist():
            page = base + start - start % mmap.PAGESIZE
            failed = _MINCORE(ctypes.c_void_p(page), ctypes.c_size_t(1), ctypes.byref(found))
            if failed or not found.value & 1:
                return False
        return True
