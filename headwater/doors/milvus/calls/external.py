"""External collections: refresh them, and ask how far a refresh is."""

from __future__ import annotations

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.external_rules import check_source
from headwater.doors.milvus.job_messages import job_of
from headwater.doors.milvus.rpc import OK, Call, rpc
from headwater.engine import Collection
from headwater.errors import AlreadyExists
from headwater.lake import JobRecord, JobState

__all__: list[str] = []

State = milvus_pb2.RefreshExternalCollectionState
_STATES = {
    JobState.PENDING: State.RefreshPending,
    JobState.RUNNING: State.RefreshInProgress,
    JobState.READY: State.RefreshInProgress,
    JobState.COMPLETED: State.RefreshCompleted,
    JobState.FAILED: State.RefreshFailed,
    JobState.ABORTED: State.RefreshFailed,
}


@rpc("RefreshExternalCollection")
def refresh_external_collection(
    call: Call, request: milvus_pb2.RefreshExternalCollectionRequest
) -> milvus_pb2.RefreshExternalCollectionResponse:
    """Bring an external collection up to its source, or to another one, in the background."""
    name = request.collection_name
    _external(call, name)
    source, spec = request.external_source, request.external_spec
    if bool(source) != bool(spec):
        raise invalid("external_source and external_spec must be both provided or both omitted")
    if source:
        check_source(source, spec)
    try:
        job = call.db.external.refresh(name, source or None, spec or None)
    except AlreadyExists as error:
        raise invalid(error.message) from error
    return milvus_pb2.RefreshExternalCollectionResponse(status=OK, job_id=job.id)


@rpc("GetRefreshExternalCollectionProgress")
def get_refresh_progress(
    call: Call, request: milvus_pb2.GetRefreshExternalCollectionProgressRequest
) -> milvus_pb2.GetRefreshExternalCollectionProgressResponse:
    """How far a refresh is."""
    job = job_of(call, request.job_id, "refresh")
    return milvus_pb2.GetRefreshExternalCollectionProgressResponse(status=OK, job_info=_told(job))


@rpc("ListRefreshExternalCollectionJobs")
def list_refresh_jobs(
    call: Call, request: milvus_pb2.ListRefreshExternalCollectionJobsRequest
) -> milvus_pb2.ListRefreshExternalCollectionJobsResponse:
    """The refreshes of a collection, or of all of a database; newest first."""
    goal = _external(call, request.collection_name).name if request.collection_name else None
    jobs = call.db.jobs.list("refresh", database=call.database, collection=goal)
    return milvus_pb2.ListRefreshExternalCollectionJobsResponse(status=OK, jobs=[_told(job) for job in jobs])


def _external(call: Call, name: str) -> Collection:
    collection = call.collection(name)
    if not collection.external:
        raise invalid(f"collection {name} is not an external collection")
    return collection


def _told(job: JobRecord) -> milvus_pb2.RefreshExternalCollectionJobInfo:
    return milvus_pb2.RefreshExternalCollectionJobInfo(
        job_id=job.id,
        collection_name=job.collection,
        state=_STATES[job.state],
        progress=job.progress,
        reason=job.reason,
        external_source=job.details["source"],
        external_spec=job.details["spec"],
        start_time=job.created_ms,
        end_time=job.finished_ms,
    )
