"""How much an object is used, forgetting slowly: what promotion goes by."""

from __future__ import annotations

import math

__all__ = ["Uses"]

_HALF_LIFE_S = 600.0
_OFTEN = 64
_SHARE = 0.5


class Uses:
    """The reads of one object. Counting may lose one in a race of threads, and nothing else.

    Attributes:
        reads: calls that read, half of them forgotten each ten minutes.
        bytes: what they read, likewise.
        used_s: monotonic time of the last `fade` that found new reads.
    """

    __slots__ = ("__weakref__", "_before", "_faded_s", "bytes", "reads", "used_s")

    def __init__(self, now_s: float) -> None:
        self.reads = self.bytes = 0.0
        self.used_s = self._faded_s = now_s
        self._before = 0.0

    def add(self, size_bytes: int) -> None:
        """Count one read."""
        self.reads += 1.0
        self.bytes += size_bytes

    def fade(self, now_s: float) -> None:
        """Forget what is long ago."""
        if self.reads > self._before:
            self.used_s = now_s
        kept = math.exp2(-(now_s - self._faded_s) / _HALF_LIFE_S)
        self._faded_s = now_s
        self.reads *= kept
        self.bytes *= kept
        self._before = self.reads

    def often(self, size_bytes: int) -> bool:
        """Whether an object of some size is used so much that it pays to bring all of it nearer."""
        return self.reads >= _OFTEN or self.bytes >= _SHARE * size_bytes
