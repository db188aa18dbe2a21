"""How many rows there are."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.names import check_partition_name
from headwater.doors.milvus.rpc import OK, Call, rpc

__all__: list[str] = []


@rpc("GetCollectionStatistics")
def get_collection_statistics(
    call: Call, request: milvus_pb2.GetCollectionStatisticsRequest
) -> milvus_pb2.GetCollectionStatisticsResponse:
    """The rows of a collection, deleted ones excluded."""
    count = call.collection(request.collection_name).num_rows
    return milvus_pb2.GetCollectionStatisticsResponse(status=OK, stats=_rows(count))


@rpc("GetPartitionStatistics")
def get_partition_statistics(
    call: Call, request: milvus_pb2.GetPartitionStatisticsRequest
) -> milvus_pb2.GetPartitionStatisticsResponse:
    """The rows of a partition, deleted ones excluded."""
    collection, name = call.collection(request.collection_name), request.partition_name
    check_partition_name(name)
    if name not in collection.partition_ids:
        raise partition_not_found(collection, [name])
    count = collection.count(partitions=[name])
    return milvus_pb2.GetPartitionStatisticsResponse(status=OK, stats=_rows(count))


def _rows(count: int) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key="row_count", value=str(count))]
