"""Indexes: create, describe, alter, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import COLLECTION_LOADED, INDEX_NOT_FOUND, MilvusError, invalid
from headwater.doors.milvus.index_params import check_hints
from headwater.doors.milvus.index_types import HINTS
from headwater.doors.milvus.indexes import (
    check_index_name,
    create,
    descriptions,
    is_vector,
    shown_field,
    shown_params,
)
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.doors.milvus.tier_rules import set_policy
from headwater.engine.policies import POLICY_PROPERTY

__all__: list[str] = []

_URGENCY = [common_pb2.IndexState.Failed, common_pb2.IndexState.InProgress, common_pb2.IndexState.Finished]


@rpc("CreateIndex", lane="long")
def create_index(call: Call, request: milvus_pb2.CreateIndexRequest) -> common_pb2.Status:
    """Declare an index; it is built in the background, and described as finished when it is."""
    collection = call.described(request.collection_name)
    if create(collection, request.field_name, request.index_name, request.extra_params):
        call.backend.building.start(collection)
    return OK


@rpc("DescribeIndex")
def describe_index(call: Call, request: milvus_pb2.DescribeIndexRequest) -> milvus_pb2.DescribeIndexResponse:
    """What the indexes are, and how far they have got."""
    collection = call.collection(request.collection_name)
    found = descriptions(call, collection, request.index_name, request.field_name)
    return milvus_pb2.DescribeIndexResponse(status=OK, index_descriptions=found)


@rpc("GetIndexStatistics")
def get_index_statistics(
    call: Call, request: milvus_pb2.GetIndexStatisticsRequest
) -> milvus_pb2.GetIndexStatisticsResponse:
    """The same, for the indexes of a name."""
    collection = call.collection(request.collection_name)
    return milvus_pb2.GetIndexStatisticsResponse(
        status=OK, index_descriptions=descriptions(call, collection, request.index_name)
    )


@rpc("GetIndexState")
def get_index_state(call: Call, request: milvus_pb2.GetIndexStateRequest) -> milvus_pb2.GetIndexStateResponse:
    """Whether an index is finished."""
    collection = call.collection(request.collection_name)
    found = descriptions(call, collection, request.index_name, request.field_name)
    worst = min(found, key=lambda one: _URGENCY.index(one.state))
    return milvus_pb2.GetIndexStateResponse(
        status=OK, state=worst.state, fail_reason=worst.index_state_fail_reason
    )


@rpc("GetIndexBuildProgress")
def get_index_build_progress(
    call: Call, request: milvus_pb2.GetIndexBuildProgressRequest
) -> milvus_pb2.GetIndexBuildProgressResponse:
    """How many rows have an index."""
    collection = call.collection(request.collection_name)
    found = descriptions(call, collection, request.index_name, request.field_name)
    return milvus_pb2.GetIndexBuildProgressResponse(
        status=OK,
        indexed_rows=sum(one.indexed_rows for one in found),
        total_rows=sum(one.total_rows for one in found),
    )


@rpc("AlterIndex")
def alter_index(call: Call, request: milvus_pb2.AlterIndexRequest) -> common_pb2.Status:
    """Say where an index is to be, and when it comes there, or take it back; all else of an index is for ever."""
    given = named_values(request.extra_params)
    for name in (*given, *request.delete_keys):
        if name not in HINTS:
            raise invalid(f"{name} is not a configable index property")
    if given and request.delete_keys:
        raise invalid("cannot provide both DeleteKeys and ExtraParams")
    collection = call.collection(request.collection_name)
    if not request.index_name:
        raise invalid("index name is empty")
    check_index_name(request.index_name)
    hints = {key: value for key, value in given.items() if key != POLICY_PROPERTY}
    forgotten = [key for key in request.delete_keys if key != POLICY_PROPERTY]
    if (hints or forgotten) and collection.load_state.anything:
        raise MilvusError(
            COLLECTION_LOADED,
            "can't alter index on loaded collection, please release the collection first",
            collection=request.collection_name,
        )
    found = [one for one in collection.index_progress() if one.spec.name == request.index_name]
    if not found:
        raise MilvusError(INDEX_NOT_FOUND, indexName=request.index_name)
    declared = {**shown_params(found[0]), **found[0].spec.declared}
    check_hints(declared.get("index_type", ""), given)
    if hints or forgotten:
        kept = {key: value for key, value in declared.items() if key not in forgotten}
        collection.describe_index_as(request.index_name, {**kept, **hints})
    set_policy(collection, given, list(request.delete_keys), index=request.index_name)
    return OK


@rpc("DropIndex")
def drop_index(call: Call, request: milvus_pb2.DropIndexRequest) -> common_pb2.Status:
    """Drop an index, or that of a field; one that is not there is dropped already."""
    collection = call.collection(request.collection_name)
    found = [
        one
        for one in collection.index_progress()
        if (request.index_name or one.spec.name) == one.spec.name
        and (request.field_name or shown_field(one)) in (shown_field(one), one.spec.name)
    ]
    if len(found) > 1:
        raise invalid("there are multiple indexes, please specify the index_name")
    schema = collection.schema
    if any(is_vector(schema, one.field) for one in found) and collection.load_state.anything:
        raise invalid(
            f"vector index cannot be dropped on loaded collection: {collection.id}, "
            "index cannot be dropped, collection is loaded, please release it first"
        )
    for one in found:
        collection.drop_index(one.spec.name)
    return OK
