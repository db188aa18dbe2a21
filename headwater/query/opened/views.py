"""The parts of the process's memory that one collection uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headwater.tiers import MemoryCache, MemoryView

__all__ = ["MOST_OPEN", "Views"]

MOST_OPEN = 4096
"""Opened segments, and opened indexes of each kind."""


class Views:
    """Makes views of the one budget of memory that the process has, and knows those that it made.

    Args:
        memory: that budget.
        collection: whose they are, for reports.

    Attributes:
        by_kind: every view by what it holds.
    """

    def __init__(self, memory: MemoryCache, collection: str) -> None:
        self._memory = memory
        self._collection = collection
        self.by_kind: dict[str, MemoryView[Any, Any]] = {}

    def new(
        self,
        kind: str,
        weigh: Callable[[Any], int] | None = None,
        *,
        most: int | None = None,
        most_bytes: int | None = None,
        grows: bool = True,
    ) -> MemoryView[Any, Any]:
        """A view for one kind of thing; see `MemoryCache.view`."""
        made = self._memory.view(kind, self._collection, weigh, most=most, most_bytes=most_bytes, grows=grows)
        self.by_kind[kind] = made
        return made
