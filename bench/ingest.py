"""Ingestion: rows a second, durable and searchable at the acknowledgement, beside LanceDB and Milvus Lite.

Ours syncs every acknowledged call to the disk; LanceDB and Milvus Lite leave their files to the page cache. So each is
measured twice: as it comes, and durable, with the files that a call changed synced after it. Ours and LanceDB take
Arrow tables, Milvus Lite takes what its client takes, dicts. After each run every row must be there, and the last one
must be found by a search. The limit is one file of the same bytes, written and synced.

Then: inserts while compaction and index builds run, searches while another process ingests at half of the highest
rate, and the memory that ingesting takes.
"""

from __future__ import annotations

import multiprocessing
import os
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness import Bench

import headwater as hw

CALLS = (1, 100, 10_000)
DIMS = (128, 768)


class Rows:
    """Tables of rows, made before the clock runs; no vector comes twice in the first 10,000 times `dim` rows."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.vectors = np.random.default_rng(0).normal(size=(10_000, dim)).astype(np.float32)

    def table(self, first: int, count: int) -> pa.Table:
        turn, start = divmod(first, len(self.vectors))
        chosen = np.roll(self.vectors[(start + np.arange(count)) % len(self.vectors)], turn, axis=1)
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(chosen.reshape(-1)), self.dim)
        ids = np.arange(first, first + count)
        return pa.table({"id": pa.array(ids), "text": [f"row {i}" for i in ids], "v": vectors})


class Ours:
    """Headwater, embedded."""

    name = "headwater"

    def __init__(self, folder: Path, dim: int, settings: hw.Settings | None = None) -> None:
        self.db = hw.connect(folder / "lake", settings=settings)
        schema = {"id": hw.Int64, "text": hw.String, "v": hw.FloatVector(dim)}
        self.table = self.db.create_collection("t", schema, "id")

    def prepared(self, rows: pa.Table) -> Any:
        return rows

    def insert(self, rows: Any) -> None:
        self.table.insert(rows)

    def found(self, vector: np.ndarray) -> int:
        return int(self.table.search(vector, top_k=1, params={"metric_type": "L2"})[0][0]["id"])

    def count(self) -> int:
        return self.table.count()

    def close(self) -> None:
        self.db._maintainer.close()


class Lance:
    """LanceDB, embedded."""

    name = "lancedb"

    def __init__(self, folder: Path, dim: int) -> None:
        import lancedb

        schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("v", pa.list_(pa.float32(), dim))])
        self.table = lancedb.connect(str(folder / "lance")).create_table("t", schema=schema)

    def prepared(self, rows: pa.Table) -> Any:
        return rows

    def insert(self, rows: Any) -> None:
        self.table.add(rows)

    def found(self, vector: np.ndarray) -> int:
        return int(self.table.search(vector).limit(1).to_list()[0]["id"])

    def count(self) -> int:
        return int(self.table.count_rows())

    def close(self) -> None:
        """Nothing to close."""


class MilvusLite:
    """Milvus Lite, through its client."""

    name = "milvus-lite"

    def __init__(self, folder: Path, dim: int) -> None:
        from pymilvus import DataType, MilvusClient

        self.client = MilvusClient(str(folder / "milvus.db"))
        schema = self.client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=64)
        schema.add_field("v", DataType.FLOAT_VECTOR, dim=dim)
        index = self.client.prepare_index_params()
        index.add_index("v", index_type="FLAT", metric_type="L2")
        self.client.create_collection("t", schema=schema, index_params=index, consistency_level="Strong")

    def prepared(self, rows: pa.Table) -> Any:
        vectors = rows.column("v").combine_chunks().values.to_numpy().reshape(rows.num_rows, -1)
        return [
            {"id": i, "text": text, "v": vector}
            for i, text, vector in zip(
                rows.column("id").to_pylist(), rows.column("text").to_pylist(), vectors, strict=True
            )
        ]

    def insert(self, rows: Any) -> None:
        # Its messages hold 64 MB at most.
        for start in range(0, len(rows), 5000):
            self.client.insert("t", rows[start : start + 5000])

    def found(self, vector: np.ndarray) -> int:
        return int(self.client.search("t", [vector], limit=1)[0][0]["id"])

    def count(self) -> int:
        return int(self.client.query("t", output_fields=["count(*)"])[0]["count(*)"])

    def close(self) -> None:
        self.client.close()


class Synced:
    """A peer, with the files that each call changed synced after it."""

    def __init__(self, inner: Any, folder: Path) -> None:
        self._inner = inner
        self._folder = folder
        self._known: dict[str, tuple[int, int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def insert(self, rows: Any) -> None:
        self._inner.insert(rows)
        for folder, _, names in os.walk(self._folder):
            changed = False
            for name in names:
                path = os.path.join(folder, name)
                try:
                    found = os.stat(path)
                    state = (found.st_size, found.st_mtime_ns)
                    if self._known.get(path) != state and stat.S_ISREG(found.st_mode):
                        self._known[path], changed = state, True
                        _sync(path)
                except FileNotFoundError:
                    continue
            if changed:
                _sync(folder)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def limit_rows_per_s(rows: Rows, per_call: int, seconds: float) -> float:
    """Rows a second of one file for each call, written and synced, and nothing else."""
    content = rows.vectors[:per_call].tobytes() + bytes(16 * per_call)
    with tempfile.TemporaryDirectory() as folder:
        calls, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            with open(os.path.join(folder, str(calls)), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            calls += 1
        return calls * per_call / (time.perf_counter() - start)


def rows_per_s(
    make: Callable[[Path, int], Any], rows: Rows, per_call: int, seconds: float, *, synced: bool = False
) -> tuple[float, float]:
    """Rows a second, and the p99 of a call in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        system = make(Path(folder), rows.dim)
        if synced:
            system = Synced(system, Path(folder))
        system.insert(system.prepared(rows.table(0, per_call)))
        done, spent, times = per_call, 0.0, []
        while spent < seconds:
            batch = system.prepared(rows.table(done, per_call))
            start = time.perf_counter()
            system.insert(batch)
            times.append(time.perf_counter() - start)
            spent += times[-1]
            done += per_call
        assert system.count() == done, f"{system.name} has {system.count()} rows of {done}"
        system.insert(system.prepared(_marker(rows, done)))
        assert system.found(np.full(rows.dim, 50.0, np.float32)) == done, (
            f"{system.name} does not find the last row"
        )
        system.close()
        return (done - per_call) / spent, float(np.percentile(times, 99)) * 1e3


