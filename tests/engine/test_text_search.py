"""BM25 through the door, against a plain implementation over whatever rows are live, wherever they lie."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rank_bm25 import BM25Okapi

import headwater as hw
from headwater import errors

FIELDS = {
    "id": hw.Int64,
    "year": hw.Int32,
    "text": hw.Field("text", hw.VarChar(10_000, analyzer="standard"), nullable=True),
    "sparse": hw.SparseFloatVector,
}
BM25 = hw.Function("bm25", "BM25", "text", "sparse")
QUERIES = ["w1 w5", "w0 w0 w30 w7", "w200", "w3 w4 w5 w6 w80", "nothing of this"]


def make_rows(n: int, first: int = 0, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed + first)
    chances = 1 / np.arange(1, 301)
    chances /= chances.sum()
    rows = []
    for i in range(first, first + n):
        words = rng.choice(300, int(rng.integers(1, 30)), p=chances)
        text = None if i % 53 == 7 else " ".join(f"W{word}," for word in words)
        rows.append({"id": i, "year": int(rng.integers(2000, 2020)), "text": text})
    return rows


def reference(
    rows: dict[int, dict[str, Any]], query: str, k1: float = 1.2, b: float = 0.75
) -> dict[int, float]:
    """BM25 of every row that has a term of the query, by the book."""
    texts = {
        key: re.findall(r"\w+", row["text"].lower()) for key, row in rows.items() if row["text"] is not None
    }
    mean = sum(map(len, texts.values())) / max(1, len(texts))
    scores: dict[int, float] = {}
    for term, times in Counter(re.findall(r"\w+", query.lower())).items():
        holding = sum(term in words for words in texts.values())
        idf = math.log(1 + (len(texts) - holding + 0.5) / (holding + 0.5))
        for key, words in texts.items():
            tf = words.count(term)
            if tf:
                part = tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(words) / mean))
                scores[key] = scores.get(key, 0.0) + times * idf * part
    return scores


def check(
    col: Any,
    rows: dict[int, dict[str, Any]],
    *,
    k1: float = 1.2,
    b: float = 0.75,
    only: Any = None,
    **request: Any,
) -> None:
    for query in QUERIES:
        [hits] = col.search([query], anns_field="sparse", top_k=10, **request)
        scores = reference(rows, query, k1, b)
        allowed = {key: score for key, score in scores.items() if only is None or only(rows[key])}
        best = sorted(allowed.values(), reverse=True)[:10]
        assert [hit["distance"] for hit in hits] == pytest.approx(best, abs=1e-4), query
        for hit in hits:
            assert hit["distance"] == pytest.approx(allowed[hit["id"]], abs=1e-4)


def test_scores_are_of_the_whole_collection_through_all_that_happens_to_it(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    rows: dict[int, dict[str, Any]] = {}

    def insert(n: int, first: int) -> None:
        made = make_rows(n, first)
        col.insert(made)
        rows.update({row["id"]: row for row in made})

    insert(300, 0)
    check(col, rows)
    col.flush()
    insert(200, 300)
    check(col, rows)
    col.flush()
    col.create_index("sparse")
    check(col, rows)
    insert(100, 500)
    check(col, rows)
    col.delete([key for key in rows if key % 3 == 0])
    rows = {key: row for key, row in rows.items() if key % 3}
    check(col, rows)
    changed = [{**row, "text": f"w1 {row['text'] or 'w200'}"} for key, row in rows.items() if key % 5 == 0]
    col.upsert(changed)
    rows.update({row["id"]: row for row in changed})
    check(col, rows)
    check(col, rows, filter="year < 2005", only=lambda row: row["year"] < 2005)
    check(col, rows, filter="year == 1990", only=lambda row: False)
    col.flush()
    check(col, rows)
    col.optimize()
    check(col, rows)
    col.build_indexes()
    check(col, rows)
    check(hw.connect(tmp_path).collection("docs"), rows)


def test_rows_one_by_one_are_searched_as_they_come(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    rows = {}
    for row in make_rows(40):
        col.insert([row])
        rows[row["id"]] = row
        if row["id"] % 8 == 0:
            check(col, rows)


def test_parameters_of_the_index_are_those_of_the_score(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    made = make_rows(200)
    col.insert(made)
    rows = {row["id"]: row for row in made}
    for k1, b in ((2.0, 0.3), (0.0, 0.5), (1.5, 0.0), (1.2, 1.0)):
        col.create_index("sparse", "SPARSE_INVERTED_INDEX", params={"bm25_k1": k1, "bm25_b": b})
        check(col, rows, k1=k1, b=b)


def test_partitions_do_not_change_the_statistics(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    col.create_partition("other")
    one, two = make_rows(150), make_rows(150, 1000)
    col.insert(one)
    col.insert(two, partition="other")
    rows = {row["id"]: row for row in one + two}
    check(col, rows)
    check(col, rows, partitions=["other"], only=lambda row: row["id"] >= 1000)


def test_an_external_collection_is_searched_by_text(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    made = make_rows(400)
    for part in range(2):
        table = pa.Table.from_pylist(made[part * 200 : part * 200 + 200])
        pq.write_table(table, tmp_path / "files" / f"{part}.parquet")
    schema = hw.Schema.of(FIELDS, functions=[BM25])
    col = hw.connect(tmp_path / "lake").create_external_collection("docs", tmp_path / "files", schema, "id")
    rows = {row["id"]: row for row in made}
    check(col, rows)
    col.create_index("sparse")
    check(col, rows)


def test_scores_rank_as_rank_bm25_does(tmp_path: Path) -> None:
    # Its idf differs; for one term that is a factor, and the ranking is the same.
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    made = [row for row in make_rows(300) if row["text"] is not None]
    col.insert(made)
    corpus = [re.findall(r"\w+", row["text"].lower()) for row in made]
    theirs = BM25Okapi(corpus, k1=1.2, b=0.75)
    for term in ("w40", "w90", "w150"):
        scores = theirs.get_scores([term])
        [hits] = col.search([term], anns_field="sparse", top_k=10)
        factor = theirs.idf[term] / math.log(
            1
            + (len(corpus) - sum(term in words for words in corpus) + 0.5)
            / (sum(term in words for words in corpus) + 0.5)
        )
        best = sorted((score / factor for score in scores if score), reverse=True)[:10]
        assert [hit["distance"] for hit in hits] == pytest.approx(best, abs=1e-4)


def test_a_range_of_scores(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    made = make_rows(300)
    col.insert(made)
    scores = sorted(reference({row["id"]: row for row in made}, "w1 w5").values(), reverse=True)
    low, high = scores[60] + 1e-5, scores[20] + 1e-5
    params = {"radius": low, "range_filter": high}
    [hits] = col.search(["w1 w5"], anns_field="sparse", top_k=100, params=params)
    expected = [score for score in scores if low < score <= high]
    assert [hit["distance"] for hit in hits] == pytest.approx(expected, abs=1e-4)
    [page] = col.search(["w1 w5"], anns_field="sparse", top_k=10, offset=5)
    assert [hit["distance"] for hit in page] == pytest.approx(scores[5:15], abs=1e-4)


def test_several_texts_and_a_sparse_field_alone(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    col.insert([{"id": 1, "year": 1, "text": "red fish"}, {"id": 2, "year": 2, "text": "blue fish"}])
    found = col.search(["red", "blue", "green", "fish"], output_fields=["text"])
    assert [[hit["id"] for hit in hits] for hits in found] == [[1], [2], [], [1, 2]]
    assert found[0][0]["entity"] == {"text": "red fish"}
    assert [hit["id"] for hit in col.search("red")[0]] == [1]
    with pytest.raises(errors.InvalidArgument, match="searched by text"):
        col.search([{1: 0.5}])
    with pytest.raises(errors.InvalidArgument, match="does not fit 'sparse'"):
        col.create_index("sparse", metric_type="IP")
    with pytest.raises(errors.InvalidArgument, match="bm25_b"):
        col.create_index("sparse", params={"bm25_b": 2})
    with pytest.raises(errors.UnsupportedOption, match="nprobe"):
        col.search("red", params={"nprobe": 3})
    with pytest.raises(errors.UnsupportedOption, match="klingon"):
        hw.connect(tmp_path).create_collection(
            "no", {"id": hw.Int64, "text": hw.VarChar(9, analyzer="klingon")}, "id"
        )


def test_rows_past_their_time_are_not_counted(tmp_path: Path) -> None:
    fields = {**FIELDS, "until": hw.TimestampTz}
    db = hw.connect(tmp_path)
    col = db.create_collection("docs", fields, "id", functions=[BM25], properties={"ttl_field": "until"})
    made = [
        {**row, "until": "2001-01-01T00:00:00Z" if row["id"] % 2 else "2999-01-01T00:00:00Z"}
        for row in make_rows(200)
    ]
    col.insert(made[:100])
    col.flush()
    col.create_index("sparse")
    col.insert(made[100:])
    rows = {row["id"]: row for row in made if row["id"] % 2 == 0}
    check(col, rows)


def test_text_and_vectors_are_searched_together(tmp_path: Path) -> None:
    fields = {**FIELDS, "v": hw.FloatVector(4)}
    col = hw.connect(tmp_path).create_collection("docs", fields, "id", functions=[BM25])
    rng = np.random.default_rng(0)
    col.insert([{**row, "v": rng.normal(size=4).tolist()} for row in make_rows(100)])
    legs = [
        hw.AnnSearchRequest(["w1 w5"], "sparse", limit=20),
        hw.AnnSearchRequest([[1.0, 0.0, 0.0, 0.0]], "v", limit=20),
    ]
    result = col.hybrid_search(legs, hw.RRFRanker(), limit=10)
    [text] = col.search(["w1 w5"], anns_field="sparse", top_k=20)
    [dense] = col.search([[1.0, 0.0, 0.0, 0.0]], anns_field="v", top_k=20)
    scores: dict[int, float] = {}
    for leg in (text, dense):
        for place, hit in enumerate(leg, 1):
            scores[hit["id"]] = scores.get(hit["id"], 0.0) + 1 / (60 + place)
    assert [hit["distance"] for hit in result[0]] == pytest.approx(sorted(scores.values(), reverse=True)[:10])


def test_a_function_added_later_searches_the_rows_that_are_there(tmp_path: Path) -> None:
    fields = {name: kind for name, kind in FIELDS.items() if name != "sparse"}
    col = hw.connect(tmp_path).create_collection("docs", fields, "id")
    made = make_rows(200)
    col.insert(made[:100])
    col.create_index("text", "TEXT")
    col.insert(made[100:])
    col.add_function(BM25, hw.SparseFloatVector)
    rows = {row["id"]: row for row in made}
    check(col, rows)
    col.create_index("sparse")
    check(col, rows)


def test_an_iterator_walks_through_every_hit(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    made = make_rows(300)
    col.insert(made)
    scores = reference({row["id"]: row for row in made}, "w1 w5")
    found = []
    with col.search_iterator(["w1 w5"], anns_field="sparse", batch_size=17) as walk:
        for batch in walk:
            found += [hit["distance"] for hit in batch]
    assert found == pytest.approx(sorted(scores.values(), reverse=True), abs=1e-4)
