"""A chain of small numbered documents: state of a lake that is no collection's.

Each document is the whole state at one version, committed as manifests are: one put-if-absent of the next number. Safe
between threads and processes; a change is made again on top of whoever was first.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from headwater.errors import CommitConflict, Corrupt, ObjectNotFound
from headwater.store import ObjectStore, put_if_absent

__all__ = ["DocumentChain", "State"]

_LOOK_INTERVAL_S = 5.0
_ATTEMPTS = 100

State = dict[str, Any]
"""A JSON object; the chain adds `version` and `commit_id` to what it stores."""


class DocumentChain:
    """Reads and changes one chain.

    Args:
        store: where the lake is.
        folder: of the chain; nothing else is in it.
    """

    def __init__(self, store: ObjectStore, folder: str) -> None:
        self._store = store
        self._folder = folder
        self._version = 0
        self._state: State = {}
        self._looked_s = float("-inf")

    def latest(self, *, max_age_s: float = 0.0) -> State:
        """The state now, or as it was at most `max_age_s` ago; empty before the first change. Not to be altered."""
        return self._newest(max_age_s)[1]

    def change(self, alter: Callable[[State], State]) -> State:
        """Commit a change on top of whatever is newest.

        Args:
            alter: a new state of an old one, which it leaves as it is; called again when another writer was first.
        """
        commit_id = uuid.uuid4().hex
        version = 0
        for _ in range(_ATTEMPTS):
            version, state = self._newest(0.0)
            altered = alter(state)
            if altered == state:
                return state
            stored = {"format": 1, "version": version + 1, "commit_id": commit_id, "state": altered}
            data = json.dumps(stored, sort_keys=True).encode()
            if put_if_absent(self._store, self._key(version + 1), data):
                self._remember(version + 1, altered)
                return altered
        raise CommitConflict(f"{self._folder}: lost {_ATTEMPTS} races in a row", with_version=version)

    def _newest(self, max_age_s: float) -> tuple[int, State]:
        now = time.monotonic()
        if now - self._looked_s > max_age_s:
            version, state = self._version, self._state
            if version == 0 or now - self._looked_s > _LOOK_INTERVAL_S:
                keys = [meta.key for meta in self._store.list(f"{self._folder}/")]
                newest = int(keys[-1].rsplit("/", 1)[-1].split(".")[0]) if keys else 0
                if newest > version:
                    version, state = newest, self._read(newest)
            while (newer := self._read_if_there(version + 1)) is not None:
                version, state = version + 1, newer
            self._remember(version, state)
            self._looked_s = now
        return self._version, self._state

    def _remember(self, version: int, state: State) -> None:
        if version > self._version:
            self._version, self._state = version, state

    def _key(self, version: int) -> str:
        return f"{self._folder}/{version:020d}.json"

    def _read(self, version: int) -> State:
        key = self._key(version)
        content = self._store.get(key)
        try:
            state: State = json.loads(content)["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{key!r} is not a readable document: {error}", key=key) from error
        return state

    def _read_if_there(self, version: int) -> State | None:
        try:
            return self._read(version)
        except ObjectNotFound:
            return None
