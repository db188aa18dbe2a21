"""Indexes through an unmodified client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException
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


def test_a_collection_without_an_index_is_named(client: MilvusClient, lake: Path) -> None:
    name = made(lake, "unindexed", 3)
    with pytest.raises(MilvusException, match=rf"index not found\[collection={name}\]"):
        client._get_connection().get_index_build_progress(name, "")
    with pytest.raises(MilvusException, match=r"index not found\[indexName=other\]"):
        client._get_connection().get_index_build_progress(name, "other")


def test_kinds_that_a_field_cannot_have_are_told_as_wrong_parameters(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("at", DataType.TIMESTAMPTZ)
    schema.add_field("shape", DataType.GEOMETRY)
    client.create_collection("kinds", schema=schema)
    brackets = r"invalid parameter\[expected=valid index params\]\[actual=invalid index params\]"
    for field, kind, said in (
        ("at", "INVERTED", "INVERTED are not supported on Timestamptz field"),
        ("shape", "INVERTED", "INVERTED are not supported on Geometry field"),
        ("id", "RTREE", "RTREE index can only be built on geometry field, got Int64"),
    ):
        params = client.prepare_index_params()
        params.add_index(field, index_type=kind)
        with pytest.raises(MilvusException, match=f"{said}: {brackets}"):
            client.create_index("kinds", params)


def test_an_index_with_hints_is_never_the_one_that_is_there(client: MilvusClient, lake: Path) -> None:
    name = made(lake, "hinted")
    params = {hints: client.prepare_index_params() for hints in (False, True)}
    for hints, asked in params.items():
        given = {"M": 16, "efConstruction": 64} | ({"warmup": "sync"} if hints else {})
        asked.add_index("vec", index_type="HNSW", metric_type="L2", params=given)
    client.create_index(name, params[True])
    with pytest.raises(MilvusException, match="at most one distinct index is allowed per field"):
        client.create_index(name, params[True])
    client.create_index(name, params[False])
    assert client.describe_index(name, "vec")["warmup"] == "sync"


@pytest.mark.parametrize("kind", ["AUTOINDEX", "INVERTED", "BITMAP", "TRIE", "STL_SORT", "NGRAM"])
def test_a_field_of_long_texts_has_no_index_of_its_own(client: MilvusClient, kind: str) -> None:
    if not client.has_collection("long"):
        schema = client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        schema.add_field("body", DataType.TEXT, nullable=True, enable_analyzer=True, enable_match=True)
        client.create_collection("long", schema=schema)
    params = client.prepare_index_params()
    grams = {"min_gram": 2, "max_gram": 4} if kind == "NGRAM" else {}
    params.add_index("body", index_type=kind, params=grams)
    with pytest.raises(
        MilvusException, match="TEXT field does not support user-created scalar index"
    ) as raised:
        client.create_index("long", params)
    assert raised.value.code == 1100
