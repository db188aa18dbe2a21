"""How many rows there are."""

from __future__ import annotations

from collections.abc import Mapping

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.names import check_partition_name
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine.segments import filled_segments

__all__: list[str] = []


@rpc("GetCollectionStatistics")
def get_collection_statistics(
    call: Call, request: milvus_pb2.GetCollectionStatisticsRequest
) -> milvus_pb2.GetCollectionStatisticsResponse:
    """The rows of a collection, deleted ones excluded; once its schema was changed, how many segments are up to it."""
    collection = call.collection(request.collection_name)
    told = {"row_count": collection.num_rows}
    if collection.manifest.schema.version > 1:
        filled, total = filled_segments(collection)
        told |= {"schema_version_consistent_segments": filled, "schema_version_total_segments": total}
    return milvus_pb2.GetCollectionStatisticsResponse(status=OK, stats=_told(told))


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
    return milvus_pb2.GetPartitionStatisticsResponse(status=OK, stats=_told({"row_count": count}))


def _told(counts: Mapping[str, int]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in counts.items()]
