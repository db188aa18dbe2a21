"""Bringing files to their tiers: how far it has got, and the thread that does it in the background.

One file at a time, so that it never takes more than one file's worth of requests and memory at once; between two files
it looks whether it is still wanted. In the background it runs at the lowest priority that the system has for a thread.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from headwater.errors import HeadwaterError
from headwater.query.warming import WarmPiece

__all__ = ["Warmer", "Warmth"]

_LOGGER = logging.getLogger("headwater.warmup")
_LOWEST_PRIORITY = 19


class Warmth:
    """Some files that are brought to their tiers, and how far that is. Safe to share between threads.

    Attributes:
        num_files: how many.
        total_bytes: of them.
        done_files: those that are there.
        done_bytes: of them.
        left_files: those that there was no room for.
        cancelled: whether the others are not wanted any more.
        seconds: how long it has taken.
        error: why it ended before its end; None where it did not.

    Args:
        name: of the collection, for messages.
        pieces: the files.
        then: called when all of them are there.
    """

    def __init__(
        self, name: str, pieces: Sequence[WarmPiece], then: Callable[[], None] | None = None
    ) -> None:
        self._name = name
        self._pieces: Sequence[WarmPiece] = pieces
        self._then = then
        self._ended = threading.Event()
        self.num_files = len(pieces)
        self.total_bytes = sum(one.file.size_bytes for one in pieces)
        self.done_files = self.done_bytes = self.left_files = 0
        self.cancelled = False
        self.seconds = 0.0
        self.error: HeadwaterError | None = None
        if not pieces:
            self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether nothing more happens: all is there, or it was cancelled, or failed."""
        return self._ended.is_set()

    @property
    def percent(self) -> int:
        """How much is there; 100 only when all is, or when it has ended."""
        if self.ended:
            return 100
        return min(99, self.done_bytes * 100 // max(1, self.total_bytes))

    def cancel(self) -> None:
        """Stop after the file at hand."""
        self.cancelled = True

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended; whether it has."""
        return self._ended.wait(timeout_s)

    def run(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Bring the files, one after the other.

        Args:
            progress: called with (bytes done, bytes in all).

        Raises:
            HeadwaterError: a file could not be brought; those before it were.
        """
        started = time.perf_counter()
        try:
            for piece in self._pieces:
                if self.cancelled:
                    return
                if piece.bring():
                    self.done_files += 1
                    self.done_bytes += piece.file.size_bytes
                else:
                    self.left_files += 1
                self.seconds = time.perf_counter() - started
                if progress is not None:
                    progress(self.done_bytes, self.total_bytes)
                time.sleep(0)
            if self._then is not None and not self.cancelled:
                self._then()
                self.seconds = time.perf_counter() - started
        except HeadwaterError as error:
            self.error = error
            raise
        finally:
            self._pieces, self._then = (), None
            self._ended.set()

    def run_quietly(self) -> None:
        """As `run`; what fails is logged and kept in `error`, and first use brings what is missing."""
        try:
            self.run()
        except HeadwaterError as error:
            _LOGGER.warning("warming up collection %r failed: %s", self._name, error)

    def __repr__(self) -> str:
        return f"<warmth of {self._name!r}: {self.done_files} of {self.num_files} files>"


class Warmer:
    """Runs what it is given in a thread that is there while there is something to do.

    Args:
        lowest_priority: whether everything else comes first.
    """

    def __init__(self, *, lowest_priority: bool) -> None:
        self._lowest = lowest_priority
        self._lock = threading.Lock()
        self._waiting: deque[Warmth] = deque()
        self._running: Warmth | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self, warmth: Warmth) -> None:
        """Do it when what was given before is done."""
        with self._lock:
            if not self._closed:
                self._waiting.append(warmth)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="headwater-warmup", daemon=True)
                    self._thread.start()
                return
        # It ends here, for those who wait for it.
        warmth.cancel()
        warmth.run_quietly()

    def _run(self) -> None:
        if self._lowest and hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        while True:
            with self._lock:
                if not self._waiting:
                    self._running = self._thread = None
                    return
                self._running = self._waiting.popleft()
            self._running.run_quietly()

    def close(self) -> None:
        """Stop, after the file at hand."""
        with self._lock:
            self._closed = True
            for one in (*self._waiting, self._running):
                if one is not None:
                    one.cancel()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=60.0)
