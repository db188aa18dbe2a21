"""Upkeep in a process of its own: it indexes and compacts what others write, and may be killed at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from process import MAIN, serving
from pymilvus import DataType, MilvusClient

import headwater as hw
from headwater.engine import Upkeep
from headwater.settings import Settings
from headwater.testing.s3_server import s3_server

DIM = 8
EAGER = {"maintenance": {"index_rows": 300, "merge_segments": 3, "interval_s": 0.1}}


def vectors(start: int, count: int) -> np.ndarray:
    return np.random.default_rng(start).random((count, DIM), np.float32)


def written(collection: hw.Collection, parts: int, rows: int = 400, start: int = 0) -> np.ndarray:
    """Segments of rows; all vectors, by key."""
    made = []
    for part in range(parts):
        made.append(vectors(start + part, rows))
        first = (start + part) * rows
        flat = pa.FixedSizeListArray.from_arrays(pa.array(made[-1].reshape(-1)), DIM)
        collection.insert(pa.table({"id": pa.array(range(first, first + rows), pa.int64()), "v": flat}))
        collection.flush()
    return np.concatenate(made)


def lake_of(url: str, options: Any = None) -> hw.Database:
    """A lake whose maintenance is left to others."""
    return hw.connect(url, options, settings=Settings.from_values({"maintenance": {"elsewhere": True}}))


def until(true: Callable[[], bool], seconds: float = 180.0) -> None:
    stop = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < stop, "it did not happen in time"
        time.sleep(0.05)


def found_exactly(collection: hw.Collection, base: np.ndarray) -> None:
    """Every row is there once, and nearest to itself."""
    assert collection.count() == len(base)
    probes = np.random.default_rng(5).choice(len(base), 20, replace=False)
    for number, hits in zip(probes.tolist(), collection.search(base[probes], top_k=1), strict=True):
        assert hits[0]["id"] == number


def pids_for_maintenance(process: subprocess.Popen[str]) -> list[int]:
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in shown.splitlines() if "serve.maintenance" in line]


def test_a_server_leaves_maintenance_to_a_process_that_may_be_killed(tmp_path: Path) -> None:
    eager = [f"--set=maintenance.{name}={value}" for name, value in EAGER["maintenance"].items()]
    log = tmp_path / "log"
    lake = tmp_path / "lake"
    with log.open("w") as stderr, serving(lake, *eager, stderr=stderr) as (process, port):
        client = MilvusClient(f"http://127.0.0.1:{port}")
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
        index = client.prepare_index_params()
        index.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 40})
        client.create_collection("docs", schema=schema, index_params=index)
        made, moment, killed = [], random.Random(3), 0
        for part in range(5):
            made.append(vectors(part, 400))
            rows = [{"id": part * 400 + n, "v": one.tolist()} for n, one in enumerate(made[-1])]
            client.insert("docs", rows)
            client.flush("docs")
            time.sleep(moment.uniform(0.5, 0.9) if part == 1 else moment.uniform(0.0, 0.3))
            if part in (2, 3):
                until(lambda: bool(pids_for_maintenance(process)))
            for pid in pids_for_maintenance(process) if part in (2, 3) else []:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        docs = lake_of(str(lake)).collection("docs")

        def settled() -> bool:
            operations = {entry.operation for entry in docs.history()}
            pending = client.describe_index("docs", "v")["pending_index_rows"]
            return (
                {"compact", "build index v"} <= operations and len(docs.manifest.segments) < 4 and not pending
            )

        until(settled)
        assert killed, "nothing was killed"
        assert "the process for maintenance ended" in log.read_text()
        until(lambda: len(pids_for_maintenance(process)) == 1)
        [pid] = pids_for_maintenance(process)
        # It lowers itself once it runs.
        until(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 19)
        found_exactly(docs, np.concatenate(made))
        assert client.query("docs", "", output_fields=["count(*)"], consistency_level="Strong") == [
            {"count(*)": 2000}
        ]
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_two_at_once_are_as_good_as_one(tmp_path: Path) -> None:
    docs = lake_of(str(tmp_path)).create_collection(
        "docs", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, primary_key="id"
    )
    docs.declare_index("v", "HNSW", metric_type="L2")
    settings = Settings.from_values(EAGER)
    both = [Upkeep(hw.connect(tmp_path, settings=settings)) for _ in range(2)]
    threads = [threading.Thread(target=one.run, daemon=True) for one in both]
    for thread in threads:
        thread.start()
    base = written(docs, 9)
    docs.delete(list(range(100)))
    docs.flush()
    for one in both:
        one.look_at(("default", "docs"), asked=True)
    until(lambda: len(docs.manifest.segments) < 6 and not docs.index_progress()[0].pending_rows)
    for one in both:
        one.stop()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert [one.failures for one in both] == [0, 0]
    assert docs.count() == len(base) - 100
    rows = docs.to_arrow(["id"]).column("id").to_pylist()
    assert sorted(rows) == list(range(100, len(base)))
    assert {build.segment for build in docs.manifest.builds} <= {one.id for one in docs.manifest.segments}


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a lake, and the environment that opens it."""
    if request.param == "local":
        yield str(tmp_path / "lake"), {}
        return
    with s3_server() as server:
        environment = {
            "AWS_ENDPOINT_URL": str(server.options["endpoint"]),
            "AWS_ACCESS_KEY_ID": str(server.options["access_key_id"]),
            "AWS_SECRET_ACCESS_KEY": str(server.options["secret_access_key"]),
            "AWS_REGION": str(server.options["region"]),
            "AWS_ALLOW_HTTP": "true",
        }
        yield f"{server.url}/lake", environment


