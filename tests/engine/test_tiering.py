"""Policies of tiers through the Python door: where bytes are wanted, where they are, and answers that never change."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater import errors
from headwater.settings import Settings

ROWS = 3000
VECTORS = np.random.default_rng(3).random((ROWS, 16), np.float32)
QUERIES = VECTORS[:5] + np.float32(0.01)
POLICIES = ("auto", "hot", "warm", "cold", "on_demand")
EXACT = [np.argsort(((VECTORS - query) ** 2).sum(axis=1), kind="stable")[:10].tolist() for query in QUERIES]
EVERY = {"nprobe": 64, "refine_k": 20.0}


def made(db: hw.Database, name: str = "docs") -> hw.Collection:
    fields = {"id": hw.Int64, "n": hw.Int32, "title": hw.String, "v": hw.FloatVector(16)}
    collection = db.create_collection(name, fields, "id")
    titles = [f"title {number % 7}" for number in range(ROWS)]
    collection.insert({"id": range(ROWS), "n": np.arange(ROWS) % 10, "title": titles, "v": VECTORS})
    collection.create_index("v", "IVF_SQ8", metric_type="L2", params={"nlist": 32})
    collection.create_index("n", "STL_SORT")
    return collection


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("template") / "lake"
    with hw.connect(path) as db:
        made(db)
    return path


@pytest.fixture
def lake(template: Path, tmp_path: Path) -> Path:
    """A lake of the test's own, which is that of the template."""
    path: Path = shutil.copytree(template, tmp_path / "lake")
    return path


@pytest.fixture
def docs(lake: Path) -> Iterator[hw.Collection]:
    with hw.connect(lake) as db:
        yield db.collection("docs")


def answers(collection: hw.Collection, **more: Any) -> list[list[int]]:
    found = collection.search(QUERIES, anns_field="v", top_k=10, params=EVERY, **more)
    return [[hit["id"] for hit in hits] for hits in found]


def check(collection: hw.Collection) -> None:
    """Answers are those of numpy, with a filter and with output fields too."""
    assert answers(collection) == EXACT
    found = collection.search(
        QUERIES[0], anns_field="v", top_k=5, filter="n == 3", output_fields=["title"], params=EVERY
    )
    near = np.argsort(((VECTORS - QUERIES[0]) ** 2).sum(axis=1), kind="stable")
    wanted = [int(row) for row in near if row % 10 == 3][:5]
    assert [(hit["id"], hit["entity"]["title"]) for hit in found[0]] == [
        (row, f"title {row % 7}") for row in wanted
    ]


def tier_of(collection: hw.Collection, kind: str, name: str) -> tuple[str, str | None]:
    [found] = {
        (str(one.policy), one.tier)
        for one in collection.tiers().files
        if one.kind == kind and name in one.names
    }
    return found


def test_every_policy_of_a_collection_gives_the_same_answers(docs: hw.Collection) -> None:
    check(docs)
    for policy, tier in (("hot", "hot"), ("cold", "cold"), ("on_demand", "cold"), ("warm", "warm")):
        docs.set_tier(policy)
        check(docs)
        for kind, name in (("index", "v"), ("field", "v"), ("field", "title")):
            assert tier_of(docs, kind, name) == (policy, tier)
    docs.set_tier(None)
    assert docs.tiers().policy == "auto"
    check(docs)


def test_a_field_and_an_index_have_policies_of_their_own(docs: hw.Collection) -> None:
    docs.set_tier("cold")
    docs.set_tier("warm", field="v")
    docs.set_tier("hot", index="v")
    check(docs)
    told = docs.tiers()
    assert (told.policy, told.fields, told.indexes) == ("cold", {"v": "warm"}, {"v": "hot"})
    assert tier_of(docs, "field", "v") == ("warm", "warm")
    assert tier_of(docs, "index", "v") == ("hot", "hot")
    assert tier_of(docs, "index", "n") == ("cold", "cold")
    docs.set_tier(None, index="v")
    docs.set_tier(None, field="v")
    assert (docs.tiers().fields, docs.tiers().indexes) == ({}, {})
    assert tier_of(docs, "index", "v")[0] == "cold"


