"""Loading and releasing collections and partitions."""

from __future__ import annotations

from collections.abc import Sequence

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import (
    INDEX_NOT_FOUND,
    UNEXPECTED,
    MilvusError,
)
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.engine.loading import LoadOptions
from headwater.errors import PartitionNotFound

__all__: list[str] = []

_NOT_LOADED = common_pb2.LoadState.LoadStateNotLoad
_LOADED = common_pb2.LoadState.LoadStateLoaded


@rpc("LoadCollection")
def load_collection(call: Call, request: milvus_pb2.LoadCollectionRequest) -> common_pb2.Status:
    """Let a collection be searched."""
    collection = call.collection(request.collection_name)
    _check_indexes(collection, request.collection_name)
    collection.load(None, _options(request))
    return OK


@rpc("LoadPartitions")
def load_partitions(call: Call, request: milvus_pb2.LoadPartitionsRequest) -> common_pb2.Status:
    """Let some partitions be searched."""
    collection = call.collection(request.collection_name)
    _check_indexes(collection, request.collection_name)
    try:
        collection.load(list(request.partition_names), _options(request))
    except PartitionNotFound as error:
        raise partition_not_found(collection, request.partition_names) from error
    return OK


@rpc("ReleaseCollection")
def release_collection(call: Call, request: milvus_pb2.ReleaseCollectionRequest) -> common_pb2.Status:
    """Let a collection be searched no more; one that is not loaded is released already."""
    call.collection(request.collection_name).release()
    return OK


@rpc("ReleasePartitions")
def release_partitions(call: Call, request: milvus_pb2.ReleasePartitionsRequest) -> common_pb2.Status:
    """Let some partitions be searched no more."""
    collection = call.collection(request.collection_name)
    try:
        collection.release(list(request.partition_names))
    except PartitionNotFound as error:
        raise partition_not_found(collection, request.partition_names) from error
    return OK


@rpc("GetLoadState")
def get_load_state(call: Call, request: milvus_pb2.GetLoadStateRequest) -> milvus_pb2.GetLoadStateResponse:
    """Whether a collection, or each of some partitions, may be searched."""
    collection = call.collection(request.collection_name)
    loaded = _is_loaded(collection, request.partition_names)
    return milvus_pb2.GetLoadStateResponse(status=OK, state=_LOADED if loaded else _NOT_LOADED)


@rpc("GetLoadingProgress")
def get_loading_progress(
    call: Call, request: milvus_pb2.GetLoadingProgressRequest
) -> milvus_pb2.GetLoadingProgressResponse:
    """How far loading has got, in percent."""
    collection = call.collection(request.collection_name)
    progress = 100 if _is_loaded(collection, request.partition_names) else 0
    return milvus_pb2.GetLoadingProgressResponse(status=OK, progress=progress, refresh_progress=progress)


def _is_loaded(collection: Collection, partitions: Sequence[str]) -> bool:
    load, ids = collection.load_state, collection.partition_ids
    missing = [name for name in partitions if name not in ids]
    if missing:
        raise partition_not_found(collection, missing)
    if not partitions:
        return load.anything
    return all(load.has(ids[name]) for name in partitions)


def _options(request: milvus_pb2.LoadCollectionRequest | milvus_pb2.LoadPartitionsRequest) -> LoadOptions:
    return LoadOptions(
        fields=tuple(request.load_fields) or None,
        dynamic=not request.skip_load_dynamic_field,
        replicas=max(1, request.replica_number),
        resource_groups=tuple(request.resource_groups),
        priority=request.load_params.get("load_priority", ""),
    )


def _check_indexes(collection: Collection, name: str) -> None:
    indexed = {known.field for known in collection.index_progress()}
    schema = collection.schema
    if not indexed:
        raise MilvusError(INDEX_NOT_FOUND, collection=name)
    vectors = [field.name for field in schema.fields if field.type.data_type.value.endswith("_vector")]
    without = [one for one in vectors if one not in indexed]
    if without:
        raise MilvusError(
            UNEXPECTED,
            f"there is no vector index on field: [{' '.join(without)}], please create index firstly",
        )
