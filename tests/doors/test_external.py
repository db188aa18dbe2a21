"""External collections through the real client, on files in an S3 store."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient, MilvusException

import headwater as hw
from headwater.lake.external import spec_options
from headwater.store import ObjectStore, open_store
from headwater.testing.s3_server import S3Server, s3_server

DIM = 8


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server("data") as found:
        yield found


@pytest.fixture(scope="module")
def store(server: S3Server) -> ObjectStore:
    return open_store(server.url, server.options)


@pytest.fixture(scope="module")
def lake(lake_path: Path) -> Iterator[hw.Database]:
    """The Python door on the lake that the server serves: the oracle."""
    with hw.connect(lake_path) as found:
        yield found


def extfs(**more: str) -> dict[str, str]:
    return {
        "cloud_provider": "minio",
        "region": "us-east-1",
        "access_key_id": "test",
        "access_key_value": "test",
        **more,
    }


def spec(**more: Any) -> str:
    return json.dumps({"format": "parquet", "extfs": extfs(), **more})


def uri(server: S3Server, prefix: str) -> str:
    return f"s3://127.0.0.1:{server.port}/data/{prefix}"


def vectors(first: int, last: int) -> np.ndarray:
    return np.stack([np.random.default_rng(i).random(DIM, np.float32) for i in range(first, last)])


def put(store: ObjectStore, key: str, first: int, last: int, **more: Any) -> None:
    """A file of rows, each of which follows from its number."""
    columns = {
        "ID": pa.array(range(first, last), pa.int64()),
        "title": pa.array([f"t{i}" for i in range(first, last)]),
        "emb": pa.array(vectors(first, last).tolist(), pa.list_(pa.float32())),
        **more,
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    store.put(key, sink.getvalue().to_pybytes())


def schema_of(source: str, given: str) -> Any:
    schema = MilvusClient.create_schema(external_source=source, external_spec=given)
    schema.add_field("id", DataType.INT64, external_field="ID")
    schema.add_field("title", DataType.VARCHAR, max_length=50, external_field="title")
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIM, external_field="emb")
    return schema


def refreshed(client: MilvusClient, name: str, **how: Any) -> Any:
    job = client.refresh_external_collection(name, **how)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        info = client.get_refresh_external_collection_progress(job)
        if info.state in ("RefreshCompleted", "RefreshFailed"):
            return info
        time.sleep(0.05)
    raise AssertionError("the refresh never ended")


def loaded(client: MilvusClient, name: str) -> None:
    params = client.prepare_index_params()
    params.add_index("vec", index_type="AUTOINDEX", metric_type="L2")
    client.create_index(name, params)
    client.load_collection(name)


def refused(code: int, words: str, call: Any, *args: Any, **kwargs: Any) -> None:
    with pytest.raises(MilvusException) as raised:
        call(*args, **kwargs)
    assert raised.value.code == code, raised.value
    assert words in raised.value.message, raised.value.message


def test_files_are_searched_where_they_are(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    put(store, "plain/a.parquet", 0, 60)
    put(store, "plain/b.parquet", 60, 100)
    put(store, "plain/nested/c.parquet", 500, 510)
    client.create_collection("plain", schema=schema_of(uri(server, "plain/"), spec()))
    info = refreshed(client, "plain")
    assert (info.state, info.progress, info.reason) == ("RefreshCompleted", 100, "")
    loaded(client, "plain")
    assert client.query("plain", output_fields=["count(*)"])[0]["count(*)"] == 100
    rows = client.query("plain", "id in [3, 70]", output_fields=["id", "title", "vec"])
    assert sorted((row["id"], row["title"]) for row in rows) == [(3, "t3"), (70, "t70")]
    query = vectors(1000, 1003)
    hits = client.search("plain", query.tolist(), limit=5, output_fields=["id"])
    whole = vectors(0, 100)
    for one, found in zip(query, hits, strict=True):
        nearest = np.argsort(((whole - one) ** 2).sum(axis=1))[:5]
        assert [hit["entity"]["id"] for hit in found] == nearest.tolist()


def test_rows_have_a_key_that_the_lake_makes_and_that_stays(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    put(store, "keys/b.parquet", 0, 30)
    client.create_collection("keys", schema=schema_of(uri(server, "keys"), spec()))
    refreshed(client, "keys")
    loaded(client, "keys")
    described = client.describe_collection("keys")
    (key,) = [one for one in described["fields"] if one.get("is_primary")]
    assert (key["name"], key["type"], key["auto_id"]) == ("__virtual_pk__", DataType.INT64, True)
    assert all(one.get("nullable") for one in described["fields"] if one is not key)
    row = client.query("keys", "id == 7", output_fields=["id"])[0]
    assert client.get("keys", ids=[row["__virtual_pk__"]], output_fields=["id"])[0]["id"] == 7
    (hits,) = client.search("keys", vectors(7, 8).tolist(), limit=1)
    assert hits[0]["__virtual_pk__"] == row["__virtual_pk__"]
    put(store, "keys/a.parquet", 100, 130)
    refreshed(client, "keys")
    assert client.query("keys", "id == 7")[0]["__virtual_pk__"] == row["__virtual_pk__"]
    assert client.query("keys", output_fields=["count(*)"])[0]["count(*)"] == 60


def test_files_that_come_go_and_change_are_seen_by_a_refresh(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    put(store, "moving/a.parquet", 0, 10)
    put(store, "moving/b.parquet", 10, 20)
    client.create_collection("moving", schema=schema_of(uri(server, "moving/"), spec()))
    refreshed(client, "moving")
    loaded(client, "moving")
    put(store, "moving/a.parquet", 200, 215)
    store.delete(["moving/b.parquet"])
    put(store, "moving/c.parquet", 30, 35)
    refreshed(client, "moving")
    ids = sorted(row["id"] for row in client.query("moving", "id >= 0", output_fields=["id"]))
    assert ids == [*range(30, 35), *range(200, 215)]


def test_a_failed_override_leaves_all_as_it_was_and_a_good_one_is_kept(
    client: MilvusClient, lake: hw.Database, store: ObjectStore, server: S3Server
) -> None:
    put(store, "first/a.parquet", 0, 10)
    put(store, "second/a.parquet", 50, 55)
    client.create_collection("override", schema=schema_of(uri(server, "first/"), spec()))
    refreshed(client, "override")
    loaded(client, "override")
    lost = f"s3://127.0.0.1:{server.port}/nobucket/x/"
    failed = refreshed(client, "override", external_source=lost, external_spec=spec())
    assert failed.state == "RefreshFailed"
    assert "bucket" in failed.reason
    assert client.describe_collection("override")["external_source"] == uri(server, "first/")
    assert client.query("override", output_fields=["count(*)"])[0]["count(*)"] == 10
    nothing = refreshed(client, "override", external_source=uri(server, "nothing/"), external_spec=spec())
    assert nothing.state == "RefreshFailed"
    done = refreshed(client, "override", external_source=uri(server, "second/"), external_spec=spec())
    assert done.state == "RefreshCompleted"
    described = client.describe_collection("override")
    assert described["external_source"] == uri(server, "second/")
    assert [row["id"] for row in client.query("override", "id >= 0", output_fields=["id"])] == list(
        range(50, 55)
    )
    with hw.connect(lake.url) as another:
        assert another.collection("override").count() == 5
    jobs = client.list_refresh_external_collection_jobs("override")
    assert [job.state for job in jobs][:2] == ["RefreshCompleted", "RefreshFailed"]


def test_an_external_collection_has_one_shard(client: MilvusClient, server: S3Server) -> None:
    schema = schema_of(uri(server, "plain/"), spec())
    words = "external collection does not support multiple shards, got ShardsNum=2"
    refused(1100, words, client.create_collection, "sharded", schema=schema, num_shards=2)
    client.create_collection("sharded", schema=schema, num_shards=1)


def test_secrets_are_not_told(client: MilvusClient, server: S3Server, store: ObjectStore) -> None:
    put(store, "secret/a.parquet", 0, 3)
    given = json.dumps({"extfs": extfs(access_key_id="test", access_key_value="my-secret-word")})
    client.create_collection("secret", schema=schema_of(uri(server, "secret/"), given))
    info = refreshed(client, "secret")
    described = client.describe_collection("secret")
    told = json.dumps([described, vars(info)], default=str)
    assert "my-secret-word" not in told
    assert json.loads(described["external_spec"])["extfs"]["access_key_value"] == "***"
    assert [one["external_field"] for one in described["fields"] if one.get("external_field")] == [
        "ID",
        "title",
        "emb",
    ]


def test_what_writes_is_refused(client: MilvusClient, store: ObjectStore, server: S3Server) -> None:
    put(store, "blocked/a.parquet", 0, 3)
    client.create_collection("blocked", schema=schema_of(uri(server, "blocked/"), spec()))
    words = "not supported for external collection"
    row = {"id": 1, "title": "x", "vec": [0.0] * DIM}
    refused(1100, words, client.insert, "blocked", [row])
    refused(1100, words, client.delete, "blocked", filter="id >= 0")
    refused(1100, words, client.flush, "blocked")
    refused(1100, words, client.create_partition, "blocked", "p")
    refused(1100, words, client.drop_partition, "blocked", "p")
    refused(1100, words, client.compact, "blocked")
    refused(1100, "not supported on external collections", client.truncate_collection, "blocked")
    refused(
        1100,
        "requires external_field mapping",
        client.add_collection_field,
        "blocked",
        "n",
        DataType.INT64,
        nullable=True,
    )
    with pytest.raises(MilvusException, match=r"external|virtual_pk"):
        client.upsert("blocked", [row])
    client.create_collection("managed", dimension=4)
    refused(1100, "external", client.refresh_external_collection, "managed")
    refused(100, "collection not found", client.refresh_external_collection, "nowhere")
    for half in ({"external_source": "s3://b/x"}, {"external_spec": spec()}):
        refused(1100, "both provided or both omitted", client.refresh_external_collection, "blocked", **half)
    refused(1100, "not found", client.get_refresh_external_collection_progress, 77)


def test_a_field_is_added_and_filled_by_the_next_refresh(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    put(store, "grown/a.parquet", 0, 20, price=pa.array([float(i) for i in range(20)]))
    client.create_collection("grown", schema=schema_of(uri(server, "grown/"), spec()))
    refreshed(client, "grown")
    loaded(client, "grown")
    client.add_collection_field("grown", "price", DataType.DOUBLE, nullable=True, external_field="price")
    refused(65535, "RefreshExternalCollection", client.query, "grown", "price >= 0", output_fields=["id"])
    refused(65535, "RefreshExternalCollection", client.query, "grown", "id == 1", output_fields=["price"])
    assert len(client.query("grown", "id < 5", output_fields=["id"])) == 5
    params = client.prepare_index_params()
    params.add_index("price", index_type="INVERTED")
    client.create_index("grown", params)
    sparse = ("grown", "s", DataType.SPARSE_FLOAT_VECTOR)
    how = {"nullable": True, "external_field": "s"}
    refused(1100, "does not support field type", client.add_collection_field, *sparse, **how)
    refused(
        1100,
        "mapped by multiple fields",
        client.add_collection_field,
        "grown",
        "again",
        DataType.DOUBLE,
        nullable=True,
        external_field="price",
    )
    info = refreshed(client, "grown")
    assert info.state == "RefreshCompleted", info.reason
    rows = client.query("grown", "price > 16.5", output_fields=["id", "price"])
    assert sorted((row["id"], row["price"]) for row in rows) == [(17, 17.0), (18, 18.0), (19, 19.0)]


@pytest.mark.parametrize("wrong", ["dim", "type", "torn"])
def test_files_that_do_not_fit_fail_the_refresh_with_a_reason(
    client: MilvusClient, store: ObjectStore, server: S3Server, wrong: str
) -> None:
    put(store, f"misfit_{wrong}/a.parquet", 0, 5)
    name = f"misfit_{wrong}"
    client.create_collection(name, schema=schema_of(uri(server, f"{name}/"), spec()))
    assert refreshed(client, name).state == "RefreshCompleted"
    loaded(client, name)
    if wrong == "torn":
        store.put(f"{name}/b.parquet", b"PAR1 is not all")
    else:
        more: dict[str, Any] = {"title": pa.array([1, 2, 3])}
        if wrong == "dim":
            more = {"emb": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2))}
        put(store, f"{name}/b.parquet", 5, 8, **more)
    info = refreshed(client, name)
    assert info.state == "RefreshFailed"
    assert "b.parquet" in info.reason
    assert client.query(name, output_fields=["count(*)"])[0]["count(*)"] == 5


@pytest.mark.parametrize(
    ("wanted", "column", "words"),
    [
        (DataType.INT8, pa.array([1, 2, 128], pa.int64()), "128 not in range"),
        (DataType.INT16, pa.array([-40_000, 2, 3], pa.int64()), "-40000 not in range"),
        (DataType.INT32, pa.array([1, 2, 2**31], pa.int64()), "2147483648 not in range"),
        (DataType.INT64, pa.array([0.5, 1.0, 2.0]), "0.5"),
        (DataType.JSON, pa.array([1, 2, 3], pa.int64()), "expected json, got int64"),
        (DataType.ARRAY, pa.array([["1"], ["2"], ["3"]]), "expected array<int64>, got list<"),
    ],
)
def test_values_that_a_field_cannot_hold_fail_the_refresh(
    client: MilvusClient, store: ObjectStore, server: S3Server, wanted: DataType, column: pa.Array, words: str
) -> None:
    name = f"beyond_{wanted.name.lower()}"
    put(store, f"{name}/a.parquet", 0, 3, more=column)
    schema = schema_of(uri(server, f"{name}/"), spec())
    given = {"element_type": DataType.INT64, "max_capacity": 3} if wanted is DataType.ARRAY else {}
    schema.add_field("more", wanted, external_field="more", **given)
    client.create_collection(name, schema=schema)
    info = refreshed(client, name)
    assert info.state == "RefreshFailed"
    assert "a.parquet" in info.reason
    assert words in info.reason
    good = {DataType.JSON: ["{}"] * 3, DataType.ARRAY: [[1], [2], None]}.get(wanted, [1, 2, 3])
    put(store, f"{name}/a.parquet", 0, 3, more=pa.array(good))
    assert refreshed(client, name).state == "RefreshCompleted"


def test_a_column_that_a_file_has_not_fails_the_refresh_and_is_never_null(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    put(store, "lacking/a.parquet", 0, 3)
    schema = schema_of(uri(server, "lacking/"), spec())
    schema.add_field("more", DataType.INT64, external_field="Title")
    client.create_collection("lacking", schema=schema)
    info = refreshed(client, "lacking")
    assert (info.state, "'Title'" in info.reason) == ("RefreshFailed", True)
    client.create_collection("lacking_later", schema=schema_of(uri(server, "lacking/"), spec()))
    assert refreshed(client, "lacking_later").state == "RefreshCompleted"
    loaded(client, "lacking_later")
    client.add_collection_field(
        "lacking_later", "price", DataType.DOUBLE, nullable=True, external_field="price"
    )
    info = refreshed(client, "lacking_later")
    assert (info.state, "'price'" in info.reason) == ("RefreshFailed", True)
    assert len(client.query("lacking_later", "id >= 0", output_fields=["id", "title"])) == 3
    put(store, "lacking/a.parquet", 0, 3, price=pa.array([1.0, 2.0, 3.0]))
    assert refreshed(client, "lacking_later").state == "RefreshCompleted"
    assert len(client.query("lacking_later", "price > 1", output_fields=["price"])) == 2


def changed(**how: Any) -> Any:
    """A schema with one thing about it changed."""
    schema = MilvusClient.create_schema(
        external_source=how.get("source", "s3://bucket/p/"),
        external_spec=how.get("spec", spec(extfs={**extfs(), "cloud_provider": "aws"})),
        enable_dynamic_field=how.get("dynamic", False),
    )
    schema.add_field("id", DataType.INT64, external_field="ID", **how.get("field", {}))
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIM, external_field=how.get("column", "emb"))
    for field in how.get("more", ()):
        schema.add_field(**field)
    return schema


SCHEMAS = {
    "half": ({"spec": ""}, "requires external_source and external_spec to be both set or both empty"),
    "dynamic": ({"dynamic": True}, "does not support dynamic field"),
    "key": ({"field": {"is_primary": True}}, "does not support user-defined primary key field id"),
    "partition": ({"field": {"is_partition_key": True}}, "does not support partition key field id"),
    "clustering": ({"field": {"is_clustering_key": True}}, "does not support clustering key field id"),
    "unmapped": (
        {"more": [{"field_name": "x", "datatype": DataType.INT64}]},
        "field 'x' in external collection",
    ),
    "twice": ({"column": "ID"}, 'external_field "ID" is mapped by multiple fields'),
    "sparse": (
        {"more": [{"field_name": "s", "datatype": DataType.SPARSE_FLOAT_VECTOR, "external_field": "s"}]},
        "does not support field type SparseFloatVector on field s",
    ),
    "file": ({"source": "file:///etc/data"}, "external_source"),
    "path": ({"source": "just/a/path"}, "external_source"),
    "http": ({"source": "http://host/data"}, "external_source"),
    "user": ({"source": "s3://me:secret@host/data"}, "external_source must not embed credentials"),
    "json": ({"spec": "{oops"}, "external_spec is invalid"),
    "format": ({"spec": spec(format="csv")}, 'unsupported format "csv"'),
    "option": ({"spec": spec(extfs=extfs(nope="1"))}, 'extfs key "nope" is not allowed'),
    "truth": ({"spec": spec(extfs=extfs(use_ssl="yes"))}, 'must be "true" or "false"'),
    "provider": ({"spec": spec(extfs=extfs(cloud_provider="ours"))}, "is not supported: must be one of"),
    "credentials": (
        {"spec": json.dumps({"extfs": {"cloud_provider": "aws", "region": "r"}})},
        "extfs credential mode missing",
    ),
    "two modes": ({"spec": spec(extfs=extfs(anonymous="true"))}, "mutually exclusive"),
    "reserved": (
        {"more": [{"field_name": "__virtual_pk__", "datatype": DataType.INT64, "external_field": "k"}]},
        "__virtual_pk__",
    ),
}


@pytest.mark.parametrize("case", SCHEMAS)
def test_schemas_and_sources_are_refused_in_milvus_words(client: MilvusClient, case: str) -> None:
    how, words = SCHEMAS[case]
    with pytest.raises(MilvusException) as raised:
        client.create_collection("refused", schema=changed(**how))
    assert words in raised.value.message, raised.value.message
    assert raised.value.code in (1100, 1101)
    assert not client.has_collection("refused")


@pytest.mark.parametrize("form", ["lance-table", "vortex", "iceberg-table", "milvus-table"])
def test_a_format_that_is_not_read_yet_is_refused_by_name(client: MilvusClient, form: str) -> None:
    given = json.dumps({"format": form, "extfs": extfs(cloud_provider="aws")})
    refused(3000, form, client.create_collection, "refused", schema=changed(spec=given))


def test_options_become_those_of_our_stores() -> None:
    aws = json.dumps({"extfs": extfs(cloud_provider="aws", region="eu-west-1")})
    url, options = spec_options("s3://bucket/a/b", aws)
    assert (url, options["region"], "endpoint" in options) == ("s3://bucket/a/b", "eu-west-1", False)
    url, options = spec_options("minio://host:9000/bucket/a", spec(extfs=extfs(use_ssl="true")))
    assert (url, options["endpoint"]) == ("s3://bucket/a", "https://host:9000")
    oss = json.dumps({"extfs": extfs(cloud_provider="aliyun", region="cn-hangzhou", use_virtual_host="true")})
    url, options = spec_options("oss://bucket/a", oss)
    assert options["endpoint"] == "https://bucket.oss-cn-hangzhou.aliyuncs.com"
    public = json.dumps({"extfs": {"cloud_provider": "gcp", "anonymous": "true"}})
    assert spec_options("gs://bucket/a", public) == ("gs://bucket/a", {"skip_signature": "true"})


def test_columns_of_every_kind_are_read(client: MilvusClient, store: ObjectStore, server: S3Server) -> None:
    count = 12
    rng = np.random.default_rng(4)
    dense = rng.random((count, DIM)).astype(np.float32)
    halves = dense.astype(np.float16)
    bits = rng.integers(0, 256, (count, 2)).astype(np.uint8)
    small = rng.integers(-100, 100, (count, DIM)).astype(np.int8)
    columns = {
        "i8": pa.array(range(count), pa.int8()),
        "f32": pa.array([i / 2 for i in range(count)], pa.float32()),
        "flag": pa.array([i % 2 == 0 for i in range(count)]),
        "doc": pa.array([json.dumps({"a": i}) for i in range(count)]),
        "tags": pa.array([[f"t{i}", "all"] for i in range(count)]),
        "shape": pa.array([f"POINT ({i} 1)" for i in range(count)]),
        "time": pa.array([1_700_000_000_000 + i for i in range(count)], pa.timestamp("ms")),
        "fixed": pa.FixedSizeListArray.from_arrays(pa.array(dense.reshape(-1)), DIM),
        "bytes": pa.array([row.tobytes() for row in dense], pa.binary(4 * DIM)),
        "half": pa.FixedSizeListArray.from_arrays(pa.array(halves.view(np.uint8).reshape(-1)), 2 * DIM),
        "bits": pa.FixedSizeListArray.from_arrays(pa.array(bits.reshape(-1)), 2),
        "small": pa.array(small.tolist(), pa.list_(pa.int8())),
        "maybe": pa.array([None if i % 3 == 0 else i for i in range(count)], pa.int64()),
        "unused": pa.array(["x"] * count),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    store.put("kinds/a.parquet", sink.getvalue().to_pybytes())
    schema = MilvusClient.create_schema(external_source=uri(server, "kinds/"), external_spec=spec())
    schema.add_field("i8", DataType.INT8, external_field="i8")
    schema.add_field("f32", DataType.FLOAT, external_field="f32")
    schema.add_field("flag", DataType.BOOL, external_field="flag")
    schema.add_field("doc", DataType.JSON, external_field="doc")
    schema.add_field(
        "tags",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_capacity=5,
        max_length=20,
        external_field="tags",
    )
    schema.add_field("shape", DataType.GEOMETRY, external_field="shape")
    schema.add_field("time", DataType.TIMESTAMPTZ, external_field="time")
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIM, external_field="fixed")
    schema.add_field("raw", DataType.FLOAT_VECTOR, dim=DIM, external_field="bytes")
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=DIM, external_field="half")
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=16, external_field="bits")
    schema.add_field("small", DataType.INT8_VECTOR, dim=DIM, external_field="small")
    schema.add_field("maybe", DataType.INT64, external_field="maybe")
    client.create_collection("kinds", schema=schema)
    info = refreshed(client, "kinds")
    assert info.state == "RefreshCompleted", info.reason
    params = client.prepare_index_params()
    for name in ("vec", "raw", "half", "small"):
        params.add_index(name, index_type="AUTOINDEX", metric_type="L2")
    params.add_index("bits", index_type="BIN_FLAT", metric_type="HAMMING")
    client.create_index("kinds", params)
    client.load_collection("kinds")
    (row,) = client.query("kinds", "i8 == 5", output_fields=["*"])
    assert (row["f32"], row["flag"], row["doc"], list(row["tags"])) == (2.5, False, {"a": 5}, ["t5", "all"])
    assert (row["shape"], row["maybe"]) == ("POINT (5 1)", 5)
    assert str(row["time"]).startswith("2023-11-14T22:13:20.005")
    assert np.allclose(row["vec"], dense[5])
    assert np.allclose(row["raw"], dense[5])
    assert bytes(row["bits"][0]) == bits[5].tobytes()
    assert bytes(row["half"][0]) == halves[5].tobytes()
    for name, query in (("half", halves[7]), ("small", small[7])):
        (hits,) = client.search("kinds", [query], limit=1, anns_field=name, output_fields=["i8"])
        assert hits[0]["entity"]["i8"] == 7, name
    assert len(client.query("kinds", "maybe is null", output_fields=["i8"])) == 4
    assert len(client.query("kinds", 'json_contains(tags, "t3") or doc["a"] == 4', output_fields=["i8"])) == 2


def test_functions_are_computed_when_rows_come(
    client: MilvusClient, store: ObjectStore, server: S3Server
) -> None:
    words = ["red apple pie", "green apple", "blue sky", "red car"]
    put(store, "texts/a.parquet", 0, 4, title=pa.array(words))
    schema = MilvusClient.create_schema(external_source=uri(server, "texts/"), external_spec=spec())
    schema.add_field("id", DataType.INT64, external_field="ID")
    schema.add_field(
        "title",
        DataType.VARCHAR,
        max_length=50,
        external_field="title",
        enable_analyzer=True,
        enable_match=True,
    )
    schema.add_field("vec", DataType.FLOAT_VECTOR, dim=DIM, external_field="emb")
    schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(Function("bm25", FunctionType.BM25, ["title"], ["words"]))
    client.create_collection("texts", schema=schema)
    info = refreshed(client, "texts")
    assert info.state == "RefreshCompleted", info.reason
    params = client.prepare_index_params()
    params.add_index("vec", index_type="AUTOINDEX", metric_type="L2")
    params.add_index("words", index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_index("texts", params)
    client.load_collection("texts")
    (hits,) = client.search("texts", ["red apple"], limit=4, anns_field="words", output_fields=["id"])
    assert hits[0]["entity"]["id"] == 0
    assert {hit["entity"]["id"] for hit in hits} == {0, 1, 3}
    found = client.query("texts", 'text_match(title, "apple")', output_fields=["id"])
    assert sorted(row["id"] for row in found) == [0, 1]
