"""Who builds the indexes of a field: a caller who waits for them, and upkeep while there is none.

An index is declared before it is built, so upkeep sees at once that it has no files yet. It would build with one core
what the caller builds with all of them.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.jobs import Progress

__all__ = ["BuildTurns"]


class _GivesWay(Exception):
    """Ends a build of upkeep that somebody waits for now."""


class BuildTurns:
    """Turns at the indexes of a collection's fields, in one process; callers have them one after another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def wanted(self, field: str) -> bool:
        """Whether a caller builds indexes of a field, or waits to."""
        return self._asked[field] > 0

    @contextmanager
    def asked(self, field: str) -> Iterator[None]:
        """A caller's turn: upkeep begins nothing at this field, and gives up what it has begun."""
        with self._lock:
            self._asked[field] += 1
            turn = self._turns[field]
        try:
            with turn:
                yield
        finally:
            with self._lock:
                self._asked[field] -= 1

    @contextmanager
    def upkeep(self, field: str, progress: Progress) -> Iterator[Progress | None]:
        """Upkeep's turn, with what a build is to call with its progress; None while it is a caller's.

        Args:
            field: name of the field.
            progress: called in between, until a caller comes; that ends the build, and the turn.
        """
        with self._lock:
            turn = self._turns[field]
            mine = not self._asked[field] and turn.acquire(blocking=False)
        if not mine:
            yield None
            return

        def report(done: int, total: int) -> None:
            if self.wanted(field):
                raise _GivesWay
            progress(done, total)

        try:
            yield report
        except _GivesWay:
            pass
        finally:
            turn.release()
