"""Segments: which there are, what is loaded, what is indexed."""

from __future__ import annotations

import json
from dataclasses import replace

from pymilvus.grpc_gen import common_pb2, feder_pb2, milvus_pb2

from headwater.doors.milvus.codes import INDEX_NOT_FOUND, MilvusError
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.engine.segments import SegmentInfo, list_segments, list_segments_ever, segment_number
from headwater.lake import IndexBuild

__all__ = ["NODE_ID"]

NODE_ID = 1
"""The one node that clients are told of, whichever process answers."""

_STORAGE_VERSION = 3
_State = common_pb2.SegmentState
_LEVEL = common_pb2.SegmentLevel.L1


def _state(segment: SegmentInfo) -> int:
    if segment.dropped:
        return int(_State.Dropped)
    return int(_State.Growing if segment.growing else _State.Flushed)


@rpc("GetPersistentSegmentInfo")
def get_persistent_segments(
    call: Call, request: milvus_pb2.GetPersistentSegmentInfoRequest
) -> milvus_pb2.GetPersistentSegmentInfoResponse:
    """The segments in the store; growing and dropped ones, and what was made of those, where they are asked for."""
    collection = _collection(call, request.dbName, request.collectionName)
    wanted = set(request.states) or {int(_State.Sealed), int(_State.Flushed), int(_State.Flushing)}
    found = list_segments_ever(collection) if int(_State.Dropped) in wanted else list_segments(collection)
    return milvus_pb2.GetPersistentSegmentInfoResponse(
        status=OK,
        infos=[
            milvus_pb2.PersistentSegmentInfo(
                segmentID=one.number,
                collectionID=collection.id,
                partitionID=one.partition,
                num_rows=one.num_rows,
                state=_state(one),
                level=_LEVEL,
                is_sorted=not one.growing,  # Nothing waits to be sorted.
                storage_version=_STORAGE_VERSION,
                insert_channel=f"{collection.id}v0",
                compaction_from=one.sources,
            )
            for one in found
            if _state(one) in wanted
        ],
    )


@rpc("GetQuerySegmentInfo")
def get_query_segments(
    call: Call, request: milvus_pb2.GetQuerySegmentInfoRequest
) -> milvus_pb2.GetQuerySegmentInfoResponse:
    """The segments of what is loaded; not the growing ones, which no node has loaded from the store."""
    collection = _collection(call, request.dbName, request.collectionName)
    load = collection.load_state
    infos = []
    for one in list_segments(collection):
        if one.growing or not load.has(one.partition):
            continue
        infos.append(
            milvus_pb2.QuerySegmentInfo(
                segmentID=one.number,
                collectionID=collection.id,
                partitionID=one.partition,
                num_rows=one.num_rows,
                mem_size=one.size_bytes,
                index_name=one.indexes[0] if one.indexes else "",
                indexID=segment_number(one.indexes[0]) if one.indexes else 0,
                nodeID=NODE_ID,
                nodeIds=[NODE_ID],
                state=_State.Sealed,
                level=_LEVEL,
                storage_version=_STORAGE_VERSION,
            )
        )
    return milvus_pb2.GetQuerySegmentInfoResponse(status=OK, infos=infos)


def _collection(call: Call, database: str, name: str) -> Collection:
    return (replace(call, database=database) if database else call).collection(name)


def _builds(collection: Collection, name: str) -> list[IndexBuild]:
    manifest = collection.manifest
    if all(spec.name != name for spec in manifest.indexes):
        raise MilvusError(INDEX_NOT_FOUND, index=name)
    return [build for build in manifest.builds if build.index == name]


@rpc("ListIndexedSegment")
def list_indexed_segments(
    call: Call, request: feder_pb2.ListIndexedSegmentRequest
) -> feder_pb2.ListIndexedSegmentResponse:
    """The segments that an index covers."""
    builds = _builds(call.collection(request.collection_name), request.index_name)
    return feder_pb2.ListIndexedSegmentResponse(
        status=OK, segmentIDs=[segment_number(build.segment) for build in builds]
    )


@rpc("DescribeSegmentIndexData")
def describe_segment_index(
    call: Call, request: feder_pb2.DescribeSegmentIndexDataRequest
) -> feder_pb2.DescribeSegmentIndexDataResponse:
    """Where the artifacts of an index are, as JSON."""
    collection = call.collection(request.collection_name)
    builds = _builds(collection, request.index_name)
    spec = next(one for one in collection.manifest.indexes if one.name == request.index_name)
    told = {"index_type": spec.kind, "metric_type": spec.metric, **dict(spec.options)}
    answer = feder_pb2.DescribeSegmentIndexDataResponse(
        status=OK,
        index_params=[
            common_pb2.KeyValuePair(key=name, value=str(value)) for name, value in told.items() if value
        ],
    )
    wanted = set(request.segmentsIDs)
    for build in builds:
        number = segment_number(build.segment)
        if not wanted or number in wanted:
            data = {"file": build.file.key, "size_bytes": build.file.size_bytes, "num_rows": build.num_rows}
            answer.index_data[number].CopyFrom(
                feder_pb2.SegmentIndexData(segmentID=number, index_data=json.dumps(data))
            )
    return answer
