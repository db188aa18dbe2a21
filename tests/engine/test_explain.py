"""`explain` says what a read really did."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater import trace
from headwater.doors.cli import app

ROWS = 4_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("explained")
    db = hw.connect(path)
    docs = db.create_collection(
        "docs", {"id": hw.Int64, "year": hw.Int64, "title": hw.String, "v": hw.FloatVector(16)}, "id"
    )
    draw = np.random.default_rng(0)
    for part in range(2):
        docs.insert(
            {
                "id": np.arange(ROWS) + part * ROWS,
                "year": np.arange(ROWS) % 10 + 2000 + 100 * part,
                "title": [f"title {i}" for i in range(ROWS)],
                "v": draw.standard_normal((ROWS, 16), dtype=np.float32),
            }
        )
        docs.flush()
    docs.create_index("v", "IVF_FLAT", params={"nlist": 16})
    return path


@pytest.fixture
def docs(lake: Path) -> hw.Collection:
    """A handle that has nothing in memory yet."""
    return hw.connect(lake).collection("docs")


def segments_of(docs: hw.Collection) -> list[str]:
    return [segment.id for segment in docs._lake.latest().segments]


def test_a_segment_that_the_filter_cannot_match_is_named_as_pruned(docs: hw.Collection) -> None:
    first, second = segments_of(docs)
    with hw.explain() as what:
        docs.search([np.ones(16)], filter="year < 2050")
    assert what.pruned == [second]
    assert list(what.strategies) == [first]


def test_the_strategy_follows_the_selectivity(docs: hw.Collection) -> None:
    with hw.explain() as whole:
        docs.search([np.ones(16)])
    with hw.explain() as few:
        docs.search([np.ones(16)], filter="year == 2003")
    assert set(whole.strategies.values()) == {"inverted lists"}
    assert set(few.strategies.values()) == {"exact over the selected rows"}
    assert whole.indexes == few.indexes == ["v"]
    assert few.total("vectors_compared") == ROWS // 10


def test_what_is_in_memory_is_not_read_again(docs: hw.Collection) -> None:
    totals = []
    for _ in range(2):
        with hw.explain() as what:
            docs.search([np.ones(16)], filter="year >= 2005")
        totals.append((what.total("rows_read"), what.total("bytes_read")))
    assert totals[0][0] == 2 * ROWS
    assert totals[0][1] > 0
    assert totals[1] == (0, 0)


def test_a_filter_seen_before_is_not_evaluated_again(docs: hw.Collection) -> None:
    sources = []
    for _ in range(2):
        with hw.explain() as what:
            docs.count("title like '%9'")
        sources.append({step.details["source"] for step in what.root.walk() if step.name == "filter"})
    assert sources == [{"evaluated"}, {"kept from an earlier read"}]


def test_what_is_dear_is_only_asked_of_the_rows_that_are_left(docs: hw.Collection) -> None:
    with hw.explain() as what:
        docs.count("title like '%7' and year == 2003")
    scans = [step.details for step in what.root.walk() if step.name == "scan"]
    assert [(one["fields"], one["rows"]) for one in scans] == [(["year"], ROWS), (["title"], ROWS // 10)]


def test_rows_that_no_index_covers_say_so(lake: Path, tmp_path: Path) -> None:
    docs = hw.connect(shutil.copytree(lake, tmp_path / "lake")).collection("docs")
    docs.insert({"id": [10**6], "year": [2000], "title": ["new"], "v": [np.ones(16)]})
    with hw.explain() as what:
        docs.search([np.ones(16)], top_k=1)
    growing = [step.details for step in what.root.walk() if step.details.get("why")]
    assert [one["why"] for one in growing] == ["no index covers the segment"]


def test_steps_take_no_longer_than_what_they_are_part_of(docs: hw.Collection) -> None:
    with hw.explain() as what:
        docs.search([np.ones(16)], output_fields=["title"])
        docs.query("year == 2001", order_by="-id", limit=3)
    assert [step.name for step in what.root.steps] == ["search", "fetch", "query"]
    for step in what.root.walk():
        assert sum(inner.seconds for inner in step.steps) <= step.seconds


def test_text_and_json_say_the_same(docs: hw.Collection) -> None:
    with hw.explain() as what:
        docs.search([np.ones(16)], filter="year < 2050")
    told = json.loads(json.dumps(what.to_json()))
    assert told["strategies"] == what.strategies
    assert told["segments_pruned"] == what.pruned
    for words in (*what.strategies.values(), *what.pruned):
        assert words in str(what)


def test_work_in_other_threads_keeps_its_place(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["headwater.query.search"], "_LARGE_WORK", 0)
    docs = hw.connect(lake).collection("docs")
    with hw.explain() as what:
        docs.search([np.ones(16)])
    [search] = [step for step in what.root.steps if step.name == "search"]
    assert [step.name for step in search.steps].count("segment") >= 2


def test_nothing_is_recorded_outside() -> None:
    assert not trace.recording()
    with trace.step("nothing") as step:
        trace.count(rows=1)
        assert step is None
    with hw.explain() as what:
        assert trace.recording()
    assert not trace.recording()
    assert what.root.steps == []


def test_an_error_leaves_no_recording_behind(docs: hw.Collection) -> None:
    with pytest.raises(hw.errors.FilterSyntax), hw.explain():
        docs.query("year = 1")
    assert not trace.recording()


def test_the_command_line_explains_on_stderr(lake: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["--lake", str(lake), "--explain", "query", "docs", "-f", "year == 2001", "--limit", "1", "--json"],
    )
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    assert "filter" in done.stderr
