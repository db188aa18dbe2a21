"""Another request where one is late, and the answer that comes first.

Object stores answer a few requests in a hundred many times slower than the others, and a step of a cold search that
makes fifty waits for the slowest of them. A read that has not been answered after what nineteen in twenty of its size
take is asked again; whichever answers first is taken, and the other is dropped. Only reads, which can be repeated, and
only a bounded share of them: when all of a store is slow, asking twice would make it slower.

Each byte range is a request of its own here, so that one late one is asked again and not the fifty. Requests wait on
one event loop of the process, not on threads, where the store below speaks to it.

Reference: Dean and Barroso, "The Tail at Scale", 2013.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from headwater import trace
from headwater.errors import HeadwaterError
from headwater.store.latencies import HedgeBudget, Latencies
from headwater.store.objects import Buffers, ObjectMeta, ObjectStore
from headwater.store.ranges import cut_runs, slice_runs, store_runs
from headwater.store.wrapper import StoreWrapper
from headwater.types import ByteRange

__all__ = ["HedgedStore", "SupportsAwaiting"]

T = TypeVar("T")

_SHARE = 0.05
_MOST_TRIES = 3
"""Of fifty requests one is late most times; that its second is late too happens once in fifty calls."""

_THREADS = 128
"""For stores that block; each waits for one request."""

_WHOLE = 1 << 40
"""Whole objects, whose size is not known before, are of a size of their own; so are questions that bring no bytes."""


@runtime_checkable
class SupportsAwaiting(Protocol):
    """A store that can wait for many requests on one event loop."""

    async def await_range(self, key: str, span: ByteRange, etag: str | None = None) -> memoryview:
        """As `ObjectStore.get_ranges` of one range, as one request."""
        ...

    async def await_object(self, key: str) -> bytes:
        """As `ObjectStore.get`."""
        ...


class HedgedStore(StoreWrapper):
    """Asks again for what is late.

    Attributes:
        requests: reads that were asked for.
        hedges: requests that were made again.
        won: those of them that answered first.

    Args:
        inner: the store that does the work.
        share: of the reads that may be asked for again, at most.
    """

    def __init__(self, inner: ObjectStore, *, share: float = _SHARE) -> None:
        super().__init__(inner)
        self.requests = self.hedges = self.won = 0
        self._latencies = Latencies()
        self._budget = HedgeBudget(share)
        self._awaiting = inner if isinstance(inner, SupportsAwaiting) else None

    def get(self, key: str) -> bytes:
        """As the inner store's, asked again when late."""
        awaiting = self._awaiting
        if awaiting is None:
            ask: Callable[[], Awaitable[bytes]] = partial(_threaded, self.inner.get, key)
        else:
            ask = partial(awaiting.await_object, key)
        return self._wait_for([ask], [_WHOLE])[0]

    def head(self, key: str) -> ObjectMeta:
        """As the inner store's, asked again when late."""
        return self._wait_for([partial(_threaded, self.inner.head, key)], [2 * _WHOLE])[0]

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """As the inner store's; each range, near ones merged and long ones cut, is asked for again when it is late."""
        runs = store_runs(ranges, near_bytes)
        if not runs:
            return self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag)
        cut = cut_runs(runs)
        spans = [span for parts in cut for span in parts]
        try:
            views = self._wait_for(
                [partial(self._range, key, span, etag) for span in spans], [span.size_bytes for span in spans]
            )
        except HeadwaterError:
            # Once more, by the store itself, which tells a range past the end from a store that is broken.
            return self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag)
        return slice_runs(ranges, runs, views if len(views) == len(runs) else _joined(cut, views))

    async def _range(self, key: str, span: ByteRange, etag: str | None) -> memoryview:
        if self._awaiting is not None:
            return await self._awaiting.await_range(key, span, etag)
        return (await _threaded(self.inner.get_ranges, key, [span], etag=etag))[0]

    def _wait_for(self, asks: Sequence[Callable[[], Awaitable[T]]], sizes: Sequence[int]) -> list[T]:
        self._budget.earn(len(asks))
        self.requests += len(asks)
        found, hedged = asyncio.run_coroutine_threadsafe(self._all(asks, sizes), _loop()).result()
        if hedged:
            trace.count(requests_hedged=hedged)
        return found

    async def _all(
        self, asks: Sequence[Callable[[], Awaitable[T]]], sizes: Sequence[int]
    ) -> tuple[list[T], int]:
        """All answers, in order, and how many were asked for again."""
        reads = [_Read(ask, size) for ask, size in zip(asks, sizes, strict=True)]
        late = [self._latencies.late_s(size) for size in sizes]
        wait_s = max((one for one in late if one is not None), default=None)
        hedged = 0
        try:
            for read in reads:
                self._ask(read)
            for _ in range(_MOST_TRIES - 1):
                waiting = [read.answer for read in reads if not read.answer.done()]
                if wait_s is None or not waiting:
                    break
                await asyncio.wait(waiting, timeout=wait_s)
                for read, known in zip(reads, late, strict=True):
                    if not read.answer.done() and known is not None and self._budget.spend():
                        hedged += 1
                        self._ask(read)
            self.hedges += hedged
            return [await read.answer for read in reads], hedged
        finally:
            for read in reads:
                read.drop()

    def _ask(self, read: _Read[T]) -> None:
        started = time.monotonic()
        task = asyncio.ensure_future(read.ask())
        read.tasks.append(task)
        again = len(read.tasks) > 1

        def ended(task: asyncio.Future[T]) -> None:
            if not task.cancelled() and task.exception() is None:
                self._latencies.add(read.size_bytes, time.monotonic() - started)
                self.won += again and not read.answer.done()
            read.ended(task)

        task.add_done_callback(ended)


class _Read(Generic[T]):
    """One read, and the requests made for it."""

    __slots__ = ("answer", "ask", "size_bytes", "tasks")

    def __init__(self, ask: Callable[[], Awaitable[T]], size_bytes: int) -> None:
        self.ask = ask
        self.size_bytes = size_bytes
        self.tasks: list[asyncio.Future[T]] = []
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def ended(self, task: asyncio.Future[T]) -> None:
        """Take an answer; an error only where no request is left that may do better."""
        if self.answer.done() or task.cancelled():
            return
        error = task.exception()
        if error is None:
            self.answer.set_result(task.result())
        elif all(one.done() for one in self.tasks):
            self.answer.set_exception(error)

    def drop(self) -> None:
        """Let go of the requests that are still under way."""
        for task in self.tasks:
            task.cancel()
        if not self.answer.done():
            self.answer.cancel()
        elif not self.answer.cancelled():
            # Looked at, or asyncio would complain of an error that nobody has seen.
            self.answer.exception()


def _joined(cut: Sequence[Sequence[ByteRange]], views: Sequence[memoryview]) -> list[memoryview]:
    """The bytes of each run, out of those of its parts."""
    rest = iter(views)
    found = [list(itertools.islice(rest, len(parts))) for parts in cut]
    return [parts[0] if len(parts) == 1 else memoryview(b"".join(parts)) for parts in found]


async def _threaded(call: Callable[..., T], *args: Any, **named: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads(), partial(call, *args, **named))


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="headwater-request")


_loops: dict[int, asyncio.AbstractEventLoop] = {}
_loops_lock = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process that requests wait on; another one in a process that was forked."""
    found = _loops.get(os.getpid())
    if found is None:
        with _loops_lock:
            found = _loops.get(os.getpid())
            if found is None:
                found = _loops[os.getpid()] = asyncio.new_event_loop()
                threading.Thread(target=found.run_forever, name="headwater-requests", daemon=True).start()
    return found
