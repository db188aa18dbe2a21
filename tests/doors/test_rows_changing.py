"""Inserts, upserts, partial updates and deletes through the real clients: what they do, and what they refuse."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from pymilvus import (
    AsyncMilvusClient,
    Collection,
    CollectionSchema,
    DataType,
    FieldSchema,
    MilvusClient,
    MilvusException,
    connections,
    utility,
)
from pymilvus.client.field_ops import FieldOp
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, schema_pb2

INT64, VARCHAR, VECTOR = DataType.INT64, DataType.VARCHAR, DataType.FLOAT_VECTOR
NUMBER = iter(range(10_000))


@pytest.fixture
def made(client: MilvusClient) -> Iterator[str]:
    name = f"c{next(NUMBER)}"
    yield name
    client.drop_collection(name)


Fields = dict[str, tuple[DataType, dict[str, Any]]]


def collection(client: MilvusClient, name: str, fields: Fields, *, load: bool = True, **options: Any) -> None:
    """A collection of a key, a vector of two numbers, and these fields."""
    schema = client.create_schema(enable_dynamic_field=options.pop("dynamic", False))
    key = options.pop("key", (INT64, {}))
    schema.add_field("id", key[0], is_primary=True, **key[1])
    schema.add_field("vector", VECTOR, dim=2)
    for field, (kind, more) in fields.items():
        schema.add_field(field, kind, **more)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    options.setdefault("consistency_level", "Strong")
    client.create_collection(name, schema=schema, index_params=index if load else None, **options)


def rows_of(client: MilvusClient, name: str, *fields: str) -> list[dict[str, Any]]:
    found = client.query(name, "", limit=1000, output_fields=list(fields))
    return sorted(({field: row.get(field) for field in fields} for row in found), key=lambda row: row["id"])


V = [0.0, 1.0]
TEXT = {"a": (VARCHAR, {"max_length": 9, "nullable": True}), "b": (INT64, {"nullable": True})}


def test_an_upsert_replaces_whole_rows_and_a_partial_one_only_what_it_names(
    client: MilvusClient, made: str
) -> None:
    collection(client, made, TEXT, dynamic=True)
    client.insert(made, [{"id": n, "vector": V, "a": f"a{n}", "b": n, "x": n, "y": "keep"} for n in range(4)])
    assert client.upsert(made, [{"id": 0, "vector": V, "b": 10}])["upsert_count"] == 1
    done = client.upsert(made, [{"id": n, "b": 20 + n, "x": "new"} for n in (1, 2)], partial_update=True)
    assert (done["upsert_count"], list(done["ids"])) == (2, [1, 2])
    client.upsert(made, [{"id": 3, "a": None}], partial_update=True)
    client.upsert(made, [{"id": 9, "vector": V, "a": "whole"}], partial_update=True)
    assert rows_of(client, made, "id", "a", "b", "x", "y") == [
        {"id": 0, "a": None, "b": 10, "x": None, "y": None},
        {"id": 1, "a": "a1", "b": 21, "x": "new", "y": "keep"},
        {"id": 2, "a": "a2", "b": 22, "x": "new", "y": "keep"},
        {"id": 3, "a": None, "b": 3, "x": 3, "y": "keep"},
        {"id": 9, "a": "whole", "b": None, "x": None, "y": None},
    ]
    with pytest.raises(MilvusException, match=r"fieldSchema\(vector\) has no corresponding fieldData"):
        client.upsert(made, [{"id": 77, "b": 1}], partial_update=True)


def test_elements_are_added_to_arrays_and_taken_out(client: MilvusClient, made: str) -> None:
    tags = {"tags": (DataType.ARRAY, {"element_type": VARCHAR, "max_length": 9, "max_capacity": 5})}
    collection(client, made, tags)
    client.insert(made, [{"id": n, "vector": V, "tags": ["a", "b"]} for n in range(3)])
    change = [{"id": 0, "tags": ["c"]}, {"id": 1, "tags": ["a", "d"]}]
    client.upsert(made, change, partial_update=True, field_ops={"tags": FieldOp.array_append()})
    client.upsert(made, [{"id": 1, "tags": ["a"]}], partial_update=True, field_ops={"tags": "array_remove"})
    assert [row["tags"] for row in rows_of(client, made, "id", "tags")] == [
        ["a", "b", "c"],
        ["b", "d"],
        ["a", "b"],
    ]


@pytest.mark.parametrize(
    ("row", "operations", "said", "code"),
    [
        ({"vector": V}, {"vector": "array_append"}, "op ARRAY_APPEND requires Array field", 1100),
        ({}, {"id": "array_remove"}, "is the primary key and cannot carry a partial-update op", 1100),
        ({}, {"tags": "array_append"}, 'op targets field "tags" not present in fields_data', 1100),
        ({"tags": [3, 4, 5]}, {"tags": "array_append"}, "array length 5 exceeds max_capacity 4", 65535),
    ],
)
def test_what_array_operations_cannot_do_is_told_and_changes_nothing(
    client: MilvusClient, made: str, row: dict[str, Any], operations: dict[str, str], said: str, code: int
) -> None:
    tags = {"tags": (DataType.ARRAY, {"element_type": INT64, "max_capacity": 4})}
    collection(client, made, tags)
    client.insert(made, [{"id": 0, "vector": V, "tags": [1, 2]}])
    with pytest.raises(MilvusException, match=said) as raised:
        client.upsert(made, [{"id": 0, **row}], field_ops=operations)
    assert raised.value.code == code
    assert [row["tags"] for row in rows_of(client, made, "id", "tags")] == [[1, 2]]


def test_rows_are_deleted_by_keys_by_a_filter_and_in_a_partition(client: MilvusClient, made: str) -> None:
    collection(client, made, TEXT)
    client.create_partition(made, "other")
    client.insert(made, [{"id": n, "vector": V, "b": n % 3} for n in range(12)])
    client.insert(made, [{"id": n, "vector": V, "b": n % 3} for n in range(12, 24)], partition_name="other")
    assert client.delete(made, ids=[0, 1, 500])["delete_count"] == 3
    assert client.delete(made, filter="b == 2")["delete_count"] == 8
    assert client.delete(made, filter="id in {ids}", filter_params={"ids": [3, 4]})["delete_count"] == 2
    assert client.delete(made, filter="b >= 0", partition_name="other")["delete_count"] == 8
    assert [row["id"] for row in rows_of(client, made, "id")] == [6, 7, 9, 10]
    for bad, said in (("b ==", "failed to create delete plan"), ("nothing > 3", "cannot parse expression")):
        with pytest.raises(MilvusException, match=said) as raised:
            client.delete(made, filter=bad)
        assert raised.value.code == 1100
    with pytest.raises(MilvusException, match=r"partition not found\[partition=gone\]") as raised:
        client.insert(made, [{"id": 1, "vector": V}], partition_name="gone")
    assert raised.value.code == 200


@pytest.mark.parametrize("kind", ["int", "text"])
def test_the_lake_makes_the_keys(client: MilvusClient, made: str, kind: str) -> None:
    key = (INT64, {"auto_id": True}) if kind == "int" else (VARCHAR, {"auto_id": True, "max_length": 64})
    collection(client, made, {"n": (INT64, {})}, key=key, num_shards=2)
    keys = [key for start in (0, 5) for key in insert_numbers(client, made, range(start, start + 5))]
    assert len(set(keys)) == 10
    assert {type(key) for key in keys} == {int if kind == "int" else str}
    with pytest.raises(MilvusException, match=r"more fieldData has pass in: .*\[expected=3\]\[actual=4\]"):
        client.insert(made, [{"id": keys[0], "vector": V, "n": 1}])
    done = client.upsert(made, [{"id": keys[n], "vector": V, "n": 100 + n} for n in range(3)])
    remade = list(done["ids"])
    assert not set(remade) & set(keys)
    found = {row["id"]: row["n"] for row in rows_of(client, made, "id", "n")}
    assert found == {
        **dict(zip(keys[3:], range(3, 10), strict=True)),
        **dict(zip(remade, (100, 101, 102), strict=True)),
    }
    client.delete(made, ids=[remade[0], keys[5]])
    assert set(row["id"] for row in rows_of(client, made, "id")) == set(found) - {remade[0], keys[5]}


def insert_numbers(client: MilvusClient, name: str, numbers: range) -> list[Any]:
    return list(client.insert(name, [{"vector": V, "n": n} for n in numbers])["ids"])


def test_keys_that_the_lake_would_make_may_be_given_where_a_property_says_so(
    client: MilvusClient, made: str
) -> None:
    options = {"properties": {"allow_insert_auto_id": "true"}}
    collection(client, made, {}, key=(INT64, {"auto_id": True}), **options)
    assert list(client.insert(made, [{"id": 5, "vector": V}, {"id": 6, "vector": V}])["ids"]) == [5, 6]
    [key] = client.insert(made, [{"vector": V}])["ids"]
    assert list(client.upsert(made, [{"id": 5, "vector": [1.0, 1.0]}])["ids"]) == [5]
    assert [row["id"] for row in rows_of(client, made, "id")] == [5, 6, key]


def test_rows_go_where_their_partition_key_says(client: MilvusClient, made: str) -> None:
    options: dict[str, Any] = {"num_partitions": 4}
    collection(client, made, {"k": (VARCHAR, {"max_length": 9, "is_partition_key": True})}, **options)
    client.insert(made, [{"id": n, "vector": V, "k": f"k{n % 7}"} for n in range(50)])
    assert client.describe_collection(made)["num_partitions"] == 4
    assert {row["id"] for row in client.query(made, 'k == "k3"', output_fields=["id"])} == set(
        range(3, 50, 7)
    )
    with pytest.raises(MilvusException, match="not support manually specifying the partition names"):
        client.insert(made, [{"id": 1, "vector": V, "k": "a"}], partition_name="_default")


def test_a_client_with_an_old_schema_learns_the_new_one(
    client: MilvusClient, address: str, made: str
) -> None:
    collection(client, made, {}, load=False)
    client.insert(made, [{"id": 1, "vector": V}])
    other = MilvusClient(address)
    other.add_collection_field(made, "more", INT64, nullable=True)
    request = milvus_pb2.InsertRequest(collection_name=made, num_rows=1, schema_timestamp=5)
    answer = stub(address).Insert(request)
    assert (answer.status.code, answer.status.error_code) == (109, 62)
    client.insert(made, [{"id": 2, "vector": V, "more": 7}])
    other.close()


def message(rows: int, **fields: schema_pb2.FieldData) -> milvus_pb2.InsertRequest:
    """An insert that the client's own checks would not let pass."""
    good = {
        "id": schema_pb2.FieldData(scalars={"long_data": {"data": list(range(rows))}}),
        "vector": schema_pb2.FieldData(vectors={"dim": 2, "float_vector": {"data": [0.0] * 2 * rows}}),
        "s": schema_pb2.FieldData(scalars={"string_data": {"data": ["x"] * rows}}),
        "n": schema_pb2.FieldData(scalars={"int_data": {"data": [1] * rows}}),
    }
    request = milvus_pb2.InsertRequest(num_rows=rows)
    for name, data in (good | fields).items():
        if data is not None:
            data.field_name = name
            request.fields_data.append(data)
    return request


