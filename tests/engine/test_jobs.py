"""Long work: its records, who runs it, and what becomes of it when its process is gone."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.engine.background import Job
from headwater.errors import JobNotFound, Timeout, Unavailable
from headwater.lake import JobRecords, JobState
from headwater.lake.clock import Clock
from headwater.lake.job_records import LEASE_S, RETENTION_S
from headwater.store import open_store


def test_a_job_runs_in_one_connection_and_is_known_in_another(tmp_path: Path) -> None:
    going = threading.Event()

    def work(job: Job) -> dict[str, int]:
        job.report(1, 2)
        going.wait(30)
        return {"rows": 7}

    with hw.connect(tmp_path) as first, hw.connect(tmp_path) as second:
        job = first.jobs.start("import", "default", "docs", work, {"files": 1})
        with pytest.raises(Timeout):
            second.jobs.wait(job.id, timeout_s=0.05)
        assert second.jobs.get(job.id).state in (JobState.PENDING, JobState.RUNNING)
        going.set()
        done = second.jobs.wait(job.id)
        assert (done.state, done.progress, done.details) == (
            JobState.COMPLETED,
            100,
            {"files": 1, "rows": 7},
        )
        assert [one.id for one in second.jobs.list("import", collection="docs")] == [job.id]
        assert second.jobs.list("restore") == []
        with pytest.raises(JobNotFound):
            second.jobs.get(1)


@pytest.mark.parametrize("error", [hw.errors.InvalidArgument("no such thing"), ValueError("a bug")])
def test_a_job_that_raises_says_why(tmp_path: Path, error: Exception) -> None:
    def work(job: Job) -> None:
        raise error

    with hw.connect(tmp_path) as db:
        done = db.jobs.wait(db.jobs.start("import", "default", "docs", work).id)
    assert done.state is JobState.FAILED
    assert str(error) in done.reason


def test_a_job_whose_process_is_gone_fails_for_every_reader(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    lost: list[int] = []
    before = JobRecords(store)
    job = before.create("import", "default", "docs")
    before.move(job.id, JobState.RUNNING)
    ready = before.move(before.create("import", "default", "docs").id, JobState.READY)
    soon = JobRecords(store, clock=Clock(ahead_s=LEASE_S / 2))
    assert soon.get(job.id).state is JobState.RUNNING
    late = JobRecords(store, clock=Clock(ahead_s=2 * LEASE_S), on_lost=lambda record: lost.append(record.id))
    assert late.get(job.id).state is JobState.FAILED
    assert "stopped" in late.get(job.id).reason
    assert lost == [job.id]
    assert late.get(ready.id).state is JobState.READY
    # The process was only slow: how the job ended is decided, once.
    assert before.move(job.id, JobState.COMPLETED).state is JobState.FAILED


def test_closing_a_connection_stops_its_jobs(tmp_path: Path) -> None:
    started = threading.Event()

    def work(job: Job) -> None:
        started.set()
        while True:
            job.report(0, 1)

    db = hw.connect(tmp_path)
    job = db.jobs.start("import", "default", "docs", work)
    assert started.wait(10)
    db.close()
    record = JobRecords(open_store(tmp_path)).get(job.id)
    assert record.state is JobState.FAILED
    assert "closing" in record.reason
    with pytest.raises(Unavailable):
        db.jobs.start("import", "default", "docs", work)


def test_old_records_are_forgotten(tmp_path: Path) -> None:
    records = JobRecords(open_store(tmp_path))
    old = records.move(records.create("import", "default", "docs").id, JobState.COMPLETED)
    waiting = records.create("import", "default", "docs")
    later = JobRecords(open_store(tmp_path), clock=Clock(ahead_s=RETENTION_S + 60))
    assert later.forget_old() == 1
    with pytest.raises(JobNotFound):
        later.get(old.id)
    assert later.get(waiting.id).state is JobState.FAILED


def test_a_restore_that_lost_its_process_leaves_nothing(tmp_path: Path) -> None:
    with hw.connect(tmp_path) as db:
        store = db._store
        record = db.jobs.records.create("restore", "default", "copy", {"root": "default/copy"})
        store.put("default/copy/segments/a/file", b"half")
        db.jobs.records._clock = Clock(ahead_s=2 * LEASE_S)
        assert db.jobs.get(record.id).state is JobState.FAILED
        assert list(store.list("default/copy")) == []


def test_a_connection_that_closes_while_a_job_is_written_down_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hw.connect(tmp_path) as db, hw.connect(tmp_path) as other:
        db.jobs.wait(db.jobs.start("import", "default", "docs", lambda job: None).id)
        create = JobRecords.create

        def created(records: JobRecords, *words: Any) -> Any:
            record = create(records, *words)
            db.jobs.close()
            return record

        monkeypatch.setattr(JobRecords, "create", created)
        with pytest.raises(Unavailable, match="closed"):
            db.jobs.start("import", "default", "docs", lambda job: None)
        newest = other.jobs.list()[0]
        assert newest.state is JobState.FAILED
        assert "closed" in newest.reason
