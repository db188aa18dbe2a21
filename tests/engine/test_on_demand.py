"""Reads that are computed by a process that starts for them and leaves."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.engine import Database
from headwater.engine.on_demand.calls import Call
from headwater.engine.on_demand.places import Bounds
from headwater.engine.on_demand.workers import Workers

ROWS = 3000
DIM = 16


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((ROWS, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Iterator[Database]:
    db = hw.connect(tmp_path_factory.mktemp("on_demand") / "lake")
    schema = {"id": hw.Int64, "year": hw.Int64, "name": hw.String, "meta": hw.JSON, "at": hw.Geometry,
              "vector": hw.FloatVector(DIM)}  # fmt: skip
    docs = db.create_collection("docs", schema, "id")
    docs.insert(
        pa.table(
            {
                "id": range(ROWS),
                "year": [2000 + n % 25 for n in range(ROWS)],
                "name": [f"name {n}" for n in range(ROWS)],
                "meta": [f'{{"n": {n}}}' for n in range(ROWS)],
                "at": [f"POINT ({n} 1)" for n in range(ROWS)],
                "vector": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM),
            }
        )
    )
    docs.flush()
    many = db.create_collection("many", {"id": hw.Int64, "vector": hw.FloatVector(64)}, "id")
    block = pa.FixedSizeListArray.from_arrays(np.zeros(100_000 * 64, np.float32), 64)
    many.insert(pa.table({"id": range(100_000), "vector": block}))
    many.flush()
    db.create_collection("empty", {"id": hw.Int64, "vector": hw.FloatVector(4)}, "id")
    with db:
        yield db


def files(db: Database) -> dict[str, int]:
    root = Path(db.url.removeprefix("file://"))
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def test_a_worker_answers_as_the_process_itself_and_leaves_the_lake_as_it_is(
    db: Database, vectors: np.ndarray
) -> None:
    before = files(db)
    docs = db.collection("docs")
    request = {"top_k": 7, "filter": "year > 2010", "output_fields": ["name", "meta", "at", "year"]}
    with db.on_demand() as away:
        found = away.search("docs", vectors[:3], **request)
        here = docs.search(vectors[:3], **request)
        assert list(found) == list(here)
        assert found.info.version == here.info.version
        assert found.to_arrow().equals(here.to_arrow())
        # An oracle that is neither: the nearest row to a stored vector is that row, where the filter lets it in.
        assert [hits[0]["id"] for hits in away.search("docs", vectors[11:13])] == [11, 12]
        legs = [
            hw.AnnSearchRequest(vectors[:1], "vector", limit=20, filter=f"year {op} 2012")
            for op in ("<", ">")
        ]
        ranker = hw.WeightedRanker(0.5, 0.5)
        assert list(away.hybrid_search("docs", legs, ranker, limit=5)) == list(
            docs.hybrid_search(legs, ranker, limit=5)
        )
        assert list(away.query("docs", "id < 5 or id == 9")) == list(docs.query("id < 5 or id == 9"))
        totals = away.query("docs", output_fields=["count(*)", "year"], group_by_fields=["year"])
        assert sorted(row["count(*)"] for row in totals) == [ROWS // 25] * 25
    assert files(db) == before


def test_rows_are_streamed_whole_or_as_far_as_wanted(db: Database) -> None:
    with db.on_demand(max_workers=1) as away:
        table = pa.Table.from_batches(list(away.scan("docs", ["id", "name"], "id >= 100")))
        assert sorted(table.column("id").to_pylist()) == list(range(100, ROWS))
        # A scan that is left frees the only place.
        begun = away.scan("docs")
        assert next(begun).num_rows
        begun.close()
        assert list(away.scan("empty")) == []
        assert away.collection("empty").to_arrow().schema.names == ["id", "vector"]


def test_errors_of_a_worker_are_those_of_the_call(db: Database) -> None:
    away = db.on_demand()
    with pytest.raises(errors.CollectionNotFound, match="cats") as raised:
        away.count("cats")
    assert raised.value.hint == "there are: docs, empty, many"
    with pytest.raises(errors.FilterSyntax, match="colour") as bad:
        away.query("docs", "colour == 1")
    assert bad.value.details["position"] == 0
    with pytest.raises(TypeError, match="wanted"):
        away.query("docs", wanted=1)
    with pytest.raises(errors.InvalidArgument, match="cannot be sent"):
        away.query("docs", order_by=lambda row: row)
    away.close()
    with pytest.raises(errors.InvalidArgument, match="closed"):
        away.count("docs")


def test_what_cannot_be_opened_elsewhere_and_bounds_that_are_none_are_refused(db: Database) -> None:
    with pytest.raises(errors.InvalidArgument, match="memory"):
        hw.connect("memory://alone").on_demand()
    with pytest.raises(errors.InvalidArgument, match="store object"):
        Database(db._store, "default", db.settings).on_demand()
    with pytest.raises(errors.InvalidArgument, match="timeout_s=0"):
        db.on_demand(timeout_s=0)
    with pytest.raises(errors.InvalidArgument, match="max_workers=0"):
        db.on_demand(max_workers=0)
    with pytest.raises(errors.InvalidArgument, match="dask"):
        db.on_demand(executor="dask")


def test_time_and_memory_are_bounded(db: Database) -> None:
    with pytest.raises(errors.Timeout, match=r"count on 'docs': no answer within 0\.05 s"):
        db.on_demand(timeout_s=0.05).count("docs")
    with pytest.raises(errors.QuotaExceeded, match="20,000,000 are allowed") as raised:
        db.on_demand(memory_bytes=20_000_000).count("docs")
    assert raised.value.details["used"] > 20_000_000
    assert db.on_demand(memory_bytes=2 << 30, timeout_s=60).count("docs") == ROWS


def _workers() -> set[int]:
    told = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    )
    return {int(line.split()[0]) for line in told.stdout.splitlines() if "on_demand.worker" in line}


def test_a_worker_that_dies_is_named_and_a_closed_handle_leaves_none(db: Database) -> None:
    if sys.platform != "linux":
        pytest.skip("finds processes by ps")
    away = db.on_demand()
    # More than fits into the pipe, so that the worker waits for us.
    begun = away.scan("many")
    next(begun)
    [pid] = _workers()
    os.kill(pid, signal.SIGKILL)
    # What has come is whole batches; the rest is an error, never a short answer.
    with pytest.raises(errors.WorkerLost, match=rf"process {pid}.*SIGKILL"):
        list(begun)
    assert not _workers()
    begun = away.scan("many")
    next(begun)
    away.close()
    with pytest.raises(errors.WorkerLost, match="closed"):
        list(begun)
    assert not _workers()


class Abandoned:
    """Rows that nobody reads to their end, and that only the collector of cycles finds."""

    def __init__(self, call: Generator[int, None, None]) -> None:
        self.me, self.call = self, call
        next(call)


def test_a_call_that_nobody_reads_on_may_be_found_while_another_begins() -> None:
    ended: list[int] = []
    workers: Workers[int] = Workers(Bounds(), 2, ended.append)
    call = Call(None, None, "method", (), {})  # type: ignore[arg-type]

    def first() -> Generator[int, None, None]:
        with workers.one(call, lambda _: 1):
            yield 1

    def collecting(_: float) -> int:
        gc.collect()
        return 2

    def second() -> None:
        Abandoned(first())
        with workers.one(call, collecting):
            assert ended == [1]

    gc.collect()
    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert ended == [1, 2]
    assert workers.close() == []
