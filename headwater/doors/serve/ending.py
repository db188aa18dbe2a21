"""The end of a process that nobody is left to end: it may not wait for ever for what hangs."""

from __future__ import annotations

import os
import sys
import threading

__all__ = ["leave_within"]


def leave_within(seconds: float) -> None:
    """End this process by then, whatever still runs; nothing that was acknowledged is lost.

    Args:
        seconds: from now.
    """

    def leave() -> None:
        print(
            "a process without its server did not end in time and is broken off", file=sys.stderr, flush=True
        )
        os._exit(1)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
