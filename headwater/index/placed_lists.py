"""Inverted lists of an artifact at an address: one way for faiss to find them, wherever the bytes are.

faiss reads a list through a pointer: a base address, and for each list its rows, bytes of codes and offset, which the
artifact's directory has. What differs between the tiers is the memory at the base address and what must happen before a
list in it is read:

- hot: the section, read into memory once and checked as a whole;
- warm: the file, mapped; a list is checked when it is first asked for;
- cold: an empty mapping that lists are put into (`cold_lists.py`).

Invariant: a list is read only inside `holding`, or when `whole` is true, and then it is there and checked.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import weakref
import zlib
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from headwater.index.artifact import Artifact
from headwater.tiers import MAPPED

__all__ = ["FaissLists", "HotLists", "PlacedLists", "RowLists", "WarmLists", "empty_memory"]

_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if hasattr(mmap, "MADV_HUGEPAGE") else 0)
_ENTRY_BYTES = 24
_ANY_NUMBER = 1 << 30
_CHECKED_TOGETHER = 16
_nothing: AbstractContextManager[None] = nullcontext()


def empty_memory(size_bytes: int, *, huge_pages: bool = False) -> mmap.mmap:
    """Memory of zeros that takes no room before it is written to.

    Args:
        size_bytes: how much.
        huge_pages: whether it will be filled, and is then worth few entries of the page table.
    """
    memory = mmap.mmap(
        -1,
        max(1, size_bytes),
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0 if huge_pages else _NO_RESERVE),
    )
    if huge_pages and _HUGE_PAGES is not None:
        memory.madvise(_HUGE_PAGES)
    return memory


class RowLists(Protocol):
    """What a search needs to know of inverted lists, whoever holds them."""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(nlist,) rows of each list."""
        ...

    @property
    def whole(self) -> bool:
        """Whether every list is there and checked."""
        ...

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that lists take."""
        ...

    @property
    def fetched_bytes(self) -> int:
        """Bytes of all lists where they have to be fetched, 0 where they are in memory or mapped."""
        ...

    def holding(self, numbers: npt.NDArray[np.int64]) -> AbstractContextManager[None]:
        """In this block, some lists are there and checked.

        Args:
            numbers: of lists, of any shape; those below zero are none.

        Raises:
            Corrupt: a list is altered; names the file and the list.
        """
        ...

    def check(self) -> None:
        """Check every list of a mapped file now, so that no search has to.

        Raises:
            Corrupt: a list is altered; names the file and the list.
        """
        ...

    def queries_together(self, probes: int) -> int:
        """How many queries may hold lists at the same time.

        Args:
            probes: lists of each.
        """
        ...

    def rows_of(self, number: int) -> npt.NDArray[np.int64]:
        """(n,) rows of a list that is held."""
        ...


class FaissLists:
    """Lists that faiss holds itself, as it does while an index is built.

    Args:
        index: whose lists they are.
    """

    whole = True
    held_bytes = 0
    fetched_bytes = 0

    def __init__(self, index: Any) -> None:
        self._lists = faiss.downcast_InvertedLists(index.invlists)

    @cached_property
    def sizes(self) -> npt.NDArray[np.int64]:
        """See `RowLists`."""
        return np.array([self._lists.list_size(number) for number in range(self._lists.nlist)], np.int64)

    def holding(self, numbers: npt.NDArray[np.int64]) -> AbstractContextManager[None]:
        """See `RowLists`."""
        return _nothing

    def check(self) -> None:
        """See `RowLists`."""

    def queries_together(self, probes: int) -> int:
        """See `RowLists`."""
        return _ANY_NUMBER

    def rows_of(self, number: int) -> npt.NDArray[np.int64]:
        """See `RowLists`."""
        rows: npt.NDArray[np.int64] = faiss.rev_swig_ptr(
            self._lists.get_ids(number), self._lists.list_size(number)
        )
        return rows


class PlacedLists:
    """Inverted lists at an address; safe to use from several threads.

    Attributes:
        sizes: (nlist,) rows of each list.
        starts: (nlist,) where each list begins in the section.
        stops: (nlist,) where it ends.

    Args:
        artifact: whose lists they are.
        directory: of the artifact, checked.
        data: (size,) the section's bytes, or room for them.
    """

    def __init__(self, artifact: Artifact, directory: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> None:
        self._artifact = artifact
        self._data = data
        self._checksums = directory["crc32"]
        self._lists: Any = None
        self.sizes = directory["num_rows"].astype(np.int64)
        self.starts = directory["offset"].astype(np.int64) - artifact.offset("lists")
        self.stops = self.starts + directory["code_bytes"].astype(np.int64) + 8 * self.sizes

    @property
    def whole(self) -> bool:
        """See `RowLists`."""
        return True

    @property
    def held_bytes(self) -> int:
        """See `RowLists`."""
        return 0

    @property
    def fetched_bytes(self) -> int:
        """See `RowLists`."""
        return 0

    def holding(self, numbers: npt.NDArray[np.int64]) -> AbstractContextManager[None]:
        """See `RowLists`."""
        return _nothing

    def check(self) -> None:
        """See `RowLists`."""

    def put_under(self, index: Any) -> None:
        """Make these the inverted lists of an index of faiss's, binary or not, whose own are empty."""
        empty = faiss.downcast_InvertedLists(index.invlists)
        packed = isinstance(empty, faiss.BlockInvertedLists)
        code_size = 1 if packed else int(empty.code_size)
        lists = faiss.OnDiskInvertedLists()
        lists.nlist, lists.code_size, lists.read_only = len(self.sizes), code_size, True
        lists.prefetch_nthread = 0
        lists.lists.resize(lists.nlist)
        table = np.zeros((lists.nlist, 3), np.uint64)
        table[:, 0] = self.sizes
        table[:, 1] = (self.stops - self.starts - 8 * self.sizes) // code_size
        table[:, 2] = np.where(self.sizes > 0, self.starts, 0)
        assert table.nbytes == lists.nlist * _ENTRY_BYTES
        ctypes.memmove(int(lists.lists.data().this), table.ctypes.data, table.nbytes)
        lists.ptr = faiss.swig_ptr(self._data)
        # faiss's destructor gives back the memory at its pointer, which is not its own.
        weakref.finalize(self, _forget_address, lists).atexit = False
        if index.own_invlists:
            # Python owns the empty lists from here, and deletes them.
            empty.this.own(True)
            index.own_invlists = False
        index.invlists = lists
        index.ntotal = int(self.sizes.sum())
        index.referenced_objects = [*getattr(index, "referenced_objects", ()), self]
        self._lists = lists

    def queries_together(self, probes: int) -> int:
        """See `RowLists`."""
        return _ANY_NUMBER

    def rows_of(self, number: int) -> npt.NDArray[np.int64]:
        """See `RowLists`."""
        stop = int(self.stops[number])
        return self._data[stop - 8 * int(self.sizes[number]) : stop].view("<i8")

    def _check(self, number: int, data: Any) -> None:
        found, expected = zlib.crc32(data), int(self._checksums[number])
        if found != expected:
            start = self._artifact.offset("lists") + int(self.starts[number])
            raise self._artifact.corrupt(
                f"list {number} at {start}: checksum {found:08x}, not {expected:08x}"
            )


