"""Commits: how their time grows with the manifest, and whether processes that race lose any.

The commit is `Lake.commit` of one more segment, beside a bare durable write of the same bytes; the insert is a row
through the Python door. Processes insert and flush rows of their own at once, and every row must be there afterwards,
once.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from harness import Bench

import headwater as hw
from headwater.lake import AppendSegments, Lake
from headwater.lake.manifest_json import ManifestEncoder
from headwater.store import open_store

SEGMENTS = 1000
SCHEMA = {"id": hw.Int64, "text": hw.String, "year": hw.Int32}


def rows(first: int, count: int) -> pa.Table:
    ids = range(first, first + count)
    return pa.table(
        {"id": ids, "text": [f"row {i}" for i in ids], "year": pa.array([2000] * count, pa.int32())}
    )


def p50_ms(call: Callable[[int], object], repeat: int) -> float:
    times = []
    for i in range(repeat):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def with_segments(folder: Path, count: int) -> hw.Collection:
    """A collection whose manifest names so many real segments."""
    settings = hw.Settings()
    settings = replace(settings, lake=replace(settings.lake, target_segment_rows=1))
    collection = hw.connect(folder, settings=settings).create_collection("t", SCHEMA, "id")
    if count:
        collection.insert(rows(1_000_000, count))
        collection.flush()
    return collection


def commit_ms(folder: Path, collection: hw.Collection, repeat: int) -> tuple[float, float]:
    """p50 of a commit that adds a segment, and of writing its manifest's bytes durably and nothing else."""
    lake = Lake(open_store(folder), "default/t")
    collection.insert(rows(0, 1))
    collection.flush()
    template = lake.latest().segments[-1]

    def commit(_: int) -> None:
        lake.commit(
            lake.latest(), [AppendSegments((replace(template, id=uuid.uuid4().hex),))], operation="append"
        )

    measured = p50_ms(commit, repeat)
    content = ManifestEncoder().encode(lake.latest())
    return measured, p50_ms(lambda i: lake.store.create(f"bare/{i}", content), repeat)


def insert_all(folder: str, process: int, count: int, gate: object) -> None:
    collection = hw.connect(folder).collection("t")
    gate.wait()  # type: ignore[attr-defined]
    for i in range(count):
        collection.insert(rows(process * count + i, 1))
        collection.flush()


def race(processes: int, each: int) -> tuple[int, int, float]:
    """Rows inserted, rows there afterwards (distinct), seconds."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        collection = hw.connect(folder).create_collection("t", SCHEMA, "id")
        gate = context.Barrier(processes + 1)
        workers = [context.Process(target=insert_all, args=(folder, p, each, gate)) for p in range(processes)]
        for worker in workers:
            worker.start()
        gate.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        seconds = time.perf_counter() - start
        assert all(worker.exitcode == 0 for worker in workers), "a writer failed"
        found = collection.to_arrow(["id"]).column("id").to_pylist()
        assert len(found) == len(set(found)), "a row is there twice"
        versions = [entry.version for entry in collection.history()]
        assert versions == list(range(1, len(versions) + 1)), "a version number is missing"
        return processes * each, len(found), seconds


def main() -> None:
    bench = Bench.from_args("commit")
    repeat, each = (50, 15) if bench.quick else (300, 50)
    figures = {}
    for count in (0, SEGMENTS):
        with tempfile.TemporaryDirectory() as folder:
            collection = with_segments(Path(folder), count)
            commit, bare = commit_ms(Path(folder), collection, repeat)
        with tempfile.TemporaryDirectory() as folder:
            collection = with_segments(Path(folder), count)
            insert = p50_ms(lambda i, c=collection: c.insert(rows(i, 1)), repeat)
        figures[count] = (commit, insert)
        bench.row(segments=count, commit_ms=commit, bare_write_ms=bare, insert_ms=insert)
    bench.at_most("commit p50, 1,000 segments / none", figures[SEGMENTS][0] / figures[0][0], 3.0)
    bench.at_most("insert p50, 1,000 segments / none", figures[SEGMENTS][1] / figures[0][1], 3.0)
    for processes in (2, 8):
        wanted, found, seconds = race(processes, each)
        bench.row(processes=processes, inserts=wanted, found=found, inserts_per_s=wanted / seconds)
        bench.at_most(f"{processes} processes: rows lost of {wanted}", wanted - found, 0)
    bench.finish()


if __name__ == "__main__":
    main()
