"""The long work of a server that the protocol can be asked about: restores."""

from __future__ import annotations

import time

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.remote.raised import unsupported
from headwater.doors.remote.wire import Wire
from headwater.errors import Timeout
from headwater.lake.job_records import JobRecord, JobState

__all__ = ["RemoteJobs"]

_POLL_S = 0.05
_RESTORE = "restore"
_States = milvus_pb2.RestoreSnapshotState
_STATES = {
    _States.RestoreSnapshotPending: JobState.PENDING,
    _States.RestoreSnapshotExecuting: JobState.RUNNING,
    _States.RestoreSnapshotCompleted: JobState.COMPLETED,
    _States.RestoreSnapshotFailed: JobState.FAILED,
}


class RemoteJobs:
    """See `headwater.engine.background.Jobs`.

    Args:
        wire: to the server.
        database: that is asked about.
    """

    def __init__(self, wire: Wire, database: str) -> None:
        self._wire = wire
        self._database = database

    def get(self, job: int) -> JobRecord:
        """What is known of a restore.

        Raises:
            JobNotFound: there is none of that id.
        """
        request = milvus_pb2.GetRestoreSnapshotStateRequest(job_id=job)
        return _record(self._wire.call("GetRestoreSnapshotState", request, self._database).info)

    def list(
        self, kind: str | None = None, *, database: str | None = None, collection: str | None = None
    ) -> list[JobRecord]:
        """Restores, newest first; of other kinds of jobs the protocol has no words.

        Args:
            kind: `restore`.
            database: of their collections.
            collection: that they make.
        """
        if kind not in (None, _RESTORE):
            raise unsupported(f"jobs of kind {kind!r}")
        request = milvus_pb2.ListRestoreSnapshotJobsRequest(
            db_name=database or "", collection_name=collection or ""
        )
        found = self._wire.call("ListRestoreSnapshotJobs", request, self._database).jobs
        return sorted(map(_record, found), key=lambda record: -record.id)

    def wait(self, job: int, timeout_s: float = 600.0) -> JobRecord:
        """Wait for a restore's end.

        Raises:
            Timeout: it has not ended by then.
        """
        deadline = time.monotonic() + timeout_s
        while not (record := self.get(job)).state.ended:
            if time.monotonic() > deadline:
                raise Timeout(f"job {job} has not ended within {timeout_s:g} s")
            time.sleep(_POLL_S)
        return record


def _record(info: milvus_pb2.RestoreSnapshotInfo) -> JobRecord:
    return JobRecord(
        id=info.job_id,
        kind=_RESTORE,
        database=info.db_name,
        collection=info.collection_name,
        state=_STATES.get(info.state, JobState.PENDING),
        progress=info.progress,
        reason=info.reason,
        created_ms=info.start_time,
        finished_ms=info.start_time + info.time_cost
        if _STATES.get(info.state, JobState.PENDING).ended
        else 0,
        details={"snapshot": info.snapshot_name},
    )
