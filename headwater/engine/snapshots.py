"""Snapshots: versions of a collection that were given a name, kept until the name is dropped.

A snapshot copies nothing: it names a version, and garbage collection keeps what is named. It can be read in place, or
copied into a new collection. It holds what was in segments when it was made; rows that were in the log only are not in
it, as in Milvus: `flush` first.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headwater.engine.background import Job
from headwater.engine.changing import change_newest
from headwater.engine.core import DEFAULT_PARTITION, CollectionAt
from headwater.engine.identity import IDENTITY_PROPERTY, new_identity
from headwater.engine.loading import LOAD_PROPERTY
from headwater.errors import (
    AlreadyExists,
    CollectionNotFound,
    InvalidArgument,
    ObjectNotFound,
    SnapshotNotFound,
    SnapshotPinned,
)
from headwater.lake import Change, JobRecord, Lake, Manifest, SetSnapshot, SnapshotEntry, copy_version, new_id
from headwater.lake.copying import file_sizes
from headwater.lake.gc import STAGED_FOLDER
from headwater.lake.lake import manifest_key
from headwater.lake.manifest_json import decode_manifest
from headwater.store import ObjectStore, RetryingStore, open_store

if TYPE_CHECKING:
    from headwater.engine.database import Database

__all__ = ["MAX_PIN_S", "MAX_PROTECTION_S", "SnapshotReport", "Snapshots", "clean_up"]

MAX_PIN_S = 30 * 24 * 3600
"""The longest that a pin may hold, unless it holds for ever."""

MAX_PROTECTION_S = 7 * 24 * 3600
"""The longest that compaction can be kept from a snapshot's segments."""

_PINS_FOLDER = "default/_lake.pins"
_EXPORTS = "snapshots"
_RESTORE_PIN_S = 24 * 3600
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_NOT_COPIED = frozenset((IDENTITY_PROPERTY, LOAD_PROPERTY))


@dataclass(frozen=True)
class SnapshotReport:
    """What is known of a snapshot.

    Attributes:
        name: its name.
        description: free text.
        collection: the collection that it is of.
        version: the version that it names.
        created_ms: when it was made.
        partitions: names of the partitions that it has.
        location: where its manifest is.
        num_rows: rows in it.
        pinned: whether pins hold it now.
    """

    name: str
    description: str
    collection: str
    version: int
    created_ms: int
    partitions: tuple[str, ...]
    location: str
    num_rows: int
    pinned: bool


