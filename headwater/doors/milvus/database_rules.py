"""Properties of databases: which there are, and what they forbid."""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from headwater.doors.milvus.codes import COLLECTION_LIMIT, QUOTA_REACHED, MilvusError, invalid
from headwater.doors.milvus.collection_rules import check_timezone_id
from headwater.doors.milvus.rpc import Call

__all__ = ["check_allowed", "checked_properties"]

_DENY = "database.force.deny."
_WRITING, _READING = f"{_DENY}writing", f"{_DENY}reading"
_DDL, _COLLECTIONS, _PARTITIONS = f"{_DENY}ddl", f"{_DENY}collectionDDL", f"{_DENY}partitionDDL"
_INDEXES, _FLUSH, _COMPACTION = f"{_DENY}index", f"{_DENY}flush", f"{_DENY}compaction"
_MAX_COLLECTIONS, _DISK_QUOTA = "database.max.collections", "database.diskQuota.mb"

_FLAGS = (_WRITING, _READING, _DDL, _COLLECTIONS, _PARTITIONS, _INDEXES, _FLUSH, _COMPACTION)
_COUNTS = ("database.replica.number", _MAX_COLLECTIONS, _DISK_QUOTA)

_KNOWN = (*_FLAGS, *_COUNTS, "database.resource_groups")
_MISSPELT = 0.95
"""Names that are so like one that there is are taken for a misspelling of it: one letter is wrong."""

_FORBIDDEN_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Insert", "Upsert", "Delete", "Import"), (_WRITING,)),
    **dict.fromkeys(("Search", "HybridSearch", "Query"), (_READING,)),
    **dict.fromkeys(
        (
            *("CreateCollection", "DropCollection", "LoadCollection", "ReleaseCollection"),
            *("AlterCollection", "AlterCollectionField", "AddCollectionField", "AlterCollectionSchema"),
            *("RenameCollection", "TruncateCollection"),
        ),
        (_DDL, _COLLECTIONS),
    ),
    **dict.fromkeys(
        ("CreatePartition", "DropPartition", "LoadPartitions", "ReleasePartitions"), (_DDL, _PARTITIONS)
    ),
    **dict.fromkeys(("CreateIndex", "AlterIndex", "DropIndex"), (_DDL, _INDEXES)),
    "Flush": (_DDL, _FLUSH),
    "ManualCompaction": (_DDL, _COMPACTION),
}
"""The properties that forbid a call while they are true."""

_MEASURED_S = 10.0
_MOST_MEASURED = 4096
_measured: dict[tuple[str, str], tuple[float, int]] = {}


def checked_properties(given: Mapping[str, str]) -> dict[str, str]:
    """Properties as they may be set; names that nothing here goes by are the users' own.

    Raises:
        MilvusError: 1100, a name or a value is none.
    """
    for name, value in given.items():
        if not name.strip():
            raise invalid("the name of a database property must not be empty")
        if name.startswith("cipher."):
            raise invalid(f"database property {name} is not supported: files are not encrypted")
        near = difflib.get_close_matches(name, _KNOWN, n=1, cutoff=_MISSPELT)
        if near and name not in _KNOWN:
            raise invalid(f"unknown database property {name}, did you mean {near[0]}?")
        if name == "timezone":
            check_timezone_id(name, value)
        if name in _FLAGS and value.lower() not in ("true", "false"):
            raise invalid(f"invalid {name} value: {value}, expected: true, false")
        if name in _COUNTS and not (value.isdecimal() and int(value) > 0):
            raise invalid(f"invalid {name} value: {value}, expected a positive integer")
    return dict(given)


def check_allowed(call: Call, name: str, request: Message) -> None:
    """Refuse what the database's properties forbid.

    Raises:
        MilvusError: 9, it is forbidden, or there is no room; 102, there are as many collections as there may be.
    """
    forbidding = _FORBIDDEN_BY.get(name)
    if forbidding is None:
        return
    try:
        properties = call.backend.database(call.database).known_properties()
    except Exception:  # noqa: BLE001 (the call itself tells what is wrong with the database, in its own words)
        return
    if not properties:
        return
    for one in forbidding:
        if properties.get(one, "").lower() == "true":
            raise MilvusError(
                QUOTA_REACHED, reason=f"access has been disabled by the administrator, {one} is true"
            )
    if name == "CreateCollection" and _MAX_COLLECTIONS in properties:
        _check_count(call, request, int(properties[_MAX_COLLECTIONS]))
    if name in ("Insert", "Upsert", "Import") and _DISK_QUOTA in properties:
        _check_room(call, int(properties[_DISK_QUOTA]))


def _check_count(call: Call, request: Any, most: int) -> None:
    known = call.db.list_collections()
    if len(known) >= most and request.collection_name not in known:
        raise MilvusError(COLLECTION_LIMIT, dbName=call.database, limit=most)


def _check_room(call: Call, most_mb: int) -> None:
    place = call.backend.lake.url, call.database
    at, size = _measured.get(place, (float("-inf"), 0))
    if time.monotonic() - at > _MEASURED_S:
        size = call.db.size_bytes()
        if len(_measured) >= _MOST_MEASURED:
            _measured.clear()
        _measured[place] = time.monotonic(), size
    if size > most_mb << 20:
        raise MilvusError(
            QUOTA_REACHED, reason=f"disk quota exceeded, database {call.database} may hold {most_mb} MB"
        )
