"""One after another, or at the same time: what several legs of a search gain from threads is found out by trying.

Handing a leg to another thread costs some ten microseconds on an idle machine. On a busy one the other thread waits
for a core, and two legs of 0.4 ms took 1.7 ms together. Neither the size of the legs nor their number tells which.

A way is tried several times in a row: a thread and a core that have slept for long take a millisecond for the first of
two legs of 0.4 ms, and no more than that for the next ones.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

__all__ = ["Turns"]

_TRIED_EVERY = 64
_IN_A_ROW = 4
"""Calls of one trial, of which the first is not counted."""

_LONG_S = 0.02
"""Legs that take longer together are not tried one after another: they may wait for a store."""

_SHORT_S = 0.002

_NEWER = 0.2
_OUTLIER = 3.0


class Turns:
    """What the same legs took, either way, newer ones counting more.

    Threads may take a measurement from each other, which changes no answer.
    """

    __slots__ = ("_apart_s", "_calls", "_each_s", "_together_s", "_tried_s", "_trying")

    def __init__(self) -> None:
        self._calls = 0
        self._apart_s: float | None = None
        self._each_s: list[float] = [0.0]
        self._together_s: float | None = None
        self._trying: bool | None = None
        self._tried_s: list[float] = []

    @property
    def short(self) -> bool:
        """Whether they take so little together that waking a thread tells."""
        return self._together_s is not None and self._together_s < _SHORT_S

    @property
    def slowest(self) -> int:
        """The leg that takes longest by itself; the first, as long as none was tried so."""
        return self._each_s.index(max(self._each_s))

    def together(self, *, waits: bool) -> bool:
        """Whether to run them at the same time now: the way that took less, and the other one from time to time.

        Args:
            waits: whether they may wait for a store, as long as nothing is known.
        """
        self._calls += 1
        trying, apart_s, together_s = self._trying, self._apart_s, self._together_s
        if trying is not None:
            return trying
        if together_s is None:
            return waits or apart_s is not None
        if apart_s is None:
            return together_s > _LONG_S
        better = together_s < apart_s
        # Often in the beginning, when the first ones opened what they read.
        if self._calls % _TRIED_EVERY and self._calls & (self._calls - 1):
            return better
        self._tried_s, self._trying = [], together_s > _LONG_S or not better
        return self._trying

    def took_together(self, seconds: float) -> None:
        """Note what it took at the same time."""
        self._together_s = self._noted(self._together_s, seconds, together=True)

    def took_apart(self, seconds: Sequence[float]) -> None:
        """Note what each leg took, one after another."""
        before = self._each_s if self._apart_s is not None else [None] * len(seconds)
        self._each_s = [_newer(old, new) for old, new in zip(before, seconds, strict=True)]
        self._apart_s = self._noted(self._apart_s, sum(seconds), together=False)

    def _noted(self, before: float | None, seconds: float, *, together: bool) -> float:
        """What is expected after one more measurement; of a trial, after all of them."""
        if self._trying is not together or before is None:
            return _newer(before, seconds)
        tried = self._tried_s
        tried.append(seconds)
        if len(tried) < (_IN_A_ROW if seconds <= _LONG_S else 2):
            return before
        self._trying = None
        return statistics.median(tried[1:] or tried)


def _newer(before: float | None, seconds: float) -> float:
    """What is expected after one more measurement."""
    if before is None or seconds < before / 2:
        return seconds
    # One that the system stopped in between says nothing of the next.
    counted = seconds if seconds > _LONG_S else min(seconds, _OUTLIER * before)
    return before + _NEWER * (counted - before)
