"""Work that nobody waits for: one thread of low priority, a bounded queue, each piece once."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress

from headwater.errors import HeadwaterError

__all__ = ["Work", "WorkQueue"]

_LOGGER = logging.getLogger("headwater.background")
_NICE = 10

_IDLE_S = 10.0
"""A thread waits so long for more work. Its successor is waited for by whoever asks, until the system runs it: that
was most of what the slowest searches beside a writer took."""

Work = Callable[[], bool | None]
"""A piece of work; False where it did not do what it should. What it raises is logged and counted, no more."""


class WorkQueue:
    """Runs work in the order asked, on a thread that lives a little longer than there is some. Safe between threads.

    A process that forks takes none of it along: what waits or runs there is the parent's, and may be asked for again.

    Attributes:
        done: pieces of work that did what they should.
        failures: that did not.

    Args:
        name: of the thread.
        most_waiting: more is not taken.
        daemon: whether a program that ends leaves the work at hand; else it waits for that, and for nothing else.
        begin: called on the thread before any work.
    """

    def __init__(
        self, name: str, most_waiting: int, *, daemon: bool, begin: Callable[[], None] | None = None
    ) -> None:
        self.done = self.failures = 0
        self._name = name
        self._most_waiting = most_waiting
        self._daemon = daemon
        self._begin = begin
        self._start_over()
        _QUEUES.add(self)

    def _start_over(self) -> None:
        self._waiting: OrderedDict[Hashable, Work] = OrderedDict()
        self._running: set[Hashable] = set()
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False

    def ask(self, name: Hashable, work: Work) -> bool:
        """Have work done once; whether it waits or runs now, as it does not when too much waits already.

        Args:
            name: of the work; what waits or runs under it is not asked twice.
            work: what to do.
        """
        with self._lock:
            if name in self._waiting or name in self._running:
                return True
            if self._ended or len(self._waiting) >= self._most_waiting:
                return False
            if self._thread is None and not self._start():
                return False
            self._waiting[name] = work
            self._lock.notify_all()
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing waits or runs; whether that came in time."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._waiting and not self._running, timeout_s)

    @property
    def waiting(self) -> int:
        """How much waits or runs."""
        with self._lock:
            return len(self._waiting) + len(self._running)

    def _start(self) -> bool:
        """Begin a thread; not where the system has none left."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        if self._begin is not None:
            self._did("begin", self._begin)
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """Do a piece of work, of which nothing is held afterwards; False where the thread is to end."""
        piece = self._next()
        if piece is None:
            return False
        name, work = piece
        did = self._did(name, work)
        with self._lock:
            self.done += did
            self.failures += not did
            self._running.discard(name)
            self._lock.notify_all()
        return True

    def _next(self) -> tuple[Hashable, Work] | None:
        """What to do now; None where there is nothing for a while."""
        with self._lock:
            if not self._lock.wait_for(lambda: self._waiting or self._ended, _IDLE_S) or self._ended:
                self._thread = None
                return None
            name, work = self._waiting.popitem(last=False)
            self._running.add(name)
            return name, work

    def _end(self) -> None:
        """Take no more work, and wait for that at hand where nobody may leave it: the program ends."""
        with self._lock:
            self._ended = True
            self._waiting.clear()
            self._lock.notify_all()
            if not self._daemon:
                self._lock.wait_for(lambda: not self._running)

    def _did(self, name: Hashable, work: Work) -> bool:
        try:
            return work() is not False
        except (HeadwaterError, OSError) as error:
            _LOGGER.warning("%s: %s was not done: %s", self._name, name, error)
        except Exception:
            _LOGGER.exception("%s: %s failed", self._name, name)
        return False


_QUEUES: weakref.WeakSet[WorkQueue] = weakref.WeakSet()


def _start_all_over() -> None:
    for queue in list(_QUEUES):
        queue._start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_all_over)


@atexit.register
def _end_all() -> None:
    for queue in list(_QUEUES):
        queue._end()
