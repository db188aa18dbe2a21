"""Bulk import: start one, and ask how far it is.

The protocol has no calls that settle an import which waits for its commit, nor groups of files. Both are options of
`Import`: `commit` or `abort` with the number of the job, and `file_groups` with how many files each group has.
"""

from __future__ import annotations

import re
from itertools import islice

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from headwater.doors.milvus.codes import IMPORT_FAILED, MilvusError, invalid
from headwater.doors.milvus.external_blocks import refuse_external
from headwater.doors.milvus.loads import partition_not_found
from headwater.doors.milvus.rpc import OK, Call, named_values, rpc
from headwater.engine import Collection
from headwater.errors import Conflict, InvalidArgument, JobNotFound, PartitionNotFound
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
_UNSUPPORTED = ("backup", "l0_import", "bucket", "start_ts", "end_ts")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "\N{MICRO SIGN}s": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(rf"(\d+\.?\d*|\.\d+)({'|'.join(_UNITS_S)})")


@rpc("Import")
def start_import(call: Call, request: milvus_pb2.ImportRequest) -> milvus_pb2.ImportResponse:
    """Import files, in the background: numpy files are the columns of one table, others are tables by themselves."""
    name = request.collection_name
    collection = call.collection(name)
    refuse_external(collection, "import", name)
    options = named_values(request.options)
    for verb in ("commit", "abort"):
        if verb in options:
            return _settled(call, collection, verb, options)
    auto_commit = options.pop("auto_commit", "true").lower() != "false"
    timeout_s = _seconds(options.pop("timeout", ""))
    options.pop("skip_disk_quota_check", None)
    for option in _UNSUPPORTED:
        if options.pop(option, "").lower() not in ("", "false"):
            raise invalid(f"import option {option} is not supported")
    groups = _groups(list(request.files), options.pop("file_groups", ""))
    try:
        job = call.db.imports.start(
            name,
            groups,
            partition=request.partition_name or None,
            options=options,
            auto_commit=auto_commit,
            timeout_s=timeout_s,
        )
    except PartitionNotFound as error:
        raise partition_not_found(collection, [request.partition_name]) from error
    except InvalidArgument as error:
        raise MilvusError(IMPORT_FAILED, error.message) from error
    return milvus_pb2.ImportResponse(status=OK, tasks=[job.id])


def _seconds(told: str) -> float | None:
    """A duration as Go writes it, such as `5m` or `1h30m`; None for none.

    Raises:
        MilvusError: 1100, it is none.
    """
    if not told:
        return None
    if not re.fullmatch(f"(?:{_PART.pattern})+", told):
        raise invalid(f"parse timeout failed, invalid duration: {told[:100]}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(told))


def _groups(files: list[str], told: str) -> list[list[str]]:
    """Files that are read as one table each: numpy files together, others by themselves, if nothing else is told."""
    if not told:
        columns = bool(files) and all(path.endswith(".npy") for path in files)
        return [files] if columns else [[path] for path in files]
    sizes = [int(size) if size.isascii() and size.isdecimal() else 0 for size in told.split(",")]
    if sum(sizes) != len(files) or 0 in sizes:
        raise invalid(f"import option file_groups {told[:100]!r}: expected numbers whose sum is {len(files)}")
    rest = iter(files)
    return [list(islice(rest, size)) for size in sizes]


def _settled(
    call: Call, collection: Collection, verb: str, options: dict[str, str]
) -> milvus_pb2.ImportResponse:
    """Commit or abort an import into the collection that waits for it."""
    told = options.pop(verb)
    if options:
        raise invalid(f"import option {verb} stands alone, got {', '.join(options)} beside it")
    task = int(told) if told.isascii() and told.isdecimal() else 0
    try:
        job = call.backend.lake.jobs.get(task)
        here = (job.kind, job.database, job.details.get("root")) == ("import", call.database, collection.root)
        if not here:
            raise _missing(task)
        settle = call.db.imports.commit if verb == "commit" else call.db.imports.abort
        settle(task)
    except JobNotFound as error:
        raise _missing(task) from error
    except Conflict as error:
        raise MilvusError(IMPORT_FAILED, error.message) from error
    return milvus_pb2.ImportResponse(status=OK, tasks=[task])


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
    return MilvusError(IMPORT_FAILED, f"import job does not exist, jobID={task}, not found")


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
    imports = call.backend.database(job.database).imports
    job, goal, details = imports.looked_at(job), imports.goal(job), job.details
    infos = {
        "files": ",".join(path for group in details["files"] for path in group),
        "file_groups": ",".join(str(len(group)) for group in details["files"]),
        "file_rows": ",".join(str(rows) for rows in details.get("group_rows", ())),
        "file_bytes": ",".join(str(length) for length in details.get("group_bytes", ())),
        "collection": job.collection if goal is None else goal.name,
        "partition": details["partition"],
        "progress_percent": str(job.progress),
        "failed_reason": job.reason,
        "complete_time": str(job.finished_ms // 1000),
    }
    ids = [details["first_key"], details["last_key"] + 1] if "first_key" in details else []
    return milvus_pb2.GetImportStateResponse(
        status=OK,
        state=_STATES[job.state],
        row_count=details["rows"],
        id_list=ids,
        infos=[common_pb2.KeyValuePair(key=key, value=value) for key, value in infos.items()],
        id=job.id,
        collection_id=0 if goal is None else goal.id,
        create_ts=job.created_ms // 1000,
    )
