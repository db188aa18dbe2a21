"""How much of the process's memory mapped files take, and giving it back.

Bytes of a mapped file that were touched count as the process's memory until somebody takes them out of its tables; one
byte that is touched brings in 64 KiB, or 2 MiB where the page cache holds them as one. The page cache keeps them, so
touching them again costs about a microsecond and no read. Above a bound a hand goes over the mapped files, and takes
out an eighth of one at a time until enough is given back. A thread looks from time to time; where files are larger than
the bound, so do those who read them.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.tiers.keeper import KEEPER
from headwater.tiers.report import MappedReport

__all__ = ["MAPPED", "MappedMemory", "advise", "map_file", "read_ahead"]

_DONT_NEED: int | None = getattr(mmap, "MADV_DONTNEED", None)
_POPULATE_READ = 22 if sys.platform == "linux" else None
"""Since Linux 5.14; an older one says no, and pages come as they are touched."""

_STATM = Path("/proc/self/statm")
_SMAPS = Path("/proc/self/smaps")
_MEMINFO = Path("/proc/meminfo")
_AHEAD_BYTES = 128 << 10
_POPULATED_TOGETHER = 64 << 20
_LOW = 0.6
_PARTS = 8
_LOOK_EVERY = 8
_SHORTEST_S = 0.02
_LONGEST_S = 2.0


def _madvise() -> Any:
    """The system call that takes pages out, without the interpreter's lock; None where there is none."""
    try:
        return ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError, TypeError):
        return None


_MADVISE = _madvise()


def advise(start: int, size_bytes: int, advice: int | None) -> bool:
    """Tell the system how some mapped bytes are going to be used, where it can be told.

    Args:
        start: their address, at the beginning of a page.
        size_bytes: how many.
        advice: a number of `mmap.MADV_*`; None where the system has no such advice.

    Returns:
        Whether it was told, and did not say no.
    """
    if _MADVISE is None or advice is None:
        return False
    return bool(_MADVISE(ctypes.c_void_p(start), ctypes.c_size_t(size_bytes), advice) == 0)


