"""What processes did and saw, and whether one order of it all explains it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ABSENT = -1
FOREVER = float("inf")


@dataclass(frozen=True)
class Operation:
    """A write of a key, its deletion (a write of `ABSENT`), or a read of it.

    `end` is `FOREVER` for a write whose outcome its caller never learnt.
    """

    read: bool
    value: int
    start: float
    end: float


def linearizable(operations: Sequence[Operation]) -> bool:
    """Whether there is an order of the operations on one key that agrees with real time and explains every read.

    A write of unknown outcome may have happened at any moment after its start, or never.

    Reference: Wing and Gong, "Testing and Verifying Concurrent Objects", 1993; with the memo of Lowe, 2017.
    """
    ordered = sorted(operations, key=lambda one: one.start)
    certain = frozenset(i for i, one in enumerate(ordered) if one.end != FOREVER)
    seen: set[tuple[frozenset[int], frozenset[int], int]] = set()
    stack = [(certain, frozenset(range(len(ordered))) - certain, ABSENT)]
    while stack:
        left, optional, value = stack.pop()
        if not left:
            return True
        if (left, optional, value) in seen:
            continue
        seen.add((left, optional, value))
        horizon = min(ordered[i].end for i in left)
        for i in left | optional:
            one = ordered[i]
            if one.start > horizon or (one.read and one.value != value):
                continue
            stack.append((left - {i}, optional - {i}, value if one.read else one.value))
    return False
