"""Collections: create, describe, has, list, rename, drop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.alias_rules import check_no_alias
from headwater.doors.milvus.codes import (
    ALIAS_IS_COLLECTION,
    COLLECTION_NOT_FOUND,
    UNEXPECTED,
    UNSUPPORTED,
    MilvusError,
    cannot_find,
    collection_not_found,
    invalid,
)
from headwater.doors.milvus.described import DESCRIPTION_PROPERTY, described, num_shards
from headwater.doors.milvus.external_create import create_external
from headwater.doors.milvus.external_rules import asks_external
from headwater.doors.milvus.names import check_collection_name, is_collection_name
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.doors.milvus.schema_rules import check_create
from headwater.doors.milvus.schemas import schema_from_proto
from headwater.engine.core import CONSISTENCY_PROPERTY
from headwater.engine.localtimes import with_local_defaults
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.errors import AlreadyExists, CollectionNotFound
from headwater.lake import Manifest
from headwater.lake.log import LOGICAL_BITS
from headwater.schema import Schema
from headwater.types import ConsistencyLevel

__all__: list[str] = []

DEFAULT_PARTITIONS = 16
"""Partitions that a partition key spreads rows over where the request does not say."""

_TTL = ("collection.ttl.seconds", "ttl_field")

_LEVELS = {
    common_pb2.ConsistencyLevel.Strong: ConsistencyLevel.STRONG,
    common_pb2.ConsistencyLevel.Session: ConsistencyLevel.SESSION,
    common_pb2.ConsistencyLevel.Bounded: ConsistencyLevel.BOUNDED,
    common_pb2.ConsistencyLevel.Eventually: ConsistencyLevel.EVENTUALLY,
    common_pb2.ConsistencyLevel.Customized: ConsistencyLevel.BOUNDED,
}


@rpc("CreateCollection")
def create_collection(call: Call, request: milvus_pb2.CreateCollectionRequest) -> common_pb2.Status:
    """Make a collection; one that is there already as asked is made already."""
    try:
        proto = schema_pb2.CollectionSchema.FromString(request.schema)
    except DecodeError as error:
        raise invalid(f"the schema is not a CollectionSchema message: {error}") from error
    properties = named_values(request.properties)
    if asks_external(proto):
        return create_external(call, request, proto, properties, _level(request.consistency_level).value)
    check_create(request, proto, properties)
    name, db = request.collection_name, call.db
    asked = _Asked.of(request, proto, properties)
    if name in db.list_aliases():
        raise MilvusError(
            UNEXPECTED,
            f"collection name [{name}] conflicts with an existing alias, please choose a unique name",
        )
    try:
        collection = db.create_collection(
            name,
            asked.schema,
            auto_id=asked.schema.auto_id,
            partition_key=asked.schema.partition_key,
            num_partitions=asked.schema.num_partitions or None,
            num_shards=max(request.shards_num, 0) or None,
            consistency_level=asked.level,
            properties=asked.properties,
        )
    except AlreadyExists as error:
        if asked.describes(db.collection(name).manifest):
            return OK
        raise MilvusError(
            UNEXPECTED, f"create duplicate collection with different parameters, collection: {name}"
        ) from error
    if asked.ttl_seconds is not None or asked.ttl_field is not None:
        collection.set_ttl(asked.ttl_seconds, field=asked.ttl_field)
    return OK


def _level(number: int) -> ConsistencyLevel:
    level = _LEVELS.get(number)
    if level is None:
        raise invalid(f"invalid consistency level: {number}")
    return level


@dataclass(frozen=True)
class _Asked:
    """A collection as a request asks for it."""

    schema: Schema
    properties: Mapping[str, str]
    level: ConsistencyLevel
    num_shards: int
    ttl_seconds: float | None
    ttl_field: str | None

    @classmethod
    def of(
        cls,
        request: milvus_pb2.CreateCollectionRequest,
        proto: schema_pb2.CollectionSchema,
        properties: Mapping[str, str],
    ) -> _Asked:
        kept = {key: value for key, value in properties.items() if key not in _TTL}
        if proto.description:
            kept[DESCRIPTION_PROPERTY] = proto.description
        clustered = next((field.name for field in proto.fields if field.is_clustering_key), None)
        if clustered is not None:
            kept[CLUSTERING_PROPERTY] = clustered
        seconds = float(properties.get("collection.ttl.seconds", 0))
        return cls(
            schema_from_proto(proto, request.num_partitions or DEFAULT_PARTITIONS),
            kept,
            _level(request.consistency_level),
            max(request.shards_num, 1),
            seconds if seconds > 0 else None,
            properties.get("ttl_field"),
        )

    def describes(self, manifest: Manifest) -> bool:
        """Whether a collection is as asked."""
        there, schema = manifest.schema, with_local_defaults(self.schema, manifest.properties)
        same = (
            (one.fields, one.primary_key, one.auto_id, one.partition_key, one.num_partitions, one.functions)
            for one in (there, schema)
        )
        properties = manifest.properties
        return (
            len(set(map(repr, same))) == 1
            and properties.get(CONSISTENCY_PROPERTY) == self.level.value
            and len(manifest.all_shards) == self.num_shards
            and all(properties.get(key) == value for key, value in self.properties.items())
            and properties.get(DESCRIPTION_PROPERTY, "") == self.properties.get(DESCRIPTION_PROPERTY, "")
        )


@rpc("HasCollection")
def has_collection(call: Call, request: milvus_pb2.HasCollectionRequest) -> milvus_pb2.BoolResponse:
    """Whether a collection, or an alias of one, is there."""
    check_collection_name(request.collection_name)
    return milvus_pb2.BoolResponse(status=OK, value=call.db.has_collection(request.collection_name))


@rpc("DescribeCollection")
def describe_collection(
    call: Call, request: milvus_pb2.DescribeCollectionRequest
) -> milvus_pb2.DescribeCollectionResponse:
    """What a collection is."""
    name = request.collection_name
    try:
        return described(call, call.collection(name), name)
    except MilvusError as error:
        if error.row == COLLECTION_NOT_FOUND:
            raise cannot_find(call.database, name) from error
        raise


@rpc("BatchDescribeCollection")
def batch_describe(
    call: Call, request: milvus_pb2.BatchDescribeCollectionRequest
) -> milvus_pb2.BatchDescribeCollectionResponse:
    """What several collections are."""
    if not request.collection_name:
        raise invalid("collection names cannot be empty")
    responses = [described(call, call.collection(name), name) for name in request.collection_name]
    return milvus_pb2.BatchDescribeCollectionResponse(status=OK, responses=responses)


@rpc("ShowCollections")
def show_collections(
    call: Call, request: milvus_pb2.ShowCollectionsRequest
) -> milvus_pb2.ShowCollectionsResponse:
    """The collections of a database."""
    out = milvus_pb2.ShowCollectionsResponse(status=OK)
    for name in call.db.list_collections():
        try:
            collection = call.db.held(name)
        except CollectionNotFound:
            continue
        out.collection_names.append(name)
        out.collection_ids.append(collection.id)
        out.created_timestamps.append(collection.id)
        out.created_utc_timestamps.append(collection.id >> LOGICAL_BITS)
        out.shards_num.append(num_shards(collection.manifest))
    return out


@rpc("RenameCollection")
def rename_collection(call: Call, request: milvus_pb2.RenameCollectionRequest) -> common_pb2.Status:
    """Give a collection another name."""
    old, new = request.oldName, request.newName
    check_collection_name(new)
    if request.newDBName and request.newDBName != call.database:
        raise MilvusError(
            UNSUPPORTED,
            f"collection {old} cannot be moved into database {request.newDBName}: "
            "a snapshot of it can be restored there, and the collection dropped here",
        )
    if old == new:
        raise invalid("collection name or database name should be different")
    if not is_collection_name(old):
        raise collection_not_found(call.database, old)
    with call.named(old):
        aliases = call.db.list_aliases()
        if old in aliases:
            raise invalid(f"unsupported use an alias to rename collection, alias:{old}")
        if new in aliases:
            raise MilvusError(
                ALIAS_IS_COLLECTION,
                f"cannot rename collection to an existing alias: {new}",
                database=call.database,
                alias=new,
            )
        call.db.collection(old)
        if call.db.has_collection(new):
            raise invalid(
                f"duplicated new collection name {call.database}:{new} with other collection name or alias"
            )
        call.db.rename_collection(old, new)
    return OK


@rpc("DropCollection")
def drop_collection(call: Call, request: milvus_pb2.DropCollectionRequest) -> common_pb2.Status:
    """Drop a collection that no alias stands for; one that is not there is dropped already."""
    if request.collection_name and not is_collection_name(request.collection_name):
        return OK
    check_collection_name(request.collection_name)
    check_no_alias(call, request.collection_name)
    try:
        call.db.drop_collection(request.collection_name)
    except CollectionNotFound:
        return OK
    return OK
