"""Collections: has, list, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.errors import CollectionNotFound

__all__: list[str] = []


@rpc("HasCollection")
def has_collection(call: Call, request: milvus_pb2.HasCollectionRequest) -> milvus_pb2.BoolResponse:
    """Whether a collection, or an alias of one, is there."""
    return milvus_pb2.BoolResponse(status=OK, value=call.db.has_collection(request.collection_name))


@rpc("ShowCollections")
def show_collections(
    call: Call, request: milvus_pb2.ShowCollectionsRequest
) -> milvus_pb2.ShowCollectionsResponse:
    """The collections of a database."""
    return milvus_pb2.ShowCollectionsResponse(status=OK, collection_names=call.db.list_collections())


@rpc("DropCollection")
def drop_collection(call: Call, request: milvus_pb2.DropCollectionRequest) -> common_pb2.Status:
    """Drop a collection; one that is not there is dropped already."""
    try:
        call.db.drop_collection(request.collection_name)
    except CollectionNotFound:
        return OK
    return OK
