"""A store that fails on purpose, the same way for the same seed, and counts what it is asked.

A fault strikes before the request (nothing happened) or after it (it happened, and the answer is lost): the
second is what makes a conditional write ambiguous.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from headwater.errors import HeadwaterError, StoreUnavailable
from headwater.store.objects import Buffers, Keys, ObjectMeta, ObjectStore
from headwater.store.wrapper import StoreWrapper
from headwater.types import ByteRange

__all__ = ["Fault", "FaultyStore", "Schedule"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure.

    Attributes:
        when: `"before"` the request, which then never happens, or `"after"` it.
        error: what to raise; `StoreUnavailable` when None.
    """

    when: Literal["before", "after"]
    error: HeadwaterError | None = None


Schedule = Callable[[int, str, str], Fault | None]
"""(request number from 0, verb, key) to the fault that strikes it; called outside locks, so it may block."""


class FaultyStore(StoreWrapper):
    """Fails, waits and counts around another store. Verbs are the names of `ObjectStore`'s methods.

    Attributes:
        requests: calls by verb, the failed ones included.
        bytes_read: bytes that reads gave back.
        bytes_written: bytes that writes were given.
        log: (verb, key) of each call; the key of a listing is its prefix, a delete logs each key.

    Args:
        inner: the store that does the work.
        seed: of the dice.
        fail_before: chance that a request fails unsent; a number, or one by verb.
        fail_after: chance that a request is done and its answer is lost.
        latency_s: wait before each request.
        bandwidth_bytes_s: wait so long for the bytes of a request; None for no wait.
        schedule: decides before the dice do.
        local_paths: whether files of a local store may be mapped, past this store's sight.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        seed: int = 0,
        fail_before: float | Mapping[str, float] = 0.0,
        fail_after: float | Mapping[str, float] = 0.0,
        latency_s: float = 0.0,
        bandwidth_bytes_s: float | None = None,
        schedule: Schedule | None = None,
        local_paths: bool = False,
    ) -> None:
        super().__init__(inner)
        self.requests: Counter[str] = Counter()
        self.bytes_read = 0
        self.bytes_written = 0
        self.log: list[tuple[str, str]] = []
        self.fail_before = fail_before
        self.fail_after = fail_after
        self.latency_s = latency_s
        self.bandwidth_bytes_s = bandwidth_bytes_s
        self.schedule = schedule
        self.local_paths = local_paths
        self._dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Count from zero again; the dice go on."""
        with self._lock:
            self.requests.clear()
            self.log.clear()
            self.bytes_read = self.bytes_written = 0

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """See `ObjectStore.put`."""
        return self._request("put", [key], lambda: self.inner.put(key, data), written=len(data))

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """See `ObjectStore.put_file`."""
        size_bytes = path.stat().st_size if path.is_file() else 0
        return self._request("put_file", [key], lambda: self.inner.put_file(key, path), written=size_bytes)

    def create(self, key: str, data: bytes | memoryview) -> None:
        """See `ObjectStore.create`."""
        self._request("create", [key], lambda: self.inner.create(key, data), written=len(data))

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._request("get", [key], lambda: self.inner.get(key), measure=len)

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`; one request, however many the inner store makes."""
        return self._request(
            "get_ranges",
            [key],
            lambda: self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag),
            measure=lambda views: sum(map(len, views)),
        )

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        return self._request("head", [key], lambda: self.inner.head(key))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`; the whole listing is one request, made when its first key is asked for."""
        yield from self._request(
            "list", [prefix], lambda: tuple(self.inner.list(prefix, start_after=start_after))
        )

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        return self._request("list_prefixes", [prefix], lambda: self.inner.list_prefixes(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`."""
        self._request("delete", keys, lambda: self.inner.delete(keys))

    def local_path(self, key: str) -> Path | None:
        """See `ObjectStore.local_path`."""
        path = self.inner.local_path(key)
        return path if self.local_paths else None

    def _request(
        self,
        verb: str,
        keys: Sequence[str],
        call: Callable[[], T],
        *,
        written: int = 0,
        measure: Callable[[T], int] | None = None,
    ) -> T:
        key = keys[0] if keys else ""
        fault = self._strike(verb, keys, key, written)
        self._wait(self.latency_s)
        if fault is not None and fault.when == "before":
            raise fault.error or StoreUnavailable(f"injected: {verb} {key!r} was not sent")
        result = call()
        read = measure(result) if measure else 0
        with self._lock:
            self.bytes_read += read
        if self.bandwidth_bytes_s:
            self._wait((written + read) / self.bandwidth_bytes_s)
        if fault is not None:
            raise fault.error or StoreUnavailable(f"injected: the answer to {verb} {key!r} is lost")
        return result

    def _strike(self, verb: str, keys: Sequence[str], key: str, written: int) -> Fault | None:
        with self._lock:
            number = self.requests.total()
            self.requests[verb] += 1
            self.bytes_written += written
            self.log += [(verb, each) for each in keys]
            before, after = (
                self._dice.random() < _chance(c, verb) for c in (self.fail_before, self.fail_after)
            )
        planned = self.schedule(number, verb, key) if self.schedule else None
        if planned is not None:
            return planned
        return Fault("before") if before else Fault("after") if after else None

    @staticmethod
    def _wait(seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


def _chance(chance: float | Mapping[str, float], verb: str) -> float:
    return chance.get(verb, 0.0) if isinstance(chance, Mapping) else chance
