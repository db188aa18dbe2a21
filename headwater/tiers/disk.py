"""A folder of local disk that holds what was read from remote stores, within a budget.

It survives restarts, is shared by all processes that use the same folder, and may be removed at any time. Objects leave
whole: renamed away and then removed, the longest unused first, by one process at a time. Whatever the disk says (full,
read-only, failing), reads go on from the store; it is left alone for a while, counted, and logged once.

The layout of an object's folder, and why what is read is right, are in `disk_object`.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import threading
import time
import uuid
import weakref
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import Corrupt
from headwater.tiers.checksums import check_whole
from headwater.tiers.disk_object import PAGE_BYTES, CachedObject, DiskCounts, Fetch, OpenedPages, Pages
from headwater.tiers.report import DiskReport
from headwater.types import ByteRange

__all__ = ["DiskCache", "default_folder"]

_LOGGER = logging.getLogger("headwater.tiers")
_LAYOUT = "v1"
_PAUSE_S = 60.0
_SWEEP_S = 60.0
_PIN_S = 600.0
_MOST_OPEN = 512
_LOOKED_AT = 256
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 4


class _Fetching:
    """The threads that fetch parts of objects, few for the whole process; after a fork the child has its own."""

    def __init__(self) -> None:
        self._start_over()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_over)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="headwater-fetch")
            return self._pool


_FETCHING = _Fetching()


def default_folder() -> Path:
    """`headwater` in the user's folder of caches."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "headwater"


@dataclass(frozen=True)
class _Found:
    """An object's folder, as a sweep sees it."""

    folder: Path
    size_bytes: int
    used_s: float
    pinned: bool


