"""Writing large files past the system's page cache, where they are synced at once anyway.

A write through the cache copies every byte into pages that have to be found first, and the sync then writes them out:
of 30 MB on a fast disk that is a third to three quarters of the time. Past the cache (`O_DIRECT`) the disk reads the
bytes where they are. They have to lie at a page's boundary there and be whole blocks, so they go through a buffer, a
part at a time, while a core's cache holds it.

Whoever reads the file next reads it from the disk. Where a file system does not write past its cache, the same bytes
go through it.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from headwater.store.making_way import makes_way
from headwater.store.write_back import PART_BYTES, PAUSE_S

__all__ = ["DIRECT_BYTES", "DirectWriter", "write_all"]

DIRECT_BYTES = 1 << 20
"""What is not longer than this goes through the cache: a disk takes small writes no faster, and they are read again."""

_UNABLE = (errno.EINVAL, errno.EOPNOTSUPP)
_BLOCK_BYTES = 4096
_ROOM_BYTES = 2 << 20
_KEPT = 4

_kept: list[mmap.mmap] = []
"""Buffers that are used again: memory that is new to the process costs more than the copy into it."""

_kept_lock = Lock()


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Append all of some bytes to a file, through the cache.

    Raises:
        OSError: they could not be written.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextmanager
def _room() -> Iterator[mmap.mmap]:
    """Memory that begins at a page's boundary."""
    with _kept_lock:
        found = _kept.pop() if _kept else None
    # Private: a process that is forked off must not see what is written here.
    room = mmap.mmap(-1, _ROOM_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) if found is None else found
    try:
        yield room
    finally:
        with _kept_lock:
            keep = len(_kept) < _KEPT
            if keep:
                _kept.append(room)
        if not keep:
            room.close()


def _begin_anew() -> None:
    """In a process that was forked off: others may be writing from this memory, and may have held the lock."""
    global _kept_lock
    _kept.clear()
    _kept_lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class DirectWriter:
    """Appends to a new file, past the cache once it is longer than `DIRECT_BYTES`. Used as a context; not thread-safe.

    Args:
        descriptor: of the file, open for writing, at its end. It stays open, and is not synced.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._reserved = _room()
        self._filled = 0
        self._direct = False
        self._refused = not hasattr(os, "O_DIRECT")

    def __enter__(self) -> DirectWriter:
        self._memory = memoryview(self._reserved.__enter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._memory.release()
            self._reserved.__exit__(None, None, None)

    def write(self, data: bytes | memoryview) -> None:
        """Append all of some bytes.

        Raises:
            OSError: they could not be written.
        """
        rest = memoryview(data).cast("B")
        while rest:
            size = min(len(rest), _ROOM_BYTES - self._filled)
            self._memory[self._filled : self._filled + size] = rest[:size]
            self._filled += size
            rest = rest[size:]
            if self._filled == _ROOM_BYTES:
                self._write_out(_ROOM_BYTES, direct=True)

    def _finish(self) -> None:
        """Write what is left; the end is rarely a whole block, and goes through the cache."""
        if self._direct or self._filled > DIRECT_BYTES:
            self._write_out(self._filled - self._filled % _BLOCK_BYTES, direct=True)
        self._write_out(self._filled, direct=False)

    def _write_out(self, size: int, *, direct: bool) -> None:
        """Write the first bytes of what is held; past the cache, a thread that makes way does so in parts."""
        self._switch(direct)
        part = PART_BYTES if direct and makes_way() else size
        at = 0
        while at < size:
            if at and part < size:
                time.sleep(PAUSE_S)
            try:
                at += os.write(self._descriptor, self._memory[at : min(at + part, size)])
            except OSError as error:
                if not self._direct or error.errno not in _UNABLE:
                    raise
                # A file system that said it could, or one that took less than whole blocks.
                self._refused = True
                self._switch(False)
        self._memory[: self._filled - size] = self._memory[size : self._filled]
        self._filled -= size

    def _switch(self, direct: bool) -> None:
        """Have what is written next go past the cache where the file system does that, or through it."""
        direct = direct and not self._refused
        if direct == self._direct:
            return
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags ^ os.O_DIRECT)
        except OSError as error:
            if not direct or error.errno not in _UNABLE:
                raise
            self._refused = True
        else:
            self._direct = direct