def test_the_command_does_all_there_is_to_do_once(
    place: tuple[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, environment = place
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with lake_of(url) as lake:
        docs = lake.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, primary_key="id")
        docs.declare_index("v", "HNSW", metric_type="L2")
        base = written(docs, 5)
        command = [*MAIN, "maintain", "--lake", url, "--once", "--json", "docs", "--set"]
        run = subprocess.run(
            [*command, "maintenance.merge_segments=4"], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        [report] = json.loads(run.stdout)
        assert (report["segments"], report["pending_rows"], report["failure"]) == (1, 0, "")
        assert report["version"] == docs.manifest.version
        assert len(docs.manifest.segments) == len(docs.manifest.builds) == 1
        found_exactly(docs, base)


def test_the_command_ends_when_it_is_told_to(tmp_path: Path) -> None:
    lake_of(str(tmp_path)).create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(DIM)})
    process = subprocess.Popen(
        [*MAIN, "maintain", "--lake", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert "maintains" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux")
def test_what_takes_more_memory_than_it_may_fails_and_says_so(tmp_path: Path) -> None:
    with lake_of(str(tmp_path)) as lake:
        docs = lake.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(1024)}, primary_key="id")
        docs.insert({"id": np.arange(20_000), "v": np.zeros((20_000, 1024), np.float32)})
        docs.declare_index("v", "HNSW", metric_type="L2")
        command = [*MAIN, "maintain", "--lake", str(tmp_path), "--once", "--json", "--set"]
        run = subprocess.run(
            [*command, f"maintenance.memory_bytes={64 << 20}"], capture_output=True, text=True, check=False
        )
        assert run.returncode == 1
        [report] = json.loads(run.stdout)
        assert report["failure"]
        assert report["failure"] in run.stderr
        assert docs.count() == report["pending_rows"] == 20_000


def test_what_was_built_for_a_dropped_collection_is_deleted(tmp_path: Path) -> None:
    lake = lake_of(str(tmp_path))
    docs = lake.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, primary_key="id")
    docs.declare_index("v", "HNSW", metric_type="L2")
    written(docs, 1)
    root = docs.root

    def dropped(place: tuple[str, str], what: str, done: int, total: int) -> None:
        if what.startswith("index") and lake.has_collection("docs"):
            lake.drop_collection("docs")

    upkeep = Upkeep(hw.connect(tmp_path, settings=Settings.from_values(EAGER)), notice=dropped)
    upkeep.look_at(("default", "docs"), asked=True)
    thread = threading.Thread(target=upkeep.run, daemon=True)
    thread.start()
    until(lambda: not lake.has_collection("docs"))
    upkeep.stop()
    thread.join(30)
    assert not any((tmp_path / root).rglob("*.*"))
    assert lake.list_collections() == []
