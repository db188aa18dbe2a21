"""The short way through several segments: deleted rows, rows of the log, rows without an index, fields of each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nearest import nearest_rows

import headwater as hw
from headwater.query import ready
from headwater.query.opened import fields as opened_fields
from headwater.settings import MaintenanceSettings, Settings

SEGMENTS, EACH, DIM, K = 3, 3000, 8, 6
ROWS, LATER = SEGMENTS * EACH, 200
ALONE = Settings(maintenance=MaintenanceSettings(automatic=False))
RNG = np.random.default_rng(11)
VECTORS = RNG.normal(size=(ROWS + LATER, DIM)).astype(np.float32)
QUERIES = RNG.normal(size=(9, DIM)).astype(np.float32)
EFFORTS = {"HNSW": {"ef": 3000}, "IVF_SQ8": {"nprobe": 16, "refine_k": 20}}
SEARCH: Any = sys.modules["headwater.query.search"]

pytestmark = pytest.mark.usefixtures("decoded_at_once")


@pytest.fixture
def decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields are in memory from the first search."""
    monkeypatch.setattr(opened_fields, "_HOT_TAKES", 0)


def rows(numbers: np.ndarray) -> dict[str, Any]:
    titles = [f"title {number}" for number in numbers]
    return {"id": numbers, "n": numbers % 10, "title": titles, "v": VECTORS[numbers]}


def made(path: Path, kind: str = "HNSW", metric: str = "L2") -> hw.Collection:
    """Three segments under an index."""
    fields = {"id": hw.Int64, "n": hw.Int32, "title": hw.String, "v": hw.FloatVector(DIM)}
    docs = hw.connect(path, settings=ALONE).create_collection("docs", fields, "id")
    for start in range(0, ROWS, EACH):
        docs.insert(rows(np.arange(start, start + EACH)))
        docs.flush()
    params = {"nlist": 16} if kind == "IVF_SQ8" else {"M": 12, "efConstruction": 60}
    docs.create_index("v", kind, metric_type=metric, params=params)
    return docs


def exact(query: np.ndarray, metric: str, alive: np.ndarray) -> list[int]:
    """The nearest living rows, by plain arithmetic."""
    return nearest_rows(VECTORS, query, metric, alive, K)


def check(docs: hw.Collection, kind: str, metric: str, alive: np.ndarray, condition: str | None) -> None:
    """One query at a time and all at once."""
    asked = {"top_k": K, "output_fields": ["title", "n"], "params": EFFORTS[kind], "filter": condition}
    every = [exact(query, metric, alive) for query in QUERIES]
    for query, expected in zip(QUERIES, every, strict=True):
        hits = docs.search(query, **asked)[0]
        assert [hit["id"] for hit in hits] == expected
        assert all(hit["entity"] == {"title": f"title {hit['id']}", "n": hit["id"] % 10} for hit in hits)
    together = docs.search(QUERIES, **asked)
    assert [[hit["id"] for hit in hits] for hits in together] == every
    assert together.to_arrow().column("title").to_pylist() == [
        f"title {number}" for one in every for number in one
    ]


def long_way(*_: Any) -> Any:
    raise AssertionError("the long way was taken")


def check_both_ways(
    docs: hw.Collection,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    metric: str,
    alive: np.ndarray,
    condition: str | None = None,
) -> None:
    """The long way opens what the short way uses."""
    check(docs, kind, metric, alive, condition)
    with monkeypatch.context() as patched:
        patched.setattr(ready, "search", long_way)
        check(docs, kind, metric, alive, condition)


@pytest.mark.parametrize(
    ("kind", "metric"), [("HNSW", "L2"), ("IVF_SQ8", "L2"), ("IVF_SQ8", "COSINE"), ("HNSW", "IP")]
)
def test_several_segments_are_searched_the_short_way_whatever_is_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, metric: str
) -> None:
    docs, numbers = made(tmp_path, kind, metric), np.arange(ROWS + LATER)
    alive = numbers < ROWS
    check_both_ways(docs, monkeypatch, kind, metric, alive)
    check_both_ways(docs, monkeypatch, kind, metric, alive & (numbers % 10 < 4), "n < 4")
    # Rows that are gone from two of the segments, the nearest ones among them.
    gone = sorted({number for query in QUERIES for number in exact(query, metric, alive)[:2]})
    gone = [number for number in gone if number >= EACH] + list(range(EACH, EACH + 40))
    docs.delete(ids=gone)
    alive[gone] = False
    check_both_ways(docs, monkeypatch, kind, metric, alive)
    check_both_ways(docs, monkeypatch, kind, metric, alive & (numbers % 10 < 4), "n < 4")
    # Rows of the log, which no index covers.
    docs.insert(rows(np.arange(ROWS, ROWS + LATER)))
    alive[ROWS:] = True
    check_both_ways(docs, monkeypatch, kind, metric, alive)
    check_both_ways(docs, monkeypatch, kind, metric, alive & (numbers % 10 < 4), "n < 4")
    docs.delete(ids=list(range(ROWS, ROWS + 50)))
    alive[ROWS : ROWS + 50] = False
    check_both_ways(docs, monkeypatch, kind, metric, alive)
    # And rows that are sealed, but not indexed yet.
    docs.flush()
    check_both_ways(docs, monkeypatch, kind, metric, alive)
    check_both_ways(docs, monkeypatch, kind, metric, alive & (numbers % 10 < 4), "n < 4")


