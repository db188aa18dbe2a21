"""Warmup through the Python door, on a store that counts its requests and hides its files as a remote one does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater import errors, trace
from headwater.engine.loading import LoadOptions
from headwater.engine.warmer import Warmer, Warmth
from headwater.lake import FileRef
from headwater.query import warming
from headwater.query.warming import WarmPiece
from headwater.settings import Settings
from headwater.store import open_store
from headwater.store.faulty import Fault, FaultyStore
from headwater.tiers import TierPolicy
from headwater.tiers import tiers as tiers_module

ROWS = 2000
VECTORS = np.random.default_rng(5).random((ROWS, 16), np.float32)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("template") / "lake"
    fields = {
        "id": hw.Int64,
        "n": hw.Int32,
        "title": hw.VarChar(64),
        "text": hw.String,
        "v": hw.FloatVector(16),
    }
    with hw.connect(path) as db:
        docs = db.create_collection("docs", fields, "id")
        docs.create_partition("late")
        for partition, start in ((None, 0), ("late", ROWS // 2)):
            ids = np.arange(start, start + ROWS // 2)
            texts = [f"text {number}" * 20 for number in ids]
            row = {"id": ids, "n": ids % 10, "title": [f"t{number % 7}" for number in ids], "text": texts}
            docs.insert({**row, "v": VECTORS[ids]}, partition=partition)
            docs.flush()
        docs.create_index("v", "IVF_SQ8", metric_type="L2", params={"nlist": 16})
        docs.create_index("n", "STL_SORT")
        docs.delete([7])
        docs.flush()
    return path


class Remote:
    """A lake behind a counting store, and handles on it."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.store = FaultyStore(open_store(path))
        self.cache = cache
        self.opened: list[hw.Database] = []

    def collection(self, **tiers: Any) -> hw.Collection:
        """A handle of a process that has nothing open."""
        # However slow the machine, no request is one that looks for what others wrote.
        chosen = Settings.from_values(
            {"tiers": {"disk_path": str(self.cache), **tiers}, "write": {"staleness_s": 3600.0}}
        )
        db = hw.Database(self.store, "default", chosen)
        self.opened.append(db)
        return db.collection("docs")

    def asked(self) -> int:
        """Requests since the last time."""
        count = sum(self.store.requests.values())
        self.store.reset()
        return count


class Idle:
    """In place of the thread that looks after what is held, which brings nearer what a slow search used often."""

    def add(self, kept: object) -> None:
        """Nothing."""


