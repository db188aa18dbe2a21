"""Following what other processes write, beside the reads of this one.

A read that looks for news itself reads and decodes log entries, works out what they add, and then searches a state for
which nothing is ready: of the slowest searches beside a writer, a third of the processor time. Where reads find news
again and again, a thread looks in their place, makes ready what they need, and puts it down for them to take. It ends
when nobody reads or writes any more; then reads look for themselves, as they do where nobody writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from headwater.errors import HeadwaterError

__all__ = ["FOLLOWED_S", "Follower"]

State = TypeVar("State")
Look = Callable[[State | None], State]

FOLLOWED_S = 0.1
"""What is put down is taken for so long; if it gets older, because the thread has no core, a read looks itself."""

_EVERY_S = 0.02
_FINDS = 8
_WITHIN_S = 1.0
_UNREAD_S = 0.25


class Follower(Generic[State]):
    """Looks for news while reads take what it finds. Safe between threads.

    Args:
        most_age_s: what is put down is taken for so long.
    """

    def __init__(self, *, most_age_s: float = FOLLOWED_S) -> None:
        self._most_age_s = most_age_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._finds: deque[float] = deque(maxlen=_FINDS)
        self._found: tuple[State, float] | None = None
        self._read_s = float("-inf")

    @property
    def running(self) -> bool:
        """Whether reads may `take`; else they look for themselves."""
        return self._found is not None

    def take(self) -> State | None:
        """What was put down; None where a read has to look itself."""
        found, now = self._found, time.monotonic()
        self._read_s = now
        return None if found is None or now - found[1] > self._most_age_s else found[0]

    def noticed(self, look: Look[State]) -> None:
        """A read looked itself, and found that others wrote: where that goes on, it is looked in its place.

        Args:
            look: brings what reads take up to date, given what they took before; gives that back where nothing is new.
                Held while the thread runs, and by nobody else.
        """
        now = time.monotonic()
        finds = self._finds
        finds.append(now)
        if len(finds) == _FINDS and now - finds[0] <= _WITHIN_S:
            self._start(look)

    def _start(self, look: Look[State]) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            # It is waited for at the end of the program, which it notices.
            thread = threading.Thread(target=self._run, args=(look,), name="headwater-follow")
            try:
                thread.start()
            except RuntimeError:
                # The system has no thread left, or the program ends: reads look for themselves.
                return
            self._thread = thread

    def _run(self, look: Look[State]) -> None:
        state: State | None = None
        self._read_s = news_s = time.monotonic()
        try:
            while threading.main_thread().is_alive():
                now = time.monotonic()
                if now - self._read_s > _UNREAD_S or now - news_s > _WITHIN_S:
                    return
                found = look(state)
                if found is not state:
                    state, news_s = found, now
                self._found = found, now
                # A thread that waited for a core makes up for nothing.
                time.sleep(_EVERY_S)
        except (HeadwaterError, OSError):
            # A store that is away, or a collection that is gone: told by the reads that look themselves.
            return
        finally:
            self._found = None
            self._finds.clear()
