"""What a read sees: consistency levels and timestamps of the protocol, and the states that iterators go on in."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2

from headwater.doors.milvus.codes import unexpected
from headwater.engine import Collection, CollectionAt, SearchIterator
from headwater.errors import NotReady, PartitionNotFound
from headwater.lake import SYSTEM_CLOCK
from headwater.lake.log import LOGICAL_BITS
from headwater.query.lru import LruCache
from headwater.types import ConsistencyLevel

__all__ = ["HeldIterators", "PinnedReads", "now_timestamp", "pinned"]

_EVENTUALLY, _BOUNDED = 1, 2
"""Guarantee timestamps that are no moments but mean a level."""

_Level = common_pb2.ConsistencyLevel
_LEVELS = {
    _Level.Strong: ConsistencyLevel.STRONG,
    _Level.Session: ConsistencyLevel.SESSION,
    _Level.Bounded: ConsistencyLevel.BOUNDED,
    _Level.Eventually: ConsistencyLevel.EVENTUALLY,
}


def now_timestamp() -> int:
    """The hybrid timestamp of this moment."""
    return SYSTEM_CLOCK.now_ms() << LOGICAL_BITS


def pinned(collection: Collection, request: Any, *, growing: bool = True) -> CollectionAt:
    """The state that a search or a query reads.

    Args:
        collection: which.
        request: its `consistency_level`, `use_default_consistency`, `guarantee_timestamp` and `partition_names`.
        growing: whether rows that are in the log only are read.

    Raises:
        MilvusError: 65535, there is no such partition, or the timestamp is in the future.
    """
    level, least = _promised(request)
    names: Sequence[str] | None = list(request.partition_names) or None
    try:
        try:
            return collection.pin(
                consistency_level=level, min_timestamp=least, partitions=names, growing=growing
            )
        except NotReady as error:
            # What is before now and not in the log never will be: the write was to a collection that is gone.
            if least is not None and least > now_timestamp() + (5_000 << LOGICAL_BITS):
                raise unexpected(f"guarantee timestamp {least} is in the future: {error}") from error
            return collection.pin(
                consistency_level=ConsistencyLevel.STRONG, partitions=names, growing=growing
            )
    except PartitionNotFound as error:
        known = collection.partitions
        missing = next((name for name in names or () if name not in known), names)
        raise unexpected(f"partition name {missing} not found") from error


def _promised(request: Any) -> tuple[ConsistencyLevel | None, int | None]:
    """The level that was asked for, None for the collection's own, and the write that must be seen."""
    guarantee = request.guarantee_timestamp
    least = guarantee if guarantee > _BOUNDED else None
    if request.use_default_consistency:
        return None, least
    if request.consistency_level in _LEVELS and not (
        request.consistency_level == _Level.Strong and guarantee
    ):
        return _LEVELS[request.consistency_level], least
    if guarantee == _EVENTUALLY:
        return ConsistencyLevel.EVENTUALLY, None
    if guarantee == _BOUNDED:
        return ConsistencyLevel.BOUNDED, None
    return (ConsistencyLevel.STRONG, None) if guarantee == 0 else (ConsistencyLevel.EVENTUALLY, least)


class PinnedReads:
    """States that iterators read on in, by the timestamp that the client sends back; the least recently used ones go.

    An iterator whose state went, or that comes to another process, reads on in a newer state.

    Args:
        most: how many are held.
    """

    def __init__(self, most: int = 256) -> None:
        self._lock = threading.Lock()
        self._held: LruCache[tuple[str, int], CollectionAt] = LruCache(most)
        self._last = 0

    def hold(self, root: str, state: CollectionAt) -> int:
        """Keep a state; returns the timestamp that names it."""
        with self._lock:
            timestamp = self._last = max(self._last + 1, now_timestamp())
        self._held.put((root, timestamp), state)
        return timestamp

    def get(self, root: str, timestamp: int) -> CollectionAt | None:
        """A state that is held still."""
        return self._held.get((root, timestamp))


class HeldIterators:
    """Search iterators that are under way, by their token; the least recently used ones go.

    Args:
        most: how many are held.
    """

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[float | None, SearchIterator]] = OrderedDict()

    def take(self, token: str, last_bound: float | None) -> SearchIterator | None:
        """An iterator, if it stands where the client thinks it does; whoever takes it puts it back."""
        with self._lock:
            bound, found = self._held.pop(token, (None, None))
        return found if last_bound is not None and bound == last_bound else None

    def put(self, token: str, last_bound: float | None, iterator: SearchIterator) -> None:
        """Keep an iterator until its next step."""
        with self._lock:
            self._held[token] = (last_bound, iterator)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