def test_a_file_of_several_fields_goes_by_the_one_wanted_nearest(docs: hw.Collection) -> None:
    docs.set_tier("cold", field="id")
    docs.set_tier("warm", field="title")
    check(docs)
    assert tier_of(docs, "field", "title") == tier_of(docs, "field", "id") == ("warm", "warm")


def test_policies_survive_reopening_and_reach_other_handles(docs: hw.Collection, lake: Path) -> None:
    with hw.connect(lake) as other:
        follower = other.collection("docs")
        check(follower)
        assert tier_of(follower, "index", "v") == ("auto", "hot")
        docs.set_tier("cold", index="v")
        check(follower)
        assert tier_of(follower, "index", "v") == ("cold", "cold")
    with hw.connect(lake) as again:
        assert again.collection("docs").tiers().indexes == {"v": "cold"}


def test_what_does_not_change_stays_open(docs: hw.Collection) -> None:
    check(docs)
    docs.set_tier("hot", index="v")
    check(docs)
    with hw.explain() as told:
        check(docs)
    assert told.total("bytes_read") == 0
    docs.set_tier("hot", index="v")
    with hw.explain() as told:
        check(docs)
    assert "open index" not in str(told)


def test_bad_policies_are_refused(docs: hw.Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="no tier policy 'luke'"):
        docs.set_tier("luke")
    with pytest.raises(errors.InvalidArgument, match="a field or an index"):
        docs.set_tier("hot", field="v", index="v")
    with pytest.raises(errors.FieldNotFound):
        docs.set_tier("hot", field="nothing")
    with pytest.raises(errors.IndexNotFound, match="indexes: v, n"):
        docs.set_tier("hot", index="nothing")
    both = {"mmap.enabled": "true", "tier.policy": "hot"}
    for place in ({"mmap.enabled": "perhaps"}, {"warmup.vectorField": "soon"}, {"tier.policy": "luke"}, both):
        with pytest.raises(errors.InvalidArgument):
            docs.set_properties(place)
    for hint in ({"mmap.enabled": "perhaps"}, {"warmup": "soon"}):
        with pytest.raises(errors.InvalidArgument):
            docs.alter_field("v", params=hint)
        with pytest.raises(errors.InvalidArgument):
            docs.describe_index_as("v", hint)
    assert docs.tiers().to_json()["fields"] == {}


def test_a_bad_default_is_refused_when_the_lake_is_opened(lake: Path) -> None:
    chosen = Settings.from_values({"tiers": {"policy": "luke"}})
    with pytest.raises(errors.InvalidArgument, match=r"tiers\.policy"):
        hw.connect(lake, settings=chosen)


def test_the_default_comes_from_the_settings(lake: Path) -> None:
    with hw.connect(lake, settings=Settings.from_values({"tiers": {"policy": "hot"}})) as db:
        docs = db.collection("docs")
        check(docs)
        assert tier_of(docs, "index", "v") == ("hot", "hot")
        docs.set_tier("warm")
        check(docs)
        assert tier_of(docs, "index", "v") == ("warm", "warm")


def test_a_collection_is_made_with_a_policy(lake: Path) -> None:
    with hw.connect(lake) as db:
        assert (
            db.create_collection("new", {"id": hw.Int64}, "id", tier="on_demand").tiers().policy
            == "on_demand"
        )
        with pytest.raises(errors.InvalidArgument, match="no tier policy"):
            db.create_collection("other", {"id": hw.Int64}, "id", tier="luke")
        db.set_tier("new", "cold")
        assert db.collection("new").tiers().policy == "cold"


