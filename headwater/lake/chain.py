"""A small value that many processes read and change: a chain of immutable, numbered documents.

A change is one put-if-absent of the next number, on top of whatever is newest, as manifests are committed. Whoever
loses the race reads the winner's document and changes that.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from headwater.errors import CommitConflict, Corrupt, ObjectNotFound
from headwater.store import ObjectStore, ahead, put_if_absent
from headwater.tiers import Notes

__all__ = ["Chain"]

Value = TypeVar("Value")

_LOOK_INTERVAL_S = 5.0
_ATTEMPTS = 100


class _Link(NamedTuple, Generic[Value]):
    """One document of a chain.

    Attributes:
        version: its number; 0 before anything was stored.
        commit_id: made for it alone.
        value: what it holds.
    """

    version: int
    commit_id: str
    value: Value


class Chain(Generic[Value]):
    """Reads and changes one value. Safe between threads and processes.

    Args:
        store: where the lake is.
        folder: of the chain, such as `access-control`.
        empty: the value before anything was stored.
        encode: a value as what JSON can hold.
        decode: the way back; a `ValueError`, `KeyError` or `TypeError` says that the document is damaged.
        notes: where the newest document is noted for processes to come; None for nowhere.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: str,
        *,
        empty: Value,
        encode: Callable[[Value], Mapping[str, Any]],
        decode: Callable[[Mapping[str, Any]], Value],
        notes: Notes | None = None,
    ) -> None:
        self._store = store
        self._folder = folder
        self._encode = encode
        self._decode = decode
        self._notes = notes
        self._lock = threading.Lock()
        self._empty = self._known = self._noted = _Link(0, "", empty)
        if notes is not None and (content := notes.read(folder)) is not None:
            with suppress(Corrupt):
                self._noted = self._decoded(content, folder)
        self._looked_s = float("-inf")

    @property
    def known(self) -> Value:
        """The value as it was last read; asks nobody."""
        return self._known.value

    @property
    def probable(self) -> Value:
        """The value as it was last read, or noted by a process that read it; to begin with, and not to go by."""
        return (self._known if self._known.version else self._noted).value

    @property
    def age_s(self) -> float:
        """How long ago the store was asked."""
        return time.monotonic() - self._looked_s

    def latest(self, *, max_age_s: float = 0.0) -> Value:
        """The value now, or as it was at most `max_age_s` ago: one wait when nothing is new.

        Raises:
            Corrupt: the newest document is damaged.
        """
        return self._now(max_age_s).value

    def look_again(self) -> bool:
        """Look at the store, however young the last look is; false where the chain is another one by now."""
        with self._lock:
            before = self._known
            if before.version:
                now = self._read_if_there(before.version)
                if now is None or now.commit_id != before.commit_id:
                    self._known = self._noted = self._empty
            same = self._known is before
            self._look()
            return same

    def change(self, alter: Callable[[Value], Value]) -> Value:
        """Commit a change, on top of whatever is newest; a change that changes nothing is not stored.

        Args:
            alter: pure; called again on a newer value when another writer was first.

        Raises:
            CommitConflict: a hundred others were first.
        """
        for _ in range(_ATTEMPTS):
            base = self._now()
            altered = alter(base.value)
            if altered == base.value:
                return base.value
            link = _Link(base.version + 1, uuid.uuid4().hex, altered)
            if put_if_absent(self._store, self._key(link.version), self._encoded(link)):
                with self._lock:
                    if self._known.version < link.version:
                        self._come_to(link)
                return altered
        raise CommitConflict(f"{self._folder}: lost {_ATTEMPTS} races in a row", with_version=base.version)

    def _now(self, max_age_s: float = 0.0) -> _Link[Value]:
        """The newest value and its number, which belong together whatever other threads do meanwhile."""
        with self._lock:
            if self.age_s > max_age_s:
                self._look()
            return self._known

    def _look(self) -> None:
        started = time.monotonic()
        newest, newer = self._jumped(started)
        while newer is not None:
            newest, newer = newer, self._read_if_there(newer.version + 1)
        self._come_to(newest)
        self._looked_s = started

    def _jumped(self, now: float) -> tuple[_Link[Value], _Link[Value] | None]:
        """A document at or near the end of the chain, and a newer one where there is one."""
        known = self._known
        if known.version and now - self._looked_s <= _LOOK_INTERVAL_S:
            return known, self._read_if_there(known.version + 1)
        noted = 0 if known.version else self._noted.version
        # Most chains are as they were, or empty: all answers come after one wait.
        again = ahead(lambda: self._read_if_there(noted)) if noted else None
        after = ahead(lambda: self._read_if_there(max(known.version, noted) + 1))
        newest, newer = self._listed(), after.result()
        there = None if again is None else again.result()
        near = known if there is None else there
        gone = noted and there is None
        if gone or newest > near.version + 1:
            # Another chain in place of the one that was noted, or walking would take long.
            newer = self._read(newest) if newest else None
        return near, newer

    def _listed(self) -> int:
        """The newest number that a listing shows; 0 for none."""
        keys = [
            meta.key for meta in self._store.list(self._folder, start_after=self._key(self._known.version))
        ]
        return int(keys[-1].rsplit("/", 1)[-1].split(".")[0]) if keys else 0

    def _come_to(self, link: _Link[Value]) -> None:
        if link is not self._known:
            self._known = link
            if self._notes is not None:
                self._notes.write(self._folder, self._encoded(link))

    def _key(self, version: int) -> str:
        return f"{self._folder}/{version:020d}.json"

    def _read(self, version: int) -> _Link[Value]:
        key = self._key(version)
        return self._decoded(self._store.get(key), key)

    def _read_if_there(self, version: int) -> _Link[Value] | None:
        try:
            return self._read(version)
        except ObjectNotFound:
            return None

    def _decoded(self, content: bytes, key: str) -> _Link[Value]:
        try:
            data = json.loads(content)
            return _Link(int(data["version"]), str(data["commit_id"]), self._decode(data))
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{key!r} is not a readable document: {error}", key=key) from error

    def _encoded(self, link: _Link[Value]) -> bytes:
        document = {"format": 1, "version": link.version, "commit_id": link.commit_id}
        return json.dumps({**document, **self._encode(link.value)}, sort_keys=True).encode()
