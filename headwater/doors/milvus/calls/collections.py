"""Collections: create, describe, has, list, rename, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.described import DESCRIPTION_PROPERTY, described
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.doors.milvus.schemas import schema_from_proto
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.errors import CollectionNotFound
from headwater.lake.log import LOGICAL_BITS
from headwater.types import ConsistencyLevel

__all__: list[str] = []

_LEVELS = {
    common_pb2.ConsistencyLevel.Strong: ConsistencyLevel.STRONG,
    common_pb2.ConsistencyLevel.Session: ConsistencyLevel.SESSION,
    common_pb2.ConsistencyLevel.Bounded: ConsistencyLevel.BOUNDED,
    common_pb2.ConsistencyLevel.Eventually: ConsistencyLevel.EVENTUALLY,
    common_pb2.ConsistencyLevel.Customized: ConsistencyLevel.BOUNDED,
}


@rpc("CreateCollection")
def create_collection(call: Call, request: milvus_pb2.CreateCollectionRequest) -> common_pb2.Status:
    """Make a collection."""
    proto = schema_pb2.CollectionSchema.FromString(request.schema)
    spread = any(field.is_partition_key for field in proto.fields)
    schema = schema_from_proto(proto, request.num_partitions or 16)
    properties = named_values(request.properties)
    if proto.description:
        properties[DESCRIPTION_PROPERTY] = proto.description
    clustered = next((field.name for field in proto.fields if field.is_clustering_key), None)
    if clustered is not None:
        properties[CLUSTERING_PROPERTY] = clustered
    ttl, ttl_field = properties.pop("collection.ttl.seconds", None), properties.pop("ttl_field", None)
    collection = call.db.create_collection(
        request.collection_name,
        schema,
        auto_id=schema.auto_id,
        partition_key=schema.partition_key,
        num_partitions=(request.num_partitions or 16) if spread else None,
        num_shards=request.shards_num or None,
        consistency_level=_LEVELS[request.consistency_level],
        properties=properties,
    )
    if (ttl is not None and float(ttl) > 0) or ttl_field is not None:
        collection.set_ttl(None if ttl is None else float(ttl), field=ttl_field)
    return OK


@rpc("HasCollection")
def has_collection(call: Call, request: milvus_pb2.HasCollectionRequest) -> milvus_pb2.BoolResponse:
    """Whether a collection, or an alias of one, is there."""
    return milvus_pb2.BoolResponse(status=OK, value=call.db.has_collection(request.collection_name))


@rpc("DescribeCollection")
def describe_collection(
    call: Call, request: milvus_pb2.DescribeCollectionRequest
) -> milvus_pb2.DescribeCollectionResponse:
    """What a collection is."""
    return described(call, call.collection(request.collection_name), request.collection_name)


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
        out.shards_num.append(1)
    return out


@rpc("RenameCollection")
def rename_collection(call: Call, request: milvus_pb2.RenameCollectionRequest) -> common_pb2.Status:
    """Give a collection another name."""
    with call.named(request.oldName):
        call.db.rename_collection(request.oldName, request.newName)
    return OK


@rpc("DropCollection")
def drop_collection(call: Call, request: milvus_pb2.DropCollectionRequest) -> common_pb2.Status:
    """Drop a collection; one that is not there is dropped already."""
    try:
        call.db.drop_collection(request.collection_name)
    except CollectionNotFound:
        return OK
    return OK
