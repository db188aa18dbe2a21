"""Index builds that clients ask for and then wait for, off the threads that answer calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from headwater.engine import Collection
from headwater.errors import CollectionNotFound, CommitConflict

__all__ = ["Building"]

_ATTEMPTS = 5
_MOST_FAILURES = 1024

_log = logging.getLogger("headwater.server")


class Building:
    """Builds what is pending, one collection at a time; a build uses all cores.

    What is pending is in the lake: another server, or this one after a restart, takes it up when it is asked how far
    it is.

    Attributes:
        delegate: has another process build, where one does.
    """

    def __init__(self) -> None:
        self._workers = ThreadPoolExecutor(1, "build")
        self._lock = threading.Lock()
        self._waiting: set[str] = set()
        self._failures: dict[str, str] = {}
        self._closed = False
        self.delegate: Callable[[Collection], None] | None = None

    def start(self, collection: Collection) -> None:
        """Build what is pending of a collection's indexes, unless that is to happen anyway."""
        if self.delegate is not None:
            self._failures.pop(collection.root, None)
            self.delegate(collection)
            return
        with self._lock:
            if self._closed or collection.root in self._waiting:
                return
            self._waiting.add(collection.root)
            self._failures.pop(collection.root, None)
            self._workers.submit(self._build, collection)

    @property
    def pending(self) -> int:
        """Collections whose indexes wait to be built."""
        return len(self._waiting)

    def failure(self, collection: Collection) -> str:
        """Why the last build of a collection failed; empty where it did not."""
        return self._failures.get(collection.root, "")

    def failed(self, root: str, why: str) -> None:
        """A build of a collection failed, here or in the process that builds.

        Args:
            root: of the collection.
            why: for the client that asks.
        """
        if len(self._failures) >= _MOST_FAILURES:
            self._failures.clear()
        self._failures[root] = why

    def close(self) -> None:
        """Finish the build at hand and drop the others, which are still pending in the lake."""
        with self._lock:
            self._closed = True
        self._workers.shutdown(cancel_futures=True)

    def _build(self, collection: Collection) -> None:
        with self._lock:
            self._waiting.discard(collection.root)
        try:
            self._built(collection)
        except CollectionNotFound:
            return
        except Exception as error:  # noqa: BLE001 (told to whoever asks for the state of the index)
            _log.exception("building the indexes of %r failed", collection.name)
            self.failed(collection.root, str(error))

    def _built(self, collection: Collection) -> None:
        """Build, and again what is left where an index was dropped meanwhile."""
        for _ in range(_ATTEMPTS):
            try:
                return collection.build_pending()
            except CommitConflict as error:
                conflict = error
        raise conflict