@pytest.fixture
def lake(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setattr(tiers_module, "KEEPER", Idle())
    made = Remote(shutil.copytree(template, tmp_path / "lake"), tmp_path / "cache")
    yield made
    for db in made.opened:
        db.close()


def search(docs: hw.Collection, **more: Any) -> list[tuple[int, str]]:
    request = {
        "top_k": 5,
        "filter": "n == 3 or title == 't2'",
        "output_fields": ["title", "text", "v"],
        **more,
    }
    found = docs.search(VECTORS[3], anns_field="v", consistency_level="Eventually", **request)
    return [(hit["id"], hit["entity"].get("title", "")) for hit in found[0]]


def tiers_of(docs: hw.Collection, kind: str, name: str) -> set[str | None]:
    return {one.tier for one in docs.tiers().files if one.kind == kind and name in one.names}


def wait(docs: hw.Collection) -> None:
    for warmth in docs._behind:
        assert warmth.wait(20)
        assert warmth.error is None


@pytest.mark.parametrize("policy", ["auto", "hot", "warm"])
def test_what_is_warmed_up_asks_the_store_for_nothing(lake: Remote, policy: str) -> None:
    want = search(lake.collection())
    docs = lake.collection(policy=policy)
    steps: list[tuple[int, int]] = []
    report = docs.warm_up(progress=lambda done, total: steps.append((done, total)))
    sizes = [one.size_bytes for one in docs.tiers().files]
    assert (report.files, report.size_bytes) == (len(sizes), sum(sizes))
    assert steps[-1] == (sum(sizes), sum(sizes))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert None not in {one.tier for one in docs.tiers().files}
    lake.asked()
    assert search(docs) == want
    assert docs.get([8], consistency_level="Eventually")[0]["title"] == "t1"
    assert lake.asked() == 0


def test_what_there_is_no_room_for_stays_where_it_is(lake: Remote) -> None:
    docs = lake.collection(policy="hot", memory_bytes=150_000)
    sizes = {one.names: one.size_bytes for one in docs.tiers().files}
    report = docs.warm_up()
    assert report.left > 0
    assert report.files + report.left == len(docs.tiers().files)
    assert lake.opened[-1].tiers.report().memory.used_bytes <= 150_000
    assert sum(sizes.values()) > 150_000
    want = search(lake.collection())
    assert search(docs) == want


def test_a_warm_process_leaves_a_warm_machine(lake: Remote) -> None:
    want = search(lake.collection(policy="on_demand"))
    assert lake.collection(policy="warm").warm_up().left == 0
    lake.asked()
    other = lake.collection(policy="warm")
    other.count(consistency_level="Strong")
    lake.store.reset()
    assert search(other) == want
    assert "get_ranges" not in lake.store.requests
    assert {one.tier for one in other.tiers().files} <= {"warm", None}
    assert any(str(lake.cache) in one.where for one in other.tiers().files)


def searches_in(root: trace.Step) -> bool:
    return any(step.name == "search" for step in root.walk())


@pytest.mark.parametrize(
    ("policy", "searched", "decoded"),
    [("hot", True, True), ("warm", True, True), ("cold", False, False), ("on_demand", False, False)],
)
def test_what_is_near_is_searched_and_decoded_ahead(
    lake: Remote, policy: str, searched: bool, decoded: bool
) -> None:
    docs = lake.collection(policy=policy)
    with trace.record("warm up") as root:
        docs.warm_up()
    assert searches_in(root) is searched
    with trace.record("again") as root:
        search(docs)
    steps = [step.name for step in root.walk()]
    assert ("decode field" not in steps and "open index" not in steps) is decoded


def test_little_memory_is_left_to_what_is_asked_for(lake: Remote) -> None:
    docs = lake.collection(policy="warm", memory_bytes=150_000)
    with trace.record("warm up") as root:
        assert docs.warm_up().left == 0
    assert "decode field" not in [step.name for step in root.walk()]
    assert search(docs) == search(lake.collection())


def test_rows_without_an_index_are_not_compared_ahead(lake: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "_UNCOVERED_ROWS", ROWS // 2)
    for rows, searched in ((ROWS // 4, True), (ROWS // 2, False)):
        docs = lake.collection(policy="warm")
        docs.insert(
            {
                "id": np.arange(rows) + 10_000 * rows,
                "n": np.zeros(rows, np.int32),
                "title": ["t"] * rows,
                "text": ["t"] * rows,
                "v": VECTORS[:rows],
            }
        )
        docs.flush()
        with trace.record("warm up") as root:
            docs.warm_up()
        assert searches_in(root) is searched


def test_large_files_on_auto_come_to_disk(lake: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers_module, "_SMALL_BYTES", 1000)
    cold = lake.collection()
    search(cold)
    assert tiers_of(cold, "field", "v") == {"cold"}
    docs = lake.collection()
    docs.warm_up()
    assert "cold" not in {one.tier for one in docs.tiers().files}
    lake.asked()
    search(docs)
    assert lake.asked() == 0


def test_cold_files_are_opened_and_no_more(lake: Remote) -> None:
    docs = lake.collection(policy="cold")
    docs.warm_up()
    assert {one.tier for one in docs.tiers().files} == {"cold"}
    whole = sum(one.size_bytes for one in docs.tiers().files)
    assert lake.store.bytes_read < whole
    lake.asked()
    search(docs)
    assert lake.asked() > 0


def test_what_is_on_demand_is_left_alone(lake: Remote) -> None:
    docs = lake.collection(policy="on_demand")
    assert docs.warm_up().files == 0
    assert {one.tier for one in docs.tiers().files} == {None}


def test_fields_indexes_and_partitions_are_chosen(lake: Remote) -> None:
    docs = lake.collection(policy="hot")
    assert docs.warm_up(indexes=["n"]).files == 2
    assert tiers_of(docs, "index", "n") == {"hot"}
    assert tiers_of(docs, "index", "v") == tiers_of(docs, "field", "v") == {None}
    assert docs.warm_up(fields=["v"], partitions=["late"]).files == 2
    assert tiers_of(docs, "index", "v") == tiers_of(docs, "field", "v") == {None, "hot"}
    assert tiers_of(docs, "field", "text") == {None}
    with pytest.raises(errors.FieldNotFound):
        docs.warm_up(fields=["nothing"])
    with pytest.raises(errors.IndexNotFound, match="indexes: v, n"):
        docs.warm_up(indexes=["nothing"])
    with pytest.raises(errors.PartitionNotFound):
        docs.warm_up(partitions=["nothing"])


def test_a_load_is_done_when_what_is_sync_is_there(lake: Remote) -> None:
    docs = lake.collection(policy="hot")
    docs.set_warmup("sync")
    docs.set_warmup("disable", field="text")
    docs.load()
    assert docs.warming is not None
    assert docs.warming.percent == 100
    assert (
        tiers_of(docs, "index", "v")
        == tiers_of(docs, "index", "n")
        == tiers_of(docs, "field", "v")
        == {"hot"}
    )
    assert tiers_of(docs, "field", "text") == {None}
    lake.asked()
    search(docs, output_fields=["title", "v"])
    assert lake.asked() == 0


def test_disable_asks_for_nothing_when_loaded(lake: Remote) -> None:
    docs = lake.collection(policy="hot", warmup="sync")
    docs.set_warmup("disable")
    lake.asked()
    docs.load()
    files = {key for verb, key in lake.store.log if verb == "get_ranges"}
    assert not files
    assert docs.warming is None
    assert {one.tier for one in docs.tiers().files} == {None}
    assert len(search(docs)) == 5


def test_async_comes_in_the_background(lake: Remote) -> None:
    gate = threading.Event()

    def hold(_: int, verb: str, key: str) -> Fault | None:
        if "/segments/" in key or "/indexes/" in key:
            assert gate.wait(20)
        return None

    docs = lake.collection(policy="hot")
    docs.set_warmup("async")
    lake.store.schedule = hold
    docs.load()
    assert docs.warming is None
    [behind] = docs._behind
    assert (behind.done_bytes, behind.percent, behind.ended) == (0, 0, False)
    gate.set()
    wait(docs)
    lake.store.schedule = None
    assert {one.tier for one in docs.tiers().files} == {"hot"}
    lake.asked()
    search(docs)
    assert lake.asked() == 0


def test_a_warmup_that_goes_on_is_cancelled_by_a_release(lake: Remote) -> None:
    gate, reached = threading.Event(), threading.Event()

    def hold(_: int, verb: str, key: str) -> Fault | None:
        if "/indexes/" in key:
            reached.set()
            assert gate.wait(20)
        return None

    docs = lake.collection(policy="hot", warmup="sync")
    lake.store.schedule = hold
    docs.load(wait=False)
    warmth = docs.warming
    assert warmth is not None
    assert reached.wait(20)
    assert (warmth.ended, warmth.percent, warmth.done_files) == (False, 0, 0)
    docs.release()
    assert docs.warming is None
    gate.set()
    assert warmth.wait(20)
    assert warmth.cancelled
    assert warmth.done_files == 1
    assert len(search(docs)) == 5


def test_a_load_tells_what_could_not_be_brought(lake: Remote) -> None:
    docs = lake.collection(policy="hot", warmup="sync")
    lake.store.schedule = lambda _, verb, key: Fault("before") if "/indexes/" in key else None
    with pytest.raises(errors.StoreUnavailable):
        docs.load()
    assert docs.warming is not None
    assert isinstance(docs.warming.error, errors.StoreUnavailable)
    lake.store.schedule = None
    docs.load()
    assert docs.warming.error is None
    assert None not in {one.tier for one in docs.tiers().files}


def test_only_loaded_fields_and_partitions_are_warmed_up(lake: Remote) -> None:
    docs = lake.collection(policy="hot", warmup="sync")
    docs.load(["late"], LoadOptions(fields=("id", "v")))
    assert tiers_of(docs, "index", "v") == tiers_of(docs, "field", "v") == {"hot", None}
    assert tiers_of(docs, "index", "n") == tiers_of(docs, "field", "text") == {None}
    docs.load(["_default"], LoadOptions(fields=("id", "v")))
    assert tiers_of(docs, "index", "v") == {"hot"}
    docs.release(["late"])
    assert tiers_of(docs, "index", "v") == tiers_of(docs, "field", "v") == {"hot", None}
    docs.release()
    assert tiers_of(docs, "index", "v") == tiers_of(docs, "field", "v") == {None}
    assert lake.opened[-1].tiers.report().memory.used_bytes == 0


def test_a_mode_of_one_load(lake: Remote) -> None:
    docs = lake.collection(policy="hot")
    docs.load(warmup="sync")
    assert None not in {one.tier for one in docs.tiers().files}
    docs.release()
    with pytest.raises(errors.InvalidArgument, match="invalid warmup policy 'soon'"):
        docs.load(warmup="soon")
    assert not docs.load_state.anything


def test_modes_are_kept_where_milvus_keeps_them(lake: Remote) -> None:
    docs = lake.collection()
    docs.set_warmup("sync")
    docs.set_warmup("async", field="v")
    docs.set_warmup("disable", index="v")
    again = lake.collection()
    assert again.properties["warmup.vectorIndex"] == "sync"
    assert dict(again.schema.field("v").params) == {"warmup": "async"}
    assert again.manifest.indexes[0].declared == {"warmup": "disable"}
    for place in ({}, {"field": "v"}, {"index": "v"}):
        docs.set_warmup(None, **place)
    assert not any(name.startswith("warmup") for name in docs.properties)
    assert dict(docs.schema.field("v").params) == {}
    assert docs.manifest.indexes[0].declared == {}
    with pytest.raises(errors.InvalidArgument, match="invalid warmup policy"):
        docs.set_warmup("soon")
    with pytest.raises(errors.IndexNotFound):
        docs.set_warmup("sync", index="nothing")
    with pytest.raises(errors.InvalidArgument, match="a field or an index"):
        docs.set_warmup("sync", field="v", index="v")


def test_a_process_that_serves_keeps_warm_what_others_load_and_add(lake: Remote) -> None:
    writer = lake.collection()
    writer.set_warmup("sync")
    lake.collection(policy="hot")
    serving = hw.Database(lake.store, "default", lake.opened[-1].settings)
    lake.opened.append(serving)
    serving.serving = True
    follower = serving.collection("docs")
    search(follower)
    writer.load(warmup="disable")
    follower.count(consistency_level="Strong")
    wait(follower)
    assert {one.tier for one in follower.tiers().files} == {"hot"}
    writer.insert({"id": [9000], "n": [3], "title": ["t9"], "text": ["late"], "v": VECTORS[3:4]})
    writer.flush()
    follower.count(consistency_level="Strong")
    wait(follower)
    assert {one.tier for one in follower.tiers().files} == {"hot"}
    lake.asked()
    assert 9000 in [key for key, _ in search(follower)]
    assert lake.asked() == 0
    writer.release()
    follower.count(consistency_level="Strong")
    assert tiers_of(follower, "index", "v") == tiers_of(follower, "field", "v") == {None}


def test_what_is_given_to_a_warmer_that_is_closed_ends_at_once() -> None:
    brought: list[bool] = []

    def bring() -> bool:
        brought.append(True)
        return True

    warmer = Warmer(lowest_priority=False)
    warmer.close()
    file = FileRef("key", 10, "crc32:0")
    warmth = Warmth("docs", [WarmPiece("field", ("v",), "s", file, TierPolicy.HOT, bring)])
    warmer.start(warmth)
    assert warmth.wait(20)
    assert warmth.cancelled
    assert not brought
