"""Heavy reads: few at a time, within a budget of bytes, at a lower priority than those that somebody waits for.

What does not fit now waits its turn; what has waited too long, or finds too many waiting, is refused as Milvus refuses
what is too much, so that the client may come again.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Protocol

from headwater.doors.milvus.codes import TOO_MANY_REQUESTS, MilvusError
from headwater.doors.milvus.lanes import Lane, Task
from headwater.engine import make_way_on_thread
from headwater.settings import ServerSettings

__all__ = ["HeavyLane", "HeavyTask"]


class HeavyTask(Task, Protocol):
    """A heavy call."""

    heavy_bytes: int

    def fail(self, error: BaseException) -> None:
        """Answer with what went wrong; it is finished after that."""


class HeavyLane:
    """The threads of heavy reads. To be used on the event loop.

    Attributes:
        lane: the threads.

    Args:
        settings: how many, how many bytes, and how long a call may wait.
    """

    def __init__(self, settings: ServerSettings) -> None:
        threads = settings.heavy_threads or max(1, (os.cpu_count() or 1) // 2)
        self.lane = Lane("heavy", threads, begin=make_way_on_thread)
        self._settings = settings
        self._waiting: deque[HeavyTask] = deque()
        self._running: set[int] = set()
        self._used = 0

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    def submit(self, task: HeavyTask) -> None:
        """Run a call when there is room for it; it finishes with a refusal where there is none in time."""
        if self._fits(task):
            self._start(task)
        elif len(self._waiting) >= self._settings.max_queue:
            self._refuse(task, f"{len(self._waiting)} heavy calls wait, as many as server.max_queue allows")
        else:
            self._waiting.append(task)
            asyncio.get_running_loop().call_later(self._settings.heavy_wait_s, self._expire, task)

    def finished(self, task: HeavyTask) -> None:
        """A call has been run: there is room for others."""
        if id(task) not in self._running:
            return
        self._running.discard(id(task))
        self._used -= task.heavy_bytes
        while self._waiting and self._fits(self._waiting[0]):
            self._start(self._waiting.popleft())

    def _fits(self, task: HeavyTask) -> bool:
        # One that is larger than all the room runs alone.
        room = not self._running or self._used + task.heavy_bytes <= self._settings.heavy_bytes
        return room and len(self._running) < self.lane.size

    def _start(self, task: HeavyTask) -> None:
        self._running.add(id(task))
        self._used += task.heavy_bytes
        self.lane.submit(task)

    def _expire(self, task: HeavyTask) -> None:
        if task in self._waiting:
            self._waiting.remove(task)
            self._refuse(
                task,
                f"a heavy call waited {self._settings.heavy_wait_s:g} s (server.heavy_wait_s) behind "
                f"{len(self._running)} others; ask for less at once, or serve with more server.heavy_threads or "
                "server.analytics_workers",
            )

    def _refuse(self, task: HeavyTask, why: str) -> None:
        task.fail(MilvusError(TOO_MANY_REQUESTS, why))
        task.finish()