Data = schema_pb2.FieldData
NAN = float("nan")
BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"s": None}, "fieldSchema(s) has no corresponding fieldData pass in"),
    (
        {"more": Data(scalars={"long_data": {"data": [1, 2]}})},
        "fieldName more not exist in collection schema",
    ),
    (
        {"$meta": Data(is_dynamic=True)},
        "without dynamic schema enabled, the field name cannot be set to $meta",
    ),
    (
        {"s": Data(scalars={"long_data": {"data": [1, 2]}})},
        "varchar field 's' is illegal, array type mismatch",
    ),
    ({"n": Data(scalars={"string_data": {"data": ["a"]}})}, "field 'n' is illegal, array type mismatch"),
    ({"vector": Data(vectors={"dim": 2, "binary_vector": b"ab"})}, "float vector field 'vector' is illegal"),
    (
        {"s": Data(scalars={"string_data": {"data": ["x", "é" * 5]}})},
        "exceeds max length, row number: 1, length: 10",
    ),
    (
        {"n": Data(scalars={"int_data": {"data": [1, 200]}})},
        "the 1th element (200) out of range: [-128, 127]",
    ),
    (
        {"vector": Data(vectors={"dim": 2, "float_vector": {"data": [0, 1, NAN, 2]}})},
        "value 'NaN' is not a number",
    ),
    (
        {"vector": Data(vectors={"dim": 2, "float_vector": {"data": [0, float("inf"), 1, 2]}})},
        "value '+Inf' is not a number or infinity",
    ),
    (
        {"vector": Data(vectors={"dim": 3, "float_vector": {"data": [0.0] * 5}})},
        "the length(5) of float data should divide the dim(2)",
    ),
    (
        {"vector": Data(vectors={"dim": 4, "float_vector": {"data": [0.0] * 8}})},
        "the dim (4) of field data(vector) is not equal to schema dim (2)",
    ),
    (
        {"n": Data(scalars={"int_data": {"data": [1]}})},
        "the num_rows (1) of field (n) is not equal to passed num_rows (2)",
    ),
    (
        {"n": Data(scalars={"int_data": {"data": [1]}}, valid_data=[True, False])},
        "the length of valid_data of field(n) is wrong",
    ),
]


