"""Collections made, described, listed, renamed and dropped through the real client."""

from __future__ import annotations

import re

import grpc
import numpy as np
import pytest
from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient, MilvusException
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2
from pymilvus.orm.schema import infer_default_value_bydata


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
    with pytest.raises(
        MilvusException, match=r"can't find collection\[database=default\]\[collection=nothing\]"
    ) as raised:
        client.describe_collection("nothing")
    assert raised.value.code == 100


def schema_of(*fields: tuple[str, DataType, dict[str, object]], **options: object) -> CollectionSchema:
    """A schema of fields; `id` and a vector are there unless fields of the name are given."""
    schema = MilvusClient.create_schema(**options)
    names = [name for name, _, _ in fields]
    if "id" not in names:
        schema.add_field("id", DataType.INT64, is_primary=True)
    if "vector" not in names:
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    for name, kind, more in fields:
        schema.add_field(name, kind, **more)
    return schema


def test_everything_a_schema_says_is_described_again(client: MilvusClient) -> None:
    schema = schema_of(
        ("name", DataType.VARCHAR, {"max_length": 70, "nullable": True, "description": "what it is called"}),
        ("body", DataType.VARCHAR, {"max_length": 900, "enable_analyzer": True, "enable_match": True}),
        ("count", DataType.INT32, {"default_value": np.int32(7)}),
        ("price", DataType.DOUBLE, {"default_value": 1.5, "nullable": True}),
        ("tags", DataType.ARRAY, {"element_type": DataType.VARCHAR, "max_capacity": 9, "max_length": 30}),
        ("when", DataType.TIMESTAMPTZ, {"nullable": True}),
        ("where", DataType.GEOMETRY, {"nullable": True}),
        ("more", DataType.JSON, {"nullable": True}),
        ("key", DataType.VARCHAR, {"max_length": 20, "is_partition_key": True}),
        ("half", DataType.FLOAT16_VECTOR, {"dim": 8, "nullable": True, "mmap_enabled": True}),
        ("bits", DataType.BINARY_VECTOR, {"dim": 16, "warmup": "sync"}),
        ("words", DataType.SPARSE_FLOAT_VECTOR, {}),
        description="all of it",
    )
    schema.add_function(Function("bm25", FunctionType.BM25, ["body"], ["words"]))
    parts = client.create_struct_field_schema()
    parts.add_field("text", DataType.VARCHAR, max_length=50)
    parts.add_field("embedding", DataType.FLOAT_VECTOR, dim=6)
    schema.add_field(
        "parts", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=parts, max_capacity=11
    )
    options = {"consistency_level": "Session", "num_partitions": 5, "properties": {"mmap.enabled": "true"}}
    for _ in range(2):
        client.create_collection("all", schema=schema, **options)
    about = client.describe_collection("all")
    fields = {field["name"]: field for field in about["fields"]}
    assert about["description"] == "all of it"
    assert (about["num_partitions"], about["consistency_level_name"]) == (5, "Session")
    highest = str(max(field["field_id"] for field in about["fields"]))
    assert about["properties"] == {"timezone": "UTC", "mmap.enabled": "true", "max_field_id": highest}
    assert fields["name"]["params"] == {"max_length": 70}
    assert fields["name"]["nullable"]
    assert fields["name"]["description"] == "what it is called"
    assert fields["body"]["params"] == {"max_length": 900, "enable_analyzer": "true", "enable_match": "true"}
    assert fields["count"]["default_value"].int_data == 7
    assert fields["price"]["default_value"].double_data == 1.5
    assert fields["tags"]["element_type"] == DataType.VARCHAR
    assert fields["tags"]["params"] == {"max_length": 30, "max_capacity": 9}
    assert fields["key"]["is_partition_key"]
    assert fields["half"]["params"] == {"dim": 8, "mmap_enabled": True}
    assert fields["bits"]["params"] == {"dim": 16, "warmup": "sync"}
    assert fields["words"]["is_function_output"]
    [function] = about["functions"]
    assert (function["name"], function["type"]) == ("bm25", FunctionType.BM25)
    assert (list(function["input_field_names"]), list(function["output_field_names"])) == (
        ["body"],
        ["words"],
    )
    struct = fields["parts"]
    assert (struct["element_type"], struct["params"]) == (DataType.STRUCT, {"max_capacity": 11})
    assert [(f["name"], f["type"], f["params"]) for f in struct["struct_fields"]] == [
        ("text", DataType.VARCHAR, {"max_length": 50}),
        ("embedding", DataType.FLOAT_VECTOR, {"dim": 6}),
    ]
    numbers = [field["field_id"] for field in (*about["fields"], *struct["struct_fields"])]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 100


