"""How much a worker lets in a second, of rows and of reads: what is more is refused, and clients come again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from headwater.doors.milvus.codes import RATE_LIMIT, MilvusError
from headwater.settings import ServerSettings

__all__ = ["Rates"]

_MB = 1 << 20
_REFUSED = "request is rejected by grpc RateLimiter middleware, please retry later"


class _Bucket:
    """What is left of a rate: at most a second's worth. One call may take more than that, and those after it wait."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._left = rate
        self._looked = clock()
        self._lock = threading.Lock()

    def take(self, amount: float) -> bool:
        with self._lock:
            now = self._clock()
            self._left = min(self.rate, self._left + self.rate * (now - self._looked))
            self._looked = now
            if self._left <= 0:
                return False
            self._left -= amount
            return True


class Rates:
    """The rates of one worker.

    Args:
        settings: say which; 0 is none.
        clock: tells seconds.
    """

    def __init__(self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._buckets: dict[str, tuple[_Bucket, Callable[[Any, int], float]]] = {}
        if settings.write_rate_mb > 0:
            writes = _Bucket(settings.write_rate_mb, clock)
            for name in ("Insert", "Upsert", "Delete"):
                self._buckets[name] = writes, _megabytes
        if settings.search_rate_vectors > 0:
            searches = _Bucket(settings.search_rate_vectors, clock)
            self._buckets["Search"] = searches, lambda request, size: request.nq
            self._buckets["HybridSearch"] = (
                searches,
                lambda request, size: sum(one.nq for one in request.requests),
            )
        if settings.query_rate > 0:
            self._buckets["Query"] = _Bucket(settings.query_rate, clock), lambda request, size: 1

    def take(self, name: str, request: Any, size_bytes: int = 0) -> None:
        """Let a call in; asked where it is about to run.

        Args:
            name: of the call.
            request: its message.
            size_bytes: how long the message was as it came; 0 where it did not come as bytes.

        Raises:
            MilvusError: 8, there have been too many.
        """
        found = self._buckets.get(name)
        if found is not None:
            bucket, amount = found
            if not bucket.take(amount(request, size_bytes)):
                raise MilvusError(RATE_LIMIT, _REFUSED, rate=f"{bucket.rate:g}")


def _megabytes(request: Any, size_bytes: int) -> float:
    size: int = size_bytes or request.ByteSize()
    return size / _MB
