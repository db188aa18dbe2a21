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
from typing import Any, Generic, TypeVar

from headwater.errors import CommitConflict, Corrupt, ObjectNotFound
from headwater.store import ObjectStore, put_if_absent

__all__ = ["Chain"]

Value = TypeVar("Value")

_LOOK_INTERVAL_S = 5.0
_ATTEMPTS = 100


class Chain(Generic[Value]):
    """Reads and changes one value. Safe between threads and processes.

    Args:
        store: where the lake is.
        folder: of the chain, such as `access-control`.
        empty: the value before anything was stored.
        encode: a value as what JSON can hold.
        decode: the way back; a `ValueError`, `KeyError` or `TypeError` says that the document is damaged.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: str,
        *,
        empty: Value,
        encode: Callable[[Value], Mapping[str, Any]],
        decode: Callable[[Mapping[str, Any]], Value],
    ) -> None:
        self._store = store
        self._folder = folder
        self._encode = encode
        self._decode = decode
        self._lock = threading.Lock()
        self._known: tuple[int, Value] = (0, empty)
        self._looked_s = self._listed_s = float("-inf")

    @property
    def known(self) -> Value:
        """The value as it was last read; asks nobody."""
        return self._known[1]

    @property
    def version(self) -> int:
        """The number of that value; 0 before anything was stored."""
        return self._known[0]

    @property
    def age_s(self) -> float:
        """How long ago the store was asked."""
        return time.monotonic() - self._looked_s

    def latest(self, *, max_age_s: float = 0.0) -> Value:
        """The value now, or as it was at most `max_age_s` ago: one request when nothing is new.

        Raises:
            Corrupt: the newest document is damaged.
        """
        return self._now(max_age_s)[1]

    def _now(self, max_age_s: float = 0.0) -> tuple[int, Value]:
        """The newest value and its number, which belong together whatever other threads do meanwhile."""
        with self._lock:
            if self.age_s > max_age_s:
                self._look()
            return self._known

    def change(self, alter: Callable[[Value], Value]) -> Value:
        """Commit a change, on top of whatever is newest; a change that changes nothing is not stored.

        Args:
            alter: pure; called again on a newer value when another writer was first.

        Raises:
            CommitConflict: a hundred others were first.
        """
        for _ in range(_ATTEMPTS):
            number, base = self._now()
            altered = alter(base)
            if altered == base:
                return base
            document = {"format": 1, "version": number + 1, "commit_id": uuid.uuid4().hex}
            content = json.dumps({**document, **self._encode(altered)}, sort_keys=True).encode()
            if put_if_absent(self._store, self._key(number + 1), content):
                with self._lock:
                    if self._known[0] <= number:
                        self._known = (number + 1, altered)
                return altered
        raise CommitConflict(f"{self._folder}: lost {_ATTEMPTS} races in a row", with_version=self.version)

    def _look(self) -> None:
        started = time.monotonic()
        # A reader that was away for long jumps to the end of the chain instead of walking it.
        if self._known[0] == 0 or started - self._listed_s > _LOOK_INTERVAL_S:
            keys = [
                meta.key for meta in self._store.list(self._folder, start_after=self._key(self._known[0]))
            ]
            self._listed_s = started
            if keys:
                self._known = self._read(int(keys[-1].rsplit("/", 1)[-1].split(".")[0]))
        while (newer := self._read_if_there(self._known[0] + 1)) is not None:
            self._known = newer
        self._looked_s = started

    def _key(self, version: int) -> str:
        return f"{self._folder}/{version:020d}.json"

    def _read(self, version: int) -> tuple[int, Value]:
        key = self._key(version)
        content = self._store.get(key)
        try:
            data = json.loads(content)
            return int(data["version"]), self._decode(data)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{key!r} is not a readable document: {error}", key=key) from error

    def _read_if_there(self, version: int) -> tuple[int, Value] | None:
        try:
            return self._read(version)
        except ObjectNotFound:
            return None
