"""Scalar indexes through the door: declared, built, kept up, dropped; the same answers with and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater import trace
from headwater.doors.cli import app
from headwater.errors import AlreadyExists, Corrupt, IndexNotFound, InvalidArgument, UnsupportedOption
from headwater.index.predicates import IsNull, Matches, OneOf, Range
from headwater.lake import Lake, gc
from headwater.lake.clock import Clock
from headwater.query import scalar_indexes
from headwater.query.segment_rows import SegmentRows
from headwater.schema import FieldType
from headwater.types import DataType

ROWS = 2000
SCHEMA = {
    "id": hw.Int64,
    "year": hw.Field("year", hw.Int32, nullable=True),
    "price": hw.Field("price", hw.Double, nullable=True),
    "title": hw.Field("title", hw.String, nullable=True),
    "sold": hw.Bool,
    "tags": hw.Array(hw.String),
    "meta": hw.Field("meta", hw.JSON, nullable=True),
    "note": hw.Field("note", hw.String, nullable=True),
    "code": hw.String,
    "at": hw.Field("at", hw.TimestampTz, nullable=True),
    "weight": hw.Float,
    "place": hw.Field("place", hw.Geometry, nullable=True),
    "counts": hw.Field("counts", hw.Array(hw.Int32), nullable=True),
}
INDEXES: list[tuple[str, str, dict[str, Any]]] = [
    ("year", "STL_SORT", {}),
    ("price", "AUTOINDEX", {}),
    ("title", "INVERTED", {}),
    ("sold", "BITMAP", {}),
    ("tags", "INVERTED", {}),
    ("meta", "INVERTED", {"json_path": "meta['a']['b']", "json_cast_type": "JSON"}),
    ("meta", "AUTOINDEX", {"json_path": "/list"}),
    ("note", "NGRAM", {"min_gram": 2, "max_gram": 3}),
    ("code", "BLOOM", {}),
    ("at", "AUTOINDEX", {}),
    ("weight", "STL_SORT", {}),
    ("place", "RTREE", {}),
    ("counts", "BITMAP", {}),
]
FILTERS = [
    "year == 2003",
    "year in [2001, 2005, 9999]",
    "year > 2007 or year is null",
    "not (year < 2004)",
    "2002 < year <= 2005",
    "price >= 10.5 and price < 60",
    "price is not null",
    "title == 'title 17'",
    'title like "title 1%"',
    'title like "%99"',
    "title in ['title 3', 'title 5', '']",
    "sold == true",
    "sold == false and year == 2001",
    'array_contains(tags, "red")',
    'array_contains_all(tags, ["red", "blue"])',
    'array_contains_any(tags, ["green", "none"])',
    'meta["a"]["b"] == 3',
    'meta["a"]["b"] > 6.5',
    'meta["a"]["b"] == "x"',
    'meta["a"]["b"] == true',
    'exists meta["a"]["b"]',
    'json_contains(meta["list"], 2)',
    'json_contains_any(meta["list"], [1, "y"])',
    "note like '%quick%'",
    "note like 'the %fox%'",
    "note like '%ow_ f%'",
    "code == 'c17'",
    "code == 'absent'",
    "code in ['c3', 'nothing']",
    "at > ISO '2024-01-20T00:00:00Z'",
    "at == ISO '2024-01-01T05:00:00Z'",
    "at is null",
    "weight == 0.1",
    "weight < 0.35 and weight >= 0.2",
    "st_within(place, 'POLYGON ((-5 -5, 12 -5, 12 9, -5 9, -5 -5))')",
    "st_intersects(place, 'LINESTRING (-30 -20, 30 20)')",
    "st_contains(place, 'POINT (1 1)')",
    "st_dwithin(place, 'POINT (179.5 3)', 400000)",
    "st_dwithin(place, 'POINT (2 48)', 250000)",
    "array_contains(counts, 3)",
    "counts is null",
]


WORDS = ("quick", "brown", "slow", "Ünï", "日本", "quicker", "low f")


def shape(dice: np.random.Generator) -> str:
    """Points, boxes and lines, short and long, near the date line too."""
    if dice.random() < 0.01:
        return "POLYGON ((0 0, 3 0, 3 3, 0 3, 0 0))"
    x, y = (
        float(dice.uniform(-180, 180)) if dice.random() < 0.5 else float(dice.normal(0, 15)),
        float(dice.normal(0, 25)),
    )
    y = min(max(y, -85.0), 85.0)
    kind = dice.integers(4)
    if kind < 2:
        return f"POINT ({x} {y})"
    if kind == 2:
        side = float(dice.choice([0.2, 3.0]))
        return f"POLYGON (({x} {y}, {x + side} {y}, {x + side} {y + side}, {x} {y + side}, {x} {y}))"
    return f"LINESTRING ({x} {y}, {x + float(dice.choice([0.5, 60.0]))} {y + 0.3})"


def rows(start: int, n: int) -> list[dict[str, Any]]:
    dice = np.random.default_rng(start)
    made = []
    for i in range(start, start + n):
        value = [i % 10, i % 10 + 0.5, "x", True, None][int(dice.integers(5))]
        meta = {"a": {"b": value}, "list": [int(dice.integers(4)), "y"]} if i % 5 else {"other": 1}
        made.append(
            {
                "id": i,
                "year": None if i % 17 == 0 else 2000 + i % 10,
                "price": None if i % 13 == 0 else float(dice.integers(0, 1000)) / 10,
                "title": None if i % 19 == 0 else f"title {i % 200}",
                "sold": bool(dice.integers(2)),
                "tags": [str(tag) for tag in dice.choice(["red", "green", "blue"], int(dice.integers(4)))],
                "note": None if i % 29 == 0 else f"the {dice.choice(WORDS)} {dice.choice(WORDS)} fox",
                "code": f"c{i}",
                "at": None if i % 31 == 0 else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=i % 720),
                "weight": float(dice.integers(10)) / 10,
                "place": None if i % 11 == 0 else shape(dice),
                "counts": None if i % 7 == 0 else dice.integers(0, 6, int(dice.integers(4))).tolist(),
                "meta": None if i % 23 == 0 else json.dumps(meta),
            }
        )
    return made


def indexed(docs: Any) -> None:
    for field, kind, params in INDEXES:
        docs.create_index(field, kind, params=params)


def answers(docs: Any) -> list[list[int]]:
    return [sorted(hit["id"] for hit in docs.query(text, output_fields=["id"])) for text in FILTERS]


@pytest.fixture
def docs(tmp_path: Path) -> Iterator[Any]:
    """Two sealed segments with deleted rows, and rows in the log."""
    db = hw.connect(tmp_path / "lake")
    made = db.create_collection("docs", SCHEMA, primary_key="id")
    for start in (0, ROWS):
        made.insert(rows(start, ROWS))
        made.flush()
    made.delete(ids=list(range(100, 200)))
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake whose collection has every index."""
    path: Path = tmp_path_factory.mktemp("built")
    docs = hw.connect(path).create_collection("docs", SCHEMA, primary_key="id")
    docs.insert(rows(0, ROWS))
    indexed(docs)
    return path


