"""Stores that fail, stall, refuse or are full: clear errors, nothing acknowledged lost, nothing half visible."""

from __future__ import annotations

import subprocess
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.engine import Database
from headwater.errors import PermissionDenied, QuotaExceeded, StoreUnavailable, Unavailable
from headwater.store import FaultyStore, ObjectStore, RetryingStore, open_store

from . import crashing


def database(store: ObjectStore) -> Database:
    return Database(store, "default", hw.Settings())


def main_job(db: Database) -> dict[str, pa.Table]:
    """Everything that a user does with a collection, and what it shows."""
    notes = db.create_collection("notes", crashing.rows(0, 1).schema, "id")
    for first in (0, 300, 600):
        assert notes.insert(crashing.rows(first, 300)).count == 300
        notes.flush()
    notes.create_index("v", "HNSW")
    notes.add_column("length", pa.array(range(900), pa.int64()))
    notes.tag("before")
    notes.insert(crashing.rows(900, 10))
    notes.restore(notes.at(tag="before").version)
    notes.gc(retention_s=0.0, grace_s=0.0)
    queries = np.random.default_rng(5).normal(size=(7, crashing.DIM)).astype(np.float32)
    hits = notes.search(queries, top_k=9, filter="id % 3 == 0", output_fields=["text", "length"])
    assert hits.info.index_coverage == 1.0
    return {
        "rows": notes.to_arrow(),
        "hits": hits.to_arrow(),
        "page": notes.query("length > 100", order_by="-id", limit=20).to_arrow(),
        "keys": notes.get([3, 899, 4]).to_arrow(),
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    return main_job(database(open_store(tmp_path_factory.mktemp("clean") / "lake")))


@pytest.mark.parametrize("local", [True, False], ids=["mapped", "cold"])
@pytest.mark.parametrize("seed", range(4))
def test_one_request_in_ten_fails_and_nothing_changes(
    tmp_path: Path, expected: dict[str, pa.Table], seed: int, local: bool
) -> None:
    faulty = FaultyStore(
        open_store(tmp_path / "lake"), seed=seed, fail_before=0.05, fail_after=0.05, local_paths=local
    )
    found = main_job(database(RetryingStore(faulty, sleep=lambda _: None)))
    assert faulty.requests.total() > 30
    for name, table in expected.items():
        assert found[name].equals(table), name


def test_without_retries_each_failure_is_a_named_error_and_loses_nothing(tmp_path: Path) -> None:
    faulty = FaultyStore(open_store(tmp_path / "lake"), seed=3)
    notes = database(faulty).create_collection("notes", crashing.rows(0, 1).schema, "id")
    faulty.fail_before = faulty.fail_after = 0.05
    acknowledged, failed = set(), 0
    for first in range(0, 600, 10):
        try:
            notes.insert(crashing.rows(first, 10))
            acknowledged |= set(range(first, first + 10))
            notes.flush()
        except Unavailable:
            failed += 1
    found = hw.connect(tmp_path / "lake").collection("notes").to_arrow(["id"]).column(0).to_pylist()
    assert failed > 5
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert all(len({i for i in found if i // 10 == ten}) in (0, 10) for ten in range(60))


def test_a_store_that_answers_after_two_seconds_is_only_slow(tmp_path: Path) -> None:
    slow = FaultyStore(open_store(tmp_path / "lake"))
    notes = database(slow).create_collection("notes", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    slow.latency_s = 2.0
    assert notes.insert([{"id": 1, "v": [1.0, 0.0]}, {"id": 2, "v": [0.0, 1.0]}]).count == 2
    assert notes.search([0.0, 1.0], top_k=1)[0][0]["id"] == 2


def test_a_dead_store_is_given_up_after_some_attempts_and_works_again_afterwards(tmp_path: Path) -> None:
    faulty = FaultyStore(open_store(tmp_path / "lake"))
    store = RetryingStore(faulty, attempts=3, deadline_s=60.0, sleep=lambda _: None)
    notes = database(store).create_collection("notes", crashing.rows(0, 1).schema, "id")
    faulty.fail_before = 1.0
    with pytest.raises(StoreUnavailable) as caught:
        notes.insert(crashing.rows(0, 10))
    assert "3 attempts" in caught.value.__notes__[0]
    faulty.fail_before = 0.0
    assert notes.num_rows == 0
    assert notes.insert(crashing.rows(0, 10)).count == 10


class _Refusing(BaseHTTPRequestHandler):
    def _refuse(self) -> None:
        body = (
            b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        )
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _refuse  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_missing_permission_is_said_at_once(refusing: str) -> None:
    options = {"endpoint": refusing, "region": "us-east-1", "access_key_id": "a", "secret_access_key": "b"}
    db = hw.connect("s3://bucket/lake", options)
    with pytest.raises(PermissionDenied, match="s3://bucket/lake"):
        db.create_collection("notes", {"id": hw.Int64}, "id")
    with pytest.raises(PermissionDenied, match="s3://bucket"):
        hw.connect(f"memory://{uuid.uuid4().hex}").create_external_collection(
            "docs", "s3://bucket/docs/*.parquet", source_options=options
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def filled(notes: hw.Collection) -> int:
    """Insert until the disk is full; the rows acknowledged."""
    for first in range(0, 100_000, 500):
        try:
            notes.insert(crashing.rows(first, 500))
        except QuotaExceeded as error:
            if "disk is full" in str(error):
                return first
            raise
    raise AssertionError("the disk never was full")


def test_a_full_disk_is_said_and_what_was_acknowledged_stays(small_disk: Path) -> None:
    notes = hw.connect(small_disk / "lake").create_collection("notes", crashing.rows(0, 1).schema, "id")
    acknowledged = filled(notes)
    assert acknowledged > 0
    with pytest.raises(QuotaExceeded):
        notes.create_index("v", "HNSW")
    with pytest.raises(QuotaExceeded):
        notes.add_column("random", np.random.default_rng(0).integers(0, 1 << 60, acknowledged))
    reopened = hw.connect(small_disk / "lake").collection("notes")
    assert reopened.to_arrow(["id"]).column(0).to_pylist() == list(range(acknowledged))
    assert reopened.search(np.ones(crashing.DIM), top_k=3)[0]
    assert reopened.verify().damaged == ()
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert notes.insert(crashing.rows(acknowledged, 500)).count == 500
    assert notes.create_index("v", "HNSW").rows == acknowledged + 500
    notes.gc(grace_s=-1.0)
    assert not list(small_disk.rglob(".hwtmp-*"))
    assert notes.verify().damaged == ()


def test_a_full_scratch_folder_is_said(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = hw.connect(tmp_path / "lake").create_collection("notes", crashing.rows(0, 1).schema, "id")
    notes.insert(crashing.rows(0, 60_000))
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(QuotaExceeded, match="disk"):
        notes.flush()
    with pytest.raises(QuotaExceeded, match="disk"):
        notes.create_index("v", "HNSW")
    assert notes.num_rows == 60_000
