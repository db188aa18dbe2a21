"""The front's event loop: which descriptor is ready, and what is done about it.

Smaller than asyncio's because it is on the way of every call: a ready descriptor costs a lookup and a call.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

__all__ = ["GONE", "READ", "WRITE", "Loop"]

READ = select.POLLIN
WRITE = select.POLLOUT
GONE = select.POLLHUP | select.POLLERR
"""The other side has closed both ways, or the connection failed; reported whether asked for or not."""

_TICK_S = 0.25


class Loop:
    """Calls what is registered for a descriptor when it is ready, and what is to be done every quarter of a second."""

    def __init__(self) -> None:
        self._epoll = select.epoll() if hasattr(select, "epoll") else None
        self._poll = None if self._epoll is not None else select.poll()
        self._ready: dict[int, Callable[[int], None]] = {}
        self._ticks: list[Callable[[], None]] = []
        self._stopped = False

    def watch(self, fd: int, events: int, ready: Callable[[int], None]) -> None:
        """Call a function with the events of a descriptor."""
        self._ready[fd] = ready
        (self._epoll or self._poll).register(fd, events)  # type: ignore[union-attr]

    def change(self, fd: int, events: int) -> None:
        """Watch a descriptor for other events."""
        (self._epoll or self._poll).modify(fd, events)  # type: ignore[union-attr]

    def forget(self, fd: int) -> None:
        """Stop watching a descriptor; to be called before it is closed."""
        if self._ready.pop(fd, None) is not None:
            (self._epoll or self._poll).unregister(fd)  # type: ignore[union-attr]

    def every_tick(self, function: Callable[[], None]) -> None:
        """Call a function about four times a second."""
        self._ticks.append(function)

    def stop(self) -> None:
        """Return from `run`."""
        self._stopped = True

    def run(self) -> None:
        """Until `stop` is called."""
        ready = self._ready
        poll: Callable[[float], list[tuple[int, int]]]
        if self._epoll is not None:
            poll, timeout = self._epoll.poll, _TICK_S
        else:
            assert self._poll is not None
            poll, timeout = self._poll.poll, _TICK_S * 1000
        ticked = time.monotonic()
        while not self._stopped:
            for fd, events in poll(timeout):
                act = ready.get(fd)
                if act is not None:
                    act(events)
            if time.monotonic() - ticked > _TICK_S:
                ticked = time.monotonic()
                for tick in self._ticks:
                    tick()
