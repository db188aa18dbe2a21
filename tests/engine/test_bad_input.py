"""Input that is wrong is refused whole, by an error that names the row, the field, what was expected and what came."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import (
    AlreadyExists,
    CollectionNotFound,
    DimensionMismatch,
    FieldNotFound,
    FilterSyntax,
    InvalidArgument,
    ObjectNotFound,
    SchemaMismatch,
    TagNotFound,
    UnsupportedOption,
    VersionNotFound,
)


@pytest.fixture
def notes(db: hw.Database) -> hw.Collection:
    collection = db.create_collection(
        "notes", {"id": hw.Int64, "text": hw.String, "year": hw.Int32, "v": hw.FloatVector(3)}, "id"
    )
    collection.insert([{"id": i, "text": str(i), "year": 2000 + i, "v": [i, 1.0, 0.5]} for i in range(10)])
    collection.flush()
    return collection


def row(**changes: Any) -> dict[str, Any]:
    return {"id": 100, "text": "a", "year": 1999, "v": [1.0, 2.0, 3.0], **changes}


NAN = float("nan")
BAD_ROWS = {
    "wrong dimension": (row(v=[1.0, 2.0]), DimensionMismatch, 'row 1, field "v": expected 3 numbers, got 2'),
    "NaN": (row(v=[1.0, NAN, 0.0]), SchemaMismatch, 'row 1, field "v": holds NaN or infinity'),
    "infinity": (row(v=[1.0, float("inf"), 0.0]), SchemaMismatch, "NaN or infinity"),
    "text for a number": (row(year="soon"), SchemaMismatch, "row 1, field \"year\".*got 'soon'"),
    "number for a text": (row(text=5), SchemaMismatch, 'row 1, field "text".*got 5'),
    "bool for a number": (row(year=True), SchemaMismatch, 'row 1, field "year".*True'),
    "fraction for an integer": (row(year=1.5), SchemaMismatch, 'row 1, field "year".*1.5'),
    "too large": (row(year=1 << 40), SchemaMismatch, 'row 1, field "year"'),
    "null vector": (row(v=None), SchemaMismatch, '"v"'),
    "null key": (row(id=None), SchemaMismatch, '"id"'),
    "unknown field": (row(colour="red"), SchemaMismatch, "colour"),
    "missing field": ({"id": 1, "text": "a", "year": 1}, SchemaMismatch, '"v"'),
    "bytes for a text": (row(text=b"abc"), SchemaMismatch, 'row 1, field "text".*bytes'),
    "no vector": (row(v="abc"), SchemaMismatch, 'row 1, field "v"'),
}


@pytest.mark.parametrize(("bad", "error", "message"), BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_bad_row_is_named_and_nothing_is_inserted(
    notes: hw.Collection, bad: dict[str, Any], error: type[Exception], message: str
) -> None:
    version = notes.version
    with pytest.raises(error, match=message):
        notes.insert([row(), bad])
    assert (notes.version, notes.num_rows) == (version, 10)


def test_an_array_over_its_capacity_is_named(db: hw.Database) -> None:
    arrays = db.create_collection("arrays", {"id": hw.Int64, "a": hw.Array(hw.Int32, max_capacity=2)}, "id")
    with pytest.raises(SchemaMismatch, match='row 1, field "a": expected at most 2 elements, got 3'):
        arrays.insert([{"id": 1, "a": [1, 2]}, {"id": 2, "a": [1, 2, 3]}])


def test_arrow_of_another_kind_is_named(notes: hw.Collection) -> None:
    good = notes.to_arrow()
    for name, column in (
        ("year", pa.array(["1999"] * 10)),
        ("text", pa.array(range(10))),
        ("v", pa.array([[1.0, 2.0]] * 10, pa.list_(pa.float32(), 2))),
        ("id", pa.array([None] * 10, pa.int64())),
    ):
        table = good.set_column(good.column_names.index(name), name, column)
        with pytest.raises(SchemaMismatch, match=name):
            notes.insert(table)
    with pytest.raises(SchemaMismatch, match="2 times"):
        notes.insert(pa.table([good["id"], good["id"], good["v"]], names=["id", "id", "v"]))
    assert notes.num_rows == 10


def test_schemas_that_cannot_be(db: hw.Database) -> None:
    for schema, key in (
        ([hw.Field("a", hw.Int64), hw.Field("a", hw.String)], None),
        ({"a": hw.Int64}, "b"),
        ({"a": hw.FloatVector(4)}, "a"),
        ({}, None),
    ):
        with pytest.raises(InvalidArgument):
            db.create_collection("bad", hw.Schema.of(schema, primary_key=key) if schema else schema, key)
    with pytest.raises(InvalidArgument, match=r'default of field "a".*5'):
        db.create_collection("bad", [hw.Field("a", hw.String, default=5)])
    for dim in (0, -1, 40_000):
        with pytest.raises(InvalidArgument):
            hw.FloatVector(dim)
    for make in (hw.FloatVector, hw.VarChar):
        with pytest.raises(InvalidArgument, match="integer, got 'a'"):
            make("a")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="1bad"):
        db.create_collection("1bad", {"a": hw.Int64})
    db.create_collection("good", {"a": hw.Int64})
    with pytest.raises(AlreadyExists, match="good"):
        db.create_collection("good", {"a": hw.Int64})
    assert db.list_collections() == ["good"]


BAD_CALLS = {
    "unknown output field": (
        lambda c: c.search([1, 2, 3], output_fields=["colour"]),
        FieldNotFound,
        "colour",
    ),
    "unknown filter field": (lambda c: c.count("colour == 1"), FilterSyntax, "colour"),
    "filter syntax": (lambda c: c.count("year >="), FilterSyntax, "position"),
    "text against a number": (lambda c: c.count('year > "x"'), FilterSyntax, "year|compare"),
    "filter far too long": (
        lambda c: c.count("year > 1 and " * 100_000 + "year > 1"),
        FilterSyntax,
        "characters",
    ),
    "filter nested deep": (lambda c: c.count("year" + " + 1" * 5000 + " > 1"), FilterSyntax, "deep"),
    "query dimension": (lambda c: c.search([1.0, 2.0]), DimensionMismatch, "v"),
    "query NaN": (lambda c: c.search([1.0, NAN, 2.0]), SchemaMismatch, "NaN"),
    "query text": (lambda c: c.search(["a", "b", "c"]), SchemaMismatch, "numbers"),
    "ragged queries": (lambda c: c.search([[1, 2, 3], [1, 2]]), DimensionMismatch, "query 1"),
    "top_k zero": (lambda c: c.search([1, 2, 3], top_k=0), InvalidArgument, "top_k"),
    "top_k too large": (lambda c: c.search([1, 2, 3], top_k=1 << 20), InvalidArgument, "top_k"),
    "top_k no integer": (lambda c: c.search([1, 2, 3], top_k=2.5), InvalidArgument, "top_k.*2.5"),
    "radius no number": (lambda c: c.search([1, 2, 3], params={"radius": "far"}), InvalidArgument, "radius"),
    "effort without an index": (
        lambda c: c.search([1, 2, 3], params={"ef": 64}),
        UnsupportedOption,
        "no index",
    ),
    "unknown metric": (lambda c: c.search([1, 2, 3], params={"metric_type": "CHI"}), InvalidArgument, "CHI"),
    "text for a number key": (lambda c: c.get(["a"]), InvalidArgument, "'a'.*'id'.*int"),
    "fraction for a key": (lambda c: c.get([1.5]), InvalidArgument, "1.5"),
    "key past 64 bits": (lambda c: c.get([1 << 70]), InvalidArgument, "id"),
    "no such version": (lambda c: c.at(version=99), VersionNotFound, "99"),
    "no such tag": (lambda c: c.at(tag="t"), TagNotFound, "t"),
    "at() of nothing": (lambda c: c.at(), InvalidArgument, "exactly one"),
    "later than now": (lambda c: c.search([1, 2, 3], min_version=99), VersionNotFound, "min_version=99"),
    "index on a text": (lambda c: c.create_index("text", "HNSW"), InvalidArgument, "text"),
    "unknown index": (lambda c: c.create_index("v", "TREE"), InvalidArgument, "TREE"),
    "unknown index option": (
        lambda c: c.create_index("v", "HNSW", params={"nlist": 4}),
        UnsupportedOption,
        "nlist",
    ),
    "drop the key": (lambda c: c.drop_column("id"), InvalidArgument, "primary key"),
    "rename onto another": (lambda c: c.rename_column("year", "text"), InvalidArgument, "text"),
    "column that is there": (lambda c: c.add_column("year", 1), AlreadyExists, "year"),
    "column too short": (lambda c: c.add_column("n", [1, 2]), InvalidArgument, "10"),
    "order by nothing": (lambda c: c.query(order_by="colour"), FieldNotFound, "colour"),
    "negative limit": (lambda c: c.query(limit=-1), InvalidArgument, "limit"),
    "refresh of a managed one": (lambda c: c.refresh(), InvalidArgument, "managed"),
    "insert of a file that is not there": (
        lambda c: c.insert("none.parquet"),
        ObjectNotFound,
        "none.parquet",
    ),
    "filter of another type": (lambda c: c.count(5), InvalidArgument, "filter.*5"),
    "search filter of another type": (
        lambda c: c.search([1, 2, 3], filter={"year": 1}),
        InvalidArgument,
        "filter.*year",
    ),
    "fields in one text": (
        lambda c: c.search([1, 2, 3], output_fields="text"),
        InvalidArgument,
        "list of fields.*'text'",
    ),
    "columns in no list": (lambda c: c.to_arrow(5), InvalidArgument, "list of fields.*5"),
    "time as a text": (lambda c: c.at(time="2026-01-01"), InvalidArgument, "datetime.*2026-01-01"),
    "version as a text": (lambda c: c.at(version="2"), InvalidArgument, "version.*'2'"),
    "changes since a name": (lambda c: c.changes(since="monday"), InvalidArgument, "version.*'monday'"),
    "filter for null": (lambda c: c.count("year == null"), FilterSyntax, "null"),
    "limit as a text": (lambda c: c.query(limit="3"), InvalidArgument, "limit.*'3'"),
    "half an offset": (lambda c: c.query(limit=3, offset=0.5), InvalidArgument, "offset.*0.5"),
    "parameters in a text": (lambda c: c.search([1, 2, 3], params="ef=3"), InvalidArgument, "params.*ef=3"),
    "radius NaN": (lambda c: c.search([1, 2, 3], params={"radius": NAN}), InvalidArgument, "radius.*nan"),
    "partial upsert of no field": (
        lambda c: c.upsert([{"id": 1, "yaer": 1}], partial=True),
        SchemaMismatch,
        "'yaer'",
    ),
    "one row, not in a list": (lambda c: c.insert(row()), SchemaMismatch, 'column "id".*got 100'),
    "insert of no Parquet": (lambda c: c.insert("rows.csv"), InvalidArgument, "parquet"),
}


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS.values(), ids=list(BAD_CALLS))
def test_a_wrong_call_says_what_is_wrong(
    notes: hw.Collection, call: Any, error: type[Exception], message: str
) -> None:
    before = (notes.version, notes.to_arrow())
    with pytest.raises(error, match=message):
        call(notes)
    assert (notes.version, notes.to_arrow()) == before


def test_search_parameters_of_another_kind_are_refused(notes: hw.Collection) -> None:
    notes.create_index("v", "HNSW")
    with pytest.raises(UnsupportedOption, match="nprobe"):
        notes.search([1, 2, 3], params={"nprobe": 4})
    with pytest.raises(InvalidArgument, match="ef"):
        notes.search([1, 2, 3], params={"ef": "many"})
    with pytest.raises(InvalidArgument, match="metric_type L2 differs"):
        notes.search([1, 2, 3], params={"metric_type": "L2"})


def test_a_search_is_checked_whatever_was_asked_before_it(notes: hw.Collection) -> None:
    """Plans are kept between searches; equal keys of other types must not share one."""
    notes.create_index("v", "IVF_FLAT")
    notes.insert([{"id": 100 + i, "text": "", "year": 1, "v": [1.0, i, 0.0]} for i in range(500)])
    notes.build_indexes()
    assert notes.search([1, 2, 3], params={"nprobe": 1})[0]
    for wrong in (True, 1.0, "1", None, [1]):
        with pytest.raises(InvalidArgument, match="nprobe"):
            notes.search([1, 2, 3], params={"nprobe": wrong})
    with pytest.raises(InvalidArgument, match="top_k"):
        notes.search([1, 2, 3], top_k=0)
    year = notes.search([1, 2, 3], filter="year == {y}", filter_params={"y": 2001}, output_fields=["year"])
    assert {hit["entity"]["year"] for hit in year[0]} == {2001}
    year = notes.search([1, 2, 3], filter="year == {y}", filter_params={"y": 2002}, output_fields=["year"])
    assert {hit["entity"]["year"] for hit in year[0]} == {2002}


def test_an_external_collection_says_what_its_files_lack(db: hw.Database, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match=r"'b'.*a\.parquet"):
        db.create_external_collection("docs", tmp_path / "a.parquet", {"b": hw.Int64})
    with pytest.raises(SchemaMismatch, match=r"a\.parquet"):
        db.create_external_collection("docs", tmp_path / "a.parquet", {"a": hw.String})
    with pytest.raises(ObjectNotFound, match=r"matches .*\.parquet\.gz"):
        db.create_external_collection("docs", tmp_path / "*.parquet.gz")
    docs = db.create_external_collection("docs", tmp_path / "a.parquet")
    with pytest.raises(InvalidArgument, match="external"):
        docs.insert([{"a": 2}])
    with pytest.raises(CollectionNotFound, match="dogs"):
        db.collection("dogs")
    with pytest.raises(CollectionNotFound, match="dogs") as caught:
        hw.connect(tmp_path / "elsewhere").collection("dogs")
    assert str(tmp_path / "elsewhere") in (caught.value.hint or "")
    columns = {"a": [1], "t": pa.array([1], pa.time32("s"))}
    pq.write_table(pa.table(columns), tmp_path / "times.parquet")
    with pytest.raises(SchemaMismatch, match="'t' has type time32") as caught_type:
        db.create_external_collection("times", tmp_path / "times.parquet")
    assert "hw.Schema.of" in (caught_type.value.hint or "")
    some = hw.Schema.of([hw.Field("a", hw.Int64)])
    assert db.create_external_collection("times", tmp_path / "times.parquet", some).num_rows == 1


def test_unknown_settings_and_stores(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no lake")
    for url, says in ((None, "None"), ("", "''"), (tmp_path / "file", "a file is there")):
        with pytest.raises(InvalidArgument, match=says):
            hw.connect(url)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="ftp"):
        hw.connect("ftp://host/lake")
    with pytest.raises(UnsupportedOption, match="regoin"):
        hw.connect("s3://bucket/lake", {"regoin": "x"})
    with pytest.raises(InvalidArgument, match="HEADWATER_STORE_ATEMPTS"):
        hw.Settings.from_env({"HEADWATER_STORE_ATEMPTS": "3"})
    with pytest.raises(InvalidArgument, match="expected int"):
        hw.Settings.from_env({"HEADWATER_STORE_ATTEMPTS": "many"})
    assert hw.Settings.from_env({"HEADWATER_STORE_ATTEMPTS": "3"}).store.attempts == 3


def test_null_vectors_are_stored_and_never_found(db: hw.Database) -> None:
    field = hw.Field("v", hw.FloatVector(4), nullable=True)
    some = db.create_collection("some", [hw.Field("id", hw.Int64), field], "id")
    vectors = np.random.default_rng(0).normal(size=(3000, 4)).astype(np.float32)
    some.insert([{"id": i, "v": None if i % 3 == 0 else vector} for i, vector in enumerate(vectors)])
    present = np.arange(3000) % 3 != 0
    cosine = vectors @ vectors[1] / np.linalg.norm(vectors, axis=1)
    expected = np.argsort(np.where(present, -cosine, np.inf), kind="stable")[:20].tolist()
    for index_type in (None, "FLAT", "IVF_FLAT", "IVF_RABITQ", "HNSW", "AUTOINDEX"):
        if index_type:
            some.create_index("v", index_type)
        [hits] = some.search(vectors[1], top_k=20, params={})
        assert len({hit["id"] for hit in hits} & set(expected)) >= 18, index_type
        assert all(hit["id"] % 3 for hit in hits), index_type
        [every] = some.search(vectors[1], top_k=3000)
        assert len(every) == 2000, index_type


def test_a_filter_in_the_words_of_sql_is_told_the_words_here(notes: hw.Collection) -> None:
    for text, word in (
        ("year = 1", "=="),
        ("year <> 1", "!="),
        ("year >", "end"),
        ("year between 1 and 2", "<="),
        ("year == null", "is null"),
        ("1 in year", "array_contains"),
    ):
        with pytest.raises(FilterSyntax, match="position") as caught:
            notes.count(text)
        assert word in (caught.value.hint or ""), text


def test_json_that_no_reader_of_json_would_take_is_refused(db: hw.Database) -> None:
    facts = db.create_collection("facts", {"id": hw.Int64, "about": hw.JSON}, "id")
    for bad in ({"a": NAN}, '{"a": NaN}', "{bad", {"a": {1, 2}}, {"a": object()}):
        with pytest.raises(SchemaMismatch, match=r'row 1, field "about": expected json.*: .+'):
            facts.insert([{"id": 1, "about": {}}, {"id": 2, "about": bad}])
    facts.insert([{"id": 1, "about": {"a": np.float32(1.5), "b": np.arange(2)}}])
    assert facts.get(1)[0]["about"] == {"a": 1.5, "b": [0, 1]}


def test_a_number_is_no_time(db: hw.Database) -> None:
    """Seconds, milliseconds or microseconds: it does not say."""
    events = db.create_collection("events", {"id": hw.Int64, "at": hw.TimestampTz}, "id")
    for bad in (1_704_067_200, 1_704_067_200.0, "yesterday"):
        with pytest.raises(SchemaMismatch, match=r'row 0, field "at": expected timestamptz, got .*: '):
            events.insert([{"id": 1, "at": bad}])
    day = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    given = [np.datetime64("2024-01-01"), day.date(), day.replace(tzinfo=None), "2024-01-01", day]
    events.insert([{"id": i, "at": at} for i, at in enumerate(given)])
    assert {row["at"] for row in events.query()} == {day}


def test_a_search_without_a_vector_field_says_how_to_have_one(db: hw.Database, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "emb": [[1.0, 2.0]]}), tmp_path / "a.parquet")
    docs = db.create_external_collection("docs", tmp_path / "a.parquet")
    with pytest.raises(InvalidArgument, match="needs a vector field") as caught:
        docs.search([1.0, 2.0])
    assert "{'emb': hw.FloatVector(dim)}" in (caught.value.hint or "")
    two = db.create_collection("two", {"a": hw.FloatVector(2), "b": hw.FloatVector(2)})
    with pytest.raises(InvalidArgument, match=r"2 vector fields \(a, b\)"):
        two.search([1.0, 2.0])


def test_a_misspelt_option_is_told_the_nearest(db: hw.Database, notes: hw.Collection) -> None:
    for call, near in (
        (lambda: notes.search([1, 2, 3], topk=3), "top_k"),
        (lambda: notes.search([1, 2, 3], out_fields=["id"]), "output_fields"),
        (lambda: notes.search([1, 2, 3], ofset=3), "offset"),
        (lambda: db.create_collection("x", {"id": hw.Int64}, primarykey="id"), "primary_key"),
    ):
        with pytest.raises(UnsupportedOption) as refused:
            call()
        assert refused.value.hint == f"did you mean {near}?"


def test_numbers_of_settings_are_not_negative(tmp_path: Path) -> None:
    for name in ("HEADWATER_WRITE_SEAL_ENTRIES", "HEADWATER_SERVER_WORKERS", "HEADWATER_TIERS_TTL_S"):
        with pytest.raises(InvalidArgument, match=r"=-1 in HEADWATER_.*expected 0 or more"):
            hw.Settings.from_env({name: "-1"})


def test_a_setting_that_says_what_there_is_not_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("TIERS_POLICY", "hott"),
        ("TIERS_WARMUP", "later"),
        ("MAINTENANCE_WINDOW", "9-99"),
        ("MAINTENANCE_PRIORITY", "urgent"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(f"HEADWATER_{name}", value)
            with pytest.raises(InvalidArgument, match=value):
                hw.connect(tmp_path)


def test_a_time_before_all_versions_is_told_the_oldest(notes: hw.Collection) -> None:
    with pytest.raises(VersionNotFound, match="2000-01-01") as refused:
        notes.at(time=datetime.datetime(2000, 1, 1))
    assert notes.history()[0].created.isoformat() in (refused.value.hint or "")