def test_making_a_collection_again_differently_is_refused(client: MilvusClient) -> None:
    client.create_collection("again", schema=schema_of())
    client.create_collection("again", schema=schema_of())
    for schema, options in (
        (schema_of(("more", DataType.INT64, {})), {}),
        (schema_of(enable_dynamic_field=True), {}),
        (schema_of(description="other"), {}),
        (schema_of(), {"num_shards": 2}),
        (schema_of(), {"consistency_level": "Strong"}),
    ):
        with pytest.raises(MilvusException, match="create duplicate collection with different parameters"):
            client.create_collection("again", schema=schema, **options)


VARCHAR, ARRAY, VECTOR = DataType.VARCHAR, DataType.ARRAY, DataType.FLOAT_VECTOR
BAD_FIELDS: list[tuple[str, DataType, dict[str, object], int, str]] = [
    ("1a", DataType.INT64, {}, 1701, "The first character of a field name must be an underscore or letter."),
    ("a b", DataType.INT64, {}, 1701, "Field name can only contain numbers, letters, and underscores."),
    ("a" * 256, DataType.INT64, {}, 1701, "The length of a field name must be less than 255 characters."),
    ("exists", DataType.INT64, {}, 1701, "exists is keyword in milvus."),
    ("NuLL", DataType.INT64, {}, 1701, "is keyword in milvus."),
    ("Timestamp", DataType.INT64, {}, 1701, "is reserved for internal use"),
    ("__virtual_pk__", DataType.INT64, {}, 1100, "is reserved for internal use"),
    ("id", DataType.INT64, {}, 1100, "duplicated field name id found"),
    ("v", VECTOR, {"dim": 1}, 1100, "invalid dimension: 1. should be in range 2 ~ 32768"),
    ("v", VECTOR, {"dim": 32769}, 1100, "float vector dimension should be in range 2 ~ 32768"),
    ("v", DataType.BINARY_VECTOR, {"dim": 12}, 1100, "binary vector dimension should be multiple of 8"),
    ("s", VARCHAR, {"max_length": 0}, 1100, "should be in (0, 65535], but got 0 instead"),
    ("s", VARCHAR, {"max_length": 65536}, 1100, "should be in (0, 65535], but got 65536 instead"),
    ("a", ARRAY, {"element_type": DataType.INT64, "max_capacity": 4097}, 1100, "should be in (0, 4096]"),
    ("a", ARRAY, {"element_type": DataType.INT64, "max_capacity": 0}, 1100, "should be in (0, 4096]"),
    (
        "a",
        ARRAY,
        {"element_type": DataType.JSON, "max_capacity": 5},
        1100,
        "element type JSON is not supported",
    ),
    ("v", VECTOR, {"dim": 8, "warmup": "soon"}, 1100, "invalid warmup policy for field v"),
    ("k", DataType.FLOAT, {"is_partition_key": True}, 1100, "partition key should be Int64 or VarChar"),
    (
        "k",
        DataType.JSON,
        {"is_clustering_key": True},
        105,
        "clustering key field k has unsupported data type JSON",
    ),
    (
        "d",
        DataType.JSON,
        {"default_value": b"{}"},
        1100,
        "type not support default_value, type:JSON, name:d",
    ),
    (
        "d",
        VARCHAR,
        {"max_length": 2, "default_value": "abc"},
        1100,
        "the length (3) of string exceeds max length (2)",
    ),
    ("d", DataType.INT8, {"default_value": np.int32(200)}, 1100, "default value out of range"),
    ("m", VARCHAR, {"max_length": 9, "enable_match": True}, 1100, "but not enable analyzer"),
]


