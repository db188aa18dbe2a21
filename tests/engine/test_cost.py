"""What a collection costs, against what is really in its store and what its searches really ask."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater.doors.cli import app, showing
from headwater.engine import Database
from headwater.errors import InvalidArgument
from headwater.query.cost import Workload, default_lists, sizes
from headwater.settings import Settings
from headwater.store import open_store
from headwater.testing.rounds import RoundsStore
from headwater.tiers.report import DiskReport, TiersReport

DIM, ROWS = 64, 12_000


def table(rows: int, first: int = 0) -> pa.Table:
    rng = np.random.default_rng(first)
    centres = np.random.default_rng(9).normal(size=(80, DIM))
    vectors = (centres[rng.integers(0, 80, rows)] + 0.4 * rng.normal(size=(rows, DIM))).astype("f4")
    return pa.table(
        {
            "id": pa.array(range(first, first + rows), pa.int64()),
            "year": pa.array(rng.integers(1900, 2000, rows), pa.int32()),
            "text": [f"the text of row {i}: {rng.bytes(60).hex()}" for i in range(rows)],
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM),
        }
    )


QUIET = hw.Settings.from_values({"maintenance": {"automatic": False}, "tiers": {"disk_bytes": 0}})
FIELDS = {"id": hw.Int64, "year": hw.Int32, "text": hw.String, "embedding": hw.FloatVector(DIM)}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cost") / "lake"
    with hw.connect(folder, settings=QUIET) as db:
        docs = db.create_collection("docs", FIELDS, primary_key="id")
        docs.insert(table(ROWS))
        docs.flush()
        docs.create_index("embedding")
        docs.create_index("year", "STL_SORT")
        docs.delete([3, 4])
        docs.flush()
        whole = db.create_collection("whole", FIELDS, primary_key="id")
        whole.insert(table(ROWS))
        whole.flush()
        whole.create_index("embedding")
        parts = db.create_collection("parts", FIELDS, primary_key="id")
        for first in (0, ROWS):
            parts.insert(table(ROWS, first))
            parts.flush()
        parts.create_index("embedding")
    return folder


@pytest.fixture
def docs(lake: Path) -> hw.Collection:
    return hw.connect(lake, settings=QUIET).collection("docs")


@pytest.mark.parametrize(("name", "segments"), [("whole", 1), ("parts", 2)])
def test_cold_searches_ask_what_the_model_says(name: str, segments: int, lake: Path) -> None:
    store = RoundsStore(open_store(lake), latency_s=0.06)
    # However slow the machine, no request is one that looks for what others wrote.
    cold = Settings.from_values(
        {"tiers": {"policy": "cold", "disk_bytes": 0}, "write": {"staleness_s": 3600.0}}
    )
    collection = Database(store, "default", QUIET).collection(name)
    report = collection.cost()
    assert (report.shape.segments, report.shape.kind) == (segments, "ivf_rabitq")
    modelled = {one.case: one.reads for one in report.queries}

    store.reset()
    again = Database(store, "default", cold).collection(name)
    asked = []
    queries = table(9, 77)["embedding"].to_pylist()
    for query in [*queries, queries[0]]:
        again.search([query], top_k=10, output_fields=["id", "year", "text"], consistency_level="Eventually")
        asked.append((store.num_ranges, store.bytes_read, store.rounds))
        store.reset()
    first, later, same = asked[0], np.mean(asked[1:-1], axis=0), asked[-1]
    said, opened = modelled["cold, first of a process"], modelled["cold"]
    assert said.requests == pytest.approx(first[0], rel=0.3)
    # Most bytes lie between rows that are read together, and vary with the query.
    assert said.size_bytes - opened.size_bytes == pytest.approx(first[1] - same[1], rel=0.4)
    # A busy machine makes two rounds of one, where it comes late to a request: of some tries the least counts.
    rounds = [first[2]]
    while len(rounds) < 5 and min(rounds) > said.round_trips + 1:
        store.reset()
        fresh = Database(store, "default", cold).collection(name)
        fresh.search(
            [queries[0]], top_k=10, output_fields=["id", "year", "text"], consistency_level="Eventually"
        )
        rounds.append(store.rounds)
    assert said.round_trips == pytest.approx(min(rounds), abs=1)
    said = modelled["cold"]
    assert said.requests == pytest.approx(later[0], rel=0.2)
    assert said.size_bytes == pytest.approx(later[1], rel=0.35)
    assert said.round_trips == pytest.approx(np.median([one[2] for one in asked[1:]]), abs=1)


def test_every_byte_of_the_folder_is_of_some_kind(docs: hw.Collection, lake: Path) -> None:
    report = docs.cost()
    files = [path for path in (lake / docs.root).rglob("*") if path.is_file()]
    assert report.stored_bytes == sum(path.stat().st_size for path in files)
    assert report.objects == len(files)
    assert report.stored["vectors"] >= ROWS * DIM * 4
    assert report.stored["delete vectors"] == ROWS // 8
    builds = {spec.name: spec.kind for spec in docs.manifest.indexes}
    for build in docs.manifest.builds:
        assert report.stored[f"index: {builds[build.index]}"] >= build.file.size_bytes


def test_the_shape_is_what_the_indexes_say(docs: hw.Collection) -> None:
    shape = docs.cost().shape
    assert (shape.rows, shape.dim, shape.number_bytes, shape.kind) == (ROWS, DIM, 4, "ivf_rabitq")
    assert shape.nlist == shape.lists == default_lists(ROWS)
    assert 1 <= shape.nprobe <= shape.nlist


def test_index_and_manifest_are_as_large_as_the_model_says(docs: hw.Collection, lake: Path) -> None:
    report = docs.cost()
    modelled = sizes(report.shape)
    assert modelled.index == pytest.approx(report.stored["index: ivf_rabitq"], rel=0.04)
    assert modelled.vectors == pytest.approx(report.stored["vectors"], rel=0.01)
    newest = max((lake / docs.root / "manifests").iterdir(), key=lambda path: path.name)
    assert modelled.manifest == pytest.approx(newest.stat().st_size, rel=0.05)


def test_what_is_held_is_told_by_what_it_is(docs: hw.Collection) -> None:
    assert docs.cost().held == {}
    docs.search(table(1)["embedding"][0].as_py(), filter="year > 1950", output_fields=["text"])
    assert any(name.startswith("memory, ") for name in docs.cost().held)


def test_a_disk_cache_that_was_asked_often_says_its_share_of_hits(
    docs: hw.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docs.cost().workload.hit_share == Workload().hit_share
    busy = TiersReport(disk=DiskReport(hits=2_700, misses=300))
    monkeypatch.setattr(docs._opened.tiers, "report", lambda: busy)
    report = docs.cost()
    assert report.seen["disk cache hits"] == 2_700
    assert report.workload.hit_share == 0.9
    assert docs.cost(workload={"hit_share": 0.5}).workload.hit_share == 0.5


def test_a_probe_measures_and_changes_nothing(docs: hw.Collection) -> None:
    before = docs.version
    report = docs.cost(probe=True)
    how = {one.case: one for one in report.queries}
    assert how["cold"].source == how["cold, first of a process"].source == "measured"
    assert how["hot"].source == "modelled"
    assert 0 < how["cold"].reads.requests < how["cold, first of a process"].reads.requests
    assert report.probed
    assert 0 < report.machine.round_trip_s < 1
    assert docs.version == before
    assert {one.source for one in docs.cost().queries} == {"modelled"}


def test_files_of_others_are_not_counted_as_stored(tmp_path: Path) -> None:
    pq.write_table(table(500), tmp_path / "part.parquet")
    theirs = hw.connect(tmp_path / "lake").create_external_collection(
        "theirs", src=str(tmp_path / "part.parquet")
    )
    report = theirs.cost()
    assert report.external_bytes == (tmp_path / "part.parquet").stat().st_size
    assert report.stored.get("vectors", 0) == 0


def test_a_collection_without_rows_or_vectors_has_a_price_too(tmp_path: Path) -> None:
    db = hw.connect(tmp_path / "lake")
    db.create_collection("empty", {"id": hw.Int64}, primary_key="id")
    report = db.cost("empty", probe=True)
    assert set(report.stored) == {"manifests"}
    assert all(one.total > 0 for one in report.bills)


def test_prices_and_policies_are_the_users(docs: hw.Collection) -> None:
    free = dict.fromkeys(
        ("storage_gb_month", "get_per_1000", "put_per_1000", "memory_gb_hour", "ssd_gb_month", "core_hour"),
        0.0,
    )
    report = docs.cost(prices={**free, "storage_gb_month": 1e9}, policies=["cold", "hot"])
    assert [one.policy.value for one in report.bills] == ["cold", "hot"]
    assert report.bill("cold").total == pytest.approx(report.stored_bytes)
    with pytest.raises(InvalidArgument, match="lukewarm"):
        docs.cost(policies=["lukewarm"])
    with pytest.raises(InvalidArgument, match="core_hours"):
        docs.cost(prices={"core_hours": 1})
    with pytest.raises(InvalidArgument, match="hits"):
        docs.cost(workload={"hits": 1})
    with pytest.raises(InvalidArgument, match="year"):
        docs.cost(anns_field="year")


def test_the_command_shows_tables_and_json(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing.console, "width", 200)
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\ncore_hour = 0.5\n')
    start = ["--lake", str(lake), "cost", "docs", "--prices", str(prices)]
    shown = CliRunner().invoke(app, start)
    assert shown.exit_code == 0, shown.output
    for word in (
        "vectors",
        "index: ivf_rabitq",
        "cold, first of a process",
        "on_demand",
        "EUR",
        "is cheapest",
    ):
        assert word in shown.output
    asked = ["-q", "0.001", "--policy", "cold", "--policy", "warm", "--workload", "replicas=2", "--json"]
    found = json.loads(CliRunner().invoke(app, [*start, *asked]).output)
    assert [one["policy"] for one in found["bills"]] == ["cold", "warm"]
    assert found["workload"]["replicas"] == 2
    assert found["prices"]["core_hour"] == 0.5
    assert found["advice"]
    wrong = CliRunner().invoke(app, [*start, "--workload", "replicas"])
    assert isinstance(wrong.exception, InvalidArgument)
