"""What became of a call: what metrics, logs and audits are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from headwater.doors.calling import REQUEST_ID
from headwater.trace import Step

__all__ = ["REQUEST_ID", "Observer", "Record"]


@dataclass(slots=True)
class Record:
    """One call, from when it came to when it was answered.

    Attributes:
        name: of the call, as in `milvus.proto`.
        request_id: the caller's, or ours.
        peer: who is connected.
        user: who asked; empty where no one needs to say.
        database: that it is about.
        request: the message, where it could be read.
        code: Milvus's number of the outcome; 0 is success.
        reason: what went wrong.
        began: `time.perf_counter()` when it came.
        began_ns: the same moment of the wall clock.
        queue_s: how long it waited for a thread.
        parse_s: reading its message.
        run_s: doing it.
        serialise_s: writing the answer.
        held_s: how long it held its thread, without waiting for others.
        held_surely: whether it was looked at how much of that the thread was only kept from its core.
        total_s: all of it.
        bytes_in: size of its message.
        bytes_out: size of the answer.
        traceparent: the caller's span, as W3C writes it.
        step: what the engine did, where that was recorded.
    """

    name: str
    request_id: str = ""
    peer: str = ""
    user: str = ""
    database: str = ""
    request: Any = None
    code: int = 0
    reason: str = ""
    began: float = 0.0
    began_ns: int = 0
    queue_s: float = 0.0
    parse_s: float = 0.0
    run_s: float = 0.0
    serialise_s: float = 0.0
    held_s: float = 0.0
    held_surely: bool = True
    total_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    traceparent: str = ""
    step: Step | None = None

    @property
    def collection(self) -> str:
        """The collection that the call names; empty for none."""
        found: str = getattr(self.request, "collection_name", "")
        return found


Observer = Callable[[Record], None]
"""Called on the event loop with every call that has been answered."""
