"""What is known of long work: one record a job, in the lake, readable by every process that serves it.

A job is a chain of small numbered documents, as names and manifests are: each change is one put-if-absent of the next
number, so two processes cannot both decide how a job ended. The process that runs a job renews its record while it
works. A record that says "running" and was not renewed for `LEASE_S` belongs to a process that is gone: whoever reads
it first writes down that the job failed, so no job is under way for ever.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from headwater.errors import CommitConflict, Corrupt, JobNotFound, ObjectNotFound
from headwater.lake.clock import SYSTEM_CLOCK, Clock
from headwater.store import ObjectStore, put_if_absent

__all__ = ["JOBS_FOLDER", "LEASE_S", "RETENTION_S", "JobRecord", "JobRecords", "JobState", "new_id"]

JOBS_FOLDER = "default/_lake.jobs"
"""Records of all databases; no collection can have this name, because of the dot."""

LEASE_S = 30.0
"""A job whose record was not renewed for so long has lost its process."""

RETENTION_S = 7 * 24 * 3600.0
"""Records of jobs that ended longer ago are forgotten."""

_ATTEMPTS = 20
_HELD = 10_000
_COUNTED = threading.Lock()
_last_id = 0


class JobState(StrEnum):
    """Where a job is. `READY` is work that is done and waits for a commit; the last three are ends."""

    PENDING = "pending"
    RUNNING = "running"
    READY = "ready"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"

    @property
    def ended(self) -> bool:
        """Whether the state never changes again."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.ABORTED)

    @property
    def held(self) -> bool:
        """Whether a process must be alive for the job to go on."""
        return self in (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True)
class JobRecord:
    """One version of what is known of a job.

    Attributes:
        id: 63 bits, unique in the lake, growing with time.
        kind: what it does: `restore`, `refresh`, `import`, `compact`, `export`.
        database: of the collection that it works on.
        collection: that collection's name.
        state: where it is.
        progress: percent, 0 to 100.
        reason: why it failed.
        created_ms: when it was asked for.
        finished_ms: when it ended; 0 before.
        renewed_ms: when its process last said that it is alive.
        details: what the kind needs besides; values for JSON.
    """

    id: int
    kind: str
    database: str
    collection: str
    state: JobState = JobState.PENDING
    progress: int = 0
    reason: str = ""
    created_ms: int = 0
    finished_ms: int = 0
    renewed_ms: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)

    def moved(self, state: JobState, now_ms: int, **values: Any) -> JobRecord:
        """The record in another state."""
        finished = now_ms if state.ended else 0
        return replace(self, state=state, renewed_ms=now_ms, finished_ms=finished, **values)