def _marker(rows: Rows, number: int) -> pa.Table:
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.full(rows.dim, 50.0, np.float32)), rows.dim)
    return pa.table({"id": [number], "text": ["the last"], "v": vector})


def throughput(bench: Bench, seconds: float) -> dict[tuple[int, int], float]:
    """The table of rates."""
    ours = {}
    for dim in DIMS:
        rows = Rows(dim)
        for per_call in CALLS:
            rates, durable = {}, {}
            for make in (Ours, Lance, MilvusLite):
                for synced in (False,) if make is Ours else (False, True):
                    rate, p99 = rows_per_s(make, rows, per_call, seconds, synced=synced)
                    (durable if synced else rates)[make.name] = rate
                    name = f"{make.name}, synced" if synced else make.name
                    bench.row(system=name, dim=dim, rows_a_call=per_call, rows_per_s=rate, call_p99_ms=p99)
            mine = ours[dim, per_call] = rates.pop(Ours.name)
            limit = limit_rows_per_s(rows, per_call, seconds / 2)
            bench.row(
                system="limit: write and sync",
                dim=dim,
                rows_a_call=per_call,
                rows_per_s=limit,
                ours_of_limit=mine / limit,
            )
            goal, what = (1.0 if per_call == 1 else 3.0), f"{dim}-d, {per_call:,} a call"
            bench.at_least(f"rows/s over the better durable peer, {what}", mine / max(durable.values()), goal)
            bench.at_least(
                f"rows/s over the better peer as it comes, {what}", mine / max(rates.values()), goal
            )
    bench.at_least("rows/s durable and searchable, 768-d", ours[768, 10_000], 10_000)
    return ours


def busy(every: hw.Settings) -> hw.Settings:
    """Settings under which upkeep never rests."""
    return replace(
        every,
        write=replace(every.write, seal_entries=100, seal_bytes=8 << 20),
        maintenance=replace(every.maintenance, interval_s=0.01, merge_segments=2, index_rows=1000),
    )


