"""A database's names: aliases, and collections whose folder has another name.

A chain of small numbered documents. A collection that was never renamed needs no entry, so a database without aliases
has no catalog at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from headwater.lake.chain import Chain
from headwater.store import ObjectStore
from headwater.tiers import Notes

__all__ = ["CATALOG_FOLDER", "Catalog", "catalog_chain"]

CATALOG_FOLDER = "_catalog"


@dataclass(frozen=True)
class Catalog:
    """The names of a database.

    Attributes:
        aliases: alias to collection.
        folders: collection to folder, where they differ.
        properties: of the database, free text.
        created_ms: when it was made, milliseconds since 1970; 0 where nobody knows.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    created_ms: int = 0

    def folder_of(self, name: str) -> str | None:
        """The folder of a collection; None where the folder of that name belongs to another one."""
        if name in self.folders:
            return self.folders[name]
        return None if name in self.folders.values() else name


def catalog_chain(store: ObjectStore, database: str, notes: Notes | None = None) -> Chain[Catalog]:
    """Reads and changes the names of one database.

    Args:
        store: where the lake is.
        database: the database's name.
        notes: where the newest names are noted for processes to come; None for nowhere.
    """
    folder = f"{database}/{CATALOG_FOLDER}"
    return Chain(store, folder, empty=Catalog(), encode=asdict, decode=_decoded, notes=notes)


def _decoded(data: Mapping[str, Any]) -> Catalog:
    return Catalog(
        dict(data["aliases"]),
        dict(data["folders"]),
        dict(data.get("properties", {})),
        int(data.get("created_ms", 0)),
    )
