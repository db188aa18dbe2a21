"""Whether a worker is called: what it tells the front, which ends a server that nobody calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headwater.doors.milvus.service import MilvusService
from headwater.doors.serve.idle import TELL_S

__all__ = ["Activity"]

_ACTIVE = b'{"active": true}\n'


class Activity:
    """Whether a worker has answered calls since somebody last asked.

    Args:
        service: whose calls.
        say: tells the front.
    """

    def __init__(self, service: MilvusService, say: Callable[[bytes], None]) -> None:
        self._service = service
        self._say = say
        self._called = False
        service.observers.append(self._observe)

    def _observe(self, record: Any) -> None:
        self._called = True

    async def tell(self) -> None:
        """Tell the front, again and again, for as long as there are calls."""
        while True:
            await asyncio.sleep(TELL_S)
            if self._called or self._service.in_flight:
                self._called = False
                self._say(_ACTIVE)
