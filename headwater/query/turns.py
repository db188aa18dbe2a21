"""One after another, or at the same time: what several legs of a search gain from threads is found out by trying.

Handing a leg to another thread costs some ten microseconds on an idle machine. On a busy one the other thread waits
for a core, and two legs of 0.4 ms took 1.7 ms together. Neither the size of the legs nor their number tells which.
"""

from __future__ import annotations

__all__ = ["Turns"]

_TRIED_EVERY = 32
_LONG_S = 0.02
"""Legs that take longer together are not tried one after another: they may wait for a store."""

_NEWER = 0.2
_OUTLIER = 3.0


class Turns:
    """What the same legs took, either way, newer ones counting more.

    Threads may take a measurement from each other, which changes no answer.
    """

    __slots__ = ("_apart_s", "_calls", "_together_s")

    def __init__(self) -> None:
        self._calls = 0
        self._apart_s: float | None = None
        self._together_s: float | None = None

    def together(self, *, waits: bool) -> bool:
        """Whether to run them at the same time now: the way that took less, and the other one from time to time.

        Args:
            waits: whether they may wait for a store, as long as nothing is known.
        """
        self._calls += 1
        apart_s, together_s = self._apart_s, self._together_s
        if together_s is None:
            return waits or apart_s is not None
        if apart_s is None:
            return together_s > _LONG_S
        # Often in the beginning, when the first ones opened what they read.
        tried = self._calls % _TRIED_EVERY == 0 or self._calls & (self._calls - 1) == 0
        better = together_s < apart_s
        return (together_s > _LONG_S or not better) if tried else better

    def took(self, seconds: float, *, together: bool) -> None:
        """Note what it took."""
        before = self._together_s if together else self._apart_s
        if before is not None and seconds >= before / 2:
            # One that the system stopped in between says nothing of the next.
            counted = seconds if seconds > _LONG_S else min(seconds, _OUTLIER * before)
            seconds = before + _NEWER * (counted - before)
        if together:
            self._together_s = seconds
        else:
            self._apart_s = seconds