class DiskCache:
    """What is kept on disk of remote objects. Safe to share between threads and processes.

    Attributes:
        folder: where.
        budget_bytes: what it may take.
        counts: what became of reads.

    Args:
        folder: where; made when something is kept.
        budget_bytes: what it may take.
        high: share of the budget at which objects begin to leave.
        low: share at which they stop.
        ttl_s: objects that nobody used for so long leave; 0 for never.
    """

    def __init__(
        self, folder: Path, budget_bytes: int, *, high: float = 0.95, low: float = 0.85, ttl_s: float = 0.0
    ) -> None:
        self.folder = folder / _LAYOUT
        self.budget_bytes = budget_bytes
        self.counts = DiskCounts()
        self._high, self._low, self._ttl_s = high, low, ttl_s
        self._objects: weakref.WeakValueDictionary[str, CachedObject] = weakref.WeakValueDictionary()
        self._open: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._used = self._found = self._evictions = self._expired = self._degradations = 0
        self._bound_bytes = budget_bytes
        self._swept_s = -_SWEEP_S
        self._written_then = 0
        self._pins: set[str] = set()
        self._pinning = threading.Lock()

    def object(self, url: str, key: str, size_bytes: int, checksum: str) -> CachedObject:
        """The place of an object here; nothing is read or written.

        Args:
            url: of its store.
            key: its key there.
            size_bytes: its length.
            checksum: of the whole object; another one is another object.
        """
        words = "\0".join((url, key, str(size_bytes), checksum))
        name = hashlib.blake2b(words.encode(), digest_size=16).hexdigest()
        with self._lock:
            found = self._objects.get(name)
            if found is None:
                folder = self.folder / name[:2] / name
                found = self._objects[name] = CachedObject(folder, size_bytes, self.counts)
                found.key, found.checksum = key, checksum
            return found

    # -- reading ------------------------------------------------------------------------------------

    def read(
        self, cached: CachedObject, ranges: Sequence[ByteRange], fetch: Fetch, *, keep: bool = True
    ) -> list[memoryview]:
        """Ranges of an object: what is here from here, all the rest by one call of `fetch`.

        Args:
            cached: the object.
            ranges: what is wanted.
            fetch: reads from the store.
            keep: whether what was fetched is kept; a scan of everything says no.
        """
        found: tuple[OpenedPages, Pages] | None = None
        if not self.paused:
            with self._tolerating():
                found = cached.missing(ranges)
                self._bound_open(cached)
        if found is None:
            return self._fetched(ranges, fetch)
        opened, runs = found
        if not runs:
            return self._cut(cached, opened, ranges, _Blocks([], []), fetch)
        spans = [cached.span(run) for run in runs]
        if not (keep and self._room(sum(last - first for first, last in runs))):
            blocks = _Blocks(spans, [])
            absent = [place for place, span in enumerate(ranges) if blocks.touch(span)]
            far = dict(zip(absent, self._fetched([ranges[one] for one in absent], fetch), strict=True))
            near = [one for place, one in enumerate(ranges) if place not in far]
            here = iter(self._cut(cached, opened, near, _Blocks([], []), fetch))
            return [far[place] if place in far else next(here) for place in range(len(ranges))]
        data = self._fetched(spans, fetch)
        with self._tolerating():
            cached.fill(opened, runs, data)
        return self._cut(cached, opened, ranges, _Blocks(spans, data), fetch)

    def _fetched(self, ranges: Sequence[ByteRange], fetch: Fetch) -> list[memoryview]:
        data = fetch(ranges)
        self.counts.bytes_fetched += sum(map(len, data))
        return data

    def _cut(
        self,
        cached: CachedObject,
        opened: OpenedPages,
        ranges: Sequence[ByteRange],
        blocks: _Blocks,
        fetch: Fetch,
    ) -> list[memoryview]:
        """The ranges, out of what was fetched just now and what is on disk."""
        views = [blocks.inside(span) for span in ranges]
        with self._tolerating():
            for place, span in enumerate(ranges):
                if views[place] is None:
                    views[place] = blocks.pieced(span, cached, opened)
        # A file that was cut short between the check and the read, or a disk that fails: the store has it all.
        absent = [place for place, view in enumerate(views) if view is None]
        if absent:
            again = self._fetched([ranges[place] for place in absent], fetch)
            for place, view in zip(absent, again, strict=True):
                views[place] = view
        return [view for view in views if view is not None]

    # -- the whole ----------------------------------------------------------------------------------

    def is_whole(self, cached: CachedObject) -> bool:
        """Whether an object is here, all of it, right, and not written to since."""
        with self._tolerating():
            return not self.paused and cached.whole()
        return False

    def complete(self, cached: CachedObject, fetch: Fetch) -> bool:
        """Bring the whole of an object here, in parts, some of them at once.

        Args:
            cached: the object.
            fetch: reads from the store; called from several threads.

        Returns:
            Whether it is here; not when it is too large for the budget, or the disk is full or fails.

        Raises:
            Corrupt: all of it was fetched, and does not fit its checksum; nothing of it is kept.
        """
        if self.paused or not self.fits(cached.size_bytes):
            return False
        with cached.filling, self._tolerating():
            if cached.whole():
                return True
            cached.open_pages()
            with _locked(cached.folder / "lock"):
                if cached.whole():
                    return True
                if not self._room(cached.size_bytes // PAGE_BYTES):
                    return False
                return self._fill_all(cached, fetch)
        return False

    def _fill_all(self, cached: CachedObject, fetch: Fetch) -> bool:
        opened = cached.open_pages()

        def part(run: tuple[int, int]) -> None:
            cached.fill(opened, [run], self._fetched([cached.span(run)], fetch))

        runs = cached.all_missing(_PART_BYTES)
        for start in range(0, len(runs), _PARTS_AT_ONCE * 4):
            # A bounded number of parts is under way, and the first failure stops the rest.
            for _ in _FETCHING.pool.map(part, runs[start : start + _PARTS_AT_ONCE * 4]):
                pass
        if not opened.linked:
            # Somebody removed the folder meanwhile.
            return False
        if cached.all_missing(_PART_BYTES):
            raise OSError("pages that were just written do not fit their checksums")
        try:
            check_whole(cached.checksum, cached.parts(_PART_BYTES), cached.key)
        except Corrupt:
            # Its pages are as they came, and came wrong.
            self.remove(cached.folder)
            raise
        cached.mark_whole()
        return True

    def look_after(self, cached: CachedObject, opened: OpenedPages, fetch: Fetch) -> int:
        """Check a part of a mapped file, and read anew what does not fit; a map of it shows the right bytes then.

        Args:
            cached: the object.
            opened: its file, which is mapped.
            fetch: reads from the store.

        Returns:
            How many pages were wrong.
        """
        runs: Pages = []
        if not self.paused:
            with self._tolerating():
                runs = cached.look_at(opened, _LOOKED_AT)
        wrong = sum(last - first for first, last in runs)
        if wrong:
            _LOGGER.error(
                "disk cache %s: %d pages of a mapped file do not fit their checksums, and are read again",
                cached.folder, wrong,
            )  # fmt: skip
            data = self._fetched([cached.span(run) for run in runs], fetch)
            with self._tolerating():
                cached.fill(opened, runs, data)
                if opened.linked and opened.seen.find(0) < 0:
                    cached.mark_whole()
        return wrong

    # -- limits -------------------------------------------------------------------------------------

    @property
    def used(self) -> bool:
        """Whether this process had to do with it."""
        return bool(self._objects) or self.counts.bytes_written > 0

    def fits(self, size_bytes: int) -> bool:
        """Whether an object of some size may be kept whole."""
        return size_bytes <= self._bound_bytes * self._low

    @property
    def paused(self) -> bool:
        """Whether the disk failed lately, and is left alone."""
        return self._paused_until > time.monotonic()

    def _room(self, pages: int) -> bool:
        written = self.counts.bytes_written - self._written_then
        return self._used + written + pages * PAGE_BYTES <= self._bound_bytes

    @contextmanager
    def _tolerating(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            # Others removed the object in the middle of this, as they may; the disk is as good as before.
            return
        except OSError as error:
            self._degradations += 1
            if not self.paused:
                _LOGGER.warning(
                    "disk cache %s: %s; reads go to the store, and it is tried again in %d s",
                    self.folder, error, _PAUSE_S,
                )  # fmt: skip
            self._paused_until = time.monotonic() + _PAUSE_S

    def _bound_open(self, cached: CachedObject) -> None:
        """Close the file opened longest ago, where there are too many."""
        name = cached.folder.name
        if name in self._open:
            return
        with self._lock:
            self._open[name] = None
            while len(self._open) > _MOST_OPEN:
                oldest = self._objects.get(self._open.popitem(last=False)[0])
                if oldest is not None:
                    oldest.close()

    def tend(self) -> None:
        """Look at the folder when it is time to, or when much was written."""
        written = self.counts.bytes_written - self._written_then
        if time.monotonic() - self._swept_s >= _SWEEP_S or written > self.budget_bytes // 20:
            self.sweep()

    def sweep(self) -> None:
        """Measure the folder, and let objects leave that nobody used for long or that there is no room for."""
        with self._tolerating():
            self._swept_s, self._written_then = time.monotonic(), self.counts.bytes_written
            if not self.folder.is_dir():
                self._used = self._found = 0
                return
            self._renew_pins()
            found = list(self._objects_on_disk())
            free = shutil.disk_usage(self.folder).free
            used = sum(one.size_bytes for one in found)
            self._bound_bytes = min(self.budget_bytes, (free + used) // 2)
            if used > self._bound_bytes * self._high or self._ttl_s:
                with _locked(self.folder / "evict.lock", wait=False) as mine:
                    if mine:
                        found = self._evict(found, used)
            self._used, self._found = sum(one.size_bytes for one in found), len(found)

    def _evict(self, found: list[_Found], used: int) -> list[_Found]:
        kept: list[_Found] = []
        now, full = time.time(), used > self._bound_bytes * self._high
        for one in sorted(found, key=lambda each: each.used_s):
            old = self._ttl_s > 0 and now - one.used_s > self._ttl_s
            if one.pinned or not (old or (full and used > self._bound_bytes * self._low)):
                kept.append(one)
                continue
            self.remove(one.folder)
            used -= one.size_bytes
            self._expired += old
            self._evictions += not old
        for rest in self.folder.glob("gone.*"):
            shutil.rmtree(rest, ignore_errors=True)
        return kept

    def remove(self, folder: Path) -> None:
        """Let an object leave; whoever has it open or mapped goes on with what it has."""
        aside = self.folder / f"gone.{uuid.uuid4().hex}"
        try:
            os.rename(folder, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)

    def _objects_on_disk(self) -> Iterator[_Found]:
        now = time.time()
        for shelf in os.scandir(self.folder):
            if len(shelf.name) != 2 or not shelf.is_dir():
                continue
            for entry in os.scandir(shelf.path):
                try:
                    pages = os.stat(os.path.join(entry.path, "pages"))
                    data = os.stat(os.path.join(entry.path, "data"))
                except OSError:
                    # Half made, or half removed by somebody: it goes first.
                    yield _Found(Path(entry.path), 0, now - 2 * _SWEEP_S, pinned=False)
                    continue
                try:
                    pinned = now - os.stat(os.path.join(entry.path, "pin")).st_mtime < _PIN_S
                except FileNotFoundError:
                    pinned = False
                size = (data.st_blocks + pages.st_blocks) * 512
                yield _Found(Path(entry.path), size, pages.st_mtime, pinned)

    # -- pins and reports -----------------------------------------------------------------------------

    def pin(self, cached: CachedObject) -> None:
        """Keep an object here as long as this process lives and does not say otherwise, some minutes more or less."""
        with self._pinning:
            self._pins.add(cached.folder.name)
        with self._tolerating():
            self._renew_pins()

    def unpin(self, cached: CachedObject) -> None:
        """Let an object leave when its time comes."""
        with self._pinning, self._tolerating():
            self._pins.discard(cached.folder.name)
            (cached.folder / "pin").unlink(missing_ok=True)

    def pinned(self, cached: CachedObject) -> bool:
        """Whether this process keeps an object here."""
        return cached.folder.name in self._pins

    def _renew_pins(self) -> None:
        with self._pinning:
            for name in self._pins:
                folder = self.folder / name[:2] / name
                if folder.is_dir():
                    (folder / "pin").touch()

    def report(self) -> DiskReport:
        """Its figures; the folder is not looked at."""
        counts = self.counts
        return DiskReport(
            path=str(self.folder),
            budget_bytes=self._bound_bytes,
            used_bytes=self._used + counts.bytes_written - self._written_then,
            objects=self._found,
            hits=counts.hits,
            misses=counts.misses,
            bytes_read=counts.bytes_read,
            bytes_fetched=counts.bytes_fetched,
            bytes_written=counts.bytes_written,
            evictions=self._evictions,
            expired=self._expired,
            damaged_pages=counts.damaged_pages,
            degradations=self._degradations,
            paused=self.paused,
        )


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock among processes, which goes with the process; whether it is held."""
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(number)


class _Blocks:
    """Spans of an object that were fetched just now, ascending and apart.

    Args:
        spans: where they lie.
        data: their bytes; may be empty where only places are asked for.
    """

    def __init__(self, spans: Sequence[ByteRange], data: Sequence[memoryview]) -> None:
        self._spans = spans
        self._data = data
        self._stops = [span.stop for span in spans]

    def touch(self, span: ByteRange) -> bool:
        """Whether a range has bytes of one of them."""
        at = bisect_right(self._stops, span.start)
        return at < len(self._spans) and self._spans[at].start < span.stop

    def inside(self, span: ByteRange) -> memoryview | None:
        """A range out of the one that holds all of it; None where none does."""
        at = bisect_right(self._stops, span.start)
        if at == len(self._spans) or span.start < self._spans[at].start or span.stop > self._stops[at]:
            return None
        first = self._spans[at].start
        return self._data[at][span.start - first : span.stop - first]

    def pieced(self, span: ByteRange, cached: CachedObject, opened: OpenedPages) -> memoryview | None:
        """A range out of them and of what is on disk; None when the disk lacks some."""
        at = bisect_right(self._stops, span.start)
        if at == len(self._spans) or self._spans[at].start >= span.stop:
            return cached.read(opened, span)
        whole, done = bytearray(span.stop - span.start), span.start
        while done < span.stop:
            begin = self._spans[at].start if at < len(self._spans) else span.stop
            if done < begin:
                stop = min(begin, span.stop)
                piece = cached.read(opened, ByteRange(done, stop))
                if piece is None:
                    return None
            else:
                stop = min(self._stops[at], span.stop)
                piece = self._data[at][done - begin : stop - begin]
                at += 1
            whole[done - span.start : stop - span.start] = piece
            done = stop
        return memoryview(whole).toreadonly()
