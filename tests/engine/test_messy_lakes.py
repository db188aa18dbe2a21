"""Parquet as people leave it: in folders by date, each file with columns of its own, some of them without rows."""

from __future__ import annotations

import datetime
import decimal
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import ObjectNotFound, SchemaMismatch
from headwater.settings import LakeSettings, Settings
from headwater.store import LocalObjectStore, open_store


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    limits = LakeSettings(shared_fragment_rows=1)
    return hw.connect(tmp_path / "lake", settings=Settings(lake=limits))


def put(path: Path, table: pa.Table | dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", "a b c"),
        ("**", "a b c"),
        ("**/*.parquet", "a b c"),
        ("*.parquet", "a"),
        ("*/*.parquet", "b"),
        ("x/**/*.parquet", "b c"),
        ("x*/**", "b c"),
        ("y*/**", "e"),
        ("**/deep/*.parquet", "c"),
        ("**/[bc].parquet", "b c"),
        ("_tmp/*.parquet", "d"),
        ("**/_*/*.parquet", "d"),
        ("_own.parquet", "f"),
    ],
)
def test_a_pattern_means_the_files_that_shells_and_other_engines_mean(
    db: hw.Database, tmp_path: Path, pattern: str, names: str
) -> None:
    source = tmp_path / "source"
    places = {"a": "a", "b": "x/b", "c": "x/deep/c", "d": "_tmp/d", "f": "_own", "g": "x/.old/g"}
    for name, place in places.items():
        put(source / f"{place}.parquet", {"name": [name]})
    if names == "e":
        put(source / "yes/e.parquet", {"name": ["e"]})
    (source / "x/notes.txt").write_text("no rows")
    docs = db.create_external_collection("docs", f"{source}/{pattern}")
    assert sorted(docs.to_arrow()["name"].to_pylist()) == names.split()


