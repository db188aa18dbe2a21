"""Room for rows in memory: writers wait until what is there is in segments."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.errors import Timeout
from headwater.lake.log.collection_log import CollectionLog
from headwater.lake.log.seal import seal
from headwater.store import awaited

__all__ = ["Room"]


class Room:
    """Keeps what a log holds in memory, and what writers are about to add to it, within a bound.

    A call that is larger than the bound goes in alone. Writers get room in the order in which they ask, so that a large
    call is not passed by small ones for ever. Safe between threads.

    Args:
        log: what it holds counts.
        limit_bytes: the bound.
        segment_rows: most rows of a segment that is sealed to make room.
        deadline_s: how long a writer waits for its turn.
    """

    def __init__(self, log: CollectionLog, limit_bytes: int, *, segment_rows: int, deadline_s: float) -> None:
        self._log = log
        self._limit_bytes = limit_bytes
        self._segment_rows = segment_rows
        self._deadline_s = deadline_s
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._taken_bytes = 0

    @contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Hold room for a write while it is made; waits for it, and seals where nobody else does.

        Raises:
            Timeout: others waited for room for too long; nothing was written.
        """
        if not self._turn.acquire(timeout=self._deadline_s):
            raise Timeout(
                f"the write waited {self._deadline_s:g} s for room in memory; nothing was written",
                hint="the store is slow, or too many writers wait; try again",
            )
        try:
            self._take(size_bytes)
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                self._taken_bytes -= size_bytes
                self._changed.notify_all()

    def _take(self, size_bytes: int) -> None:
        deadline_s = time.monotonic() + self._deadline_s
        while not self._took(size_bytes):
            # Whoever seals already makes room.
            with awaited(), self._log.seal_lock:
                pass
            if self._took(size_bytes):
                return
            if self._log.backlog[0]:
                seal(self._log, segment_rows=self._segment_rows)
                continue
            with self._changed:
                if not self._changed.wait_for(lambda: not self._taken_bytes, deadline_s - time.monotonic()):
                    raise Timeout(
                        f"no room in memory for a write within {self._deadline_s:g} s; nothing was written"
                    )

    def _took(self, size_bytes: int) -> bool:
        with self._changed:
            used_bytes = self._taken_bytes + self._log.held_bytes
            if used_bytes and used_bytes + size_bytes > self._limit_bytes:
                return False
            self._taken_bytes += size_bytes
            return True
