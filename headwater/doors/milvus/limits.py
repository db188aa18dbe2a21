"""What a call may ask for, checked in one place, whichever door it came through."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from headwater.doors.milvus.codes import (
    MEMORY_LIMIT,
    PARAMETER_TOO_LARGE,
    TOO_MANY_REQUESTS,
    MilvusError,
    unexpected,
)
from headwater.doors.milvus.rates import Rates
from headwater.settings import ServerSettings

__all__ = ["BRINGS_DATA", "Limits"]

BRINGS_DATA = frozenset({"Insert", "Upsert", "Import"})
"""Calls that are refused while memory is short."""

_MEMORY_LOOK_S = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Limits:
    """The limits of one worker.

    Attributes:
        rates: how much of each kind it takes in a second.

    Args:
        settings: say which.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.rates = Rates(settings)
        self._memory = 0
        self._looked = 0.0

    def admit(self, name: str, size_bytes: int, running: int, waiting: int) -> None:
        """Let a call in; asked on the event loop, before it waits for a thread.

        Args:
            name: of the call.
            size_bytes: of its message.
            running: calls that run or wait.
            waiting: calls that wait for a thread of the lane.

        Raises:
            MilvusError: 1102, the message is too large; 4, too many calls; 3, too little memory.
        """
        settings = self._settings
        self.check_size(f"the message of {name}", size_bytes)
        if running >= settings.max_concurrent_requests:
            detail = f"{running} calls run, and server.max_concurrent_requests is {settings.max_concurrent_requests}"
            raise MilvusError(TOO_MANY_REQUESTS, detail)
        if waiting >= settings.max_queue:
            raise MilvusError(
                TOO_MANY_REQUESTS, f"{waiting} calls wait, and server.max_queue is {settings.max_queue}"
            )
        if settings.memory_bytes and name in BRINGS_DATA:
            taken = self.memory_bytes() + size_bytes
            if taken > settings.memory_bytes:
                raise MilvusError(MEMORY_LIMIT, predict=taken, limit=settings.memory_bytes)

    def memory_bytes(self) -> int:
        """Memory of this process that is neither shared nor mapped from files, as of a moment ago."""
        now = time.monotonic()
        if now - self._looked > _MEMORY_LOOK_S:
            self._looked = now
            try:
                _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
                self._memory = (int(resident) - int(shared)) * _PAGE
            except OSError:
                self._memory = 0
        return self._memory

    def check_size(self, what: str, size_bytes: int) -> None:
        """Bound what is sent and received.

        Raises:
            MilvusError: 1102, it is larger than a message may be.
        """
        most = self._settings.max_message_bytes
        if size_bytes > most:
            raise MilvusError(
                PARAMETER_TOO_LARGE, f"{what} has {size_bytes} bytes, and server.max_message_bytes is {most}"
            )

    def check(self, name: str, request: Any) -> None:
        """Look at what a call asks for; on the call's thread.

        Raises:
            MilvusError: 1100, more hits or more vectors than a search may ask for.
        """
        if name == "Search":
            self._search(request)
        elif name == "HybridSearch":
            for one in request.requests:
                self._search(one)

    def _search(self, request: Any) -> None:
        settings = self._settings
        if request.nq > settings.max_queries:
            raise unexpected(
                f"nq [{request.nq}] is invalid, nq (number of search vector per search request) should be in range "
                f"[1, {settings.max_queries}], but got {request.nq}"
            )
        for pair in request.search_params:
            if pair.key == "topk" and pair.value.isdecimal() and int(pair.value) > settings.max_top_k:
                raise unexpected(
                    f"topk [{pair.value}] is invalid, it should be in range [1, {settings.max_top_k}], "
                    f"but got {pair.value}"
                )
