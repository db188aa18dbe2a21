"""One after another, or at the same time: what several legs of a search gain from threads is found out by trying.

Handing a leg to another thread costs some ten microseconds on an idle machine. On a busy one the other thread waits
for a core, and two legs of 0.4 ms took 1.7 ms together. Neither the size of the legs nor their number tells which.

Which leg the caller's own thread takes tells as much: the other thread begins later, and of two legs of which one
computes in Python most of the time, the other one does not begin at all while the caller is at that one.

A way is tried several times in a row: a thread and a core that have slept for long take a millisecond for the first of
two legs of 0.4 ms, and no more than that for the next ones.
"""

from __future__ import annotations

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
    """What the same legs took, each way, newer ones counting more.

    A way is named by the leg that the caller's thread takes while other threads take the others, or by `apart`.
    Threads may take a measurement from each other, which changes no answer.

    Args:
        legs: how many there are.

    Attributes:
        apart: the way in which one leg follows the other.
    """

    __slots__ = ("_calls", "_last", "_seconds", "_tried_s", "_trying", "apart")

    def __init__(self, legs: int) -> None:
        self.apart = legs
        self._calls = 0
        self._seconds: list[float | None] = [None] * (legs + 1)
        self._last = 0
        self._trying: int | None = None
        self._tried_s: list[float] = []

    def short(self, way: int) -> bool:
        """Whether they take so little this way that waking a thread tells."""
        seconds = self._seconds[way]
        return seconds is not None and seconds < _SHORT_S

    def way(self, *, waits: bool) -> int:
        """The way to go now: the one that took least, and another one from time to time.

        Args:
            waits: whether they may wait for a store, as long as nothing is known.
        """
        self._calls += 1
        if self._trying is not None:
            return self._trying
        known = {way: seconds for way, seconds in enumerate(self._seconds) if seconds is not None}
        if not known:
            return 0 if waits else self.apart
        best = min(known, key=known.__getitem__)
        others = [way for way in range(self.apart + 1) if way != best]
        if known[best] > _LONG_S and best != self.apart:
            others.remove(self.apart)
        # Often in the beginning, when the first ones opened what they read.
        due = self._calls % _TRIED_EVERY == 0 or self._calls & (self._calls - 1) == 0
        never = [way for way in others if way not in known]
        if not never and not due:
            return best
        self._last = next((way for way in never or others if way > self._last), (never or others)[0])
        self._tried_s, self._trying = [], self._last
        return self._last

    def took(self, way: int, seconds: float) -> None:
        """Note what it took."""
        if self._trying != way:
            self._seconds[way] = _newer(self._seconds[way], seconds)
            return
        tried = self._tried_s
        tried.append(seconds)
        if len(tried) >= (_IN_A_ROW if seconds <= _LONG_S else 2):
            self._trying = None
            counted = sorted(tried[1:] or tried)
            self._seconds[way] = counted[len(counted) // 2]


def _newer(before: float | None, seconds: float) -> float:
    """What is expected after one more measurement."""
    if before is None or seconds < before / 2:
        return seconds
    # One that the system stopped in between says nothing of the next.
    counted = seconds if seconds > _LONG_S else min(seconds, _OUTLIER * before)
    return before + _NEWER * (counted - before)
