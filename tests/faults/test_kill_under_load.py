"""kill -9 at random moments under load: every acknowledged row is there after reopening, and none twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import headwater as hw
from headwater.testing.s3_server import s3_server

from . import loading

KILLS = 200
LAKES = 10

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["tests.faults.loading", "headwater", "headwater.index", "pyarrow.parquet", "pandas", "pytest"]
)


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "folder":
        yield SimpleNamespace(url=str(tmp_path / "lake"), options={})
    else:
        with s3_server() as server:
            yield SimpleNamespace(url=f"{server.url}/{uuid.uuid4().hex}", options=server.options)


def killed(place: Any, told: Path, first: int, after_s: float) -> list[tuple[int, int, int]]:
    """What a process acknowledged before it was killed."""
    told.unlink(missing_ok=True)
    process = _CONTEXT.Process(target=loading.load, args=(place.url, place.options, first, told), daemon=True)
    process.start()
    assert process.pid is not None
    deadline = time.monotonic() + 120
    while process.is_alive() and not (told.exists() and told.stat().st_size):
        assert time.monotonic() < deadline, "the writer had nothing acknowledged"
        time.sleep(0.002)
    time.sleep(after_s)
    assert process.is_alive(), "the writer ended by itself"
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    return list(loading.ACKNOWLEDGED.iter_unpack(told.read_bytes()))


@pytest.mark.slow
def test_every_acknowledged_row_survives(place: Any, tmp_path: Path) -> None:
    dice = random.Random(7)
    for lake in range(LAKES):
        there = SimpleNamespace(url=f"{place.url}/{lake}", options=place.options)
        survives(there, tmp_path / "told", dice)


def survives(place: Any, told: Path, dice: random.Random) -> None:
    """One collection, killed and opened again and again."""
    schema = {"id": hw.Int64, "value": hw.Int64, "v": hw.FloatVector(4)}
    made = hw.connect(place.url, place.options).create_collection("t", schema, "id")
    made.create_index("v", "IVF_FLAT", metric_type="L2")
    expected: dict[int, int] = {}
    gone: set[int] = set()
    for kill in range(KILLS // LAKES):
        after_s = dice.uniform(0.0, dice.choice((0.03, 0.3)))
        for kind, key, value in killed(place, told, (kill + 1) * 1_000_000, after_s):
            if kind == loading.DELETE:
                gone.add(key)
                expected.pop(key, None)
            else:
                expected[key] = value
        collection = hw.connect(place.url, place.options, settings=loading.settings()).collection("t")
        table = collection.to_arrow(["id", "value"])
        ids = table.column("id").to_pylist()
        assert len(ids) == len(set(ids)), f"kill {kill}: a key is there twice"
        found = dict(zip(ids, table.column("value").to_pylist(), strict=True))
        assert not gone & set(found), f"kill {kill}: a deleted row is back"
        for key, value in expected.items():
            # A write that was under way may have happened after the last one acknowledged.
            assert key in found or key >= 0, f"kill {kill}: key {key} is lost"
            assert found.get(key, value) >= value, f"kill {kill}: key {key} went back"
        lost = {key for key in expected if key >= 0} - set(found)
        # A delete that was under way when the process died may have happened without being told.
        assert len(lost) <= kill + 1
        expected = {key: value for key, value in expected.items() if key not in lost}
    assert len(expected) > loading.HOT_KEYS
    assert collection.verify().damaged == ()
    nearest = collection.search([0.0, 0.0, 1.0, 0.0], top_k=3)
    assert len(nearest[0]) == 3
