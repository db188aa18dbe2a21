"""What may be searched: checks that ask no store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headwater.doors.milvus.codes import (
    COLLECTION_NOT_LOADED,
    PARTITION_NOT_FOUND,
    PARTITION_NOT_LOADED,
    MilvusError,
)
from headwater.engine import Collection
from headwater.engine.core import DEFAULT_PARTITION

__all__ = ["check_loaded", "partition_not_found"]


def check_loaded(collection: Collection, name: str, partitions: Sequence[str] = ()) -> None:
    """Refuse to search what is not loaded; asks nobody, so it may be as old as what this process knows.

    Args:
        collection: to be searched.
        name: as the client calls it.
        partitions: names; all that are loaded by default.

    Raises:
        MilvusError: 101, 200 or 201.
    """
    load, ids = collection.known_load
    if not load.anything:
        raise MilvusError(COLLECTION_NOT_LOADED, collection=name)
    for partition in partitions:
        number = 0 if partition == DEFAULT_PARTITION else ids.get(partition)
        if number is None:
            raise partition_not_found(collection, [partition])
        if not load.has(number):
            raise MilvusError(PARTITION_NOT_LOADED, partition=partition)


def partition_not_found(collection: Collection, names: Iterable[str]) -> MilvusError:
    """The words by which clients know that a partition is missing."""
    known = collection.partition_ids
    missing = next((name for name in names if name not in known), "")
    return MilvusError(PARTITION_NOT_FOUND, partition=missing)