class MappedMemory:
    """The mapped files of the process. Safe to share between threads.

    Attributes:
        bound_bytes: how much of them may be resident; 0 for no bound.
        tight: whether the files are larger than the bound, so that whoever reads them is to `look`.
        trims: times that memory was given back.
    """

    def __init__(self) -> None:
        self.bound_bytes = 0
        self.tight = False
        self._looks = 0
        self.trims = 0
        self._files: dict[int, weakref.ref[npt.NDArray[np.uint8]]] = {}
        self._sizes: dict[int, int] = {}
        self._unmapped: deque[tuple[int, weakref.ref[npt.NDArray[np.uint8]]]] = deque()
        self._lock = threading.Lock()
        self._hand = 0
        self._others: int | None = None
        self._resident = 0
        self._before = (0.0, 0)

    def add(self, mapping: npt.NDArray[np.uint8]) -> None:
        """Count a mapped file, as long as it is mapped."""
        with self._lock:
            if self._others is None:
                self._others = _shared_bytes()
            start = int(mapping.ctypes.data)
            self._forget_unmapped()
            self._sizes[start] = len(mapping)
            self._files[start] = weakref.ref(mapping, partial(self._note_unmapped, start))
        self._tighten()
        if self.bound_bytes:
            KEEPER.add(self)

    def _note_unmapped(self, start: int, gone: weakref.ref[npt.NDArray[np.uint8]]) -> None:
        # Only noted here: a file may be let go anywhere, in the middle of a walk over the files too.
        self._unmapped.append((start, gone))

    def _forget_unmapped(self) -> None:
        """Take out the files that are mapped no more; under the lock."""
        while self._unmapped:
            start, gone = self._unmapped.popleft()
            # Another file may have been mapped at the same place by now.
            if self._files.get(start) is gone:
                del self._files[start], self._sizes[start]

    def _held(self) -> dict[int, npt.NDArray[np.uint8]]:
        """The files that are mapped, by where they begin; under the lock."""
        self._forget_unmapped()
        found = [(start, one()) for start, one in self._files.items()]
        return {start: one for start, one in found if one is not None}

    def _mapped_bytes(self) -> int:
        """Of all files; under the lock."""
        # Of plain numbers and not of the files: there may be thousands.
        self._forget_unmapped()
        return sum(self._sizes.values())

    def bound(self, size_bytes: int) -> None:
        """How much of the files may be resident from now on, 0 for no bound; the last word counts."""
        self.bound_bytes = size_bytes
        self._tighten()
        if size_bytes and len(self._files):
            KEEPER.add(self)

    def _tighten(self) -> None:
        with self._lock:
            bounded = self.bound_bytes > 0 and _MADVISE is not None and _DONT_NEED is not None
            self.tight = bounded and self._mapped_bytes() > self.bound_bytes

    def room(self, size_bytes: int) -> bool:
        """Whether a file of some size may be mapped; beyond the bound files are read and not mapped."""
        if not self.bound_bytes:
            return True
        with self._lock:
            mapped = self._mapped_bytes()
        return mapped + size_bytes <= self.bound_bytes

    def holds(self, address: int) -> bool:
        """Whether an address is in a mapped file."""
        with self._lock:
            self._forget_unmapped()
            return any(start <= address < start + size for start, size in self._sizes.items())

    def populate(self, mapping: npt.NDArray[np.uint8]) -> int:
        """Touch a mapped file ahead of those who read it, as much of it as half of the memory that is to be had holds.

        A search of a million vectors touches dozens of places that none before it did, at a microsecond or more each:
        half of what it takes. Files larger than the bound are left alone, for they would not stay.

        Args:
            mapping: as `map_file` gives it.

        Returns:
            Bytes that are in the process's tables now.
        """
        if self.tight or _POPULATE_READ is None or _MADVISE is None:
            return 0
        size, start = min(len(mapping), _available_bytes() // 2), int(mapping.ctypes.data)
        for done in range(0, size, _POPULATED_TOGETHER):
            # A call for all of it would keep others from mapping anything meanwhile.
            if not advise(start + done, min(_POPULATED_TOGETHER, size - done), _POPULATE_READ):
                return done
        return size

    def look(self) -> None:
        """Give memory back where there is too much; for whoever reads mapped files, now and then."""
        self._looks += 1
        if self._looks % _LOOK_EVERY == 0 and self._resident_bytes() > self.bound_bytes:
            self.trim(int(self.bound_bytes * _LOW))

    def tend(self) -> float:
        """Give memory back where there is too much; the faster it grows, the sooner the next look."""
        if not self.bound_bytes or _MADVISE is None or _DONT_NEED is None or not len(self._files):
            return _LONGEST_S
        self._tighten()
        now, resident = time.monotonic(), self._resident_bytes()
        if resident > self.bound_bytes:
            resident = self.trim(int(self.bound_bytes * _LOW))
        then, before = self._before
        self._before = now, resident
        rate = max(0.0, (resident - before) / max(1e-3, now - then))
        left = max(0, self.bound_bytes - resident)
        return min(_LONGEST_S, max(_SHORTEST_S, left / rate / 2)) if rate else _LONGEST_S / 4

    def trim(self, down_to: int) -> int:
        """Give back what is above some bytes; about what is resident then."""
        with self._lock:
            files = sorted(self._held().items(), key=itemgetter(0))
            resident = self._resident_bytes()
            self.trims += resident > down_to
            for _ in range(len(files) * _PARTS):
                if resident <= down_to:
                    return resident
                self._hand = (self._hand + 1) % (len(files) * _PARTS)
                start, mapping = files[self._hand // _PARTS]
                part = -(-len(mapping) // _PARTS // mmap.PAGESIZE) * mmap.PAGESIZE
                at = self._hand % _PARTS * part
                if at < len(mapping):
                    advise(start + at, min(part, len(mapping) - at), _DONT_NEED)
                    resident = self._resident_bytes()
            # All of the files is out: what is shared still is of others.
            self._others = _shared_bytes()
            return self._resident_bytes()

    def _resident_bytes(self) -> int:
        """About what is resident of the files: all shared memory of the process without what else there was."""
        self._resident = max(0, _shared_bytes() - (self._others or 0))
        return self._resident

    def report(self) -> MappedReport:
        """Its figures, of this moment."""
        with self._lock:
            files = self._held()
        return MappedReport(
            budget_bytes=self.bound_bytes,
            mapped_bytes=sum(len(one) for one in files.values()),
            resident_bytes=sum(_resident_by_start(files).values()),
            trims=self.trims,
        )


MAPPED = MappedMemory()
"""Those of this process."""


def map_file(path: Path, size_bytes: int) -> npt.NDArray[np.uint8]:
    """(size_bytes,) view of a file that is never changed, mapped read-only as long as somebody holds the view.

    Arrow maps it because Python's own maps keep the file open, and a process may have many more files mapped than open.

    Args:
        path: the file.
        size_bytes: how much of it; more than nothing.

    Raises:
        OSError: it cannot be opened or mapped.
        ValueError: it is shorter than `size_bytes`.
    """
    with pa.memory_map(str(path)) as file:
        whole = file.read_buffer()
    if whole.size < size_bytes:
        raise ValueError(f"{path}: {whole.size} bytes, expected {size_bytes}")
    mapping = np.frombuffer(whole, np.uint8, size_bytes)
    MAPPED.add(mapping)
    return mapping


def read_ahead(path: Path, size_bytes: int) -> None:
    """Ask the system to bring a file into its page cache, as much of it as half of the memory that is to be had holds.

    It is asked for a piece at a time: of more Linux reads no more than it reads ahead of anybody, 8 MiB of 3 GB here.

    Args:
        path: the file.
        size_bytes: how long it is.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    with path.open("rb") as opened:
        for start in range(0, min(size_bytes, _available_bytes() // 2), _AHEAD_BYTES):
            os.posix_fadvise(opened.fileno(), start, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def _available_bytes() -> int:
    """Memory that nobody uses, or that the system can take from its caches."""
    with suppress(OSError, IndexError, ValueError), _MEMINFO.open("rb") as lines:
        for line in lines:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _shared_bytes() -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(_STATM.read_bytes().split()[2]) * mmap.PAGESIZE
    return 0


def _resident_by_start(files: dict[int, npt.NDArray[np.uint8]]) -> dict[int, int]:
    """What is resident of each mapped file, by where it begins; the kernel may have joined some, or cut them."""
    found = dict.fromkeys(files, 0)
    starts = np.array(sorted(files), np.int64)
    if not len(starts):
        return found
    at: int | None = None
    with suppress(OSError, ValueError), _SMAPS.open("rb") as lines:
        for line in lines:
            if line[:4] == b"Rss:":
                if at is not None:
                    found[at] += int(line.split()[1]) * 1024
                    at = None
            elif b"-" in line[:17] and b":" not in line[:17]:
                begin = int(line[: line.index(b"-")], 16)
                place = int(np.searchsorted(starts, begin, side="right")) - 1
                start = int(starts[place]) if place >= 0 else -1
                inside = start >= 0 and begin < start + len(files[start])
                at = start if inside else None
    return found
