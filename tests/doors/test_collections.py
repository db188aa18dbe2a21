"""Collections made, described, listed, renamed and dropped through the real client."""

from __future__ import annotations

import pytest
from pymilvus import DataType, MilvusClient, MilvusException


def test_a_quick_collection_is_described_as_milvus_does(client: MilvusClient) -> None:
    schema = client.create_schema(enable_dynamic_field=True, auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    client.create_collection("quick", schema=schema)
    about = client.describe_collection("quick")
    assert about["collection_name"] == "quick"
    assert about["enable_dynamic_field"]
    assert not about["auto_id"]
    assert about["num_shards"] == 1
    assert about["consistency_level"] == 2
    assert [(f["name"], f["type"], f["field_id"]) for f in about["fields"]] == [
        ("id", DataType.INT64, 100),
        ("vector", DataType.FLOAT_VECTOR, 101),
    ]
    assert about["fields"][1]["params"] == {"dim": 8}
    assert client.has_collection("quick")
    assert "quick" in client.list_collections()
    client.rename_collection("quick", "quicker")
    assert client.describe_collection("quicker")["collection_id"] == about["collection_id"]
    assert not client.has_collection("quick")
    client.drop_collection("quicker")
    client.drop_collection("quicker")
    assert not client.has_collection("quicker")


def test_a_missing_collection_has_milvus_code(client: MilvusClient) -> None:
    with pytest.raises(MilvusException, match=r"collection not found\[database=default\]") as raised:
        client.describe_collection("nothing")
    assert raised.value.code == 100
