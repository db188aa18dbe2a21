"""Long work: its records, who runs it, and what becomes of it when its process is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.engine import importing
from headwater.engine.background import Job
from headwater.engine.snapshots import clean_up
from headwater.errors import JobNotFound, Timeout, Unavailable
from headwater.lake import JobRecords, JobState, copying
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
        store.put(f"default/copy/staged/{record.id}/segments/a/file", b"half")
        store.put("default/copy/staged/7/segments/a/file", b"of another that makes it anew")
        db.jobs.records._clock = Clock(ahead_s=2 * LEASE_S)
        assert db.jobs.get(record.id).state is JobState.FAILED
        assert [meta.key for meta in store.list("default/copy")] == ["default/copy/staged/7/segments/a/file"]


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


def taken_for_gone(db: hw.Database, job: int) -> None:
    """What another process says of a job whose own was stopped for a while."""
    late = JobRecords(db._store, clock=Clock(ahead_s=2 * LEASE_S), on_lost=partial(clean_up, db._store))
    assert late.get(job).state is JobState.FAILED


def once_after(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, work: Callable[[], Any]) -> None:
    """Have something done when a function has been called for the first time."""
    inner = getattr(module, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(module, name, inner)
        made = inner(*args, **kwargs)
        work()
        return made

    monkeypatch.setattr(module, name, outer)


@pytest.mark.parametrize("auto_commit", [True, False])
def test_rows_of_an_import_that_was_taken_for_gone_do_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auto_commit: bool
) -> None:
    with hw.connect(tmp_path) as db:
        docs = db.create_collection("docs", {"id": hw.Int64}, "id")
        db._store.put("rows.json", b'[{"id": 1}]')
        stopped = lambda: taken_for_gone(db, db.jobs.list("import")[0].id)  # noqa: E731
        if auto_commit:
            once_after(monkeypatch, importing, "_lost", stopped)
            job = db.imports.start("docs", [["rows.json"]])
            assert db.jobs.wait(job.id).state is JobState.FAILED
            db.jobs.close()
        else:
            job = db.imports.start("docs", [["rows.json"]], auto_commit=False)
            assert db.jobs.wait(job.id).state is JobState.READY
            once_after(monkeypatch, importing, "_stamped", stopped)
            with pytest.raises(Unavailable, match="has ended as failed"):
                db.imports.commit(job.id)
        assert docs.count() == 0


def test_a_restore_that_was_taken_for_gone_makes_no_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hw.connect(tmp_path) as db:
        docs = db.create_collection("docs", {"id": hw.Int64}, "id")
        docs.insert([{"id": 1}])
        docs.flush()
        db.snapshots.create("docs", "s")
        stopped = lambda: taken_for_gone(db, db.jobs.list("restore")[0].id)  # noqa: E731
        once_after(monkeypatch, copying, "copy_object", stopped)
        assert db.jobs.wait(db.snapshots.restore("docs", "s", "copy").id).state is JobState.FAILED
        # The process goes on with it.
        pool = db.jobs._pool
        assert pool is not None
        pool.shutdown(wait=True)
        assert db.list_collections() == ["docs"]
    with hw.connect(tmp_path) as db:
        assert db.jobs.wait(db.snapshots.restore("docs", "s", "copy").id).state is JobState.COMPLETED
        assert db.collection("copy").to_arrow()["id"].to_pylist() == [1]
        assert db.collection("copy").verify().damaged == ()
