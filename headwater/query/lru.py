"""A map that forgets what was used longest ago: for small things that are counted, not weighed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["LruCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Least-recently-used map bounded by the sum of its entries' weights.

    Args:
        capacity: the bound; an entry heavier than it is handed back and not kept.
        weigh: weight of a value; 1 each when left out.
    """

    def __init__(self, capacity: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._used = 0
        self._lock = threading.Lock()
        self.hits = self.misses = self.evictions = 0

    @property
    def used(self) -> int:
        """The sum of the entries' weights."""
        return self._used

    def __len__(self) -> int:
        return len(self._entries)

    def get_or(self, key: K, make: Callable[[], V]) -> V:
        """The value at `key`, made outside the lock when absent."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self.hits += 1
                self._entries.move_to_end(key)
                return found[0]
            self.misses += 1
        return self.put(key, make())

    def put(self, key: K, value: V) -> V:
        """Keep a value, unless there is one; the one that is there now."""
        weight = self._weigh(value)
        with self._lock:
            if key in self._entries:
                return self._entries[key][0]
            if weight <= self._capacity:
                self._entries[key] = (value, weight)
                self._used += weight
                while self._used > self._capacity:
                    _, (_, evicted) = self._entries.popitem(last=False)
                    self.evictions += 1
                    self._used -= evicted
        return value

    def get(self, key: K) -> V | None:
        """The value at `key`, where there is one."""
        with self._lock:
            found = self._entries.get(key)
            if found is None:
                return None
            self._entries.move_to_end(key)
            return found[0]

    def clear(self) -> None:
        """Drop every entry."""
        with self._lock:
            self._entries.clear()
            self._used = 0
