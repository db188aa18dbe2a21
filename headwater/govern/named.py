"""Grants for collections: kept by what a collection is, shown by what it is called now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from headwater.govern import grants
from headwater.govern.policy import Grant

__all__ = ["Collections", "NamedGrants"]


class Collections(Protocol):
    """What grants need to know about collections: which one a name stands for, and what one is called."""

    def identity(self, database: str, name: str) -> str | None:
        """The identity of the collection that a name or an alias stands for; None when there is none."""
        ...

    def names(self, database: str) -> dict[str, str]:
        """What the collections of a database are called now, by their identities."""
        ...

    def forget(self) -> None:
        """Names may stand for other collections from now on."""
        ...


class NamedGrants:
    """Turns the name in a grant into the collection that is meant, and back."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    def bound(self, grant: Grant) -> Grant | None:
        """A grant for a collection by its identity; None when there is no such collection."""
        if not grants.is_for_one_collection(grant):
            return grant
        identity = self._collections.identity(grant.database, grant.object_name)
        return None if identity is None else replace(grant, identity=identity)

    def alive(self, held: Iterable[Grant]) -> list[Grant]:
        """The grants whose collections are still there, by the names that those have now."""
        names: dict[str, dict[str, str]] = {}
        found = []
        for grant in held:
            place, identity = grant.database, grant.identity
            if not identity or self._collections.identity(place, grant.object_name) == identity:
                found.append(grant)
                continue
            if place not in names:
                names[place] = self._collections.names(place)
            if identity in names[place]:
                found.append(replace(grant, object_name=names[place][identity]))
        return found
