"""A collection as it is at this moment: the newest version, and the log after it.

A reader looks for a newer manifest and for new entries, in one round of requests, and applies what it finds. Reads that
look first (strong reads) are linearizable, because every entry was written by somebody who knew all entries before it.

**Leases.** Entries are deleted only when they have been in segments for `READER_GRACE_S`. A process that has looked at
the manifest more recently than half of that cannot mistake a deleted entry for the end of the log; one that has not,
looks again before it answers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache

from headwater.lake.lake import LEASE_S, Lake
from headwater.lake.log.cursor import Cursor, read_entries
from headwater.lake.log.entry import Entry
from headwater.lake.log.growing import GrowingState, Pinned, SegmentKeys, merge_parts
from headwater.lake.log.growing_segment import GrowingSegment
from headwater.lake.manifest import Manifest
from headwater.lake.shards import Shard

__all__ = ["Live", "LogReader"]


@dataclass(frozen=True)
class Live:
    """A collection at one moment.

    Attributes:
        manifest: the newest version known.
        pinned: what the log adds to it.
        cursors: by shard number, up to where.
        number: of those that one process has pinned; a later one has all that this has.
    """

    manifest: Manifest
    pinned: Pinned
    cursors: Mapping[int, Cursor]
    number: int = 0

    @property
    def timestamp(self) -> int:
        """The newest hybrid timestamp in it."""
        return max((cursor.timestamp for cursor in self.cursors.values()), default=0)


class LogReader:
    """The logs of one collection, as one process has read them. Safe between threads.

    Args:
        lake: the collection.
        keys: finds rows of segments by key.
        parallel: whether to read with several requests at once.
    """

    def __init__(self, lake: Lake, keys: SegmentKeys, *, parallel: bool = True) -> None:
        self.lake = lake
        self._keys = keys
        self._parallel = parallel
        self._monotonic = lake.clock.monotonic
        self._is_local = lake.store.local_path(lake.root) is not None
        self._lock = threading.RLock()
        self._state: GrowingState | None = None
        self._cursors: dict[int, Cursor] = {}
        self._live: Live | None = None
        self._num_pinned = 0
        self._checked_s = self._leased_s = float("-inf")
        self._later: Callable[[Callable[[], None]], bool] | None = None
        self._prepare: Callable[[GrowingSegment, GrowingSegment], None] = _as_it_is

    def merge_in_background(
        self,
        later: Callable[[Callable[[], None]], bool],
        prepare: Callable[[GrowingSegment, GrowingSegment], None],
    ) -> None:
        """Have rows in memory merged into larger segments by another thread, so that no read waits for that.

        Args:
            later: has another thread call a function soon, once however often it is asked; False where it cannot now.
            prepare: called there with a merged segment and the larger one of the two that it is made of, before
                anybody sees it.
        """
        self._later, self._prepare = later, prepare

    def pin(self, *, max_age_s: float = 0.0) -> Live:
        """The collection now, or as it was at most `max_age_s` ago; this process's own writes are always in it.

        Args:
            max_age_s: 0 looks for what other processes wrote; infinity looks only the first time.
        """
        # In this order: what was found when the logs were looked at is in what was worked out later.
        checked_s, known, live = self._checked_s, self.lake.known, self._live
        recent = live is not None and self._monotonic() - checked_s <= max_age_s
        if live is not None and recent and (known is None or known.version <= live.manifest.version):
            return live
        with self._lock:
            self._look(max_age_s)
            return self._pin()

    def current(self, live: Live, max_age_s: float, *, looks: bool) -> bool:
        """Whether `pin` would give this again: the short way for whoever pins again and again.

        Args:
            live: what `pin` gave before.
            max_age_s: as for `pin`.
            looks: whether to look for what other processes wrote where that was longer ago; else False is said then.
        """
        if self._monotonic() - self._checked_s >= max_age_s:
            if not looks:
                return False
            with self._lock:
                self._look(max_age_s)
        known = self.lake.known
        return self._live is live and (known is None or known.version <= live.manifest.version)

    def manifest(self, *, max_age_s: float = 0.0) -> Manifest:
        """The newest version, as `pin` would have it, without working out what the log adds."""
        with self._lock:
            self._look(max_age_s)
            assert self._state is not None
            return self._state.manifest

    def _look(self, max_age_s: float) -> None:
        if self._state is None or self._monotonic() - self._checked_s > max_age_s:
            self._catch_up()
        known = self.lake.known
        assert self._state is not None
        if known is not None and known.version > self._state.manifest.version:
            self._go_to(known)

    @property
    def looked(self) -> bool:
        """Whether this process has read the logs."""
        return self._state is not None

    @property
    def backlog(self) -> tuple[int, int]:
        """Entries that are not in segments, as far as this process knows, and about the memory they take, in bytes."""
        state = self._state
        return (0, 0) if state is None else (state.num_entries, state.size_bytes)

    @property
    def held_bytes(self) -> int:
        """About the memory of these entries, with what searches have derived from their rows: codes, say."""
        return 0 if self._state is None else self._state.held_bytes

    @property
    def num_stored(self) -> int:
        """Segments in files that only the log names yet, as far as this process knows."""
        return 0 if self._state is None else self._state.num_stored

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest entry that is not in segments was written, milliseconds since 1970; None without one."""
        return None if self._state is None else self._state.oldest_ms

    @property
    def age_s(self) -> float:
        """Seconds since this process looked for what others wrote."""
        return self._monotonic() - self._checked_s

    def advance(self, manifest: Manifest) -> None:
        """Go over to a version that this process has committed."""
        with self._lock:
            if self._state is not None and manifest.version > self._state.manifest.version:
                self._go_to(manifest)

    def _pin(self) -> Live:
        assert self._state is not None
        if self._live is None:
            pinned = self._state.pin()
            self._num_pinned += 1
            self._live = Live(self._state.manifest, pinned, dict(self._cursors), self._num_pinned)
            if self._later is not None and self._state.due() is not None:
                self._later(self._merge)
        return self._live

    def _merge(self) -> None:
        """Merge what is due; only the beginning and the end of each merge keep others waiting."""
        while self._merge_once():
            pass

    def _merge_once(self) -> bool:
        with self._lock:
            state = self._state
            pair = None if state is None else state.due()
        if state is None or pair is None:
            return False
        merge = merge_parts(*pair)
        merged, larger = merge.merged.segment, max(pair, key=lambda part: part.segment.num_rows).segment
        if isinstance(merged, GrowingSegment) and isinstance(larger, GrowingSegment):
            merged.whole()
            self._prepare(merged, larger)
        with self._lock:
            # Sealed meanwhile, or another collection in its place, and the work was for nothing.
            if self._state is state and state.replace(merge):
                self._live = None
                return True
        return False

    def _catch_up(self) -> None:
        """Read what is new: the manifest, and then what the logs have after it.

        Both are asked for at once. The end of the log may be looked up before the manifest only where the manifest
        turns out to be the one known already; else the log is read once more, as it is after the new one.
        """
        if self._state is None and self.lake.known is not None:
            self._go_to(self.lake.known)
        started = self._monotonic()
        if self._nothing_new() and self._monotonic() - started < LEASE_S:
            self._checked_s = self._leased_s = started
            return
        while True:
            started = self._monotonic()
            manifest, entries = self._look_at_both()
            if self._state is not None and manifest is self._state.manifest:
                for number, new in entries:
                    for entry in new:
                        self._apply(number, entry)
            else:
                self._go_to(manifest)
                for number in sorted(self._cursors):
                    self._read_on(number)
            if self._monotonic() - started < LEASE_S:
                self._checked_s = self._leased_s = started
                return

    def _nothing_new(self) -> bool:
        """Whether no local file is the next entry of a log or the next version; False where that takes more to tell."""
        if not self._is_local or self._state is None or self._state.manifest is not self.lake.known:
            return False
        for cursor in self._cursors.values():
            path = None if cursor.closed else cursor.next_path(self.lake.store, self.lake.root)
            # Asked for by most reads: half of what `os.path.exists` takes, which raises and catches.
            if path is not None and os.access(path, os.F_OK):
                return False
        return self.lake.unchanged()

    def _look_at_both(self) -> tuple[Manifest, list[tuple[int, list[Entry]]]]:
        open_logs = [number for number in sorted(self._cursors) if not self._cursors[number].closed]
        if self._state is None or not open_logs:
            return self.lake.latest(), []
        if not self._parallel or self._is_local:
            found = [(number, self._entries_after(number)) for number in open_logs]
            return self.lake.latest(), found
        asked = [_shard_pool().submit(self._entries_after, number) for number in open_logs]
        try:
            manifest = self.lake.latest()
        finally:
            wait(asked)
        return manifest, [(number, one.result()) for number, one in zip(open_logs, asked, strict=True)]

    def _entries_after(self, number: int) -> list[Entry]:
        cursor = self._cursors[number]
        return list(read_entries(self.lake.store, self.lake.root, cursor, parallel=self._parallel))

    def _go_to(self, manifest: Manifest) -> None:
        known = None if self._state is None else self._state.manifest
        if self._state is None or known is None or not _continues(manifest, known):
            self._state = GrowingState(manifest, self._keys, merges_all=self._later is None)
            self._cursors = {}
        else:
            self._state.advance(manifest)
        shards = manifest.all_shards
        self._cursors = {shard.number: self._moved(shard) for shard in shards}
        self._live = None

    def _moved(self, shard: Shard) -> Cursor:
        cursor = self._cursors.get(shard.number)
        if cursor is None or cursor.sequence < shard.sealed:
            return Cursor.start(shard)
        return replace(cursor, shard=shard)

    def _read_on(self, number: int) -> None:
        cursor = self._cursors[number]
        if cursor.closed:
            return
        for entry in self._entries_after(number):
            self._apply(number, entry)

    def _apply(self, number: int, entry: Entry) -> None:
        assert self._state is not None
        cursor = self._cursors[number]
        if entry.sequence <= cursor.sequence:
            return
        self._state.apply(number, entry)
        self._cursors[number] = cursor.after(entry)
        self._live = None

    def _out_of_touch(self) -> bool:
        """Whether the end of the log as this process knows it may have been sealed, and deleted, since."""
        return self._state is None or self._monotonic() - self._leased_s > LEASE_S


def _as_it_is(merged: GrowingSegment, larger: GrowingSegment) -> None:
    return None


@lru_cache(maxsize=1)
def _shard_pool() -> ThreadPoolExecutor:
    """Threads that read one log each. Not those that read its entries: a thread may not wait for its own kind."""
    return ThreadPoolExecutor(thread_name_prefix="headwater-shards")


def _continues(manifest: Manifest, known: Manifest) -> bool:
    """Whether a version is a later one of the same collection, and not of another made in its place."""
    if manifest.version < known.version:
        return False
    logs = {shard.number: shard.log for shard in known.all_shards}
    return all(logs.get(shard.number, shard.log) == shard.log for shard in manifest.all_shards)
