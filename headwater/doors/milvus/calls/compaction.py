"""Compaction: ask for one, and ask how far it is."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import COLLECTION_NOT_FOUND, MilvusError, invalid
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.engine.compacting import compact_in_background
from headwater.engine.segments import segment_number
from headwater.errors import JobNotFound
from headwater.lake import JobRecord, JobState

__all__: list[str] = []

_MEGABYTE = 1 << 20
_MOST_MB = ((1 << 63) - 1) // _MEGABYTE
"""Greater target sizes leave it to the server; clients send the greatest number that there is."""

_MERGE, _LEVEL_ZERO, _CLUSTERING = (
    common_pb2.CompactionType.CompactionTypeMix,
    common_pb2.CompactionType.CompactionTypeLevel0Delete,
    common_pb2.CompactionType.CompactionTypeClustering,
)
_DONE, _UNDER_WAY, _FAILED = (
    common_pb2.CompactionTaskState.CompactionTaskStateCompleted,
    common_pb2.CompactionTaskState.CompactionTaskStateExecuting,
    common_pb2.CompactionTaskState.CompactionTaskStateFailed,
)


def _collection(call: Call, name: str, number: int) -> Collection:
    if name or not number:
        return call.collection(name)
    for one in call.db.list_collections():
        found = call.db.held(one)
        if found.id == number:
            return found
    raise MilvusError(COLLECTION_NOT_FOUND, database=call.database, collection=number)


@rpc("ManualCompaction")
def manual_compaction(
    call: Call, request: milvus_pb2.ManualCompactionRequest
) -> milvus_pb2.ManualCompactionResponse:
    """Compact a collection, in the background."""
    if request.timetravel or request.channel or request.segment_ids or request.partition_id:
        raise invalid(
            "compaction takes a whole collection: timetravel, partition_id, channel and segment_ids are not supported"
        )
    if request.target_size < 0:
        raise invalid(f"invalid target_size: {request.target_size}, must be non-negative")
    size = request.target_size if request.target_size <= _MOST_MB else 0
    collection = _collection(call, request.collection_name, request.collectionID)
    if collection.external:
        raise invalid("compaction is not supported for external collection")
    full = call.backend.lake.settings.lake.target_segment_bytes // _MEGABYTE
    if 0 < size < full:
        raise invalid(f"targetSize {size} MB is less than the size of a full segment, {full} MB")
    job = compact_in_background(
        call.db,
        collection.name,
        cluster=request.majorCompaction and not request.target_size,
        deletes_only=request.l0Compaction and not request.target_size,
        target_bytes=size * _MEGABYTE if size else None,
    )
    return milvus_pb2.ManualCompactionResponse(
        status=OK, compactionID=job.id, compactionPlanCount=len(job.details["plans"])
    )


def _type(job: JobRecord) -> int:
    if job.details["cluster"]:
        return int(_CLUSTERING)
    return int(_LEVEL_ZERO if job.details["deletes_only"] else _MERGE)


def _job(call: Call, number: int) -> JobRecord | None:
    try:
        found = call.backend.lake.jobs.get(number)
    except JobNotFound:
        return None
    return found if found.kind == "compact" else None


def _state(job: JobRecord | None) -> int:
    if job is None:
        return int(common_pb2.CompactionState.UndefiedState)
    held = job.state.held
    return int(common_pb2.CompactionState.Executing if held else common_pb2.CompactionState.Completed)


def _failed(job: JobRecord, plan: dict[str, object]) -> bool:
    return bool(plan.get("given_up")) or (job.state is JobState.FAILED and not plan["targets"])


@rpc("GetCompactionState")
def get_compaction_state(
    call: Call, request: milvus_pb2.GetCompactionStateRequest
) -> milvus_pb2.GetCompactionStateResponse:
    """How far a compaction is."""
    job = _job(call, request.compactionID)
    answer = milvus_pb2.GetCompactionStateResponse(status=OK, state=_state(job))
    if job is not None:
        plans = job.details["plans"]
        answer.failedPlanNo = sum(_failed(job, plan) for plan in plans)
        if job.state.held:
            answer.executingPlanNo = len(plans)
        else:
            answer.completedPlanNo = len(plans) - answer.failedPlanNo
    return answer


@rpc("GetCompactionStateWithPlans")
def get_compaction_plans(
    call: Call, request: milvus_pb2.GetCompactionPlansRequest
) -> milvus_pb2.GetCompactionPlansResponse:
    """What a compaction merges, or all of a collection."""
    if request.compactionID:
        job = _job(call, request.compactionID)
        jobs = [] if job is None else [job]
        state = _state(job)
    else:
        collection = _collection(call, request.collection_name, request.collection_id)
        jobs = call.db.jobs.list("compact", database=call.database, collection=collection.name)
        under_way = any(job.state.held for job in jobs)
        completed = common_pb2.CompactionState.Completed
        state = common_pb2.CompactionState.Executing if under_way else completed
    answer = milvus_pb2.GetCompactionPlansResponse(status=OK, state=state)
    for job in jobs:
        answer.mergeInfos.extend(_merges(call, job))
    return answer


def _merges(call: Call, job: JobRecord) -> list[milvus_pb2.CompactionMergeInfo]:
    database = call.backend.database(job.database)
    known = database.has_collection(job.collection)
    number = database.held(job.collection).id if known else 0
    merges = []
    for place, plan in enumerate(job.details["plans"]):
        targets = [segment_number(one) for one in plan["targets"]]
        failed = _failed(job, plan)
        merges.append(
            milvus_pb2.CompactionMergeInfo(
                sources=[segment_number(one) for one in plan["sources"]],
                target=targets[0] if targets else 0,
                targets=targets,
                plan_id=job.id + place,
                trigger_id=job.id,
                collection_id=number,
                type=_type(job),
                state=_FAILED if failed else _UNDER_WAY if job.state.held else _DONE,
                failure_reason=job.reason if failed else "",
            )
        )
    return merges
