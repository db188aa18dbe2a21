"""Long texts, and the tenants that collections do not have, through an unmodified client."""

from __future__ import annotations

from typing import Any

import pytest
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

LONG = "lake water " * 20_000


def _schema(client: MilvusClient, **text: Any) -> CollectionSchema:
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("text", DataType.TEXT, **text)
    return schema


def _searched(client: MilvusClient, name: str) -> str:
    if client.has_collection(name):
        client.drop_collection(name)
    schema = _schema(client, enable_analyzer=True, enable_match=True, nullable=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="FLAT", metric_type="L2")
    if name.endswith("scored"):
        schema.fields[2].nullable = False
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
        params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    else:
        params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    client.create_collection(name, schema=schema, index_params=params, consistency_level="Strong")
    return name


def test_a_text_has_no_greatest_length_and_comes_back_whole(client: MilvusClient) -> None:
    name = _searched(client, "long_scored")
    [field] = [one for one in client.describe_collection(name)["fields"] if one["name"] == "text"]
    assert field["type"] == DataType.TEXT
    assert "max_length" not in field["params"]
    client.insert(
        name,
        [{"id": 1, "vec": [0.0, 1.0], "text": LONG}, {"id": 2, "vec": [1.0, 1.0], "text": "short words"}],
    )
    for sealed in (False, True):
        if sealed:
            client.flush(name)
        assert client.query(name, filter="text_match(text, 'water')", output_fields=["text"]) == [
            {"id": 1, "text": LONG}
        ]
        [hits] = client.search(name, ["words"], anns_field="sparse", limit=5, output_fields=["text"])
        assert [(hit["id"], hit["entity"]["text"]) for hit in hits] == [(2, "short words")]
    client.upsert(name, [{"id": 2, "vec": [1.0, 1.0], "text": "x" * 100_000}])
    assert client.get(name, [2], output_fields=["text"])[0]["text"] == "x" * 100_000


def test_conditions_that_milvus_has_of_short_texts_only_hold_of_long_ones(client: MilvusClient) -> None:
    name = _searched(client, "long_filtered")
    rows: list[dict[str, Any]] = [
        {"id": 1, "vec": [0.0, 1.0], "text": LONG, "sparse": {1: 1.0}},
        {"id": 2, "vec": [1.0, 1.0], "text": "short words", "sparse": {1: 1.0}},
        {"id": 3, "vec": [1.0, 1.0], "text": None, "sparse": {1: 1.0}},
    ]
    client.insert(name, rows)
    for condition, there in (
        ("text == 'short words'", [2]),
        ("text != 'short words'", [1]),
        ("text in ['short words', 'b']", [2]),
        ("text like 'lake%'", [1]),
        ("text is null", [3]),
        ("phrase_match(text, 'water lake')", [1]),
        ("not text_match(text, 'words')", [1]),
    ):
        assert [row["id"] for row in client.query(name, filter=condition)] == there, condition


def test_a_text_keys_nothing_and_has_no_default(client: MilvusClient) -> None:
    schema = _schema(client, default_value="a")
    with pytest.raises(MilvusException, match="type not support default_value, type:Text, name:text"):
        client.create_collection("texts_default", schema=schema)
    stub = client._get_connection()._stub
    for key, words in (
        ("is_partition_key", "the data type of partition key should be Int64 or VarChar"),
        ("is_clustering_key", "clustering key field text has unsupported data type Text"),
        ("is_primary_key", "the data type of primary key should be Int64 or VarChar"),
    ):
        # The client refuses these itself; what the server says is for others.
        text = schema_pb2.FieldSchema(name="text", data_type=schema_pb2.DataType.Text, **{key: True})
        number = schema_pb2.FieldSchema(name="id", data_type=schema_pb2.DataType.Int64)
        number.is_primary_key = key != "is_primary_key"
        vector = schema_pb2.FieldSchema(name="vec", data_type=schema_pb2.DataType.FloatVector)
        vector.type_params.add(key="dim", value="2")
        asked = schema_pb2.CollectionSchema(name="texts_keyed", fields=[number, vector, text])
        status = stub.CreateCollection(
            milvus_pb2.CreateCollectionRequest(
                collection_name="texts_keyed", schema=asked.SerializeToString()
            )
        )
        assert status.code in (65535, 105, 1100), status
        assert words in status.reason
    schema = _schema(client)
    schema.add_field("texts", DataType.ARRAY, element_type=DataType.TEXT, max_capacity=4)
    with pytest.raises(MilvusException, match="element type Text is not supported"):
        client.create_collection("texts_elements", schema=schema)


def test_namespaces_are_refused_where_they_are_asked_for(client: MilvusClient) -> None:
    schema = _schema(client)
    schema.enable_namespace = True
    for given in ({"schema": schema}, {"schema": _schema(client), "properties": {"namespace.mode": "a"}}):
        with pytest.raises(MilvusException, match="namespace") as raised:
            client.create_collection("spaces", **given)
        assert raised.value.code == 3000
    assert not client.has_collection("spaces")
    client.create_collection("spaces", schema=_schema(client))
    with pytest.raises(MilvusException, match="namespace"):
        client.insert("spaces", [{"id": 1, "vec": [0.0, 1.0], "text": "a"}], namespace="tenant")
    client.drop_collection("spaces")
