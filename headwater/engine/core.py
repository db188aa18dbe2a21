"""What every part of a collection's handle stands on: its lake, its log, and pinning what a read sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from headwater.engine.build_turns import BuildTurns
from headwater.engine.following import Follower
from headwater.engine.identity import identity_of
from headwater.engine.policies import policies_of
from headwater.engine.reading import SnapshotReader
from headwater.errors import InvalidArgument, NotReady, PartitionNotFound, Unavailable, VersionNotFound
from headwater.jobs import Functions
from headwater.lake import ExternalSource, Lake, Manifest
from headwater.lake.external import (
    SOURCE_PROPERTY,
    SPEC_PROPERTY,
    TableSource,
    open_source,
    spec_options,
)
from headwater.lake.log import CollectionLog, Live, Room
from headwater.query import TIMEZONE_PROPERTY, Opened, Snapshot, VersionCache
from headwater.query.coded import code_again, later
from headwater.query.letting_go import let_go
from headwater.query.ready import make_ready
from headwater.settings import Settings
from headwater.tiers import Tiers
from headwater.types import ConsistencyLevel, MetricType

__all__ = ["CONSISTENCY_PROPERTY", "DEFAULT_PARTITION", "CollectionAt", "CollectionCore", "consistency_level"]

DEFAULT_PARTITION = "_default"
"""The partition of rows that name none, as in Milvus."""

CONSISTENCY_PROPERTY = "consistency_level"

_NEARLY_NOW_S = 0.001
"""A look at local files is put off no longer than this: enough for reads that take less than the look does."""

_LEVELS = {level.value.lower(): level for level in ConsistencyLevel}


class CollectionAt(SnapshotReader):
    """One pinned version of a collection: every read, no change."""

    def __init__(self, name: str, snapshot: Snapshot, functions: Functions | None = None) -> None:
        super().__init__(snapshot, functions)
        self.name = name

    @property
    def timezone(self) -> str | None:
        """The collection's time zone, of times without an offset; None for UTC."""
        return self._snapshot.manifest.properties.get(TIMEZONE_PROPERTY)

    def metric(self, field: str) -> MetricType:
        """The metric that searches of a field go by."""
        return self._snapshot.metric_of(self.schema.field(field))

    def __repr__(self) -> str:
        return f"<collection {self.name!r} at version {self.version}: {self.num_rows:,} rows>"


class _Followed(NamedTuple):
    """A collection as whoever follows the others has it.

    Attributes:
        live: what was pinned.
        snapshot: of it, with what reads need.
        own_writes: of this process, that are in it.
    """

    live: Live
    snapshot: Snapshot
    own_writes: int


class _Newest(NamedTuple):
    """A collection as it was when it was looked at last.

    Attributes:
        live: what was pinned.
        at: that opened.
        quiet_s: how long nobody is asked after a look for what others wrote.
        looks: whether a read looks itself then, or has it done beside it.
        own_writes: of this process, that are in it.
    """

    live: Live
    at: CollectionAt
    quiet_s: float
    looks: bool
    own_writes: int


def consistency_level(level: str | ConsistencyLevel) -> ConsistencyLevel:
    """A consistency level by its Milvus name, in any case.

    Raises:
        InvalidArgument: there is none of that name.
    """
    known = level if isinstance(level, ConsistencyLevel) else _LEVELS.get(str(level).lower())
    if known is not None:
        return known
    raise InvalidArgument(
        f"consistency level {level!r}: expected one of {', '.join(one.value for one in ConsistencyLevel)}"
    )


def _source_mark(manifest: Manifest) -> tuple[ExternalSource | None, str | None]:
    return manifest.source, manifest.properties.get(SPEC_PROPERTY)


def _opened_source(manifest: Manifest, options: Mapping[str, Any] | None) -> TableSource | None:
    """The source that a version names, with the options given, or those that its spec says."""
    if manifest.source is None:
        return None
    spec, uri = manifest.properties.get(SPEC_PROPERTY), manifest.properties.get(SOURCE_PROPERTY, "")
    if options is None and spec is not None:
        options = spec_options(uri, spec)[1]
    return open_source(manifest.source, options)


