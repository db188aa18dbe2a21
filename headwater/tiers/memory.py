"""One budget of memory for everything that is decoded or opened, whatever it is and whoever asked for it.

A `MemoryCache` is the budget; a `MemoryView` is the part of it that one kind of thing of one collection takes, with
keys of its own. A hit is a look into a dictionary and a count: no lock, no clock, no list to move things in. What was
used is found out when room is needed: new entries wait in line on probation, and leave from its head; those that were
used while they waited go to the protected line, which takes four fifths of the budget and gives its unused ones back to
the other. So a scan, which uses each thing once, pushes out what came with it and not what is used again and again.

Invariants: `used_bytes` is the sum of the weights of the entries; above the high watermark entries leave until it is at
the low one; pinned entries leave only by `unpin`, `close` and `clear`, and take at most four fifths of the budget.

References: segmented LRU, Karedla et al., "Caching strategies to improve disk system performance", 1994; lazy
promotion, Zhang et al., "SIEVE is simpler than LRU", 2024.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from headwater.store import SingleFlight
from headwater.tiers.crowded import CrowdedOut
from headwater.tiers.report import CacheReport, MemoryReport

__all__ = ["MemoryCache", "MemoryView", "Place", "taken"]

NOMINAL_BYTES = 512
"""What an entry weighs at least: itself, its key and its place."""

_PROTECTED_SHARE = 0.8
_AGED_EVERY = 4
"""So many entries leave for each look at a protected one."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Entry:
    """A value, its weight, and its uses: in all, when it was put in line, and when it was last looked at."""

    __slots__ = (
        "__weakref__",
        "key",
        "pinned",
        "queued",
        "swept",
        "used_s",
        "uses",
        "value",
        "view",
        "weight",
    )

    def __init__(
        self, view: MemoryView[Any, Any], key: Hashable, value: Any, weight: int, now: float
    ) -> None:
        self.view = view
        self.key = key
        self.value = value
        self.weight = weight
        self.uses = self.queued = self.swept = 0
        self.used_s = now
        self.pinned = False

    @property
    def name(self) -> str:
        """The key of the object that it was opened from, or else all of its key."""
        words = (
            [self.key] if isinstance(self.key, str) else list(self.key) if isinstance(self.key, tuple) else []
        )
        named = next((word for word in words if isinstance(word, str) and "/" in word), None)
        return named or ":".join(str(word) for word in words) or str(self.key)

    @property
    def place(self) -> Hashable:
        """What tells it from all other entries, also when it is gone."""
        return self.view.kind, self.view.collection, self.key

    def names(self, prefix: str) -> bool:
        """Whether it was opened from an object under a prefix, or decoded of a collection that is."""
        return self.name.startswith(prefix) or f"{self.view.collection}/".startswith(prefix)


Place = weakref.ref[_Entry]
"""Leads to an entry as long as it is kept, and keeps nothing itself."""


def taken(places: Iterable[Place]) -> list[Any] | None:
    """The values at some places, for whoever asks for the same ones again and again; None where one of them left."""
    values = []
    for place in places:
        entry = place()
        if entry is None:
            return None
        entry.uses += 1
        values.append(entry.value)
    return values


