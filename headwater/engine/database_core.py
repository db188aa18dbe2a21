"""What a database is made of: the lake it is in, the names in it, and the handles on what they name."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from headwater.engine.by_name import CollectionsByName
from headwater.engine.collection import Collection
from headwater.engine.handles import Handles
from headwater.engine.maintainer import Maintainer
from headwater.engine.naming import Names
from headwater.engine.on_demand.places import Origin
from headwater.engine.warmer import Warmer
from headwater.index import list_budget
from headwater.jobs import Functions
from headwater.lake import Lake
from headwater.settings import Settings
from headwater.store import ObjectStore
from headwater.tiers import Tiers

__all__ = ["DatabaseCore"]


class DatabaseCore(CollectionsByName):
    """The collections of one database, found and opened by name.

    Args:
        store: where the lake is.
        name: the database's name, a prefix in the lake.
        settings: limits and defaults.
        functions: compute what schemas' functions fill.
        tiers: what the process holds of its lakes; shared by the databases of a connection.

    Attributes:
        name: its name.
        tiers: what the process holds of its lakes.
        serving: whether it answers for what is loaded, and so keeps that warm by itself.
        origin: how another process opens it; None of one that was made around a store.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        settings: Settings,
        functions: Functions | None = None,
        tiers: Tiers | None = None,
    ) -> None:
        self.name = name
        self._store = store
        self._settings = settings
        self._functions = functions or Functions()
        self.tiers = tiers or Tiers(settings.tiers)
        list_budget().bound(settings.tiers.list_bytes)
        self.origin: Origin | None = None
        self._maintainer = Maintainer(settings.maintenance)
        self._warmers = Warmer(lowest_priority=False), Warmer(lowest_priority=True)
        self.serving = False
        self._notes = self.tiers.notes(store, name)
        self._names = Names(store, name, self._notes)
        self._handles = Handles(store, name, self._names, self._notes, self._handle)

    @property
    def nearby(self) -> bool:
        """Whether the lake is in files of this machine, so that reading it asks no server."""
        return self._store.local_path(self.name) is not None

    @property
    def settings(self) -> Settings:
        """Limits and defaults."""
        return self._settings

    @property
    def url(self) -> str:
        """Where the lake is; holds no secrets."""
        return self._store.url

    def list_collections(self) -> list[str]:
        """Names of the collections, sorted."""
        return self._names.collections()

    def has_collection(self, name: str) -> bool:
        """Whether a collection, or an alias of one, exists."""
        return self._names.root(self._names.resolve(name)) is not None

    def collection(self, name: str, *, source_options: Mapping[str, Any] | None = None) -> Collection:
        """A handle on a collection.

        Args:
            name: its name, or an alias of it.
            source_options: credentials of an external source's store, where they are not in the environment.

        Raises:
            CollectionNotFound: no such collection.
        """
        return self._handles.open(name, source_options)

    def _handle(self, name: str, lake: Lake, source_options: Mapping[str, Any] | None) -> Collection:
        made = Collection(name, lake, self._settings, source_options, self._functions, self.tiers)
        made._warmers, made._serves = self._warmers, self.serving
        made._after_write = partial(_written, self._maintainer, weakref.ref(made))
        return made

    def held(self, name: str) -> Collection:
        """A handle that is there already, unless the name may stand for another collection by now."""
        return self._handles.held(name, self._settings.write.staleness_s)

    def look_again(self) -> None:
        """Believe no name that was read before; for who knows that another process changed some."""
        if not self._names.chain.look_again():
            self._handles.forget_all()

    def size_bytes(self) -> int:
        """Bytes of the files that the newest versions of the collections are made of."""
        return sum(self.collection(name).size_bytes for name in self.list_collections())

    def __iter__(self) -> Iterator[str]:
        return iter(self.list_collections())

    def __repr__(self) -> str:
        return f"<database {self.name!r} at {self._store.url}>"


def _written(maintainer: Maintainer, collection: weakref.ref[Collection]) -> None:
    held = collection()
    if held is not None:
        maintainer.written(held)
