"""What runs in a Ray cluster: an actor that answers one call."""

from __future__ import annotations

import os
import pickle
import queue
import threading
from collections.abc import Iterator
from typing import Any

from headwater.engine.on_demand.answering import answer
from headwater.engine.on_demand.calls import Call
from headwater.engine.on_demand.messages import failed
from headwater.engine.on_demand.places import resident_bytes, too_much

__all__ = ["Actor"]

_LOOK_S = 0.02
_AHEAD = 2
"""Batches that an actor reads before the last one was taken."""

Message = tuple[str, Any]


class Actor:
    """What runs in the cluster."""

    def answer(self, packed: bytes, memory_bytes: int | None) -> Iterator[Message]:
        """A call's answer as messages: its header, its batches, and its end, or the error that it met.

        Args:
            packed: the call.
            memory_bytes: what this process may hold.
        """
        found: queue.Queue[Message] = queue.Queue(_AHEAD)
        call = pickle.loads(packed)  # noqa: S301 (our own caller's)
        threading.Thread(target=_answered, args=(call, found), daemon=True).start()
        kind = ""
        while kind not in ("end", "error"):
            used = 0 if memory_bytes is None else resident_bytes(os.getpid())
            if memory_bytes is not None and used > memory_bytes:
                kind, value = "error", failed(too_much(call, used, memory_bytes))
            else:
                try:
                    kind, value = found.get(timeout=_LOOK_S)
                except queue.Empty:
                    continue
            yield kind, value


def _answered(call: Call, to: queue.Queue[Message]) -> None:
    try:
        found = answer(call)
        to.put(("header", dict(found.header)))
        for batch in found.batches or ():
            to.put(("batch", batch))
        to.put(("end", None))
    except Exception as error:  # noqa: BLE001 (it goes to the caller, whole)
        to.put(("error", failed(error)))
