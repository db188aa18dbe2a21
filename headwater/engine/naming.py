"""Names in a database: which folder a collection is in, aliases, renaming."""

from __future__ import annotations

import random
import re
import uuid
from dataclasses import replace

from headwater.errors import AliasNotFound, AlreadyExists, CollectionNotFound, InvalidArgument
from headwater.lake import CATALOG_FOLDER, FILES_FOLDER, Catalog, catalog_chain
from headwater.store import ObjectStore
from headwater.tiers import Notes

__all__ = ["Names", "checked_name", "usable"]

_REMEMBERED = 1000
"""Names of dropped collections that are remembered."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


def checked_name(kind: str, name: str) -> str:
    """A name that may be used.

    Raises:
        InvalidArgument: it may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (CATALOG_FOLDER, FILES_FOLDER):
        raise InvalidArgument(
            f"{kind} name {name!r} must start with a letter or underscore and hold letters, digits and underscores, "
            "255 at most"
        )
    return name


def usable(name: str) -> bool:
    """Whether a folder of a lake can be a database; others hold what is the whole lake's."""
    return _NAME.fullmatch(name) is not None


class Names:
    """The names of one database.

    Args:
        store: where the lake is.
        database: the database's name.
        notes: where the newest names are noted for processes to come; None for nowhere.
    """

    def __init__(self, store: ObjectStore, database: str, notes: Notes | None = None) -> None:
        self._store = store
        self._database = database
        self.chain = catalog_chain(store, database, notes)

    def collections(self) -> list[str]:
        """Names of the collections, sorted."""
        catalog, folders = self.chain.latest(), self._filled()
        names = {name for name, folder in catalog.folders.items() if folder in folders}
        own = {one for one in folders if usable(one) and catalog.folder_of(one) == one}
        return sorted(names | own)

    def left_behind(self) -> list[str]:
        """Folders of collections that were dropped by somebody who did not come to delete all of them."""
        # In this order: a new folder has its name before it has anything in it.
        folders, catalog = self._filled(), self.chain.latest()
        unnamed = [one for one in folders if one not in catalog.folders.values()]
        return [one for one in unnamed if not usable(one) or catalog.folder_of(one) != one]

    def _filled(self) -> list[str]:
        return [one for one in self._store.list_prefixes(self._database) if self._is_there(one)]

    def resolve(self, name: str, *, max_age_s: float = 0.0) -> str:
        """The collection that a name, which may be an alias, stands for."""
        checked_name("collection", name)
        return self.chain.latest(max_age_s=max_age_s).aliases.get(name, name)

    def located(self, name: str) -> tuple[str, str | None]:
        """The collection that a name stands for, and its folder; whether the folder holds anything is not looked at."""
        name = self.resolve(name)
        return name, self.chain.latest(max_age_s=float("inf")).folder_of(name)

    def probable(self, name: str) -> tuple[str, str]:
        """What `located` is going to say, as far as it is known without asking; the name itself where it is not."""
        catalog = self.chain.probable
        name = catalog.aliases.get(checked_name("collection", name), name)
        return name, catalog.folder_of(name) or name

    def root(self, name: str) -> str | None:
        """The prefix of a collection; None when there is none of that name."""
        folder = self.chain.latest().folder_of(checked_name("collection", name))
        return None if folder is None or not self._is_there(folder) else f"{self._database}/{folder}"

    def missing(self, name: str) -> CollectionNotFound:
        """What who asks for a collection that is not there is told."""
        found = ", ".join(self.collections())
        return CollectionNotFound(
            f"no collection {name!r} in database {self._database!r}",
            hint=f"there are: {found}" if found else f"there are none in {self._store.url}",
        )

    def new_root(self, name: str) -> str:
        """A prefix for a new collection.

        Raises:
            AlreadyExists: the name is taken, by a collection or an alias.
        """
        catalog = self.chain.latest()
        if checked_name("collection", name) in catalog.aliases:
            raise AlreadyExists(
                f"{name!r} is an alias of {catalog.aliases[name]!r} in database {self._database!r}"
            )
        if self.root(name) is not None:
            raise AlreadyExists(f"collection {name!r} exists in database {self._database!r}")
        if catalog.folder_of(name) is None:
            folder = _fresh(name)

            def placed(now: Catalog) -> Catalog:
                # Of two who create it at once both are to meet in one folder, where one is first.
                taken = now.folder_of(name) is not None
                return now if taken else replace(now, folders={**now.folders, name: folder})

            catalog = self.chain.change(placed)
        return f"{self._database}/{catalog.folder_of(name)}"

    def forget(self, name: str, root: str) -> None:
        """A collection is dropped: its aliases go, and the next one of its name gets a folder of its own.

        Otherwise a process that still holds the old one would take the new one's files for its own, and who drops it
        would delete what another makes in its place.

        Args:
            name: of the collection.
            root: its prefix.

        Raises:
            CollectionNotFound: another has dropped or renamed it meanwhile.
        """

        def alter(now: Catalog) -> Catalog:
            if f"{self._database}/{now.folder_of(name)}" != root:
                raise CollectionNotFound(f"no collection {name!r} in database {self._database!r}")
            folders = {one: folder for one, folder in now.folders.items() if one != name}
            dropped = [one for one, folder in folders.items() if folder.startswith(f"{one}-")]
            if len(dropped) > _REMEMBERED:
                for one in random.sample(dropped, 4):
                    if not self._is_there(folders[one]):
                        del folders[one]
            return replace(
                now,
                folders={**folders, name: _fresh(name)},
                aliases={alias: target for alias, target in now.aliases.items() if target != name},
            )

        self.chain.change(alter)

    def rename(self, old: str, new: str) -> None:
        """Give a collection another name; its aliases follow.

        Raises:
            CollectionNotFound: no such collection.
            AlreadyExists: the new name is taken.
        """
        checked_name("collection", new)

        def alter(now: Catalog) -> Catalog:
            folder = now.folder_of(old)
            if folder is None or not self._is_there(folder):
                raise CollectionNotFound(f"no collection {old!r} in database {self._database!r}")
            taken = now.folder_of(new)
            if new in now.aliases or (taken is not None and taken != folder and self._is_there(taken)):
                raise AlreadyExists(f"{new!r} exists in database {self._database!r}")
            folders = {one: where for one, where in now.folders.items() if one != old}
            if folder != new:
                folders[new] = folder
            aliases = {alias: new if target == old else target for alias, target in now.aliases.items()}
            return replace(now, folders=folders, aliases=aliases)

        self.chain.change(alter)

    def set_alias(self, alias: str, name: str, *, exists: bool) -> None:
        """Add an alias, or let one that exists stand for another collection.

        Raises:
            AlreadyExists: it is taken.
            AliasNotFound: it is not there to be altered.
        """
        checked_name("alias", alias)

        def alter(now: Catalog) -> Catalog:
            if exists and alias not in now.aliases:
                raise AliasNotFound(f"no alias {alias!r} in database {self._database!r}")
            folder = now.folder_of(alias)
            if not exists and (alias in now.aliases or (folder is not None and self._is_there(folder))):
                raise AlreadyExists(f"{alias!r} exists in database {self._database!r}")
            return replace(now, aliases={**now.aliases, alias: name})

        self.chain.change(alter)

    def drop_alias(self, alias: str) -> None:
        """Forget an alias.

        Raises:
            AliasNotFound: no such alias.
        """

        def alter(now: Catalog) -> Catalog:
            if alias not in now.aliases:
                raise AliasNotFound(f"no alias {alias!r} in database {self._database!r}")
            return replace(now, aliases={one: name for one, name in now.aliases.items() if one != alias})

        self.chain.change(alter)

    def _is_there(self, folder: str) -> bool:
        return next(iter(self._store.list(f"{self._database}/{folder}/manifests/")), None) is not None


def _fresh(name: str) -> str:
    """A folder that no collection has had."""
    return f"{name}-{uuid.uuid4().hex[:8]}"
