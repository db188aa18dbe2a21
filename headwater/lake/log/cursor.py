"""How far a process has read one shard's log."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

from headwater.errors import Corrupt, ObjectNotFound
from headwater.lake.log.entry import (
    AddSegments,
    CloseShard,
    Entry,
    InsertRows,
    decode_entry,
    entry_key,
    entry_name,
)
from headwater.lake.shards import Shard
from headwater.store import ObjectStore

__all__ = ["Cursor", "read_entries"]

_WINDOW = 16
"""Entries asked for at once when there is a backlog; one too many costs a request that finds nothing."""


@dataclass(frozen=True)
class Cursor:
    """A place in a log: after entry `sequence`.

    Attributes:
        shard: the shard as the newest known manifest has it.
        sequence: the last entry read; the next one has the number after it.
        epoch: the highest so far.
        writer: who holds that epoch; empty where it is only known from the manifest.
        timestamp: of the last entry.
        next_row_id: the row id after the last one given.
        closed: the shards that took over, once the log is closed.
    """

    shard: Shard
    sequence: int
    epoch: int
    writer: str
    timestamp: int
    next_row_id: int
    closed: tuple[Shard, ...] = ()

    def next_path(self, store: ObjectStore, root: str) -> str | None:
        """The local file that the next entry will be, kept, since every read asks; None where the log is not local."""
        kept: str | None = self.__dict__.get("_next_path", "")
        if kept == "":
            path = store.local_path(entry_key(root, self.shard.log, self.sequence + 1))
            kept = self.__dict__["_next_path"] = None if path is None else str(path)
        return kept

    @classmethod
    def start(cls, shard: Shard) -> Cursor:
        """Where a reader of a manifest starts: after what is in segments."""
        return cls(shard, shard.sealed, shard.epoch, "", shard.timestamp, shard.next_row_id)

    def after(self, entry: Entry) -> Cursor:
        """The place after one more entry."""
        next_row_id, closed = self.next_row_id, self.closed
        for record in entry.records:
            if isinstance(record, InsertRows):
                next_row_id = max(next_row_id, record.first_row_id + record.rows.num_rows)
            elif isinstance(record, AddSegments):
                ends = [first + count for segment in record.segments for first, count in segment.row_ids]
                next_row_id = max([next_row_id, *ends])
            elif isinstance(record, CloseShard):
                closed = record.into
        after = Cursor(
            shard=self.shard,
            sequence=entry.sequence,
            epoch=entry.epoch,
            writer=entry.writer,
            timestamp=entry.timestamp,
            next_row_id=next_row_id,
            closed=closed,
        )
        if (path := self.__dict__.get("_next_path")) is not None:
            after.__dict__["_next_path"] = _path_beside(path, entry.sequence + 1)
        return after


def read_entries(store: ObjectStore, root: str, cursor: Cursor, *, parallel: bool = True) -> Iterator[Entry]:
    """The entries after a cursor, in order, up to the present end of the log.

    The next number is asked for, never a listing, so that a store whose listings lag shows no gap. Nothing new costs
    one request, or one look at a local file.

    Raises:
        Corrupt: an entry is damaged; names the file.
    """
    path = cursor.next_path(store, root)
    found = _fetched(store, root, cursor, parallel) if path is None else _on_disk(store, root, cursor, path)
    for sequence, (key, data) in enumerate(found, cursor.sequence + 1):
        entry = decode_entry(data, key)
        if entry.sequence != sequence:
            raise Corrupt(f"{key!r} says that it is entry {entry.sequence}", key=key)
        yield entry
        if any(isinstance(record, CloseShard) for record in entry.records):
            return


def _on_disk(store: ObjectStore, root: str, cursor: Cursor, path: str) -> Iterator[tuple[str, bytes]]:
    """The objects after a cursor, each looked for by its path, so that nothing new costs one system call."""
    sequence = cursor.sequence
    while os.path.exists(path):
        sequence += 1
        key = entry_key(root, cursor.shard.log, sequence)
        data = _get(store, key)
        if data is None:
            return
        yield key, data
        path = _path_beside(path, sequence + 1)


def _fetched(store: ObjectStore, root: str, cursor: Cursor, parallel: bool) -> Iterator[tuple[str, bytes]]:
    """The objects after a cursor; once there is one, more are asked for at once."""
    sequence, window = cursor.sequence, 1
    while True:
        keys = [entry_key(root, cursor.shard.log, sequence + ahead + 1) for ahead in range(window)]
        several = _pool().map(partial(_get, store), keys) if window > 1 else map(partial(_get, store), keys)
        for key, data in zip(keys, list(several), strict=True):
            if data is None:
                return
            sequence += 1
            yield key, data
        window = _WINDOW if parallel else 1


def _path_beside(path: str, sequence: int) -> str:
    """The local file of another entry of the same log."""
    return os.path.join(os.path.dirname(path), entry_name(sequence))


def _get(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except ObjectNotFound:
        return None


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    """Threads that wait for stores."""
    return ThreadPoolExecutor(_WINDOW, thread_name_prefix="headwater-log")