def test_mmap_is_a_policy_and_the_last_word_counts(docs: hw.Collection) -> None:
    docs.set_properties({"mmap.enabled": "true"})
    assert docs.tiers().policy == "warm"
    docs.set_tier("cold")
    assert docs.tiers().policy == "cold"
    assert "mmap.enabled" not in docs.properties
    assert docs.properties["tier.policy"] == "cold"
    docs.set_properties({"mmap.enabled": "false"})
    assert docs.tiers().policy == "hot"
    assert "tier.policy" not in docs.properties
    docs.set_properties({"tier.policy": "Warm"})
    assert (docs.tiers().policy, docs.properties["tier.policy"]) == ("warm", "warm")
    assert "mmap.enabled" not in docs.properties
    docs.set_tier("cold", field="v")
    docs.alter_field("v", params={"mmap.enabled": "true"})
    assert docs.tiers().fields == {"v": "warm"}
    docs.set_tier("cold", field="v")
    assert docs.tiers().fields == {"v": "cold"}
    assert dict(docs.schema.field("v").params) == {}
    docs.set_tier("cold", index="v")
    docs.describe_index_as("v", {"mmap.enabled": "true", "index_type": "IVF_SQ8"})
    assert docs.tiers().indexes == {"v": "warm"}
    docs.set_tier("on_demand", index="v")
    assert docs.tiers().indexes == {"v": "on_demand"}
    assert docs.manifest.indexes[0].declared == {"index_type": "IVF_SQ8"}
    check(docs)


def test_a_dropped_place_leaves_nothing_behind(docs: hw.Collection) -> None:
    docs.set_tier("cold", field="title")
    docs.set_tier("cold", index="n")
    docs.drop_index("n")
    docs.drop_field("title")
    assert (docs.tiers().fields, docs.tiers().indexes) == ({}, {})
    docs.set_tier("warm", field="v")
    docs.set_tier(None, field="v")
    assert "headwater.tiers" not in docs.manifest.properties


def test_changes_at_once_lose_nothing(docs: hw.Collection, lake: Path) -> None:
    places: list[dict[str, str]] = [{"field": "v"}, {"field": "n"}, {"index": "v"}, {"index": "n"}, {}]

    def change(place: dict[str, str]) -> None:
        with hw.connect(lake) as other:
            other.collection("docs").set_tier("cold", **place)

    threads = [threading.Thread(target=change, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = docs.tiers()
    assert (told.policy, told.fields, told.indexes) == (
        "cold",
        {"v": "cold", "n": "cold"},
        {"v": "cold", "n": "cold"},
    )


def test_answers_stay_while_policies_change_under_searches(docs: hw.Collection) -> None:
    stop, wrong = threading.Event(), []

    def search() -> None:
        while not stop.is_set():
            try:
                check(docs)
            except BaseException as error:  # noqa: BLE001 - told by the test
                wrong.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(15):
        place: dict[str, str] = [{}, {"field": "v"}, {"index": "v"}, {"field": "title"}, {"index": "n"}][
            number % 5
        ]
        docs.set_tier(POLICIES[number % 4], **place)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture(scope="module")
def shared(template: Path) -> Iterator[hw.Collection]:
    with hw.connect(shutil.copytree(template, template.parent / "shared")) as db:
        yield db.collection("docs")


PLACES = st.sampled_from(
    [{}, {"field": "v"}, {"field": "title"}, {"field": "n"}, {"index": "v"}, {"index": "n"}]
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(PLACES, st.sampled_from([*POLICIES, None])), min_size=1, max_size=4))
def test_no_sequence_of_policies_changes_an_answer(
    shared: hw.Collection, changes: list[tuple[dict[str, str], str | None]]
) -> None:
    for place, policy in changes:
        shared.set_tier(policy, **place)
        check(shared)


def test_explain_names_the_tier(docs: hw.Collection) -> None:
    docs.set_tier("cold", index="v")
    with hw.explain() as told:
        answers(docs)
    [step] = [
        step for step in told.root.walk() if step.details.get("index") == "v" and "kind" in step.details
    ]
    assert (step.details["tier"], step.details["vectors"]) == ("cold", "warm")
    assert step.total("ranges_read") > 0
    docs.set_tier("hot", index="v")
    answers(docs)
    with hw.explain() as told:
        answers(docs)
    [step] = [step for step in told.root.walk() if step.details.get("index") == "v"]
    assert (step.details["tier"], step.total("bytes_read")) == ("hot", 0)
