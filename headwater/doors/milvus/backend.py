"""What all calls of the Milvus door share: the lake, its databases, and a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from headwater.doors.milvus.building import Building
from headwater.doors.milvus.reading import HeldIterators, PinnedReads
from headwater.engine import Collection, Database
from headwater.query.lru import LruCache

if TYPE_CHECKING:
    from headwater.doors.milvus.results import Shown
    from headwater.doors.milvus.search_request import SearchWords

__all__ = ["Backend"]


class Backend:
    """The lake behind the door.

    Args:
        lake: any database of the lake; the others are opened when they are asked for.
    """

    def __init__(self, lake: Database) -> None:
        lake.serving = True
        self._lake = lake
        self._lock = threading.Lock()
        self._tended: Callable[[str, str], None] | None = None
        self._databases: dict[str, Database] = {lake.name: lake}
        self.building = Building()
        self.pins = PinnedReads()
        self.iterators = HeldIterators()
        self.understood: LruCache[Hashable, tuple[SearchWords, Shown]] = LruCache(1024)

    @property
    def lake(self) -> Database:
        """The database that the server was opened with."""
        return self._lake

    def database(self, name: str) -> Database:
        """A database of the lake.

        Raises:
            DatabaseNotFound: there is none of that name.
        """
        held = self._databases.get(name)
        if held is None:
            with self._lock:
                held = self._databases.get(name)
                if held is None:
                    held = self._databases[name] = self._lake.database(name)
                    if self._tended is not None:
                        held.when_changed(self._tended)
        return held

    def tended_by(self, tell: Callable[[str, str, bool], None]) -> None:
        """Leave maintenance to another process.

        Args:
            tell: that process of a database's collection which is to be looked at, and whether a client waits for it.
        """

        def changed(database: str, collection: str) -> None:
            tell(database, collection, False)

        self._tended = changed

        def asked(collection: Collection) -> None:
            tell(collection.root.partition("/")[0], collection.name, True)

        self.building.delegate = asked
        with self._lock:
            for held in self._databases.values():
                held.when_changed(changed)

    def forget_database(self, name: str) -> None:
        """A database was dropped."""
        with self._lock:
            held = self._databases.pop(name, None)
        if held is not None:
            held.close()

    def look_again(self) -> None:
        """Another process changed names: believe none that were read before."""
        there = self._lake.list_databases()
        with self._lock:
            gone = [name for name in self._databases if name not in there and name != self._lake.name]
            for held in self._databases.values():
                held.look_again()
        for name in gone:
            self.forget_database(name)

    @property
    def databases(self) -> list[Database]:
        """The databases that are open."""
        with self._lock:
            return list(self._databases.values())

    def close(self, *, seal: bool = True) -> None:
        """Close every database.

        Args:
            seal: false leaves what is in the logs there.
        """
        self.building.close()
        with self._lock:
            for held in self._databases.values():
                held.close(seal=seal)
