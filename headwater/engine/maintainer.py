"""The background thread of a connection that writes: it tends the collections that were written to.

It runs at the lowest priority the system has for a thread, builds indexes on one core, and does one piece of work at a
time, so foreground work comes first. Collections are held weakly: what nobody uses any more is not tended. Where
`maintenance.elsewhere` says that another process does that, it seals what is in the log, and says so.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable
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


class Maintainer:
    """Tends collections until it is closed.

    Attributes:
        failures: rounds that failed; each is logged, and the next round tries again.
        changed: called with a collection that has a new version, where another process maintains it.

    Args:
        settings: how often, and when.
    """

    def __init__(self, settings: MaintenanceSettings) -> None:
        in_window(settings.window, 0)
        self._settings = settings
        self._collections: weakref.WeakSet[Collection] = weakref.WeakSet()
        self._dirty: weakref.WeakSet[Collection] = weakref.WeakSet()
        self._collected: weakref.WeakKeyDictionary[Collection, float] = weakref.WeakKeyDictionary()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._told: weakref.WeakKeyDictionary[Collection, int] = weakref.WeakKeyDictionary()
        self.failures = 0
        self.changed: Callable[[Collection], None] = _nothing

    def written(self, collection: Collection) -> None:
        """A collection was written to."""
        if not self._settings.automatic or self._stopped.is_set():
            return
        if collection not in self._collections:
            with self._lock:
                self._collections.add(collection)
                self._collected[collection] = time.monotonic()
                if self._thread is None:
                    self._thread = threading.Thread(
                        target=self._run, name="headwater-maintenance", daemon=True
                    )
                    self._thread.start()
                    atexit.register(self.close)
        self._dirty.add(collection)
        if collection._due():
            self._wake.set()

    def close(self) -> None:
        """Stop, after the piece of work at hand."""
        self._stopped.set()
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=60.0)
        atexit.unregister(self.close)

    def _run(self) -> None:
        lower_thread()
        while not self._stopped.is_set():
            self._wake.wait(self._settings.interval_s)
            self._wake.clear()
            for collection in list(self._collections):
                if self._stopped.is_set():
                    return
                if collection in self._dirty or collection._due() or self._moved(collection):
                    self._tend(collection)

    def _tend(self, collection: Collection) -> None:
        try:
            self._dirty.discard(collection)
            if self._settings.elsewhere:
                self._seal(collection)
                return
            window = in_window(self._settings.window, datetime.now(UTC).hour)
            if collection._tend(compaction=window):
                self._dirty.add(collection)
                self._wake.set()
            if time.monotonic() - self._collected[collection] > _GC_INTERVAL_S:
                collection.gc()
                self._collected[collection] = time.monotonic()
        except CollectionNotFound:
            self._collections.discard(collection)
        except Exception:
            if not threading.main_thread().is_alive():
                # The program ends, and nothing can be begun any more.
                self._stopped.set()
                return
            # A store that is away must not end the upkeep of other collections.
            self.failures += 1
            self._dirty.add(collection)
            _LOGGER.exception(
                "maintenance of collection %r failed; the next round tries again", collection.name
            )

    def _moved(self, collection: Collection) -> bool:
        """Whether there is a version that whoever maintains the collection has not been told of."""
        known = collection._lake.known
        return self._settings.elsewhere and known is not None and known.version != self._told.get(collection)

    def _seal(self, collection: Collection) -> None:
        """Seal what is due, and tell of a version that is new."""
        if collection._due():
            collection._seal_log()
        if self._moved(collection):
            self._told[collection] = collection._lake.latest().version
            self.changed(collection)


def _nothing(collection: Collection) -> None:
    return None