@pytest.mark.parametrize(("kind", "metric"), [("HNSW", "L2"), ("IVF_SQ8", "COSINE"), ("HNSW", "IP")])
def test_rows_of_the_log_are_compared_at_once_where_none_of_them_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, metric: str
) -> None:
    docs, numbers = made(tmp_path, kind, metric), np.arange(ROWS + LATER)
    docs.insert(rows(np.arange(ROWS, ROWS + LATER)))
    alive = numbers >= 0
    check(docs, kind, metric, alive, None)
    with monkeypatch.context() as patched:
        patched.setattr(ready, "search_segment", long_way)
        check(docs, kind, metric, alive, None)
    # One of them is gone, and others do not fit a filter: which, each search asks of its snapshot.
    nearest = next(number for query in QUERIES for number in exact(query, metric, numbers >= ROWS))
    docs.delete(ids=[nearest])
    alive[nearest] = False
    check(docs, kind, metric, alive, None)
    check_both_ways(docs, monkeypatch, kind, metric, alive & (numbers % 10 < 4), "n < 4")


def test_rows_of_the_log_without_a_vector_are_no_hits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"id": hw.Int64, "v": hw.Field("v", hw.FloatVector(DIM), nullable=True)}
    docs = hw.connect(tmp_path, settings=ALONE).create_collection("docs", fields, "id")
    docs.insert({"id": np.arange(EACH), "v": VECTORS[:EACH]})
    docs.flush()
    docs.create_index("v", "HNSW", metric_type="L2", params={"M": 12, "efConstruction": 60})
    docs.insert([{"id": EACH + n, "v": None if n % 2 else VECTORS[EACH + n].tolist()} for n in range(100)])
    numbers = np.arange(ROWS + LATER)
    there = (numbers < EACH) | ((numbers < EACH + 100) & (numbers % 2 == 0))
    for _ in range(3):
        for query in QUERIES:
            hits = docs.search(query, top_k=K, params=EFFORTS["HNSW"])[0]
            assert [hit["id"] for hit in hits] == exact(query, "L2", there)


def test_segments_without_a_row_of_the_filter_are_passed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, numbers = made(tmp_path, "IVF_SQ8"), np.arange(ROWS + LATER)
    wanted = (numbers >= EACH) & (numbers < 2 * EACH) & (numbers % 10 == 3)
    # Statistics of `n` do not tell that the first segment and the last hold none.
    condition = f"n == 3 and (id + 0) >= {EACH} and (id + 0) < {2 * EACH}"
    check_both_ways(docs, monkeypatch, "IVF_SQ8", "L2", wanted, condition)
    for _ in range(3):
        assert list(docs.search(QUERIES[0], filter="n == 3 and (id + 0) < 0")[0]) == []


def test_a_hybrid_search_finds_its_legs_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = made(tmp_path)
    alive = np.arange(ROWS + LATER) < ROWS
    legs = [hw.AnnSearchRequest([query], "v", EFFORTS["HNSW"], limit=K) for query in QUERIES[:2]]

    def fused() -> set[int]:
        return {hit["id"] for hit in docs.hybrid_search(legs, hw.RRFRanker(), limit=2 * K)[0]}

    expected = {number for query in QUERIES[:2] for number in exact(query, "L2", alive)}
    assert fused() == expected
    monkeypatch.setattr(ready, "find", long_way)
    assert fused() == expected


def test_much_work_is_divided_among_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = made(tmp_path)
    alive = np.arange(ROWS + LATER) < ROWS
    check_both_ways(docs, monkeypatch, "HNSW", "L2", alive)
    monkeypatch.setattr(SEARCH, "_LARGE_WORK", 4 * EACH * DIM * SEARCH._SEEN_BY_INDEX)
    docs.insert(rows(np.arange(ROWS, ROWS + 1)))
    alive[ROWS] = True
    check(docs, "HNSW", "L2", alive, None)
    monkeypatch.setattr(ready, "search", long_way)
    docs.search(QUERIES[:4], top_k=K, params=EFFORTS["HNSW"], output_fields=["title", "n"])
    with pytest.raises(AssertionError, match="the long way"):
        docs.search(QUERIES[:5], top_k=K, params=EFFORTS["HNSW"], output_fields=["title", "n"])


def test_a_number_that_is_not_finite_is_refused_in_several_segments_too(tmp_path: Path) -> None:
    docs = made(tmp_path)
    for _ in range(4):
        docs.search(QUERIES[0], top_k=K)
    for wrong in (np.nan, np.inf):
        bad = QUERIES[0].copy()
        bad[3] = wrong
        for query in (bad, np.stack([QUERIES[1], bad])):
            with pytest.raises(hw.errors.SchemaMismatch, match="NaN or infinity"):
                docs.search(query, top_k=K)


def test_fewer_rows_than_asked_for_are_left_in_a_segment(tmp_path: Path) -> None:
    docs, alive = made(tmp_path), np.arange(ROWS + LATER) < ROWS
    left = [EACH + 7, EACH + 1007]
    docs.delete(ids=[number for number in range(EACH, 2 * EACH) if number not in left])
    alive[EACH : 2 * EACH] = False
    alive[left] = True
    for _ in range(3):
        check(docs, "HNSW", "L2", alive, None)
    docs.delete(filter=f"(id + 0) < {EACH} or (id + 0) >= {2 * EACH}")
    for _ in range(3):
        check(docs, "HNSW", "L2", np.isin(np.arange(ROWS + LATER), left), None)
