"""Fields and functions added, altered and dropped through an unmodified client."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2

ROWS = [{"id": i, "vec": [float(i), 0.0, 0.0, 0.0], "age": 20 + i, "tag": f"tag_{i}"} for i in range(10)]


def _made(client: MilvusClient, name: str, *, dynamic: bool = False, load: bool = True, **more: Any) -> str:
    if client.has_collection(name):
        client.drop_collection(name)
    schema = client.create_schema(enable_dynamic_field=dynamic)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("age", DataType.INT64)
    schema.add_field("tag", DataType.VARCHAR, max_length=64)
    for field, (kind, params) in more.items():
        schema.add_field(field, kind, **params)
    params = client.prepare_index_params()
    params.add_index("vec", index_type="AUTOINDEX", metric_type="L2")
    client.create_collection(
        name, schema=schema, index_params=params if load else None, consistency_level="Strong"
    )
    return name


def _fields(client: MilvusClient, name: str) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in client.describe_collection(name)["fields"]}


def _refused(code: int, words: str, call: Any, *given: Any, **named: Any) -> None:
    with warnings.catch_warnings():
        # The client says that Milvus 3 refuses some of these calls; that is what is looked at.
        warnings.simplefilter("ignore")
        with pytest.raises(MilvusException) as raised:
            call(*given, **named)
    assert raised.value.code == code, raised.value
    assert words in raised.value.message, raised.value


# -- added ----------------------------------------------------------------------------------------------------------


def test_rows_from_before_a_field_have_its_default_or_null(client: MilvusClient) -> None:
    name = _made(client, "added")
    client.insert(name, ROWS)
    client.add_collection_field(
        name, "score", DataType.INT64, nullable=True, default_value=7, desc="how good"
    )
    client.add_collection_field(
        name, "note", DataType.VARCHAR, nullable=True, max_length=16, mmap_enabled=True
    )
    client.add_collection_field(name, "vec2", DataType.FLOAT_VECTOR, dim=2, nullable=True)
    fields = _fields(client, name)
    assert fields["score"]["nullable"]
    assert fields["score"]["description"] == "how good"
    assert fields["note"]["params"] == {"max_length": 16, "mmap_enabled": True}
    assert [fields[one]["field_id"] for one in ("score", "note", "vec2")] == [104, 105, 106]
    client.insert(name, [{**ROWS[0], "id": 100, "score": 1, "note": "new", "vec2": [1.0, 2.0]}])
    client.insert(name, [{**ROWS[0], "id": 101}])
    found = client.query(name, filter="id in [3, 100, 101]", output_fields=["score", "note", "vec2"])
    by_id = {row["id"]: row for row in found}
    assert by_id[3] == {"id": 3, "score": 7, "note": None, "vec2": None}
    assert (by_id[100]["score"], by_id[100]["note"], list(by_id[100]["vec2"])) == (1, "new", [1.0, 2.0])
    assert by_id[101]["score"] == 7
    assert client.query(name, filter="score == 7", output_fields=["count(*)"])[0]["count(*)"] == 11


def test_a_writer_that_knows_the_old_schema_learns_the_new_one(address: str, client: MilvusClient) -> None:
    name = _made(client, "stale")
    other = MilvusClient(address)
    other.insert(name, ROWS[:1])
    client.drop_collection_field(name, "tag")
    # The other client still has the old schema: it is told so, looks again, and sends the row anew.
    plain = {key: value for key, value in ROWS[1].items() if key != "tag"}
    assert other.insert(name, [plain])["insert_count"] == 1
    client.add_collection_field(name, "color", DataType.VARCHAR, nullable=True, max_length=9)
    assert other.insert(name, [{**plain, "id": 5, "color": "red"}])["insert_count"] == 1
    assert client.query(name, filter='color == "red"', output_fields=["id"]) == [{"id": 5}]
    stub = client._get_connection()._stub
    asked = milvus_pb2.InsertRequest(collection_name=name, num_rows=1, schema_timestamp=1)
    assert stub.Insert(asked).status.error_code == 62
    other.close()


def test_a_struct_is_added(client: MilvusClient) -> None:
    name = _made(client, "structs")
    client.insert(name, ROWS[:3])
    struct = client.create_struct_field_schema()
    struct.add_field("name", DataType.VARCHAR, max_length=32)
    struct.add_field("rank", DataType.INT64)
    client.add_collection_struct_field(name, "events", struct, max_capacity=3)
    client.insert(
        name, [{**ROWS[0], "id": 50, "events": [{"name": "a", "rank": 1}, {"name": "b", "rank": 2}]}]
    )
    found = {
        row["id"]: row["events"] for row in client.query(name, filter="id >= 0", output_fields=["events"])
    }
    assert found[0] is None
    assert found[50] == [{"name": "a", "rank": 1}, {"name": "b", "rank": 2}]
    client.drop_collection_field(name, "events")
    assert "events" not in _fields(client, name)


@pytest.mark.parametrize(
    ("name", "member", "system"),
    [
        ("RowID", "a", "RowID"),
        ("events", "Timestamp", "Timestamp"),
        ("events", "__virtual_pk__", "__virtual_pk__"),
    ],
)
def test_a_struct_takes_no_name_of_the_systems(
    client: MilvusClient, name: str, member: str, system: str
) -> None:
    collection = f"system_{name}_{member}"
    _made(client, collection)
    struct = client.create_struct_field_schema()
    struct.add_field(member, DataType.INT64)
    words = f"not support to add system field, field name = {system}"
    _refused(1100, words, client.add_collection_struct_field, collection, name, struct, max_capacity=3)


def test_hints_of_a_structs_member_are_altered(client: MilvusClient) -> None:
    name = _made(client, "members")
    struct = client.create_struct_field_schema()
    struct.add_field("rank", DataType.INT64)
    client.add_collection_struct_field(name, "events", struct, max_capacity=3)
    client.release_collection(name)
    client.alter_collection_field(name, "events[rank]", {"mmap_enabled": True})
    [events] = [field for field in client.describe_collection(name)["fields"] if field["name"] == "events"]
    assert events["struct_fields"][0]["params"]["mmap_enabled"] is True
    for wrong in ("events[none]", "none[rank]"):
        with pytest.raises(MilvusException, match=re.escape(f"field {wrong} does not exist")):
            client.alter_collection_field(name, wrong, {"mmap_enabled": True})


@pytest.mark.parametrize(
    ("field", "kind", "params", "code", "words"),
    [
        ("new", DataType.INT64, {"nullable": False}, 1100, "added field must be nullable, please check it, field name = new: invalid parameter"),  # noqa: E501
        ("new", DataType.INT64, {"nullable": True, "is_partition_key": True}, 1100, "not support to add partition key field, field name  = new: invalid parameter"),  # noqa: E501
        ("new", DataType.VARCHAR, {"nullable": True, "max_length": 65536}, 1100, "should be in (0, 65535], but got 65536 instead: invalid parameter"),  # noqa: E501
        ("tag", DataType.VARCHAR, {"nullable": True, "max_length": 64}, 1100, "duplicated field name tag: invalid parameter"),  # noqa: E501
        ("new", DataType.VARCHAR, {"nullable": True}, 1101, "type param(max_length) should be specified for the field(new) of collection refused"),  # noqa: E501
        ("new", DataType.INT64, {"nullable": True, "is_clustering_key": True}, 1100, "already has another clustering key field, field name: new: invalid parameter"),  # noqa: E501
        ("1new", DataType.INT64, {"nullable": True}, 1701, "Invalid field name: 1new"),
        ("new", DataType.FLOAT_VECTOR, {"nullable": True, "dim": 99999}, 1100, "invalid dimension: 99999"),
        ("RowID", DataType.INT64, {"nullable": True}, 1100, "not support to add system field, field name = RowID"),
    ],
)  # fmt: skip
def test_a_field_that_breaks_a_rule_is_not_added(
    client: MilvusClient, field: str, kind: DataType, params: dict[str, Any], code: int, words: str
) -> None:
    name = "refused"
    if not client.has_collection(name):
        _made(client, name, rank=(DataType.INT64, {"is_clustering_key": True}))
    before = set(_fields(client, name))
    _refused(code, words, client.add_collection_field, name, field, kind, **params)
    assert set(_fields(client, name)) == before


def test_there_are_only_so_many_fields(client: MilvusClient) -> None:
    name = _made(client, "many")
    for i in range(9):
        client.add_collection_field(name, f"v{i}", DataType.FLOAT_VECTOR, dim=2, nullable=True)
    words = "maximum vector field's number should be limited to 10"
    _refused(
        65535, words, client.add_collection_field, name, "v9", DataType.FLOAT_VECTOR, dim=2, nullable=True
    )


# -- altered --------------------------------------------------------------------------------------------------------


def test_limits_and_hints_of_fields_are_altered(client: MilvusClient) -> None:
    words = (DataType.ARRAY, {"element_type": DataType.VARCHAR, "max_capacity": 4, "max_length": 8})
    name = _made(client, "altered", words=words, load=False)
    client.insert(name, [{**ROWS[0], "words": ["aaaaaaaa"] * 4}])
    client.alter_collection_field(name, "tag", {"max_length": 4, "mmap.enabled": True})
    client.alter_collection_field(name, "words", {"max_length": 3})
    client.alter_collection_field(name, "words", {"max_capacity": 2})
    client.alter_collection_field(name, "age", {"warmup": "sync", "mmap_enabled": False})
    client.alter_collection_field(name, "age", {"field.description": "in years"})
    fields = _fields(client, name)
    assert fields["tag"]["params"] == {"max_length": 4, "mmap_enabled": True}
    assert (fields["words"]["params"]["max_length"], fields["words"]["params"]["max_capacity"]) == (3, 2)
    assert fields["age"]["params"] == {"mmap_enabled": False, "warmup": "sync"}
    assert fields["age"]["description"] == "in years"
    for row in (
        {"tag": "tag_00", "words": []},
        {"tag": "a", "words": ["a"] * 3},
        {"tag": "a", "words": ["aaaa"]},
    ):
        _refused(1100, "exceeds", client.insert, name, [{**ROWS[0], **row}])
    client.insert(name, [{**ROWS[1], "tag": "abcd", "words": ["abc"]}])


@pytest.mark.parametrize(
    ("field", "params", "words"),
    [
        ("vec", {"max_length": 4}, "can not modify the maxlength for non-string types"),
        ("tag", {"max_length": 65536}, "65536 exceeds the maximum allowed value 65535"),
        ("tag", {"max_length": "x"}, "max_length should be an integer, but got string"),
        ("tag", {"max_length": 0}, "should be in (0, 65535], but got 0 instead"),
        ("tag", {"max_capacity": 4}, "can not modify the maxcapacity for non-array types"),
        ("tag", {"element_type": 5}, "element_type does not allow update in collection field param"),
        ("vec", {"dim": 8}, "dim does not allow update in collection field param"),
        ("tag", {"warmup": "Sync"}, "invalid warmup policy"),
        ("tag", {"mmap.enabled": "maybe"}, "invalid mmap.enabled value: maybe, expected: true, false"),
        ("nothing", {"max_length": 4}, "field nothing does not exist in collection"),
    ],
)
def test_what_cannot_be_altered_is_refused(
    client: MilvusClient, field: str, params: dict[str, Any], words: str
) -> None:
    name = "unaltered"
    if not client.has_collection(name):
        _made(client, name, load=False)
    _refused(1100, words, client.alter_collection_field, name, field, params)


def test_hints_of_what_is_loaded_stay(client: MilvusClient) -> None:
    name = _made(client, "loaded")
    words = "can not alter collection field properties if collection loaded: collection already loaded[collection=loaded]"  # noqa: E501
    _refused(104, words, client.alter_collection_field, name, "tag", {"max_length": 4, "mmap.enabled": True})
    _refused(
        104,
        "can not alter warmup if collection loaded",
        client.alter_collection_field,
        name,
        "tag",
        {"warmup": "sync"},
    )
    client.alter_collection_field(name, "tag", {"max_length": 4})
    client.release_collection(name)
    client.alter_collection_field(name, "tag", {"mmap.enabled": True})


# -- dropped --------------------------------------------------------------------------------------------------------


def test_a_dropped_field_is_gone_with_its_index(client: MilvusClient) -> None:
    name = _made(client, "dropped")
    params = client.prepare_index_params()
    params.add_index("tag", index_type="INVERTED")
    client.create_index(name, params)
    client.insert(name, ROWS)
    client.flush(name)
    client.drop_collection_field(name, "tag")
    assert set(_fields(client, name)) == {"id", "vec", "age"}
    assert client.list_indexes(name) == ["vec"]
    assert client.describe_index(name, "tag") is None
    assert len(client.query(name, filter="id < 5", output_fields=["*"])) == 5
    [hits] = client.search(name, [[0.0] * 4], anns_field="vec", limit=3, output_fields=["age"])
    assert [hit["id"] for hit in hits] == [0, 1, 2]
    _refused(1100, "tag", client.query, name, filter='tag == "tag_1"', output_fields=["id"])
    with pytest.raises(MilvusException, match="field tag not exist"):
        client.query(name, filter="id >= 0", output_fields=["id", "tag"])
    client.insert(name, [{"id": 100, "vec": [1.0, 0.0, 0.0, 0.0], "age": 100}])
    assert "tag" not in client.query(name, filter="id == 100", output_fields=["*"])[0]
    # Its name is free, and what it held does not come back.
    client.add_collection_field(name, "tag", DataType.INT64, nullable=True)
    assert _fields(client, name)["tag"]["field_id"] == 104
    assert client.query(name, filter="tag is null", output_fields=["count(*)"])[0]["count(*)"] == 11


def test_an_iterator_goes_on_without_a_field_that_was_dropped(client: MilvusClient) -> None:
    name = _made(client, "going_on")
    client.insert(name, ROWS)
    every = client.query_iterator(name, batch_size=4, filter="id >= 0", output_fields=["*"])
    named = client.query_iterator(name, batch_size=4, filter="id >= 0", output_fields=["tag"])
    assert [set(row) for row in every.next()] == [{"id", "vec", "age", "tag"}] * 4
    assert len(named.next()) == 4
    client.drop_collection_field(name, "tag")
    client.insert(name, [{"id": 100, "vec": [0.0] * 4, "age": 1}])
    rest = [*every.next(), *every.next(), *every.next()]
    assert [row["id"] for row in rest] == [4, 5, 6, 7, 8, 9]
    assert [set(row) for row in rest] == [{"id", "vec", "age"}] * 6
    with pytest.raises(MilvusException, match="field tag not exist"):
        named.next()


def test_a_field_is_dropped_by_its_number(client: MilvusClient) -> None:
    name = _made(client, "numbered")
    client.drop_collection_field(name, field_id=_fields(client, name)["age"]["field_id"])
    assert "age" not in _fields(client, name)
    _refused(1100, "field not found with id: 999", client.drop_collection_field, name, field_id=999)


def test_what_something_needs_is_not_dropped(client: MilvusClient) -> None:
    name = "needed"
    schema = client.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field("part", DataType.VARCHAR, max_length=64, is_partition_key=True)
    schema.add_field("rank", DataType.INT64, is_clustering_key=True)
    schema.add_field("text", DataType.VARCHAR, max_length=64, enable_analyzer=True)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    clip = client.create_struct_field_schema()
    clip.add_field("length", DataType.INT64)
    clips = {"element_type": DataType.STRUCT, "struct_schema": clip, "max_capacity": 4}
    schema.add_field("clips", DataType.ARRAY, **clips)
    client.create_collection(name, schema=schema)
    for field, words in (
        ("missing_field", "field not found: missing_field"),
        ("id", "cannot drop primary key field: id"),
        ("part", "cannot drop partition key field: part"),
        ("rank", "cannot drop clustering key field: rank"),
        ("$meta", "field not found: $meta"),
        ("clips[length]", "field not found: clips[length]: invalid parameter"),
        ("text", "field is referenced by function bm25 as input, drop function first"),
        ("sparse", "field is referenced by function bm25 as output, drop function first"),
    ):
        _refused(1100, words, client.drop_collection_field, name, field)
    assert set(_fields(client, name)) == {"id", "vec", "part", "rank", "text", "sparse", "clips"}
    client.load_collection(_made(client, "structless"))
    words = "struct field not found: clips[length]"
    _refused(1100, words, client.query, "structless", filter="array_contains(clips[length], 1)")
    last = _made(client, "last")
    _refused(1100, "cannot drop the last vector field: vec", client.drop_collection_field, last, "vec")


# -- functions ------------------------------------------------------------------------------------------------------


def _texts(client: MilvusClient, name: str) -> str:
    text = (DataType.VARCHAR, {"max_length": 200, "enable_analyzer": True})
    _made(client, name, text=text)
    client.insert(name, [{**row, "text": f"document about topic {row['id'] % 3}"} for row in ROWS])
    client.flush(name)
    return name


def _index(client: MilvusClient, field: str, kind: str, metric: str, **params: Any) -> Any:
    made = client.prepare_index_params()
    made.add_index(field, index_type=kind, metric_type=metric, params=params)
    return made


def test_bm25_is_added_over_rows_that_are_there_and_dropped_with_its_field(client: MilvusClient) -> None:
    name = _texts(client, "bm25")
    function = Function("bm25", FunctionType.BM25, ["text"], ["sparse"])
    field = client.create_field_schema("sparse", DataType.SPARSE_FLOAT_VECTOR)
    client.add_function_field(
        name, field, function, _index(client, "sparse", "SPARSE_INVERTED_INDEX", "BM25")
    )
    client.insert(name, [{**ROWS[0], "id": 100, "text": "topic 1 of another document"}])
    assert client.describe_index(name, "sparse")["metric_type"] == "BM25"
    [hits] = client.search(name, ["1"], anns_field="sparse", limit=10)
    assert {hit["id"] for hit in hits} == {1, 4, 7, 100}
    assert [one["name"] for one in client.describe_collection(name)["functions"]] == ["bm25"]
    _refused(
        1100,
        "DropCollectionFunction RPC is no longer supported",
        client.drop_collection_function,
        name,
        "bm25",
    )
    client.drop_function_field(name, "bm25")
    assert "sparse" not in _fields(client, name)
    assert client.list_indexes(name) == ["vec"]
    assert client.describe_collection(name).get("functions", []) == []
    _refused(1100, "function not found: bm25: invalid parameter", client.drop_function_field, name, "bm25")


def test_a_function_keeps_its_number_when_another_is_dropped(client: MilvusClient) -> None:
    name = _texts(client, "numbers")

    def add(output: str) -> None:
        function = Function(f"of_{output}", FunctionType.BM25, ["text"], [output])
        field = client.create_field_schema(output, DataType.SPARSE_FLOAT_VECTOR)
        index = _index(client, output, "SPARSE_INVERTED_INDEX", "BM25")
        client.add_function_field(name, field, function, index)

    def numbers() -> dict[str, int]:
        return {one["name"]: one["id"] for one in client.describe_collection(name)["functions"]}

    add("one")
    add("two")
    before = numbers()
    assert len(set(before.values())) == 2
    client.drop_function_field(name, "of_one")
    assert numbers() == {"of_two": before["of_two"]}
    add("three")
    assert numbers()["of_two"] == before["of_two"]
    assert numbers()["of_three"] not in before.values()


def test_segments_that_are_up_to_a_changed_schema_are_counted(client: MilvusClient) -> None:
    name = _texts(client, "counted")
    client.insert(name, [{**ROWS[0], "id": 100, "text": "a topic"}])
    assert set(client.get_collection_stats(name)) == {"row_count"}
    function = Function(
        "hash", FunctionType.MINHASH, ["text"], ["sig"], params={"num_hashes": 8, "shingle_size": 2}
    )
    field = client.create_field_schema("sig", DataType.BINARY_VECTOR, dim=256)
    index = _index(client, "sig", "MINHASH_LSH", "MHJACCARD", mh_lsh_band=4)
    client.add_function_field(name, field, function, index)
    told = client.get_collection_stats(name)
    assert told["row_count"] == len(ROWS) + 1
    assert int(told["schema_version_total_segments"]) > 0
    assert told["schema_version_consistent_segments"] == told["schema_version_total_segments"]


def test_minhash_is_added_over_rows_that_are_there(client: MilvusClient) -> None:
    name = _texts(client, "minhash")
    function = Function(
        "hash", FunctionType.MINHASH, ["text"], ["sig"], params={"num_hashes": 8, "shingle_size": 2}
    )
    field = client.create_field_schema("sig", DataType.BINARY_VECTOR, dim=256)
    client.add_function_field(
        name, field, function, _index(client, "sig", "MINHASH_LSH", "MHJACCARD", mh_lsh_band=4)
    )
    [hits] = client.search(name, ["document about topic 2"], anns_field="sig", limit=3)
    assert {hit["id"] for hit in hits} == {2, 5, 8}
    client.drop_function_field(name, "hash")
    assert "sig" not in _fields(client, name)


def test_a_function_that_breaks_a_rule_is_not_added(client: MilvusClient) -> None:
    name = _texts(client, "functions")
    field = client.create_field_schema("sparse", DataType.SPARSE_FLOAT_VECTOR)
    index = _index(client, "sparse", "SPARSE_INVERTED_INDEX", "BM25")
    for function, words in (
        (Function("f", FunctionType.BM25, ["text"], ["other"]), 'must be the newly-added field "sparse"'),
        (
            Function("f", FunctionType.BM25, ["nothing"], ["sparse"]),
            "function input field not found: nothing",
        ),
        (Function("f", FunctionType.BM25, ["tag"], ["sparse"]), "must set enable_analyzer to true"),
    ):
        _refused(1100, words, client.add_function_field, name, field, function, index)
    function = Function("f", FunctionType.BM25, ["text"], ["sparse"])
    words = "can't find collection[database=default][collection=nowhere]"
    _refused(100, words, client.add_function_field, "nowhere", field, function, index)
    _refused(
        1100,
        "is no longer supported",
        client.add_collection_function,
        name,
        Function("f", FunctionType.BM25, ["text"], ["sparse"]),
    )
    stub = client._get_connection()._stub
    asked = milvus_pb2.AlterCollectionSchemaRequest(collection_name=name)
    asked.action.drop_request.function_name = "f"
    status = stub.AlterCollectionSchema(asked).alter_status
    assert status.code == 1100
    assert "detaching a function without dropping its output field is not supported" in status.reason
    missing = stub.AlterCollectionSchema(
        milvus_pb2.AlterCollectionSchemaRequest(collection_name="nothing", action=asked.action)
    )
    assert missing.alter_status.code == 100
    assert "sparse" not in _fields(client, name)


@pytest.mark.parametrize(
    ("given", "bits", "words"),
    [
        ({"num_hashes": 16}, 256, "dim 256 does not match expected dim 512 (numHashes 16 * one minhash"),
        ({}, 40, "dim 40 is not multiple of 32 (one minhash signature size)"),
        ({"num_hashes": 0}, 256, "param num_hashes:0 must be positive"),
        ({"shingle_size": 0}, 256, "param shingle_size:0 must be positive"),
        ({"shingle_size": "three"}, 256, "param shingle_size:three is not a number"),
        ({"hash_function": "md5"}, 256, "unknown hash function: md5 (expected 'xxhash64' or 'sha1')"),
        ({"token_level": "line"}, 256, "unknown token_level: line (expected 'char' or 'word')"),
        ({"seed": "x"}, 256, "param seed:x is not a number"),
    ],
)
def test_signatures_that_break_a_rule_are_refused_in_milvus_words(
    client: MilvusClient, given: dict[str, Any], bits: int, words: str
) -> None:
    name = _texts(client, "signatures")
    field = client.create_field_schema("sig", DataType.BINARY_VECTOR, dim=bits)
    function = Function("f", FunctionType.MINHASH, ["text"], ["sig"], params=given)
    index = _index(client, "sig", "MINHASH_LSH", "MHJACCARD")
    _refused(1100, words, client.add_function_field, name, field, function, index)
    assert "sig" not in _fields(client, name)


def test_signatures_are_declared_by_every_name_that_milvus_takes(client: MilvusClient) -> None:
    name = _texts(client, "signed")
    field = client.create_field_schema("sig", DataType.BINARY_VECTOR, dim=256)
    given = {"TOKEN_LEVEL": "Character", "hash_function": "xxhash", "shingle_size": 2}
    function = Function("f", FunctionType.MINHASH, ["text"], ["sig"], params=given)
    client.add_function_field(name, field, function, _index(client, "sig", "MINHASH_LSH", "MHJACCARD"))
    [hits] = client.search(name, ["document about topic 1"], anns_field="sig", limit=3)
    assert {hit["id"] % 3 for hit in hits} == {1}


def test_a_name_that_a_function_has_is_no_other_functions(client: MilvusClient) -> None:
    name = _texts(client, "twice")
    for field in ("first", "second"):
        made = client.create_field_schema(field, DataType.SPARSE_FLOAT_VECTOR)
        function = Function("f", FunctionType.BM25, ["text"], [field])
        asked = (name, made, function, _index(client, field, "SPARSE_INVERTED_INDEX", "BM25"))
        if field == "first":
            client.add_function_field(*asked)
        else:
            _refused(1100, "duplicate function name: f", client.add_function_field, *asked)


def test_only_how_a_function_is_reached_can_be_altered(client: MilvusClient) -> None:
    name = _texts(client, "alter_functions")
    field = client.create_field_schema("sparse", DataType.SPARSE_FLOAT_VECTOR)
    bm25 = Function("bm25", FunctionType.BM25, ["text"], ["sparse"])
    client.add_function_field(name, field, bm25, _index(client, "sparse", "AUTOINDEX", "BM25"))
    _refused(
        1100,
        "currently does not support alter BM25 function",
        client.alter_collection_function,
        name,
        "bm25",
        bm25,
    )
    other = Function("other", FunctionType.TEXTEMBEDDING, ["text"], ["vec"], params={"provider": "openai"})
    _refused(1100, "function other not found", client.alter_collection_function, name, "other", other)
    _refused(
        1100, "invalid function config, name not match", client.alter_collection_function, name, "bm25", other
    )


# -- analyzers ------------------------------------------------------------------------------------------------------


def test_a_field_with_several_analyzers_is_made_told_and_searched(client: MilvusClient) -> None:
    name = "several"
    analyzers = {
        "analyzers": {"english": {"type": "english"}, "default": {"tokenizer": "whitespace"}},
        "by_field": "language",
        "alias": {"en": "english"},
    }
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("language", DataType.VARCHAR, max_length=16)
    schema.add_field(
        "text", DataType.VARCHAR, max_length=99, enable_analyzer=True, multi_analyzer_params=analyzers
    )
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["sparse"]))
    client.create_collection(name, schema=schema, index_params=_index(client, "sparse", "AUTOINDEX", "BM25"))
    client.insert(
        name,
        [
            {"id": 1, "language": "english", "text": "Running dogs"},
            {"id": 2, "language": "en", "text": "a dog ran"},
            {"id": 3, "language": "german", "text": "Running Hunde"},
        ],
    )

    def found(text: str, **params: Any) -> set[int]:
        [hits] = client.search(
            name, [text], anns_field="sparse", limit=5, search_params=params, consistency_level="Strong"
        )
        return {hit["id"] for hit in hits}

    assert found("dogs", analyzer_name="english") == {1, 2}
    assert found("dogs", analyzer_name="en") == {1, 2}
    assert found("Running") == {3}
    told = client.run_analyzer(
        ["dogs Running"] * 2, collection_name=name, field_name="text", analyzer_names=["en", "x"]
    )
    assert [one.tokens for one in told] == [["dog", "run"], ["dogs", "Running"]]
    _refused(1700, "field not found", client.run_analyzer, "a", collection_name=name, field_name="nothing")
    _refused(1100, "analyzers of field text are chosen by it", client.drop_collection_field, name, "language")


def test_vectors_added_later_are_searched_where_rows_have_them(client: MilvusClient) -> None:
    name = _made(client, "later")
    client.insert(name, ROWS)
    client.add_collection_field(name, "more", DataType.FLOAT_VECTOR, dim=4, nullable=True)
    made = np.random.default_rng(1).random((50, 4), np.float32)
    client.insert(
        name,
        [{**ROWS[0], "id": 100 + i, "more": None if i % 2 else made[i].tolist()} for i in range(50)],
    )
    client.create_index(name, _index(client, "more", "HNSW", "L2", M=8, efConstruction=64))
    client.release_collection(name)
    client.load_collection(name)
    [hits] = client.search(name, [made[4].tolist()], anns_field="more", limit=25)
    distances = ((made[::2] - made[4]) ** 2).sum(axis=1)
    assert [hit["id"] for hit in hits] == [100 + 2 * int(i) for i in np.argsort(distances, kind="stable")]
