"""Collections that change after they were made: fields, functions and properties."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import (
    AlreadyExists,
    FieldNotFound,
    InvalidArgument,
    SchemaMismatch,
    UnsupportedOption,
)
from headwater.settings import MaintenanceSettings

BY_HAND = hw.Settings(maintenance=MaintenanceSettings(automatic=False))


def _docs(db: hw.Database, **options: Any) -> hw.Collection:
    fields = {"id": hw.Int64, "v": hw.FloatVector(4), "tag": hw.VarChar(16), "n": hw.Int64}
    return db.create_collection("docs", fields, "id", **options)


def _rows(start: int, stop: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": i, "v": [float(i)] * 4, "tag": f"t{i % 3}", "n": i, **more} for i in range(start, stop)]


@pytest.mark.parametrize("flushed", [False, True], ids=["in the log", "in a segment"])
def test_rows_from_before_a_field_read_as_its_default_or_null(tmp_path: Path, flushed: bool) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.insert(_rows(0, 10))
    if flushed:
        docs.flush()
    docs.add_field(hw.Field("score", hw.Int64, default=7))
    docs.add_field(hw.Field("note", hw.VarChar(20), nullable=True))
    docs.add_field(hw.Field("v2", hw.FloatVector(2), nullable=True))
    docs.insert(_rows(10, 12, score=1, note="new", v2=[1.0, 2.0]))
    docs.insert(_rows(12, 13))
    for sealed in (False, True):
        if sealed:
            docs.optimize()
        assert docs.count("score == 7") == 11
        assert docs.count("note is null") == 11
        assert docs.count('note == "new"') == 2
        [hits] = docs.search([[1.0, 2.0]], anns_field="v2", top_k=20, params={"metric_type": "L2"})
        assert {hit["id"] for hit in hits} == {10, 11}
        [row] = docs.get([3], output_fields=["score", "note"]).to_arrow().to_pylist()
        assert (row["score"], row["note"]) == (7, None)


def test_a_field_that_rows_could_not_do_without_is_refused(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    with pytest.raises(InvalidArgument, match="must be nullable or have a default"):
        docs.add_field(hw.Field("x", hw.Int64))
    with pytest.raises(AlreadyExists, match="'tag' exists"):
        docs.add_field(hw.Field("tag", hw.Int64, nullable=True))
    with pytest.raises(InvalidArgument, match="default of"):
        docs.add_field(hw.Field("x", hw.Int64, default="word"))
    assert docs.schema.names == ("id", "v", "tag", "n")


def test_another_process_sees_the_new_field_at_once(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    other = hw.connect(tmp_path).collection("docs")
    other.insert(_rows(0, 3))
    docs.add_field(hw.Field("score", hw.Int64, nullable=True))
    other.insert(_rows(3, 5, score=2))
    assert docs.count("score == 2") == 2
    assert other.count("score is null") == 3


def test_a_new_limit_holds_for_new_rows_only(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    docs = db.create_collection(
        "docs", {"id": hw.Int64, "tag": hw.VarChar(8), "list": hw.Array(hw.Int64, 4)}, "id"
    )
    docs.insert([{"id": 1, "tag": "a" * 8, "list": [1, 2, 3, 4]}])
    before = docs.schema.version
    docs.alter_field("tag", max_length=4, description="short", params={"mmap.enabled": "True"})
    docs.alter_field("list", max_capacity=2)
    assert docs.schema.version == before + 2
    field = docs.schema.field("tag")
    assert (field.type.max_length, field.description, field.params) == (
        4,
        "short",
        (("mmap.enabled", "True"),),
    )
    with pytest.raises(SchemaMismatch, match="at most 4 bytes"):
        docs.insert([{"id": 2, "tag": "aaaaa", "list": []}])
    with pytest.raises(SchemaMismatch, match="at most 2 elements"):
        docs.insert([{"id": 2, "tag": "a", "list": [1, 2, 3]}])
    assert docs.get([1]).to_arrow().to_pylist()[0]["tag"] == "a" * 8
    docs.alter_field("tag", params={"mmap.enabled": None})
    assert docs.schema.field("tag").params == ()
    version = docs.version
    docs.alter_field("tag", max_length=4)
    assert docs.version == version
    with pytest.raises(InvalidArgument, match="has no max_length"):
        docs.alter_field("id", max_length=4)
    with pytest.raises(InvalidArgument, match="has no max_capacity"):
        docs.alter_field("tag", max_capacity=4)
    with pytest.raises(FieldNotFound):
        docs.alter_field("nothing", max_length=4)


def test_a_dropped_field_takes_its_indexes_along_and_its_name_is_free(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.insert(_rows(0, 50))
    docs.create_index("tag", "INVERTED")
    docs.drop_field("tag")
    assert docs.schema.names == ("id", "v", "n")
    assert docs.describe()["indexes"] == []
    docs.insert([{"id": 50, "v": [0.0] * 4, "n": 1}])
    docs.add_field(hw.Field("tag", hw.Int64, nullable=True))
    assert docs.count("tag is null") == 51
    docs.upsert([{"id": 50, "v": [0.0] * 4, "n": 1, "tag": 5}])
    assert docs.count("tag == 5") == 1


def test_what_something_needs_is_not_dropped(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    schema = hw.Schema.of(
        {
            "id": hw.Int64,
            "part": hw.VarChar(9),
            "language": hw.VarChar(9),
            "text": hw.VarChar(99, {"by_field": "language", "analyzers": {"default": {"type": "standard"}}}),
            "sparse": hw.SparseFloatVector,
            "until": hw.TimestampTz,
        },
        primary_key="id",
        dynamic=True,
        functions=[hw.Function("bm25", "BM25", "text", "sparse")],
    )
    docs = db.create_collection(
        "docs", schema, partition_key="part", properties={"clustering_key": "language"}
    )
    docs.set_ttl(field="until")
    for name, words in {
        "id": "cannot drop primary key field: id",
        "part": "cannot drop partition key field: part",
        "language": "cannot drop clustering key field: language",
        "until": "it is referenced by collection property ttl_field, drop the property first",
        "text": "referenced by function bm25 as input",
        "sparse": "referenced by function bm25 as output",
        "$meta": "cannot drop dynamic field directly",
    }.items():
        with pytest.raises(InvalidArgument, match=words.replace("$", "\\$")):
            docs.drop_field(name)
    docs.set_properties({"clustering_key": None})
    with pytest.raises(InvalidArgument, match="analyzers of field text are chosen by it"):
        docs.drop_field("language")
    with pytest.raises(InvalidArgument, match="cannot drop function bm25: it would leave no vector"):
        docs.drop_function_field("bm25")
    docs.add_field(hw.Field("v", hw.FloatVector(2), nullable=True))
    docs.drop_function_field("bm25")
    assert "sparse" not in docs.schema.names
    with pytest.raises(InvalidArgument, match="cannot drop the last vector field: v"):
        docs.drop_field("v")


def test_a_function_goes_with_the_field_that_it_fills(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    docs = db.create_collection(
        "docs", {"id": hw.Int64, "text": hw.VarChar(99), "v": hw.FloatVector(2)}, "id"
    )
    docs.insert([{"id": i, "text": f"some words {i}", "v": [1.0, 2.0]} for i in range(5)])
    docs.add_function(hw.Function("hash", "MINHASH", "text", "sig"), hw.BinaryVector(256))
    docs.create_index("sig", "MINHASH_LSH")
    docs.drop_function_field("hash")
    assert docs.schema.names == ("id", "text", "v")
    assert docs.schema.functions == ()
    assert docs.describe()["indexes"] == []


def test_dynamic_fields_are_kept_from_when_on_and_gone_from_when_off(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.insert(_rows(0, 2))
    with pytest.raises(SchemaMismatch, match="unknown field"):
        docs.insert(_rows(2, 3, color="red"))
    docs.set_dynamic(True)
    docs.set_dynamic(True)
    docs.insert(_rows(2, 4, color="red"))
    assert docs.count('color == "red"') == 2
    docs.set_dynamic(False)
    with pytest.raises(SchemaMismatch, match="unknown field"):
        docs.insert(_rows(4, 5, color="red"))
    docs.set_dynamic(True)
    assert docs.count('color == "red"') == 0
    docs.insert(_rows(4, 5, color="red"))
    assert docs.count('color == "red"') == 1
    assert docs.count() == 5


# -- properties -----------------------------------------------------------------------------------------------------


def test_properties_are_checked_kept_and_removed(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.set_properties({"owner": "me", "timezone": "Asia/Shanghai", "consistency_level": "strong"})
    kept = hw.connect(tmp_path).collection("docs").properties
    assert kept == {"owner": "me", "timezone": "Asia/Shanghai", "consistency_level": "Strong"}
    docs.set_properties({"owner": None, "timezone": None, "nothing": None})
    assert docs.properties == {"consistency_level": "Strong"}
    for name, value, words in (
        ("timezone", "Mars/Olympus", "invalid IANA Time Zone ID: Mars/Olympus"),
        ("partitionkey.isolation", "maybe", "expected: true, false"),
        ("partitionkey.isolation", "true", "no partition key field is set"),
        ("allow_insert_auto_id", "true", "must be false when autoID is false"),
        ("consistency_level", "weak", "expected one of"),
    ):
        with pytest.raises(InvalidArgument, match=words):
            docs.set_properties({name: value})
    for name in ("ttl_seconds", "_load", "headwater.collection_id", "time_zone", "partitionkey.isolated"):
        with pytest.raises(UnsupportedOption):
            docs.set_properties({name: "x"})


def test_the_lake_acts_upon_a_time_zone_that_is_set_later(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    docs = db.create_collection("docs", {"id": hw.Int64, "at": hw.TimestampTz}, "id")
    docs.set_properties({"timezone": "Asia/Shanghai"})
    docs.insert([{"id": 1, "at": "2025-01-01T08:00:00"}])
    [row] = docs.get([1]).to_arrow().to_pylist()
    assert row["at"] == datetime(2025, 1, 1, tzinfo=UTC)


def test_rows_may_bring_keys_that_the_lake_would_make_where_that_is_allowed(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    docs = db.create_collection("docs", {"id": hw.Int64, "n": hw.Int64}, "id", auto_id=True)
    made = docs.insert([{"n": i} for i in range(100)]).keys
    with pytest.raises(InvalidArgument, match="filled in by the lake"):
        docs.insert([{"id": 5, "n": 5}])
    docs.set_properties({"allow_insert_auto_id": "True"})
    assert docs.insert([{"id": i, "n": i} for i in range(100)]).keys.to_pylist() == list(range(100))
    assert not set(made.to_pylist()) & set(range(100))
    more = docs.insert([{"n": 1}]).keys.to_pylist()
    assert docs.count() == 201
    assert len(set(made.to_pylist()) | set(range(100)) | set(more)) == 201
    docs.set_properties({"allow_insert_auto_id": None})
    with pytest.raises(InvalidArgument, match="filled in by the lake"):
        docs.insert([{"id": 500, "n": 5}])


def test_automatic_compaction_stops_where_it_is_switched_off(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path, settings=BY_HAND))
    for start in range(0, 200, 10):
        docs.insert(_rows(start, start + 10))
        docs.flush()
    docs.set_properties({"collection.autocompaction.enabled": "false"})
    before = docs.health()["segments"]
    assert docs._tend() is False
    assert docs.health()["segments"] == before
    docs.set_properties({"collection.autocompaction.enabled": "true"})
    assert docs._tend() is True
    assert docs.count() == 200


@pytest.mark.parametrize(
    ("filter", "words"),
    [
        ("", "partition key not found"),
        ("n > 1", "partition key not found"),
        ("key == other", "partition key not found"),
        ("key != 10", "does not support NotEqual"),
        ("key in [10]", "does not support IN"),
        ("key > 10", "does not support GreaterThan"),
        ("1 < key < 10", "does not support LessThan"),
        ("key == 10 or n > 1", "does not support OR"),
        ("not (key == 10)", "does not support NOT"),
        ("n > 1 and key in [1, 2]", "does not support IN"),
    ],
)
def test_an_isolated_collection_is_searched_one_key_at_a_time(
    tmp_path: Path, filter: str, words: str
) -> None:
    docs = _isolated(tmp_path)
    with pytest.raises(InvalidArgument, match=words):
        docs.search([[0.0, 0.0]], filter=filter)


@pytest.mark.parametrize(
    "filter", ["key == 10", "10 == key", "key == (9 + 1)", "(n > 1 or n <= 1) and key == 10", "key == {k}"]
)
def test_a_filter_of_one_key_is_taken(tmp_path: Path, filter: str) -> None:
    docs = _isolated(tmp_path)
    docs.insert([{"id": i, "key": i % 20, "other": 0, "n": i, "v": [float(i), 0.0]} for i in range(100)])
    params = {"k": 10} if "{" in filter else None
    [hits] = docs.search([[0.0, 0.0]], filter=filter, filter_params=params, params={"metric_type": "L2"})
    assert [hit["id"] for hit in hits] == [10, 30, 50, 70, 90]


def _isolated(tmp_path: Path) -> hw.Collection:
    db = hw.connect(tmp_path)
    fields = {"id": hw.Int64, "key": hw.Int64, "other": hw.Int64, "n": hw.Int64, "v": hw.FloatVector(2)}
    properties = {"partitionkey.isolation": "true"}
    return db.create_collection("docs", fields, "id", partition_key="key", properties=properties)


def _signed(docs: hw.Collection) -> int:
    return sum(row["signature"] is not None for row in docs.query("id >= 0", output_fields=["signature"]))


def test_upkeep_goes_on_where_adding_a_function_was_cut_short(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path, settings=BY_HAND))
    for start in (0, 10, 20):
        docs.insert(_rows(start, start + 10))
        docs.flush()
    minhash = hw.Function("minhash", "MINHASH", "tag", "signature", {"num_hashes": 16, "shingle_size": 2})

    def cut(done: int, total: int) -> None:
        if done > 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.add_function(minhash, hw.BinaryVector(512), progress=cut)
    assert _signed(docs) == 10
    assert docs._tend() is True
    assert _signed(docs) == 30
    while docs._tend():
        pass
    assert _signed(docs) == 30


def test_a_struct_array_comes_and_goes(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.insert(_rows(0, 3))
    kind = hw.StructArray({"name": hw.VarChar(9), "w": hw.FloatVector(2)}, 4)
    docs.add_field(hw.Field("parts", kind, nullable=True))
    docs.insert(_rows(3, 4, parts=[{"name": "a", "w": np.ones(2, np.float32)}]))
    assert docs.count("parts is null") == 3
    assert docs.count('array_contains(parts[name], "a")') == 1
    docs.drop_field("parts")
    assert docs.count() == 4


def test_a_renamed_field_goes_on_saying_how_long_rows_live(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.add_field(hw.Field("until", hw.TimestampTz, nullable=True))
    docs.set_ttl(field="until")
    docs.insert(_rows(0, 2, until="2001-01-01T00:00:00Z"))
    docs.rename_column("until", "end")
    docs.insert(_rows(2, 4, end="2001-01-01T00:00:00Z"))
    docs.insert(_rows(4, 5))
    assert docs.count() == 1
    with pytest.raises(InvalidArgument, match="end"):
        docs.drop_field("end")


def test_rows_expire_under_a_reader_that_looks_again(tmp_path: Path) -> None:
    docs = _docs(hw.connect(tmp_path))
    docs.insert(_rows(0, 3))
    docs.set_ttl(1)
    assert docs.count() == 3
    deadline = time.monotonic() + 60
    while docs.count() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert docs.count() == docs.num_rows == 0
    assert docs.count("id >= 0") == 0
