"""One remote object on local disk: its bytes in a sparse file, and a checksum for each page of them.

    data     as long as the object; a page that was never fetched is a hole
    pages    u32, little-endian, for each 4 KiB page: the CRC-32 of its bytes, 1 in place of 0; 0 for a page not there
    whole    JSON, once all pages were there and right: inode, size, mtime_ns and ctime_ns of `data` at that moment

A page is written before its checksum. A reader takes a page when it has seen in this process that its checksum is
there and fits; every other page is read from the store. So whoever dies in between, cuts a file short, alters it or
removes it costs a read and no wrong answer, and processes share the files without talking to each other. A file appears
at its full length, and one of another length is removed and not repaired, as others may know pages of it. Only a map of
a file is different: it shows what is on disk. It is made of files whose `whole` still fits, which says that nobody
wrote to them since every page was right.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headwater.types import ByteRange

__all__ = ["PAGE_BYTES", "CachedObject", "DiskCounts", "Fetch", "OpenedPages", "Pages"]

PAGE_BYTES = 4096
_TOUCH_S = 60.0

Fetch = Callable[[Sequence[ByteRange]], list[memoryview]]
"""Reads ranges of the object from its store, in one call."""

Pages = list[tuple[int, int]]
"""Runs of pages, each (first, last + 1), ascending and apart."""


@dataclass
class DiskCounts:
    """What became of reads; see `DiskReport`."""

    hits: int = 0
    misses: int = 0
    bytes_read: int = 0
    bytes_fetched: int = 0
    bytes_written: int = 0
    damaged_pages: int = 0


class _File:
    """An open file that closes when nobody uses it any more, so that no number is read that became another file's."""

    __slots__ = ("number",)

    def __init__(self, path: Path, flags: int) -> None:
        self.number = -1
        self.number = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class OpenedPages:
    """A file of bytes, and which of its pages this process has seen to be right; they belong together.

    Attributes:
        file: the file.
        seen: a byte for each page.
    """

    __slots__ = ("file", "seen")

    def __init__(self, file: _File, num_pages: int) -> None:
        self.file = file
        self.seen = bytearray(num_pages)

    @property
    def linked(self) -> bool:
        """Whether the file still has a name."""
        return os.fstat(self.file.number).st_nlink > 0


