"""Time as the lake sees it, so that a test can play a week in a second, and faults at chosen moments."""

from __future__ import annotations

import time

__all__ = ["SYSTEM_CLOCK", "Clock"]


class Clock:
    """The system's clock; a subclass may be another.

    Args:
        ahead_s: how far ahead of the system's the time of day is.
    """

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000 + int(self.ahead_s * 1000)

    monotonic = staticmethod(time.monotonic)
    """Seconds that never go back; every search asks for them, so it is the system's own call."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()