@pytest.fixture
def empty(tmp_path: Path) -> Any:
    """Without rows."""
    return hw.connect(tmp_path / "lake").create_collection("docs", SCHEMA, primary_key="id")


def test_answers_are_the_same_with_and_without(docs: Any) -> None:
    plain = answers(docs)
    assert all(found or "absent" in text for found, text in zip(plain, FILTERS, strict=True))
    indexed(docs)
    assert [len(docs._lake.latest().indexes)] == [len(INDEXES)]
    docs._opened.clear()
    assert answers(docs) == plain
    docs.insert(rows(2 * ROWS, 500))
    growing = answers(docs)
    for spec in docs._lake.latest().indexes:
        docs.drop_index(spec.name)
    docs._opened.clear()
    assert answers(docs) == growing
    assert not docs._lake.latest().builds


def used(docs: Any, text: str) -> tuple[list[str], list[str]]:
    """Indexes that a filter was answered by, and fields that were decoded for it."""
    with trace.record("read") as root:
        docs.query(text, output_fields=["id"])
    steps = list(root.walk())
    indexes = {step.details["index"] for step in steps if step.name == "scalar index"}
    return sorted(indexes), sorted({step.details["field"] for step in steps if step.name == "decode field"})


@pytest.mark.parametrize(
    ("text", "index", "decoded"),
    [
        ("year == 2003", "year", []),
        ("title == 'title 17'", "title", []),
        ("title like 'title 1%'", "title", []),
        ("sold == true", "sold", []),
        ("array_contains(tags, 'red')", "tags", []),
        ('meta["a"]["b"] == 3', 'meta["a"]["b"]', []),
        ("code == 'c17x'", "code", []),
        ("note like '%absent%'", "note", []),
        ("note like '%日本 Ünï fox'", "note", []),
        ("st_intersects(place, 'POLYGON ((-5 -5, 12 -5, 12 9, -5 9, -5 -5))')", "place", ["place"]),
    ],
)
def test_the_column_is_not_decoded_where_an_index_answers(
    built: Path, text: str, index: str, decoded: list[str]
) -> None:
    docs = hw.connect(built).collection("docs")
    # Candidates are looked at again: in place where they are few, else the column is decoded.
    assert used(docs, text) == ([index], decoded)


