"""Calls that wait for a store, made at once: what does not depend on each other costs one wait and not several.

Whoever waits runs what no thread has begun yet, so calls made together may themselves make calls together without end,
and a full pool only means that less happens at once.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Generic, TypeVar

from headwater import trace

__all__ = ["Ahead", "SingleFlight", "ahead", "together"]

T = TypeVar("T")

_AWAKE_S = 0.0003
"""Waking a core that sleeps takes 40 to 200 microseconds, a tenth or a half of what a leg of a hybrid search takes."""

_let_others_run: Callable[[], None] = getattr(os, "sched_yield", partial(time.sleep, 0))


class Ahead(Generic[T]):
    """A call that was begun before its result is needed."""

    __slots__ = ("_call", "_claim", "_done", "_error", "_value")

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = trace.carried(call)
        self._claim = threading.Lock()
        self._done = threading.Lock()
        self._done.acquire()
        self._value: T
        self._error: BaseException | None = None
        _THREADS.begin(self)

    def result(self, *, soon: bool = False) -> T:
        """What the call returned, or raised; the call is made here where no thread has come to it.

        Args:
            soon: whether it is about to end: the core is kept awake for a while.
        """
        self.run()
        if not (soon and self._ends_soon()):
            self._done.acquire()
        self._done.release()
        if self._error is not None:
            raise self._error
        return self._value

    def _ends_soon(self) -> bool:
        """Look again and again, and let others run in between; whether the call has ended, with `_done` taken."""
        until = time.perf_counter() + _AWAKE_S
        while not self._done.acquire(blocking=False):
            if time.perf_counter() > until:
                return False
            _let_others_run()
        return True

    def run(self) -> None:
        """Make the call, if nobody does or did."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._error = error
        finally:
            self._done.release()


class _Threads:
    """Threads that come to calls in the order these were begun; the one that was busy last is the first to be woken.

    An executor of the standard library makes a condition of each call, has whoever waits wake through it, and takes
    threads in turn, whose memory is no longer in the core's caches: two searches of 0.4 ms took 0.56 ms at once through
    one, and 0.42 ms so.

    Args:
        most: threads; one is started where none is idle.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._forget()
        # A thread that is in a library's code while the interpreter goes takes the process down with it.
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            # A child has none of its parent's threads, and waits for none of their calls.
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        # Another thread may have held it at the moment of a fork.
        self._lock = threading.Lock()
        self._calls: deque[Ahead[Any]] = deque()
        self._idle: deque[threading.Lock] = deque()
        self._started: list[threading.Thread] = []
        self._ending = False

    def begin(self, call: Ahead[Any]) -> None:
        """Have a thread make this call."""
        self._calls.append(call)
        if not self._wake():
            self._start()

    def _wake(self) -> bool:
        try:
            self._idle.pop().release()
        except IndexError:
            return False
        return True

    def _start(self) -> None:
        with self._lock:
            number = len(self._started)
            if number < self._most and not self._ending:
                made = threading.Thread(target=self._work, name=f"headwater-together-{number}", daemon=True)
                self._started.append(made)
                made.start()

    def _work(self) -> None:
        woken = threading.Lock()
        woken.acquire()
        while not self._ending:
            while self._calls:
                self._make_next()
            self._idle.append(woken)
            # What was begun before this thread was among the idle ones woke nobody.
            if self._calls or self._ending:
                self._wake()
            woken.acquire()

    def _make_next(self) -> None:
        try:
            call = self._calls.popleft()
        except IndexError:
            return
        call.run()

    def _end(self) -> None:
        self._ending = True
        with self._lock:
            ending = self._started
        while self._wake():
            pass
        for one in ending:
            one.join()


_THREADS = _Threads(64)
"""Most of them wait; few compute."""


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


def together(calls: Sequence[Callable[[], T]], *, short: bool = False) -> list[T]:
    """The results of independent calls, made at once; the first in this thread.

    Args:
        calls: without arguments.
        short: whether they compute for about a millisecond or less: whoever waits for the last one stays awake.

    Returns:
        Results in the order of the calls, once all of them are done.

    Raises:
        Whatever the first of them raised that failed.
    """
    if len(calls) < 2:
        return [call() for call in calls]
    begun = [Ahead(call) for call in calls[1:]]
    ends: list[Callable[[], T]] = [partial(each.result, soon=short) for each in begun]
    results: list[T] = []
    failed: list[BaseException] = []
    for one in [calls[0], *ends]:
        try:
            results.append(one())
        except BaseException as error:  # noqa: BLE001 - raised below, after the others have ended
            failed.append(error)
    if failed:
        raise failed[0]
    return results