@pytest.fixture(scope="module")
def strict(address: str) -> str:
    """A collection that every bad row is tried on."""
    client = MilvusClient(address)
    collection(client, "strict", {"s": (VARCHAR, {"max_length": 9}), "n": (DataType.INT8, {})}, load=False)
    client.close()
    return "strict"


@pytest.mark.parametrize(("fields", "said"), BAD_ROWS, ids=[said[:40] for _, said in BAD_ROWS])
def test_rows_that_break_a_rule_are_refused_in_milvus_words(
    address: str, strict: str, fields: dict[str, Any], said: str
) -> None:
    request = message(2, **fields)
    request.collection_name = strict
    answer = stub(address).Insert(request)
    assert said in answer.status.reason
    assert (answer.status.code, answer.status.error_code) == (1100, 5)


def test_rows_are_counted_and_named_once(address: str, strict: str) -> None:
    request = message(0)
    request.collection_name = strict
    assert "num_rows should be greater than 0" in stub(address).Insert(request).status.reason
    request = message(2)
    request.fields_data.add().CopyFrom(request.fields_data[0])
    request.collection_name = strict
    assert "duplicated field id found" in stub(address).Insert(request).status.reason
    twice = milvus_pb2.UpsertRequest(collection_name=strict, num_rows=2, fields_data=message(2).fields_data)
    twice.fields_data[0].scalars.long_data.data[:] = [7, 7]
    assert (
        "duplicate primary keys are not allowed in the same batch"
        in stub(address).Upsert(twice).status.reason
    )
    missing = milvus_pb2.UpsertRequest(
        collection_name=strict, num_rows=2, fields_data=message(2, id=None).fields_data
    )
    assert "must assign pk when upsert, primary field: id" in stub(address).Upsert(missing).status.reason
    absent = message(2)
    absent.collection_name = "absent"
    assert stub(address).Insert(absent).status.code == 100
    named = message(2)
    named.collection_name, named.namespace = strict, "tenant"
    assert stub(address).Insert(named).status.code == 1100


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tags": ["a"] * 4}, "the length (4) of 0th array exceeds max capacity (3)"),
        ({"tags": ["abcdef"]}, "row number: 0, array index: 0, length: 6, max length: 5"),
        ({"j": "x" * 70000}, "exceeds max length (65536)"),
        ({"g": "POINT (1"}, "syntax error"),
        ({"sparse": {1: -0.5}}, "negative value in sparse float vector"),
        ({"half": [1e30, 0.0]}, "is not a number or infinity"),
    ],
)
def test_values_that_break_a_rule_are_refused(
    client: MilvusClient, loose: str, row: dict[str, Any], said: str
) -> None:
    good = {"id": 1, "vector": V, "half": [0.0, 1.0], "sparse": {1: 0.5}, "tags": ["a"], "j": {}, "g": None}
    client.insert(loose, [good])
    given = {**good, **row}
    if isinstance(given["j"], str):
        given["j"] = {"long": given["j"]}
    with pytest.raises(MilvusException, match=re.escape(said)) as raised:
        client.insert(loose, [given])
    assert raised.value.code == 1100


