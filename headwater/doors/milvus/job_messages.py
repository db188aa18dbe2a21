"""Jobs in the messages of the protocol."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.rpc import Call
from headwater.errors import JobNotFound
from headwater.lake import JobRecord, JobState

__all__ = ["export_info", "job_of", "restore_info", "times"]

_STEPS = {
    JobState.PENDING: 1,
    JobState.RUNNING: 2,
    JobState.READY: 2,
    JobState.COMPLETED: 3,
    JobState.FAILED: 4,
    JobState.ABORTED: 4,
}
"""States of restores and exports in the protocol's numbers."""


def job_of(call: Call, job: int, kind: str) -> JobRecord:
    """A job of a kind.

    Raises:
        MilvusError: 1100, no such job.
    """
    try:
        found = call.backend.lake.jobs.get(job)
    except JobNotFound as error:
        raise _missing(job, kind) from error
    if found.kind != kind:
        raise _missing(job, kind)
    return found


def _missing(job: int, kind: str) -> Exception:
    return invalid(f"{kind} job {job} not found")


def times(job: JobRecord) -> tuple[int, int]:
    """When a job was asked for, and how long it took or takes; in milliseconds."""
    return job.created_ms, max(0, (job.finished_ms or job.renewed_ms) - job.created_ms)


def _common(job: JobRecord) -> dict[str, Any]:
    """What is told of restores and exports alike."""
    start, cost = times(job)
    return {
        "job_id": job.id,
        "snapshot_name": job.details["snapshot"],
        "db_name": job.database,
        "collection_name": job.collection,
        "state": _STEPS[job.state],
        "progress": job.progress,
        "reason": job.reason,
        "start_time": start,
        "time_cost": cost,
    }


def restore_info(job: JobRecord) -> milvus_pb2.RestoreSnapshotInfo:
    """A restore."""
    return milvus_pb2.RestoreSnapshotInfo(**_common(job))


def export_info(job: JobRecord) -> milvus_pb2.ExportSnapshotInfo:
    """An export."""
    files = job.details.get("files", 0)
    return milvus_pb2.ExportSnapshotInfo(
        **_common(job),
        total_files=files,
        copied_files=files,
        total_bytes=job.details.get("size_bytes", 0),
        snapshot_metadata_uri=job.details["location"],
    )
