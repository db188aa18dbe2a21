"""A column that comes while segments are merged, and a merge that comes while a column is written, lose no value."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.settings import MaintenanceSettings, Settings

ROWS = 300
QUIET = Settings(maintenance=MaintenanceSettings(automatic=False))


@pytest.fixture(params=["id", None])
def docs(tmp_path: Path, request: pytest.FixtureRequest) -> hw.Collection:
    schema = {"id": hw.Int64, "v": hw.FloatVector(4)}
    made = hw.connect(tmp_path, settings=QUIET).create_collection("docs", schema, request.param)
    rng = np.random.default_rng(0)
    for start in range(0, ROWS, 100):
        made.insert({"id": np.arange(start, start + 100), "v": rng.random((100, 4), dtype=np.float32)})
        made.flush()
    made.delete(filter="id % 10 == 3")
    made.flush()
    return made


def once_before(monkeypatch: pytest.MonkeyPatch, job: str, name: str, work: Callable[[], Any]) -> None:
    """Have something done the first time that a function is called, before it begins."""
    module, done = import_module(f"headwater.jobs.{job}"), []
    inner = getattr(module, name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        if not done:
            done.append(True)
            work()
        return inner(*args, **kwargs)

    monkeypatch.setattr(module, name, outer)


def found(docs: hw.Collection) -> dict[int, Any]:
    table = docs.to_arrow(["id", "n"])
    return dict(zip(table["id"].to_pylist(), table["n"].to_pylist(), strict=True))


def expected() -> dict[int, int]:
    return {number: 10 * number for number in range(ROWS) if number % 10 != 3}


def test_a_merge_gives_way_to_a_column(docs: hw.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = docs.to_arrow(["id"])["id"].to_numpy()
    once_before(
        monkeypatch, "compact", "_rewritten", lambda: docs.add_column("n", pa.array(10 * ids), type=hw.Int64)
    )
    docs.optimize()
    assert found(docs) == expected()
    docs.optimize()
    assert found(docs) == expected()


@pytest.mark.parametrize("how", ["array", "function", "table", "constant"])
def test_a_column_is_written_again_for_what_was_merged(
    docs: hw.Collection, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ids = docs.to_arrow(["id"])["id"].to_numpy()
    # Row ids are given in the order of insertion, as these keys are.
    key = docs.schema.primary_key or "row_id"
    values: Any = {
        "array": 10 * ids,
        "function": lambda batch: 10 * np.asarray(batch.column("id")),
        "table": pa.table({key: ids, "n": 10 * ids}),
        "constant": 7,
    }[how]
    once_before(monkeypatch, "add_column", "write_column_group", lambda: docs.optimize())
    docs.add_column("n", values, type=hw.Int64)
    assert found(docs) == (expected() if how != "constant" else dict.fromkeys(expected(), 7))


def test_a_function_fills_what_was_merged_while_it_was_filling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = hw.connect(tmp_path, settings=QUIET)
    db.register_embedder("lengths", lambda texts: np.array([[len(text), 1] for text in texts], np.float32))
    docs = db.create_collection("docs", {"id": hw.Int64, "text": hw.String}, "id")
    for start in range(0, ROWS, 100):
        docs.insert([{"id": n, "text": "x" * (n % 7)} for n in range(start, start + 100)])
        docs.flush()
    once_before(monkeypatch, "backfill", "_commit", lambda: docs.optimize())
    embed = hw.Function("embed", "TEXT_EMBEDDING", "text", "e", {"provider": "lengths"})
    report = docs.add_function(embed, hw.FloatVector(2))
    assert report.segments_filled == 1
    rows = docs.to_arrow(["id", "e"]).to_pylist()
    assert {row["id"]: row["e"] for row in rows} == {n: [n % 7, 1] for n in range(ROWS)}
