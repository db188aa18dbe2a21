"""Querying through an unmodified client: rows, pages, aggregates, iterators."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient, MilvusException
from structs import add_structs

ROWS = 1_500
COLOURS = ["red", "green", "blue"]


def row(number: int) -> dict:
    return {
        "id": number,
        "vector": [float(number), 1.0],
        "colour": COLOURS[number % 3],
        "score": number % 10,
        "at": f"2025-0{1 + number % 9}-01T00:00:00Z",
        "tags": [number % 4, number % 5],
        "free": number % 3,
    }


@pytest.fixture(scope="module")
def name(address: str) -> Iterator[str]:
    client = MilvusClient(address)
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("colour", DataType.VARCHAR, max_length=20)
    schema.add_field("score", DataType.INT32)
    schema.add_field("at", DataType.TIMESTAMPTZ)
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    order = np.random.default_rng(1).permutation(ROWS).tolist()
    client.insert(name, [row(number) for number in order])
    yield name
    client.drop_collection(name)
    client.close()


def test_rows_come_back_as_they_went_in(client: MilvusClient, name: str) -> None:
    found = client.query(name, filter="id in [7, 8]", output_fields=["*"])
    assert sorted(found, key=lambda one: one["id"]) == [row(7), row(8)]
    [found] = client.query(name, ids=[9], output_fields=["colour", "free"])
    assert found == {"id": 9, "colour": "red", "free": 0}
    assert [one["id"] for one in client.get(name, [3, 4])] == [3, 4]


def test_pages_follow_an_order(client: MilvusClient, name: str) -> None:
    found = client.query(
        name, filter="score == 3", order_by=["id:desc"], limit=3, offset=2, output_fields=["id"]
    )
    want = [number for number in reversed(range(ROWS)) if number % 10 == 3]
    assert [one["id"] for one in found] == want[2:5]


def test_counts_and_groups(client: MilvusClient, name: str) -> None:
    assert client.query(name, filter="score < 5", output_fields=["count(*)"]) == [{"count(*)": ROWS // 2}]
    assert client.query(name, output_fields=["count(*)"]) == [{"count(*)": ROWS}]
    found = client.query(
        name,
        filter="",
        output_fields=["colour", "count(*)", "sum(score)", "avg(score)", "max(id)"],
        group_by_fields=["colour"],
        limit=10,
    )
    assert len(found) == 3
    for one in found:
        members = [number for number in range(ROWS) if COLOURS[number % 3] == one["colour"]]
        scores = [number % 10 for number in members]
        assert one["count(*)"] == len(members)
        assert one["sum(score)"] == sum(scores)
        assert one["avg(score)"] == pytest.approx(sum(scores) / len(scores))
        assert one["max(id)"] == max(members)


def test_times_in_a_zone_and_in_parts(client: MilvusClient, name: str) -> None:
    [found] = client.query(name, filter="id == 1", output_fields=["at"], timezone="Asia/Shanghai")
    assert found["at"] == "2025-02-01T08:00:00+08:00"
    [found] = client.query(name, filter="id == 1", output_fields=["at"], time_fields="year,month")
    assert list(found["at"]) == [2025, 2]


@pytest.mark.parametrize("batch_size", [100, 1000])
def test_iterators_bring_every_row_once_whatever_is_written(
    client: MilvusClient, name: str, batch_size: int
) -> None:
    iterator = client.query_iterator(
        name, filter="score < 9", batch_size=batch_size, output_fields=["id"], consistency_level="Strong"
    )
    found = []
    while batch := iterator.next():
        found += [one["id"] for one in batch]
        client.insert(name, [{**row(number), "id": number} for number in range(10_000, 10_020)])
        client.delete(name, filter="id >= 10000")
    iterator.close()
    assert found == [number for number in range(ROWS) if number % 10 < 9]


WRONG = [
    ({"filter": ""}, "empty expression should be used with limit"),
    ({"filter": "id > 0", "limit": 0}, "limit [0] is invalid, should be greater than 0"),
    ({"filter": "id > 0", "limit": 16_385}, "(offset+limit) should be in range [1, 16384], but got 16385"),
    ({"filter": "id > 0", "limit": 1, "offset": -1}, "offset [-1] is invalid, should be gte than 0"),
    ({"filter": "id >"}, "failed to create query plan: cannot parse expression: id >"),
    ({"filter": "id > 0", "output_fields": ["count(*)"], "limit": 3}, "count entities with pagination"),
    ({"filter": "id > 0", "order_by": ["id"]}, "ORDER BY requires explicit limit"),
    (
        {"filter": "id > 0", "limit": 3, "timezone": "Moon/Base"},
        "unknown or invalid IANA Time Zone ID: Moon/Base",
    ),
    (
        {"filter": "id > 0", "output_fields": ["count(*)"], "group_by_fields": ["tags"]},
        "unsupported data type",
    ),
    ({"filter": "id > 0", "partition_names": ["nowhere"]}, "partition name nowhere not found"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_in_milvus_words(
    client: MilvusClient, name: str, words: dict, message: str
) -> None:
    with pytest.raises(MilvusException) as raised:
        client.query(name, **words)
    assert message in raised.value.message


def test_released_collections_are_not_read(client: MilvusClient, name: str) -> None:
    client.release_collection(name)
    with pytest.raises(MilvusException, match="collection not loaded") as raised:
        client.query(name, filter="id > 0", limit=1)
    assert raised.value.code == 101
    client.load_collection(name)
    assert client.query(name, filter="id == 1", limit=1)


def test_members_of_structs_are_shown_by_themselves(client: MilvusClient) -> None:
    name = f"c{uuid.uuid4().hex[:8]}"
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    add_structs(
        schema,
        "clips",
        {
            "length": (DataType.INT64, {}),
            "title": (DataType.VARCHAR, {"max_length": 20}),
            "at": (DataType.FLOAT_VECTOR, {"dim": 2}),
        },
        max_capacity=4,
        nullable=True,
    )
    index = client.prepare_index_params()
    index.add_index("vector", metric_type="L2")
    index.add_index("clips[at]", index_type="HNSW", metric_type="COSINE")
    client.create_collection(name, schema=schema, index_params=index)
    clips = [{"length": i, "title": f"t{i}", "at": [1.0, i]} for i in range(3)]
    rows = [{"id": 1, "vector": [0, 0], "clips": clips}, {"id": 2, "vector": [1, 1], "clips": None}]
    client.insert(name, [*rows, {"id": 3, "vector": [2, 2], "clips": []}])

    def shown(*fields: str) -> list:
        found = client.query(name, filter="", limit=9, output_fields=list(fields))
        assert all(set(row) == {"id", "clips"} for row in found)
        return [row["clips"] for row in found]

    some = [[{"length": i} for i in range(3)], None, []]
    assert shown("clips[length]") == some
    assert shown("id", "clips[title]", "clips[length]") == [
        [{"length": i, "title": f"t{i}"} for i in range(3)],
        None,
        [],
    ]
    assert shown("clips", "clips[length]") == shown("clips") == [clips, None, []]
    [hits] = client.search(name, data=[[0, 0]], anns_field="vector", limit=3, output_fields=["clips[length]"])
    assert [hit["entity"]["clips"] for hit in hits] == some
    with pytest.raises(MilvusException, match=r"field clips\[nothing\] not exist"):
        client.query(name, filter="", limit=9, output_fields=["clips[nothing]"])
    client.drop_collection(name)
