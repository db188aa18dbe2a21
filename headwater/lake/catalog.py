"""A database's names: aliases, and collections whose folder has another name.

A chain of small numbered documents, committed as manifests are: one put-if-absent of the next number. A collection
that was never renamed needs no entry, so a database without aliases has no catalog at all.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from headwater.errors import CommitConflict, Corrupt, ObjectNotFound
from headwater.store import ObjectStore, ahead, put_if_absent
from headwater.tiers import Notes

__all__ = ["CATALOG_FOLDER", "Catalog", "CatalogChain"]

CATALOG_FOLDER = "_catalog"

_LOOK_INTERVAL_S = 5.0
_ATTEMPTS = 100


@dataclass(frozen=True)
class Catalog:
    """One version of a database's names.

    Attributes:
        version: its number; 0 before anything was named.
        commit_id: made once per change.
        aliases: alias to collection.
        folders: collection to folder, where they differ.
        properties: of the database, free text.
        created_ms: when it was made, milliseconds since 1970; 0 where nobody knows.
    """

    version: int = 0
    commit_id: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0

    def folder_of(self, name: str) -> str | None:
        """The folder of a collection; None where the folder of that name belongs to another one."""
        if name in self.folders:
            return self.folders[name]
        return None if name in self.folders.values() else name


class CatalogChain:
    """Reads and changes the names of one database. Safe between threads and processes.

    Args:
        store: where the lake is.
        database: the database's name.
        notes: where the newest names are noted for processes to come; None for nowhere.
    """

    def __init__(self, store: ObjectStore, database: str, notes: Notes | None = None) -> None:
        self._store = store
        self._notes = notes
        self._folder = f"{database}/{CATALOG_FOLDER}"
        self._known = self._noted = Catalog()
        if notes is not None and (data := notes.read(self._folder)) is not None:
            with suppress(Corrupt):
                self._noted = _decoded(data, self._folder)
        self._looked_s = float("-inf")

    @property
    def known(self) -> Catalog:
        """The names as they were last read; asks nobody."""
        return self._known

    @property
    def probable(self) -> Catalog:
        """The names as they were last read, or noted by a process that read them; to begin with, and not to go by."""
        return self._known if self._known.version else self._noted

    def latest(self, *, max_age_s: float = 0.0) -> Catalog:
        """The names now, or as they were at most `max_age_s` ago."""
        now = time.monotonic()
        if now - self._looked_s > max_age_s:
            before, newer = self._known, self._look(now)
            while newer is not None:
                self._known = newer
                newer = self._read_if_there(newer.version + 1)
            self._looked_s = now
            self._note(before)
        return self._known

    def _look(self, now: float) -> Catalog | None:
        """Come near the end of the chain; what follows there, if anything does."""
        known = self._known.version
        if known and now - self._looked_s <= _LOOK_INTERVAL_S:
            return self._read_if_there(known + 1)
        noted = 0 if known else self._noted.version
        # Most chains are as they were, or empty: all answers come after one wait.
        again = ahead(lambda: self._read_if_there(noted)) if noted else None
        after = ahead(lambda: self._read_if_there(max(known, noted) + 1))
        newest, newer = self._listed(), after.result()
        there = None if again is None else again.result()
        if there is not None:
            self._known = there
        elif noted:
            # Another chain in place of the one that was noted.
            newer = self._read_if_there(1)
        if newest > self._known.version + 1:
            self._known = self._read(newest)
            newer = self._read_if_there(newest + 1)
        return newer

    def _note(self, before: Catalog) -> None:
        if self._notes is not None and self._known is not before:
            self._notes.write(self._folder, _encoded(self._known))

    def _listed(self) -> int:
        """The newest number that a listing shows; 0 for none."""
        keys = [meta.key for meta in self._store.list(self._folder)]
        return int(keys[-1].rsplit("/", 1)[-1].split(".")[0]) if keys else 0

    def look_again(self) -> bool:
        """Look at the store, however young the last look is; false where the chain is another one by now."""
        before = self._known
        self._looked_s = float("-inf")
        now = self.latest()
        return now.version > before.version or now.commit_id == before.commit_id

    def change(self, alter: Callable[[Catalog], Catalog]) -> Catalog:
        """Commit a change of the names, on top of whatever is newest.

        Args:
            alter: pure; called again on a newer version when another writer was first.
        """
        commit_id = uuid.uuid4().hex
        for _ in range(_ATTEMPTS):
            base = self.latest()
            altered = replace(alter(base), version=base.version + 1, commit_id=commit_id)
            if put_if_absent(self._store, self._key(altered.version), _encoded(altered)):
                self._known = altered
                self._note(base)
                return altered
        raise CommitConflict(f"{self._folder}: lost {_ATTEMPTS} races in a row", with_version=base.version)

    def _key(self, version: int) -> str:
        return f"{self._folder}/{version:020d}.json"

    def _read(self, version: int) -> Catalog:
        key = self._key(version)
        return _decoded(self._store.get(key), key)

    def _read_if_there(self, version: int) -> Catalog | None:
        try:
            return self._read(version)
        except ObjectNotFound:
            return None


def _decoded(content: bytes, key: str) -> Catalog:
    try:
        data = json.loads(content)
        return Catalog(
            data["version"],
            data["commit_id"],
            data["aliases"],
            data["folders"],
            data.get("properties", {}),
            data.get("created_ms", 0),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{key!r} is not a readable catalog: {error}", key=key) from error


def _encoded(catalog: Catalog) -> bytes:
    return json.dumps(
        {
            "format": 1,
            "version": catalog.version,
            "commit_id": catalog.commit_id,
            "aliases": dict(catalog.aliases),
            "folders": dict(catalog.folders),
            "properties": dict(catalog.properties),
            "created_ms": catalog.created_ms,
        },
        sort_keys=True,
    ).encode()