class Snapshots:
    """The snapshots of a database's collections.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, collection: str, name: str, description: str = "", *, protection_s: int = 0
    ) -> SnapshotReport:
        """Name the newest version.

        Args:
            collection: of which collection; an alias will do.
            name: letters, digits and underscores; unique in the collection.
            description: free text.
            protection_s: how long compaction leaves the snapshot's segments alone, so that the snapshot and the
                collection go on sharing their files; a week at most.

        Raises:
            AlreadyExists: there is a snapshot of that name.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument(
                f"snapshot name {name!r} must start with a letter or underscore and hold letters, digits and "
                "underscores, 255 at most"
            )
        if not 0 <= protection_s <= MAX_PROTECTION_S:
            raise InvalidArgument(f"protection_s is from 0 to {MAX_PROTECTION_S}, got {protection_s}")
        lake = self._lake(collection)
        now = lake.now_ms()
        made = SnapshotEntry(
            id=new_id(),
            version=lake.latest().version,
            description=description,
            created_ms=now,
            protected_until_ms=now + 1000 * protection_s if protection_s else 0,
        )

        def alter(entry: SnapshotEntry | None) -> SnapshotEntry:
            if entry is not None:
                raise AlreadyExists(f"snapshot {name!r} of collection {collection!r} exists")
            return made

        self._change(lake, name, alter)
        return self.describe(collection, name)

    def list(self, collection: str) -> list[str]:
        """Names of a collection's snapshots, oldest first."""
        found = self._lake(collection).latest().snapshots
        return sorted(found, key=lambda name: (found[name].created_ms, name))

    def describe(self, collection: str, name: str) -> SnapshotReport:
        """What is known of a snapshot.

        Raises:
            SnapshotNotFound: there is none of that name.
        """
        lake = self._lake(collection)
        entry = self._entry(lake, collection, name)
        manifest = lake.at(version=entry.version)
        return SnapshotReport(
            name=name,
            description=entry.description,
            collection=self._database.collection(collection).name,
            version=entry.version,
            created_ms=entry.created_ms,
            partitions=(DEFAULT_PARTITION, *sorted(manifest.partitions)),
            location=f"{lake.store.url}/{manifest_key(lake.root, entry.version)}",
            num_rows=sum(one.num_rows - one.num_deleted for one in manifest.segments),
            pinned=entry.held(lake.now_ms()),
        )

    def open(self, collection: str, name: str) -> CollectionAt:
        """The collection as the snapshot has it, read in place: every read, no copy."""
        held = self._database.collection(collection)
        entry = self._entry(held._lake, collection, name)
        return CollectionAt(held.name, held._open(held._lake.at(version=entry.version)), held._functions)

    def drop(self, collection: str, name: str) -> bool:
        """Forget a snapshot; its version is kept only as long as retention keeps it. Returns whether it was there.

        Raises:
            SnapshotPinned: a pin, or a restore that reads it, holds it.
        """
        lake = self._lake(collection)
        if name not in lake.latest().snapshots:
            return False

        def alter(entry: SnapshotEntry | None) -> None:
            if entry is not None and entry.held(lake.now_ms()):
                raise SnapshotPinned(
                    f"snapshot {name!r} of collection {collection!r} is held by {len(entry.pins)} pins",
                    hint="unpin it, or wait for the restore that reads it",
                )

        self._change(lake, name, alter)
        return True

    # -- pins -------------------------------------------------------------------------------------------------------

    def pin(self, collection: str, name: str, ttl_s: int = 0) -> int:
        """Keep a snapshot from being dropped. Returns the pin's id.

        Args:
            collection: of which collection.
            name: of the snapshot.
            ttl_s: how long, 30 days at most; 0 until `unpin`.
        """
        if not 0 <= ttl_s <= MAX_PIN_S:
            raise InvalidArgument(f"ttl_s is from 0 to {MAX_PIN_S}, got {ttl_s}")
        lake, pin = self._lake(collection), new_id()
        now = lake.now_ms()

        def alter(entry: SnapshotEntry | None) -> SnapshotEntry:
            if entry is None:
                raise self._missing(lake, collection, name)
            kept = tuple((one, until) for one, until in entry.pins if until == 0 or until > now)
            return replace(entry, pins=(*kept, (pin, now + 1000 * ttl_s if ttl_s else 0)))

        self._change(lake, name, alter)
        where = json.dumps({"root": lake.root, "name": name}).encode()
        lake.store.put(f"{_PINS_FOLDER}/{pin:020d}.json", where)
        return pin

    def unpin(self, pin: int) -> bool:
        """Take a pin back. Returns whether it was there."""
        store, key = self._database._store, f"{_PINS_FOLDER}/{pin:020d}.json"
        try:
            where = json.loads(store.get(key))
        except ObjectNotFound:
            return False

        def alter(entry: SnapshotEntry | None) -> SnapshotEntry | None:
            if entry is None:
                return None
            return replace(entry, pins=tuple(one for one in entry.pins if one[0] != pin))

        # The snapshot's collection may be dropped.
        with suppress(CollectionNotFound):
            self._change(Lake(store, where["root"]), where["name"], alter)
        store.delete([key])
        return True

    # -- copies -----------------------------------------------------------------------------------------------------

    def restore(self, collection: str, name: str, target: str, *, database: str | None = None) -> JobRecord:
        """Copy a snapshot into a new collection, in the background.

        The new collection has the schema, field ids, partitions, rows, indexes and artifacts of the snapshot, and is
        there whole when the job is completed, or not at all.

        Args:
            collection: whose snapshot.
            name: of the snapshot.
            target: the new collection.
            database: the database that it is made in; this one by default.

        Raises:
            AlreadyExists: the target's name is taken, or another restore is making it.
        """
        lake = self._lake(collection)
        entry = self._entry(lake, collection, name)
        goal = self._database if database in (None, self._database.name) else None
        goal = goal or self._database.database(str(database))
        root = self._new_root(goal, target)
        manifest = lake.at(version=entry.version)
        pin = self.pin(collection, name, _RESTORE_PIN_S)

        def work(job: Job) -> None:
            try:
                _copied(job, lake.store, manifest, lake.root, goal._store, root)
            finally:
                self.unpin(pin)

        details = {
            "snapshot": name,
            "root": root,
            "pin": pin,
            "source": self._database.collection(collection).name,
        }
        return self._database.jobs.start("restore", goal.name, target, work, details)

    def export(
        self,
        collection: str,
        name: str,
        url: str,
        options: Mapping[str, Any] | None = None,
        *,
        told_as: str | None = None,
    ) -> JobRecord:
        """Copy a snapshot out of the lake, in the background: a folder that `restore_external` reads.

        Args:
            collection: whose snapshot.
            name: of the snapshot.
            url: the folder, on any store; a folder of its own is made in it.
            options: configuration of that store.
            told_as: what the caller calls the folder, where that is not its URL.

        Returns:
            The job; `details["location"]` is what `restore_external` takes.
        """
        lake = self._lake(collection)
        entry = self._entry(lake, collection, name)
        manifest = lake.at(version=entry.version)
        target = RetryingStore(open_store(url, options))
        root = f"{_EXPORTS}/{entry.id}-{uuid.uuid4().hex[:8]}"
        pin = self.pin(collection, name, _RESTORE_PIN_S)

        def work(job: Job) -> dict[str, Any]:
            try:
                copied = _copied(job, lake.store, manifest, lake.root, target, root)
            finally:
                self.unpin(pin)
            sizes = file_sizes(copied)
            return {"files": len(sizes), "size_bytes": sum(sizes.values())}

        held = self._database.collection(collection).name
        details = {"snapshot": name, "location": f"{told_as or target.url}/{manifest_key(root, 1)}"}
        return self._database.jobs.start("export", self._database.name, held, work, details)

    def restore_external(
        self, location: str, target: str, options: Mapping[str, Any] | None = None
    ) -> JobRecord:
        """Copy a snapshot that was exported into a new collection, in the background.

        Args:
            location: what the export said.
            target: the new collection.
            options: configuration of the store that it is in.

        Raises:
            SnapshotNotFound: there is no exported snapshot.
            Corrupt: it is not readable.
        """
        base, found, rest = location.rpartition(f"/{_EXPORTS}/")
        folder = rest.split("/")[0]
        if not found or f"{_EXPORTS}/{rest}" != manifest_key(f"{_EXPORTS}/{folder}", 1):
            raise InvalidArgument(
                f"snapshot location {location!r}: expected .../{manifest_key(f'{_EXPORTS}/ID', 1)}",
                hint="give the location that the export said",
            )
        source = RetryingStore(open_store(base, options))
        try:
            manifest = decode_manifest(source.get(f"{_EXPORTS}/{rest}"), location)
        except ObjectNotFound as error:
            raise SnapshotNotFound(f"no exported snapshot at {location!r}") from error
        store, root = self._database._store, self._new_root(self._database, target)

        def work(job: Job) -> None:
            _copied(job, source, manifest, f"{_EXPORTS}/{folder}", store, root)

        details = {"snapshot": folder, "root": root, "location": location}
        return self._database.jobs.start("restore", self._database.name, target, work, details)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _lake(self, collection: str) -> Lake:
        return self._database.collection(collection)._lake

    def _new_root(self, goal: Database, target: str) -> str:
        """A prefix for a copy, unless somebody is making one of that name."""
        for job in self._database.jobs.list("restore", database=goal.name, collection=target):
            if job.state.held:
                raise AlreadyExists(f"collection {target!r} is being restored by job {job.id}")
        return goal._names.new_root(target)

    def _entry(self, lake: Lake, collection: str, name: str) -> SnapshotEntry:
        found = lake.latest().snapshots.get(name)
        if found is None:
            raise self._missing(lake, collection, name)
        return found

    def _missing(self, lake: Lake, collection: str, name: str) -> SnapshotNotFound:
        there = ", ".join(sorted(lake.latest().snapshots)) or "none"
        return SnapshotNotFound(
            f"no snapshot {name!r} of collection {collection!r}", hint=f"there are: {there}"
        )

    @staticmethod
    def _change(lake: Lake, name: str, alter: Callable[[SnapshotEntry | None], SnapshotEntry | None]) -> None:
        def changes(base: Manifest) -> list[Change]:
            before = base.snapshots.get(name)
            after = alter(before)
            return [] if after == before else [SetSnapshot(name, before, after)]

        change_newest(lake, changes, operation=f"snapshot {name}")


