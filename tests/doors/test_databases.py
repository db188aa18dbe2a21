"""Aliases and databases through an unmodified client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient, MilvusException


@pytest.fixture
def client(address: str) -> Iterator[MilvusClient]:
    made = MilvusClient(address)
    for name in ("one", "two"):
        if not made.has_collection(name):
            made.create_collection(name, 4)
    yield made
    made.close()


def refused(call: Any, *args: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(MilvusException) as raised:
        call(*args, **named)
    return raised.value.code, raised.value.message


# -- aliases ----------------------------------------------------------------------------------------------------------


def test_an_alias_stands_for_a_collection_until_it_stands_for_another(client: MilvusClient) -> None:
    client.create_alias("one", "a")
    client.create_alias("one", "a")
    assert client.describe_alias("a") == {"alias": "a", "collection_name": "one", "db_name": "default"}
    assert client.list_aliases("one")["aliases"] == ["a"]
    assert client.has_collection("a")
    assert client.describe_collection("a")["collection_name"] == "one"
    client.alter_alias("two", "a")
    assert client.list_aliases("one")["aliases"] == []
    assert client.list_aliases()["aliases"] == ["a"]
    assert client.describe_alias("a")["collection_name"] == "two"
    client.drop_alias("a")
    client.drop_alias("a")
    assert refused(client.describe_alias, "a") == (1600, "alias not found[database=default][alias=a]")


def test_wrong_aliases_are_refused_in_milvus_words(client: MilvusClient) -> None:
    client.create_alias("one", "taken")
    missing = "collection not found[database=default][collection=nothing]"
    conflict = "alias and collection name conflict[database=default][alias=two]"
    another = "taken is alias to another collection: one: alias already exist[database=default][alias=taken]"
    assert refused(client.create_alias, "nothing", "b") == (100, missing)
    assert refused(client.create_alias, "taken", "b")[0] == 100
    assert refused(client.create_alias, "one", "two") == (1601, conflict)
    assert refused(client.alter_alias, "one", "two") == (1601, conflict)
    assert refused(client.create_alias, "two", "taken") == (1602, another)
    assert refused(client.alter_alias, "one", "b") == (1600, "alias not found[database=default][alias=b]")
    assert refused(client.alter_alias, "nothing", "taken") == (
        100,
        "collection not found[collection=nothing]",
    )
    assert refused(client.list_aliases, "nothing") == (100, missing)
    client.drop_alias("taken")


def test_a_collection_with_aliases_is_not_dropped(client: MilvusClient) -> None:
    client.create_collection("held", 4)
    client.create_alias("held", "holder")
    assert refused(client.drop_collection, "holder") == (
        65535,
        "cannot drop the collection via alias = holder",
    )
    assert "because it has associated aliases [holder]" in refused(client.drop_collection, "held")[1]
    client.drop_alias("holder")
    client.drop_collection("held")
    assert not client.has_collection("held")


@pytest.mark.parametrize("name", ["12-s", "12 s", "(mn)", "中文", "%$#"])
def test_names_of_aliases_are_checked(client: MilvusClient, name: str) -> None:
    rule = "the first character of a collection alias must be an underscore or letter"
    words = f"Invalid collection alias: {name}. {rule}"
    for call in (client.create_alias, client.alter_alias):
        code, message = refused(call, "one", name)
        assert (code, message) == (1100, f"{words}: invalid parameter")
    client.drop_alias(name)
    code, message = refused(client.create_alias, "one", "a" * 256)
    assert "the length of a collection alias must be less than 255 characters" in message


# -- databases --------------------------------------------------------------------------------------------------------


def test_a_database_holds_collections_of_its_own(client: MilvusClient) -> None:
    client.create_database("db")
    assert "db" in client.list_databases()
    client.use_database("db")
    assert client.list_collections() == []
    client.create_collection("inside", 4)
    assert client.list_collections() == ["inside"]
    code, message = refused(client.drop_database, "db")
    assert (code, "db not empty, must drop all collections before drop database" in message) == (65535, True)
    client.drop_collection("inside")
    client.drop_database("db")
    client.drop_database("db")
    assert "db" not in client.list_databases()


def test_properties_are_kept_changed_and_removed(client: MilvusClient) -> None:
    given = {"database.replica.number": 3, "database.max.collections": 100, "database.diskQuota.mb": 10_240}
    client.create_database("props", properties={**given, "owner": "me"})
    found = client.describe_database("props")
    assert found == {"name": "props", "owner": "me", **{key: str(value) for key, value in given.items()}}
    client.alter_database_properties("props", {"database.replica.number": 2, "data.replica.number": 2})
    assert client.describe_database("props")["database.replica.number"] == "2"
    client.drop_database_properties("props", ["database.replica.number", "owner", "nothing"])
    left = client.describe_database("props")
    assert set(left) == {"name", "database.max.collections", "database.diskQuota.mb", "data.replica.number"}
    assert (
        "expected to set either properties or delete keys"
        in refused(client.drop_database_properties, "props", [])[1]
    )
    for wrong in (
        {"database.force.deny.writing": "maybe"},
        {"database.max.collections": 0},
        {"database.max.colections": 1},
        {"cipher.enabled": True},
    ):
        assert refused(client.alter_database_properties, "props", wrong)[0] == 1100
    client.alter_database_properties("props", {"database.replica.num": 1})
    assert client.describe_database("props")["database.replica.num"] == "1"
    client.drop_database("props")


@pytest.mark.parametrize("name", ["12-s", "12 s", "(mn)", "中文", "%$#", "  "])
def test_names_of_databases_are_checked(client: MilvusClient, name: str) -> None:
    rule = "the first character of a database name must be an underscore or letter"
    words = f"{rule}: invalid database name[database={name}]"
    assert refused(client.create_database, name) == (802, words)
    assert refused(client.drop_database, name) == (802, words)
    assert refused(client.describe_database, name) == (800, f"database not found[database={name}]")
    assert refused(client.alter_database_properties, name, {"a": 1})[0] == 800


def test_what_is_wrong_with_a_database_is_told(client: MilvusClient) -> None:
    assert refused(client.create_database, "default") == (65535, "database already exist: default")
    assert refused(client.drop_database, "default")[0] == 65535
    assert "less than 255 characters" in refused(client.create_database, "a" * 256)[1]
    assert refused(client.use_database, "nothing") == (800, "database not found[database=nothing]")


def test_a_database_may_forbid_reading_and_writing(client: MilvusClient) -> None:
    client.create_database("strict")
    client.use_database("strict")
    client.create_collection("c", 4)
    rows = [{"id": 1, "vector": [1.0, 2.0, 3.0, 4.0]}]
    client.insert("c", rows)
    client.alter_database_properties("strict", {"database.force.deny.writing": True})
    for call in (client.insert, client.upsert):
        code, message = refused(call, "c", rows)
        assert (code, "quota exceeded[reason=access has been disabled" in message) == (9, True)
    assert refused(client.delete, "c", ids=[1])[0] == 9
    assert client.get("c", [1])[0]["id"] == 1
    client.alter_database_properties(
        "strict", {"database.force.deny.writing": False, "database.force.deny.reading": True}
    )
    client.insert("c", [{"id": 2, "vector": [0.0, 0.0, 0.0, 1.0]}])
    assert refused(client.query, "c", "id >= 0")[0] == 9
    assert refused(client.search, "c", [[0.0, 0.0, 0.0, 1.0]])[0] == 9
    client.drop_database_properties("strict", ["database.force.deny.reading"])
    client.alter_database_properties(
        "strict", {"database.force.deny.ddl": True, "database.max.collections": 1}
    )
    assert refused(client.create_partition, "c", "p")[0] == 9
    assert refused(client.create_collection, "d", 4)[0] == 9
    client.drop_database_properties("strict", ["database.force.deny.ddl"])
    code, message = refused(client.create_collection, "d", 4)
    assert (code, message) == (102, "exceeded the limit number of collections[dbName=strict][limit=1]")
    client.drop_collection("c")
    client.drop_database("strict")


def test_a_database_is_in_a_time_zone_that_there_is(client: MilvusClient) -> None:
    client.create_database("zoned", properties={"timezone": "Asia/Tokyo"})
    with pytest.raises(MilvusException, match="unknown or invalid IANA Time Zone ID: Mars/Base") as raised:
        client.alter_database_properties("zoned", {"timezone": "Mars/Base"})
    assert raised.value.code == 1100
    assert client.describe_database("zoned")["timezone"] == "Asia/Tokyo"
    client.drop_database("zoned")


def test_a_collection_is_in_its_databases_time_zone_unless_it_is_given_one(address: str) -> None:
    MilvusClient(address).create_database("tokyo", properties={"timezone": "Asia/Tokyo"})
    client = MilvusClient(address, db_name="tokyo")
    told = {"plain": "2025-01-01T00:00:00+09:00", "own": "2025-01-01T00:00:00-05:00"}
    for name, given in (("plain", {}), ("own", {"timezone": "America/New_York"})):
        schema = client.create_schema().add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("at", DataType.TIMESTAMPTZ, default_value="2025-01-01T00:00:00")
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        index = client.prepare_index_params("vector", index_type="FLAT", metric_type="L2")
        for _ in range(2):
            client.create_collection(
                name, schema=schema, index_params=index, properties=given, consistency_level="Strong"
            )
        client.insert(name, [{"id": 1, "vector": [0, 0], "at": "2025-01-01T00:00:00"}])
        client.add_collection_field(
            name, "since", DataType.TIMESTAMPTZ, nullable=True, default_value="2025-01-01T00:00:00"
        )
        client.insert(name, [{"id": 2, "vector": [0, 0]}])
        rows = client.query(name, "id > 0", output_fields=["at", "since"])
        assert {row["at"] for row in rows} | {row["since"] for row in rows} == {told[name]}
        fields = client.describe_collection(name)["fields"]
        defaults = [one["default_value"].string_data for one in fields if "default_value" in one]
        assert defaults == [told[name]] * 2
    client.alter_database_properties("tokyo", {"timezone": "UTC"})
    assert client.describe_collection("plain")["properties"]["timezone"] == "Asia/Tokyo"
    for name in told:
        client.drop_collection(name)
    client.drop_database("tokyo")
