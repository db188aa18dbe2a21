"""Every method that an unmodified client has is used by a test, and those that no topic of their own."""

from __future__ import annotations

import ast
import uuid
from pathlib import Path

import pytest
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException


def methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


@pytest.mark.parametrize("kind", [MilvusClient, AsyncMilvusClient])
def test_every_method_is_used_by_a_test(kind: type) -> None:
    used: set[str] = set()
    for path in Path(__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                used.add(node.value)
    assert methods(kind) <= used, sorted(methods(kind) - used)


def test_the_state_of_the_server_is_told(client: MilvusClient) -> None:
    assert client.get_server_type() == "milvus"
    client.flush_all()
    assert client.get_flush_all_state(flush_all_ts=1)


def test_segments_and_compactions_of_a_collection_are_listed(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    client.create_collection(name, dimension=4)
    for start in (0, 100):
        client.insert(name, [{"id": start + i, "vector": [float(i), 0, 1, 2]} for i in range(100)])
        client.flush(name)
    assert sum(segment.num_rows for segment in client.list_segments(name)) == 200
    client.compact(name)
    assert client.list_compaction_tasks(name) is not None
    client.drop_collection(name)


def test_a_client_moves_between_databases(address: str) -> None:
    client = MilvusClient(address, dedicated=True)
    client.create_database("elsewhere")
    with pytest.warns(match="use_database"):
        client.using_database("elsewhere")
    client.create_collection("there", dimension=4)
    assert client.list_collections() == ["there"]
    client.drop_collection("there")
    client.use_database("default")
    client.drop_database("elsewhere")
    with pytest.raises(MilvusException) as raised:
        client.use_database("elsewhere")
    assert raised.value.code == 800
    client.close()


def test_another_cluster_is_not_read_from_here(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    client.create_collection(name, dimension=4)
    with pytest.raises(MilvusException, match="cluster_id 'elsewhere': this server is one cluster"):
        client.session("elsewhere").query(name, filter="id > 0")
    assert list(client.session("headwater").query(name, filter="id > 0")) == []
    client.drop_collection(name)
