"""What may be searched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater.doors.milvus.codes import (
    COLLECTION_NOT_LOADED,
    PARTITION_NOT_FOUND,
    PARTITION_NOT_LOADED,
    MilvusError,
    invalid,
    unexpected,
)
from headwater.engine import Collection, CollectionAt
from headwater.engine.core import DEFAULT_PARTITION
from headwater.engine.loading import Load
from headwater.schema import DYNAMIC_FIELD

__all__ = ["check_loaded", "kept_names", "loaded_names", "narrow", "partition_not_found"]


def check_loaded(collection: Collection, name: str, partitions: Sequence[str], task: str) -> None:
    """Refuse to search what is not loaded.

    Asks no store as long as what this process knows is loaded; a load that another process made is looked for before
    anything is refused.

    Args:
        collection: to be searched.
        name: as the client calls it.
        partitions: names; none for all that are loaded.
        task: what for: `search` or `query`.

    Raises:
        MilvusError: 101 or 201; 65535, nothing is loaded and a partition is not there.
    """
    if _missing(*collection.known_load, partitions) is None:
        return
    ids = collection.partition_ids
    missing = _missing(collection.load_state, ids, partitions)
    if missing == "":
        _check_partitions(ids, partitions)
        raise MilvusError(COLLECTION_NOT_LOADED, f"failed to {task}", collection=name)
    if missing is not None:
        raise MilvusError(PARTITION_NOT_LOADED, f"failed to {task}", partition=missing)


def _check_partitions(ids: Mapping[str, int], partitions: Sequence[str]) -> None:
    for partition in partitions:
        if partition != DEFAULT_PARTITION and partition not in ids:
            raise unexpected(f"partition name {partition} not found")


def _missing(load: Load, ids: Mapping[str, int], partitions: Sequence[str]) -> str | None:
    """The first partition that is not loaded; empty for the collection, None where all is."""
    if not load.anything:
        return ""
    for partition in partitions:
        number = 0 if partition == DEFAULT_PARTITION else ids.get(partition)
        if number is not None and not load.has(number):
            return partition
    return None


def narrow(collection: Collection, name: str, request: Any, task: str = "search") -> None:
    """Check that what a request reads is loaded, and let one that names no partition read those that are.

    Args:
        collection: which.
        name: as the client calls it.
        request: with `partition_names`, which is filled in where only some partitions are loaded.
        task: what it is: `search` or `query`.

    Raises:
        MilvusError: 101, 201; 65535, a partition key says where rows are.
    """
    if request.partition_names and collection.spread_by_key:
        raise unexpected("not support manually specifying the partition names if partition key mode is used")
    check_loaded(collection, name, request.partition_names, task)
    known, _ = collection.known_load
    if request.partition_names or (known.whole and not known.others):
        return
    # Only some partitions were loaded; more of them may have been since, through another server.
    load, every = collection.load_state, collection.partition_ids
    loaded = [one for one, number in every.items() if load.has(number)]
    if len(loaded) < len(every):
        request.partition_names.extend(loaded)


def loaded_names(collection: Collection, names: Sequence[str], asked: Iterable[str]) -> list[str]:
    """Fields that may be read: what ``*`` stood for is cut down to what is loaded.

    Args:
        collection: which.
        names: fields to read.
        asked: what the client asked for.

    Raises:
        MilvusError: 65535, a field that is asked for by name is not loaded.
    """
    options = collection.known_load[0].options
    if options.fields is None and options.dynamic:
        return list(names)
    loaded, by_name = [], set(asked)
    for name in names:
        known = options.dynamic if name == DYNAMIC_FIELD else options.fields is None or name in options.fields
        if known:
            loaded.append(name)
        elif name in by_name or "*" not in by_name:
            raise unexpected(f"field {name} is not loaded")
    return loaded


def kept_names(
    collection: Collection, state: CollectionAt, names: Sequence[str], asked: Iterable[str]
) -> list[str]:
    """Fields of a state that an iterator goes on in: those that were dropped since are not told.

    Args:
        collection: which, as it is now.
        state: of it, which may be older.
        names: fields to read, of the state.
        asked: what the client asked for.

    Raises:
        MilvusError: 1100, a field that is asked for by name was dropped.
    """
    then, now = state.schema, collection.schema
    if then.version == now.version:
        return list(names)
    there, by_name = {field.id for field in now.fields}, set(asked)
    dropped = {field.name for field in then.fields if field.id not in there}
    for name in names:
        if name in dropped and name in by_name:
            raise invalid(f"field {name} not exist")
    return [name for name in names if name not in dropped]


def partition_not_found(collection: Collection, names: Iterable[str]) -> MilvusError:
    """The words by which clients know that a partition is missing."""
    known = collection.partition_ids
    missing = next((name for name in names if name not in known), "")
    return MilvusError(PARTITION_NOT_FOUND, partition=missing)
