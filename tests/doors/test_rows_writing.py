"""Rows written through the real client, read back by the engine on the same lake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient
from serving import served

import headwater as hw


def test_rows_written_by_a_client_are_those_that_the_lake_holds(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).random((50, 4), np.float32)
    with served(tmp_path / "lake") as address:
        client = MilvusClient(address)
        schema = client.create_schema(enable_dynamic_field=True)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        client.create_collection("quick", schema=schema)
        done = client.insert("quick", [{"id": i, "vector": vectors[i], "tag": f"t{i}"} for i in range(50)])
        assert done["insert_count"] == 50
        assert done["ids"] == list(range(50))
        assert client.upsert("quick", [{"id": 3, "vector": vectors[0], "tag": "new"}])["upsert_count"] == 1
        assert client.delete("quick", ids=[1, 2])["delete_count"] == 2
        assert client.delete("quick", filter="id in {some}", filter_params={"some": [5]})["delete_count"] == 1
        client.close()
    collection = hw.connect(tmp_path / "lake").collection("quick")
    rows = {row["id"]: row for row in collection.query("id >= 0", output_fields=["id", "vector", "tag"])}
    assert sorted(rows) == [0, 3, 4, *range(6, 50)]
    assert rows[3]["tag"] == "new"
    assert rows[7]["vector"] == pytest.approx(vectors[7].tolist())
