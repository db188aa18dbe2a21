"""Long work that a caller does not wait for: run here, and known to every process that serves the lake.

The process that accepts a job runs it, on a thread, and renews its record while it works. `Jobs` is what a user sees of
it: any process may ask how far a job of any other is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from headwater.errors import HeadwaterError, JobNotFound, Timeout, Unavailable
from headwater.lake import JobRecord, JobRecords, JobState
from headwater.store import ObjectStore

__all__ = ["Job", "Jobs"]

_LOGGER = logging.getLogger("headwater.jobs")

_THREADS = 4
_RENEW_S = 8.0
_REPORT_S = 0.5
_FORGET_S = 3600.0
_CLOSED = "this connection is closed, and starts no more jobs"


class Job:
    """A job at work: what its function gets, to say how far it is.

    Attributes:
        record: as it was when the work began.

    Args:
        jobs: the jobs of the lake.
        record: its record.
    """

    def __init__(self, jobs: Jobs, record: JobRecord) -> None:
        self.record = record
        self._jobs = jobs
        self._reported_s = time.monotonic()
        self._progress = 0

    @property
    def id(self) -> int:
        """Its id."""
        return self.record.id

    def report(self, done: int, total: int) -> None:
        """Say how far the work is; the record follows twice a second at most.

        Raises:
            Unavailable: this process is closing, or somebody ended the job; stop the work.
        """
        self._jobs.check(self.id)
        self._progress = min(99, 100 * done // max(total, 1))
        if time.monotonic() - self._reported_s > _REPORT_S:
            self._reported_s = time.monotonic()
            self.confirm()

    def confirm(self) -> None:
        """Make sure that the job still counts, right before what it has made is to be seen.

        A process that was stopped for a while is taken for gone, and its job has failed: somebody may do it again, or
        have removed what it had made. Nobody takes a job for gone that was confirmed a moment ago.

        Raises:
            Unavailable: this process is closing, or the job has ended; stop the work.
        """
        self._jobs.check(self.id)
        self._jobs.confirm(self.id, progress=self._progress)


Work = Callable[[Job], Mapping[str, Any] | JobState | None]
"""What a job does: returns details to add to the record, `JobState.READY` where it waits for a commit, or nothing."""


class Jobs:
    """The jobs of a lake.

    Args:
        store: where the lake is.
        on_lost: called with the record of a job whose process is gone.
    """

    def __init__(self, store: ObjectStore, on_lost: Callable[[JobRecord], None] | None = None) -> None:
        self.records = JobRecords(store, on_lost=on_lost)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._mine: set[int] = set()
        self._stopping = threading.Event()
        self._renewing = False
        self._forgot_s = time.monotonic()

    @property
    def running(self) -> int:
        """How many jobs this process runs."""
        return len(self._mine)

    def get(self, job: int) -> JobRecord:
        """What is known of a job: its state, how far it is, and why it failed.

        Raises:
            JobNotFound: there is none of that id, or it ended more than a week ago.
        """
        return self.records.get(job)

    def list(
        self, kind: str | None = None, *, database: str | None = None, collection: str | None = None
    ) -> list[JobRecord]:
        """The jobs of the lake, newest first.

        Args:
            kind: `restore`, `refresh`, `import`, `compact`, `export`; all by default.
            database: only those on collections of it.
            collection: only those on this one.
        """
        found = self.records.list(kind)
        return [
            one
            for one in reversed(found)
            if database in (None, one.database) and collection in (None, one.collection)
        ]

    def wait(self, job: int, timeout_s: float = 600.0) -> JobRecord:
        """Wait for a job's end, whichever process runs it, or until it waits for a commit.

        Raises:
            Timeout: it has not ended by then.
        """
        deadline, pause = time.monotonic() + timeout_s, 0.01
        while (record := self.get(job)).state.held:
            if time.monotonic() > deadline:
                raise Timeout(f"job {job} is {record.state} at {record.progress} % after {timeout_s} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        return record

    def start(
        self,
        kind: str,
        database: str,
        collection: str,
        work: Work,
        details: Mapping[str, Any] | None = None,
    ) -> JobRecord:
        """Write a job down, and run it on a thread of this process.

        Args:
            kind: what it does.
            database: of the collection.
            collection: what it works on.
            work: the function; its exceptions become the job's reason.
            details: kept in the record.
        """
        if self._stopping.is_set():
            raise Unavailable(_CLOSED)
        record = self.records.create(kind, database, collection, details)
        if not self._submitted(record, work):
            self._failed(record, _CLOSED)
            raise Unavailable(_CLOSED)
        self._forget_sometimes()
        return record

    def _forget_sometimes(self) -> None:
        """Delete old records, once an hour at most."""
        now = time.monotonic()
        if now - self._forgot_s > _FORGET_S:
            self._forgot_s = now
            self.records.forget_old()

    def _submitted(self, record: JobRecord, work: Work) -> bool:
        """Have a thread run a job; false where this process is closing."""
        with self._lock:
            if self._stopping.is_set():
                return False
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "headwater-job")
            self._start_renewing()
            self._mine.add(record.id)
            self._pool.submit(self._run, record, work)
            return True

    @contextmanager
    def holding(self, job: int) -> Iterator[None]:
        """Renew a job's record while a caller of this thread works on it."""
        with self._lock:
            self._start_renewing()
            self._mine.add(job)
        try:
            yield
        finally:
            self._mine.discard(job)

    def check(self, job: int) -> None:
        """Whether the work on a job may go on.

        Raises:
            Unavailable: this process is closing.
        """
        if self._stopping.is_set():
            raise Unavailable(f"job {job} was stopped: the process that ran it is closing")

    def confirm(self, job: int, **values: Any) -> None:
        """Renew the record of a job, which still counts.

        Raises:
            Unavailable: it has ended, as far as everybody knows.
        """
        record = self.records.renew(job, **values)
        if record.state.ended:
            raise Unavailable(f"job {job} has ended as {record.state} meanwhile: {record.reason}")

    def close(self) -> None:
        """Stop what runs here; its records say so."""
        with self._lock:
            self._stopping.set()
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=True)

    def _run(self, record: JobRecord, work: Work) -> None:
        job = record.id
        try:
            self.check(job)
            self.records.move(job, JobState.RUNNING)
            done = work(Job(self, record))
            if done is JobState.READY:
                self.records.move(job, JobState.READY, progress=100)
                return
            details = {**record.details, **(done if isinstance(done, Mapping) else {})}
            self.records.move(job, JobState.COMPLETED, progress=100, details=details)
        except HeadwaterError as error:
            self._failed(record, error.message)
        except Exception as error:
            _LOGGER.exception("job %s (%s) failed", job, record.kind)
            self._failed(record, f"{type(error).__name__}: {error}")
        finally:
            self._mine.discard(job)

    def _failed(self, record: JobRecord, reason: str) -> None:
        _LOGGER.warning("job %s (%s of %s) failed: %s", record.id, record.kind, record.collection, reason)
        try:
            self.records.move(record.id, JobState.FAILED, reason=reason)
        except HeadwaterError:
            # The store is away; the record's lease runs out, and says the rest.
            _LOGGER.exception("job %s: its end could not be written down", record.id)

    def _start_renewing(self) -> None:
        if not self._renewing:
            self._renewing = True
            threading.Thread(target=self._renew, name="headwater-job-lease", daemon=True).start()

    def _renew(self) -> None:
        while not self._stopping.wait(_RENEW_S):
            for job in list(self._mine):
                try:
                    self.records.renew(job)
                except (HeadwaterError, JobNotFound):
                    _LOGGER.warning("job %s: its record could not be renewed", job, exc_info=True)
