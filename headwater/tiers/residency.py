"""One object of a store, read from wherever its bytes are.

Promise: a read gives exactly the bytes asked for or raises; a file that is shorter than it was said to be is
`Corrupt`, found when the object is opened (warm) or when the missing bytes are read (cold). Reads of parts
are system calls, not a mapping, so that a file which others cut short is an error and not a fault of the
process; only `buffer` maps, and it is meant for files that are never changed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pyarrow as pa

from headwater import trace
from headwater.errors import Corrupt, ObjectNotFound
from headwater.store import ObjectStore, ahead
from headwater.store.ranges import gap_between, mean_bytes
from headwater.tiers.checksums import check_whole
from headwater.tiers.disk import DiskCache
from headwater.tiers.disk_object import CachedObject, OpenedPages
from headwater.tiers.mapped import map_file
from headwater.tiers.report import Tier
from headwater.tiers.uses import Uses
from headwater.types import ByteRange

__all__ = ["OnDisk", "Residency", "open_object"]

_PART_BYTES = 8 * 1024 * 1024
_PARTS_TOGETHER = 8
_CALLS_AT_ONCE = 2
"""All parts of 3 GB at once were 375 connections, three times their memory, and more than a call may take."""


@dataclass(frozen=True)
class OnDisk:
    """The place of a remote object in the disk cache.

    Attributes:
        disk: the cache.
        cached: the object's place in it.
        opened: its file, where all of it is there and is to be mapped; stays open, and there, with this.
    """

    disk: DiskCache
    cached: CachedObject
    opened: OpenedPages | None = None

    @property
    def path(self) -> Path | None:
        """The file to map, also after others removed it."""
        if self.opened is None:
            return None
        own = Path(f"/proc/self/fd/{self.opened.file.number}")
        return own if own.exists() else self.cached.folder / "data"

    @property
    def gone(self) -> bool:
        """Whether the file that is mapped was removed, so that it only takes room."""
        return self.opened is not None and not self.opened.linked


class Residency:
    """An open object: its size, its tier and its bytes. Safe to share between threads.

    Attributes:
        store: where the object is.
        key: its key there.
        size_bytes: its length.
        tier: where its bytes are used from.
        path: the local file that holds it, None when there is none or it is not to be mapped.
        checksum: of all its bytes, as the manifest has it; compared when all of it is fetched. None where nobody said.
        opening_bytes: so many bytes at its end are what opening it reads, where that was written down; else 0.
        on_disk: its place in the disk cache, where it has one.
        uses: told of its reads, where somebody wants to know.
        keep: whether what is fetched is kept in the disk cache; not for whoever reads everything once.

    Args:
        store: where the object is.
        key: its key there.
        size_bytes: its length.
        path: the local file that holds it.
        tier: `warm` with a path and `cold` without one where nothing is said.
        on_disk: its place in the disk cache.
        uses: told of its reads.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        size_bytes: int,
        path: Path | None,
        tier: Tier | None = None,
        on_disk: OnDisk | None = None,
        uses: Uses | None = None,
    ) -> None:
        self.store = store
        self.key = key
        self.size_bytes = size_bytes
        self.tier: Tier = tier or ("cold" if path is None else "warm")
        self.path = path if self.tier == "warm" else None
        self.checksum: str | None = None
        self.opening_bytes = 0
        self.on_disk = on_disk
        self.uses = uses
        self.keep = True
        self._buffer: pa.Buffer | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<{self.tier} object {self.key!r}, {self.size_bytes} bytes, of {self.store.url}>"

    @property
    def held_bytes(self) -> int:
        """What it holds in memory: all of it once `buffer` ran on an object that is not mapped."""
        held = self._buffer
        return 0 if held is None or self.path is not None else int(held.size)

    @property
    def mapped_bytes(self) -> int:
        """What of it is in the process's address space because `buffer` mapped it."""
        held = self._buffer
        return 0 if held is None or self.path is None else int(held.size)

    def read(self, span: ByteRange) -> memoryview:
        """The bytes of one range.

        Raises:
            Corrupt: the range ends past the object's end.
        """
        return self.read_ranges([span])[0]

    def read_ranges(self, ranges: Sequence[ByteRange]) -> list[memoryview]:
        """The bytes of several ranges, in the order asked; one store call for all, none once `buffer` ran.

        Raises:
            Corrupt: a range ends past the object's end.
        """
        for span in ranges:
            if span.stop > self.size_bytes:
                raise self._short(f"bytes [{span.start}, {span.stop})", self.size_bytes)
        if self._buffer is not None:
            whole = memoryview(self._buffer).cast("B")
            return [whole[span.start : span.stop] for span in ranges]
        return self._get(ranges)

    def read_all(self) -> memoryview:
        """All the bytes; as `buffer`."""
        return memoryview(self.buffer()).cast("B")

    def buffer(self) -> pa.Buffer:
        """All the bytes as an Arrow buffer: mapped when warm, else fetched once and kept.

        Raises:
            Corrupt: the object has become shorter, or what was fetched has another checksum.
        """
        if self._buffer is None:
            with self._lock:
                if self._buffer is None:
                    self._buffer = self._map(self.path) if self.path is not None else self._fetched()
        return self._buffer

    def _map(self, path: Path) -> pa.Buffer:
        if self.size_bytes == 0:
            return pa.py_buffer(b"")
        try:
            found = path.stat().st_size
            if found < self.size_bytes:
                raise self._short(f"{self.size_bytes} bytes", found)
            return pa.py_buffer(map_file(path, self.size_bytes))
        except FileNotFoundError as error:
            raise ObjectNotFound(
                f"no object {self.key!r} in {self.store.url}: {error}", key=self.key
            ) from error

    def _fetched(self) -> pa.Buffer:
        """All the bytes, compared with the checksum; those that differ are asked of the store once more."""
        whole = self._fetch(self._get)
        try:
            check_whole(self.checksum, [whole], self.key)
        except Corrupt:
            if self.on_disk is not None:
                # What was kept of it may have come with it.
                self.on_disk.disk.remove(self.on_disk.cached.folder)
            whole = self._fetch(self.fetch)
            check_whole(self.checksum, [whole], self.key)
        return whole

    def _fetch(self, get: Callable[[Sequence[ByteRange]], list[memoryview]]) -> pa.Buffer:
        if self.size_bytes <= _PART_BYTES:
            return pa.py_buffer(get([ByteRange(0, self.size_bytes)])[0])
        whole = pa.allocate_buffer(self.size_bytes)
        target = memoryview(whole).cast("B")
        parts = [
            ByteRange(start, min(start + _PART_BYTES, self.size_bytes))
            for start in range(0, self.size_bytes, _PART_BYTES)
        ]
        calls = [parts[start : start + _PARTS_TOGETHER] for start in range(0, len(parts), _PARTS_TOGETHER)]
        under_way = deque(ahead(partial(get, spans)) for spans in calls[:_CALLS_AT_ONCE])
        for spans, following in zip_longest(calls, calls[_CALLS_AT_ONCE:]):
            found = under_way.popleft().result()
            if following is not None:
                under_way.append(ahead(partial(get, following)))
            for span, data in zip(spans, found, strict=True):
                target[span.start : span.stop] = data
        return whole

    def _get(self, ranges: Sequence[ByteRange]) -> list[memoryview]:
        if self.uses is not None and self.keep:
            self.uses.add(sum(span.size_bytes for span in ranges))
        if self.on_disk is None:
            return self.fetch(ranges)
        kept = self.on_disk
        # Pages are larger than what is wanted of them, and not worth more of what lies between.
        fetch = partial(self.fetch, near_bytes=gap_between(mean_bytes(ranges)))
        return kept.disk.read(kept.cached, ranges, fetch, keep=self.keep)

    def fetch(self, ranges: Sequence[ByteRange], *, near_bytes: int | None = None) -> list[memoryview]:
        """Ranges from the store, whatever is nearer.

        Args:
            ranges: what is wanted.
            near_bytes: see `ObjectStore.get_ranges`.
        """
        trace.count(bytes_read=sum(span.size_bytes for span in ranges), ranges_read=len(ranges))
        return self.store.get_ranges(self.key, ranges, near_bytes=near_bytes)

    def _short(self, wanted: str, found: int) -> Corrupt:
        return Corrupt(
            f"{self.store.url}: {self.key!r}: expected {wanted}, but the object ends at {found}",
            hint="the file was cut short or replaced; restore it, or refresh the collection it belongs to",
            key=self.key,
        )


def open_object(
    store: ObjectStore, key: str, *, size_bytes: int | None = None, tier: Tier | None = None
) -> Residency:
    """Open an object for reading.

    Args:
        store: where it is.
        key: its key.
        size_bytes: its length as recorded; saves the question to a cold store.
        tier: where its bytes are wanted; where they are by default.

    Returns:
        The object, with no bytes read.

    Raises:
        ObjectNotFound: no such object; found later when the object is cold and `size_bytes` is given.
        Corrupt: the object is shorter than `size_bytes`; found later when it is cold.
    """
    path = store.local_path(key)
    if path is None and size_bytes is not None:
        return Residency(store, key, size_bytes=size_bytes, path=None, tier=tier)
    found = store.head(key).size_bytes
    opened = Residency(
        store, key, size_bytes=found if size_bytes is None else size_bytes, path=path, tier=tier
    )
    if found < opened.size_bytes:
        raise opened._short(f"{opened.size_bytes} bytes", found)
    return opened
