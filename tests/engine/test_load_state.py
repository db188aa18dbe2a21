"""What is loaded, and what is declared of indexes: states in the lake that every handle sees."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.engine import Collection
from headwater.engine.loading import LoadOptions
from headwater.errors import AlreadyExists, FieldNotFound, IndexNotFound, PartitionNotFound


@pytest.fixture
def collection(db: hw.Database) -> Collection:
    made = db.create_collection("c", {"id": hw.Int64, "vec": hw.FloatVector(8), "doc": hw.JSON}, "id")
    made.create_partition("a")
    made.create_partition("b")
    return made


def loaded(collection: Collection) -> set[str]:
    load = collection.load_state
    return {name for name, number in collection.partition_ids.items() if load.has(number)}


def test_a_collection_is_not_loaded_until_it_is(collection: Collection) -> None:
    assert not collection.load_state.anything
    assert loaded(collection) == set()


def test_a_loaded_collection_loads_what_comes(collection: Collection) -> None:
    collection.load()
    assert loaded(collection) == {"_default", "a", "b"}
    collection.create_partition("later")
    assert "later" in loaded(collection)
    collection.release(["a"])
    assert loaded(collection) == {"_default", "b", "later"}
    collection.load(["a"])
    assert "a" in loaded(collection)


def test_partitions_are_loaded_one_by_one(collection: Collection) -> None:
    collection.load(["a"])
    assert loaded(collection) == {"a"}
    collection.create_partition("later")
    assert loaded(collection) == {"a"}
    collection.release(["a"])
    assert not collection.load_state.anything


def test_releasing_the_last_partition_releases_the_collection(collection: Collection) -> None:
    collection.load()
    collection.release(["_default", "a", "b"])
    assert not collection.load_state.anything


def test_other_handles_see_it(collection: Collection, tmp_path: Path) -> None:
    options = LoadOptions(
        fields=("id", "vec"), dynamic=False, replicas=2, resource_groups=("rg",), priority="low"
    )
    collection.load(None, options)
    with hw.connect(tmp_path / "lake") as other:
        state = other.collection("c").load_state
    assert state.whole
    assert state.options == options


def test_a_partition_that_is_not_there_is_not_loaded(collection: Collection) -> None:
    with pytest.raises(PartitionNotFound):
        collection.load(["nothing"])
    with pytest.raises(PartitionNotFound):
        collection.release(["nothing"])


def test_loads_at_the_same_time_lose_nothing(collection: Collection, tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(8)]
    for name in names:
        collection.create_partition(name)

    def load(name: str) -> None:
        with hw.connect(tmp_path / "lake") as other:
            other.collection("c").load([name])

    threads = [threading.Thread(target=load, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded(collection) == set(names)


def test_an_index_is_described_as_declared_and_built_later(collection: Collection) -> None:
    vectors = np.random.default_rng(0).random((12_000, 8), np.float32)
    collection.insert({"id": range(12_000), "vec": vectors, "doc": ["{}"] * 12_000})
    collection.declare_index("vec", "IVF_FLAT", metric_type="L2", declared={"index_type": "IVF_FLAT"})
    [before] = collection.index_progress()
    assert (before.total_rows, before.pending_rows) == (12_000, 12_000)
    collection.describe_index_as("vec", {"index_type": "IVF_FLAT", "mmap.enabled": "true"})
    collection.build_pending()
    [after] = collection.index_progress()
    assert after.pending_rows == 0
    assert after.spec.declared["mmap.enabled"] == "true"
    found = collection.search(vectors[:4], top_k=1, params={"nprobe": 8})
    assert [hits[0]["id"] for hits in found] == [0, 1, 2, 3]
    with pytest.raises(IndexNotFound):
        collection.describe_index_as("nothing", {})


def test_an_index_without_files_is_declared_and_dropped(collection: Collection) -> None:
    collection.declare_scan("doc", name="whole", declared={"index_type": "INVERTED"})
    collection.insert({"id": [1], "vec": np.zeros((1, 8), np.float32), "doc": ['{"a": 1}']})
    assert collection.build_indexes()[0].rows == 0
    assert collection.optimize().indexes_rebuilt == ()
    assert collection.count("doc['a'] == 1") == 1
    [known] = collection.index_progress()
    assert (known.field, known.pending_rows) == ("doc", 0)
    with pytest.raises(AlreadyExists):
        collection.declare_scan("doc", name="again")
    with pytest.raises(FieldNotFound):
        collection.declare_scan("nothing")
    collection.drop_index("whole")
    assert collection.index_progress() == []


@pytest.mark.parametrize("codes", ["SQ4U", "SQ6", "SQ8", "BF16", "FP16"])
def test_graphs_over_codes_find_the_neighbours(collection: Collection, codes: str) -> None:
    vectors = np.random.default_rng(1).random((4_000, 8), np.float32)
    collection.insert({"id": range(4_000), "vec": vectors, "doc": ["{}"] * 4_000})
    collection.create_index("vec", "HNSW_SQ", metric_type="L2", params={"M": 16, "sq_type": codes})
    exact = np.argsort(((vectors[:20, None] - vectors) ** 2).sum(axis=2), axis=1)[:, :10]
    found = collection.search(vectors[:20], top_k=10, params={"ef": 128, "refine_k": 4})
    hits = [
        len({hit["id"] for hit in row} & set(truth)) for row, truth in zip(found, exact.tolist(), strict=True)
    ]
    assert sum(hits) / 200 > 0.95
