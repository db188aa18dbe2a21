"""Trying again: exponential waits with full jitter, bounded by attempts and by a deadline.

Promise: only errors marked `retryable` are tried again, and the last of them is what the caller sees.
`create` is never repeated here, because its outcome is ambiguous after a lost response; `put_if_absent`
knows how.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from headwater.errors import HeadwaterError
from headwater.store.objects import Buffers, Keys, ObjectMeta, ObjectStore
from headwater.store.wrapper import StoreWrapper
from headwater.types import ByteRange

__all__ = ["RetryingStore", "with_retries"]

T = TypeVar("T")

_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 5.0
_DICE = random.SystemRandom()


def with_retries(
    call: Callable[[], T],
    *,
    deadline_s: float = 60.0,
    attempts: int = 8,
    jitter: Callable[[], float] = _DICE.random,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Call until it succeeds, fails for good, or the attempts or the time are spent.

    Args:
        call: must be safe to repeat.
        deadline_s: no attempt starts later than this after the first.
        attempts: at most so many calls.
        jitter: numbers in [0, 1); each wait is this share of 50 ms, 100 ms, 200 ms, ... up to 5 s.
        sleep: how to wait.
        clock: monotonic seconds.

    Returns:
        What `call` returned.

    Raises:
        HeadwaterError: the last error, with a note of how often and how long it was tried.
    """
    began = clock()
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except HeadwaterError as error:
            if not error.retryable:
                raise
            wait_s = jitter() * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2 ** (attempt - 1))
            if attempt == attempts or clock() - began + wait_s > deadline_s:
                error.add_note(f"gave up after {attempt} attempts in {clock() - began:.1f} s")
                raise
            sleep(wait_s)
    raise ValueError(f"attempts: expected at least 1, got {attempts}")


class RetryingStore(StoreWrapper):
    """Repeats the calls that are safe to repeat.

    Args:
        inner: the store that may fail.
        deadline_s: as in `with_retries`.
        attempts: as in `with_retries`.
        sleep: how to wait.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        deadline_s: float = 60.0,
        attempts: int = 8,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(inner)
        self._deadline_s = deadline_s
        self._attempts = attempts
        self._sleep = sleep

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.put(key, data))

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.put_file(key, path))

    def get(self, key: str) -> bytes:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.get(key))

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag))

    def head(self, key: str) -> ObjectMeta:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.head(key))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """As the inner store's; a listing that breaks off goes on after the last key it gave."""
        last = start_after
        listing: Iterator[ObjectMeta] | None = None

        def advance() -> ObjectMeta | None:
            nonlocal listing
            if listing is None:
                listing = self.inner.list(prefix, start_after=last)
            try:
                return next(listing, None)
            except HeadwaterError:
                listing = None
                raise

        while (meta := self._repeat(advance)) is not None:
            last = meta.key
            yield meta

    def list_prefixes(self, prefix: str = "") -> Keys:
        """As the inner store's, repeated."""
        return self._repeat(lambda: self.inner.list_prefixes(prefix))

    def delete(self, keys: Sequence[str]) -> None:
        """As the inner store's, repeated."""
        self._repeat(lambda: self.inner.delete(keys))

    def copy(self, key: str, target: str) -> bool:
        """As the inner store's, repeated."""
        return self._repeat(lambda: super(RetryingStore, self).copy(key, target))

    def _repeat(self, call: Callable[[], T]) -> T:
        return with_retries(call, deadline_s=self._deadline_s, attempts=self._attempts, sleep=self._sleep)