def test_of_many_files_named_one_by_one_their_folder_is_listed_once(
    db: hw.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        put(tmp_path / f"source/{number:02d}.parquet", {"name": [number]})
    listed: list[Path] = []
    listing = LocalObjectStore.list

    def counted(store: LocalObjectStore, prefix: str = "", **more: Any) -> Any:
        listed.append(store.root)
        return listing(store, prefix, **more)

    monkeypatch.setattr(LocalObjectStore, "list", counted)
    chosen = [tmp_path / f"source/{number:02d}.parquet" for number in range(0, 20, 2)]
    docs = db.create_external_collection("docs", chosen)
    assert docs.to_arrow()["name"].to_pylist() == list(range(0, 20, 2))
    assert listed.count(tmp_path / "source") <= 3


def test_a_file_that_is_named_and_not_there_is_told(db: hw.Database, tmp_path: Path) -> None:
    put(tmp_path / "source/a.parquet", {"name": ["a"]})
    put(tmp_path / "source/b.parquet", {"name": ["b"]})
    for missing in ("c.parquet", "more/*.parquet", "more"):
        with pytest.raises(ObjectNotFound) as refused:
            db.create_external_collection(
                "docs", [tmp_path / "source/a.parquet", tmp_path / f"source/{missing}"]
            )
        assert f"source/{missing}" in refused.value.message
        assert "a.parquet" not in refused.value.message
    docs = db.create_external_collection("docs", [tmp_path / f"source/{name}.parquet" for name in "ab"])
    (tmp_path / "source/b.parquet").unlink()
    assert len(docs.refresh().removed) == 1


def by_year(folder: Path) -> None:
    for year in (2023, 2024):
        for month in ("01", "11"):
            vectors = np.full((3, 4), year % 10, np.float32) + np.arange(3)[:, None]
            names = [f"{year}-{month}-{i}" for i in range(3)]
            put(
                folder / f"year={year}/month={month}/lang=d%C3%A9/part-0.parquet",
                {
                    "id": [year * 1000 + int(month) * 10 + i for i in range(3)],
                    "name": names,
                    "v": list(vectors),
                },
            )


def test_folders_that_name_a_column_are_a_column(db: hw.Database, tmp_path: Path) -> None:
    by_year(tmp_path / "source")
    docs = db.create_external_collection("docs", tmp_path / "source", {"v": hw.FloatVector(4)}, "id")
    assert [str(docs.schema.field(name).type) for name in ("year", "month", "lang")] == [
        "int64",
        "int64",
        "varchar",
    ]
    [row] = docs.query(
        "year == 2024 and month == 11 and name like '%-2'", output_fields=["year", "lang", "id"]
    )
    assert row == {"year": 2024, "lang": "dé", "id": 2024112}
    assert docs.count("year == 2024") == 6
    found = docs.query("year == 2023", output_fields=["month"])
    assert found.info.segments_pruned == 2
    assert sorted({row["month"] for row in found}) == [1, 11]
    assert docs.to_arrow(["month"])["month"].to_pylist() == [1] * 3 + [11] * 3 + [1] * 3 + [11] * 3
    docs.create_index("v", "FLAT", metric_type="L2")
    [hits] = docs.search(
        [9.0] * 4, filter="year > 2023", output_fields=["year"], params={"metric_type": "L2"}
    )
    assert [hit["entity"]["year"] for hit in hits] == [2024] * 6
    docs.create_index("year")
    docs.add_column("half", lambda batch: [m // 7 for m in batch["month"].to_pylist()], type=hw.Int8)
    assert docs.count("half == 1 and year in [2023, 2025]") == 3
    put(tmp_path / "source/year=2025/month=2/late.parquet", {"id": [7], "name": ["late"], "v": [[1.0] * 4]})
    docs.refresh()
    [late] = docs.query("year == 2025")
    assert (late["month"], late["lang"], late["half"]) == (2, None, None)


def test_what_folders_say_has_the_type_that_is_asked_for(db: hw.Database, tmp_path: Path) -> None:
    put(tmp_path / "source/day=2024-01-31/n=1/ok=true/a.parquet", {"id": [1]})
    put(
        tmp_path / "source/day=2024-02-01/n=__HIVE_DEFAULT_PARTITION__/ok=false/b.parquet",
        {"id": [2], "day": ["x"]},
    )
    docs = db.create_external_collection("docs", tmp_path / "source")
    assert list(docs.query(order_by="id")) == [
        {"id": 1, "day": "2024-01-31", "n": 1, "ok": "true"},
        {"id": 2, "day": "x", "n": None, "ok": "false"},
    ]
    assert docs.count("n is null") == 1
    put(tmp_path / "source/day=2024-02-01/n=__HIVE_DEFAULT_PARTITION__/ok=false/b.parquet", {"id": [2]})
    typed = db.create_external_collection(
        "typed", tmp_path / "source", {"day": hw.TimestampTz, "n": hw.Double, "ok": hw.Bool}
    )
    assert typed.count("day > ISO '2024-01-31T12:00:00Z' and not ok") == 1
    assert typed.count("n < 1.5 and ok") == 1
    with pytest.raises(SchemaMismatch, match=r"day=2024-01-31.*'day'.*int32"):
        db.create_external_collection("wrong", tmp_path / "source", {"day": hw.Int32})


def test_columns_that_only_some_files_have_are_null_in_the_others(db: hw.Database, tmp_path: Path) -> None:
    put(tmp_path / "source/a.parquet", {"id": pa.array([1, 2], pa.int32()), "text": ["x", "y"]})
    put(tmp_path / "source/b.parquet", {"id": pa.array([1 << 40], pa.int64()), "score": [0.5]})
    put(
        tmp_path / "source/c.parquet",
        {"text": pa.array(["z"], pa.large_string()), "id": pa.array([3], pa.int16())},
    )
    docs = db.create_external_collection("docs", tmp_path / "source")
    assert docs.schema.names == ("id", "text", "score")
    assert list(docs.query(order_by="id")) == [
        {"id": 1, "text": "x", "score": None},
        {"id": 2, "text": "y", "score": None},
        {"id": 3, "text": "z", "score": None},
        {"id": 1 << 40, "text": None, "score": 0.5},
    ]


def test_files_without_rows_decide_nothing(db: hw.Database, tmp_path: Path) -> None:
    empty = pa.table(
        {"id": pa.array([], pa.null()), "text": pa.array([], pa.null()), "v": pa.array([], pa.null())}
    )
    put(tmp_path / "source/a.parquet", empty)
    vectors = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
    put(tmp_path / "source/b.parquet", {"id": [1, 2], "text": ["x", "y"], "v": vectors})
    put(tmp_path / "source/c.parquet", {"id": [3], "text": ["z"], "v": [[1.0, 1.0]]})
    put(tmp_path / "source/d.parquet", empty)
    docs = db.create_external_collection("docs", tmp_path / "source", primary_key="id")
    assert docs.schema.field("v").type == hw.FloatVector(2)
    docs.create_index("v", "HNSW")
    docs.create_index("text")
    docs.add_column("length", lambda batch: [len(one) for one in batch["text"].to_pylist()], type=hw.Int32)
    docs.add_column("one", 1)
    [hits] = docs.search([1.0, 0.0], output_fields=["length", "one"])
    assert [hit["id"] for hit in hits] == [1, 3, 2]
    assert hits[0]["entity"] == {"length": 1, "one": 1}
    for name in "bc":
        (tmp_path / f"source/{name}.parquet").unlink()
    docs.refresh()
    assert (docs.num_rows, list(docs.query()), list(docs.search([1.0, 0.0])[0])) == (0, [], [])
    assert docs.to_arrow().num_rows == 0


def test_nested_columns_are_json_as_everyone_writes_it(db: hw.Database, tmp_path: Path) -> None:
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    tags = pa.array([[("lang", "en"), ("kind", "a")], None], pa.map_(pa.string(), pa.string()))
    about = [{"at": moment, "day": moment.date(), "price": decimal.Decimal("9.50"), "n": {"k": [1]}}, None]
    words = pa.array(["red", None]).dictionary_encode()
    put(tmp_path / "source/a.parquet", {"id": [1, 2], "tags": tags, "about": about, "word": words})
    docs = db.create_external_collection("docs", tmp_path / "source", primary_key="id")
    assert docs.get([1])[0] == {
        "id": 1,
        "tags": {"lang": "en", "kind": "a"},
        "about": {"at": "2026-01-02T03:04:05+00:00", "day": "2026-01-02", "price": 9.5, "n": {"k": [1]}},
        "word": "red",
    }
    assert docs.count("tags['lang'] == 'en' and about['price'] > 9 and about['n']['k'][0] == 1") == 1
    kept = db.create_collection("kept", docs.schema.part(["id", "tags", "about"]), "id")
    kept.insert(pq.read_table(tmp_path / "source/a.parquet", columns=["id", "tags", "about"]))
    assert kept.get([1])[0]["tags"] == {"lang": "en", "kind": "a"}


def test_bytes_in_a_nested_column_are_told_when_it_is_registered(db: hw.Database, tmp_path: Path) -> None:
    put(tmp_path / "source/a.parquet", {"id": [1], "page": [{"image": {"bytes": b"abc", "path": None}}]})
    with pytest.raises(SchemaMismatch, match=r"'page'.*bytes") as refused:
        db.create_external_collection("docs", tmp_path / "source")
    assert "hw.Schema.of" in (refused.value.hint or "")
    some = hw.Schema.of([hw.Field("id", hw.Int64)])
    assert db.create_external_collection("docs", tmp_path / "source", some).num_rows == 1


def test_a_text_that_is_not_json_is_named_and_the_others_are_read(db: hw.Database, tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2, 3], "about": ['{"a": 1}', "{bad", '{"a": 2}']})
    pq.write_table(table, tmp_path / "about.parquet")
    docs = db.create_external_collection(
        "docs", tmp_path / "about.parquet", {"id": hw.Int64, "about": hw.JSON}, "id"
    )
    assert [row["about"] for row in docs.query('about["a"] > 0', output_fields=["about"])] == [
        {"a": 1},
        {"a": 2},
    ]
    assert docs.to_arrow(["about"]).column("about").to_pylist()[1] == "{bad"
    with pytest.raises(SchemaMismatch, match=r'field "about": expected JSON, got \'\{bad\'') as told:
        list(docs.query("id == 2", output_fields=["about"]))
    assert "refresh" in str(told.value.hint)


@pytest.mark.parametrize("place", ["folder", "store"])
def test_times_in_nanoseconds_are_those_of_their_microsecond(
    db: hw.Database, tmp_path: Path, place: str
) -> None:
    counts = [1_700_000_000_000_000_999, 1_700_000_000_123_456_789, -1, None]
    local = pa.timestamp("ns", "Europe/Zurich")
    table = pa.table(
        {
            "naive": pa.array(counts, pa.timestamp("ns")),
            "zoned": pa.array(counts, local),
            "many": pa.array([counts, [], None, counts[:1]], pa.list_(local)),
        }
    )
    put(tmp_path / "source/a.parquet", table)
    url = str(tmp_path / "source")
    if place == "store":
        url = f"memory://{uuid.uuid4().hex}"
        open_store(url).put("a.parquet", (tmp_path / "source/a.parquet").read_bytes())
    docs = db.create_external_collection("docs", url)
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    told = [None if one is None else start + datetime.timedelta(microseconds=one // 1000) for one in counts]
    found = docs.to_arrow()
    assert found["naive"].to_pylist() == found["zoned"].to_pylist() == told
    assert found["many"].to_pylist() == [told, [], None, told[:1]]
    assert docs.count("naive == ISO '2023-11-14T22:13:20Z'") == 1


def test_times_of_hive_are_what_they_were_however_far_away(db: hw.Database, tmp_path: Path) -> None:
    days = [datetime.datetime(year, 12, 31, 1, 2, 3, 4) for year in (1, 1677, 2024, 2262, 9999)]
    (tmp_path / "source").mkdir()
    pq.write_table(
        pa.table({"t": pa.array(days, pa.timestamp("us"))}),
        tmp_path / "source/a.parquet",
        use_deprecated_int96_timestamps=True,
    )
    docs = db.create_external_collection("docs", tmp_path / "source")
    assert docs.to_arrow()["t"].to_pylist() == [day.replace(tzinfo=datetime.UTC) for day in days]


def test_moments_of_years_that_python_has_not_are_rows_like_others(db: hw.Database, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    far = "select 'infinity'::timestamp t, '-0044-03-15'::date d, 1 i"
    near = "select '2024-01-01'::timestamp, '2024-01-01'::date, 2"
    duckdb.sql(f"{far} union all {near}").write_parquet(str(tmp_path / "source/a.parquet"))
    docs = db.create_external_collection("docs", tmp_path / "source")
    assert docs.num_rows == docs.count("i > 0") == 2
    assert docs.count("t > ISO '2025-01-01T00:00:00Z'") == 1
    assert docs.count("d < ISO '2000-01-01T00:00:00Z'") == 1
    assert docs.query("i == 2", output_fields=["t"])[0]["t"] == datetime.datetime(
        2024, 1, 1, tzinfo=datetime.UTC
    )


@pytest.mark.parametrize("first", ["a", "a.b"])
def test_a_dot_in_a_name_is_not_a_column_inside_of_another(
    db: hw.Database, tmp_path: Path, first: str
) -> None:
    """pandas names columns so that it makes of nested JSON."""
    columns = {"a": pa.array([{"b": 100}, {"b": 200}]), "a.b": pa.array([1, 2]), "a.c": pa.array([3, 4])}
    names = [first, *(name for name in columns if name != first)]
    put(tmp_path / "source/1.parquet", pa.table({name: columns[name] for name in names}))
    put(tmp_path / "source/2.parquet", pa.table({"a": columns["a"]}))
    fields = [
        hw.Field("b", hw.Int64, source="a.b"),
        hw.Field("c", hw.Int64, source="a.c"),
        hw.Field("a", hw.JSON),
    ]
    docs = db.create_external_collection(
        "docs", tmp_path / "source", hw.Schema.of([replace(one, nullable=True) for one in fields])
    )
    assert docs.count("b == 1") == docs.count("c == 4") == 1
    assert docs.count("b == 100") == 0
    assert docs.count("b is null") == docs.count("c is null") == 2
    assert docs.count("a['b'] == 100") == 2
