"""One collection's chain of versions: read it, and commit to it.

A commit is one put-if-absent of the next manifest number, and nothing else is ever conditional. The loser of a race
applies its changes to the newer version and tries the next number, unless it finds its own commit there already (its
answer was lost), or a change no longer applies.
"""

from __future__ import annotations

import os
import random
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from headwater.errors import (
    AlreadyExists,
    CollectionNotFound,
    CommitConflict,
    Corrupt,
    InvalidArgument,
    ObjectNotFound,
    TagNotFound,
    VersionNotFound,
)
from headwater.lake.applying import apply
from headwater.lake.changes import Change
from headwater.lake.clock import SYSTEM_CLOCK, Clock
from headwater.lake.manifest import ExternalSource, Manifest
from headwater.lake.manifest_json import ManifestEncoder, decode_manifest
from headwater.lake.shards import Shard, new_shards
from headwater.schema import Schema
from headwater.store import ObjectStore, ahead, put_if_absent, together
from headwater.tiers import Notes

__all__ = ["Lake", "SnapshotInfo", "manifest_key", "manifest_version"]

_MAX_REBASES = 1000

LISTING_INTERVAL_S = 5.0
"""Between listings a reader only asks whether the next number exists."""

READER_GRACE_S = 60.0
"""Garbage collection keeps a version this long after it was replaced, so that asking for the next number is enough."""

LEASE_S = READER_GRACE_S / 2
"""Who saw the newest version less than this ago cannot take a number, or a log entry, that was deleted for free."""


@dataclass(frozen=True)
class SnapshotInfo:
    """One line of a collection's history."""

    version: int
    created: datetime
    operation: str
    num_rows: int
    num_segments: int
    tags: tuple[str, ...]


def manifest_key(root: str, version: int) -> str:
    """The key of a version's manifest."""
    return f"{root}/manifests/{version:020d}.json.zst"


def manifest_version(key: str) -> int:
    """The inverse of `manifest_key`."""
    return int(key.rsplit("/", 1)[-1].split(".", 1)[0])


def _new_shards(count: int) -> tuple[Shard, ...]:
    # A collection made anew under an old name must not find the old one's log.
    return new_shards(count, [f"{number}-{uuid.uuid4().hex[:8]}" for number in range(count)])


