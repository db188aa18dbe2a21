"""The upkeep of a whole lake by a process that does nothing else: it indexes, compacts, and collects garbage.

What there is to do is in the lake: segments without an index, too many small ones, deleted rows, versions past their
time. So the process holds no state that could be lost, may be killed at any moment, and may run on any machine that
reaches the lake. What two of them do at once is done by one: the other's commit finds it done, and its files are
garbage.
The log is not read here, and not sealed: that is for whoever writes, who has its rows in memory.

A collection in which nothing changes is looked at less and less often, down to once a minute, unless somebody says
that it changed.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from headwater.engine.collection import Collection
from headwater.engine.database import Database
from headwater.engine.maintaining import in_window
from headwater.engine.naming import usable
from headwater.engine.priority import check_priority
from headwater.errors import CollectionNotFound, HeadwaterError, Unavailable
from headwater.lake import SCAN_KIND, plan_compaction
from headwater.store import BorrowedPages

__all__ = ["Upkeep", "UpkeepReport"]

_LOGGER = logging.getLogger("headwater.maintenance")

_GC_INTERVAL_S = 600.0
_LIST_S = 10.0
_MOST_PAUSE_S = 60.0
_MOST_ROUNDS = 10_000

Place = tuple[str, str]
"""A database and a collection in it."""

Notice = Callable[[Place, str, int, int], None]
"""Called with the collection, what is being done, how much of it is done, and how much there is."""


class _Stopped(Exception):
    """The work at hand was given up, because the process is to end."""


@dataclass(frozen=True)
class UpkeepReport:
    """What a look at a collection led to.

    Attributes:
        database: the collection's.
        collection: its name.
        rounds: of work, until there was nothing left to do.
        segments: of the version it came to.
        pending_rows: rows that an index does not cover and upkeep leaves to exact search, summed over indexes.
        objects_deleted: garbage.
        seconds: wall time.
        version: the one it came to.
        failure: why it was given up; empty where it was not.
    """

    database: str
    collection: str
    rounds: int
    segments: int
    pending_rows: int
    objects_deleted: int
    seconds: float
    version: int
    failure: str = ""


@dataclass
class _Watched:
    """What is known of a collection between two looks."""

    due: float = 0.0
    pause: float = 0.0
    version: int = -1
    asked: bool = False
    root: str = ""
    collected: float = field(default_factory=time.monotonic)
    collected_version: int = -1


class Upkeep:
    """Tends the collections of a lake.

    Attributes:
        failures: looks that failed; each is logged, and tried again later.
        busy: whether a collection is looked at now, by `run`.

    Args:
        lake: any database of it; its settings say how much is done, and when.
        notice: told of the work as it goes; called on the thread that works.
        failed: called with the folder of a collection whose indexes somebody asked for, and why they were not built.
    """

    def __init__(
        self,
        lake: Database,
        *,
        notice: Notice | None = None,
        failed: Callable[[str, str], None] | None = None,
    ) -> None:
        self._settings = lake.settings.maintenance
        in_window(self._settings.window, 0)
        check_priority(self._settings.priority)
        self._lake = lake
        self._notice = notice
        self._failed = failed
        self._databases = {lake.name: lake}
        self._watched: dict[Place, _Watched] = {}
        self._told: dict[Place, bool] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._listed_s = float("-inf")
        self.failures = 0
        self.busy = False

    def look_at(self, place: Place, *, asked: bool = False) -> None:
        """Look at a collection at the next opportunity; from any thread.

        Args:
            place: of it.
            asked: whether somebody waits for its indexes.
        """
        with self._lock:
            self._told[place] = asked or self._told.get(place, False)
        self._wake.set()

    def stop(self) -> None:
        """Give up the work at hand as soon as it can be, and return from `run`; from any thread."""
        self._stopped.set()
        self._wake.set()

    def run(self) -> None:
        """Tend all collections until `stop` is called."""
        while not self._stopped.is_set():
            self._find()
            for place in self._due():
                if self._stopped.is_set():
                    return
                self.busy = True
                self._look(place)
            self.busy = False
            self._wake.wait(self._settings.interval_s)
            self._wake.clear()

    def once(self, names: Iterable[str] | None = None) -> Iterator[UpkeepReport]:
        """Tend collections until there is nothing left to do in any, garbage included.

        Args:
            names: of the collections of the database that was given, or their aliases; all of the lake by default.

        Raises:
            CollectionNotFound: there is none of a name.
        """
        places = (
            sorted(self._places())
            if names is None
            else [(self._lake.name, self._lake.collection(name).name) for name in names]
        )
        for place in places:
            if self._stopped.is_set():
                return
            with suppress(CollectionNotFound):
                yield self._finished(place)

    def _finished(self, place: Place) -> UpkeepReport:
        """One collection, to the end of what there is to do."""
        started, rounds, failure, deleted = time.perf_counter(), 0, "", 0
        collection = self._open(place)
        try:
            while rounds < _MOST_ROUNDS and self._improved(place, asked=True):
                rounds += 1
            deleted = collection.gc().objects_deleted
        except _Stopped:
            failure = "stopped"
        except Exception as error:
            # One collection must not end the upkeep of others; and `maintenance.memory_bytes` may be too little for it.
            self.failures += 1
            failure = str(error) or type(error).__name__
            _LOGGER.error("maintenance of %s.%s failed: %s", *place, failure, exc_info=_details(error))
        finally:
            self._close(place)
        manifest = collection.manifest
        return UpkeepReport(
            database=place[0],
            collection=place[1],
            rounds=rounds,
            segments=len(manifest.segments),
            pending_rows=sum(one.pending_rows for one in collection.index_progress()),
            objects_deleted=deleted,
            seconds=time.perf_counter() - started,
            version=manifest.version,
            failure=failure,
        )

    # -- which collections ----------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Learn of collections that came, and of those that somebody says have changed."""
        with self._lock:
            told, self._told = self._told, {}
        for place, asked in told.items():
            watched = self._watched.setdefault(place, _Watched())
            watched.due, watched.asked = 0.0, watched.asked or asked
        if time.monotonic() - self._listed_s < _LIST_S:
            return
        try:
            # The store may be away for a while.
            found = set(self._places())
        except Exception:
            self.failures += 1
            _LOGGER.exception("the collections of the lake could not be listed; the next round tries again")
            return
        self._listed_s = time.monotonic()
        for place in self._watched.keys() - found - told.keys():
            del self._watched[place]
        for place in found:
            self._watched.setdefault(place, _Watched())

    def _places(self) -> Iterator[Place]:
        for database in self._lake.list_databases():
            held = self._database(database)
            for folder in held._names.left_behind():
                self._sweep(database, f"{database}/{folder}")
            for name in held.list_collections():
                yield database, name

    def _due(self) -> list[Place]:
        """The collections to look at now; those that somebody waits for come first."""
        now = time.monotonic()
        due = [place for place, watched in self._watched.items() if watched.due <= now]
        return sorted(due, key=lambda place: not self._watched[place].asked)

    def _database(self, name: str) -> Database:
        held = self._databases.get(name)
        if held is None:
            held = self._databases[name] = self._lake.database(name)
        return held

    def _open(self, place: Place) -> Collection:
        return self._database(place[0]).collection(place[1])

    def _close(self, place: Place) -> None:
        """Let go of what the work on a collection has opened."""
        self._database(place[0])._handles.forget(place[1])

    def _sweep(self, database: str, root: str) -> None:
        """Delete what was made for a collection that somebody dropped meanwhile; its folder is nobody's any more."""
        folder = root.removeprefix(f"{database}/")
        catalog = self._database(database)._names.chain.latest()
        unnamed = not usable(folder) or catalog.folder_of(folder) != folder
        if unnamed and folder not in catalog.folders.values():
            store = self._lake._store
            store.delete([meta.key for meta in store.list(f"{root}/")])

    # -- one collection -------------------------------------------------------------------------------------------

    def _look(self, place: Place) -> None:
        watched = self._watched[place]
        asked, watched.asked = watched.asked, False
        try:
            self._tend(place, watched, asked)
        except _Stopped:
            return
        except CollectionNotFound:
            self._watched.pop(place, None)
            with suppress(HeadwaterError):
                self._sweep(place[0], "/".join(place))
        except Exception as error:
            self.failures += 1
            self._close(place)
            watched.pause = min(max(2 * watched.pause, self._settings.interval_s), _MOST_PAUSE_S)
            watched.due = time.monotonic() + watched.pause
            told = "maintenance of %s.%s failed, and is tried again in %.0f s: %s"
            _LOGGER.error(told, *place, watched.pause, error, exc_info=_details(error))
            if asked and self._failed is not None and not isinstance(error, Unavailable):
                self._failed(watched.root, str(error) or type(error).__name__)

    def _tend(self, place: Place, watched: _Watched, asked: bool) -> None:
        collection = self._open(place)
        watched.root = collection.root
        version = collection.manifest.version
        try:
            worked = self._improved(place, asked=asked)
        finally:
            self._sweep(place[0], collection.root)
        now = time.monotonic()
        if worked:
            # There may be more to do; the others get their turn before.
            watched.due, watched.asked = 0.0, asked
            self._wake.set()
            return
        if version == watched.version:
            watched.pause = min(2 * watched.pause, _MOST_PAUSE_S)
        else:
            watched.version, watched.pause = version, self._settings.interval_s
        watched.due = now + watched.pause
        if watched.collected_version != version and now - watched.collected > _GC_INTERVAL_S:
            collection.gc()
            watched.collected, watched.collected_version = now, version
        self._close(place)

    def _improved(self, place: Place, *, asked: bool) -> bool:
        """One round of work on a collection; what it read leaves the page cache, and the memory of this process."""
        pages = BorrowedPages(self._bulk(self._open(place), asked))
        try:
            worked = self._improve(place, self._open(place), asked=asked)
        except BaseException:
            self._close(place)
            raise
        if worked:
            self._close(place)
            gc.collect()
            pages.give_back()
        return worked

    def _bulk(self, collection: Collection, asked: bool) -> list[Path]:
        """The local files of the segments that there is work to do on, which may be read as a whole."""
        manifest, store = collection.manifest, self._lake._store
        least = collection._indexed_from if asked else self._settings.index_rows
        indexes = {one.name for one in manifest.indexes if one.kind != SCAN_KIND}
        built: dict[str, set[str]] = {}
        for build in manifest.builds:
            built.setdefault(build.segment, set()).add(build.index)
        limits = self._lake.settings.lake
        tasks = plan_compaction(
            manifest,
            target_rows=limits.target_segment_rows,
            target_bytes=limits.target_segment_bytes,
            merge_segments=self._settings.merge_segments,
            deleted_share=self._settings.deleted_share,
            small_rows=self._settings.index_rows,
        )
        planned = {name for task in tasks[:1] for name in task.segments}
        found = [
            store.local_path(group.file.key)
            for one in manifest.segments
            if one.id in planned or (one.num_rows >= least and not indexes <= built.get(one.id, set()))
            for group in one.column_groups
            if group.file is not None
        ]
        return [path for path in found if path is not None]

    def _improve(self, place: Place, collection: Collection, *, asked: bool) -> bool:
        def told(what: str, done: int, total: int) -> None:
            if self._stopped.is_set():
                raise _Stopped
            if self._notice is not None:
                self._notice(place, what, done, total)

        told("look", 0, 1)
        window = in_window(self._settings.window, datetime.now(UTC).hour)
        return collection._improve(compaction=window, asked=asked, told=told)


def _details(error: Exception) -> Exception | None:
    """What a log says besides an error's message: nothing where that says all."""
    return None if isinstance(error, HeadwaterError | MemoryError) else error