class CachedObject:
    """One object's folder. Safe to share between threads and processes; every method may raise OSError.

    Attributes:
        folder: where its files are.
        size_bytes: of the object.
        key: the object's key in its store, for errors.
        checksum: of all of it, as the manifest has it; None where nobody said.
        used_s: monotonic time of the last read by this process.
        filling: held by the thread that brings all of it.

    Args:
        folder: where its files are; made when first needed.
        size_bytes: of the object.
        counts: told what became of reads.
    """

    def __init__(self, folder: Path, size_bytes: int, counts: DiskCounts) -> None:
        self.folder = folder
        self.size_bytes = size_bytes
        self.key = str(folder)
        self.checksum: str | None = None
        self.used_s = 0.0
        self.filling = threading.Lock()
        self._counts = counts
        self._num_pages = -(-size_bytes // PAGE_BYTES)
        self._opened: OpenedPages | None = None
        self._touched_s = -_TOUCH_S

    # -- reading ------------------------------------------------------------------------------------

    def missing(self, ranges: Sequence[ByteRange]) -> tuple[OpenedPages, Pages]:
        """The pages of some ranges that must be read from the store, and where all the others are to be read from."""
        opened = self.open_pages()
        seen = opened.seen
        unseen: set[int] = set()
        wanted = 0
        for span in ranges:
            first, last = span.start // PAGE_BYTES, -(-span.stop // PAGE_BYTES)
            wanted += last - first if span.stop > span.start else 0
            at = seen.find(0, first, last) if span.stop > span.start else -1
            if at >= 0:
                unseen.update(page for page in range(at, last) if not seen[page])
        found = self._check(opened, _runs(sorted(unseen))) if unseen else []
        absent = sum(last - first for first, last in found)
        self._counts.hits += wanted - absent if wanted > absent else 0
        self._counts.misses += absent
        self._touch()
        return opened, found

    def span(self, pages: tuple[int, int]) -> ByteRange:
        """The bytes of a run of pages."""
        return ByteRange(pages[0] * PAGE_BYTES, min(pages[1] * PAGE_BYTES, self.size_bytes))

    def fill(self, opened: OpenedPages, runs: Pages, data: Sequence[memoryview]) -> None:
        """Keep pages that were read from the store.

        Args:
            opened: where.
            runs: which.
            data: the bytes of each run.
        """
        sums = _File(self.folder / "pages", os.O_RDWR)
        for (first, last), block in zip(runs, data, strict=True):
            _write(opened.file.number, block, first * PAGE_BYTES)
            checks = struct.pack(f"<{last - first}I", *(_sum(block, page) for page in range(last - first)))
            _write(sums.number, memoryview(checks), first * 4)
            opened.seen[first:last] = b"\1" * (last - first)
            self._counts.bytes_written += len(block)

    def read(self, opened: OpenedPages, span: ByteRange) -> memoryview | None:
        """Bytes of pages that were seen; None when the file has become shorter."""
        size = span.stop - span.start
        data = os.pread(opened.file.number, size, span.start) if size else b""
        self._counts.bytes_read += len(data)
        return memoryview(data) if len(data) == size else None

    # -- the whole ----------------------------------------------------------------------------------

    def whole(self) -> bool:
        """Whether all pages are there and right, and nobody wrote to them since that was found."""
        try:
            said = json.loads((self.folder / "whole").read_bytes())
            found = _stamp(self.open_pages().file.number)
        except (FileNotFoundError, ValueError):
            return False
        return bool(said == found)

    def all_missing(self, part_bytes: int) -> Pages:
        """The pages of the object that are not there, every other one checked, in runs of at most a part."""
        opened, step = self.open_pages(), max(1, part_bytes // PAGE_BYTES)
        found: Pages = []
        for first in range(0, self._num_pages, step):
            last = min(first + step, self._num_pages)
            if opened.seen.find(0, first, last) >= 0:
                found += self._check(opened, [(first, last)])
        return found

    def parts(self, part_bytes: int) -> Iterator[bytes]:
        """All the bytes of the file, in order."""
        number = self.open_pages().file.number
        for start in range(0, self.size_bytes, part_bytes):
            yield os.pread(number, min(part_bytes, self.size_bytes - start), start)

    def mark_whole(self) -> None:
        """Say that all pages are there and right."""
        text = json.dumps(_stamp(self.open_pages().file.number)).encode()
        # Written aside and renamed, so that nobody reads half of it.
        aside = self.folder / f"whole.{os.getpid()}.{threading.get_ident()}"
        aside.write_bytes(text)
        os.replace(aside, self.folder / "whole")

    def look_at(self, opened: OpenedPages, count: int) -> Pages:
        """Check some pages that this process has not checked yet, of a file that is mapped.

        Args:
            opened: the file.
            count: how many pages, at most.

        Returns:
            Those that do not fit.
        """
        at = opened.seen.find(0)
        return self._check(opened, [(at, min(at + count, self._num_pages))]) if at >= 0 else []

    def disk_bytes(self) -> int:
        """What it takes on disk; 0 where it is not there."""
        total = 0
        for name in ("data", "pages"):
            try:
                total += os.stat(self.folder / name).st_blocks * 512
            except FileNotFoundError:
                continue
        return total

    def close(self) -> None:
        """Let the file go; the next read opens it again."""
        self._opened = None

    # -- files --------------------------------------------------------------------------------------

    def open_pages(self) -> OpenedPages:
        """The file of bytes, open as long as the answer is held; begun anew where somebody removed it or cut it."""
        opened = self._opened
        if opened is not None:
            found = os.fstat(opened.file.number)
            if found.st_nlink and found.st_size == self.size_bytes:
                return opened
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _of_length(self.folder / "data", self.size_bytes)
        _of_length(self.folder / "pages", self._num_pages * 4)
        opened = self._opened = OpenedPages(file, self._num_pages)
        return opened

    def _check(self, opened: OpenedPages, runs: Pages) -> Pages:
        """Those pages of some runs that are not there or do not fit their checksum; the others are seen from now on."""
        try:
            sums = _File(self.folder / "pages", os.O_RDONLY)
        except FileNotFoundError:
            return runs
        bad: list[int] = []
        for first, last in runs:
            known = self._sums(sums, first, last)
            if not known.any():
                bad += range(first, last)
                continue
            size = (last - first) * PAGE_BYTES
            block = memoryview(os.pread(opened.file.number, size, first * PAGE_BYTES))
            for number, expected in enumerate(known.tolist()):
                page = first + number
                if opened.seen[page]:
                    continue
                if expected and expected == _sum(block, number):
                    opened.seen[page] = 1
                    continue
                self._counts.damaged_pages += bool(expected)
                bad.append(page)
        return _runs(bad)

    @staticmethod
    def _sums(sums: _File, first: int, last: int) -> npt.NDArray[np.uint32]:
        known = np.zeros(last - first, "<u4")
        found = np.frombuffer(os.pread(sums.number, (last - first) * 4, first * 4), np.uint8)
        whole = len(found) // 4
        known[:whole] = found[: whole * 4].view("<u4")
        return known

    def _touch(self) -> None:
        """Say on disk that the object is used, at most once a minute."""
        self.used_s = now = time.monotonic()
        if now - self._touched_s >= _TOUCH_S:
            self._touched_s = now
            os.utime(self.folder / "pages")


def _of_length(path: Path, size_bytes: int) -> _File:
    """A file of this length: the one that is there, or a new one of holes."""
    for _ in range(8):
        try:
            file = _File(path, os.O_RDWR)
        except FileNotFoundError:
            aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            made = _File(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            try:
                os.ftruncate(made.number, size_bytes)
                # Whoever comes first makes it, and nobody sees it shorter.
                os.link(aside, path)
            except FileExistsError:
                pass
            finally:
                os.unlink(aside)
            continue
        if os.fstat(file.number).st_size == size_bytes:
            return file
        path.unlink(missing_ok=True)
    raise OSError(f"{path}: others keep changing it")


def _sum(block: memoryview, page: int) -> int:
    return zlib.crc32(block[page * PAGE_BYTES : (page + 1) * PAGE_BYTES]) or 1


def _runs(pages: Sequence[int]) -> Pages:
    runs: Pages = []
    for page in pages:
        if runs and runs[-1][1] == page:
            runs[-1] = (runs[-1][0], page + 1)
        else:
            runs.append((page, page + 1))
    return runs


def _write(number: int, data: memoryview, at: int) -> None:
    while len(data):
        done = os.pwrite(number, data, at)
        data, at = data[done:], at + done


def _stamp(number: int) -> list[int]:
    found = os.fstat(number)
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
