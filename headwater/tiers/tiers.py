"""What one process holds of the lakes it reads."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from headwater.errors import HeadwaterError, InvalidArgument
from headwater.settings import TierSettings
from headwater.store import ObjectStore
from headwater.tiers.disk import DiskCache, default_folder
from headwater.tiers.keeper import KEEPER
from headwater.tiers.mapped import MAPPED
from headwater.tiers.memory import MemoryCache
from headwater.tiers.notes import Notes
from headwater.tiers.policy import TierPolicy
from headwater.tiers.report import DiskReport, MovesReport, Tier, TiersReport
from headwater.tiers.residency import OnDisk, Residency, open_object
from headwater.tiers.uses import Uses
from headwater.tiers.whereabouts import object_reports
from headwater.tiers.work_queue import WorkQueue

__all__ = ["Kind", "Label", "Tiers"]

Kind = Literal["file", "index", "lookup"]
"""A column group or delete vector; an index of vectors; an index of scalars or terms, which is read by parts."""

_LOGGER = logging.getLogger("headwater.tiers")
_TICK_S = 2.0
_MOST_MOVES = 1024
_NOTES_BYTES = 64 << 20
_SMALL_BYTES = 1 << 20
"""Reading a smaller object whole takes about as long as reading the first part of it."""


@dataclass(frozen=True)
class Label:
    """What an open object is: whose, which kind, and where it is wanted."""

    collection: str
    kind: Kind
    policy: TierPolicy


class Follower(Protocol):
    """Who keeps what was opened, and is to open it again where its tier is another now."""

    def moved(self, keys: Collection[str]) -> None:
        """These objects are to be opened again when they are used next."""
        ...


class Tiers:
    """Opens objects at the tier that a policy and the budgets give them. Safe to share between threads.

    An opened object keeps its tier. What is used often enough is brought nearer in the background, what is not used
    gives its place away; who opened it is then told to open it again.

    Args:
        settings: budgets and what they are for; the defaults where nothing is said.

    Attributes:
        settings: budgets and what they are for.
        memory: the budget of memory, and what lives on it.
        disk: the disk cache of remote objects; None where there is none.
        mover: brings objects nearer.
    """

    def __init__(self, settings: TierSettings | None = None) -> None:
        self.settings = checked(settings or TierSettings())
        chosen = self.settings
        high, low = chosen.high_watermark, chosen.low_watermark
        self.memory = MemoryCache(chosen.memory_bytes, high=high, low=low, ttl_s=chosen.ttl_s)
        self.disk: DiskCache | None = None
        if chosen.disk_bytes:
            folder = Path(chosen.disk_path) if chosen.disk_path else default_folder()
            self.disk = DiskCache(folder, chosen.disk_bytes, high=high, low=low, ttl_s=chosen.disk_ttl_s)
        MAPPED.bound(chosen.mapped_bytes)
        self.mover = WorkQueue("headwater-mover", _MOST_MOVES, daemon=True)
        self._opened: weakref.WeakKeyDictionary[Residency, Label] = weakref.WeakKeyDictionary()
        self._uses: weakref.WeakValueDictionary[str, Uses] = weakref.WeakValueDictionary()
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()
        self._near: set[str] = set()
        self._pins: set[str] = set()
        self._demotions = 0
        self._lock = threading.Lock()
        self._pinning = threading.Lock()
        KEEPER.add(self)

    # -- opening ------------------------------------------------------------------------------------

    def open(
        self,
        store: ObjectStore,
        key: str,
        *,
        size_bytes: int | None = None,
        checksum: str | None = None,
        policy: TierPolicy = TierPolicy.AUTO,
        collection: str = "",
        kind: Kind = "file",
    ) -> Residency:
        """Open an object for reading.

        Args:
            store: where it is.
            key: its key.
            size_bytes: its length as recorded.
            checksum: of the whole object, as the manifest has it; without it nothing of it is kept on disk.
            policy: where its bytes are wanted. `warm` of a remote store brings all of it to disk first.
            collection: whose it is, for reports.
            kind: what it is.

        Raises:
            ObjectNotFound: no such object; found later when it is not local.
            Corrupt: it is shorter than `size_bytes`, found later when it is not local; or all of it came and does
                not fit its checksum.
        """
        if store.local_path(key) is not None:
            tier = self._near_tier(policy, kind, size_bytes, key)
            opened = open_object(store, key, size_bytes=size_bytes, tier=tier)
        elif size_bytes is None:
            opened = open_object(store, key, tier="hot" if policy is TierPolicy.HOT else "cold")
        else:
            opened = self._open_remote(store, key, size_bytes, checksum, policy, kind)
        with self._lock:
            self._opened[opened] = Label(collection, kind, policy)
        return opened

    def _near_tier(self, policy: TierPolicy, kind: Kind, size_bytes: int | None, key: str) -> Tier:
        """The tier of what is on this machine."""
        if policy.in_store:
            return "cold"
        if policy is TierPolicy.HOT and self._fits_hot(size_bytes or 0, key):
            return "hot"
        # An index of vectors is read again and again; the others map it, and take what they touch.
        size = size_bytes or 0
        if policy is TierPolicy.AUTO and kind == "index" and self._room(size, key):
            return "hot"
        # Rows of a column group lie far apart, and each would bring in the bytes around it: beyond the bound of mapped
        # memory they are read and not mapped.
        return "cold" if kind == "file" and not MAPPED.room(size) else "warm"

    def _room(self, size_bytes: int, key: str) -> bool:
        """Whether there is room for an object in memory, and it did not have to leave lately."""
        return self.memory.room(size_bytes) and not self.memory.crowded(key)

    def _fits_hot(self, size_bytes: int, key: str) -> bool:
        """Whether an object may be in memory because a policy wants it there, beside all others that are."""
        if self.memory.crowded(key):
            return False
        with self._lock:
            opened = list(self._opened.items())
        there = {
            one.key: one.size_bytes
            for one, label in opened
            if label.policy is TierPolicy.HOT and one.tier == "hot"
        }
        return sum(there.values()) + size_bytes <= self.memory.low_bytes - self.memory.pinned_bytes

    def _open_remote(
        self,
        store: ObjectStore,
        key: str,
        size_bytes: int,
        checksum: str | None,
        policy: TierPolicy,
        kind: Kind,
    ) -> Residency:
        def residency(tier: Tier, on_disk: OnDisk | None, uses: Uses | None = None) -> Residency:
            path = on_disk.path if on_disk is not None and tier == "warm" else None
            made = Residency(
                store, key, size_bytes=size_bytes, path=path, tier=tier, on_disk=on_disk, uses=uses
            )
            made.checksum = checksum
            return made

        in_memory = store.url.startswith("memory:")
        if policy is TierPolicy.ON_DEMAND or (in_memory and policy is TierPolicy.COLD):
            return residency("cold", None)
        if in_memory:
            return residency("hot", None)
        place = self._place(store, key, size_bytes, checksum)
        if policy is TierPolicy.HOT and self._fits_hot(size_bytes, key):
            return residency("hot", place)
        if policy is TierPolicy.COLD:
            return residency("cold", place)
        if place is not None and size_bytes:
            # What is wanted hot and has no room in memory is as near as it can be.
            wanted = policy is not TierPolicy.AUTO or size_bytes <= _SMALL_BYTES
            fetch = residency("cold", None).fetch
            disk, cached = place.disk, place.cached
            if disk.is_whole(cached) or (wanted and disk.complete(cached, fetch)):
                tier = self._near_tier(policy, kind, size_bytes, key)
                return residency(tier, place if tier != "warm" else OnDisk(disk, cached, cached.open_pages()))
        small = place is None and size_bytes <= _SMALL_BYTES
        if policy is TierPolicy.AUTO and (key in self._near or small) and self._room(size_bytes, key):
            return residency("hot", place)
        self._near.discard(key)
        return residency("cold", place, self._uses_of(key) if policy is TierPolicy.AUTO else None)

    def _place(self, store: ObjectStore, key: str, size_bytes: int, checksum: str | None) -> OnDisk | None:
        if self.disk is None or checksum is None:
            return None
        return OnDisk(self.disk, self.disk.object(store.url, key, size_bytes, checksum))

    def _uses_of(self, key: str) -> Uses:
        with self._lock:
            found = self._uses.get(key)
            if found is None:
                found = self._uses[key] = Uses(time.monotonic())
            return found

    def prefetch(
        self, store: ObjectStore, key: str, *, size_bytes: int, checksum: str, wait: bool = False
    ) -> bool:
        """Bring the whole of a remote object to disk, before somebody asks for it.

        Args:
            store: where it is.
            key: its key.
            size_bytes: its length as recorded.
            checksum: of the whole object.
            wait: until it is there; in the background by default.

        Returns:
            Whether it is there, or will be tried; not where there is no disk cache, or too much waits already. What is
            local, or in memory, is there.
        """
        if store.local_path(key) is not None or store.url.startswith("memory:"):
            return True
        place = self._place(store, key, size_bytes, checksum)
        if place is None:
            return False
        fetch = Residency(store, key, size_bytes=size_bytes, path=None).fetch

        def work() -> bool:
            return place.disk.complete(place.cached, fetch) and self._tell([key])

        return work() if wait else self.mover.ask(key, work)

    def notes(self, store: ObjectStore, key: str) -> Notes | None:
        """Where processes of this machine note what they saw of a store; None where nothing is kept.

        Args:
            store: which.
            key: one of it, by which it is seen whether it is a folder of this machine.
        """
        away = store.local_path(key) is None and not store.url.startswith("memory:")
        if self.disk is None or not away or self.settings.policy == TierPolicy.ON_DEMAND:
            return None
        return Notes(self.disk.folder / "notes", store.url, min(_NOTES_BYTES, self.disk.budget_bytes // 16))

    # -- moving -------------------------------------------------------------------------------------

    def follow(self, follower: Follower) -> None:
        """Tell somebody, as long as he lives, which objects are to be opened again."""
        with self._lock:
            self._followers.add(follower)

    def _tell(self, keys: Collection[str]) -> bool:
        with self._lock:
            followers = list(self._followers)
        for follower in followers:
            follower.moved(keys)
        return True

    def tend(self) -> float:
        """Look after what is held; called by the keeper. How long it may wait before the next time, in seconds."""
        self.memory.tick()
        if self.disk is not None and self.disk.used:
            self.disk.tend()
        self._apply_pins()
        with self._lock:
            opened = list(self._opened.items())
            known = list(self._uses.values())
        gone = [one.key for one, _ in opened if one.on_disk is not None and one.on_disk.gone]
        if gone:
            self._demotions += len(gone)
            self._tell(gone)
        for one, _ in opened:
            self._look_after(one)
        now = time.monotonic()
        for uses in known:
            uses.fade(now)
        for one, label in opened:
            if label.policy in (TierPolicy.AUTO, TierPolicy.HOT):
                self._promote(one, label)
        return _TICK_S

    def _look_after(self, opened: Residency) -> None:
        """Check a part of what is mapped of the disk cache: a map shows what is on disk, right or not."""
        kept = opened.on_disk
        if kept is None or kept.opened is None:
            return
        try:
            kept.disk.look_after(kept.cached, kept.opened, opened.fetch)
        except HeadwaterError as error:
            _LOGGER.warning("%s: pages of it cannot be read again now: %s", opened.key, error)

    def _promote(self, opened: Residency, label: Label) -> None:
        """Have an object brought nearer, where it is used enough and there is room."""
        key, size, place = opened.key, opened.size_bytes, opened.on_disk
        wanted_hot = label.kind == "index" or label.policy is TierPolicy.HOT
        if opened.tier != "hot" and wanted_hot and opened.uses is None and self._room(size, key):
            self.mover.ask(key, lambda: self._tell([key]))
        if opened.tier != "cold" or opened.uses is None or not opened.uses.often(size):
            return
        if place is not None and not place.disk.paused and place.disk.fits(size):
            self.mover.ask(key, _completing(place, opened, lambda: self._tell([key])))
        elif key not in self._near and self._room(size, key):
            self._near.add(key)
            self.mover.ask(key, lambda: self._tell([key]))

    # -- pins ---------------------------------------------------------------------------------------

    def pin(self, prefix: str) -> None:
        """Keep what is near of some objects, in memory and on disk, as far as four fifths of memory reach.

        Args:
            prefix: of their keys: one object, or the root of a collection with a slash behind it.
        """
        with self._lock:
            self._pins.add(prefix)
        self._apply_pins()

    def unpin(self, prefix: str) -> None:
        """Let go what `pin` was told to keep under the same prefix."""
        # Not in the middle of the keeper's round, which would pin once more what is let go here, for ever.
        with self._pinning:
            with self._lock:
                self._pins.discard(prefix)
                pins = tuple(self._pins)
                opened = list(self._opened)
            for view in self.memory.views():
                for entry in view.entries():
                    if entry.pinned and entry.names(prefix) and not any(entry.names(one) for one in pins):
                        view.unpin(entry.key)
            for one in opened:
                kept = one.on_disk
                if kept is not None and one.key.startswith(prefix) and not one.key.startswith(pins):
                    kept.disk.unpin(kept.cached)

    def _apply_pins(self) -> None:
        if not self._pins:
            return
        with self._pinning:
            with self._lock:
                pins = tuple(self._pins)
                opened = list(self._opened)
            for view in self.memory.views():
                for entry in view.entries():
                    if not entry.pinned and any(entry.names(one) for one in pins):
                        view.pin(entry.key)
            for one in opened:
                kept = one.on_disk
                if kept is not None and one.key.startswith(pins) and not kept.disk.pinned(kept.cached):
                    kept.disk.pin(kept.cached)

    # -- reports ------------------------------------------------------------------------------------

    def report(self) -> TiersReport:
        """What is where, budgets and counts; asks nothing of a store."""
        with self._lock:
            opened = list(self._opened.items())
        files = [(one, label.collection, label.kind, label.policy) for one, label in opened]
        return TiersReport(
            memory=self.memory.report(),
            disk=DiskReport() if self.disk is None else self.disk.report(),
            mapped=MAPPED.report(),
            moves=MovesReport(self.mover.done, self._demotions, self.mover.waiting, self.mover.failures),
            objects=object_reports(files, self.memory),
        )


def _completing(place: OnDisk, opened: Residency, done: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: place.disk.complete(place.cached, opened.fetch) and done()


def checked(settings: TierSettings) -> TierSettings:
    """The settings themselves, when they make sense.

    Raises:
        InvalidArgument: a budget is negative, or a watermark is no share.
    """
    for name in ("memory_bytes", "mapped_bytes", "list_bytes", "disk_bytes", "ttl_s", "disk_ttl_s"):
        if getattr(settings, name) < 0:
            raise InvalidArgument(f"tiers.{name}={getattr(settings, name)}: expected 0 or more")
    if not 0 < settings.low_watermark <= settings.high_watermark <= 1:
        raise InvalidArgument(
            f"tiers.low_watermark={settings.low_watermark} and tiers.high_watermark={settings.high_watermark}: "
            "expected shares above 0 and at most 1, the low one not above the high one"
        )
    return settings
