"""Tiers on the command line, in metrics, over REST, and through the Python door of a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rest_serving import both
from serving import Address, served
from typer.testing import CliRunner

import headwater as hw
from headwater import errors
from headwater.doors.cli import app
from headwater.doors.serve.metrics import Metrics

ROWS = 1200
VECTORS = np.random.default_rng(2).random((ROWS, 8), np.float32)


def made(path: Path) -> None:
    with hw.connect(path) as db:
        docs = db.create_collection(
            "docs", {"id": hw.Int64, "title": hw.String, "v": hw.FloatVector(8)}, "id"
        )
        docs.insert({"id": range(ROWS), "title": [f"t{number}" for number in range(ROWS)], "v": VECTORS})
        docs.create_index("v", "IVF_FLAT", metric_type="L2")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    made(tmp_path / "lake")
    return tmp_path / "lake"


def run(lake: Path | str, *words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["--lake", str(lake), *words])
    if code:
        assert isinstance(result.exception, errors.HeadwaterError)
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_line_sets_and_shows_tiers(lake: Path) -> None:
    assert "wanted auto" in run(lake, "tiers", "docs")
    told = json.loads(run(lake, "tiers", "docs", "--set", "cold", "--index", "v", "--json"))
    assert (told["policy"], told["indexes"]) == ("auto", {"v": "cold"})
    told = json.loads(run(lake, "tiers", "docs", "--set", "warm", "--warmup", "sync", "--json"))
    assert told["policy"] == "warm"
    assert {one["warmup"] for one in told["files"]} == {"sync"}
    told = json.loads(run(lake, "tiers", "docs", "--set", "none", "--index", "v", "--json"))
    assert told["indexes"] == {}
    assert "no tier policy" in run(lake, "tiers", "docs", "--set", "luke", code=1)
    assert "need the name" in run(lake, "tiers", "--set", "hot", code=1)
    assert json.loads(run(lake, "tiers", "--json"))["memory"]["used_bytes"] == 0
    assert "budgets" in run(lake, "tiers")


def test_the_command_line_warms_up(lake: Path) -> None:
    [told] = json.loads(run(lake, "warmup", "docs", "--json"))
    assert told["files"] == 3
    assert told["size_bytes"] > VECTORS.nbytes
    [told] = json.loads(run(lake, "warmup", "docs", "--fields", "v", "--json"))
    assert told["files"] == 2
    assert "files" in run(lake, "warmup", "docs")
    assert "nothing" in run(lake, "warmup", "docs", "--fields", "nothing", code=1)


def sample(text: str, name: str, **labels: str) -> float:
    found = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    ]
    return sum(found)


@pytest.fixture
def address(lake: Path) -> Iterator[Address]:
    with served(lake) as found:
        yield found


def test_a_server_tells_where_everything_is(address: Address) -> None:
    metrics = Metrics(address.service, address.backend, 0)
    told = json.loads(run(address, "tiers", "docs", "--set", "hot", "--json"))
    assert told["policy"] == "hot"
    assert "files" in run(address, "warmup", "docs")
    told = json.loads(run(address, "tiers", "docs", "--json"))
    assert {one["tier"] for one in told["files"]} == {"hot"}
    text = metrics.text().decode()
    assert sample(text, "headwater_tier_bytes", tier="hot") > 0
    assert sample(text, "headwater_tier_used_bytes", place="memory") > 0
    assert sample(text, "headwater_tier_budget_bytes", place="memory") == 4 << 30
    assert sample(text, "headwater_tier_misses_total", place="memory") > 0
    assert "hot" in run(address, "tiers")


def test_rest_tells_where_everything_is(lake: Path) -> None:
    with both(lake) as rest:
        rest.get("collections/alter_properties", collectionName="docs", properties={"tier.policy": "hot"})
        told = rest.get("tiers/describe", collectionName="docs")
        assert (told["policy"], set(told["bytes_by_tier"])) == ("hot", {"closed"})
        assert rest.get("tiers/describe")["memory"]["budget_bytes"] == 4 << 30
        assert rest.refused("tiers/describe", collectionName="nothing")[0] == 100


@pytest.fixture
def remote(address: Address) -> Iterator[Any]:
    with hw.connect(str(address)) as db:
        yield db


def test_the_python_door_of_a_server_has_the_same_methods(remote: Any) -> None:
    docs = remote.collection("docs")
    for place in ({}, {"field": "v"}, {"index": "v"}):
        docs.set_tier("hot", **place)
    told = docs.tiers()
    assert (told.policy, told.fields, told.indexes) == ("hot", {"v": "hot"}, {"v": "hot"})
    steps: list[tuple[int, int]] = []
    report = docs.warm_up(progress=lambda done, total: steps.append((done, total)))
    assert (report.files, steps[-1]) == (3, (100, 100))
    assert {one.tier for one in docs.tiers().files} == {"hot"}
    assert remote.tiers.report().memory.used_bytes > 0
    docs.release()
    assert None in {one.tier for one in docs.tiers().files}
    for place in ({}, {"field": "v"}, {"index": "v"}):
        docs.set_warmup("sync", **place)
        docs.set_tier(None, **place)
    remote.set_tier("docs", "cold")
    docs.load()
    assert {one.tier for one in docs.tiers().files} == {"cold"}
    with pytest.raises(errors.InvalidArgument):
        docs.set_tier("luke")
    with pytest.raises(errors.InvalidArgument):
        docs.set_tier("hot", field="v", index="v")
    with pytest.raises(errors.FieldNotFound):
        docs.set_tier("hot", field="nothing")
    with pytest.raises(errors.IndexNotFound):
        docs.set_tier("hot", index="nothing")
    with pytest.raises(errors.UnsupportedOption):
        docs.warm_up(fields=["v"])
