"""Text filters, highlighting and `run_analyzer` through the door."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater import errors

TEXTS = [
    "Glaciers move slowly over rock",
    "Rock music moves people",
    "The glacier is moving, slowly",
    None,
    "Nothing here",
    "over rock and ice, slowly glaciers move",
]
BM25 = hw.Function("bm25", "BM25", "text", "sparse")


def collection(folder: Path, analyzer: Any = "english", *, bm25: bool = True) -> hw.Collection:
    fields = {"id": hw.Int64, "text": hw.Field("text", hw.Text.analyzed(analyzer), nullable=True)}
    if bm25:
        fields["sparse"] = hw.Field("sparse", hw.SparseFloatVector)
    db = hw.connect(folder)
    return db.create_collection("docs", fields, "id", functions=[BM25] if bm25 else ())


def ids(col: Any, filter: str) -> list[int]:
    return [row["id"] for row in col.query(filter, output_fields=["id"], order_by="id")]


FILTERS = {
    "text_match(text, 'glacier')": [0, 2, 5],
    "text_match(text, 'moving rocks')": [0, 1, 2, 5],
    "text_match(text, 'moving rocks', minimum_should_match=2)": [0, 1, 5],
    "phrase_match(text, 'glaciers move')": [0, 5],
    "phrase_match(text, 'move glaciers', 2)": [0, 5],
    "phrase_match(text, 'move glaciers', 3)": [0, 2, 5],
    "phrase_match(text, 'slowly glaciers')": [5],
    "not text_match(text, 'glacier')": [1, 4],
    "text_match(text, 'glacier') and id > 1": [2, 5],
}


@pytest.mark.parametrize("where", ["growing", "sealed", "TEXT", "BM25", "both"])
def test_filters_find_the_same_rows_whatever_is_indexed(tmp_path: Path, where: str) -> None:
    col = collection(tmp_path)
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS[:4])])
    if where != "growing":
        col.flush()
    if where == "TEXT":
        col.create_index("text", "TEXT")
    if where == "BM25":
        col.create_index("sparse")
    if where == "both":
        col.create_index("sparse")
        col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS[4:], 4)])
        col.flush()
        col.create_index("text", "TEXT")
    else:
        col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS[4:], 4)])
    for filter, expected in FILTERS.items():
        assert ids(col, filter) == expected, filter


def test_a_fuzzy_match(tmp_path: Path) -> None:
    col = collection(tmp_path, "standard", bm25=False)
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    found = json.dumps("glaciars")
    assert ids(col, f"text_match_fuzzy(text, {found}, 1)") == [0, 5]
    assert ids(col, f"text_match_fuzzy(text, {found}, 2)") == [0, 2, 5]


def test_a_search_is_filtered_by_text(tmp_path: Path) -> None:
    col = collection(tmp_path)
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    [hits] = col.search(["glacier"], filter="text_match(text, 'rock')")
    assert sorted(hit["id"] for hit in hits) == [0, 5]


def test_hits_come_with_highlighted_fragments(tmp_path: Path) -> None:
    col = collection(tmp_path)
    col.insert([{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    how = hw.LexicalHighlighter(pre_tags=["<"], post_tags=[">"])
    found = col.search(["moving glacier", "people"], output_fields=["text"], highlighter=how)
    marked = {hit["id"]: hit["highlight"]["text"]["fragments"] for hit in found[0]}
    assert marked[0] == ["<Glaciers> <move> slowly over rock"]
    assert marked[2] == ["<glacier> is <moving>, slowly"]
    assert found[1][0]["highlight"] == {"text": {"fragments": ["<people>"]}}
    more = hw.LexicalHighlighter(
        highlight_search_text=False,
        highlight_query=[{"type": "TextMatch", "field": "text", "text": "rocks slowly"}],
        pre_tags=["{", "["],
        post_tags=["}", "]"],
    )
    [hits] = col.search(["moving glacier"], output_fields=["text"], highlighter=more)
    marked = {hit["id"]: hit["highlight"]["text"]["fragments"] for hit in hits}
    assert marked[0] == ["{slowly} over [rock]"]
    assert marked[5] == ["{rock} and ice, [slowly] glaciers move"]
    none = hw.LexicalHighlighter(num_of_fragments=0)
    [hits] = col.search(["ice"], output_fields=["text"], highlighter=none)
    assert hits[0]["highlight"]["text"]["fragments"] == []
    [hits] = col.search(["people"], output_fields=["id"], highlighter=how)
    assert hits[0]["entity"] == {"id": hits[0]["id"]}
    assert hits[0]["highlight"] == {"text": {"fragments": ["<people>"]}}
    with pytest.raises(errors.InvalidArgument, match="nothing to mark"):
        col.search(
            ["ice"], output_fields=["text"], highlighter=hw.LexicalHighlighter(highlight_search_text=False)
        )
    with pytest.raises(errors.InvalidArgument, match="post_tags"):
        hw.LexicalHighlighter(post_tags=[])


def test_fragments_are_as_long_as_asked_and_lose_no_term(tmp_path: Path) -> None:
    col = collection(tmp_path, "standard")
    words = [f"w{i % 7}" for i in range(300)]
    col.insert([{"id": 1, "text": " ".join(words)}])
    for size, offset in ((10, 0), (40, 5), (37, 40), (5000, 3)):
        how = hw.LexicalHighlighter(fragment_size=size, fragment_offset=offset, num_of_fragments=1000)
        [[hit]] = col.search(["w3"], output_fields=["text"], highlighter=how)
        fragments = hit["highlight"]["text"]["fragments"]
        plain = [re.sub("</?em>", "", fragment) for fragment in fragments]
        assert sum(fragment.count("<em>w3</em>") for fragment in fragments) == words.count("w3")
        assert all(fragment in " ".join(words) for fragment in plain)
        if (
            size < 5000
        ):  # The words are two letters, and each term begins a fragment, or is in one to its end.
            assert all(len(fragment) <= max(size, offset + 2) + 2 for fragment in plain)
    how = hw.LexicalHighlighter(fragment_size=20, num_of_fragments=3)
    [[hit]] = col.search(["w3"], output_fields=["text"], highlighter=how)
    assert len(hit["highlight"]["text"]["fragments"]) == 3


def test_run_analyzer_shows_terms_and_where_they_stand(tmp_path: Path) -> None:
    col = collection(tmp_path)
    db = hw.connect(tmp_path)
    assert hw.run_analyzer("The running dogs", "english") == ["run", "dog"]
    assert db.run_analyzer(["Üben, a"], {"type": "standard"}) == [["üben", "a"]]
    assert db.run_analyzer("The dogs", collection_name="docs", field_name="text") == ["dog"]
    detail = db.run_analyzer("Über dogs", "standard", with_detail=True, with_hash=True)
    assert [{**one, "hash": 0} for one in detail] == [
        {"token": "über", "start_offset": 0, "end_offset": 5, "position": 0, "hash": 0},
        {"token": "dogs", "start_offset": 6, "end_offset": 10, "position": 1, "hash": 0},
    ]
    with pytest.raises(errors.InvalidArgument, match="without an analyzer"):
        db.run_analyzer("a", collection_name="docs", field_name="id")
    with pytest.raises(errors.InvalidArgument, match="analyzer_params, or"):
        db.run_analyzer("a")
    assert col.schema.field("text").type.analyzer == '{"type": "english"}'


def test_a_text_without_an_analyzer_is_not_searched(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", {"id": hw.Int64, "text": hw.Text}, "id")
    with pytest.raises(errors.InvalidArgument, match="analyzer"):
        col.query("text_match(text, 'a')")
    with pytest.raises(errors.InvalidArgument, match="analyzer"):
        col.create_index("text", "TEXT")


def test_inverted_indexes_are_kept_up_and_reported_like_others(tmp_path: Path) -> None:
    col = collection(tmp_path)
    for start in range(0, 600, 200):
        col.insert([{"id": start + i, "text": TEXTS[i % 6]} for i in range(200)])
        col.flush()
    col.create_index("sparse")
    col.create_index("text", "TEXT")
    col.delete(list(range(300)))
    col.optimize()
    assert {one["index"]: one["coverage"] for one in col.health()["indexes"]} == {"sparse": 1.0, "text": 1.0}
    with hw.explain() as explanation:
        found = ids(col, "text_match(text, 'glacier')")
    assert found == [i for i in range(300, 600) if i % 200 % 6 in (0, 2, 5)]
    assert "text_match" in str(explanation) or "sparse" in str(explanation)
    col.drop_index("sparse")
    col.drop_index("text")
    assert ids(col, "text_match(text, 'glacier')") == found
