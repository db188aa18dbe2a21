"""The Python door, once on a lake in this process and once on a server of it: the same calls, the same answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.doors.milvus.local import LocalServers
from headwater.doors.remote import rows as sent_rows

DIM = 8
ROWS = 60
VECTORS = np.random.default_rng(7).normal(size=(ROWS, DIM)).astype(np.float32)
SCHEMA = {
    "id": hw.Int64,
    "year": hw.Int32,
    "title": hw.String,
    "tags": hw.Array(hw.String, 8),
    "extra": hw.JSON,
    "at": hw.Field("at", hw.TimestampTz, nullable=True),
    "v": hw.FloatVector(DIM),
    "w": hw.FloatVector(DIM),
}

_numbers = count()


@pytest.fixture(scope="module", params=["embedded", "remote"])
def db(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lake = tmp_path_factory.mktemp("door")
    if request.param == "embedded":
        with hw.connect(lake) as opened:
            yield opened
        return
    servers = LocalServers()
    with hw.connect(servers.address(lake)) as opened:
        yield opened
    servers.close()


@pytest.fixture
def name() -> str:
    return f"c{next(_numbers)}"


def rows(start: int = 0, stop: int = ROWS) -> list[dict[str, Any]]:
    return [
        {
            "id": key,
            "year": 2000 + key % 10,
            "title": f"title {key}",
            "tags": [f"t{key % 3}", "all"],
            "extra": {"n": key, "deep": {"even": key % 2 == 0}},
            "at": None if key % 5 == 0 else f"2024-01-{1 + key % 28:02d}T00:00:00Z",
            "v": VECTORS[key],
            "w": VECTORS[-key - 1],
        }
        for key in range(start, stop)
    ]


@pytest.fixture
def docs(db: Any, name: str) -> Any:
    made = db.create_collection(name, SCHEMA, "id", consistency_level="Strong")
    assert made.insert(rows()).count == ROWS
    return made


def nearest(query: Any, keys: Any = range(ROWS), field: str = "v", number: int = 5) -> list[int]:
    vectors = VECTORS if field == "v" else VECTORS[::-1]
    cosines = {
        key: float(query @ vectors[key] / np.linalg.norm(query) / np.linalg.norm(vectors[key]))
        for key in keys
    }
    return sorted(cosines, key=lambda key: -cosines[key])[:number]


# -- collections ------------------------------------------------------------------------------------------------------


def test_collections_come_and_go(db: Any, name: str) -> None:
    made = db.create_collection(name, {"id": hw.Int64, "v": hw.FloatVector(4)}, "id")
    assert name in db.list_collections()
    assert name in list(db)
    assert db.has_collection(name)
    assert made.schema.primary_key == "id"
    assert made.schema.field("v").type == hw.FloatVector(4)
    assert (made.num_rows, len(made)) == (0, 0)
    with pytest.raises(errors.AlreadyExists):
        db.create_collection(name, {"id": hw.Int64, "v": hw.FloatVector(4)}, "id")
    db.rename_collection(name, f"{name}_b")
    assert not db.has_collection(name)
    assert db.collection(f"{name}_b").num_rows == 0
    db.drop_collection(f"{name}_b")
    with pytest.raises(errors.CollectionNotFound):
        db.collection(f"{name}_b")
    with pytest.raises(errors.CollectionNotFound):
        db.drop_collection(f"{name}_b")


def test_a_schema_is_told_as_it_was_given(docs: Any) -> None:
    fields = {field.name: (str(field.type.data_type), field.nullable) for field in docs.schema.fields}
    assert fields == {
        "id": ("int64", False),
        "year": ("int32", False),
        "title": ("varchar", False),
        "tags": ("array", False),
        "extra": ("json", False),
        "at": ("timestamptz", True),
        "v": ("float_vector", False),
        "w": ("float_vector", False),
    }
    told = docs.describe()
    assert (told["num_rows"], told["primary_key"], told["external"]) == (ROWS, "id", False)
    assert [one["name"] for one in told["fields"]] == list(SCHEMA)


@pytest.mark.parametrize("bad", ["1a", "a-b", "", "a b"])
def test_names_are_checked(db: Any, bad: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        db.create_collection(bad, {"id": hw.Int64}, "id")


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(docs: Any) -> None:
    [row] = docs.get([7])
    expected = rows(7, 8)[0]
    assert row.pop("at").isoformat() == "2024-01-08T00:00:00+00:00"
    np.testing.assert_array_equal(row.pop("v"), expected.pop("v"))
    np.testing.assert_array_equal(row.pop("w"), expected.pop("w"))
    expected.pop("at")
    assert row == expected
    assert docs.get([5], output_fields=["at"]) == [{"at": None}]


def test_get_keeps_the_order_and_leaves_out_what_is_absent(docs: Any) -> None:
    found = docs.get([9, 1000, 3, 5], output_fields=["id", "title"])
    assert found == [{"id": key, "title": f"title {key}"} for key in (9, 3, 5)]
    assert docs.get(11, output_fields=["id"]) == [{"id": 11}]


def test_every_form_of_rows_is_taken(db: Any, name: str) -> None:
    made = db.create_collection(
        name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id", consistency_level="Strong"
    )
    made.insert({"id": [1, 2], "v": np.ones((2, 2), np.float32)})
    made.insert(pa.table({"id": [3], "v": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))}))
    written = made.insert([{"id": 4, "v": [3, 4]}])
    assert written.keys.to_pylist() == [4]
    assert written.timestamp > 0
    assert made.to_arrow(["id"]).column("id").to_pylist() == [1, 2, 3, 4]
    assert made.to_arrow().schema.names == ["id", "v"]


def test_rows_too_many_for_one_message_go_in_several(docs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_rows, "_MESSAGE_BYTES", 1000)
    more = [row | {"id": row["id"] + 1000} for row in rows()]
    written = docs.insert(more)
    assert written.count == ROWS
    assert written.keys.to_pylist() == [row["id"] for row in more]
    assert docs.count("id >= 1000") == ROWS


def test_upsert_replaces_and_merges(docs: Any) -> None:
    changed = rows(3, 4)[0] | {"title": "new"}
    assert docs.upsert([changed]).count == 1
    docs.upsert([{"id": 4, "year": 1999}], partial=True)
    assert docs.get([3, 4], output_fields=["title", "year"]) == [
        {"title": "new", "year": 2003},
        {"title": "title 4", "year": 1999},
    ]
    docs.upsert([{"id": 4, "tags": ["x"]}], partial=True, array_ops={"tags": "append"})
    assert docs.get([4], output_fields=["tags"]) == [{"tags": ["t1", "all", "x"]}]
    with pytest.raises(errors.InvalidArgument, match="array_ops"):
        docs.upsert([{"id": 4, "tags": ["x"]}], partial=True, array_ops={"tags": "shuffle"})
    assert docs.num_rows == ROWS


def test_delete_by_key_and_by_filter(docs: Any) -> None:
    assert docs.delete([1, 2, 999]).count == 3
    assert docs.delete(filter="year == {y}", filter_params={"y": 2005}).count == 6
    assert docs.num_rows == ROWS - 8
    assert docs.get([1, 5, 6], output_fields=["id"]) == [{"id": 6}]
    with pytest.raises(errors.InvalidArgument, match="either ids or filter"):
        docs.delete()


def test_keys_are_made(db: Any, name: str) -> None:
    made = db.create_collection(
        name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id", auto_id=True, consistency_level="Strong"
    )
    keys = made.insert([{"v": [1, 2]}, {"v": [3, 4]}]).keys.to_pylist()
    assert len(set(keys)) == 2
    assert [row["v"] for row in made.get(keys)] == [[1, 2], [3, 4]]
    with pytest.raises(errors.InvalidArgument, match="auto_id"):
        made.insert([{"id": 5, "v": [1, 2]}])


def test_keys_may_be_texts(db: Any, name: str) -> None:
    made = db.create_collection(
        name, {"id": hw.String, "v": hw.FloatVector(2)}, "id", consistency_level="Strong"
    )
    made.insert([{"id": key, "v": [1, 2]} for key in ('b"x', "a\\", "c", "ü")])
    assert [row["id"] for batch in made.query_iterator(batch_size=1) for row in batch] == [
        "a\\",
        'b"x',
        "c",
        "ü",
    ]
    made.delete(['b"x'])
    assert made.num_rows == 3


def test_dynamic_keys(db: Any, name: str) -> None:
    made = db.create_collection(
        name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id", dynamic=True, consistency_level="Strong"
    )
    made.insert([{"id": 1, "v": [1, 2], "color": "red", "n": 3}, {"id": 2, "v": [1, 2]}])
    assert made.query("color == 'red'", output_fields=["id", "color"]) == [{"id": 1, "color": "red"}]
    assert made.query("id == 1", output_fields=["$meta"]) == [{"$meta": {"color": "red", "n": 3}}]
    [hits] = made.search([[1, 2]], output_fields=["color"])
    assert {hit["id"]: hit["entity"] for hit in hits} == {1: {"color": "red"}, 2: {"color": None}}


def test_every_kind_of_vector(db: Any, name: str) -> None:
    schema = {
        "id": hw.Int64,
        "half": hw.Float16Vector(4),
        "brain": hw.BFloat16Vector(4),
        "byte": hw.Int8Vector(4),
        "bits": hw.BinaryVector(16),
        "sparse": hw.SparseFloatVector,
    }
    made = db.create_collection(name, schema, "id", consistency_level="Strong")
    made.insert(
        [
            {"id": 1, **{key: [1, 2, 3, 4] for key in ("half", "brain", "byte")}, "bits": [1, 2], "sparse": {1: 0.5}},
            {"id": 2, **{key: [4, 3, 2, 1] for key in ("half", "brain", "byte")}, "bits": [255, 2], "sparse": {9: 1.5}},
        ]
    )  # fmt: skip
    for field, query, best in (
        ("half", [[4, 3, 2, 1]], 2),
        ("brain", [[1, 2, 3, 4]], 1),
        ("byte", [[4, 3, 2, 1]], 2),
        ("bits", np.array([[255, 3]], np.uint8), 2),
        ("sparse", [{9: 1.0}], 2),
    ):
        [hits] = made.search(query, anns_field=field, top_k=1)
        assert hits[0]["id"] == best, field
    [row] = made.query("id == 2")
    assert [float(one) for one in row["half"]] == [4, 3, 2, 1]
    assert [float(one) for one in row["brain"]] == [4, 3, 2, 1]
    assert list(row["byte"]) == [4, 3, 2, 1]


def test_geometries_and_nulls(db: Any, name: str) -> None:
    schema = {
        "id": hw.Int64,
        "g": hw.Field("g", hw.Geometry, nullable=True),
        "n": hw.Field("n", hw.Double, nullable=True),
        "v": hw.Field("v", hw.FloatVector(2), nullable=True),
    }
    made = db.create_collection(name, schema, "id", consistency_level="Strong")
    made.insert([{"id": 1, "g": "POINT (1 2)", "n": 0.5, "v": [1, 2]}, {"id": 2}])
    found = made.query(order_by="id", limit=10)
    assert found == [
        {"id": 1, "g": "POINT (1 2)", "n": 0.5, "v": [1, 2]},
        {"id": 2, "g": None, "n": None, "v": None},
    ]
    metadata = found.to_arrow().schema.field("g").metadata
    assert metadata[b"ARROW:extension:name"] == b"geoarrow.wkb"


def test_times_without_an_offset_are_the_collections(db: Any, name: str) -> None:
    schema = {"id": hw.Int64, "at": hw.TimestampTz, "v": hw.FloatVector(2)}
    properties = {"timezone": "Asia/Tokyo"}
    made = db.create_collection(name, schema, "id", properties=properties, consistency_level="Strong")
    made.insert(
        [
            {"id": 1, "at": "2024-01-01T09:00:00", "v": [1, 2]},
            {"id": 2, "at": "2024-01-01T09:00:00Z", "v": [1, 2]},
        ]
    )
    found = made.to_arrow(["id", "at"]).sort_by("id").column("at")
    assert found.cast(pa.int64()).to_pylist() == [1704067200000000, 1704099600000000]
    assert made.query("at < ISO '2024-01-01T10:00:00'", output_fields=["id"]) == [{"id": 1}]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1},
        {"id": "x", "v": [1, 2]},
        {"id": 1, "v": [1, 2, 3]},
        {"id": 1, "v": [1, 2], "unknown": 3},
        {"id": None, "v": [1, 2]},
    ],
)
def test_rows_that_do_not_fit_are_refused_whole(db: Any, name: str, row: dict[str, Any]) -> None:
    made = db.create_collection(
        name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id", consistency_level="Strong"
    )
    with pytest.raises(errors.SchemaMismatch):
        made.insert([{"id": 0, "v": [1, 2]}, row])
    assert made.num_rows == 0


# -- searches ---------------------------------------------------------------------------------------------------------


def test_a_search_finds_the_nearest(docs: Any) -> None:
    queries = VECTORS[:3] + 0.1
    found = docs.search(queries, anns_field="v", top_k=5, output_fields=["title", "year"])
    assert [[hit["id"] for hit in hits] for hits in found] == [nearest(query) for query in queries]
    first = found[0][0]
    assert first["entity"] == {"title": f"title {first['id']}", "year": 2000 + first["id"] % 10}
    table = found.to_arrow()
    assert table.column_names == ["query", "id", "distance", "title", "year"]
    assert table.num_rows == 15
    assert found.info.elapsed_s > 0


def test_a_search_within_a_filter(docs: Any) -> None:
    query = VECTORS[0] + 0.1
    allowed = [key for key in range(ROWS) if key % 10 >= 8 and key % 3 == 0]
    found = docs.search(
        [query],
        anns_field="v",
        top_k=5,
        filter="year >= {least} and array_contains(tags, 't0')",
        filter_params={"least": 2008},
    )
    assert [hit["id"] for hit in found[0]] == nearest(query, allowed)


def test_pages_and_ranges(docs: Any) -> None:
    query = VECTORS[1]
    page = docs.search([query], anns_field="v", top_k=4, offset=3)
    assert [hit["id"] for hit in page[0]] == nearest(query, number=7)[3:]
    near = docs.search([query], anns_field="v", top_k=50, params={"radius": 0.5, "range_filter": 1.1})
    assert near[0]
    assert all(0.5 < hit["distance"] <= 1.1 for hit in near[0])


def test_groups(docs: Any) -> None:
    [hits] = docs.search(
        [VECTORS[2]], anns_field="v", top_k=10, group_by_field="year", output_fields=["year"]
    )
    assert sorted(hit["entity"]["year"] for hit in hits) == list(range(2000, 2010))


def test_order_and_search_by_key(docs: Any) -> None:
    [hits] = docs.search(
        [VECTORS[2]], anns_field="v", top_k=10, order_by_fields="year:desc", output_fields=["year"]
    )
    years = [hit["entity"]["year"] for hit in hits]
    assert years == sorted(years, reverse=True)
    [by_key] = docs.search(ids=[4], anns_field="v", top_k=3)
    assert [hit["id"] for hit in by_key] == nearest(VECTORS[4], number=3)


def test_hybrid_search(docs: Any) -> None:
    query = VECTORS[3]
    legs = [hw.AnnSearchRequest([query], field, limit=10) for field in ("v", "w")]
    [fused] = docs.hybrid_search(legs, hw.RRFRanker(30), limit=5, output_fields=["title"])
    scores: dict[int, float] = {}
    for field in ("v", "w"):
        for place, key in enumerate(nearest(query, field=field, number=10), 1):
            scores[key] = scores.get(key, 0) + 1 / (30 + place)
    assert [hit["distance"] for hit in fused] == pytest.approx(
        sorted(scores.values(), reverse=True)[:5], abs=1e-6
    )
    [weighted] = docs.hybrid_search(legs, hw.WeightedRanker(1.0, 0.0), limit=3)
    assert [hit["id"] for hit in weighted] == nearest(query, number=3)
    ranker = hw.RerankFunction("d", params={"reranker": "rrf", "k": 30})
    [declared] = docs.hybrid_search(legs, ranker, limit=5)
    assert [hit["distance"] for hit in declared] == pytest.approx([hit["distance"] for hit in fused])


def test_texts_are_searched(db: Any, name: str) -> None:
    bm25 = hw.Function("f", hw.FunctionType.BM25, ["text"], ["sparse"])
    schema = {"id": hw.Int64, "text": hw.VarChar(1000, analyzer="standard"), "sparse": hw.SparseFloatVector}
    made = db.create_collection(name, schema, "id", functions=[bm25], consistency_level="Strong")
    made.insert(
        [
            {"id": 1, "text": "a red fox"},
            {"id": 2, "text": "a lazy dog"},
            {"id": 3, "text": "foxes and a dog"},
        ]
    )
    [hits] = made.search(["lazy dog"], anns_field="sparse", top_k=2)
    assert [hit["id"] for hit in hits] == [2, 3]
    assert made.query("text_match(text, 'fox')", output_fields=["id"]) == [{"id": 1}]
    assert db.run_analyzer("The red fox", {"tokenizer": "standard"}) == ["The", "red", "fox"]


# -- queries ----------------------------------------------------------------------------------------------------------


def test_queries(docs: Any) -> None:
    found = docs.query("year == 2003 and extra['deep']['even'] == false", output_fields=["id", "extra"])
    assert sorted(row["id"] for row in found) == [3, 13, 23, 33, 43, 53]
    assert found[0]["extra"]["deep"] == {"even": False}
    page = docs.query("id >= 0", order_by="-id", limit=3, offset=2, output_fields=["id"])
    assert page == [{"id": key} for key in (57, 56, 55)]
    assert len(docs.query()) == ROWS
    assert docs.query("id < 0") == []
    assert docs.count("year in [2001, 2002]") == 12
    assert docs.count() == ROWS


def test_aggregates(docs: Any) -> None:
    found = docs.query(
        "id < 20", output_fields=["year", "count(*)", "max(id)"], group_by_fields=["year"], limit=100
    )
    assert {row["year"]: (row["count(*)"], row["max(id)"]) for row in found} == {
        2000 + key: (2, key + 10) for key in range(10)
    }


def test_scans(docs: Any) -> None:
    table = docs.to_arrow(["id", "year"], "id < 10")
    assert table.sort_by("id").to_pydict() == {
        "id": list(range(10)),
        "year": [2000 + key for key in range(10)],
    }
    assert sum(batch.num_rows for batch in docs.scan(["id"])) == ROWS
    assert docs.to_pandas(["id"]).shape == (ROWS, 1)


def test_iterators(docs: Any) -> None:
    batches = list(docs.query_iterator("id >= 5", batch_size=7, output_fields=["id"]))
    assert [len(batch) for batch in batches] == [7] * 7 + [6]
    assert [row["id"] for batch in batches for row in batch] == list(range(5, ROWS))
    few = list(docs.query_iterator(batch_size=7, limit=10, output_fields=["id"]))
    assert [len(batch) for batch in few] == [7, 3]
    found = docs.search_iterator([VECTORS[0]], anns_field="v", batch_size=13, output_fields=["year"])
    hits = [hit for batch in found for hit in batch]
    assert [hit["id"] for hit in hits] == nearest(VECTORS[0], number=ROWS)
    assert hits[0]["entity"] == {"year": 2000}
    some = docs.search_iterator([VECTORS[0]], anns_field="v", batch_size=20, limit=33)
    assert sum(len(batch) for batch in some) == 33


def test_an_iterator_sees_one_state(docs: Any) -> None:
    iterator = docs.query_iterator(batch_size=20, output_fields=["id"])
    seen = [row["id"] for row in next(iterator)]
    docs.delete(filter="id >= 30")
    seen += [row["id"] for batch in iterator for row in batch]
    assert seen == list(range(ROWS))


# -- indexes, partitions, names ---------------------------------------------------------------------------------------


def test_indexes(docs: Any) -> None:
    report = docs.create_index("v", "HNSW", metric_type="COSINE", params={"M": 8, "efConstruction": 64})
    assert report.index == "v"
    [hits] = docs.search([VECTORS[0]], anns_field="v", top_k=5, params={"ef": 64})
    assert [hit["id"] for hit in hits] == nearest(VECTORS[0])
    docs.create_index("v", "FLAT", metric_type="L2")
    [hits] = docs.search([VECTORS[0]], anns_field="v", top_k=1)
    assert (hits[0]["id"], hits[0]["distance"]) == (0, pytest.approx(0, abs=1e-5))
    docs.create_index("year", "INVERTED")
    assert {(one["field"], one["kind"].upper()) for one in docs.describe()["indexes"]} == {
        ("v", "FLAT"),
        ("year", "INVERTED"),
    }
    assert docs.count("year == 2001") == 6
    docs.drop_index("v")
    with pytest.raises(errors.IndexNotFound):
        docs.drop_index("v")


def test_partitions(docs: Any) -> None:
    docs.create_partition("old")
    docs.insert([row | {"id": 100 + row["id"]} for row in rows(0, 3)], partition="old")
    assert docs.partitions == ["_default", "old"]
    assert docs.count(partitions=["old"]) == 3
    assert docs.num_rows == ROWS + 3
    [hits] = docs.search([VECTORS[0]], anns_field="v", partitions=["old"])
    assert sorted(hit["id"] for hit in hits) == [100, 101, 102]
    with pytest.raises(errors.AlreadyExists):
        docs.create_partition("old")
    docs.drop_partition("old")
    assert docs.partitions == ["_default"]
    assert docs.num_rows == ROWS
    with pytest.raises(errors.PartitionNotFound):
        docs.count(partitions=["old"])


def test_a_partition_key_spreads_rows(db: Any, name: str) -> None:
    schema = {"id": hw.Int64, "tenant": hw.String, "v": hw.FloatVector(2)}
    made = db.create_collection(
        name, schema, "id", partition_key="tenant", num_partitions=4, consistency_level="Strong"
    )
    made.insert([{"id": key, "tenant": f"t{key % 5}", "v": [1, 2]} for key in range(20)])
    assert made.schema.partition_key == "tenant"
    assert made.count("tenant == 't3'") == 4


def test_aliases(db: Any, docs: Any, name: str) -> None:
    db.create_alias(f"a_{name}", name)
    assert db.list_aliases(name) == {f"a_{name}": name}
    assert db.collection(f"a_{name}").num_rows == ROWS
    other = db.create_collection(f"{name}_2", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    db.alter_alias(f"a_{name}", f"{name}_2")
    assert db.collection(f"a_{name}").num_rows == other.num_rows == 0
    db.drop_alias(f"a_{name}")
    assert not db.has_collection(f"a_{name}")
    with pytest.raises(errors.AliasNotFound):
        db.drop_alias(f"a_{name}")


def test_databases(db: Any, name: str) -> None:
    other = db.create_database(f"d_{name}")
    other.create_collection("inside", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    assert {"default", f"d_{name}"} <= set(db.list_databases())
    assert db.database(f"d_{name}").list_collections() == ["inside"]
    assert not db.has_collection("inside")
    with pytest.raises(errors.AlreadyExists):
        db.create_database(f"d_{name}")
    with pytest.raises(errors.InvalidArgument, match="holds inside"):
        db.drop_database(f"d_{name}")
    other.drop_collection("inside")
    db.drop_database(f"d_{name}")
    with pytest.raises(errors.DatabaseNotFound):
        db.database(f"d_{name}")


def test_snapshots(db: Any, docs: Any, name: str) -> None:
    docs.flush()
    made = db.snapshots.create(name, "s1", "before")
    assert (made.name, made.description, made.collection) == ("s1", "before", name)
    docs.delete([0, 1])
    assert db.snapshots.list(name) == ["s1"]
    job = db.snapshots.restore(name, "s1", f"{name}_then")
    done = db.jobs.wait(job.id)
    assert (str(done.state), done.progress, done.collection) == ("completed", 100, f"{name}_then"), (
        done.reason
    )
    assert job.id in [record.id for record in db.jobs.list("restore")]
    assert db.collection(f"{name}_then").count(consistency_level="Strong") == ROWS
    with pytest.raises(errors.AlreadyExists):
        db.snapshots.restore(name, "s1", f"{name}_then")
    with pytest.raises(errors.JobNotFound):
        db.jobs.get(5)
    pin = db.snapshots.pin(name, "s1", 60)
    with pytest.raises(errors.SnapshotPinned):
        db.snapshots.drop(name, "s1")
    db.snapshots.unpin(pin)
    with pytest.raises(errors.SnapshotNotFound):
        db.snapshots.describe(name, "s2")
    assert db.snapshots.drop(name, "s1")
    assert db.snapshots.list(name) == []


def test_fields_and_properties_change(docs: Any) -> None:
    docs.add_column("score", type=hw.Double)
    docs.upsert([{"id": 1, "score": 0.5}], partial=True)
    assert docs.get([1, 2], output_fields=["score"]) == [{"score": 0.5}, {"score": None}]
    docs.set_properties({"mmap.enabled": "true"})
    assert docs.properties["mmap.enabled"] == "true"
    docs.set_properties({"mmap.enabled": None})
    assert "mmap.enabled" not in docs.properties
    docs.truncate()
    assert docs.num_rows == 0


def test_an_empty_collection_is_one_nevertheless(db: Any, name: str) -> None:
    made = db.create_collection(name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    assert made
    assert len(made) == 0
    assert f"<collection {name!r}" in repr(made)


def test_calls_on_named_collections(db: Any, name: str) -> None:
    db.create_collection(name, {"id": hw.Int64, "v": hw.FloatVector(2)}, "id", consistency_level="Strong")
    db.insert(name, [{"id": 1, "v": [1, 2]}, {"id": 2, "v": [2, 1]}])
    db.upsert(name, [{"id": 2, "v": [3, 1]}])
    assert db.get(name, [2]) == [{"id": 2, "v": [3, 1]}]
    assert db.search(name, [[1, 2]], top_k=1)[0][0]["id"] == 1
    assert db.query(name, "id == 1", output_fields=["id"]) == [{"id": 1}]
    db.delete(name, [1])
    assert db.count(name) == 1
    assert db.count(name, "id == {key}", filter_params={"key": 2}) == 1


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda docs: docs.query("id =="), errors.FilterSyntax),
        (lambda docs: docs.query("nope == 1"), errors.InvalidArgument),
        (lambda docs: docs.search([[1, 2]], anns_field="v"), errors.DimensionMismatch),
        (lambda docs: docs.search([VECTORS[0]]), errors.InvalidArgument),
        (lambda docs: docs.search([VECTORS[0]], anns_field="nope"), errors.FieldNotFound),
        (lambda docs: docs.search([VECTORS[0]], anns_field="v", top_k=0), errors.InvalidArgument),
        (lambda docs: docs.search([VECTORS[0]], anns_field="v", nonsense=1), errors.UnsupportedOption),
        (lambda docs: docs.query(nonsense=1), TypeError),
        (lambda docs: docs.query(partitions=["nope"]), errors.PartitionNotFound),
        (lambda docs: docs.insert(rows(0, 1), partition="nope"), errors.PartitionNotFound),
        (lambda docs: docs.drop_partition("nope"), errors.PartitionNotFound),
        (lambda docs: docs.create_index("nope"), errors.FieldNotFound),
        (lambda docs: docs.create_index("v", "NOPE"), errors.InvalidArgument),
        (lambda docs: docs.drop_index("w"), errors.IndexNotFound),
        (lambda docs: docs.query_iterator(batch_size=0), errors.InvalidArgument),
        (lambda docs: docs.no_such_method, AttributeError),
        (lambda docs: docs.search([VECTORS[0]], anns_field="v", filter=5), errors.InvalidArgument),
        (lambda docs: docs.count({"id": 5}), errors.InvalidArgument),
        (lambda docs: docs.query(output_fields="id"), errors.InvalidArgument),
    ],
)  # fmt: skip
def test_errors_are_of_the_same_classes(docs: Any, call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(docs)


def test_templates_of_filters_have_values_in_every_read(docs: Any) -> None:
    given = {"filter_params": {"keys": [1, 3, 10_000]}}
    assert docs.count("id in {keys}", **given) == 2
    assert docs.to_arrow(["id"], "id in {keys}", **given)["id"].to_pylist() == [1, 3]
    assert sum(batch.num_rows for batch in docs.scan(["id"], "id in {keys}", **given)) == 2
    assert docs.to_pandas(["id"], "id in {keys}", **given).shape == (2, 1)


def test_keys_of_which_none_is_there_are_no_rows(docs: Any) -> None:
    assert list(docs.get([10_000])) == []
    assert [row["id"] for row in docs.get([10_000, 3], output_fields=["id"])] == [3]


def test_what_a_server_cannot_be_asked_is_refused_by_name(db: Any, docs: Any) -> None:
    if isinstance(db, hw.Database):
        assert docs.history()
        return
    for name in ("history", "at", "tag", "gc", "changes", "verify", "health", "optimize"):
        with pytest.raises(
            errors.UnsupportedOption, match=rf"Collection\.{name} cannot be asked of a server"
        ):
            getattr(docs, name)
    for name in ("register_embedder", "create_external_collection", "imports"):
        with pytest.raises(errors.UnsupportedOption, match=rf"Database\.{name} cannot"):
            getattr(db, name)
    with pytest.raises(errors.UnsupportedOption, match="version="):
        docs.query(version=1)
    with pytest.raises(errors.UnsupportedOption, match="without a primary key"):
        db.create_collection("nokey", {"v": hw.FloatVector(2)})
    assert math.isnan(docs.search([VECTORS[0]], anns_field="v").info.age_s)
    with pytest.raises(errors.InvalidArgument, match="token= is for a server"):
        hw.connect("memory://x", token="a:b")


def test_a_connection_that_is_closed_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    servers = LocalServers()
    with hw.connect(servers.address(tmp_path_factory.mktemp("closed"))) as opened:
        made = opened.create_collection("notes", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    for call in (made.count, opened.list_collections):
        with pytest.raises(errors.InvalidArgument, match=r"the connection to unix:.* is closed"):
            call()
    assert "is closed" in repr(made)
    servers.close()


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(errors.Unavailable):
        hw.connect("http://127.0.0.1:1")
    with pytest.raises(errors.InvalidArgument, match="http://host:port"):
        hw.connect("http://host/path")