@pytest.mark.parametrize(("name", "kind", "more", "code", "said"), BAD_FIELDS)
def test_a_field_that_breaks_a_rule_is_refused_in_milvus_words(
    address: str, name: str, kind: DataType, more: dict[str, object], code: int, said: str
) -> None:
    made = schema_pb2.CollectionSchema(name="c")
    made.fields.add(name="id", data_type=DataType.INT64, is_primary_key=True)
    made.fields.add(name="vector", data_type=VECTOR).type_params.add(key="dim", value="4")
    field = made.fields.add(name=name, data_type=kind)
    for key, value in more.items():
        if key == "default_value":
            given = schema_pb2.ValueField(bytes_data=value) if isinstance(value, bytes) else None
            field.default_value.CopyFrom(given or infer_default_value_bydata(value))
        elif key in ("is_partition_key", "is_clustering_key", "element_type", "nullable"):
            setattr(field, key, value)
        else:
            field.type_params.add(key=key, value=str(value))
    status = created(address, made)
    assert said in status.reason
    assert (status.code, status.error_code != 0) == (code, True)


KEY, VEC = {"name": "a", "is_primary_key": True}, {"name": "v", "data_type": VECTOR}
BAD_SCHEMAS: list[tuple[list[dict[str, object]], dict[str, object], int, str]] = [
    ([VEC], {}, 1101, "primary key is not specified"),
    (
        [
            KEY,
            {"name": "b", "is_primary_key": True},
            VEC,
        ],
        {},
        1100,
        "there are more than one primary key, field name = a, b",
    ),
    ([KEY], {}, 1100, "schema does not contain vector field"),
    (
        [
            {"name": "a", "is_primary_key": True, "data_type": DataType.FLOAT},
            VEC,
        ],
        {},
        1100,
        "the data type of primary key should be Int64 or VarChar",
    ),
    (
        [
            KEY,
            {"name": "b", "autoID": True},
            VEC,
        ],
        {},
        1100,
        "only primary field can speficy AutoID with true, field name = b",
    ),
    (
        [
            KEY,
            *({"name": f"f{i}"} for i in range(63)),
            VEC,
        ],
        {},
        1100,
        "maximum field's number should be limited to 64",
    ),
    (
        [KEY, *({"name": f"v{i}", "data_type": VECTOR} for i in range(11))],
        {},
        1100,
        "maximum vector field's number should be limited to 10",
    ),
    (
        [KEY, VEC],
        {"shards_num": 17},
        1100,
        "maximum shards's number should be limited to 16",
    ),
    (
        [KEY, VEC],
        {"num_partitions": 3},
        1100,
        "num_partitions should only be specified with partition key field enabled",
    ),
    (
        [KEY, VEC],
        {"collection_name": "1c"},
        1100,
        "Invalid collection name: 1c. the first character of a collection name must be an underscore or letter",
    ),
    (
        [KEY, VEC],
        {"collection_name": "c-d"},
        1100,
        "collection name can only contain numbers, letters and underscores",
    ),
    (
        [KEY, VEC],
        {"collection_name": ""},
        1100,
        "collection name should not be empty",
    ),
]


@pytest.mark.parametrize(("fields", "options", "code", "said"), BAD_SCHEMAS)
def test_a_schema_that_breaks_a_rule_is_refused_in_milvus_words(
    address: str, fields: list[dict[str, object]], options: dict[str, object], code: int, said: str
) -> None:
    made = schema_pb2.CollectionSchema(name="c")
    for one in fields:
        field = made.fields.add(**{"data_type": DataType.INT64, **one})
        if field.data_type == VECTOR:
            field.type_params.add(key="dim", value="4")
    status = created(address, made, **options)
    assert said in status.reason.replace("  ", " ")
    assert status.code == code


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"timezone": "Mars/Olympus"}, "unknown or invalid IANA Time Zone ID: Mars/Olympus"),
        ({"collection.ttl.seconds": "soon"}, "collection TTL is not a valid positive integer"),
        ({"collection.ttl.seconds": "-2"}, "collection TTL is out of range"),
        ({"ttl_field": "gone"}, "ttl field name gone not found in schema"),
        ({"ttl_field": "id"}, "ttl field must be timestamptz, field name = id"),
        ({"mmap.enabled": "perhaps"}, "invalid mmap.enabled property value"),
        ({"warmup.vectorField": "soon"}, "invalid warmup value for key warmup.vectorField"),
        ({"warmup": "sync"}, "is only allowed at field level"),
        (
            {"partitionkey.isolation": "true"},
            "partition key isolation mode is enabled but no partition key field",
        ),
    ],
)
def test_a_property_that_makes_no_sense_is_refused(
    client: MilvusClient, properties: dict[str, str], said: str
) -> None:
    with pytest.raises(MilvusException, match=re.escape(said)) as raised:
        client.create_collection("bad", schema=schema_of(), properties=properties)
    assert raised.value.code in (105, 1100)


