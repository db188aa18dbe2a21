"""How long requests of a store take, by about how many bytes they ask for, and from when on one is late."""

from __future__ import annotations

import threading

import numpy as np

__all__ = ["HedgeBudget", "Latencies"]

_KEPT = 256
_LEAST = 24
_RECOMPUTED_EVERY = 16
_SLACK = 1.5
"""A request that takes less than this many times the median is not late, however even the others are."""

_LEAST_S = 0.005


class _Recent:
    """The last latencies of one size."""

    __slots__ = ("count", "late_s", "seconds")

    def __init__(self) -> None:
        self.seconds = np.zeros(_KEPT)
        self.count = 0
        self.late_s: float | None = None

    def add(self, seconds: float) -> None:
        """Remember one more."""
        self.seconds[self.count % _KEPT] = seconds
        self.count += 1
        if (self.count >= _LEAST and self.count % _RECOMPUTED_EVERY == 0) or self.count == _LEAST:
            known = self.seconds[: min(self.count, _KEPT)]
            median, late = np.quantile(known, (0.5, 0.95))
            self.late_s = max(float(late), _SLACK * float(median), _LEAST_S)


class Latencies:
    """Recent latencies by size. Safe between threads."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Recent] = {}
        self._lock = threading.Lock()

    def add(self, size_bytes: int, seconds: float) -> None:
        """Remember how long a request took."""
        with self._lock:
            self._by_size.setdefault(_size_class(size_bytes), _Recent()).add(seconds)

    def late_s(self, size_bytes: int) -> float | None:
        """After how many seconds a request is late: the 95th percentile; None while too few are known."""
        recent = self._by_size.get(_size_class(size_bytes))
        return None if recent is None else recent.late_s


def _size_class(size_bytes: int) -> int:
    """Up to 64 KiB, 256 KiB, 1 MiB, ..."""
    return max(0, (max(1, size_bytes) - 1) >> 16).bit_length() // 2


class HedgeBudget:
    """How many requests may be made a second time: a share of all, and a few at once. Safe between threads.

    Args:
        share: of the requests.
        most: that may be saved up.
    """

    def __init__(self, share: float, most: float = 20.0) -> None:
        self._share = share
        self._most = most
        self._saved = 1.0
        self._lock = threading.Lock()

    def earn(self, requests: int) -> None:
        """So many requests were made."""
        with self._lock:
            self._saved = min(self._most, self._saved + requests * self._share)

    def spend(self) -> bool:
        """Whether one may be made again; it is then counted."""
        with self._lock:
            if self._saved < 1.0:
                return False
            self._saved -= 1.0
            return True
