"""One thread of the process that looks after what is held: drops the unused, trims what is mapped, moves what is used.

It runs while there is something to look after, sleeps as long as whoever is looked after allows, and dies with the
process. After a fork the child has its own.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import Protocol

__all__ = ["KEEPER", "Keeper"]

_LOGGER = logging.getLogger("headwater.tiers")
_LONGEST_S = 5.0


class Kept(Protocol):
    """What is looked after."""

    def tend(self) -> float:
        """Do what is due; how long the next time may wait, in seconds."""
        ...


class Keeper:
    """Calls `tend` of whatever was given to it and is still alive. Safe to share between threads."""

    def __init__(self) -> None:
        self._due_s: weakref.WeakKeyDictionary[Kept, float] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def add(self, kept: Kept) -> None:
        """Look after something as long as it lives."""
        with self._lock:
            self._due_s[kept] = 0.0
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headwater-tiers", daemon=True)
                self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            wait_s = self._tend()
            if wait_s is None:
                return
            self._wake.wait(wait_s)
            self._wake.clear()

    def _tend(self) -> float | None:
        wait_s = _LONGEST_S
        with self._lock:
            due = list(self._due_s.items())
        for kept, due_s in due:
            left_s = due_s - time.monotonic()
            if left_s > 0:
                wait_s = min(wait_s, left_s)
                continue
            again_s = _LONGEST_S
            try:
                again_s = kept.tend()
            except Exception:
                _LOGGER.exception("looking after what is held failed")
            wait_s = min(wait_s, again_s)
            with self._lock:
                self._due_s[kept] = time.monotonic() + again_s
        del due
        with self._lock:
            if not self._due_s:
                self._thread = None
                return None
        return max(0.01, wait_s)

    def _forked(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = None


KEEPER = Keeper()
"""The one of the process."""
