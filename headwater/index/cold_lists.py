"""Inverted lists that are fetched when a search asks for them, and given back when room is short.

The memory is an empty mapping as large as the section; a list that is fetched is put where it belongs, so that faiss
finds it as it finds any other. All cold lists of a process share one bound on the bytes they hold: beyond it the lists
used longest ago go, except those that a search holds. Memory goes back by pages; one page may hold parts of several
lists, so the lists on each page are counted.

A list is absent, coming or there. Of two threads that want the same absent list one fetches it and the other waits;
where the fetch fails, the other tries for itself.
"""

from __future__ import annotations

import itertools
import mmap
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index.artifact import Artifact
from headwater.index.placed_lists import PlacedLists, empty_memory

__all__ = ["DEFAULT_LIMIT_BYTES", "ColdLists", "ListBudget", "list_budget"]

DEFAULT_LIMIT_BYTES = 256 << 20
_LOW = 0.9
"""Room is made down to this share of the bound, so that not every search has to."""

_ABSENT, _COMING, _THERE = 0, 1, 2
_DONT_NEED: int | None = getattr(mmap, "MADV_DONTNEED", None)
_use = itertools.count(1)


class ListBudget:
    """The bound on what the cold lists of a process hold.

    Attributes:
        limit_bytes: the bound; lists that searches hold at the moment are kept beyond it.
        evictions: lists given back since the process began.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.evictions = 0
        self._members: weakref.WeakSet[ColdLists] = weakref.WeakSet()
        self._lock = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """Bytes that lists take now."""
        with self._lock:
            members = list(self._members)
        return sum(one.held_bytes for one in members)

    def join(self, lists: ColdLists) -> None:
        """Count these lists from now on, as long as they are in use."""
        with self._lock:
            self._members.add(lists)

    def bound(self, size_bytes: int) -> None:
        """What cold lists may hold from now on; the last word counts."""
        self.limit_bytes = size_bytes
        self.make_room()

    def make_room(self) -> None:
        """Give back the lists used longest ago until the bound is kept."""
        with self._lock:
            members = list(self._members)
            held = sum(one.held_bytes for one in members)
            if held <= self.limit_bytes:
                return
            idle = [(one, *one.idle()) for one in members]
            order = np.argsort(np.concatenate([used for _, _, used in idle]), kind="stable")
            which = np.repeat(np.arange(len(idle)), [len(numbers) for _, numbers, _ in idle])
            sizes = np.concatenate([(one.stops - one.starts)[numbers] for one, numbers, _ in idle])
            left = held - np.cumsum(sizes[order])
            count = int(np.searchsorted(-left, -_LOW * self.limit_bytes)) + 1
            leaving = np.sort(order[:count])
            all_numbers = np.concatenate([numbers for _, numbers, _ in idle])
            for at, (one, _, _) in enumerate(idle):
                self.evictions += one.give_back(all_numbers[leaving[which[leaving] == at]])


_budget = ListBudget()


def list_budget() -> ListBudget:
    """The budget of this process."""
    return _budget


class ColdLists(PlacedLists):
    """Lists of a remote artifact.

    Args:
        artifact: whose lists are fetched.
        directory: of the artifact, checked.
        budget: that they count in.
    """

    def __init__(
        self, artifact: Artifact, directory: npt.NDArray[Any], budget: ListBudget | None = None
    ) -> None:
        size = artifact.size_of("lists")
        self._memory = empty_memory(size)
        super().__init__(artifact, directory, np.frombuffer(self._memory, np.uint8)[:size])
        self._state = np.where(self.sizes > 0, _ABSENT, _THERE).astype(np.uint8)
        self._pins = np.zeros(len(self.sizes), np.int32)
        self._used = np.zeros(len(self.sizes), np.int64)
        self._first_page = self.starts // mmap.PAGESIZE
        self._last_page = np.maximum(self.stops - 1, 0) // mmap.PAGESIZE
        self._on_page = np.zeros(-(-size // mmap.PAGESIZE) + 1, np.int16)
        self._held = 0
        self._changed = threading.Condition()
        self._budget = budget or list_budget()
        self._budget.join(self)

    @property
    def whole(self) -> bool:
        """See `RowLists`; a list may go, so never."""
        return False

    @property
    def held_bytes(self) -> int:
        """See `RowLists`."""
        return self._held

    @property
    def fetched_bytes(self) -> int:
        """See `RowLists`."""
        return len(self._data)

    def queries_together(self, probes: int) -> int:
        """See `RowLists`: their lists fit into the budget."""
        if len(self._data) <= self._budget.limit_bytes:
            return super().queries_together(probes)
        return max(1, int(self._budget.limit_bytes * len(self.sizes) / (len(self._data) * probes)))

    def holding(self, numbers: npt.NDArray[np.int64]) -> AbstractContextManager[None]:
        """See `RowLists`: what is absent comes by one call of the store."""
        return self._hold(np.unique(numbers[numbers >= 0]))

    @contextmanager
    def _hold(self, numbers: npt.NDArray[np.int64]) -> Iterator[None]:
        with self._changed:
            self._pins[numbers] += 1
            self._used[numbers] = next(_use)
        came = False
        try:
            came = self._bring(numbers)
            yield
        finally:
            with self._changed:
                self._pins[numbers] -= 1
            if came:
                self._budget.make_room()

    def _bring(self, numbers: npt.NDArray[np.int64]) -> bool:
        """Wait until all of these are there; whether any had to come."""
        came = False
        while True:
            with self._changed:
                states = self._state[numbers]
                missing = numbers[states == _ABSENT]
                if not len(missing):
                    if not (states == _COMING).any():
                        return came
                    self._changed.wait()
                    continue
                self._state[missing] = _COMING
                self._count_pages(missing, 1)
            self._fetch(missing)
            came = True

    def _fetch(self, numbers: npt.NDArray[np.int64]) -> None:
        outcome = _ABSENT
        trace.count(lists_fetched=len(numbers))
        try:
            spans = list(zip(self.starts[numbers].tolist(), self.stops[numbers].tolist(), strict=True))
            found = self._artifact.parts("lists", spans)
            for number, (start, stop), data in zip(numbers.tolist(), spans, found, strict=True):
                self._check(number, data)
                self._data[start:stop] = np.frombuffer(data, np.uint8)
            outcome = _THERE
        finally:
            with self._changed:
                self._state[numbers] = outcome
                if outcome == _THERE:
                    self._held += int((self.stops - self.starts)[numbers].sum())
                else:
                    self._count_pages(numbers, -1)
                self._changed.notify_all()

    def idle(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The lists that could be given back, and when each was used last."""
        with self._changed:
            numbers = np.flatnonzero((self._state == _THERE) & (self._pins == 0) & (self.sizes > 0))
            return numbers, self._used[numbers]

    def give_back(self, numbers: npt.NDArray[np.int64]) -> int:
        """Let lists go that no search holds; how many went."""
        with self._changed:
            numbers = numbers[(self._state[numbers] == _THERE) & (self._pins[numbers] == 0)]
            if len(numbers):
                self._state[numbers] = _ABSENT
                self._held -= int((self.stops - self.starts)[numbers].sum())
                self._release_pages(self._count_pages(numbers, -1))
            return len(numbers)

    def _count_pages(self, numbers: npt.NDArray[np.int64], change: int) -> npt.NDArray[np.int64]:
        """Count lists on the pages they touch; returns the pages, ascending."""
        first, counts = self._first_page[numbers], (self._last_page - self._first_page)[numbers] + 1
        begins = np.cumsum(counts) - counts
        pages = np.repeat(first - begins, counts) + np.arange(int(counts.sum()))
        np.add.at(self._on_page, pages, np.int16(change))
        return np.unique(pages)

    def _release_pages(self, touched: npt.NDArray[np.int64]) -> None:
        """Give back the pages that no list is on any more, or is coming to."""
        free = touched[self._on_page[touched] == 0]
        if _DONT_NEED is None or not len(free):
            return
        edges = np.flatnonzero(np.diff(free) != 1) + 1
        for run in np.split(free, edges):
            self._memory.madvise(_DONT_NEED, int(run[0]) * mmap.PAGESIZE, len(run) * mmap.PAGESIZE)
