"""The handles on collections that a database holds: one of each, opened by whoever asks first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headwater.engine.collection import Collection
from headwater.engine.naming import Names
from headwater.errors import HeadwaterError
from headwater.lake import Lake
from headwater.store import ObjectStore, ahead
from headwater.tiers import Notes

__all__ = ["Handles"]

SourceOptions = Mapping[str, Any]


class Handles:
    """Opens collections by name, and keeps what it opened. Safe between threads.

    Args:
        store: where the lake is.
        database: its name.
        names: where the collections are.
        notes: where the newest versions are noted for processes to come; None for nowhere.
        make: a handle of a name on a folder, with the credentials of an external source.
    """

    def __init__(
        self,
        store: ObjectStore,
        database: str,
        names: Names,
        notes: Notes | None,
        make: Callable[[str, Lake, SourceOptions | None], Collection],
    ) -> None:
        self._store = store
        self._database = database
        self._names = names
        self._notes = notes
        self._make = make
        self._open: dict[str, Collection] = {}
        self._opening = threading.Lock()

    def open(self, name: str, source_options: SourceOptions | None = None) -> Collection:
        """The handle on the collection that a name stands for now.

        Args:
            name: of the collection, or an alias of it.
            source_options: credentials of an external source's store; a handle that has others is replaced.

        Raises:
            CollectionNotFound: no such collection.
        """
        # Most collections are in a folder of their own name, or where they were before: the versions there are looked
        # for while the name is looked up.
        probable, place = self._names.probable(name)
        asked = self._lake(f"{self._database}/{place}")
        begun = None if name in self._open else ahead(partial(self._looked_at, probable, asked))
        name, folder = self._names.located(name)
        found = None if begun is None or f"{self._database}/{folder}" != asked.root else begun.result()
        root = self._names.root(name) if found is None else asked.root
        if root is None:
            self.forget(name)
            raise self._names.missing(name)
        held = self._open.get(name)
        if held is None or held.root != root or source_options is not None:
            if found is None or found.name != name or source_options is not None:
                found = self._make(name, self._lake(root) if found is None else asked, source_options)
            with self._opening:
                # Of threads that open it at the same time all get what the first one opened.
                first = self._open.get(name)
                if source_options is None and first is not None and first is not held and first.root == root:
                    return first
                held = self._open[name] = found
        return held

    def held(self, name: str, max_age_s: float) -> Collection:
        """A handle that is there already, unless the name may stand for another collection by now.

        Args:
            name: of the collection, or an alias of it.
            max_age_s: how old may be what is known of the names.

        Raises:
            CollectionNotFound: no such collection.
        """
        if self._names.chain.known.aliases.get(name, name) not in self._open:
            return self.open(name)
        catalog = self._names.chain.latest(max_age_s=max_age_s)
        target = self._names.resolve(name, max_age_s=float("inf"))
        held = self._open.get(target)
        # A collection that was dropped and made again has another folder.
        if held is None or held.root != f"{self._database}/{catalog.folder_of(target)}":
            return self.open(name)
        return held

    def forget(self, *names: str) -> list[Collection]:
        """Open these collections again when they are asked for next.

        Returns:
            The handles that were held of them.
        """
        found = [self._open.pop(name, None) for name in names]
        return [one for one in found if one is not None]

    def forget_all(self) -> None:
        """`forget` every collection."""
        self._open.clear()

    def all(self) -> dict[str, Collection]:
        """The handles that are held, by name."""
        return self._open.copy()

    def _lake(self, root: str) -> Lake:
        return Lake(self._store, root, notes=self._notes)

    def _looked_at(self, name: str, lake: Lake) -> Collection | None:
        """A handle on a folder, its newest version read; None where that is left to who can say what is wrong.

        Where a version is noted, the log is asked for what follows it while the store is asked for newer ones.
        """
        try:
            if lake.begin_at_note():
                held = self._make(name, lake, None)
                held._log.pin()
                return held
            lake.latest()
            return self._make(name, lake, None)
        except HeadwaterError:
            return None
