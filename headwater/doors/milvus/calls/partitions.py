"""Partitions: create, has, list, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import UNEXPECTED, MilvusError
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine.core import DEFAULT_PARTITION
from headwater.errors import PartitionNotFound

__all__: list[str] = []


@rpc("CreatePartition")
def create_partition(call: Call, request: milvus_pb2.CreatePartitionRequest) -> common_pb2.Status:
    """Add a partition; one that is there is added already."""
    collection = call.collection(request.collection_name)
    if request.partition_name not in collection.partition_ids:
        collection.create_partition(request.partition_name)
    return OK


@rpc("HasPartition")
def has_partition(call: Call, request: milvus_pb2.HasPartitionRequest) -> milvus_pb2.BoolResponse:
    """Whether a partition is there."""
    ids = call.collection(request.collection_name).partition_ids
    return milvus_pb2.BoolResponse(status=OK, value=request.partition_name in ids)


@rpc("ShowPartitions")
def show_partitions(
    call: Call, request: milvus_pb2.ShowPartitionsRequest
) -> milvus_pb2.ShowPartitionsResponse:
    """The partitions of a collection."""
    collection = call.collection(request.collection_name)
    ids, load = collection.partition_ids, collection.load_state
    names = list(request.partition_names) or list(ids)
    missing = [name for name in names if name not in ids]
    if missing:
        raise partition_not_found(collection, missing)
    return milvus_pb2.ShowPartitionsResponse(
        status=OK,
        partition_names=names,
        partitionIDs=[ids[name] for name in names],
        created_timestamps=[0] * len(names),
        created_utc_timestamps=[0] * len(names),
        inMemory_percentages=[100 if load.has(ids[name]) else 0 for name in names],
    )


@rpc("DropPartition")
def drop_partition(call: Call, request: milvus_pb2.DropPartitionRequest) -> common_pb2.Status:
    """Drop a partition with its rows; it must be released, and one that is not there is dropped already."""
    collection = call.collection(request.collection_name)
    name = request.partition_name
    if name == DEFAULT_PARTITION:
        raise MilvusError(UNEXPECTED, "default partition cannot be deleted")
    number = collection.partition_ids.get(name)
    if number is None:
        return OK
    if collection.load_state.has(number):
        raise MilvusError(
            UNEXPECTED, "partition cannot be dropped, partition is loaded, please release it first"
        )
    try:
        collection.drop_partition(name)
    except PartitionNotFound:
        return OK
    return OK
