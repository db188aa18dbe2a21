"""The other interfaces of the client, asynchronous and object-relational, change collections too."""

from __future__ import annotations

import asyncio

import pytest
from pymilvus import (
    AsyncMilvusClient,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    connections,
    utility,
)


def test_the_asynchronous_client_changes_a_collection(address: str) -> None:
    asyncio.run(_evolve(address))


async def _evolve(address: str) -> None:
    client = AsyncMilvusClient(address)
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("text", DataType.VARCHAR, max_length=20, enable_analyzer=True)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="FLAT", metric_type="L2")
    await client.create_collection("later", schema=schema, index_params=params, consistency_level="Strong")
    await client.insert("later", [{"id": 1, "vec": [0.0, 1.0], "text": "blue sky"}])
    await client.add_collection_field("later", "note", DataType.INT64, nullable=True, default_value=7)
    await client.alter_collection_field("later", "text", {"max_length": 100})
    await client.alter_collection_properties(
        "later", {"timezone": "Asia/Tokyo", "collection.ttl.seconds": 3600}
    )
    await client.drop_collection_properties("later", ["collection.ttl.seconds"])
    described = await client.describe_collection("later")
    assert described["properties"]["timezone"] == "Asia/Tokyo"
    assert "collection.ttl.seconds" not in described["properties"]
    await client.insert("later", [{"id": 2, "vec": [1.0, 1.0], "text": "water " * 10, "note": 1}])
    rows = await client.query("later", filter="id > 0", output_fields=["note"])
    assert [(row["id"], row["note"]) for row in rows] == [(1, 7), (2, 1)]
    await client.drop_collection_field("later", "note")
    assert [one["name"] for one in (await client.describe_collection("later"))["fields"]] == [
        "id",
        "vec",
        "text",
    ]
    [tokens] = await client.run_analyzer(["Blue Sky"], {"type": "english"})
    assert tokens.tokens == ["blue", "sky"]
    await client.truncate_collection("later")
    assert await client.query("later", filter="", output_fields=["count(*)"]) == [{"count(*)": 0}]
    await client.close()


@pytest.mark.filterwarnings("ignore::pymilvus.decorators.PyMilvusDeprecationWarning")
def test_the_older_interface_changes_a_collection(address: str) -> None:
    connections.connect("older", uri=str(address))
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True),
        FieldSchema("vec", DataType.FLOAT_VECTOR, dim=2),
    ]
    made = Collection("older", CollectionSchema(fields), using="older", consistency_level="Strong")
    made.set_properties({"mmap.enabled": True, "collection.ttl.seconds": 100})
    told = made.describe()["properties"]
    assert {name: told[name] for name in ("mmap.enabled", "collection.ttl.seconds")} == {
        "mmap.enabled": "True",
        "collection.ttl.seconds": "100",
    }
    made.create_index("vec", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    made.load()
    made.insert([[1, 2], [[0.0, 1.0], [1.0, 1.0]]])
    assert made.query("id > 0", output_fields=["id"]) == [{"id": 1}, {"id": 2}]
    made.truncate()
    assert made.query("id > 0", output_fields=["id"]) == []
    utility.drop_collection("older", using="older")
    connections.disconnect("older")
