"""Calls of many rows: written once as segments that the log names, and everything else as for any rows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.engine import maintaining
from headwater.lake import plan_compaction
from headwater.lake.log import large
from headwater.lake.manifest import ColumnGroup, FileRef, Segment

DIM = 8
QUIET = hw.settings.MaintenanceSettings(automatic=False)
SMALL = hw.Settings(write=hw.settings.WriteSettings(bulk_bytes=1000), maintenance=QUIET)


def rows(first: int, count: int, n: int = 0) -> dict[str, object]:
    vectors = np.random.default_rng(first).normal(size=(count, DIM)).astype(np.float32)
    return {"id": range(first, first + count), "n": [n] * count, "v": vectors}


def make(folder: Path, settings: hw.Settings = SMALL, **options: object) -> hw.Collection:
    schema = {"id": hw.Int64, "n": hw.Int64, "v": hw.FloatVector(DIM)}
    return hw.connect(folder, settings=settings).create_collection("t", schema, "id", **options)


def there(collection: hw.Collection) -> dict[int, int]:
    table = collection.to_arrow(["id", "n"])
    ids = table.column("id").to_pylist()
    assert len(ids) == len(set(ids))
    return dict(zip(ids, table.column("n").to_pylist(), strict=True))


def bytes_under(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(f"{name}/*/*") if path.is_file())


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_of_a_large_call_are_written_once_and_held_nowhere(tmp_path: Path, shards: int) -> None:
    table = make(tmp_path, num_shards=shards)
    table.insert(rows(0, 2000, 1))
    table.upsert(rows(1500, 1000, 2))
    table.delete([0, 1700, 2499])
    table.upsert(rows(5, 1, 3))
    expected = {**dict.fromkeys(range(1500), 1), **dict.fromkeys(range(1500, 2500), 2), 5: 3}
    for gone in (0, 1700, 2499):
        del expected[gone]
    health = table.health()
    assert health["segments"] == 0, "nothing is sealed yet"
    assert health["growing_rows"] <= 1
    written = bytes_under(tmp_path, "segments")
    assert bytes_under(tmp_path, "log") < written / 4
    other = hw.connect(tmp_path, settings=SMALL).collection("t")
    for _ in range(2):
        assert there(table) == there(other) == expected
        [[hit]] = other.search(rows(1500, 1000)["v"][10], top_k=1, params={"metric_type": "L2"})  # type: ignore[index]
        assert (hit["id"], hit["distance"]) == (1510, pytest.approx(0.0, abs=1e-5))
        table.flush()
    # What sealing adds is delete vectors and the one row of the log.
    assert bytes_under(tmp_path, "segments") < 1.2 * written
    table.optimize()
    table.gc(retention_s=0.0, grace_s=-1.0)
    assert there(table) == expected


def test_garbage_collection_keeps_what_only_the_log_names(tmp_path: Path) -> None:
    table = make(tmp_path)
    table.insert(rows(0, 500))
    assert table.gc(retention_s=0.0, grace_s=-1.0).objects_deleted == 0
    assert len(there(hw.connect(tmp_path).collection("t"))) == 500


def test_the_change_feed_and_partitions_know_them(tmp_path: Path) -> None:
    table = make(tmp_path)
    table.create_partition("staff")
    start = table.flush()
    table.insert(rows(0, 300), partition="staff")
    table.insert(rows(300, 300))
    table.delete([7])
    assert table.count(partitions=["staff"]) == 299
    table.flush()
    assert table.count(partitions=["staff"]) == 299
    found = [row for batch in table.changes(since=start) for row in batch.to_pylist()]
    assert sorted(row["id"] for row in found) == [*range(7), *range(8, 600)]


def test_a_shard_that_is_split_meanwhile_has_the_rows_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make(tmp_path)
    table.upsert(rows(0, 500, 1))
    real, splits = large.NewSegments, []

    def split_first(*given: object) -> object:
        if not splits:
            splits.append(hw.connect(tmp_path).collection("t").split_shard())
        return real(*given)

    monkeypatch.setattr(large, "NewSegments", split_first)
    table.upsert(rows(0, 600, 2))
    assert splits == [[1, 2]]
    assert there(table) == dict.fromkeys(range(600), 2)
    table.delete(list(range(0, 600, 2)))
    for collection in (table, hw.connect(tmp_path).collection("t")):
        assert there(collection) == dict.fromkeys(range(1, 600, 2), 2)


def test_upkeep_puts_them_into_a_version_soon(tmp_path: Path) -> None:
    often = replace(SMALL, maintenance=hw.settings.MaintenanceSettings(interval_s=0.01))
    table = make(tmp_path, often)
    table.insert(rows(0, 500))
    deadline = time.monotonic() + 60
    while not table.manifest.segments and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [segment.num_rows for segment in table.manifest.segments] == [500]


def test_a_writer_seals_them_where_nobody_does(tmp_path: Path) -> None:
    table = make(tmp_path)
    for first in range(0, 70 * 30, 30):
        table.insert(rows(first, 30))
    assert len(table.manifest.segments) == 64
    assert table.count() == 70 * 30


def _segment(number: int, size_bytes: int) -> Segment:
    group = ColumnGroup("arrow_ipc", (1,), FileRef(f"{number}", size_bytes, ""))
    return Segment(f"{number}", 10_000, ((10_000 * number, 10_000),), (group,))


@pytest.mark.parametrize(
    ("count", "size_mib", "loading", "merged"),
    [
        (10, 30, False, [10]),
        (10, 30, True, []),
        (10, 1, True, [10]),
        (31, 30, True, []),
        (32, 30, True, [32]),
        (12, 100, True, [10]),
        (12, 100, False, [10, 2]),
    ],
)
def test_large_segments_wait_for_a_full_one_while_more_come(
    tmp_path: Path, count: int, size_mib: int, loading: bool, merged: list[int]
) -> None:
    manifest = replace(
        make(tmp_path).manifest, segments=tuple(_segment(n, size_mib << 20) for n in range(count))
    )
    tasks = plan_compaction(
        manifest,
        target_rows=1_000_000,
        target_bytes=1 << 30,
        merge_segments=8,
        deleted_share=0.2,
        small_rows=10_000,
        loading=loading,
    )
    assert [len(task.segments) for task in tasks] == merged


def test_what_waited_is_merged_when_no_more_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintaining, "_LOADING_S", 0.5)
    monkeypatch.setattr("headwater.lake.compaction._LARGE_BYTES", 1000)
    often = hw.settings.MaintenanceSettings(interval_s=0.01, merge_segments=3)
    table = make(tmp_path, replace(SMALL, maintenance=often))
    for first in range(0, 2000, 500):
        table.insert(rows(first, 500))
    deadline = time.monotonic() + 60
    while [one.num_rows for one in table.manifest.segments] != [2000] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [one.num_rows for one in table.manifest.segments] == [2000]
