"""An index that a caller waits for is built once: upkeep neither builds it too nor keeps the caller waiting."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.jobs import BuildReport


@pytest.fixture
def docs(tmp_path: Path) -> hw.Collection:
    quiet = replace(
        hw.Settings(), maintenance=replace(hw.Settings().maintenance, automatic=False, index_rows=1)
    )
    docs = hw.connect(tmp_path / "lake", settings=quiet).create_collection(
        "docs", {"id": hw.Int64, "v": hw.FloatVector(8)}, "id"
    )
    vectors = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    docs.insert({"id": np.arange(3000), "v": vectors})
    docs.flush()
    return docs


def builds(docs: hw.Collection) -> int:
    return sum(one.operation.startswith("build index") for one in docs.history())


@pytest.mark.parametrize("kind", ["AUTOINDEX", "HNSW"])
def test_upkeep_leaves_an_index_to_the_caller_who_builds_it(docs: hw.Collection, kind: str) -> None:
    worked: list[bool] = []

    def meanwhile(_done: int, _total: int) -> None:
        if not worked:
            upkeep = threading.Thread(target=lambda: worked.append(docs._improve()))
            upkeep.start()
            upkeep.join()

    report = docs.create_index("v", kind, progress=meanwhile)
    assert worked == [False]
    assert (report.segments_built, builds(docs)) == (1, 1)


def test_upkeep_gives_up_what_a_caller_asks_for(docs: hw.Collection) -> None:
    docs.declare_index("v")
    reports: list[BuildReport] = []
    caller = threading.Thread(target=lambda: reports.append(docs.create_index("v")))

    def told(_what: str, _done: int, _total: int) -> None:
        if caller.ident is None:
            caller.start()
            while not docs._build_turns.wanted("v"):
                pass

    docs._improve(told=told)
    caller.join()
    assert reports[0].segments_built == builds(docs) == 1
    assert docs.search(np.zeros(8, np.float32), params={"metric_type": "COSINE"}).info.index_coverage == 1.0


def test_upkeep_builds_once_nobody_waits(docs: hw.Collection) -> None:
    docs.declare_index("v")
    with pytest.raises(ZeroDivisionError):
        docs.create_index("v", progress=lambda _done, _total: 1 // 0)
    assert docs._improve()
    assert builds(docs) == 1
