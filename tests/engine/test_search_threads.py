"""Large segments are divided among the cores, the calling thread's among them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.settings import MaintenanceSettings, Settings

DIM, ROWS = 16, 5000
ALONE = Settings(maintenance=MaintenanceSettings(automatic=False))
DICE = np.random.default_rng(8)
SEARCH: Any = sys.modules["headwater.query.search"]
CODED: Any = sys.modules["headwater.query.coded"]


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The segments that were handed on, where 20,000 components compared are much work."""
    seen: list[str] = []
    share_out = SEARCH._shared_out

    def shared_out(*asked: Any) -> Any:
        found = share_out(*asked)
        seen.extend(segment.id for some in found[1:] for segment in some)
        return found

    monkeypatch.setattr(SEARCH, "_LARGE_WORK", 20_000)
    monkeypatch.setattr(SEARCH, "_CORES", 2)
    monkeypatch.setattr(SEARCH, "_shared_out", shared_out)
    return seen


def _table(path: Path) -> tuple[Any, np.ndarray]:
    table = hw.connect(path, settings=ALONE).create_collection(
        "t", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id"
    )
    vectors = DICE.normal(size=(3 * ROWS, DIM)).astype(np.float32)
    for start in range(0, 3 * ROWS, ROWS):
        table.insert({"id": np.arange(start, start + ROWS), "v": vectors[start : start + ROWS]})
        table.flush()
    return table, vectors


def _check(table: Any, vectors: np.ndarray) -> None:
    query = DICE.normal(size=DIM).astype(np.float32)
    nearest = np.argsort(((vectors - query) ** 2).sum(axis=1))[:10]
    found = table.search(query, top_k=10, params={"metric_type": "L2"})[0]
    assert {hit["id"] for hit in found} == set(nearest.tolist())


def test_large_segments_are_divided_among_the_cores(tmp_path: Path, handed: list[str]) -> None:
    table, vectors = _table(tmp_path)
    _check(table, vectors)
    assert len(handed) == 1
    handed.clear()
    SEARCH._CORES = 1
    _check(table, vectors)
    assert not handed


def test_rows_in_the_log_that_have_codes_are_searched_where_the_search_is(
    tmp_path: Path, handed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scan of codes takes less than another thread, which a busy machine does not run at once."""
    monkeypatch.setattr(CODED, "_LEAST_NUMBERS", 1000)
    table, _ = _table(tmp_path)
    table.create_index("v", "IVF_FLAT", metric_type="L2", params={"nlist": 4})
    vectors = DICE.uniform(size=(2 * ROWS, DIM)).astype(np.float32)
    table.create_partition("other")
    for part, partition in enumerate((None, "other")):
        keys = np.arange((3 + part) * ROWS, (4 + part) * ROWS)
        rows = {"id": keys, "v": vectors[part * ROWS : (part + 1) * ROWS]}
        table.insert(rows, partition=partition)
    assert table.search(vectors[0], top_k=1)[0][0]["id"] == 3 * ROWS
    assert len(handed) == 1
    CODED.wait_for_codes()
    handed.clear()
    monkeypatch.setattr(SEARCH, "_LARGE_WORK", ROWS * DIM // 2)
    for number in (1, ROWS + 1):
        assert table.search(vectors[number], top_k=1)[0][0]["id"] == 3 * ROWS + number
    assert not handed
