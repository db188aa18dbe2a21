"""Loading, partitions and statistics through unmodified clients: sync, async and ORM-style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import (
    AnnSearchRequest,
    AsyncMilvusClient,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    MilvusClient,
    MilvusException,
    RRFRanker,
    connections,
    utility,
)
from serving import served

ROWS = 60


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def place(lake: Path) -> Iterator[str]:
    with served(lake) as found:
        yield found


@pytest.fixture(scope="module")
def client(place: str) -> Iterator[MilvusClient]:
    made = MilvusClient(place)
    yield made
    made.close()


def refused(call: Any, *args: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(MilvusException) as raised:
        call(*args, **named)
    return raised.value.code, raised.value.message


def made(client: MilvusClient, name: str, *, key: bool = False) -> str:
    """A collection with rows in three partitions, and an index of its vectors; not loaded."""
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("text", DataType.VARCHAR, max_length=20, is_partition_key=key)
    schema.add_field("n", DataType.INT32)
    client.create_collection(name, schema=schema, **({"num_partitions": 4} if key else {}))
    rng = np.random.default_rng(0)
    rows = [
        {"id": i, "vec": rng.random(4).tolist(), "text": str(i), "n": i, "color": "red"} for i in range(ROWS)
    ]
    if key:
        client.insert(name, rows)
    else:
        for number, partition in enumerate(("_default", "a", "b")):
            if number:
                client.create_partition(name, partition)
            client.insert(name, rows[number::3], partition_name=partition)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="FLAT", metric_type="L2")
    client.create_index(name, params, sync=False)
    return name


def state(client: MilvusClient, name: str, partition: str = "") -> str:
    return str(client.get_load_state(name, partition)["state"].name)


def found(client: MilvusClient, name: str, **how: Any) -> set[int]:
    hits = client.search(name, [[0.5] * 4], limit=ROWS, consistency_level="Strong", **how)
    return {hit["id"] for hit in hits[0]}


def test_what_is_not_loaded_is_not_read(client: MilvusClient) -> None:
    name = made(client, "reads")
    words = (101, f"failed to search: collection not loaded[collection={name}]")
    queried = (101, f"failed to query: collection not loaded[collection={name}]")
    assert state(client, name) == "NotLoad"
    assert refused(client.search, name, [[0.5] * 4]) == words
    assert refused(client.query, name, "id >= 0") == queried
    assert refused(client.get, name, [1]) == queried
    client.load_collection(name)
    assert state(client, name) == "Loaded"
    assert found(client, name) == set(range(ROWS))
    client.release_collection(name)
    client.release_collection(name)
    assert refused(client.search, name, [[0.5] * 4]) == words


def test_partitions_are_loaded_by_themselves(client: MilvusClient) -> None:
    name = made(client, "partly")
    client.load_partitions(name, ["a"])
    assert (state(client, name), state(client, name, "a"), state(client, name, "b")) == (
        "Loaded",
        "Loaded",
        "NotLoad",
    )
    assert found(client, name) == set(range(1, ROWS, 3))
    assert len(client.query(name, "id >= 0")) == ROWS // 3
    assert found(client, name, partition_names=["a"]) == set(range(1, ROWS, 3))
    code, message = refused(client.search, name, [[0.5] * 4], partition_names=["b"])
    assert (code, message) == (201, "failed to search: partition not loaded[partition=b]")
    client.load_partitions(name, ["b"])
    assert found(client, name) == set(range(ROWS)) - set(range(0, ROWS, 3))
    client.release_partitions(name, ["a", "b"])
    assert state(client, name) == "NotLoad"
    client.load_collection(name)
    client.create_partition(name, "later")
    assert state(client, name, "later") == "Loaded"
    client.release_partitions(name, ["a"])
    assert found(client, name) == set(range(ROWS)) - set(range(1, ROWS, 3))
    code, message = refused(client.load_partitions, name, ["nothing"])
    assert (code, message) == (200, "partition not found[partition=nothing]")
    assert refused(client.release_partitions, name, ["nothing"])[0] == 200
    assert refused(client.get_load_state, name, "nothing")[0] == 200
    assert (
        "[expected=any partition][actual=empty partition list]"
        in refused(client.release_partitions, name, [])[1]
    )


def test_loading_needs_an_index_of_each_vector(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("one", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("two", DataType.FLOAT_VECTOR, dim=4)
    client.create_collection("bare", schema=schema)
    assert refused(client.load_collection, "bare") == (700, "index not found[collection=bare]")
    params = client.prepare_index_params()
    params.add_index("one")
    client.create_index("bare", params, sync=False)
    words = "there is no vector index on field: [two], please create index firstly"
    assert refused(client.load_collection, "bare") == (65535, words)
    assert refused(client.load_partitions, "bare", ["_default"]) == (65535, words)
    client.load_collection("bare", load_fields=["id", "one"])
    assert refused(client.drop_index, "bare", "one")[0] == 1100
    client.release_collection("bare")
    client.drop_index("bare", "one")
    assert refused(client.load_collection, "nothing")[0] == 100
    assert state(client, "nothing") == "NotExist"


def test_only_loaded_fields_are_read(client: MilvusClient) -> None:
    name = made(client, "fields")
    for fields, words in (
        (["vec"], "load field list [vec] does not contain primary key field id"),
        (["id"], "load field list [id] does not contain vector field"),
        (["id", "vec", "x"], "fieldName(x) not found"),
    ):
        code, message = refused(client.load_collection, name, load_fields=fields)
        assert (code, words in message) == (1100, True)
    client.load_collection(name, load_fields=["id", "vec", "n"], skip_load_dynamic_field=True)
    row = client.query(name, "id == 3", output_fields=["*"])[0]
    assert set(row) == {"id", "vec", "n"}
    assert refused(client.query, name, "id == 3", output_fields=["text"]) == (
        65535,
        "field text is not loaded",
    )
    assert refused(client.search, name, [[0.5] * 4], output_fields=["text"])[0] == 65535
    code, message = refused(client.load_collection, name, load_fields=["id", "vec"])
    assert (code, "can't change the load field list for loaded collection" in message) == (1100, True)
    client.release_collection(name)
    client.load_collection(name)
    assert set(client.query(name, "id == 3", output_fields=["*"])[0]) == {"id", "vec", "text", "n", "color"}


def test_a_list_of_all_fields_is_no_other_load(client: MilvusClient) -> None:
    name = made(client, "listed")
    client.load_collection(name)
    client.load_collection(name, load_fields=["vec", "id", "text", "n"])
    assert set(client.query(name, "id == 3", output_fields=["*"])[0]) == {"id", "vec", "text", "n", "color"}


def test_a_refresh_needs_a_load(client: MilvusClient) -> None:
    name = made(client, "refreshed")
    assert refused(client.refresh_load, name)[0] == 101
    client.load_collection(name)
    client.refresh_load(name)
    assert state(client, name) == "Loaded"


def test_a_load_outlives_the_server(client: MilvusClient, lake: Path) -> None:
    name = made(client, "kept")
    client.load_partitions(name, ["a"])
    with served(lake) as other:
        second = MilvusClient(other)
        assert state(second, name, "a") == "Loaded"
        assert found(second, name) == set(range(1, ROWS, 3))
        second.load_collection(name)
        second.close()
    assert found(client, name) == set(range(ROWS))


def test_partitions_are_made_listed_and_dropped(client: MilvusClient) -> None:
    name = made(client, "parts")
    client.create_partition(name, "a")
    assert client.list_partitions(name) == ["_default", "a", "b"]
    assert client.has_partition(name, "a")
    assert not client.has_partition(name, "c")
    for wrong in ("%", "ä", "a b", " "):  # told before it is told that there is no such collection
        with pytest.raises(MilvusException, match=f"Invalid partition name: {wrong.strip()}. "):
            client.has_partition("no_collection", wrong)
    assert client.get_partition_stats(name, "a")["row_count"] == ROWS // 3
    assert int(client.get_collection_stats(name)["row_count"]) == ROWS
    assert refused(client.get_partition_stats, name, "c") == (200, "partition not found[partition=c]")
    client.load_collection(name)
    assert refused(client.drop_partition, name, "a") == (
        65535,
        "partition cannot be dropped, partition is loaded, please release it first",
    )
    assert refused(client.drop_partition, name, "_default")[1] == "default partition cannot be deleted"
    client.drop_partition(name, "c")
    client.release_partitions(name, ["a"])
    client.drop_partition(name, "a")
    assert client.list_partitions(name) == ["_default", "b"]
    assert int(client.get_collection_stats(name)["row_count"]) == ROWS - ROWS // 3
    for wrong in ("12 s", "(mn)", "中文", "%$#"):
        _, message = refused(client.create_partition, name, wrong)
        assert f"Invalid partition name: {wrong}" in message
    assert refused(client.create_partition, "nothing", "a")[0] == 100


def test_a_partition_is_called_as_milvus_allows(client: MilvusClient) -> None:
    client.create_collection("dashed", 4, consistency_level="Strong")
    for name in ("12-s", "9", "_a-b"):
        client.create_partition("dashed", name)
        client.insert("dashed", [{"id": 1, "vector": [0.0] * 4}], partition_name=name)
        assert len(client.query("dashed", filter="id >= 0", partition_names=[name])) == 1
    assert set(client.list_partitions("dashed")) == {"_default", "12-s", "9", "_a-b"}
    for name in ("-a", "12 s", "(mn)"):
        with pytest.raises(MilvusException, match=re.escape(f"Invalid partition name: {name}. ")):
            client.create_partition("dashed", name)


def test_a_partition_key_leaves_partitions_alone(client: MilvusClient) -> None:
    name = made(client, "keyed", key=True)
    assert client.list_partitions(name) == [f"_default_{number}" for number in range(4)]
    counts = [client.get_partition_stats(name, f"_default_{number}")["row_count"] for number in range(4)]
    assert sum(counts) == ROWS
    for call, operation, names in (
        (client.create_partition, "create partition", "a"),
        (client.drop_partition, "drop partition", "_default_1"),
        (client.load_partitions, "load partitions", ["_default_1"]),
        (client.release_partitions, "release partitions", ["_default_1"]),
    ):
        assert refused(call, name, names) == (
            65535,
            f"disable {operation} if partition key mode is used",
        )
    client.load_collection(name)
    assert found(client, name, filter="text == '7'") == {7}
    _, message = refused(client.search, name, [[0.5] * 4], partition_names=["_default_1"])
    assert "not support manually specifying the partition names if partition key mode is used" in message


def test_searches_are_told_of_the_index(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="HNSW", metric_type="COSINE", M=8, efConstruction=64)
    client.create_collection("tuned", schema=schema, index_params=params)
    client.insert("tuned", [{"id": i, "vec": [1.0, float(i), 0.0, 0.0]} for i in range(20)])
    query = [[1.0, 2.0, 0.0, 0.0]]
    assert client.search("tuned", query, limit=1, search_params={"params": {"ef": 32}})[0][0]["id"] == 2
    assert client.search("tuned", query, limit=1, search_params={"nprobe": 8})[0][0]["id"] == 2
    for params_given, words in (
        ({"params": {"ef": 2}}, "ef(2) should be larger than k(10)"),
        ({"params": {"ef": -1}}, "param 'ef' (-1) should be in range [1, 2147483647]"),
        ({"params": {"ef": 32.5}}, "Type conflict in json: param 'ef' (32.5) should be integer"),
        ({"metric_type": "L2"}, "metric type not match: invalid parameter[expected=COSINE][actual=L2]"),
        ({"params": {"eff": 32}}, "eff is no parameter of any index type"),
    ):
        assert words in refused(client.search, "tuned", query, limit=10, search_params=params_given)[1]
    # Groups and iterators take hits until there are enough.
    little = {"params": {"ef": 2}}
    [hits] = client.search("tuned", query, limit=10, search_params=little, group_by_field="id")
    assert len(hits) == 10
    leg = AnnSearchRequest(query, "vec", little, 10)
    [hits] = client.hybrid_search("tuned", [leg, leg], RRFRanker(), 10, group_by_field="id")
    assert len(hits) == 10
    assert "ef(2)" in refused(client.hybrid_search, "tuned", [leg, leg], RRFRanker(), 10)[1]
    pages = client.search_iterator("tuned", query, batch_size=10, search_params=little)
    assert [len(pages.next()) for _ in range(3)] == [10, 10, 0]


def test_vectors_in_struct_arrays_have_an_index_each(client: MilvusClient) -> None:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    parts = client.create_struct_field_schema()
    parts.add_field("emb", DataType.FLOAT_VECTOR, dim=4)
    parts.add_field("word", DataType.VARCHAR, max_length=20)
    schema.add_field(
        "parts", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=parts, max_capacity=10
    )
    client.create_collection("structs", schema=schema)
    params = client.prepare_index_params()
    params.add_index("vec")
    client.create_index("structs", params, sync=False)
    assert "there is no vector index on field: [parts[emb]]" in refused(client.load_collection, "structs")[1]
    lists = client.prepare_index_params()
    lists.add_index("parts[emb]", index_type="HNSW", metric_type="MAX_SIM_COSINE", M=8, efConstruction=64)
    client.create_index("structs", lists, sync=False)
    shown = client.describe_index("structs", "parts[emb]")
    client.create_index("structs", lists, sync=False)
    assert (shown["field_name"], shown["metric_type"], shown["M"]) == ("parts[emb]", "MAX_SIM_COSINE", "8")
    client.load_collection("structs")
    wrong = client.prepare_index_params()
    wrong.add_index("parts[none]", index_type="HNSW", metric_type="MAX_SIM_COSINE")
    assert (
        "cannot create index on non-exist field: parts[none]"
        in refused(client.create_index, "structs", wrong)[1]
    )
    client.release_collection("structs")
    client.drop_index("structs", "parts[emb]")
    assert client.list_indexes("structs") == ["vec"]


async def test_the_async_client_loads_and_indexes(place: str, client: MilvusClient) -> None:
    name = made(client, "awaited")
    waiting = AsyncMilvusClient(place)
    try:
        assert await waiting.list_indexes(name) == ["vec"]
        await waiting.load_collection(name)
        assert (await waiting.get_load_state(name))["state"].name == "Loaded"
        await waiting.release_partitions(name, ["a"])
        assert await waiting.list_partitions(name) == ["_default", "a", "b"]
        await waiting.drop_partition(name, "a")
        await waiting.release_collection(name)
        await waiting.drop_index(name, "vec")
        await waiting.create_alias(name, "waited")
        assert (await waiting.describe_alias("waited"))["collection_name"] == name
        await waiting.drop_alias("waited")
    finally:
        await waiting.close()


@pytest.mark.filterwarnings("ignore::pymilvus.decorators.PyMilvusDeprecationWarning")
def test_the_orm_classes_load_and_index(place: str) -> None:
    host, _, port = place.removeprefix("http://").partition(":")
    connections.connect("orm", host=host, port=port)
    try:
        fields = [
            FieldSchema("id", DataType.INT64, is_primary=True),
            FieldSchema("vec", DataType.FLOAT_VECTOR, dim=4),
        ]
        collection = Collection("orm", CollectionSchema(fields), using="orm")
        collection.insert([[1, 2, 3], [[1.0] * 4, [2.0] * 4, [3.0] * 4]])
        collection.create_index("vec", {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8}})
        assert collection.has_index()
        assert collection.index().params == {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8}}
        assert utility.index_building_progress("orm", using="orm")["state"] == "Finished"
        assert utility.load_state("orm", using="orm").name == "NotLoad"
        collection.load()
        assert utility.loading_progress("orm", using="orm") == {"loading_progress": "100%"}
        assert collection.num_entities == 3
        part = collection.create_partition("p")
        assert [one.name for one in collection.partitions] == ["_default", "p"]
        assert part.num_entities == 0
        part.release()
        part.drop()
        collection.release()
        collection.drop_index()
        assert not collection.has_index()
    finally:
        connections.disconnect("orm")


def test_a_collection_is_loaded_into_groups_that_are_there(client: MilvusClient) -> None:
    client.create_collection("grouped", 4)
    with pytest.raises(MilvusException, match=r"resource group not found\[rg=nowhere\]") as raised:
        client.load_collection("grouped", resource_groups=["nowhere"])
    assert raised.value.code == 300
    client.load_collection("grouped", resource_groups=["__default_resource_group"])
    client.drop_collection("grouped")
