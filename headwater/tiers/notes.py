"""Notes of what processes of this machine last saw of remote lakes: where the next process begins to look.

A note is no answer. Whoever has one asks the store, in one round of requests, whether things are still so and what came
after; without it he would ask what there is, then read it, and then ask what came after. So a note that is old, gone or
damaged costs time, and nothing else. The layout is in `docs/format/cache.md`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
import time
import uuid
import zlib
from contextlib import suppress
from pathlib import Path

__all__ = ["Notes"]

_CHECKSUM = struct.Struct("<I")
_MOST_BYTES = 1 << 20
"""Of one note; a larger one would be checked for longer than the rounds that it saves."""

_PRUNE_EVERY = 256
_TORN_S = 60.0


class Notes:
    """The notes on one store. Safe to share between threads and processes.

    Args:
        folder: where notes on all stores are; made when the first one is written.
        url: of the store.
        limit_bytes: what the folder may take, and the longest unused notes go.
    """

    def __init__(self, folder: Path, url: str, limit_bytes: int) -> None:
        self._folder = folder
        self._url = url
        self._limit_bytes = limit_bytes
        self._written = itertools.count()

    def read(self, key: str) -> bytes | None:
        """What was noted last; None where nothing is, or not as it was written.

        Args:
            key: what the note is on.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        body = data[_CHECKSUM.size :]
        whole = len(data) >= _CHECKSUM.size and _CHECKSUM.unpack_from(data)[0] == zlib.crc32(body)
        return body if whole else None

    def write(self, key: str, data: bytes) -> None:
        """Note something, in place of what was noted before; a disk that fails, or is full, is left alone."""
        path = self._path(key)
        aside = path.with_name(f"{uuid.uuid4().hex}.new")
        with suppress(OSError):
            if len(data) > _MOST_BYTES:
                path.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                aside.write_bytes(_CHECKSUM.pack(zlib.crc32(data)) + data)
                aside.rename(path)
            finally:
                aside.unlink(missing_ok=True)
            if next(self._written) % _PRUNE_EVERY == 0:
                self._prune()

    def _path(self, key: str) -> Path:
        words = f"{self._url}\0{key}"
        return self._folder / hashlib.blake2b(words.encode(), digest_size=16).hexdigest()

    def _prune(self) -> None:
        found, now = [], time.time()
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):
                state = entry.stat()
                torn = entry.name.endswith(".new") and now - state.st_mtime > _TORN_S
                found.append((0.0 if torn else state.st_mtime, state.st_blocks * 512, entry.path))
        held = sum(size for _, size, _ in found)
        for used_s, size, path in sorted(found):
            if used_s and held <= self._limit_bytes:
                return
            Path(path).unlink(missing_ok=True)
            held -= size
