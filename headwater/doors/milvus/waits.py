"""Whether a thread waited: for a disk, a lock, or a while."""

from __future__ import annotations

import time

try:
    import resource

    _THREAD = resource.RUSAGE_THREAD
except (ImportError, AttributeError):  # Windows has no such module, and macOS tells nothing of a thread.
    _THREAD = -1

__all__ = ["thread_waits"]


def thread_waits() -> int:
    """How often the calling thread gave its core away to wait for something; being put off the core is not counted.

    Where the system does not tell, no two answers are the same, as if it had waited in between.
    """
    return time.perf_counter_ns() if _THREAD < 0 else resource.getrusage(_THREAD).ru_nvcsw
