"""Reading whole files once without leaving them in the page cache, where they would displace what others use.

`POSIX_FADV_DONTNEED` throws out every page of a file, also those that another process brought in and goes on using. So
what was there before is asked first, and only the rest is given back. Pages that a process still has mapped stay.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BorrowedPages", "resident_pages"]

_FEWEST_BYTES = 1 << 20
"""Smaller files displace little."""


def _mincore() -> Any:
    try:
        return ctypes.CDLL(None, use_errno=True).mincore
    except (OSError, AttributeError, TypeError):
        return None


_MINCORE = _mincore()


def resident_pages(path: Path) -> npt.NDArray[np.bool_] | None:
    """Which pages of a file are in the page cache; None where the system does not say.

    Args:
        path: the file.
    """
    if _MINCORE is None:
        return None
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return np.zeros(0, np.bool_)
            mapping = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError:
        return None
    view = np.frombuffer(mapping, np.uint8)
    found = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    failed = _MINCORE(
        ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(found.ctypes.data)
    )
    del view
    mapping.close()
    return None if failed else (found & 1).astype(np.bool_)


class BorrowedPages:
    """The pages of files as they are now, so that those which come into the page cache later can be given back.

    Args:
        paths: of files that are about to be read as a whole, and not again by this process.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._before: dict[Path, npt.NDArray[np.bool_]] = {}
        for path in paths:
            with suppress(OSError):
                found = resident_pages(path) if path.stat().st_size >= _FEWEST_BYTES else None
                if found is not None:
                    self._before[path] = found

    def give_back(self) -> None:
        """Drop the pages that came; to be called when nothing of the files is mapped here any more."""
        for path, resident in self._before.items():
            _give_back(path, resident)
        self._before.clear()


def _give_back(path: Path, resident: npt.NDArray[np.bool_]) -> None:
    """Drop the pages of a file that were not there before."""
    if not hasattr(os, "posix_fadvise"):
        return
    # The edges of runs of pages that were not resident.
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (~resident).astype(np.int8), [0]))))
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for first, last in edges.reshape(-1, 2).tolist():
                start, length = first * mmap.PAGESIZE, (last - first) * mmap.PAGESIZE
                os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