def new_id() -> int:
    """A positive 63-bit number that this process never gave, that grows with time, and that no other process gives.

    Milliseconds in the upper 42 bits, and 21 random ones; numbers of one process are one apart at least.
    """
    global _last_id
    with _COUNTED:
        made = (time.time_ns() // 1_000_000) << 21 | secrets.randbits(21)
        _last_id = max(made, _last_id + 1)
        return _last_id


class JobRecords:
    """Reads and changes the records of a lake. Safe between threads and processes.

    Args:
        store: where the lake is.
        clock: the system's by default.
        on_lost: called with the record of a job whose process is gone, after it was marked as failed.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        clock: Clock = SYSTEM_CLOCK,
        on_lost: Callable[[JobRecord], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_lost = on_lost
        self._ended: dict[int, JobRecord] = {}

    def create(
        self, kind: str, database: str, collection: str, details: Mapping[str, Any] | None = None
    ) -> JobRecord:
        """Write down a job that is about to begin."""
        now = self._clock.now_ms()
        record = JobRecord(
            id=new_id(),
            kind=kind,
            database=database,
            collection=collection,
            created_ms=now,
            renewed_ms=now,
            details=dict(details or {}),
        )
        if not put_if_absent(self._store, _key(record.id, 1), _encoded(record)):
            raise CommitConflict(f"job {record.id} is there already", change="create job")
        return record

    def now_ms(self) -> int:
        """The time that records are stamped with."""
        return self._clock.now_ms()

    def get(self, job: int) -> JobRecord:
        """What is known of a job now.

        Raises:
            JobNotFound: there is none of that id, or it is forgotten.
        """
        known = self._ended.get(job)
        return known if known is not None else self._latest(job)[1]

    def list(self, kind: str | None = None) -> list[JobRecord]:
        """The jobs of a kind (all by default), oldest first."""
        newest: dict[int, int] = {}
        for meta in self._store.list(JOBS_FOLDER):
            job, number = _parsed(meta.key)
            newest[job] = max(number, newest.get(job, 0))
        found = []
        for job, number in sorted(newest.items()):
            record = self._ended.get(job) or self._read(job, number)
            if record is not None:
                record = self._checked(record, number)
                if kind in (None, record.kind):
                    found.append(record)
        return found

    def change(self, job: int, alter: Callable[[JobRecord], JobRecord | None]) -> JobRecord:
        """Commit a change of a record, on top of whatever is newest.

        Args:
            job: which.
            alter: pure; None leaves the record as it is. Called again when another process was first.

        Raises:
            JobNotFound: there is no such job.
        """
        for _ in range(_ATTEMPTS):
            number, record = self._latest(job)
            altered = alter(record)
            if altered is None:
                return record
            if put_if_absent(self._store, _key(job, number + 1), _encoded(altered)):
                return self._remember(altered)
        raise CommitConflict(f"job {job}: lost {_ATTEMPTS} races in a row", change="job")

    def move(self, job: int, state: JobState, **values: Any) -> JobRecord:
        """Put a job in another state, unless it has ended."""

        def alter(record: JobRecord) -> JobRecord | None:
            return None if record.state.ended else record.moved(state, self._clock.now_ms(), **values)

        return self.change(job, alter)

    def renew(self, job: int, **values: Any) -> JobRecord:
        """Say that a job's process is alive, and how far it is."""

        def alter(record: JobRecord) -> JobRecord | None:
            if record.state.ended:
                return None
            return replace(record, renewed_ms=self._clock.now_ms(), **values)

        return self.change(job, alter)

    def forget_old(self) -> int:
        """Delete the records of jobs that ended long ago. Returns how many."""
        before_ms = self._clock.now_ms() - int(RETENTION_S * 1000)
        gone = [record.id for record in self.list() if 0 < record.finished_ms < before_ms]
        for job in gone:
            self._store.delete([meta.key for meta in self._store.list(f"{JOBS_FOLDER}/{job:020d}")])
            self._ended.pop(job, None)
        return len(gone)

    def _latest(self, job: int) -> tuple[int, JobRecord]:
        found = [_parsed(meta.key)[1] for meta in self._store.list(f"{JOBS_FOLDER}/{job:020d}")]
        number = max(found, default=0)
        record = self._read(job, number) if number else None
        if record is None:
            raise JobNotFound(f"no job {job}", hint="records are kept for a week after a job ends")
        # A listing may lag; a number that is asked for does not.
        while (newer := self._read(job, number + 1)) is not None:
            number, record = number + 1, newer
        return number, self._checked(record, number)

    def _checked(self, record: JobRecord, number: int) -> JobRecord:
        """The record, or its end where its process is gone."""
        late = self._clock.now_ms() - record.renewed_ms > LEASE_S * 1000
        if not (record.state.held and late):
            return self._remember(record)
        reason = "the process that ran it stopped before it was done"
        failed = record.moved(JobState.FAILED, self._clock.now_ms(), reason=reason)
        if not put_if_absent(self._store, _key(record.id, number + 1), _encoded(failed)):
            return self._read(record.id, number + 1) or record
        if self._on_lost is not None:
            self._on_lost(failed)
        return self._remember(failed)

    def _remember(self, record: JobRecord) -> JobRecord:
        if record.state.ended:
            while len(self._ended) >= _HELD:
                self._ended.pop(next(iter(self._ended)), None)
            self._ended[record.id] = record
        return record

    def _read(self, job: int, number: int) -> JobRecord | None:
        key = _key(job, number)
        try:
            data = json.loads(self._store.get(key))
            data.pop("nonce")
            return JobRecord(**{**data, "state": JobState(data["state"])})
        except ObjectNotFound:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{key!r} is not a readable job record: {error}", key=key) from error


def _key(job: int, number: int) -> str:
    return f"{JOBS_FOLDER}/{job:020d}/{number:08d}.json"


def _parsed(key: str) -> tuple[int, int]:
    job, number = key.removeprefix(f"{JOBS_FOLDER}/").split("/")
    return int(job), int(number.split(".")[0])


def _encoded(record: JobRecord) -> bytes:
    # The bytes of one attempt are unlike those of every other, as `put_if_absent` needs them.
    return json.dumps({**asdict(record), "nonce": secrets.token_hex(8)}, sort_keys=True).encode()