class CollectionCore:
    """A collection's lake and log.

    Args:
        name: its name.
        lake: its folder in the lake.
        settings: limits and defaults.
        source_options: credentials of an external source's store; never written to the lake.
        functions: compute what the schema's functions fill; without registered embedders by default.
        tiers: what the process holds.
    """

    def __init__(
        self,
        name: str,
        lake: Lake,
        settings: Settings,
        source_options: Mapping[str, Any] | None = None,
        functions: Functions | None = None,
        tiers: Tiers | None = None,
    ) -> None:
        self.name = name
        self._lake = lake
        self._settings = settings
        self._functions = functions or Functions()
        self._source_options = source_options
        newest = lake.known or lake.newest_readable()
        self._source_mark = _source_mark(newest)
        self._source: TableSource | None = _opened_source(newest, source_options)
        self._followed: Manifest | None = None
        self._opened = Opened(lake.store, source=self._source, tiers=tiers, root=lake.root)
        self._opened.use_policies(policies_of(newest, settings.tiers.policy))
        self._log = CollectionLog(
            lake, self._opened, takeover=settings.write.takeover, deadline_s=settings.write.deadline_s
        )
        self._log.merge_in_background(later, code_again)
        self._room = Room(
            self._log,
            settings.write.growing_bytes,
            segment_rows=settings.lake.target_segment_rows,
            deadline_s=settings.write.deadline_s,
        )
        self._held: Snapshot | None = None
        self._newest: _Newest | None = None
        self._follower: Follower[_Followed] = Follower()
        self._seen = 0
        self._seeing = threading.Lock()
        self._id: int | None = None
        self._build_turns = BuildTurns()
        self._refreshing = threading.Lock()
        self._coming = threading.Lock()
        self._cheap_to_ask = lake.store.local_path(lake.root) is not None or lake.store.url.startswith(
            "memory:"
        )

    @property
    def root(self) -> str:
        """The collection's prefix in the lake."""
        return self._lake.root

    @property
    def manifest(self) -> Manifest:
        """The newest version's state: schema, properties, segments, indexes, partitions."""
        return self._lake.latest()

    @property
    def known(self) -> Manifest | None:
        """The newest version that this process has seen; asks nobody."""
        return self._lake.known

    @property
    def id(self) -> int:
        """A number that stays with the collection when it is renamed; no other one has it."""
        if self._id is None:
            self._id = identity_of(self._lake.known or self._lake.latest(), self._lake.root)
        return self._id

    @property
    def size_bytes(self) -> int:
        """Bytes of the files that the newest version is made of; what is in the log only is not counted."""
        return self._lake.latest().size_bytes

    def _open(self, manifest: Manifest) -> Snapshot:
        """A version, without the log."""
        return Snapshot(manifest, self._opened, cache=self._cache_of(manifest))

    def _snapshot(self, live: Live) -> Snapshot:
        self._follow(live.manifest)
        held = self._held
        if held is None or held.pinned is not live.pinned or held.manifest is not live.manifest:
            cache = self._cache_of(live.manifest)
            held = self._held = Snapshot(live.manifest, self._opened, live.pinned, cache)
        elif held.expires and held.now_s != int(time.time()):
            # The same rows at a later moment, when some of them are past their time.
            held = self._held = replace(held)
        return held

    def _follow(self, manifest: Manifest) -> None:
        """Open the source that a version names, where it is another than the one before, and go by its policies."""
        if manifest is self._followed:
            return
        mark = _source_mark(manifest)
        if mark != self._source_mark:
            self._source = _opened_source(manifest, self._source_options)
            self._opened.readers.use_source(self._source)
            self._source_mark = mark
        self._opened.use_policies(policies_of(manifest, self._settings.tiers.policy))
        before, self._followed = self._followed, manifest
        if before is not None:
            let_go(self._opened.caches.values(), before, manifest)
        self._came_to(manifest)

    def _came_to(self, manifest: Manifest) -> None:
        """What else is to happen when another version is followed."""

    def _cache_of(self, manifest: Manifest) -> VersionCache:
        held = self._held
        return held.cache if held is not None and held.manifest is manifest else VersionCache(manifest)

    def _live(self, level: ConsistencyLevel | str | None = None, min_timestamp: int | None = None) -> Live:
        """The collection as a consistency level promises it.

        Args:
            level: the collection's own by default.
            min_timestamp: of a write that must be in it.
        """
        chosen = self._own_level() if level is None else consistency_level(level)
        live = self._taken(chosen) or self._looked_at(self._max_age_s(chosen))
        if min_timestamp is not None and live.timestamp < min_timestamp:
            live = self._looked_at()
            if live.timestamp < min_timestamp:
                raise NotReady(
                    f"collection {self.name!r} has come to timestamp {live.timestamp}, not yet to {min_timestamp}",
                    hint="the write is not durable yet, or was made to another lake",
                )
        return live

    def _looked_at(self, max_age_s: float = 0.0) -> Live:
        """The collection by a read that looks itself; what it has seen is in what others take after it."""
        live = self._log.pin(max_age_s=max_age_s)
        with self._seeing:
            self._seen = max(self._seen, live.number)
        return live

    def _taken(self, level: ConsistencyLevel) -> Live | None:
        """What is followed beside the reads, where a level allows to take that."""
        if level is not ConsistencyLevel.BOUNDED or not self._follower.running:
            return None
        found, known = self._follower.take(), self._lake.known
        if found is None or found.own_writes != self._log.own_writes or found.live.number < self._seen:
            return None
        return found.live if known is None or known.version <= found.live.manifest.version else None

    def _caught_up(self, before: _Followed | None) -> _Followed:
        """What others wrote by now, and what reads need of it, so that they find it ready."""
        own_writes = self._log.own_writes
        live = self._log.pin()
        if before is not None and before.live is live and before.own_writes == own_writes:
            return before
        self._follow(live.manifest)
        snapshot = Snapshot(live.manifest, self._opened, live.pinned, self._cache_of(live.manifest))
        if before is not None:
            make_ready(snapshot, before.snapshot)
        self._held = snapshot
        return _Followed(live, snapshot, own_writes)

    def _own_level(self) -> ConsistencyLevel:
        known = self._lake.known
        stored = None if known is None else known.properties.get(CONSISTENCY_PROPERTY)
        return ConsistencyLevel.BOUNDED if stored is None else consistency_level(stored)

    def _quiet_s(self, level: ConsistencyLevel) -> float:
        """How long `_live` asks nobody, and has nobody ask, after the collection was looked at."""
        if level is ConsistencyLevel.STRONG:
            return 0.0
        if self._looks(level):
            return _NEARLY_NOW_S
        staleness_s = self._settings.write.staleness_s
        return staleness_s / 2 if level is ConsistencyLevel.BOUNDED else staleness_s

    def _looks(self, level: ConsistencyLevel) -> bool:
        """Whether a read of this level looks itself for what others wrote, once `_quiet_s` has gone by."""
        return level is ConsistencyLevel.STRONG or (level is ConsistencyLevel.BOUNDED and self._cheap_to_ask)

    def _max_age_s(self, level: ConsistencyLevel) -> float:
        if self._looks(level):
            return self._quiet_s(level)
        staleness_s = self._settings.write.staleness_s
        if level is ConsistencyLevel.BOUNDED:
            if self._log.age_s > staleness_s / 2 and self._lake.known is not None:
                # Looked for before it is needed, so that a steady stream of reads never waits for it.
                self._refresh_in_background()
            return staleness_s
        if level is ConsistencyLevel.EVENTUALLY and self._log.age_s > staleness_s:
            self._refresh_in_background()
        return float("inf")

    def _refresh_in_background(self) -> None:
        if self._refreshing.acquire(blocking=False):

            def look() -> None:
                try:
                    # A store that is away now is asked again by the next read.
                    with suppress(Unavailable):
                        self._log.pin()
                finally:
                    self._refreshing.release()

            threading.Thread(target=look, name="headwater-refresh", daemon=True).start()

    def _pinned(
        self,
        version: int | None = None,
        min_version: int | None = None,
        *,
        level: ConsistencyLevel | str | None = None,
        min_timestamp: int | None = None,
        partitions: Sequence[str] | None = None,
    ) -> CollectionAt:
        if version is not None:
            snapshot = self._open(self._lake.at(version=version))
        else:
            snapshot = self._snapshot(self._live(level, min_timestamp))
            if min_version is not None and snapshot.manifest.version < min_version:
                snapshot = self._snapshot(self._live(ConsistencyLevel.STRONG))
        manifest = snapshot.manifest
        if min_version is not None and manifest.version < min_version:
            raise VersionNotFound(
                f"collection {self.name!r} is at version {manifest.version}, min_version={min_version} was asked",
                hint="the version is not committed yet, or was committed to another lake",
            )
        if partitions is not None:
            snapshot = snapshot.within(self._partition_ids(manifest, partitions))
        return CollectionAt(self.name, snapshot, self._functions)

    def _now(self) -> CollectionAt:
        """`_pinned` of a read that asks for nothing special: the same object as long as nothing happens."""
        newest = self._newest
        if (
            newest is not None
            and not self._follower.running
            and self._log.current(newest.live, newest.quiet_s, looks=newest.looks)
        ):
            return newest.at
        level, own_writes = self._own_level(), self._log.own_writes
        live = self._live(level)
        if newest is not None and newest.live is live:
            return newest.at
        if newest is not None and level is ConsistencyLevel.BOUNDED and newest.looks:
            self._notice(newest, own_writes)
        snapshot = self._snapshot(live)
        now = CollectionAt(self.name, snapshot, self._functions)
        # Where rows have a time to live, another moment is another snapshot.
        self._newest = (
            None
            if snapshot.expires
            else _Newest(live, now, self._quiet_s(level), self._looks(level), own_writes)
        )
        return now

    def _notice(self, newest: _Newest, own_writes: int) -> None:
        """Where a read that looked itself found something new, and it is nothing that this process wrote."""
        if newest.own_writes == own_writes == self._log.own_writes:
            self._follower.noticed(self._caught_up)

    def _partition_ids(self, manifest: Manifest, names: Sequence[str]) -> frozenset[int]:
        return frozenset(self._partition_id(manifest, name) for name in names)

    def _partition_id(self, manifest: Manifest, name: str) -> int:
        if name == DEFAULT_PARTITION:
            return 0
        spread = manifest.schema.num_partitions if manifest.schema.partition_key is not None else 0
        number = name.removeprefix(f"{DEFAULT_PARTITION}_")
        if spread and number.isdecimal() and int(number) < spread:
            return 1 + int(number)
        if name not in manifest.partitions:
            raise PartitionNotFound(
                f"no partition {name!r} in collection {self.name!r}",
                hint=f"partitions: {', '.join((DEFAULT_PARTITION, *manifest.partitions))}",
            )
        return manifest.partitions[name]

    @property
    def external(self) -> bool:
        """Whether the rows are in files that others own."""
        return self._source is not None

    def now_ms(self) -> int:
        """The time that its commits and writes are stamped with, milliseconds since 1970."""
        return self._lake.now_ms()

    def _managed(self, operation: str, partition: str | None = None) -> Manifest:
        """The newest known version of a collection whose rows are ours; one that knows the partition, if any does.

        Raises:
            InvalidArgument: the collection is external; its rows belong to the source.
        """
        manifest = self._log.manifest(max_age_s=self._max_age_s(ConsistencyLevel.BOUNDED))
        if manifest.source is not None:
            raise InvalidArgument(
                f"{operation} operation is not supported for external collection {self.name}",
                hint="change the files of the source and call refresh()",
            )
        named = partition not in (None, DEFAULT_PARTITION) and manifest.schema.partition_key is None
        return self._log.manifest() if named and partition not in manifest.partitions else manifest