def _files_root(job: JobRecord, root: str) -> str:
    """Where a job's copy has its files: apart from those of others that make a collection of the same name."""
    return f"{root}/{STAGED_FOLDER}/{job.id}" if job.kind == "restore" else root


def _remove_unfinished(store: ObjectStore, job: JobRecord, root: str) -> None:
    """Delete what a copy that ended early has left; a collection that is there stays."""
    if next(iter(store.list(f"{root}/manifests")), None) is None:
        store.delete([meta.key for meta in store.list(_files_root(job, root))])


def clean_up(store: ObjectStore, record: JobRecord) -> None:
    """Remove what a job whose process is gone has left behind."""
    if record.kind == "restore":
        _remove_unfinished(store, record, record.details["root"])


def _copied(
    job: Job, source: ObjectStore, manifest: Manifest, old_root: str, target: ObjectStore, root: str
) -> Manifest:
    """Copy a version, or leave nothing; what only the original can be, such as loaded, the copy is not."""
    kept = {name: value for name, value in manifest.properties.items() if name not in _NOT_COPIED}
    manifest = replace(manifest, properties={**kept, IDENTITY_PROPERTY: new_identity()})

    def progress(done: int, total: int) -> None:
        job.report(done, total)
        if done == total:
            job.confirm()

    try:
        return copy_version(
            source,
            manifest,
            old_root,
            target,
            root,
            operation=f"{job.record.kind} {job.record.details.get('snapshot', '')}",
            files_root=_files_root(job.record, root),
            progress=progress,
        )
    except AlreadyExists:
        raise
    except BaseException:
        _remove_unfinished(target, job.record, root)
        raise
