"""Threads that calls run on, away from the event loop.

A lane has its threads and a queue before them. Calls that turn out slow on the short lane do not hold the others up:
while the queue is not emptied, the lane takes on spare threads, which leave when there is nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

__all__ = ["Lane", "Task"]

_PATIENCE_S = 0.05
_SPARE_IDLE_S = 5.0


class Task(Protocol):
    """Something to run on a thread."""

    def run(self) -> None:
        """Called on a thread of the lane; must not raise."""

    def finish(self) -> None:
        """Called on the event loop afterwards."""


class Lane:
    """Threads of one kind.

    Args:
        name: of its threads.
        threads: that are always there.
        spare: that may be added while calls wait.
        begin: called on each thread before its first task.
    """

    def __init__(
        self, name: str, threads: int, spare: int = 0, *, begin: Callable[[], None] | None = None
    ) -> None:
        self._begin = begin
        self.name = name
        self.size = threads
        self._most = threads + spare
        self._queue: SimpleQueue[tuple[Task, asyncio.AbstractEventLoop] | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._busy = 0
        self._closed = False
        self._looked = False

    @property
    def waiting(self) -> int:
        """Tasks that wait for a thread."""
        return self._queue.qsize()

    @property
    def busy(self) -> int:
        """Tasks that run."""
        return self._busy

    @property
    def threads(self) -> int:
        """Threads that there are now."""
        return len(self._threads)

    def submit(self, task: Task) -> None:
        """Run a task when a thread is free; to be called on the event loop."""
        loop = asyncio.get_running_loop()
        if len(self._threads) < self.size:
            self._add(forever=True)
        self._queue.put((task, loop))
        if self._most > self.size and not self._looked and self._queue.qsize() > 1:
            self._looked = True
            loop.call_later(_PATIENCE_S, self._look, loop)

    def close(self) -> None:
        """Wait for what runs and what waits; take nothing more."""
        with self._lock:
            self._closed = True
            held = list(self._threads)
        for _ in held:
            self._queue.put(None)
        for thread in held:
            thread.join()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Add a thread when the queue has not been emptied since."""
        if self._queue.qsize() == 0 or self._closed:
            self._looked = False
            return
        if self._busy >= len(self._threads) < self._most:
            self._add(forever=False)
        loop.call_later(_PATIENCE_S, self._look, loop)

    def _add(self, *, forever: bool) -> None:
        with self._lock:
            if self._closed:
                return
            name = f"{self.name}-{len(self._threads)}"
            thread = threading.Thread(target=self._work, args=(forever,), name=name, daemon=True)
            self._threads.add(thread)
            thread.start()

    def _work(self, forever: bool) -> None:
        timeout = None if forever else _SPARE_IDLE_S
        if self._begin is not None:
            self._begin()
        try:
            while True:
                found = self._queue.get(timeout=timeout)
                if found is None:
                    return
                task, loop = found
                with self._lock:
                    self._busy += 1
                try:
                    task.run()
                finally:
                    with self._lock:
                        self._busy -= 1
                    # The loop may have been closed by a second signal; then nobody waits for the answer.
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(task.finish)
        except Empty:
            return
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
