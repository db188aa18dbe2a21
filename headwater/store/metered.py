"""A store that counts what is asked of it, as a vendor would bill it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from headwater.store.objects import Buffers, Keys, ObjectMeta, ObjectStore
from headwater.store.ranges import cut_runs, store_runs
from headwater.store.wrapper import StoreWrapper
from headwater.types import ByteRange

__all__ = ["MeteredStore"]

T = TypeVar("T")


class MeteredStore(StoreWrapper):
    """Counts reads; files of a local store are hidden, so that all of it is a request away.

    Near ranges of one call are one request and long ones several, as `HedgedStore` makes them, whatever the inner
    store does.

    Args:
        inner: the store that does the work.
        least_s: a read takes at least so long, so that those made together are seen to be, however fast the store is.

    Attributes:
        requests: reads as billed: an object, a merged range, a head, a listing.
        bytes_read: that were sent, the gaps of merged ranges included.
        round_trips: reads that waited for one another: one begins a new round when it was made after an answer to the
            round before.
    """

    def __init__(self, inner: ObjectStore, *, least_s: float = 0.0) -> None:
        super().__init__(inner)
        self._least_s = least_s
        self.requests = 0
        self.bytes_read = 0
        self.round_trips = 0
        self._answered = 0
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Count from zero again; only while no request is under way."""
        with self._lock:
            self.requests = self.bytes_read = self.round_trips = self._answered = 0

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        return self._asked(lambda: self.inner.get(key), len)

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`."""
        runs = store_runs(ranges, near_bytes)
        sent = sum(run.span.size_bytes for run in runs)
        return self._asked(
            lambda: self.inner.get_ranges(key, ranges, near_bytes=near_bytes, etag=etag),
            lambda _: sent,
            sum(map(len, cut_runs(runs))),
        )

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        return self._asked(lambda: self.inner.head(key))

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`; one request, made when its first key is asked for."""
        yield from self._asked(lambda: tuple(self.inner.list(prefix, start_after=start_after)))

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        return self._asked(lambda: self.inner.list_prefixes(prefix))

    def local_path(self, key: str) -> Path | None:
        """None: nothing is here."""
        self.inner.local_path(key)
        return None

    def _asked(
        self, call: Callable[[], T], measure: Callable[[T], int] | None = None, requests: int = 1
    ) -> T:
        with self._lock:
            number = self._answered + 1
            self.requests += requests
            self.round_trips = max(self.round_trips, number)
        began = time.perf_counter()
        try:
            result = call()
        finally:
            time.sleep(max(0.0, began + self._least_s - time.perf_counter()))
            with self._lock:
                self._answered = max(self._answered, number)
        if measure is not None:
            with self._lock:
                self.bytes_read += measure(result)
        return result
