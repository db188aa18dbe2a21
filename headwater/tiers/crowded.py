"""What left memory for want of room, so that it is not brought back only to push out what pushed it out.

Where a little more is wanted than memory holds, each query would open again what the one before had to give up: slower
than no cache at all. So what left lately is used from farther away until there is room for it, or its time is over and
it may try again; and what is heavier than all of the budget is not tried again before the budget is another.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable

__all__ = ["CrowdedOut"]

_LOGGER = logging.getLogger("headwater.tiers")
_AGAIN_S = 30.0
_MOST = 4096


class CrowdedOut:
    """Names of what had to leave; its caller sees to it that no two threads change it at once.

    Args:
        now: the time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def add(self, name: Hashable, weight: int) -> bool:
        """Note that something left, or was not let in; whether it is news."""
        before = self._left.pop(name, None)
        self._left[name] = (weight, self._now())
        while len(self._left) > _MOST:
            self._left.popitem(last=False)
        return before is None

    def refuse(self, name: Hashable, label: str, weight: int, bound: int) -> None:
        """Note that something does not fit into memory at all, and say so the first time."""
        if self.add(name, weight):
            _LOGGER.warning(
                "%s takes %d bytes, and tiers.memory_bytes leaves room for %d: it is used from farther away",
                label, weight, bound,
            )  # fmt: skip

    def holds(self, name: Hashable, room: Callable[[int], bool], bound: int) -> bool:
        """Whether something left lately, or never fits, and there is no room for it now.

        Args:
            name: of it.
            room: whether there is room for so many bytes.
            bound: what one thing may weigh at the most.
        """
        found = self._left.get(name)
        if found is None:
            return False
        weight, when = found
        return not room(weight) and (weight > bound or self._now() - when < _AGAIN_S)