def test_a_scan_that_is_cheaper_is_a_scan(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path / "lake").create_collection(
        "docs", {"id": hw.Int64, "n": hw.Int64, "word": hw.String}, primary_key="id"
    )
    n = 40_000
    words = [f"the word {i}" for i in range(n)]
    docs.insert({"id": np.arange(n), "n": np.arange(n) % 1000, "word": words})
    docs.flush()
    docs.create_index("n", "STL_SORT")
    docs.create_index("word", "NGRAM")
    docs._opened.clear()
    assert used(docs, "n < 900") == (["n"], []), "not decoded yet: an index is cheaper than decoding"
    docs._opened.fields.column(docs._snapshot(docs._live()).segments[0], docs.schema, "n")
    assert used(docs, "n < 901") == ([], []), "most rows: comparing the decoded column is cheaper"
    assert used(docs, "n < 7") == (["n"], [])
    assert used(docs, "n != 7") == (["n"], [])
    assert used(docs, "word like '%the word%'") == ([], ["word"]), "every row would be looked at again"
    docs._opened.clear()
    assert used(docs, "word like '%word 1777%'") == (["word"], []), "a few rows are read in place"


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_the_same_for_any_combination(
    docs: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conditions joined and turned round at random; the index is asked even where a scan would be cheaper."""
    dice = np.random.default_rng(seed)

    def condition(depth: int) -> str:
        if depth == 0 or dice.random() < 0.3:
            return str(dice.choice(FILTERS))
        word = dice.choice(["and", "or", "not"])
        if word == "not":
            return f"not ({condition(depth - 1)})"
        return f"({condition(depth - 1)}) {word} ({condition(depth - 1)})"

    asked = [condition(3) for _ in range(150)] + [f"not ({text})" for text in FILTERS]

    def found() -> list[list[int]]:
        return [sorted(hit["id"] for hit in docs.query(text, output_fields=["id"])) for text in asked]

    plain = found()
    indexed(docs)
    monkeypatch.setattr(scalar_indexes, "_worth_marking", lambda predicate, data_type, num_rows: num_rows)
    monkeypatch.setattr(scalar_indexes, "_few", lambda answer, num_rows: True)
    docs._opened.clear()
    for text, before, after in zip(asked, plain, found(), strict=True):
        assert after == before, text


def test_indexes_follow_compaction(docs: Any) -> None:
    indexed(docs)
    plain = answers(docs)
    docs.optimize()
    manifest = docs._lake.latest()
    assert {(b.index, b.segment) for b in manifest.builds} == {
        (i.name, s.id) for i in manifest.indexes for s in manifest.segments
    }
    assert answers(docs) == plain
    for about in docs.describe()["indexes"]:
        assert about["coverage"] == 1.0
        assert about["size_bytes"] > 0
    assert all(one["recall"] == 1.0 for one in docs.health()["indexes"])


def test_an_external_collection_has_them_too(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    schema = pa.schema(
        [
            ("id", pa.int64()),
            ("year", pa.int32()),
            ("title", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("meta", pa.string()),
        ]
    )

    def put(name: str, start: int) -> None:
        some = [{key: row[key] for key in schema.names} for row in rows(start, ROWS)]
        pq.write_table(pa.Table.from_pylist(some, schema), folder / name, row_group_size=1000)

    put("a.parquet", 0)
    db = hw.connect(tmp_path / "lake")
    ours = {name: SCHEMA[name] for name in schema.names}
    docs = db.create_external_collection("docs", src=str(folder / "*.parquet"), schema=ours)
    filters = [text for text in FILTERS if not any(word in text for word in SCHEMA.keys() - ours.keys())]

    def found() -> list[list[int]]:
        return [sorted(hit["id"] for hit in docs.query(text, output_fields=["id"])) for text in filters]

    plain = found()
    for field, kind, params in INDEXES:
        if field in ours:
            docs.create_index(field, kind, params=params)
    docs._opened.clear()
    assert found() == plain
    put("b.parquet", ROWS)
    docs.refresh()
    more = found()
    assert all(len(after) >= len(before) for after, before in zip(more, plain, strict=True))
    assert sum(report.segments_built for report in docs.build_indexes()) > 0
    docs._opened.clear()
    assert found() == more


def test_what_autoindex_chose_is_recorded(docs: Any) -> None:
    for field in ("year", "price", "title", "sold", "tags", "at", "place", "counts", "weight"):
        docs.create_index(field)
    docs.create_index("id", "")
    docs.create_index("meta", params={"json_path": "meta['a']['b']"})
    chosen = {spec.name: spec.kind for spec in docs._lake.latest().indexes}
    assert chosen == {
        "year": "bitmap",
        "price": "sorted",
        "title": "inverted",
        "sold": "bitmap",
        "tags": "bitmap",
        "at": "sorted",
        "place": "rtree",
        "counts": "bitmap",
        "weight": "sorted",
        "id": "sorted",
        'meta["a"]["b"]': "json_path",
    }
    report = docs.create_index("year")
    assert report.segments_built == 0


def test_a_json_field_has_one_index_a_path(empty: Any) -> None:
    docs = empty
    docs.insert(rows(0, 50))
    docs.create_index("meta", "INVERTED", params={"json_path": "meta['a']['b']"})
    docs.create_index("meta", "INVERTED", params={"json_path": "/list"}, name="lists")
    version = docs.version
    docs.create_index("meta", "INVERTED", params={"json_path": "/a/b", "json_cast_type": "JSON"})
    assert docs.version == version, "another spelling of the same path"
    docs.create_index("meta", "INVERTED", params={"json_path": "/a/b", "json_cast_type": "double"})
    specs = {spec.name: dict(spec.options) for spec in docs._lake.latest().indexes}
    assert specs == {
        'meta["a"]["b"]': {"json_cast_type": "DOUBLE", "json_path": '["a"]["b"]'},
        "lists": {"json_cast_type": "JSON", "json_path": '["list"]'},
    }
    with pytest.raises(AlreadyExists, match="lists"):
        docs.create_index("meta", "INVERTED", params={"json_path": "/other"}, name="lists")
    with pytest.raises(InvalidArgument, match="2 indexes") as raised:
        docs.drop_index("meta")
    assert "lists" in str(raised.value.hint)
    docs.drop_index("lists")
    docs.drop_index("meta")
    with pytest.raises(IndexNotFound):
        docs.drop_index("meta")


def test_a_text_has_one_of_its_words_beside_it(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    text = FieldType(DataType.VARCHAR, analyzer='{"type": "standard"}')
    notes = db.create_collection("notes", {"id": hw.Int64, "body": text}, primary_key="id")
    notes.insert(
        [{"id": i, "body": f"a note on {word}"} for i, word in enumerate(("rivers", "lakes", "seas"))]
    )
    notes.create_index("body", "TEXT")
    notes.create_index("body", "INVERTED")
    assert {spec.name: spec.kind for spec in notes._lake.latest().indexes} == {
        "body": "text",
        "body_inverted": "inverted",
    }
    assert [hit["id"] for hit in notes.query("text_match(body, 'lakes') and body like 'a%'")] == [1]
    notes.drop_index("body_inverted")
    notes.drop_index("body")


def test_dropped_index_files_are_garbage(docs: Any) -> None:
    indexed(docs)
    keys = {build.file.key for build in docs._lake.latest().builds}
    for spec in docs._lake.latest().indexes:
        docs.drop_index(spec.name)
    later = Lake(docs._lake.store, docs._lake.root, clock=Clock(ahead_s=600))
    gc(later, retention_s=0, grace_s=0)
    left = {one.key for one in docs._lake.store.list(docs._lake.root)}
    assert keys
    assert not keys & left


@pytest.mark.parametrize(
    ("field", "index_type", "params", "error", "words"),
    [
        (
            "tags",
            "STL_SORT",
            {},
            InvalidArgument,
            ["STL_SORT", "tags", "array<varchar>", "INVERTED", "BITMAP"],
        ),
        ("price", "BITMAP", {}, InvalidArgument, ["BITMAP", "double", "STL_SORT"]),
        ("meta", "BITMAP", {"json_path": "/a"}, InvalidArgument, ["BITMAP", "json", "INVERTED"]),
        ("meta", "INVERTED", {}, InvalidArgument, ["one path", "json_path"]),
        ("meta", "INVERTED", {"json_path": "other['a']"}, InvalidArgument, ["other", "meta"]),
        ("meta", "INVERTED", {"json_path": "meta[a]"}, InvalidArgument, ["[a]", "meta"]),
        (
            "meta",
            "INVERTED",
            {"json_path": "/a", "json_cast_type": "INT"},
            InvalidArgument,
            ["INT", "DOUBLE"],
        ),
        (
            "meta",
            "INVERTED",
            {"json_path": "/a", "json_cast_type": "VARCHAR", "json_cast_function": "STRING_TO_DOUBLE"},
            UnsupportedOption,
            ["json_cast_function"],
        ),
        ("year", "STLSORT", {}, UnsupportedOption, ["STLSORT", "STL_SORT"]),
        ("year", "STL_SORT", {"nlist": 4}, UnsupportedOption, ["nlist", "none"]),
        ("year", "HNSW", {}, UnsupportedOption, ["HNSW", "STL_SORT"]),
    ],
)
def test_what_does_not_fit_is_refused(
    empty: Any, field: str, index_type: str, params: dict[str, Any], error: type, words: list[str]
) -> None:
    with pytest.raises(error) as raised:
        empty.create_index(field, index_type, params=params)
    for word in words:
        assert word in f"{raised.value} {raised.value.hint}"
    with pytest.raises(UnsupportedOption, match="metric_type"):
        empty.create_index("year", metric_type="L2")


def test_damage_is_named_and_never_an_answer(docs: Any, tmp_path: Path) -> None:
    docs.create_index("title", "INVERTED")
    asked = [OneOf(("title 17",)), Range("title 150", None), Matches("title 1%"), IsNull()]

    def marked() -> list[Any]:
        docs._opened.clear()
        found = [rows_of(docs).indexed("title", (), predicate) for predicate in asked]
        return [one.rows.tolist() for one in found if one is not None]

    plain = marked()
    assert len(plain) == len(asked)
    dice = np.random.default_rng(0)
    named = 0
    for build in docs._lake.latest().builds[:1]:
        path = docs._lake.store.local_path(build.file.key)
        content = path.read_bytes()
        for at in dice.choice(len(content), 40, replace=False).tolist():
            broken = bytearray(content)
            broken[at] ^= 255
            path.write_bytes(broken)
            try:
                assert marked() == plain
            except Corrupt:
                named += 1
        path.write_bytes(content)
    assert named


def rows_of(docs: Any) -> SegmentRows:
    snapshot = docs._snapshot(docs._live())
    return SegmentRows(snapshot.opened, snapshot.schema, snapshot.segments[0], snapshot.cache.scalars)


def test_the_command_line_declares_them_too(tmp_path: Path) -> None:
    docs = hw.connect(tmp_path).create_collection("docs", SCHEMA, primary_key="id")
    docs.insert(rows(0, 50))
    docs.flush()
    run = CliRunner()
    arguments = ["--lake", str(tmp_path), "index", "docs", "note", "--type", "NGRAM", "--json"]
    said = run.invoke(app, [*arguments, "--param", "min_gram=2", "--param", "max_gram=4"])
    assert said.exit_code == 0, said.output
    arguments[4:7] = ["meta", "--type", "INVERTED"]
    assert run.invoke(app, [*arguments, "--param", "json_path=/a/b"]).exit_code == 0
    specs = {spec.name: dict(spec.options) for spec in docs._lake.latest().indexes}
    assert specs["note"] == {"min_gram": 2, "max_gram": 4}
    assert specs['meta["a"]["b"]']["json_path"] == '["a"]["b"]'
    assert run.invoke(app, [*arguments, "--param", "json_path"]).exit_code == 2
