"""The background thread of a connection that writes: it tends the collections that were written to.

It runs at the lowest priority the system has for a thread, builds indexes on one core, and does one piece of work at a
time, so foreground work comes first. Collections are held weakly: what nobody uses any more is not tended, and the
thread ends with the last of them. A collection whose upkeep fails is looked at less and less often, until it does not.
Where `maintenance.elsewhere` says that another process does that, it seals what is in the log, and says so.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headwater.engine.maintaining import in_window
from headwater.engine.priority import lower_thread
from headwater.errors import CollectionNotFound
from headwater.settings import MaintenanceSettings

if TYPE_CHECKING:
    from headwater.engine.collection import Collection

__all__ = ["Maintainer"]

_LOGGER = logging.getLogger("headwater.maintenance")

_GC_INTERVAL_S = 600.0
_MOST_PAUSE_S = 60.0
_CLOSE_S = 60.0
_EXIT_S = 10.0
"""A program that ends waits this long for all upkeep at hand, which is safe to break off; threads die with it."""


@dataclass
class _Tended:
    """What is known of a collection between two looks."""

    dirty: bool = False
    due_s: float = 0.0
    pause_s: float = 0.0
    collected_s: float = field(default_factory=time.monotonic)
    told: int | None = None


class Maintainer:
    """Tends collections until it is closed.

    Attributes:
        failures: rounds that failed; each is logged, and a later round tries again.
        changed: called with a collection that has a new version, where another process maintains it.

    Args:
        settings: how often, and when.
    """

    def __init__(self, settings: MaintenanceSettings) -> None:
        in_window(settings.window, 0)
        self._settings = settings
        self._tended: weakref.WeakKeyDictionary[Collection, _Tended] = weakref.WeakKeyDictionary()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.failures = 0
        self.changed: Callable[[Collection], None] = _nothing

    def written(self, collection: Collection) -> None:
        """A collection was written to."""
        if not self._settings.automatic or self._stopped.is_set():
            return
        tended = self._tended.get(collection)
        if tended is None or self._thread is None:
            tended = self._begin(collection)
        tended.dirty = True
        if collection._due():
            self._wake.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped.set()
        self._wake.set()

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Stop, after the piece of work at hand, or after this long."""
        self.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _begin(self, collection: Collection) -> _Tended:
        with self._lock:
            tended = self._tended.setdefault(collection, _Tended())
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="headwater-maintenance", daemon=True)
                _running.add(self)
                self._thread.start()
        return tended

    def _run(self) -> None:
        lower_thread()
        while not self._ended():
            self._wake.wait(self._settings.interval_s)
            self._wake.clear()
            self._round()

    def _ended(self) -> bool:
        """Whether to end: told to, or nothing is left to tend."""
        with self._lock:
            if self._stopped.is_set() or not self._tended:
                self._thread = None
                _running.discard(self)
                return True
        return False

    def _round(self) -> None:
        # Nothing here outlives the round, or the thread would keep the last collection alive.
        with self._lock:
            tended = list(self._tended.items())
        while tended and not self._stopped.is_set():
            collection, state = tended.pop()
            if time.monotonic() < state.due_s:
                continue
            if state.dirty or collection._due() or self._moved(collection, state):
                self._tend(collection, state)

    def _tend(self, collection: Collection, state: _Tended) -> None:
        try:
            state.dirty = False
            if self._settings.elsewhere:
                self._seal(collection, state)
            else:
                self._improve(collection, state)
            state.pause_s = 0.0
        except CollectionNotFound:
            with self._lock:
                self._tended.pop(collection, None)
        except Exception:
            if not threading.main_thread().is_alive():
                # The program ends, and nothing can be begun any more.
                self._stopped.set()
                return
            # A store that is away must not end the upkeep of other collections.
            self.failures += 1
            state.dirty = True
            state.pause_s = min(max(2 * state.pause_s, self._settings.interval_s), _MOST_PAUSE_S)
            state.due_s = time.monotonic() + state.pause_s
            _LOGGER.exception(
                "maintenance of collection %r failed; it is tried again in %.0f s",
                collection.name,
                state.pause_s,
            )

    def _improve(self, collection: Collection, state: _Tended) -> None:
        """Do a piece of work, and collect garbage now and then."""
        if collection._tend(compaction=in_window(self._settings.window, datetime.now(UTC).hour)):
            state.dirty = True
            self._wake.set()
        elif collection._changing:
            # What waits for more to come is due when it does not come.
            state.dirty = True
        if time.monotonic() - state.collected_s > _GC_INTERVAL_S:
            collection.gc()
            state.collected_s = time.monotonic()

    def _moved(self, collection: Collection, state: _Tended) -> bool:
        """Whether there is a version that whoever maintains the collection has not been told of."""
        known = collection._lake.known
        return self._settings.elsewhere and known is not None and known.version != state.told

    def _seal(self, collection: Collection, state: _Tended) -> None:
        """Seal what is due, and tell of a version that is new."""
        collection._seal_due()
        if self._moved(collection, state):
            state.told = collection._lake.latest().version
            self.changed(collection)


def _nothing(collection: Collection) -> None:
    return None


_running: set[Maintainer] = set()


@atexit.register
def _close_all() -> None:
    """Stop all upkeep of a program that ends, all of it at once."""
    maintainers = list(_running)
    for maintainer in maintainers:
        maintainer.stop()
    deadline = time.monotonic() + _EXIT_S
    for maintainer in maintainers:
        maintainer.close(max(0.0, deadline - time.monotonic()))
