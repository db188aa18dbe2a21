"""Searches through a server, idle and beside heavy work: what the work costs those who search.

The work is ingestion, index builds, compaction, and analytical reads, on collections of their own in one lake. Each
runs against two servers: one that does everything in one process, and one with a process for each kind of work. Idle
and loaded phases take turns, a few times; a ratio is that of a loaded phase to the idle one before it, and what is
reported is the median of them. The searching client asks at a steady pace, and makes way for nobody; the client that
brings the work does. Work that is left when a loaded phase ends is waited for before the next idle one.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import Bench

import headwater as hw

DIM, K = 128, 10
WORKLOADS = ("build", "analytics", "compact", "ingest")
TOGETHER = ("--set", "server.maintenance=worker")
APART = ("--set", "server.writer=process", "--set", "server.analytics_workers=1")
EAGER = ("--set", "server.heavy_rows=200000", "--set", "maintenance.interval_s=0.2")
ASKED_PER_S = 100.0


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    served: int
    big: int
    phase_s: float
    rounds: int


QUICK, FULL = Size(20_000, 40_000, 0.7, 1), Size(100_000, 300_000, 6.0, 5)


def vectors(seed: int, rows: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(64, DIM)).astype(np.float32)
    made: np.ndarray = centres[rng.integers(0, 64, rows)] + rng.normal(size=(rows, DIM)).astype(np.float32)
    return made


def made_lake(folder: Path, size: Size) -> None:
    """What is searched, indexed; what is worked on, several times, not."""
    with hw.connect(folder) as lake:
        fields = {"id": hw.Int64, "n": hw.Int64, "v": hw.FloatVector(DIM)}
        for name, rows in (
            ("served", size.served),
            ("build", size.big),
            ("compact", size.big),
            ("ingest", 0),
            ("analytics", size.big),
        ):
            made = lake.create_collection(name, fields, "id")
            if rows:
                made.insert({"id": np.arange(rows), "n": np.arange(rows) % 1000, "v": vectors(rows, rows)})
                made.flush()
            if name == "served":
                made.create_index("v", "HNSW", metric_type="L2", params={"M": 16, "efConstruction": 100})
            if name != "build":
                # The index of what is loaded is not dropped.
                made.load()


@contextmanager
def server(lake: Path, flags: tuple[str, ...]) -> Iterator[str]:
    """A server's address."""
    main = [sys.executable, "-c", "from headwater.doors.cli import main; main()"]
    command = [*main, "serve", "--lake", str(lake), "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "serves" in line, line
        yield f"http://127.0.0.1:{line.rsplit(':', 1)[1].strip()}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stdout.close()


def searcher(pipe: Any, queries: np.ndarray) -> None:
    """A client that asks at a steady pace; seconds come, latencies go back.

    A search that begins late because the one before took long counts from when it was due.
    """
    from pymilvus import MilvusClient

    client: Any = None
    asked = 0
    while (told := pipe.recv()) is not None:
        if isinstance(told, str):
            client = MilvusClient(told)
            for query in queries[:50]:
                client.search("served", [query], anns_field="v", limit=K)
            pipe.send("connected")
            continue
        taken, due, stop = [], time.perf_counter(), time.perf_counter() + told
        while due < stop:
            time.sleep(max(0.0, due - time.perf_counter()))
            client.search("served", [queries[asked % len(queries)]], anns_field="v", limit=K)
            taken.append(time.perf_counter() - due)
            due += 1 / ASKED_PER_S
            asked += 1
        pipe.send(taken)


def worker(pipe: Any, big: int) -> None:
    """A client that brings work of a kind until it is told to stop; how often it did goes back."""
    from pymilvus import MilvusClient

    os.nice(19)
    client: Any = None
    rows = vectors(3, 2000)
    batch = [{"id": n, "n": n, "v": one} for n, one in enumerate(rows)]
    while (told := pipe.recv()) is not None:
        if told.startswith("http"):
            client = MilvusClient(told)
            pipe.send("connected")
            continue
        work: Callable[[int], None] = {
            "ingest": ingest,
            "build": build,
            "compact": compact,
            "analytics": analyse,
        }[told]
        done = 0
        pipe.send("begun")
        while not pipe.poll():
            work(client, batch, big, done)
            done += 1
        pipe.recv()
        settle(client)
        pipe.send(done)


def settle(client: Any) -> None:
    """Wait until no index is being built."""
    stop = time.perf_counter() + 30.0
    while time.perf_counter() < stop:
        found = [client.describe_index("build", name) for name in client.list_indexes("build")]
        if not any(one["pending_index_rows"] for one in found):
            break
        time.sleep(0.2)
    time.sleep(1.0)


def ingest(client: Any, batch: list[dict[str, Any]], big: int, done: int) -> None:
    """Rows, at half of the rate at which they can be brought."""
    began = time.perf_counter()
    for number, row in enumerate(batch):
        row["id"] = done * len(batch) + number
    client.insert("ingest", batch)
    time.sleep(time.perf_counter() - began)


def build(client: Any, batch: list[dict[str, Any]], big: int, done: int) -> None:
    """An index of a big collection, again and again."""
    described = client.list_indexes("build")
    if described:
        found = client.describe_index("build", described[0])
        if found["pending_index_rows"]:
            time.sleep(0.1)
            return
        client.drop_index("build", described[0])
    params = client.prepare_index_params()
    params.add_index("v", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 100})
    client.create_index("build", params, sync=False)