class MemoryView(Generic[K, V]):
    """What one kind of thing takes of a `MemoryCache`. Safe to share between threads; made by `MemoryCache.view`.

    Attributes:
        kind: what the values are.
        collection: whose they are.
        grows: whether values may come to hold more.
        used: the sum of the entries' weights.
        misses: what was asked for and not there.
        evictions: entries that left for want of room.
        expired: entries that left because nobody used them.
        refused: values too heavy to be kept.
    """

    def __init__(
        self,
        cache: MemoryCache,
        kind: str,
        collection: str,
        weigh: Callable[[V], int] | None,
        most: int | None,
        most_bytes: int | None,
        grows: bool,
    ) -> None:
        self._cache = cache
        self._weigh = weigh
        self._most = most
        self._most_bytes = most_bytes
        self.grows = grows and weigh is not None
        self._entries: dict[Any, _Entry] = {}
        self._making = SingleFlight()
        self._retired = 0
        self._closed = False
        self.kind = kind
        self.collection = collection
        self.used = self.misses = self.evictions = self.expired = self.refused = 0

    @property
    def hits(self) -> int:
        """How often a value was asked for and there."""
        return self._retired + sum(entry.uses for entry in list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        """Whether a value is there; not a use of it."""
        return key in self._entries

    def get_or(self, key: K, make: Callable[[], V]) -> V:
        """The value at `key`, made and kept when absent; by one of the threads that ask."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.uses += 1
            found: V = entry.value
            return found
        self.misses += 1
        return self._making.once(key, lambda: self._made(key, make))

    def _made(self, key: K, make: Callable[[], V]) -> V:
        entry = self._entries.get(key)
        if entry is None:
            return self.put(key, make())
        found: V = entry.value
        return found

    def get(self, key: K) -> V | None:
        """The value at `key`, where there is one."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        entry.uses += 1
        found: V = entry.value
        return found

    def place(self, key: K) -> Place | None:
        """Where a value is kept, for `taken`; None where it is not there."""
        entry = self._entries.get(key)
        return None if entry is None else weakref.ref(entry)

    def put(self, key: K, value: V) -> V:
        """Keep a value, unless there is one; the one that is there now."""
        weight = self.weight_of(value)
        cache = self._cache
        with cache.lock:
            found = self._entries.get(key)
            if found is not None:
                kept: V = found.value
                return kept
            if self._closed or not cache.fits(weight, self._most_bytes):
                self.refused += 1
                if not self._closed:
                    cache.refuse(_Entry(self, key, value, weight, 0.0))
                return value
            cache.admit(_Entry(self, key, value, weight, cache.now()))
            self._within_own_bounds()
        return value

    def crowded(self, key: K) -> bool:
        """Whether a value left for want of room that there is not now, so that it had better be left where it is."""
        return self._cache.crowded((self.kind, self.collection, key))

    def weight_of(self, value: V) -> int:
        """What a value weighs now."""
        return NOMINAL_BYTES if self._weigh is None else max(NOMINAL_BYTES, int(self._weigh(value)))

    def pin(self, key: K) -> bool:
        """Keep an entry whatever it is used; whether it is there and pinned entries leave room for it."""
        with self._cache.lock:
            entry = self._entries.get(key)
            return entry is not None and self._cache.pin(entry)

    def unpin(self, key: K) -> None:
        """Let an entry go when its time comes."""
        with self._cache.lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._cache.unpin(entry)

    def drop(self, key: K) -> None:
        """Forget one entry, where it is there."""
        with self._cache.lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._cache.drop(entry)

    def discard(self, gone: Callable[[K], bool]) -> None:
        """Drop the entries whose keys are chosen; whoever holds a value goes on with it."""
        with self._cache.lock:
            for entry in [entry for key, entry in self._entries.items() if gone(key)]:
                self._cache.drop(entry)

    def keys(self) -> list[K]:
        """The keys of what is there."""
        return list(self._entries)

    def entries(self) -> list[_Entry]:
        """What is there, for reports."""
        return list(self._entries.values())

    def clear(self) -> None:
        """Drop every entry, pinned ones too."""
        with self._cache.lock:
            for entry in list(self._entries.values()):
                self._cache.drop(entry)

    def close(self) -> None:
        """Drop every entry, and keep none from now on."""
        with self._cache.lock:
            self._closed = True
            self.clear()
            self._cache.forget(self)

    def report(self) -> CacheReport:
        """Its figures."""
        return CacheReport(
            self.kind,
            len(self),
            self.used,
            self.hits,
            self.misses,
            self.evictions,
            self.expired,
            self.refused,
        )

    def _within_own_bounds(self) -> None:
        """Make room for the newest entry among the view's own, where it is bounded by itself."""
        tries = len(self._entries)
        while tries > 1 and self._over():
            tries -= 1
            entry = next(iter(self._entries.values()))
            if entry.pinned or entry.uses != entry.queued:
                entry.queued = entry.uses
                # To the end of the line; who looks in between makes the value once more.
                self._entries[entry.key] = self._entries.pop(entry.key)
                continue
            self.evictions += 1
            self._cache.drop(entry)
        if self._over():
            for entry in list(self._entries.values()):
                if not self._over() or len(self._entries) == 1:
                    break
                if not entry.pinned:
                    self.evictions += 1
                    self._cache.drop(entry)

    def _over(self) -> bool:
        many = self._most is not None and len(self._entries) > self._most
        return many or (self._most_bytes is not None and self.used > self._most_bytes)


class MemoryCache:
    """A budget of memory and what lives on it. Safe to share between threads.

    Args:
        capacity: the budget, bytes.
        high: share of it at which entries begin to leave.
        low: share of it at which they stop.
        ttl_s: entries that nobody used for so long leave at the next `tick`; 0 for never.
        now: the time in seconds; the monotonic clock by default.

    Attributes:
        used_bytes: the sum of the weights of all entries.
        pinned_bytes: of those that are pinned.
        lock: held by views while they change; reentrant.
    """

    def __init__(
        self,
        capacity: int,
        *,
        high: float = 0.95,
        low: float = 0.85,
        ttl_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.capacity = capacity
        self.high_bytes = int(capacity * high)
        self.low_bytes = int(capacity * low)
        self.ttl_s = ttl_s
        self.now = now
        self.used_bytes = self.pinned_bytes = 0
        self.lock = threading.RLock()
        self._crowded = CrowdedOut(now)
        self._protected_bytes = self._evicted = 0
        self._probation: OrderedDict[_Entry, None] = OrderedDict()
        self._protected: OrderedDict[_Entry, None] = OrderedDict()
        self._views: list[MemoryView[Any, Any]] = []
        self._past: dict[str, CacheReport] = {}
        self._abandoned: deque[MemoryView[Any, Any]] = deque()

    def view(
        self,
        kind: str,
        collection: str = "",
        weigh: Callable[[Any], int] | None = None,
        *,
        most: int | None = None,
        most_bytes: int | None = None,
        grows: bool = True,
    ) -> MemoryView[Any, Any]:
        """A part of the cache with keys of its own.

        Args:
            kind: what the values are.
            collection: whose they are.
            weigh: bytes that a value holds. Where nobody knows, an entry counts for little and `most` bounds them.
            most: entries it may have.
            most_bytes: what it may weigh, within the budget of all.
            grows: whether values may come to hold more, so that each `tick` weighs them again.
        """
        made: MemoryView[Any, Any] = MemoryView(self, kind, collection, weigh, most, most_bytes, grows)
        with self.lock:
            self._views.append(made)
        return made

    def abandon(self, view: MemoryView[Any, Any]) -> None:
        """Close a view at the next `tick` or `put`; safe where locks must not be taken, as in a finalizer."""
        self._abandoned.append(view)

    def room(self, size_bytes: int) -> bool:
        """Whether so much more could be kept without anything leaving."""
        return self.used_bytes + size_bytes <= self.low_bytes

    def crowded(self, name: Hashable) -> bool:
        """Whether something left for want of room that there is not now.

        Args:
            name: the key of the object that it was opened from; or kind, collection and key in its view.
        """
        return self._crowded.holds(name, self.room, self.low_bytes - self.pinned_bytes)

    # -- for views, which hold the lock --------------------------------------------------------------

    def fits(self, weight: int, most_bytes: int | None) -> bool:
        """Whether a value of some weight is kept at all."""
        bound = self.low_bytes - self.pinned_bytes
        return weight <= (bound if most_bytes is None else min(bound, most_bytes))

    def refuse(self, entry: _Entry) -> None:
        """Remember an entry that is too heavy to be kept."""
        bound = self.low_bytes - self.pinned_bytes
        if entry.weight > bound:
            label = f"{entry.view.kind} of {entry.name}"
            self._crowded.refuse(entry.name, label, entry.weight, bound)
            self._crowded.add(entry.place, entry.weight)

    def admit(self, entry: _Entry) -> None:
        """Take in a new entry."""
        self._close_abandoned()
        view = entry.view
        view._entries[entry.key] = entry
        view.used += entry.weight
        self.used_bytes += entry.weight
        self._probation[entry] = None
        self._make_room()

    def drop(self, entry: _Entry) -> None:
        """Forget an entry."""
        view = entry.view
        if view._entries.get(entry.key) is not entry:
            return
        del view._entries[entry.key]
        view._retired += entry.uses
        view.used -= entry.weight
        self.used_bytes -= entry.weight
        if entry.pinned:
            self.pinned_bytes -= entry.weight
        elif entry in self._protected:
            del self._protected[entry]
            self._protected_bytes -= entry.weight
        else:
            self._probation.pop(entry, None)

    def pin(self, entry: _Entry) -> bool:
        """Take an entry out of the lines, as far as pinned ones leave room."""
        if entry.pinned:
            return True
        if self.pinned_bytes + entry.weight > self.capacity * _PROTECTED_SHARE:
            return False
        if entry in self._protected:
            del self._protected[entry]
            self._protected_bytes -= entry.weight
        else:
            self._probation.pop(entry, None)
        entry.pinned = True
        self.pinned_bytes += entry.weight
        return True

    def unpin(self, entry: _Entry) -> None:
        """Put an entry in line again."""
        if entry.pinned:
            entry.pinned = False
            self.pinned_bytes -= entry.weight
            entry.queued = entry.uses
            self._probation[entry] = None

    def forget(self, view: MemoryView[Any, Any]) -> None:
        """Drop a closed view; its counts stay in the report."""
        if view in self._views:
            self._views.remove(view)
            past = self._past.get(view.kind)
            self._past[view.kind] = view.report() if past is None else past.plus(view.report())

    # -- leaving -------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        if self.used_bytes <= self.high_bytes:
            return
        while self.used_bytes > self.low_bytes:
            entry = self._next_to_go()
            if entry is None:
                return
            entry.view.evictions += 1
            self.drop(entry)
            self._crowded.add(entry.name, entry.weight)
            self._crowded.add(entry.place, entry.weight)
            self._evicted += 1
            if self._evicted % _AGED_EVERY == 0:
                self._age()

    def _age(self) -> None:
        """Look at one protected entry: it stays when it was used since the last look, else it waits with the others."""
        entry = next(iter(self._protected), None)
        if entry is not None and entry.uses != entry.queued:
            entry.queued = entry.uses
            self._protected.move_to_end(entry)
        elif entry is not None:
            self._demote()

    def _next_to_go(self) -> _Entry | None:
        """The entry that waited longest and was not used meanwhile; used ones change lines on the way."""
        tries = 2 * (len(self._probation) + len(self._protected)) + 1
        while tries:
            tries -= 1
            if not self._probation and not self._demote():
                return None
            entry = next(iter(self._probation))
            if entry.uses == entry.queued or not tries:
                return entry
            del self._probation[entry]
            entry.queued = entry.uses
            self._protected[entry] = None
            self._protected_bytes += entry.weight
            while self._protected_bytes > self.capacity * _PROTECTED_SHARE and self._demote():
                pass
        return next(iter(self._probation), None)

    def _demote(self) -> bool:
        """Put the protected entry that is longest unused back on probation; False where there is none."""
        for _ in range(len(self._protected)):
            entry = next(iter(self._protected))
            if entry.uses == entry.queued:
                break
            entry.queued = entry.uses
            self._protected.move_to_end(entry)
        if not self._protected:
            return False
        entry, _ = self._protected.popitem(last=False)
        entry.queued = entry.uses
        self._protected_bytes -= entry.weight
        self._probation[entry] = None
        return True

    def tick(self) -> int:
        """Weigh what grows, drop what nobody used for `ttl_s`, and make room; how many entries left."""
        with self.lock:
            self._close_abandoned()
            now, before = self.now(), sum(len(view) for view in self._views)
            for view in list(self._views):
                for entry in view.entries():
                    if view.grows:
                        self._weigh_again(entry)
                    if entry.uses != entry.swept:
                        entry.swept, entry.used_s = entry.uses, now
                    elif self.ttl_s and not entry.pinned and now - entry.used_s > self.ttl_s:
                        view.expired += 1
                        self.drop(entry)
            self._make_room()
            return before - sum(len(view) for view in self._views)

    def _weigh_again(self, entry: _Entry) -> None:
        grown = entry.view.weight_of(entry.value) - entry.weight
        if grown:
            entry.weight += grown
            entry.view.used += grown
            self.used_bytes += grown
            if entry.pinned:
                self.pinned_bytes += grown
            elif entry in self._protected:
                self._protected_bytes += grown

    def _close_abandoned(self) -> None:
        while self._abandoned:
            self._abandoned.popleft().close()

    def views(self) -> list[MemoryView[Any, Any]]:
        """The views that are open."""
        return list(self._views)

    def report(self) -> MemoryReport:
        """What is held, by kind; those of closed views are counted too."""
        with self.lock:
            kinds = dict(self._past)
            for view in self._views:
                found = view.report()
                kinds[view.kind] = kinds[view.kind].plus(found) if view.kind in kinds else found
        return MemoryReport(
            self.capacity,
            self.high_bytes,
            self.low_bytes,
            self.used_bytes,
            self.pinned_bytes,
            tuple(sorted(kinds.values(), key=lambda one: one.kind)),
        )