def _forget_address(lists: Any) -> None:
    lists.ptr = None


class HotLists(PlacedLists):
    """Lists in memory.

    Args:
        artifact: whose section is read, in parts, and checked as a whole.
        directory: of the artifact, checked.
    """

    def __init__(self, artifact: Artifact, directory: npt.NDArray[Any]) -> None:
        size = artifact.size_of("lists")
        data = np.frombuffer(empty_memory(size, huge_pages=True), np.uint8)
        artifact.read_into("lists", data[:size])
        super().__init__(artifact, directory, data)

    @property
    def held_bytes(self) -> int:
        """See `RowLists`."""
        return len(self._data)


class WarmLists(PlacedLists):
    """Lists in a mapped file, each checked when it is first asked for.

    Args:
        artifact: whose file is mapped.
        directory: of the artifact, checked.
    """

    def __init__(self, artifact: Artifact, directory: npt.NDArray[Any]) -> None:
        offset, size = artifact.offset("lists"), artifact.size_of("lists")
        mapped = np.frombuffer(artifact.source.buffer(), np.uint8)
        super().__init__(artifact, directory, mapped[offset : offset + size])
        self._unchecked = self.sizes > 0
        self._left = int(np.count_nonzero(self._unchecked))
        self._lock = threading.Lock()

    @property
    def whole(self) -> bool:
        """See `RowLists`."""
        return self._left == 0

    def holding(self, numbers: npt.NDArray[np.int64]) -> AbstractContextManager[None]:
        """See `RowLists`."""
        if self._left:
            first = numbers[self._unchecked[numbers] & (numbers >= 0)]
            if len(first):
                self._check_all(np.unique(first))
        return _nothing

    def check(self) -> None:
        """See `RowLists`; in the order of the file, whose pages are this process's afterwards."""
        left = np.flatnonzero(self._unchecked)
        left = left[np.argsort(self.starts[left])]
        for start in range(0, len(left), _CHECKED_TOGETHER):
            if MAPPED.tight:
                MAPPED.look()
            self._check_all(left[start : start + _CHECKED_TOGETHER])

    def _check_all(self, numbers: npt.NDArray[np.int64]) -> None:
        for number in numbers.tolist():
            self._check(number, self._data[self.starts[number] : self.stops[number]])
        with self._lock:
            self._left -= int(np.count_nonzero(self._unchecked[numbers]))
            self._unchecked[numbers] = False
