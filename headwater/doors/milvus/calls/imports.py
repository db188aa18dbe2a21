"""Bulk import: start one, and ask how far it is."""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import IMPORT_FAILED, MilvusError, invalid
from headwater.doors.milvus.external_blocks import refuse_external
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.errors import InvalidArgument, JobNotFound, PartitionNotFound
from headwater.lake import JobRecord, JobState

__all__: list[str] = []

_STATES = {
    JobState.PENDING: common_pb2.ImportState.ImportPending,
    JobState.RUNNING: common_pb2.ImportState.ImportStarted,
    JobState.READY: common_pb2.ImportState.ImportPersisted,
    JobState.COMPLETED: common_pb2.ImportState.ImportCompleted,
    JobState.FAILED: common_pb2.ImportState.ImportFailed,
    JobState.ABORTED: common_pb2.ImportState.ImportFailedAndCleaned,
}
_UNSUPPORTED = ("backup", "l0_import", "bucket", "start_ts", "end_ts", "skip_disk_quota_check")


@rpc("Import")
def start_import(call: Call, request: milvus_pb2.ImportRequest) -> milvus_pb2.ImportResponse:
    """Import files, in the background: numpy files are the columns of one table, others are tables by themselves."""
    name = request.collection_name
    collection = call.collection(name)
    refuse_external(collection, "import", name)
    options = named_values(request.options)
    for option in _UNSUPPORTED:
        if options.pop(option, "").lower() not in ("", "false"):
            raise invalid(f"import option {option} is not supported")
    columns = bool(request.files) and all(path.endswith(".npy") for path in request.files)
    groups = [list(request.files)] if columns else [[path] for path in request.files]
    try:
        job = call.db.imports.start(name, groups, partition=request.partition_name or None, options=options)
    except PartitionNotFound as error:
        raise partition_not_found(collection, [request.partition_name]) from error
    except InvalidArgument as error:
        raise MilvusError(IMPORT_FAILED, error.message) from error
    return milvus_pb2.ImportResponse(status=OK, tasks=[job.id])


@rpc("GetImportState")
def get_import_state(
    call: Call, request: milvus_pb2.GetImportStateRequest
) -> milvus_pb2.GetImportStateResponse:
    """How far an import is."""
    try:
        job = call.backend.lake.jobs.get(request.task)
    except JobNotFound as error:
        raise _missing(request.task) from error
    if job.kind != "import":
        raise _missing(request.task)
    return _told(call, job)


def _missing(task: int) -> MilvusError:
    return MilvusError(IMPORT_FAILED, f"import job does not exist, jobID={task}")


@rpc("ListImportTasks")
def list_import_tasks(
    call: Call, request: milvus_pb2.ListImportTasksRequest
) -> milvus_pb2.ListImportTasksResponse:
    """The imports into a collection, or into all of a database; newest first."""
    if request.limit < 0:
        raise invalid(f"limit must be non-negative, got {request.limit}")
    goal = call.collection(request.collection_name).name if request.collection_name else None
    jobs = call.db.jobs.list("import", database=call.database, collection=goal)
    chosen = jobs[: request.limit] if request.limit else jobs
    return milvus_pb2.ListImportTasksResponse(status=OK, tasks=[_told(call, job) for job in chosen])


def _told(call: Call, job: JobRecord) -> milvus_pb2.GetImportStateResponse:
    details = job.details
    infos = {
        "files": ",".join(path for group in details["files"] for path in group),
        "collection": job.collection,
        "partition": details["partition"],
        "progress_percent": str(job.progress),
        "failed_reason": job.reason,
    }
    database = call.backend.database(job.database)
    known = database.has_collection(job.collection)
    ids = [details["first_key"], details["last_key"] + 1] if "first_key" in details else []
    return milvus_pb2.GetImportStateResponse(
        status=OK,
        state=_STATES[job.state],
        row_count=details["rows"],
        id_list=ids,
        infos=[common_pb2.KeyValuePair(key=key, value=value) for key, value in infos.items()],
        id=job.id,
        collection_id=database.held(job.collection).id if known else 0,
        create_ts=job.created_ms // 1000,
    )
