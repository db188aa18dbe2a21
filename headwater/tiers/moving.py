"""Bringing objects nearer in the background: one thread of low priority, a bounded queue, each object once."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from headwater.errors import HeadwaterError

__all__ = ["Mover"]

_LOGGER = logging.getLogger("headwater.tiers")
_MOST_WAITING = 1024
_NICE = 10


class Mover:
    """Runs work that brings objects nearer, in the order asked.

    Attributes:
        moved: pieces of work that did what they should.
        failures: that did not.
    """

    def __init__(self) -> None:
        self.moved = self.failures = 0
        self._waiting: OrderedDict[str, Callable[[], bool]] = OrderedDict()
        self._running: set[str] = set()
        self._lock = threading.Condition()
        self._thread: threading.Thread | None = None
        self._owner = os.getpid()

    def ask(self, name: str, work: Callable[[], bool]) -> bool:
        """Have work done once; whether it waits or runs now, as it does not when too much waits already.

        Args:
            name: of the object; what waits or runs under it is not asked twice.
            work: says whether it did what it should; may raise what stores raise.
        """
        with self._lock:
            if name in self._waiting or name in self._running:
                return True
            if len(self._waiting) >= _MOST_WAITING:
                return False
            self._waiting[name] = work
            if self._thread is None or self._owner != os.getpid():
                self._owner = os.getpid()
                self._thread = threading.Thread(target=self._run, name="headwater-mover", daemon=True)
                self._thread.start()
        return True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing waits or runs; whether that came in time."""
        with self._lock:
            return self._lock.wait_for(lambda: not self._waiting and not self._running, timeout_s)

    @property
    def waiting(self) -> int:
        """How much waits or runs."""
        return len(self._waiting) + len(self._running)

    def _run(self) -> None:
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                name, work = self._waiting.popitem(last=False)
                self._running.add(name)
            try:
                done = work()
            except (HeadwaterError, OSError) as error:
                _LOGGER.warning("%s stays where it is: %s", name, error)
                done = False
            with self._lock:
                self.moved += done
                self.failures += not done
                self._running.discard(name)
                self._lock.notify_all()
