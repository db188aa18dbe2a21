"""A store that is some time away, and says how many dependent rounds of requests were made of it.

A request belongs to the round after the latest one that had been answered when it was made: requests made together are
one round, however many they are, and a request that waited for an answer is in a later one.
So the rounds of a call times the latency are the least it can take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from headwater.store import ObjectMeta, ObjectStore, StoreWrapper
from headwater.store.objects import Buffers, Keys
from headwater.store.ranges import cut_runs, store_runs
from headwater.types import ByteRange

__all__ = ["Request", "RoundsStore"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was made.

    Attributes:
        verb: a name of `ObjectStore`'s methods.
        key: what it asked for; a listing's prefix.
        round: in which dependent round it was, from 1.
        ranges: requests that its byte ranges come to; 0 for a whole object or none of it.
        bytes_read: that it gave.
        start_s: when it was made, seconds after the first.
        stop_s: when it was answered.
    """

    verb: str
    key: str
    round: int
    ranges: int
    bytes_read: int
    start_s: float
    stop_s: float

    def __str__(self) -> str:
        return (
            f"{self.round:3d} {self.start_s * 1e3:8.1f} {self.stop_s * 1e3:8.1f} ms  {self.verb:13s} "
            f"{self.ranges:4d} ranges {self.bytes_read:9d} bytes  {self.key}"
        )


class RoundsStore(StoreWrapper):
    """Keeps every request, and hides the files of a local store, so that all of it is a request away.

    Args:
        inner: the store that does the work.
        latency_s: before each answer.
        bandwidth_bytes_s: wait so long for the bytes of an answer; None for no wait.
    """

    def __init__(
        self, inner: ObjectStore, *, latency_s: float = 0.02, bandwidth_bytes_s: float | None = None
    ) -> None:
        super().__init__(inner)
        self.latency_s = latency_s
        self.bandwidth_bytes_s = bandwidth_bytes_s
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._answered = 0
        self._began: float | None = None

    def reset(self) -> None:
        """Forget the requests so far; only while none is under way."""
        with self._lock:
            self._requests, self._answered, self._began = [], 0, None

    @property
    def requests(self) -> list[Request]:
        """What was asked since the last `reset`, in the order of the answers."""
        return list(self._requests)

    @property
    def rounds(self) -> int:
        """Dependent rounds since the last `reset`."""
        return max((request.round for request in self._requests), default=0)

    @property
    def num_ranges(self) -> int:
        """Requests as a store bills them: each byte range, and each call without one."""
        return sum(max(1, request.ranges) for request in self._requests)

    @property
    def bytes_read(self) -> int:
        """Bytes that were given since the last `reset`."""
        return sum(request.bytes_read for request in self._requests)

    def timeline(self) -> str:
        """The requests as lines, in the order they were made in."""
        ordered = sorted(self._requests, key=lambda request: request.start_s)
        total = f"{self.rounds} rounds, {self.num_ranges} requests, {self.bytes_read} bytes"
        return "\n".join([*map(str, ordered), total])

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._asked("get", key, lambda: self.inner.get(key), measure=len)

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`; near ranges are merged as for S3, and what lies between them counts."""
        runs = store_runs(ranges, near_bytes)
        return self._asked(
            "get_ranges",
            key,
            lambda: self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag),
            ranges=sum(map(len, cut_runs(runs))),
            measure=lambda _: sum(run.span.size_bytes for run in runs),
        )

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        return self._asked("head", key, lambda: self.inner.head(key))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`; one request for all of it, made when its first key is asked for."""
        yield from self._asked(
            "list", prefix, lambda: tuple(self.inner.list(prefix, start_after=start_after))
        )

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        return self._asked("list_prefixes", prefix, lambda: self.inner.list_prefixes(prefix))

    def local_path(self, key: str) -> None:
        """None: nothing is here."""
        self.inner.local_path(key)

    def _asked(
        self,
        verb: str,
        key: str,
        call: Callable[[], T],
        *,
        ranges: int = 0,
        measure: Callable[[T], int] | None = None,
    ) -> T:
        with self._lock:
            start = time.perf_counter()
            self._began = start if self._began is None else self._began
            number = self._answered + 1
        size = 0
        try:
            result = call()
            size = measure(result) if measure else 0
            return result
        finally:
            wait_s = self.latency_s + (size / self.bandwidth_bytes_s if self.bandwidth_bytes_s else 0.0)
            time.sleep(max(0.0, start + wait_s - time.perf_counter()))
            with self._lock:
                self._answered = max(self._answered, number)
                began = self._began or start
                stop = time.perf_counter()
                self._requests.append(Request(verb, key, number, ranges, size, start - began, stop - began))
