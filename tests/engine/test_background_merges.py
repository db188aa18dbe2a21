"""Rows in the log are merged into larger segments by another thread; what is written meanwhile is not lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import headwater as hw
from headwater.query.coded import wait_for_codes
from headwater.settings import MaintenanceSettings, Settings

ALONE = Settings(maintenance=MaintenanceSettings(automatic=False))


def _rows(numbers: np.ndarray, value: int) -> pa.Table:
    return pa.table({"id": numbers, "n": np.full(len(numbers), value)})


def _made(path: Path) -> Any:
    return hw.connect(path, settings=ALONE).create_collection("t", {"id": hw.Int64, "n": hw.Int64}, "id")


def _state(table: Any) -> dict[int, int]:
    return {row["id"]: row["n"] for row in table.query("id >= 0", output_fields=["id", "n"], limit=100_000)}


def _growing(table: Any) -> list[int]:
    return [segment.num_rows for segment in table._live().pinned.segments]


def test_deletes_and_upserts_during_a_merge_are_kept(tmp_path: Path) -> None:
    table = _made(tmp_path)
    waiting: list[Callable[[], None]] = []
    live: dict[int, int] = {}
    dice = np.random.default_rng(5)
    prepared = []

    def change(merged: Any, larger: Any) -> None:
        prepared.append(merged.num_rows)
        gone = dice.choice(sorted(live), 50, replace=False)
        moved = dice.choice(sorted(live), 50, replace=False)
        table.delete(gone.tolist())
        for one in gone.tolist():
            del live[one]
        table.upsert(_rows(moved, len(prepared)))
        live.update(dict.fromkeys(moved.tolist(), len(prepared)))
        assert table.count() == len(live)

    table._log.merge_in_background(lambda function: not waiting.append(function), change)
    for start in range(0, 48_000, 6000):
        numbers = np.arange(start, start + 6000)
        table.insert(_rows(numbers, 0))
        live.update(dict.fromkeys(numbers.tolist(), 0))
        gone = numbers[::7]
        table.delete(gone.tolist())
        for one in gone.tolist():
            live.pop(one)
        assert _state(table) == live
        while waiting:
            waiting.pop()()
        assert _state(table) == live
    assert len(prepared) >= 3
    assert max(_growing(table)) > 8192
    again = hw.connect(tmp_path, settings=ALONE).collection("t")
    assert _state(again) == live
    wait_for_codes()
    assert _state(again) == live


def test_sealing_during_a_merge_wins(tmp_path: Path) -> None:
    table = _made(tmp_path)
    waiting: list[Callable[[], None]] = []
    table._log.merge_in_background(
        lambda function: not waiting.append(function), lambda merged, larger: table.flush()
    )
    for start in range(0, 12_000, 6000):
        table.insert(_rows(np.arange(start, start + 6000), 1))
        assert table.count() == start + 6000
    assert waiting
    waiting.pop()()
    assert _growing(table) == []
    assert table.count() == 12_000
    table.insert(_rows(np.arange(12_000, 12_010), 1))
    assert len(_state(table)) == 12_010


def test_looks_merge_by_themselves_where_the_background_is_late(tmp_path: Path) -> None:
    table = _made(tmp_path)
    table._log.merge_in_background(lambda function: False, lambda merged, larger: None)
    for start in range(0, 50):
        table.insert(_rows(np.arange(start * 5000, start * 5000 + 5000), 1))
        table.count()
    assert len(_growing(table)) <= 34


def test_a_look_leaves_large_pieces_to_whoever_reads_them(tmp_path: Path) -> None:
    table = _made(tmp_path)
    for start in range(0, 40_000, 5000):
        table.insert(_rows(np.arange(start, start + 5000), start))
    [growing] = table._live().pinned.segments
    before = [column.num_chunks for column in growing.rows.columns]
    assert before == [8, 8]
    assert growing.size_bytes == growing.rows.nbytes
    table.delete(np.arange(0, 40_000, 2).tolist())
    wanted = {number: number // 5000 * 5000 for number in range(1, 40_000, 2)}
    assert _state(table) == wanted
    [growing] = table._live().pinned.segments
    assert [column.num_chunks for column in growing.rows.columns] == [1, 1]
    table.flush()
    assert _state(table) == wanted


def test_a_look_joins_small_pieces(tmp_path: Path) -> None:
    table = _made(tmp_path)
    for number in range(50):
        table.insert(_rows(np.array([number]), number))
    [growing] = table._live().pinned.segments
    assert [column.num_chunks for column in growing.rows.columns] == [1, 1]
    assert _state(table) == {number: number for number in range(50)}
