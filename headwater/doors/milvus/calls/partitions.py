"""Partitions: create, has, list, drop."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import unexpected
from headwater.doors.milvus.external_blocks import refuse_external
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.names import check_partition_name
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.engine.core import DEFAULT_PARTITION
from headwater.errors import AlreadyExists, PartitionNotFound
from headwater.lake.log import LOGICAL_BITS

__all__: list[str] = []

_MOST_PARTITIONS = 1024


@rpc("CreatePartition")
def create_partition(call: Call, request: milvus_pb2.CreatePartitionRequest) -> common_pb2.Status:
    """Add a partition; one that is there is added already."""
    collection = call.collection(request.collection_name)
    refuse_external(collection, "create partition", request.collection_name)
    _refuse_key(collection, "create partition")
    check_partition_name(request.partition_name)
    known = collection.partition_ids
    name = request.partition_name.strip()
    if name in known:
        return OK
    if len(known) >= _MOST_PARTITIONS:
        raise unexpected(
            f"partition number ({len(known)}) exceeds max configuration ({_MOST_PARTITIONS}), "
            f"collection: {request.collection_name}"
        )
    try:
        collection.create_partition(name)
    except AlreadyExists:
        return OK
    return OK


@rpc("HasPartition")
def has_partition(call: Call, request: milvus_pb2.HasPartitionRequest) -> milvus_pb2.BoolResponse:
    """Whether a partition is there; a name that none can have is refused before the collection is looked for."""
    check_partition_name(request.partition_name)
    ids = call.collection(request.collection_name).partition_ids
    return milvus_pb2.BoolResponse(status=OK, value=request.partition_name in ids)


@rpc("ShowPartitions")
def show_partitions(
    call: Call, request: milvus_pb2.ShowPartitionsRequest
) -> milvus_pb2.ShowPartitionsResponse:
    """The partitions of a collection, or those of them that are loaded."""
    collection = call.collection(request.collection_name)
    ids, load = collection.partition_ids, collection.load_state
    missing = [name for name in request.partition_names if name not in ids]
    if missing:
        raise partition_not_found(collection, missing)
    names = list(request.partition_names) or list(ids)
    if request.type == milvus_pb2.ShowType.InMemory:
        names = [name for name in names if load.has(ids[name])]
    created = collection.id
    return milvus_pb2.ShowPartitionsResponse(
        status=OK,
        partition_names=names,
        partitionIDs=[ids[name] for name in names],
        created_timestamps=[created] * len(names),
        created_utc_timestamps=[created >> LOGICAL_BITS] * len(names),
        inMemory_percentages=[100 if load.has(ids[name]) else 0 for name in names],
    )


@rpc("DropPartition")
def drop_partition(call: Call, request: milvus_pb2.DropPartitionRequest) -> common_pb2.Status:
    """Drop a partition with its rows; it must be released, and one that is not there is dropped already."""
    collection = call.collection(request.collection_name)
    refuse_external(collection, "drop partition", request.collection_name)
    _refuse_key(collection, "drop partition")
    name = request.partition_name
    check_partition_name(name)
    if name == DEFAULT_PARTITION:
        raise unexpected("default partition cannot be deleted")
    number = collection.partition_ids.get(name)
    if number is None:
        return OK
    if collection.load_state.has(number):
        raise unexpected("partition cannot be dropped, partition is loaded, please release it first")
    try:
        collection.drop_partition(name)
    except PartitionNotFound:
        return OK
    return OK


def _refuse_key(collection: Collection, operation: str) -> None:
    if collection.spread_by_key:
        raise unexpected(f"disable {operation} if partition key mode is used")
