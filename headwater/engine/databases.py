"""The databases of a lake: listed, made, opened and dropped, and what is kept with each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Self

from headwater.engine.database_core import DatabaseCore
from headwater.engine.naming import checked_name, usable
from headwater.errors import AlreadyExists, DatabaseNotFound, InvalidArgument
from headwater.lake import Catalog

__all__ = ["Databases"]


class Databases(DatabaseCore):
    """One database among the others of its lake."""

    def list_databases(self) -> list[str]:
        """Names of the lake's databases, sorted; the default one is always there."""
        return sorted({"default", *(one for one in self._store.list_prefixes() if usable(one))})

    def create_database(self, name: str, properties: Mapping[str, str] | None = None) -> Self:
        """Add a database to the lake.

        Args:
            name: letters, digits and underscores.
            properties: free text kept with the database; collections made in it have its `timezone`.

        Raises:
            AlreadyExists: the name is taken.
        """
        if checked_name("database", name) in self.list_databases():
            raise AlreadyExists(f"database {name!r} exists in {self._store.url}")
        made = self._sibling(name)
        created_ms = time.time_ns() // 1_000_000
        made._names.chain.change(
            lambda now: replace(now, properties=dict(properties or {}), created_ms=created_ms)
        )
        return made

    def database(self, name: str) -> Self:
        """A handle on another database of the same lake.

        Raises:
            DatabaseNotFound: no such database.
        """
        names = self.list_databases()
        if name not in names:
            raise DatabaseNotFound(
                f"no database {name!r} in {self._store.url}", hint=f"there are: {', '.join(names)}"
            )
        return self._sibling(name)

    def _sibling(self, name: str) -> Self:
        made = type(self)(self._store, name, self._settings, self._functions, self.tiers)
        made.origin = None if self.origin is None else replace(self.origin, database=name)
        made.serving = self.serving
        return made

    def drop_database(self, name: str) -> None:
        """Remove a database, which must hold no collection.

        Raises:
            InvalidArgument: it holds collections, or is the default one.
        """
        held = self.database(name).list_collections()
        if held or name == "default":
            why = f"it holds {', '.join(held)}" if held else "it is the default one"
            raise InvalidArgument(f"database {name!r} cannot be dropped: {why}")
        self._store.delete([meta.key for meta in self._store.list(f"{name}/")])

    @property
    def properties(self) -> dict[str, str]:
        """The database's properties."""
        return dict(self._names.chain.latest().properties)

    @property
    def created_ms(self) -> int:
        """When the database was made, milliseconds since 1970; 0 where nobody knows."""
        return self._names.chain.latest().created_ms

    def known_properties(self) -> Mapping[str, str]:
        """The database's properties, no older than a Bounded read may be."""
        return self._names.chain.latest(max_age_s=self._settings.write.staleness_s).properties

    def set_properties(self, properties: Mapping[str, str | None]) -> dict[str, str]:
        """Set properties of the database; None removes one. Returns all of them."""

        def alter(now: Catalog) -> Catalog:
            merged = {**now.properties, **properties}
            return replace(
                now, properties={name: value for name, value in merged.items() if value is not None}
            )

        return dict(self._names.chain.change(alter).properties)
