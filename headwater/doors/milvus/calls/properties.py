"""Properties of a collection that is there, and emptying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import INDEX_DUPLICATE, MilvusError, collection_not_found, invalid
from headwater.doors.milvus.collection_rules import check_names, check_properties
from headwater.doors.milvus.described import DESCRIPTION_PROPERTY
from headwater.doors.milvus.evolve_rules import check_released
from headwater.doors.milvus.names import is_collection_name
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.doors.milvus.schemas import schema_to_proto
from headwater.doors.milvus.tier_rules import RESIDENCY_HINTS
from headwater.engine import Collection
from headwater.query import ISOLATION_PROPERTY, TTL_FIELD_PROPERTY, TTL_PROPERTY

__all__: list[str] = []

_DYNAMIC = "dynamicfield.enabled"
_TTL, _TTL_FIELD = "collection.ttl.seconds", "ttl_field"
_MMAP = ("mmap.enabled", "lazyload.enabled")
_EXTERNAL = ("external_source", "external_spec", "collection.external_source", "collection.external_spec")
_NAMESPACE = ("namespace.mode", "namespace.enabled", "namespace.sharding.enabled")


@rpc("AlterCollection", lane="long")
def alter_collection(call: Call, request: milvus_pb2.AlterCollectionRequest) -> common_pb2.Status:
    """Set properties, or forget some."""
    name = request.collection_name
    if not name:
        raise invalid("alter collection failed, collection name does not exists")
    given, dropped = named_values(request.properties), list(request.delete_keys)
    if given and dropped:
        raise invalid("cannot provide both DeleteKeys and ExtraParams")
    if not given and not dropped:
        raise invalid("no properties or delete keys provided")
    _check_fixed(given, dropped)
    if not is_collection_name(name):
        raise collection_not_found(call.database, name)
    collection = call.collection(name)
    if _DYNAMIC in given:
        _set_dynamic(collection, given)
    elif given:
        _set(collection, name, given)
    else:
        _forget(collection, name, dropped)
    return OK


def _check_fixed(given: Mapping[str, str], dropped: Sequence[str]) -> None:
    """What only making a collection, or refreshing it, can set."""
    for key in given:
        if key in _EXTERNAL:
            raise invalid(
                f"cannot alter {key} via alter_collection_properties; use RefreshExternalCollection instead"
            )
        if key in _NAMESPACE:
            raise invalid(
                f"cannot alter {key} via alter_collection_properties; "
                "namespace mode is immutable after collection creation"
            )
    for key in dropped:
        if key in _EXTERNAL:
            raise invalid(
                f"cannot delete {key}; external source/spec are immutable post-create except via "
                "RefreshExternalCollection"
            )
        if key == _DYNAMIC:
            raise invalid(f"cannot delete key {key}, dynamic field schema could support set to true/false")


def _set_dynamic(collection: Collection, given: Mapping[str, str]) -> None:
    if len(given) != 1:
        raise invalid("cannot alter dynamic schema with other properties at the same time")
    value = given[_DYNAMIC].lower()
    if value not in ("true", "false"):
        raise invalid(f"invalid dynamic schema property value: {given[_DYNAMIC]}")
    if collection.manifest.source is not None and value == "true":
        raise invalid("external collection does not support dynamic field")
    collection.set_dynamic(value == "true")


def _set(collection: Collection, name: str, given: Mapping[str, str]) -> None:
    check_names(given)
    if any(key in given for key in _MMAP):
        check_released(collection, name, "can not alter mmap properties if collection loaded")
    for hint in RESIDENCY_HINTS:
        if any(key.startswith(hint) for key in given):
            check_released(collection, name, f"can not alter {hint} properties if collection loaded")
    schema, there = collection.schema, collection.manifest.properties
    if given.get("allow_insert_auto_id", "").lower() == "true" and not schema.auto_id:
        raise invalid("the value for allow_insert_auto_id must be false when autoID is false")
    check_properties(given, schema_to_proto(schema, name))
    if _TTL in given and TTL_FIELD_PROPERTY in there:
        raise invalid("ttl field is already exists, cannot be set collection TTL")
    if _TTL_FIELD in given and TTL_PROPERTY in there:
        raise invalid("collection TTL is already set, cannot be set ttl field")
    if ISOLATION_PROPERTY in given:
        _check_isolation(collection, given[ISOLATION_PROPERTY].lower() == "true")
    others: dict[str, str | None] = {
        key: value for key, value in given.items() if key not in (_TTL, _TTL_FIELD)
    }
    if _TTL in given:
        seconds = int(given[_TTL])
        collection.set_ttl(seconds if seconds > 0 else None)
        others[_TTL] = None if seconds > 0 else given[_TTL]
    if _TTL_FIELD in given:
        collection.set_ttl(field=given[_TTL_FIELD])
    if others:
        collection.set_properties(others)


def _forget(collection: Collection, name: str, dropped: Sequence[str]) -> None:
    for key in dropped:
        if key in _MMAP:
            check_released(collection, name, "can not delete mmap properties if collection loaded")
        if key.startswith(RESIDENCY_HINTS):
            check_released(collection, name, f"can not delete {key} properties if collection loaded")
    if ISOLATION_PROPERTY in dropped:
        _check_isolation(collection, False)
    there = collection.manifest.properties
    if (_TTL in dropped and TTL_PROPERTY in there) or (_TTL_FIELD in dropped and TTL_FIELD_PROPERTY in there):
        collection.set_ttl()
    # A description that was given as a property is the collection's own, and no property to forget.
    others: dict[str, str | None] = {
        key: None for key in dropped if key not in (_TTL_FIELD, DESCRIPTION_PROPERTY)
    }
    check_names(others)
    collection.set_properties(others)


def _check_isolation(collection: Collection, wanted: bool) -> None:
    """How keys are kept apart is settled before vectors are indexed."""
    if (collection.properties.get(ISOLATION_PROPERTY, "").lower() == "true") == wanted:
        return
    for known in collection.index_progress():
        if known.spec.metric:
            raise MilvusError(
                INDEX_DUPLICATE,
                "can not alter partition key isolation mode if the collection already has a vector index. "
                "Please drop the index first",
                indexName=known.field,
            )


@rpc("TruncateCollection", lane="long")
def truncate_collection(
    call: Call, request: milvus_pb2.TruncateCollectionRequest
) -> milvus_pb2.TruncateCollectionResponse:
    """Delete every row."""
    collection = call.collection(request.collection_name)
    if collection.manifest.source is not None:
        raise invalid(
            "truncate is not supported on external collections; use RefreshExternalCollection to refresh the data "
            "view, or DropCollection to remove it"
        )
    collection.truncate()
    return milvus_pb2.TruncateCollectionResponse(status=OK)
