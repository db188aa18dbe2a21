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

__all__ = ["BuildTurns", "UpkeepTurn"]


class _GivesWay(Exception):
    """Ends a build of upkeep that somebody waits for now."""


class UpkeepTurn:
    """Upkeep's turn at a field.

    Args:
        turns: that it is one of.
        field: name of the field.
    """

    def __init__(self, turns: BuildTurns, field: str) -> None:
        self._turns = turns
        self._field = field

    def reporting(self, progress: Progress) -> Progress:
        """What a build calls with its progress: passes it on, and ends the build when the turn is another's."""

        def report(done: int, total: int) -> None:
            if self._turns.wanted(self._field):
                raise _GivesWay
            progress(done, total)

        return report


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
    def upkeep(self, field: str) -> Iterator[UpkeepTurn | None]:
        """Upkeep's turn, which may end early; None while it is a caller's."""
        with self._lock:
            turn = self._turns[field]
            mine = not self._asked[field] and turn.acquire(blocking=False)
        if not mine:
            yield None
            return
        try:
            yield UpkeepTurn(self, field)
        except _GivesWay:
            pass
        finally:
            turn.release()
