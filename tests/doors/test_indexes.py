"""Indexes through an unmodified client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient, MilvusException
from serving import served

import headwater as hw


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def client(lake: Path) -> Iterator[MilvusClient]:
    with served(lake) as address:
        made = MilvusClient(address)
        yield made
        made.close()


def made(lake: Path, name: str, rows: int = 0) -> str:
    """A collection of vectors, texts and numbers."""
    with hw.connect(lake) as db:
        collection = db.create_collection(
            name, {"id": hw.Int64, "text": hw.VarChar(64), "n": hw.Int32, "vec": hw.FloatVector(8)}, "id"
        )
        if rows:
            vectors = np.random.default_rng(0).random((rows, 8), np.float32)
            collection.insert(
                {"id": range(rows), "text": [str(i) for i in range(rows)], "n": range(rows), "vec": vectors}
            )
            collection.flush()
    return name


def test_an_index_is_described_as_it_was_asked_for(client: MilvusClient, lake: Path) -> None:
    name = made(lake, "described", 12_000)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 16, "efConstruction": 64})
    client.create_index(name, params)
    found = client.describe_index(name, "vec")
    assert found["index_type"] == "HNSW"
    assert found["metric_type"] == "L2"
    assert (found["total_rows"], found["indexed_rows"], found["pending_index_rows"]) == (12_000, 12_000, 0)
    assert found["state"] == "Finished"
    assert client.list_indexes(name) == ["vec"]
    with hw.connect(lake) as db:
        built = db.collection(name).describe()["indexes"]
    assert built[0]["kind"] == "hnsw"


def test_a_collection_is_loaded_and_released(client: MilvusClient, lake: Path) -> None:
    name = made(lake, "loaded")
    with pytest.raises(MilvusException, match=r"index not found\[collection=loaded\]") as raised:
        client.load_collection(name)
    assert raised.value.code == 700
    params = client.prepare_index_params()
    params.add_index("vec")
    client.create_index(name, params)
    assert client.get_load_state(name)["state"].name == "NotLoad"
    client.load_collection(name)
    assert client.get_load_state(name)["state"].name == "Loaded"
    with pytest.raises(MilvusException, match="collection is loaded, please release it first"):
        client.drop_index(name, "vec")
    client.release_collection(name)
    assert client.get_load_state(name)["state"].name == "NotLoad"
    client.drop_index(name, "vec")
    assert client.list_indexes(name) == []


def test_partitions_come_and_go(client: MilvusClient, lake: Path) -> None:
    name = made(lake, "parts")
    client.create_partition(name, "a")
    client.create_partition(name, "a")
    assert client.list_partitions(name) == ["_default", "a"]
    assert client.has_partition(name, "a")
    assert not client.has_partition(name, "b")
    with pytest.raises(MilvusException, match="default partition cannot be deleted"):
        client.drop_partition(name, "_default")
    client.drop_partition(name, "a")
    assert client.list_partitions(name) == ["_default"]
