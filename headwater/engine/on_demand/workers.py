"""The workers that an executor has running: so many at a time, and none once it is closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from headwater.engine.on_demand.calls import Call
from headwater.engine.on_demand.places import Bounds
from headwater.errors import InvalidArgument, Timeout

__all__ = ["Workers"]

W = TypeVar("W")


class Workers(Generic[W]):
    """Starts a worker for each call, and ends it with the call.

    Args:
        bounds: what each may take.
        most: so many at a time; further calls wait, and their time runs.
        end: leaves nothing of a worker behind, whether it has answered or not.
    """

    def __init__(self, bounds: Bounds, most: int, end: Callable[[W], None]) -> None:
        self._timeout_s = bounds.timeout_s
        # A call whose rows nobody reads to their end gives its place back where the collector of garbage finds it: in
        # the middle of anything, of another call's start on the same thread too. Neither of these minds.
        self._places: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.RLock()
        for _ in range(most):
            self._places.put(None)
        self._end = end
        self._running: set[W] = set()
        self._closed = False

    @contextmanager
    def one(self, call: Call, start: Callable[[float], W]) -> Iterator[tuple[W, float]]:
        """A worker while its call lasts, and the moment when its time is up (infinity where it has no bound).

        Args:
            call: for errors.
            start: makes the worker, told that moment.

        Raises:
            Timeout: no place came free in time.
            InvalidArgument: the executor is closed.
        """
        until = float("inf") if self._timeout_s is None else time.monotonic() + self._timeout_s
        try:
            self._places.get(timeout=self._timeout_s)
        except Empty:
            raise Timeout(
                f"{call}: no worker was free within {self._timeout_s:g} s",
                hint="raise max_workers or timeout_s",
            ) from None
        try:
            with self._lock:
                if self._closed:
                    raise InvalidArgument(f"{call}: this handle is closed", hint="call db.on_demand() again")
                worker = start(until)
                self._running.add(worker)
            try:
                yield worker, until
            finally:
                self._end(worker)
                with self._lock:
                    self._running.discard(worker)
        finally:
            self._places.put(None)

    def close(self) -> list[W]:
        """Start no more; gives those that run."""
        with self._lock:
            self._closed = True
            return list(self._running)
