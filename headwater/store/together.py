"""Calls that wait for a store, made at once: what does not depend on each other costs one wait and not several.

Whoever waits runs what no thread has begun yet, so calls made together may themselves make calls together without end,
and a full pool only means that less happens at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Generic, TypeVar

from headwater import trace

__all__ = ["Ahead", "SingleFlight", "ahead", "together"]

T = TypeVar("T")

_THREADS = 64
"""They wait; they do not compute."""


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="headwater-io")


class Ahead(Generic[T]):
    """A call that was begun before its result is needed."""

    __slots__ = ("_call", "_future")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = trace.carried(call)
        self._future: Future[T] = _pool().submit(self._call)

    def result(self) -> T:
        """What the call returned, or raised; the call is made here where no thread has come to it."""
        return self._call() if self._future.cancel() else self._future.result()


def ahead(call: Callable[[], T]) -> Ahead[T]:
    """Begin a call whose result is asked for later; in the step of whoever asks for `explain`."""
    return Ahead(call)


class SingleFlight:
    """Lets one thread make what several ask for at the same time; the others wait for it."""

    __slots__ = ("_lock", "_running")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, tuple[int, Future[Any]]] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, or what the thread that is making it for this key already gets.

        Args:
            key: what is made; nothing is remembered of it once it is.
            make: makes it, and keeps it where the next one looks first.
        """
        me = threading.get_ident()
        with self._lock:
            running = self._running.get(key)
            if running is None:
                mine: Future[Any] = Future()
                self._running[key] = (me, mine)
        if running is not None:
            if running[0] != me and running[1].exception() is None:
                made: T = running[1].result()
                return made
            return make()
        try:
            value = make()
            mine.set_result(value)
            return value
        except BaseException as error:
            mine.set_exception(error)
            raise
        finally:
            with self._lock:
                self._running.pop(key, None)


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """The results of independent calls, made at once; the first in this thread.

    Returns:
        Results in the order of the calls, once all of them are done.

    Raises:
        Whatever the first of them raised that failed.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    begun = [Ahead(call) for call in calls[1:]]
    results: list[T] = []
    failed: list[BaseException] = []
    for one in [calls[0], *(each.result for each in begun)]:
        try:
            results.append(one())
        except BaseException as error:  # noqa: BLE001 - raised below, after the others have ended
            failed.append(error)
    if failed:
        raise failed[0]
    return results
