"""What Milvus checks of a collection's properties, in Milvus's words."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping

from pymilvus.grpc_gen import schema_pb2

from headwater.doors.milvus.codes import invalid

__all__ = ["MAX_TTL_S", "check_properties"]

MAX_TTL_S = 3_155_760_000
_WARMUPS = ("warmup.vectorField", "warmup.scalarField", "warmup.vectorIndex", "warmup.scalarIndex")
_TRUTHS = (
    "mmap.enabled",
    "evictable.enabled",
    "partitionkey.isolation",
    "allow_insert_auto_id",
    "dynamicfield.enabled",
    "collection.autocompaction.enabled",
    "lazyload.enabled",
)
_NUMBERS = (
    "collection.insertRate.max.mb",
    "collection.insertRate.min.mb",
    "collection.upsertRate.max.mb",
    "collection.upsertRate.min.mb",
    "collection.deleteRate.max.mb",
    "collection.deleteRate.min.mb",
    "collection.bulkLoadRate.max.mb",
    "collection.bulkLoadRate.min.mb",
    "collection.queryRate.max.qps",
    "collection.queryRate.min.qps",
    "collection.searchRate.max.vps",
    "collection.searchRate.min.vps",
    "collection.diskProtection.diskQuota.mb",
    "collection.replica.number",
)


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
        raise invalid("partition key isolation mode is enabled but no partition key field is set")
    for key, value in properties.items():
        check = _CHECKS.get(key)
        if check is not None:
            check(key, value)
        elif key.startswith("warmup"):
            raise invalid(
                f"warmup key '{key}' is only allowed at field level, use warmup.scalarField/warmup.scalarIndex/"
                "warmup.vectorField/warmup.vectorIndex at collection level"
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


def _check_number(key: str, value: str) -> None:
    if not re.fullmatch(r"-?\d+(\.\d+)?", value):
        raise invalid(f"invalid {key} property value: {value}, must be a number")


def _check_warmup(key: str, value: str) -> None:
    if value not in ("sync", "async", "disable"):
        raise invalid(
            f"invalid warmup value for key {key}: invalid warmup policy {value}, must be one of sync, async, disable"
        )


def _check_timezone(key: str, value: str) -> None:
    if value not in zoneinfo.available_timezones():
        raise invalid(f"unknown or invalid IANA Time Zone ID: {value}")


def _check_ttl(key: str, value: str) -> None:
    if not re.fullmatch(r"-?\d+", value):
        raise invalid("collection TTL is not a valid positive integer")
    if not -1 <= int(value) <= MAX_TTL_S:
        raise invalid(f"collection TTL is out of range, expect [-1, {MAX_TTL_S}], got {value}")


_CHECKS: dict[str, Callable[[str, str], None]] = {
    **dict.fromkeys(_TRUTHS, _check_truth),
    **dict.fromkeys(_NUMBERS, _check_number),
    **dict.fromkeys(_WARMUPS, _check_warmup),
    "timezone": _check_timezone,
    "collection.ttl.seconds": _check_ttl,
}
