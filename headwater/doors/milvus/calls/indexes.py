"""Indexes: create, describe, alter, drop."""

from __future__ import annotations

import zlib

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import INDEX_NOT_FOUND, UNEXPECTED, MilvusError
from headwater.doors.milvus.index_params import declaration
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.engine import Collection
from headwater.engine.indexing import IndexProgress
from headwater.errors import FieldNotFound

__all__: list[str] = []

_FINISHED = common_pb2.IndexState.Finished
_IN_PROGRESS = common_pb2.IndexState.InProgress
_FAILED = common_pb2.IndexState.Failed


@rpc("CreateIndex", lane="long")
def create_index(call: Call, request: milvus_pb2.CreateIndexRequest) -> common_pb2.Status:
    """Declare an index; it is built in the background, and described as finished when it is."""
    collection = call.collection(request.collection_name)
    try:
        field = collection.schema.field(request.field_name)
    except FieldNotFound as error:
        raise MilvusError(
            UNEXPECTED, f"cannot create index on non-exist field: {request.field_name}"
        ) from error
    chosen = declaration(field, named_values(request.extra_params))
    name = request.index_name or None
    for known in collection.index_progress():
        if known.field == field.name and known.spec.declared == chosen.declared:
            return OK
        if known.field == field.name:
            raise MilvusError(
                UNEXPECTED, "CreateIndex failed: at most one distinct index is allowed per field"
            )
    collection.declare_index(
        field.name,
        chosen.index_type,
        metric_type=chosen.metric_type,
        params=chosen.params,
        name=name,
        declared=chosen.declared,
    )
    call.backend.building.start(collection)
    return OK


@rpc("DescribeIndex")
def describe_index(call: Call, request: milvus_pb2.DescribeIndexRequest) -> milvus_pb2.DescribeIndexResponse:
    """What the indexes are, and how far they have got."""
    collection = call.collection(request.collection_name)
    return milvus_pb2.DescribeIndexResponse(
        status=OK, index_descriptions=_descriptions(call, collection, request.index_name, request.field_name)
    )


@rpc("GetIndexStatistics")
def get_index_statistics(
    call: Call, request: milvus_pb2.GetIndexStatisticsRequest
) -> milvus_pb2.GetIndexStatisticsResponse:
    """The same, for the indexes of a name."""
    collection = call.collection(request.collection_name)
    return milvus_pb2.GetIndexStatisticsResponse(
        status=OK, index_descriptions=_descriptions(call, collection, request.index_name)
    )


@rpc("GetIndexState")
def get_index_state(call: Call, request: milvus_pb2.GetIndexStateRequest) -> milvus_pb2.GetIndexStateResponse:
    """Whether an index is finished."""
    collection = call.collection(request.collection_name)
    found = _descriptions(call, collection, request.index_name, request.field_name)
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
    found = _descriptions(call, collection, request.index_name, request.field_name)
    return milvus_pb2.GetIndexBuildProgressResponse(
        status=OK,
        indexed_rows=sum(one.indexed_rows for one in found),
        total_rows=sum(one.total_rows for one in found),
    )


@rpc("DropIndex")
def drop_index(call: Call, request: milvus_pb2.DropIndexRequest) -> common_pb2.Status:
    """Drop an index, or every index of a field; one that is not there is dropped already."""
    collection = call.collection(request.collection_name)
    if collection.load_state.anything:
        raise MilvusError(
            UNEXPECTED, "index cannot be dropped, collection is loaded, please release it first"
        )
    for known in collection.index_progress():
        if known.spec.name == request.index_name or (
            not request.index_name and known.field == request.field_name
        ):
            collection.drop_index(known.spec.name)
    return OK


_URGENCY = [_FAILED, _IN_PROGRESS, _FINISHED]


def _descriptions(
    call: Call, collection: Collection, index_name: str, field_name: str = ""
) -> list[milvus_pb2.IndexDescription]:
    found = [
        known
        for known in collection.index_progress()
        if index_name in ("", known.spec.name) and field_name in ("", known.field)
    ]
    if not found:
        raise MilvusError(INDEX_NOT_FOUND, indexName=index_name)
    failure = call.backend.building.failure(collection)
    if any(known.pending_rows for known in found) and not failure:
        call.backend.building.start(collection)
    return [_description(known, failure) for known in found]


def _description(known: IndexProgress, failure: str) -> milvus_pb2.IndexDescription:
    pending = known.pending_rows
    state = _FINISHED if not pending else _FAILED if failure else _IN_PROGRESS
    return milvus_pb2.IndexDescription(
        index_name=known.spec.name,
        indexID=index_id(known.spec.field_id, known.spec.name),
        field_name=known.field,
        params=[common_pb2.KeyValuePair(key=key, value=value) for key, value in shown_params(known).items()],
        indexed_rows=known.total_rows - pending,
        total_rows=known.total_rows,
        pending_index_rows=pending,
        state=state,
        index_state_fail_reason=failure if pending else "",
    )


def index_id(field_id: int, name: str) -> int:
    """A number for an index, the same on every server."""
    return (field_id << 32) | zlib.crc32(name.encode())


def shown_params(known: IndexProgress) -> dict[str, str]:
    """What an index is described as: what its maker asked for, or what it is where the Python door made it."""
    spec = known.spec
    if spec.declared:
        return dict(spec.declared)
    metric = {"metric_type": spec.metric} if spec.metric else {}
    return {"index_type": spec.kind.upper(), **metric, **{name: str(value) for name, value in spec.options}}
