"""Splitting a shard under load: no write fails, and how deep and how long the dip is.

Several threads upsert without pause; the shard is split twice meanwhile. Throughput is counted in slices of 50 ms.
"""

from __future__ import annotations

import tempfile
import threading
import time

import numpy as np
from harness import Bench

import headwater as hw

DIM = 32
SLICE_S = 0.05
THREADS = 4


def main() -> None:
    bench = Bench.from_args("split")
    phase_s = 3.0 if bench.quick else 10.0
    with tempfile.TemporaryDirectory() as folder:
        db = hw.connect(folder)
        table = db.create_collection("t", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id")
        stop, failures, done = threading.Event(), [], [[] for _ in range(THREADS)]
        rows: list[dict[int, int]] = [{} for _ in range(THREADS)]

        def write(worker: int) -> None:
            dice = np.random.default_rng(worker)
            number = 0
            while not stop.is_set():
                keys = (dice.integers(0, 5000, 10) * THREADS + worker).tolist()
                batch = {"id": keys, "v": np.full((10, DIM), number, np.float32)}
                try:
                    table.upsert(batch)
                except hw.errors.HeadwaterError as error:
                    failures.append(error)
                for key in keys:
                    rows[worker][key] = number
                done[worker].append(time.perf_counter())
                number += 1

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(THREADS)]
        for thread in threads:
            thread.start()
        splits = []
        for _ in range(2):
            time.sleep(phase_s)
            start = time.perf_counter()
            shards = [one["number"] for one in table.health(queries=1)["shards"] if not one["closed"]]
            made = table.split_shard(shards[0])
            splits.append((start, time.perf_counter() - start, made))
        time.sleep(phase_s)
        stop.set()
        for thread in threads:
            thread.join()
        db.close()
        times = np.sort(np.concatenate([np.array(one) for one in done]))
        for start, seconds, made in splits:
            edges = np.arange(start - phase_s * 0.9, start + phase_s * 0.9, SLICE_S)
            calls = np.histogram(times, edges)[0]
            before = calls[: len(calls) // 2]
            after = calls[len(calls) // 2 :]
            usual = float(np.median(before))
            dip = 1 - float(after[: int(1.0 / SLICE_S)].min()) / usual
            low = int((after[: int(1.0 / SLICE_S)] < usual / 2).sum())
            bench.row(
                into=str(made),
                split_ms=seconds * 1e3,
                calls_per_s_before=usual / SLICE_S,
                calls_per_s_after=float(np.median(after)) / SLICE_S,
                dip=dip,
                dip_ms=low * SLICE_S * 1e3,
            )
            bench.at_most(
                f"milliseconds at under half of the usual rate, split into {made}", low * SLICE_S * 1e3, 500
            )
        bench.at_most("writes that failed", len(failures), 0)
        wanted = {key: value for one in rows for key, value in one.items()}
        found = {row["id"]: int(row["v"][0]) for row in table.query(output_fields=["id", "v"])}
        bench.at_most("rows lost or old", sum(found.get(key) != value for key, value in wanted.items()), 0)
        bench.at_most("rows too many", len(set(found) - set(wanted)), 0)
    bench.finish()


if __name__ == "__main__":
    main()