@pytest.fixture(scope="module")
def loose(address: str) -> str:
    """A collection of many types."""
    client = MilvusClient(address)
    fields: Fields = {
        "half": (DataType.FLOAT16_VECTOR, {"dim": 2}),
        "sparse": (DataType.SPARSE_FLOAT_VECTOR, {}),
        "tags": (DataType.ARRAY, {"element_type": VARCHAR, "max_length": 5, "max_capacity": 3}),
        "j": (DataType.JSON, {}),
        "g": (DataType.GEOMETRY, {"nullable": True}),
    }
    collection(client, "loose", fields, dynamic=True, load=False)
    client.close()
    return "loose"


async def test_the_asynchronous_client_writes_too(address: str) -> None:
    client = AsyncMilvusClient(address)
    schema = client.create_schema()
    schema.add_field("id", INT64, is_primary=True)
    schema.add_field("vector", VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    await client.create_collection(
        "asynchronous", schema=schema, index_params=index, consistency_level="Strong"
    )
    assert (await client.insert("asynchronous", [{"id": n, "vector": V} for n in range(9)]))[
        "insert_count"
    ] == 9
    assert (await client.upsert("asynchronous", [{"id": 3, "vector": [9.0, 9.0]}]))["upsert_count"] == 1
    assert (await client.delete("asynchronous", ids=[1]))["delete_count"] == 1
    found = await client.query("asynchronous", "id >= 0", output_fields=["id"])
    assert sorted(row["id"] for row in found) == [0, *range(2, 9)]
    assert (await client.describe_collection("asynchronous"))["collection_name"] == "asynchronous"
    await client.drop_collection("asynchronous")
    await client.close()


ROWS = 6
FORMS: dict[str, Callable[[], Any]] = {
    "columns": lambda: [list(range(ROWS)), [f"n{n}" for n in range(ROWS)], [[n, 1.0] for n in range(ROWS)]],
    "numpy columns": lambda: [
        np.arange(ROWS),
        [f"n{n}" for n in range(ROWS)],
        np.ones((ROWS, 2), np.float32),
    ],
    "rows": lambda: [{"id": n, "name": f"n{n}", "vector": [n, 1.0]} for n in range(ROWS)],
    "frame": lambda: pd.DataFrame(
        {"id": range(ROWS), "name": [f"n{n}" for n in range(ROWS)], "vector": [[n, 1.0] for n in range(ROWS)]}
    ),
}


@pytest.mark.filterwarnings("ignore:.*ORM-style:Warning")
def test_the_orm_writes_rows_columns_and_frames(address: str) -> None:
    connections.connect("orm", uri=str(address))
    fields = [
        FieldSchema("id", INT64, is_primary=True),
        FieldSchema("name", VARCHAR, max_length=9),
        FieldSchema("vector", VECTOR, dim=2),
    ]
    made = Collection("orm", CollectionSchema(fields, "by hand"), using="orm", consistency_level="Strong")
    assert made.description == "by hand"
    assert utility.has_collection("orm", using="orm")
    assert not utility.has_collection("orn", using="orm")
    made.create_index("vector", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    made.load()
    for form, rows in FORMS.items():
        done = made.insert(rows())
        assert (done.insert_count, list(done.primary_keys)) == (ROWS, list(range(ROWS))), form
        made.upsert(rows())
        found = made.query("id >= 0", output_fields=["name"])
        assert sorted(row["name"] for row in found) == [f"n{n}" for n in range(ROWS)], form
        assert made.delete("id >= 0").delete_count == ROWS
    utility.rename_collection("orm", "orm_renamed", using="orm")
    utility.drop_collection("orm_renamed", using="orm")
    connections.disconnect("orm")


def test_rows_go_when_their_time_is_over(client: MilvusClient, made: str) -> None:
    fields: Fields = {"until": (DataType.TIMESTAMPTZ, {"nullable": True})}
    collection(client, made, fields, properties={"ttl_field": "until"})
    moments = ["2001-01-01T00:00:00Z", "2901-01-01T00:00:00Z", None]
    client.insert(made, [{"id": n, "vector": V, "until": one} for n, one in enumerate(moments)])
    assert [row["id"] for row in rows_of(client, made, "id")] == [1, 2]
    assert client.describe_collection(made)["properties"]["ttl_field"] == "until"


def stub(address: str) -> milvus_pb2_grpc.MilvusServiceStub:
    """The protocol itself, for what the client would not send."""
    return milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address.removeprefix("http://")))


def test_rows_of_a_partition_key_are_not_deleted_by_a_partitions_name(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("key", DataType.VARCHAR, max_length=10, is_partition_key=True)
    client.create_collection(name, schema=schema)
    client.insert(name, [{"id": 1, "v": [0, 0], "key": "a"}])
    with pytest.raises(MilvusException, match="not support manually specifying the partition names"):
        client.delete(name, ids=[1], partition_name="_default_0")
    client.drop_collection(name)