def test_collections_are_described_together(client: MilvusClient, address: str) -> None:
    for name in ("one_of", "two_of"):
        client.create_collection(name, schema=schema_of())
    answer = stub(address).BatchDescribeCollection(
        milvus_pb2.BatchDescribeCollectionRequest(collection_name=["one_of", "two_of"])
    )
    assert [one.collection_name for one in answer.responses] == ["one_of", "two_of"]
    assert len({one.collectionID for one in answer.responses}) == 2
    listed = stub(address).ShowCollections(milvus_pb2.ShowCollectionsRequest())
    ids = dict(zip(listed.collection_names, listed.collection_ids, strict=True))
    assert [ids["one_of"], ids["two_of"]] == [one.collectionID for one in answer.responses]


def stub(address: str) -> milvus_pb2_grpc.MilvusServiceStub:
    """The protocol itself, for what the client would not send."""
    return milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address.removeprefix("http://")))


def created(address: str, schema: schema_pb2.CollectionSchema, **options: object) -> common_pb2.Status:
    """What the server says to a schema that the client's own checks would not let pass."""
    request = milvus_pb2.CreateCollectionRequest(
        **{"collection_name": "c", **options}, schema=schema.SerializeToString()
    )
    return stub(address).CreateCollection(request)


def test_a_name_that_none_can_have_is_refused_wherever_it_is_used(client: MilvusClient) -> None:
    for ask in (client.describe_collection, client.has_collection, client.get_load_state):
        with pytest.raises(
            MilvusException, match=r"Invalid collection name: 1a\. the first character"
        ) as raised:
            ask("1a")
        assert raised.value.code == 1100


def test_what_no_collection_and_no_alias_can_be_called_is_dropped_already(client: MilvusClient) -> None:
    for name in ("12-s", "(mn)", "a" * 256):
        client.drop_collection(name)
        client.drop_alias(name)


def test_renaming_needs_a_free_name_and_no_alias(client: MilvusClient) -> None:
    for name in ("here", "there"):
        client.create_collection(name, schema=schema_of())
    client.create_alias("there", "nickname")
    for old, new, code, said in (
        (
            "here",
            "there",
            1100,
            "duplicated new collection name default:there with other collection name or alias",
        ),
        ("here", "nickname", 1601, "cannot rename collection to an existing alias: nickname"),
        ("nickname", "other", 1100, "unsupported use an alias to rename collection, alias:nickname"),
        ("gone", "other", 100, "collection not found[database=default][collection=gone]"),
        ("1a", "other", 100, "collection not found[database=default][collection=1a]"),
        ("here", "1a", 1100, "Invalid collection name: 1a"),
        ("here", "here", 1100, "collection name or database name should be different"),
    ):
        with pytest.raises(MilvusException, match=re.escape(said)) as raised:
            client.rename_collection(old, new)
        assert raised.value.code == code
    client.rename_collection("here", "elsewhere")
    assert client.has_collection("elsewhere")


def test_properties_of_what_is_no_collection_are_properties_of_a_missing_one(client: MilvusClient) -> None:
    for name in ("%$#", " ", "gone"):
        said = re.escape(f"collection not found[database=default][collection={name}]")
        with pytest.raises(MilvusException, match=said):
            client.alter_collection_properties(name, {"mmap.enabled": True})
        with pytest.raises(MilvusException, match=said):
            client.drop_collection_properties(name, ["mmap.enabled"])


def test_what_is_not_supported_is_refused_by_name(client: MilvusClient) -> None:
    schema = schema_of(enable_namespace=True)
    with pytest.raises(MilvusException, match="namespaces are not supported") as raised:
        client.create_collection("spaces", schema=schema)
    assert raised.value.code == 3000


@pytest.mark.parametrize("num_shards", [-256, 0])
def test_no_number_of_shards_is_the_default(client: MilvusClient, num_shards: int) -> None:
    name = f"shards{abs(num_shards)}"
    client.create_collection(name, schema=schema_of(), num_shards=num_shards)
    assert client.describe_collection(name)["num_shards"] == 1
    client.create_collection(name, schema=schema_of(), num_shards=num_shards)
    client.drop_collection(name)