def compact(client: Any, batch: list[dict[str, Any]], big: int, done: int) -> None:
    """Deletes of a fourth of the rows, which a rewrite of the rest follows; then they come back."""
    client.delete("compact", filter=f"n % 4 == {done % 4}")
    client.flush("compact")
    time.sleep(1.0)


def analyse(client: Any, batch: list[dict[str, Any]], big: int, done: int) -> None:
    """Searches of many vectors without an index, and scans."""
    client.search("analytics", [row["v"] for row in batch[:200]], anns_field="v", limit=100)
    client.query("analytics", filter=f"n % 7 == {done % 7} or n == {done}", output_fields=["count(*)"])
    client.query("analytics", filter=f"n < {100 + done % 50}", output_fields=["n", "v"], limit=10_000)


class Client:
    """A process and our end of its pipe."""

    def __init__(self, target: Any, *given: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=target, args=(theirs, *given), daemon=True)
        self.process.start()

    def ask(self, told: Any) -> Any:
        self.pipe.send(told)
        return self.pipe.recv()

    def close(self) -> None:
        self.pipe.send(None)
        self.process.join(10)


def figures(taken: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in ms."""
    ordered = sorted(taken)
    return 1e3 * statistics.median(ordered), 1e3 * ordered[math.ceil(0.99 * len(ordered)) - 1]


def measured(size: Size, search: Client, work: Client, kind: str) -> dict[str, float]:
    """Ratios of loaded phases to the idle ones before them."""
    found: list[dict[str, float]] = []
    for _ in range(size.rounds):
        idle50, idle99 = figures(search.ask(size.phase_s))
        work.ask(kind)
        time.sleep(0.3)
        busy50, busy99 = figures(search.ask(size.phase_s))
        done = work.ask("stop")
        time.sleep(0.5)
        found.append(
            {"p50": idle50, "p99": idle99, "p50 with": busy50, "p99 with": busy99, "p50 x": busy50 / idle50,
             "p99 x": busy99 / idle99, "work": done}
        )  # fmt: skip
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


def main() -> None:
    bench = Bench.from_args("isolation")
    size = QUICK if bench.quick else FULL
    queries = vectors(1, 500)
    folder = Path(tempfile.mkdtemp(prefix="isolation-"))
    search, work = Client(searcher, queries), Client(worker, size.big)
    ratios: dict[tuple[str, str], float] = {}
    try:
        made_lake(folder / "lake", size)
        for how, flags in (("together", TOGETHER), ("apart", APART)):
            lake = folder / how.replace(" ", "-")
            shutil.copytree(folder / "lake", lake)
            with server(lake, (*flags, *EAGER)) as address:
                search.ask(address)
                work.ask(address)
                time.sleep(2.0)
                for kind in WORKLOADS:
                    found = measured(size, search, work, kind)
                    bench.row(beside=kind, served=how, **found)
                    ratios[kind, how] = found["p99 x"]
    finally:
        search.close()
        work.close()
        shutil.rmtree(folder)
    for kind in WORKLOADS:
        bench.at_most(f"search p99 beside {kind} in its own process, to idle", ratios[kind, "apart"], 1.5)
        gained = ratios[kind, "together"] / ratios[kind, "apart"]
        bench.row(beside=kind, served="gain", **{"p99 x": gained})
    bench.finish()


if __name__ == "__main__":
    main()
