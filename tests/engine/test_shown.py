"""What a terminal and a notebook show of answers, schemas and reports: the beginning, not all of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import CollectionNotFound, MissingExtra


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    db = hw.connect(tmp_path_factory.mktemp("shown") / "lake")
    made = db.create_collection(
        "docs",
        [
            hw.Field("id", hw.Int64),
            hw.Field("text", hw.VarChar(2000, analyzer="english")),
            hw.Field("about", hw.JSON, nullable=True),
            hw.Field("lang", hw.String, default="en"),
            hw.Field("v", hw.FloatVector(768)),
            hw.Field("terms", hw.SparseFloatVector),
        ],
        "id",
        functions=[hw.Function("bm25", "BM25", "text", "terms")],
    )
    vectors = np.random.default_rng(0).normal(size=(500, 768)).astype(np.float32)
    made.insert(
        [
            {"id": i, "text": f"<b>{i}</b> " + "word " * 200, "about": {"n": i} if i else None, "v": one}
            for i, one in enumerate(vectors)
        ]
    )
    return made


def test_a_query_shows_its_first_rows_and_how_many_there_are(docs: hw.Collection) -> None:
    shown = repr(docs.query(output_fields=["*"], order_by="id"))
    assert len(shown) < 5000
    assert shown.startswith(f"<QueryResult: 500 rows, version {docs.version}, ")
    assert len(shown.splitlines()) == 12
    assert "'id': 9" in shown
    assert "... 490 more" in shown
    assert "... 768]" in shown
    assert "'about': {'n': 3}" in shown
    one = repr(docs.query("id == 3", output_fields=["id"]))
    assert one.splitlines()[1:] == ["  {'id': 3}"]
    assert "<QueryResult: 1 row," in one
    assert repr(docs.query("id < 0")).startswith("<QueryResult: 0 rows")


def test_a_search_shows_its_best_hits(docs: hw.Collection) -> None:
    query = docs.get([7], output_fields=["v"])[0]["v"]
    shown = repr(docs.search([query], top_k=300, output_fields=["v", "text"]))
    assert len(shown) < 5000
    assert shown.startswith("<SearchResult: 300 hits, version ")
    assert "  {'id': 7, 'distance': 1, 'entity': {'v': [" in shown
    assert "... 290 more" in shown
    several = repr(docs.search([query, query], top_k=2, anns_field="v"))
    assert "<SearchResult: 4 hits of 2 queries" in several
    assert "{'query': 1, 'id': 7, 'distance': 1, 'entity': {}}" in several
    level = hw.SearchAggregation(["lang"], size=3)
    buckets = docs.search([query], anns_field="v", search_aggregation=level)
    assert repr(buckets).startswith("<SearchResult: 1 bucket,")


def test_a_notebook_shows_a_table(docs: hw.Collection) -> None:
    table = docs.query("id < 2", output_fields=["id", "text", "about"], order_by="id")._repr_html_()
    assert "<th>id</th><th>text</th><th>about</th>" in table
    assert "<td>0</td><td>&lt;b&gt;0&lt;/b&gt; word" in table
    assert "<td></td></tr>" in table
    found = docs.search(["word"], anns_field="terms", top_k=50, output_fields=["id", "lang"])
    table = found._repr_html_()
    assert table.count("<tr>") == 11
    assert "<th>distance</th><th>lang</th>" in table
    assert "<p>40 more</p>" in table


def test_results_are_frames_and_say_what_is_not_installed(
    docs: hw.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = docs.query("id < 5", output_fields=["id"]), docs.search([[1.0] * 768], anns_field="v", top_k=5)
    for answer in answers:
        assert answer.to_polars()["id"].to_list() == answer.to_pandas()["id"].to_list()
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
        for one in (*answers, docs):
            with pytest.raises(MissingExtra, match=name) as refused:
                getattr(one, f"to_{name}")()
            assert f"headwater[{name}]" in (refused.value.hint or "")


def test_a_schema_is_a_line_for_each_field(docs: hw.Collection) -> None:
    assert repr(docs.schema).splitlines() == [
        "<Schema: 6 fields, primary key 'id'>",
        "  id: int64",
        '  text: varchar, max_length=2000, analyzer={"type": "english"}',
        "  about: json, nullable",
        "  lang: varchar, default='en'",
        "  v: float_vector(768)",
        "  terms: sparse_float_vector",
        "  terms = BM25(text)",
    ]
    assert [repr(one) for one in (hw.Int64, hw.FloatVector(8), hw.Array(hw.String, max_capacity=4))] == [
        "<int64>",
        "<float_vector(8)>",
        "<array<varchar>, max_capacity=4>",
    ]
    assert repr(hw.Field("a", hw.Int8, nullable=True, source="b")) == "<a: int8, nullable, source='b'>"


def test_reports_are_short(docs: hw.Collection, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    for number in range(50):
        pq.write_table(pa.table({"id": [number]}), tmp_path / f"source/{number}.parquet")
    db = hw.connect(tmp_path / "lake")
    many = db.create_external_collection("many", tmp_path / "source")
    pq.write_table(pa.table({"id": [50]}), tmp_path / "source/50.parquet")
    shown = repr(many.refresh())
    assert "version 3, 51 rows; files: 1 added, 0 changed, 0 removed, 50 unchanged" in shown
    assert len(repr(docs.tiers())) < 300
    assert "wanted auto" in repr(docs.tiers())
    assert repr(docs.cost()) == str(docs.cost())
    held = hw.connect(tmp_path / "lake").tiers.report()
    assert len(repr(held)) < 300
    with hw.explain() as what:
        docs.count("id < 3")
    assert repr(what) == str(what)


def test_what_is_gone_can_still_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = hw.connect(tmp_path / "lake").create_collection("notes", {"id": hw.Int64}, "id")
    notes.insert([{"id": 1}])
    assert repr(notes) == "<collection 'notes': 1 rows at version 1>"

    def gone(collection: hw.Collection) -> int:
        raise CollectionNotFound("no collection at 'default/notes'")

    monkeypatch.setattr(hw.Collection, "num_rows", property(gone))
    assert repr(notes) == "<collection 'notes': no collection at 'default/notes'>"