class Lake:
    """A collection's folder.

    Args:
        store: where.
        root: its prefix, such as `default/docs`.
        clock: the system's by default.
        parallel: whether to ask a store that is away several things at once.
        notes: where the newest version is noted for processes to come; None for nowhere.
    """

    def __init__(
        self,
        store: ObjectStore,
        root: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
        parallel: bool = True,
        notes: Notes | None = None,
    ) -> None:
        self._notes = notes
        self._parallel = parallel and store.local_path(root) is None
        self.store = store
        self.root = root
        self.clock = clock
        self._lock = threading.Lock()
        self._encoder = ManifestEncoder()
        self._newest: Manifest | None = None
        self._listed_s = self._checked_s = float("-inf")
        self._next: tuple[int, str | None] = (0, None)
        self._seen: tuple[int, str | None] = (0, None)
        self._known_at: tuple[int, str | None] = (0, None)

    @classmethod
    def create(
        cls,
        store: ObjectStore,
        root: str,
        schema: Schema,
        *,
        properties: Mapping[str, str],
        source: ExternalSource | None,
        num_shards: int = 1,
        first_row_id: int = 0,
    ) -> Lake:
        """Start a collection with version 1.

        Args:
            store: where.
            root: its prefix.
            schema: its fields.
            properties: free text.
            source: of an external collection, which has no shards; None for a managed one.
            num_shards: write streams of a managed one.
            first_row_id: of the first of them.

        Raises:
            AlreadyExists: another writer started it first.
        """
        lake = cls(store, root)
        shards = () if source is not None else _new_shards(num_shards)
        first = Manifest(
            version=1,
            commit_id=uuid.uuid4().hex,
            created_ms=lake.clock.now_ms(),
            schema=schema,
            properties=properties,
            source=source,
            operation="create",
            next_row_id=first_row_id,
            shards=tuple(
                replace(shard, next_row_id=first_row_id) if shard.number == 0 else shard for shard in shards
            ),
        )
        if not put_if_absent(store, manifest_key(root, 1), lake._encoder.encode(first)):
            raise AlreadyExists(f"collection {root!r} exists in {store.url}")
        return lake

    # -- read ---------------------------------------------------------------------------------------------------------

    def _read(self, version: int) -> Manifest:
        return self._load(version)[0]

    def _load(self, version: int) -> tuple[Manifest, bytes]:
        """A version, and the file that says it."""
        key = manifest_key(self.root, version)
        data = self.store.get(key)
        return decode_manifest(data, key), data

    def _versions(self, after: int = 0) -> list[int]:
        start = manifest_key(self.root, after) if after else None
        keys = self.store.list(f"{self.root}/manifests/", start_after=start)
        return [manifest_version(meta.key) for meta in keys if meta.key.endswith(".json.zst")]

    def latest(self) -> Manifest:
        """The newest version: one request when nothing is new.

        Raises:
            CollectionNotFound: the collection was dropped, or never made.
            Corrupt: the newest manifest is torn; older versions are still readable by number.
        """
        manifest, started = None, float("-inf")
        while manifest is None or self.clock.monotonic() - started > LEASE_S:
            started = self.clock.monotonic()
            manifest = self._look(started)
        self._checked_s = started
        return manifest

    def unchanged(self) -> bool:
        """Whether the version known is the newest, where a look at one local file tells; `latest` tells elsewhere."""
        now, known = self.clock.monotonic(), self._newest
        if known is None or now - self._listed_s >= LISTING_INTERVAL_S or self._replaced(known):
            return False
        self._checked_s = now
        return True

    def _look(self, now: float) -> Manifest:
        known = self._newest
        if known is not None and now - self._listed_s < LISTING_INTERVAL_S and not self._replaced(known):
            return known
        if known is None:
            newer = self._versions()
        else:
            there, newer = self._since(known)
            if there and not newer:
                self._listed_s = now
                return known
        self._listed_s = now
        if not newer and known is not None:
            # Dropped, and perhaps made again, by somebody else.
            self._newest = None
            newer = self._versions()
        if not newer:
            raise CollectionNotFound(f"no collection at {self.root!r} in {self.store.url}")
        manifest, data = self._load_last(newer[-1])
        self._remember(manifest, data)
        return manifest

    def _since(self, known: Manifest) -> tuple[bool, list[int]]:
        """Whether a version is still there, and the numbers that follow it."""
        if not self._parallel:
            newer = self._versions(after=known.version)
            if not newer and self._replaced(known):
                newer = [known.version + 1]
            return bool(newer) or self._still_there(known), newer
        calls: list[Callable[[], list[int]]] = [
            lambda: self._versions(after=known.version),
            lambda: [known.version + 1] if self._replaced(known) else [],
            lambda: [known.version] if self._still_there(known) else [],
        ]
        listed, after, there = together(calls)
        return bool(there), listed or after

    def _load_last(self, newest: int) -> tuple[Manifest, bytes]:
        """The last version from a number on: a listing may lag, a number that is asked for does not."""
        while True:
            if not self._parallel:
                while self._exists(newest + 1):
                    newest += 1
                return self._load(newest)
            after = ahead(partial(self._exists, newest + 1))
            try:
                loaded = self._load(newest)
            except (Corrupt, ObjectNotFound):
                if not after.result():
                    raise
            else:
                if not after.result():
                    return loaded
            newest += 1

    def begin_at_note(self) -> bool:
        """Take the version that a process of this machine saw last for the newest known; whether one is noted.

        Nothing has been asked of the store by then: whoever calls this calls `latest` before he reads anything of the
        version, and forgets this object where that fails.
        """
        data = None if self._notes is None else self._notes.read(self._note)
        if data is None:
            return False
        with suppress(Corrupt):
            noted = decode_manifest(data, self._note)
            # Files that others own are looked at anyway, and there is no log.
            if noted.source is None:
                self._newest = noted
        return self._newest is not None

    @property
    def _note(self) -> str:
        return f"{self.root}/manifests"

    def newest_readable(self) -> Manifest:
        """The newest version whose manifest is whole: `latest` unless that one is damaged.

        Raises:
            CollectionNotFound: the collection was dropped, or never made.
            Corrupt: no manifest is readable.
        """
        try:
            return self.latest()
        except Corrupt as damage:
            for version in reversed(self._versions()[:-1]):
                with suppress(Corrupt):
                    return self._read(version)
            raise damage

    def _replaced(self, known: Manifest) -> bool:
        """Whether the number after this one is taken: one request, or one look at a local file."""
        after, path = self._next
        if after != known.version:
            local = self.store.local_path(manifest_key(self.root, known.version + 1))
            path = None if local is None else str(local)
            self._next = (known.version, path)
        return self._exists(known.version + 1) if path is None else os.access(path, os.F_OK)

    def check_there(self, known: Manifest) -> None:
        """Make sure that what was just stored is of a collection that was not dropped since a version was read.

        Asks only where a look at one local file tells; elsewhere it is noticed with the next look at the versions.

        Args:
            known: a version that was the newest less than `LEASE_S` ago.

        Raises:
            CollectionNotFound: it was dropped.
        """
        version, path = self._known_at
        if version != known.version:
            local = self.store.local_path(manifest_key(self.root, known.version))
            path = None if local is None else str(local)
            self._known_at = (known.version, path)
        if path is not None and not os.access(path, os.F_OK):
            raise CollectionNotFound(f"collection at {self.root!r} in {self.store.url} was dropped meanwhile")

    def _exists(self, version: int) -> bool:
        try:
            self.store.head(manifest_key(self.root, version))
        except ObjectNotFound:
            return False
        return True

    def _still_there(self, known: Manifest) -> bool:
        """Whether this very version is in the store; it is read once, and known by its etag from then on."""
        try:
            key = manifest_key(self.root, known.version)
            if self._parallel and self._seen[0] != known.version:
                again = ahead(lambda: self._read(known.version))
                etag = self.store.head(key).etag
                commit_id = again.result().commit_id
            else:
                etag = self.store.head(key).etag
                seen = self._seen == (known.version, etag)
                commit_id = known.commit_id if seen else self._read(known.version).commit_id
            if commit_id != known.commit_id:
                return False
            self._seen = (known.version, etag)
        except ObjectNotFound:
            return False
        return True

    def _remember(self, manifest: Manifest, data: bytes) -> None:
        with self._lock:
            newer = self._newest is None or self._newest.version < manifest.version
            if newer:
                self._newest = manifest
        if newer and self._notes is not None:
            self._notes.write(self._note, data)

    @property
    def known(self) -> Manifest | None:
        """The newest version that this process has read or committed; asks nobody."""
        return self._newest

    def now_ms(self) -> int:
        """The time that commits are stamped with, milliseconds since 1970."""
        return self.clock.now_ms()

    def is_kept(self, version: int) -> bool:
        """Whether a version is still there: asks the store."""
        return self._exists(version)

    def at(
        self, version: int | None = None, *, time: datetime | None = None, tag: str | None = None
    ) -> Manifest:
        """A version by number, by time (the newest not after it) or by tag.

        Raises:
            InvalidArgument: the version is no number, or the time no datetime.
            VersionNotFound: no such version is kept.
            TagNotFound: no such tag.
        """
        if tag is not None:
            tags = self.latest().tags
            if tag not in tags:
                raise TagNotFound(f"no tag {tag!r}", hint=f"tags: {', '.join(tags) or 'none'}")
            version = tags[tag]
        if time is not None:
            return self._at_time(time)
        if version is None:
            return self.latest()
        if not isinstance(version, int) or isinstance(version, bool):
            raise InvalidArgument(
                f"version: expected a number, got {version!r} ({type(version).__name__})",
                hint="history() lists them; a name is a tag: at(tag=...)",
            )
        if self._newest is not None and self._newest.version == version:
            return self._newest
        try:
            return self._read(version)
        except ObjectNotFound as error:
            kept = self._versions()
            raise VersionNotFound(
                f"version {version} of {self.root!r} is not kept",
                hint=f"kept: {kept[0]} to {kept[-1]}" if kept else "the collection is gone",
            ) from error

    def _at_time(self, time: datetime) -> Manifest:
        if not isinstance(time, datetime):
            raise InvalidArgument(
                f"time: expected a datetime, got {time!r} ({type(time).__name__})",
                hint="datetime.datetime.fromisoformat reads one from a text",
            )
        wanted = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000
        versions = self._versions()
        low, high = 0, len(versions)
        found: Manifest | None = None
        while low < high:
            middle = (low + high) // 2
            manifest = self._read(versions[middle])
            if manifest.created_ms <= wanted:
                found, low = manifest, middle + 1
            else:
                high = middle
        if found is None:
            oldest = (
                datetime.fromtimestamp(self._read(versions[0]).created_ms / 1000, UTC) if versions else None
            )
            raise VersionNotFound(
                f"no version of {self.root!r} is as old as {time.isoformat()}",
                hint=f"the oldest that is kept is of {oldest.isoformat()}"
                if oldest
                else "the collection is gone",
            )
        return found

    def history(self) -> list[SnapshotInfo]:
        """The versions still kept, oldest first."""
        tags = self.latest().tags
        entries = []
        for version in self._versions():
            manifest = self._read(version)
            entries.append(
                SnapshotInfo(
                    version=version,
                    created=datetime.fromtimestamp(manifest.created_ms / 1000, UTC),
                    operation=manifest.operation,
                    num_rows=sum(s.num_rows - s.num_deleted for s in manifest.segments),
                    num_segments=len(manifest.segments),
                    tags=tuple(sorted(name for name, target in tags.items() if target == version)),
                )
            )
        return entries

    # -- commit -------------------------------------------------------------------------------------------------------

    def commit(self, base: Manifest, changes: Sequence[Change], *, operation: str) -> Manifest:
        """Commit changes made against a version, on top of whatever is newest.

        Args:
            base: the version that the changes were made against.
            changes: applied in order, all or none.
            operation: what this does, for `history`.

        Returns:
            The version that holds them.

        Raises:
            CommitConflict: a change does not apply to a newer version.
            CollectionNotFound: the collection was dropped.
            StoreUnavailable: the outcome is unknown; look for the operation in `history` before repeating it.
        """
        commit_id = uuid.uuid4().hex
        onto = base
        for attempt in range(_MAX_REBASES):
            if self._out_of_touch():
                # The number after the base may have been taken, and forgotten by `gc` since.
                newest = self.latest()
                onto = newest if newest.version > onto.version else onto
            target = onto
            for change in changes:
                target = apply(change, target)
            target = replace(
                target,
                version=onto.version + 1,
                commit_id=commit_id,
                created_ms=max(self.clock.now_ms(), onto.created_ms),
                operation=operation,
                parent=onto.commit_id,
            )
            key = manifest_key(self.root, target.version)
            data = self._encoder.encode(target)
            if put_if_absent(self.store, key, data, sleep=self.clock.sleep):
                if not self._out_of_touch() or self._in_chain(target):
                    try:
                        self.check_there(onto)
                    except CollectionNotFound:
                        self.store.delete([key])
                        raise
                    self._remember(target, data)
                    return target
                self.store.delete([key])
                onto = self.latest()
                continue
            if attempt > 2:
                self.clock.sleep(random.uniform(0, min(0.001 * attempt, 0.05)))  # noqa: S311
            mine, onto = self._rebase_target(onto, commit_id)
            if mine is not None:
                return mine
        raise CommitConflict(
            f"{operation}: lost {_MAX_REBASES} races in a row on {self.root!r}", with_version=onto.version
        )

    def _out_of_touch(self) -> bool:
        """Whether it is so long since this process saw the newest version that its successor may be forgotten."""
        return self.clock.monotonic() - self._checked_s > LEASE_S

    def _in_chain(self, target: Manifest) -> bool:
        """Whether a version just stored is the newest, or was built on; and not beside a chain that had gone on."""
        newer = self._versions(after=target.version)
        if not newer and not self._exists(target.version + 1):
            return True
        try:
            return self._read(target.version + 1).parent == target.commit_id
        except ObjectNotFound:
            return False

    def _rebase_target(self, base: Manifest, commit_id: str) -> tuple[Manifest | None, Manifest]:
        """Our own commit among the versions since `base`, if it is there, and the newest version."""
        newer = self._versions(after=base.version) or [base.version + 1]
        newest = base
        for version in newer:
            newest = self._read(version)
            if newest.commit_id == commit_id:
                return newest, newest
        return None, newest
