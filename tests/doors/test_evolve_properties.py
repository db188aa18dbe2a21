"""Properties of a collection set and forgotten, and a collection emptied, through an unmodified client."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException


def _made(
    client: MilvusClient, name: str, *, load: bool = False, auto_id: bool = False, **options: Any
) -> str:
    if client.has_collection(name):
        client.drop_collection(name)
    schema = client.create_schema(auto_id=auto_id)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=2)
    schema.add_field("key", DataType.INT64, is_partition_key=options.pop("keyed", False))
    schema.add_field("until", DataType.TIMESTAMPTZ, nullable=True)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    client.create_collection(
        name, schema=schema, index_params=params if load else None, consistency_level="Strong", **options
    )
    return name


def _rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": i, "vec": [float(i), 0.0], "key": i % 4, **more} for i in range(count)]


def _told(client: MilvusClient, name: str) -> dict[str, str]:
    return dict(client.describe_collection(name)["properties"])


def _refused(code: int, words: str, call: Any, *given: Any, **named: Any) -> None:
    with pytest.raises(MilvusException) as raised:
        call(*given, **named)
    assert raised.value.code == code, raised.value
    assert words in raised.value.message, raised.value


def _count(client: MilvusClient, name: str) -> int:
    found: int = client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"]
    return found


def test_properties_are_set_told_and_forgotten(client: MilvusClient) -> None:
    name = _made(client, "props")
    given = {
        "mmap.enabled": True,
        "warmup.vectorIndex": "sync",
        "timezone": "Asia/Shanghai",
        "collection.autocompaction.enabled": False,
        "collection.replica.number": 2,
        "collection.resource_groups": "__default_resource_group",
        "lazyload.enabled": True,
        "owner": "me",
    }
    client.alter_collection_properties(name, given)
    assert {key: str(value) for key, value in given.items()}.items() <= _told(client, name).items()
    client.drop_collection_properties(name, [*given, "nothing"])
    assert _told(client, name) == {"timezone": "UTC", "max_field_id": "103"}
    client.alter_collection_properties(
        name, {"collection.description": "what it is", "consistency_level": "Eventually"}
    )
    about = client.describe_collection(name)
    assert about["description"] == "what it is"
    assert about["consistency_level"] == 3
    client.drop_collection_properties(name, ["collection.description"])
    assert client.describe_collection(name)["description"] == "what it is"


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ({"collection.ttl.seconds": "soon"}, 1100, "collection TTL is not a valid positive integer"),
        ({"collection.ttl.seconds": -2}, 1100, "collection TTL is out of range, expect [-1, 3155760000], got -2"),
        ({"collection.ttl.seconds": 10, "ttl_field": "until"}, 1100, "collection TTL and ttl field cannot be set at the same time"),  # noqa: E501
        ({"ttl_field": "key"}, 1100, "ttl field must be timestamptz, field name = key"),
        ({"ttl_field": "nothing"}, 1100, "ttl field name nothing not found in schema"),
        ({"timezone": "Mars/Olympus"}, 1100, "unknown or invalid IANA Time Zone ID: Mars/Olympus"),
        ({"warmup": "sync"}, 1100, "warmup key 'warmup' is only allowed at field level"),
        ({"warmup.vectorIndex": "ASYNC"}, 1100, "invalid warmup value for key warmup.vectorIndex: invalid warmup policy"),  # noqa: E501
        ({"mmap.enabled": "maybe"}, 1100, "mmap.enabled"),
        ({"partitionkey.isolation": True}, 105, "partition key isolation mode is enabled but no partition key field is set"),  # noqa: E501
        ({"allow_insert_auto_id": True}, 1100, "the value for allow_insert_auto_id must be false when autoID is false"),
        ({"query_mode": "bogus"}, 65535, 'invalid query_mode value "bogus", valid values: [large_topk]'),
        ({"query_mode": "large_topk"}, 3000, "query_mode large_topk is not supported"),
        ({"collection.insertRate.max.mb": 1}, 3000, "collection.insertRate.max.mb is not supported"),
        ({"collection.ttl.second": 1}, 1100, "did you mean collection.ttl.seconds?"),
        ({"mmap.enable": True}, 1100, "did you mean mmap.enabled?"),
        ({"ttl_seconds": 1}, 1100, "unknown collection property ttl_seconds"),
        ({"headwater.collection_id": 1}, 1100, "unknown collection property"),
        ({"dynamicfield.enabled": "maybe"}, 1100, "invalid dynamic schema property value: maybe"),
        ({"dynamicfield.enabled": True, "owner": "me"}, 1100, "cannot alter dynamic schema with other properties at the same time"),  # noqa: E501
        ({"collection.external_source": "s3://x"}, 1100, "use RefreshExternalCollection instead"),
    ],
)  # fmt: skip
def test_a_property_that_breaks_a_rule_changes_nothing(
    client: MilvusClient, given: dict[str, Any], code: int, words: str
) -> None:
    name = "unset"
    if not client.has_collection(name):
        _made(client, name)
    before = _told(client, name)
    _refused(code, words, client.alter_collection_properties, name, given)
    assert _told(client, name) == before


def test_hints_of_what_is_loaded_stay(client: MilvusClient) -> None:
    name = _made(client, "held", load=True)
    words = "can not alter mmap properties if collection loaded"
    _refused(104, words, client.alter_collection_properties, name, {"mmap.enabled": True})
    _refused(104, words, client.alter_collection_properties, name, {"lazyload.enabled": True})
    words = "can not alter warmup properties if collection loaded"
    _refused(104, words, client.alter_collection_properties, name, {"warmup.scalarField": "sync"})
    words = "can not delete mmap properties if collection loaded"
    _refused(104, words, client.drop_collection_properties, name, ["mmap.enabled"])
    words = "cannot delete key dynamicfield.enabled"
    _refused(1100, words, client.drop_collection_properties, name, ["dynamicfield.enabled"])
    client.alter_collection_properties(name, {"collection.ttl.seconds": 100})
    assert _told(client, name)["collection.ttl.seconds"] == "100"
    client.drop_collection_properties(name, ["collection.ttl.seconds"])
    assert "collection.ttl.seconds" not in _told(client, name)


def test_rows_go_when_their_time_is_over(client: MilvusClient) -> None:
    name = _made(client, "lives", load=True)
    client.insert(name, _rows(4))
    client.alter_collection_properties(name, {"collection.ttl.seconds": 1})
    _refused(
        1100,
        "collection TTL is already set, cannot be set ttl field",
        client.alter_collection_properties,
        name,
        {"ttl_field": "until"},
    )
    deadline = time.monotonic() + 60
    while _count(client, name) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _count(client, name) == 0
    client.alter_collection_properties(name, {"collection.ttl.seconds": -1})
    assert _told(client, name)["collection.ttl.seconds"] == "-1"
    client.drop_collection_properties(name, ["collection.ttl.seconds"])
    now = datetime.now(UTC)
    client.alter_collection_properties(name, {"ttl_field": "until"})
    _refused(
        1100,
        "ttl field is already exists, cannot be set collection TTL",
        client.alter_collection_properties,
        name,
        {"collection.ttl.seconds": 9},
    )
    gone, there = (now - timedelta(hours=1)).isoformat(), (now + timedelta(hours=1)).isoformat()
    client.insert(
        name,
        [
            {"id": 10 + i, "vec": [0.0, 0.0], "key": 0, "until": one}
            for i, one in enumerate([gone, there, None])
        ],
    )
    assert {row["id"] for row in client.query(name, filter="id >= 10")} == {11, 12}


def test_keys_are_taken_where_that_is_allowed(client: MilvusClient) -> None:
    name = _made(client, "keys", load=True, auto_id=True)
    bare = [{key: value for key, value in row.items() if key != "id"} for row in _rows(20)]
    client.insert(name, bare)
    assert client.query(name, filter="id in [1, 2, 3]") == []
    with pytest.raises(MilvusException):
        client.insert(name, _rows(20))
    client.alter_collection_properties(name, {"allow_insert_auto_id": True})
    assert _told(client, name)["allow_insert_auto_id"] == "True"
    client.insert(name, _rows(20))
    assert len(client.query(name, filter="id in [1, 2, 3]")) == 3
    assert _count(client, name) == 40
    client.drop_collection_properties(name, ["allow_insert_auto_id"])
    with pytest.raises(MilvusException):
        client.insert(name, _rows(20))


def test_dynamic_fields_are_switched(client: MilvusClient) -> None:
    name = _made(client, "dynamic", load=True)
    client.insert(name, _rows(2))
    client.alter_collection_properties(name, {"dynamicfield.enabled": True})
    client.alter_collection_properties(name, {"dynamicfield.enabled": True})
    assert client.describe_collection(name)["enable_dynamic_field"] is True
    client.insert(name, [{"id": 10, "vec": [0.0, 0.0], "key": 1, "color": {"a": "red"}}])
    [row] = client.query(name, filter='color["a"] == "red"', output_fields=["color"])
    assert row == {"id": 10, "color": {"a": "red"}}
    params = client.prepare_index_params()
    of_key = {"json_cast_type": "VARCHAR", "json_path": 'color["a"]'}
    params.add_index("color", index_type="INVERTED", params=of_key)
    client.create_index(name, params)
    assert set(client.list_indexes(name)) == {"vec", "$meta/color/a"}


def test_keys_of_dynamic_rows_are_gone_once_they_are_switched_off(client: MilvusClient) -> None:
    name = _made(client, "not_dynamic", load=True)
    client.alter_collection_properties(name, {"dynamicfield.enabled": True})
    client.insert(name, _rows(2, color="red"))
    client.flush(name)
    client.insert(name, [{"id": 10, "vec": [0.0, 0.0], "key": 1, "color": "blue"}])
    params = client.prepare_index_params()
    of_key = {"json_cast_type": "VARCHAR", "json_path": "color"}
    params.add_index("color", index_type="INVERTED", params=of_key)
    client.create_index(name, params)
    assert len(client.list_indexes(name)) == 2
    client.alter_collection_properties(name, {"dynamicfield.enabled": False})
    assert client.describe_collection(name)["enable_dynamic_field"] is False
    assert client.list_indexes(name) == ["vec"]
    for asked in ({"filter": 'color == "red"'}, {"filter": "id >= 0", "output_fields": ["color"]}):
        _refused(1100, "field color not exist", client.query, name, **asked)
    _refused(1100, "field $meta not exist", client.query, name, filter="id >= 0", output_fields=["$meta"])
    every = client.query(name, filter="id >= 0", output_fields=["*"])
    assert [set(row) for row in every] == [{"id", "vec", "key", "until"}] * 3
    with pytest.raises(MilvusException, match="unexpected field `color`"):
        client.insert(name, _rows(1, color="red"))
    client.alter_collection_properties(name, {"dynamicfield.enabled": True})
    client.insert(name, [{"id": 11, "vec": [0.0, 0.0], "key": 1, "color": "red"}])
    assert [row["id"] for row in client.query(name, filter='color == "red"')] == [11]
    assert "color" not in client.query(name, filter="id == 10", output_fields=["*"])[0]


def test_an_isolated_collection_is_searched_one_key_at_a_time(client: MilvusClient) -> None:
    name = _made(client, "isolated", keyed=True)
    client.alter_collection_properties(name, {"partitionkey.isolation": True})
    params = client.prepare_index_params()
    params.add_index("vec", index_type="HNSW", metric_type="L2", params={"M": 8, "efConstruction": 64})
    client.create_index(name, params)
    words = "can not alter partition key isolation mode if the collection already has a vector index"
    _refused(702, words, client.alter_collection_properties, name, {"partitionkey.isolation": False})
    client.load_collection(name)
    client.insert(name, _rows(40))
    [hits] = client.search(name, [[0.0, 0.0]], filter="key == 3 and id < 20", limit=10)
    assert [hit["id"] for hit in hits] == [3, 7, 11, 15, 19]
    for filter, words in (
        ("", "partition key not found in expr or the expr is invalid"),
        ("key in [1]", "partition key isolation does not support IN"),
        ("key == 1 or key == 2", "partition key isolation does not support OR"),
        ("key != 1", "partition key isolation does not support NotEqual"),
    ):
        with pytest.raises(MilvusException, match=words):
            client.search(name, [[0.0, 0.0]], filter=filter, limit=10)


def test_a_truncated_collection_is_empty_and_goes_on(client: MilvusClient) -> None:
    name = _made(client, "emptied", load=True)
    client.insert(name, _rows(30))
    client.flush(name)
    client.insert(name, _rows(5))
    client.truncate_collection(name)
    assert _count(client, name) == 0
    assert client.list_indexes(name) == ["vec"]
    client.insert(name, _rows(3))
    [hits] = client.search(name, [[0.0, 0.0]], limit=10)
    assert [hit["id"] for hit in hits] == [0, 1, 2]
    _refused(100, "collection not found", client.truncate_collection, "nothing_there")
