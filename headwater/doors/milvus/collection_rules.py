"""What Milvus checks of a collection's properties, in Milvus's words."""

from __future__ import annotations

import difflib
import re
import zoneinfo
from collections.abc import Callable, Iterable, Mapping

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import ILLEGAL_SCHEMA, UNSUPPORTED, MilvusError, invalid, unexpected
from headwater.doors.milvus.tier_rules import RESIDENCY_HINTS, check_evictable, check_policy
from headwater.engine.policies import POLICY_PROPERTY

__all__ = ["MAX_TTL_S", "check_names", "check_properties", "check_timezone_id"]

MAX_TTL_S = 3_155_760_000
_PLACES = ("scalarField", "scalarIndex", "vectorField", "vectorIndex")
_TRUTHS = (
    "mmap.enabled",
    "partitionkey.isolation",
    "allow_insert_auto_id",
    "dynamicfield.enabled",
    "collection.autocompaction.enabled",
    "lazyload.enabled",
)
_RATES = tuple(
    f"collection.{what}.{bound}.{unit}"
    for what, unit in (
        *(("insertRate", "mb"), ("upsertRate", "mb"), ("deleteRate", "mb"), ("bulkLoadRate", "mb")),
        *(("queryRate", "qps"), ("searchRate", "vps")),
    )
    for bound in ("max", "min")
)
_REFUSED = {
    **dict.fromkeys(_RATES, "rates are limited for a whole server, by its settings"),
    "collection.diskProtection.diskQuota.mb": "the size of a collection is not limited",
    **dict.fromkeys(
        ("namespace.enabled", "namespace.mode", "namespace.sharding.enabled"), "there are no namespaces"
    ),
}
"""Properties of Milvus's that would have no effect, and why."""

_KEPT = ("collection.resource_groups", "collection.description", "consistency_level", "ttl_field")
_FAMILIES = (
    *(
        "collection.",
        "database.",
        "mmap.",
        "lazyload.",
        "evictable.",
        "warmup.",
        "tier.",
        "partitionkey.",
        "dynamicfield.",
    ),
    *("field.", "index.", "namespace", "cipher.", "external", "headwater.", "_"),
)
_OWN = ("ttl_seconds", "clustering_key", "format")


def check_names(names: Iterable[str]) -> None:
    """Refuse properties that would have no effect: Milvus's that there are not, and slips of the pen.

    Any other name is a text that is kept with the collection.

    Args:
        names: of properties.

    Raises:
        MilvusError: 3000 or 1100, one would not.
    """
    for name in names:
        if name in _REFUSED:
            raise MilvusError(UNSUPPORTED, f"collection property {name} is not supported: {_REFUSED[name]}")
        if name in _CHECKS or name in _KEPT or name in RESIDENCY_HINTS:
            continue
        near = difflib.get_close_matches(name, (*_CHECKS, *_KEPT), n=1, cutoff=0.85)
        if near or name in _OWN or name.startswith(_FAMILIES):
            meant = f", did you mean {near[0]}?" if near else ""
            raise invalid(f"unknown collection property {name}{meant}")


def check_properties(properties: Mapping[str, str], schema: schema_pb2.CollectionSchema) -> None:
    """Check the properties that a collection is made with.

    Args:
        properties: by name.
        schema: of the collection.

    Raises:
        MilvusError: 1100, a value makes no sense.
    """
    keyed = any(field.is_partition_key for field in schema.fields)
    if properties.get("partitionkey.isolation", "").lower() == "true" and not keyed:
        raise MilvusError(
            ILLEGAL_SCHEMA,
            "partition key isolation mode is enabled but no partition key field is set. "
            "Please set the partition key first",
            collection=schema.name,
        )
    check_names(properties)
    for key, value in properties.items():
        check = _CHECKS.get(key)
        if check is not None:
            check(key, value)
        elif key in RESIDENCY_HINTS:
            all_of_them = "/".join(f"{key}.{place}" for place in _PLACES)
            raise invalid(
                f"{key} key '{key}' is only allowed at field level, use {all_of_them} at collection level"
            )
    field = properties.get("ttl_field")
    if field is not None:
        _check_ttl_field(field, schema)
        if "collection.ttl.seconds" in properties:
            raise invalid("collection TTL and ttl field cannot be set at the same time")


def _check_ttl_field(name: str, schema: schema_pb2.CollectionSchema) -> None:
    found = next((field for field in schema.fields if field.name == name), None)
    if found is None:
        raise invalid(f"ttl field name {name} not found in schema")
    if found.data_type != schema_pb2.DataType.Timestamptz:
        raise invalid(f"ttl field must be timestamptz, field name = {name}")


def _check_truth(key: str, value: str) -> None:
    if value.lower() not in ("true", "false"):
        raise invalid(f"invalid {key} property value: {value}, must be true or false")


def _check_replicas(key: str, value: str) -> None:
    if not re.fullmatch(r"\d+", value) or int(value) < 1:
        raise invalid(f"invalid {key} property value: {value}, must be a positive integer")


def _check_query_mode(key: str, value: str) -> None:
    if value != "large_topk":
        raise unexpected(f'invalid {key} value "{value}", valid values: [large_topk]')
    raise MilvusError(UNSUPPORTED, f"{key} {value} is not supported: a search finds at most 16384 rows")


def _check_warmup(key: str, value: str) -> None:
    if value not in ("sync", "async", "disable"):
        raise invalid(
            f"invalid warmup value for key {key}: invalid warmup policy {value}, must be one of sync, async, disable"
        )


def check_timezone_id(key: str, value: str) -> None:
    """Check the name of a time zone.

    Raises:
        MilvusError: 1100, there is none of that name.
    """
    if value not in zoneinfo.available_timezones():
        raise invalid(f"unknown or invalid IANA Time Zone ID: {value}")


def _check_ttl(key: str, value: str) -> None:
    if not re.fullmatch(r"-?\d+", value):
        raise invalid("collection TTL is not a valid positive integer")
    if not -1 <= int(value) <= MAX_TTL_S:
        raise invalid(f"collection TTL is out of range, expect [-1, {MAX_TTL_S}], got {value}")


_CHECKS: dict[str, Callable[[str, str], None]] = {
    **dict.fromkeys(_TRUTHS, _check_truth),
    "collection.replica.number": _check_replicas,
    "query_mode": _check_query_mode,
    **{f"warmup.{place}": _check_warmup for place in _PLACES},
    **{f"evictable.{place}": check_evictable for place in _PLACES},
    POLICY_PROPERTY: check_policy,
    "timezone": check_timezone_id,
    "collection.ttl.seconds": _check_ttl,
}
