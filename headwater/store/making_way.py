"""How upkeep shares what a priority does not: the interpreter and the disk.

A thread of the lowest priority gets a core last. Yet while it computes in Python, whoever comes back from a system
call waits for the interpreter, 5 ms by default, and a durable write makes several such calls. And a sync of a large
file fills the disk's queue, behind which the sync of a small one waits. So such a thread does either in small pieces,
and pauses between them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["LOWEST_PRIORITY", "awaited", "give_turn", "makes_way"]

LOWEST_PRIORITY = 19
"""As `os.setpriority` counts; a thread that has it makes way for all others."""

_TURN_S = 0.00005
"""Long enough for a thread that waits to wake up and take the interpreter; one that is only released is taken back."""


_awaited = 0
_awaited_lock = threading.Lock()


@contextmanager
def awaited() -> Iterator[None]:
    """Meanwhile somebody waits for what such threads do, and they make way for nobody."""
    global _awaited
    with _awaited_lock:
        _awaited += 1
    try:
        yield
    finally:
        with _awaited_lock:
            _awaited -= 1


def makes_way() -> bool:
    """Whether the calling thread runs at the lowest priority, and nobody waits for it."""
    if _awaited or not hasattr(os, "getpriority"):
        return False
    try:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) >= LOWEST_PRIORITY
    except OSError:
        # A system whose threads have no priority of their own.
        return False


def give_turn() -> None:
    """Let others have the interpreter, and the disk, for a moment, where the calling thread makes way for them."""
    if makes_way():
        time.sleep(_TURN_S)