def insert_p99_ms(settings: hw.Settings, rows: Rows, seconds: float, rate: float) -> tuple[float, int]:
    """p99 of inserts of 100 rows at a steady rate, and how often the collection was compacted or indexed meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        system = Ours(Path(folder), rows.dim, settings)
        system.table.create_index("v", "AUTOINDEX", metric_type="L2")
        system.insert(rows.table(0, 10_000))
        times, done = [], 10_000
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            batch = rows.table(done, 100)
            start = time.perf_counter()
            system.insert(batch)
            times.append(time.perf_counter() - start)
            done += 100
            time.sleep(max(0.0, 100 / rate - times[-1]))
        system.close()
        work = [
            one for one in system.table.history() if one.operation.startswith(("compact", "build", "seal"))
        ]
        return float(np.percentile(times, 99)) * 1e3, len(work)


def _ingest(folder: str, dim: int, rate: float, stop: Any, result: Any) -> None:
    rows = Rows(dim)
    table = hw.connect(folder).collection("t")
    done = 10_000_000
    while not stop.is_set():
        start = time.perf_counter()
        table.insert(rows.table(done, 100))
        done += 100
        time.sleep(max(0.0, 100 / rate - (time.perf_counter() - start)))
    result.put(done - 10_000_000)


def search_p99_ms(rows: Rows, seconds: float, rate: float, size: int) -> tuple[float, float, int]:
    """p99 of searches while nothing happens, and while another process inserts; and how many rows that inserted."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        system = Ours(Path(folder), rows.dim)
        for start in range(0, size, 10_000):
            system.insert(rows.table(start, 10_000))
        system.table.create_index("v", "AUTOINDEX", metric_type="L2")
        dice = np.random.default_rng(1)

        def p99() -> float:
            times, end = [], time.perf_counter() + seconds
            while time.perf_counter() < end:
                query = dice.normal(size=rows.dim).astype(np.float32)
                start = time.perf_counter()
                system.table.search(query, top_k=10, output_fields=["text"])
                times.append(time.perf_counter() - start)
                time.sleep(0.002)
            return float(np.percentile(times, 99)) * 1e3

        p99()
        idle = p99()
        stop, result = context.Event(), context.Queue()
        args = (str(Path(folder) / "lake"), rows.dim, rate, stop, result)
        writer = context.Process(target=_ingest, args=args)
        writer.start()
        before = system.count()
        while system.count() == before:
            time.sleep(0.01)
        loaded = p99()
        stop.set()
        inserted = result.get()
        writer.join()
        assert system.count() == size + inserted
        system.close()
        return idle, loaded, inserted


def peak_mb(dim: int, seconds: float) -> tuple[float, float]:
    """Peak resident memory of a process that ingests as fast as it can, and megabytes it ingested."""
    context = multiprocessing.get_context("spawn")
    result = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_flood, args=(folder, dim, seconds, result))
        process.start()
        peak, ingested = result.get()
        process.join()
    return peak, ingested


def _flood(folder: str, dim: int, seconds: float, result: Any) -> None:
    rows = Rows(dim)
    settings = hw.Settings()
    settings = replace(settings, write=replace(settings.write, growing_bytes=256 << 20))
    system = Ours(Path(folder), dim, settings)
    done, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        system.insert(rows.table(done, 10_000))
        done += 10_000
    system.close()
    result.put((_peak_mb(), done * dim * 4 / 1e6))


def _peak_mb() -> float:
    """Peak resident memory of this process; `ru_maxrss` begins with what the parent had when it forked."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024


def main() -> None:
    bench = Bench.from_args("ingest")
    seconds = 0.5 if bench.quick else 4.0
    rates = throughput(bench, seconds)
    rows = Rows(128)
    steady = rates[128, 100] / 4
    quiet = replace(hw.Settings(), maintenance=replace(hw.Settings().maintenance, automatic=False))
    idle, _ = insert_p99_ms(quiet, rows, 3 * seconds, steady)
    loaded, work = insert_p99_ms(busy(hw.Settings()), rows, 3 * seconds, steady)
    bench.row(system="insert p99 ms, idle", call_p99_ms=idle)
    bench.row(system=f"insert p99 ms, {work} seals, builds and compactions", call_p99_ms=loaded)
    assert work > 0, "nothing was compacted or indexed meanwhile"
    bench.at_most("insert p99 while compacting and indexing, over idle", loaded / idle, 3.0)
    idle, loaded, inserted = search_p99_ms(
        rows, 3 * seconds, rates[128, 100] / 2, 20_000 if bench.quick else 100_000
    )
    bench.row(system="search p99 ms, idle", call_p99_ms=idle)
    bench.row(system=f"search p99 ms, {inserted:,} rows inserted meanwhile", call_p99_ms=loaded)
    bench.at_most("search p99 while ingesting at half of the highest rate, over idle", loaded / idle, 2.0)
    peak, ingested = peak_mb(768, 4 * seconds)
    bench.row(system=f"peak memory MB while {ingested:,.0f} MB were ingested", call_p99_ms=peak)
    bench.at_most("peak memory of a process that ingests, MB, with growing_bytes of 256 MiB", peak, 2048)
    bench.finish()


if __name__ == "__main__":
    main()
