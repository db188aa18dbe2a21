"""Freshness: from the call of an insert to the moment another process sees the row in a strong search.

One process inserts a marked row now and then; another searches strongly, again and again, for the mark. Locally, and
with a store that takes 30 ms more for each request.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from typing import Any

import numpy as np
from harness import Bench

import headwater as hw
from headwater.engine import Database
from headwater.store import FaultyStore, open_store

DIM = 128
BASE_ROWS = 20_000


def collection(folder: str, latency_s: float) -> hw.Collection:
    if not latency_s:
        return hw.connect(folder).collection("t")
    return Database(
        FaultyStore(open_store(folder), latency_s=latency_s), "default", hw.Settings()
    ).collection("t")


def insert_now_and_then(folder: str, latency_s: float, count: int, told: Any, ready: Any) -> None:
    table = collection(folder, latency_s)
    dice = np.random.default_rng(3)
    # The first insert of a process imports what it needs.
    table.insert([{"id": -1, "v": np.zeros(DIM, np.float32)}])
    ready.wait()
    for number in range(count):
        time.sleep(0.02 + 0.03 * float(dice.random()) + 8 * latency_s)
        row = {"id": 1_000_000 + number, "v": np.full(DIM, 100.0 + number, np.float32)}
        start = time.time()
        table.insert([row])
        told.put((number, start, time.time()))


def measure(count: int, latency_s: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seconds from call to visible, from acknowledgement to visible, and of a strong search."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        made = hw.connect(folder).create_collection("t", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id")
        vectors = np.random.default_rng(0).normal(size=(BASE_ROWS, DIM)).astype(np.float32)
        made.insert({"id": np.arange(BASE_ROWS), "v": vectors})
        made.create_index("v", "AUTOINDEX", metric_type="L2")
        told, ready = context.Queue(), context.Event()
        args = (folder, latency_s, count, told, ready)
        writer = context.Process(target=insert_now_and_then, args=args)
        writer.start()
        reader = collection(folder, latency_s)
        reader.search(vectors[0], top_k=1)
        ready.set()
        seen, searches, number = [], [], 0
        while number < count:
            mark = np.full(DIM, 100.0 + number, np.float32)
            start = time.perf_counter()
            hit = reader.search(mark, top_k=1, consistency_level="Strong")[0][0]
            searches.append(time.perf_counter() - start)
            if hit["id"] == 1_000_000 + number:
                seen.append(time.time())
                number += 1
        starts, acknowledged = np.array([told.get()[1:] for _ in range(count)]).T
        writer.join()
        return np.array(seen) - starts, np.array(seen) - acknowledged, np.array(searches)


def main() -> None:
    bench = Bench.from_args("freshness")
    count = 50 if bench.quick else 200
    for name, latency_s in (("local", 0.0), ("30 ms a request", 0.03)):
        visible, after, searches = measure(count, latency_s)
        for what, times in (
            ("insert to visible", visible),
            ("acknowledged to visible", after),
            ("strong search", searches),
        ):
            p50, p99 = np.percentile(times, [50, 99]) * 1e3
            bench.row(store=name, figure=what, p50_ms=float(p50), p99_ms=float(p99))
        # An insert is one request, and a strong search one round of them.
        trips = float(np.percentile(visible, 50)) / (latency_s or 0.01)
        bench.at_most(
            f"insert to visible p50, {name}, in {'round trips' if latency_s else '10 ms'}", trips, 5.0
        )
    bench.finish()


if __name__ == "__main__":
    main()
