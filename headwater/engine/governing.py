"""Which collection a grant is for: names become identities, which renames and aliases leave alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from headwater.engine.identity import identity_of
from headwater.errors import CollectionNotFound, InvalidArgument

if TYPE_CHECKING:
    from headwater.engine.database import Database

__all__ = ["NamedCollections"]

_HELD = 4096


class NamedCollections:
    """Looks collections up for grants; what it found a moment ago it does not ask for again.

    Args:
        here: a database of the lake.
        sibling: makes a handle on another one, by its name.
        max_age_s: how long an answer holds.
    """

    def __init__(self, here: Database, sibling: Callable[[str], Database], max_age_s: float) -> None:
        self._sibling = sibling
        self._max_age_s = max_age_s
        self._databases: dict[str, Database] = {here.name: here}
        self._found: OrderedDict[tuple[str, str], tuple[float, str | None]] = OrderedDict()

    def identity(self, database: str, name: str) -> str | None:
        """The identity of the collection that a name or an alias stands for; None when there is none."""
        held = self._found.get((database, name))
        if held is not None and time.monotonic() - held[0] < self._max_age_s:
            return held[1]
        asked = time.monotonic()
        found = self._look_up(database, name)
        self._found[database, name] = (asked, found)
        while len(self._found) > _HELD:
            self._found.popitem(last=False)
        return found

    def names(self, database: str) -> dict[str, str]:
        """What the collections of a database are called now, by their identities."""
        found = self._database(database).list_collections()
        return {identity: one for one in found if (identity := self.identity(database, one)) is not None}

    def forget(self) -> None:
        """Names may stand for other collections from now on."""
        self._found.clear()

    def _look_up(self, database: str, name: str) -> str | None:
        try:
            collection = self._database(database).collection(name)
            return str(identity_of(collection.manifest, collection.root))
        except (CollectionNotFound, InvalidArgument):
            return None

    def _database(self, name: str) -> Database:
        held = self._databases.get(name)
        if held is None:
            held = self._databases[name] = self._sibling(name)
        return held
