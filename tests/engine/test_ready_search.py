"""Searches asked again and again take a short way: it answers as the long way does, whatever happens in between."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from nearest import nearest_rows

import headwater as hw
from headwater import errors, trace
from headwater.engine import core
from headwater.query import ready, snapshot
from headwater.query.opened import fields as opened_fields

ROWS, DIM, K = 3000, 8, 5
RNG = np.random.default_rng(7)
VECTORS = RNG.normal(size=(ROWS, DIM)).astype(np.float32)
QUERIES = RNG.normal(size=(12, DIM)).astype(np.float32)
EFFORTS = {"HNSW": {"ef": 2000}, "IVF_SQ8": {"nprobe": 16, "refine_k": 20}, "AUTOINDEX": {}}


def made(path: Path, kind: str, metric: str) -> hw.Collection:
    fields = {"id": hw.Int64, "n": hw.Int32, "title": hw.String, "v": hw.FloatVector(DIM)}
    docs = hw.connect(path).create_collection("docs", fields, "id")
    titles = [f"title {number}" for number in range(ROWS)]
    docs.insert({"id": np.arange(ROWS), "n": np.arange(ROWS) % 10, "title": titles, "v": VECTORS})
    params = {"nlist": 16} if kind.startswith("IVF") else {"M": 12, "efConstruction": 60}
    params = {} if kind == "AUTOINDEX" else params
    docs.create_index("v", kind, metric_type=metric, params=params)
    return docs


def exact(query: np.ndarray, metric: str, alive: np.ndarray) -> list[int]:
    """The nearest living rows, by plain arithmetic."""
    return nearest_rows(VECTORS, query, metric, alive, K)


def asked(docs: hw.Collection, data: Any, **more: Any) -> hw.SearchResult:
    return docs.search(data, top_k=K, output_fields=["title", "n"], **more)


def long_way(*_: Any) -> Any:
    raise AssertionError("the long way was taken")


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("HNSW", "L2"), ("HNSW", "COSINE"), ("IVF_SQ8", "IP"), ("IVF_SQ8", "L2"), ("IVF_SQ8", "COSINE")],
)
def test_a_search_asked_again_takes_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, metric: str
) -> None:
    docs, alive, params = made(tmp_path, kind, metric), np.ones(ROWS, np.bool_), EFFORTS[kind]
    first = [asked(docs, [query], params=params) for query in QUERIES]
    monkeypatch.setattr(ready, "search", long_way)
    for query, before in zip(QUERIES, first, strict=True):
        again = asked(docs, query, params=params)
        assert again == before
        assert [hit["id"] for hit in again[0]] == exact(query, metric, alive)
        assert all(hit["entity"] == {"title": f"title {hit['id']}", "n": hit["id"] % 10} for hit in again[0])
        assert again.info._replace(age_s=0, elapsed_s=0) == before.info._replace(age_s=0, elapsed_s=0)
        assert again.to_arrow().to_pylist() == before.to_arrow().to_pylist()
        assert again.to_arrow().schema == before.to_arrow().schema
    together = asked(docs, QUERIES, params=params)
    assert [[hit["id"] for hit in hits] for hits in together] == [
        exact(one, metric, alive) for one in QUERIES
    ]


def test_a_search_that_is_counted_takes_the_short_way_and_one_that_is_explained_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = made(tmp_path, "HNSW", "L2")
    first = [asked(docs, [query]) for query in QUERIES]
    with hw.explain() as said:
        asked(docs, [QUERIES[0]])
    assert any("strategy" in step.details for step in said.root.walk())
    monkeypatch.setattr(ready, "search", long_way)
    with trace.record("Search", explained=False) as counted:
        assert [asked(docs, [query]) for query in QUERIES] == first
    assert [step.name for step in counted.steps] == ["search", "fetch"] * len(QUERIES)
    with trace.record("Search"), pytest.raises(AssertionError, match="the long way"):
        asked(docs, [QUERIES[0]])


@pytest.mark.parametrize("kind", ["HNSW", "IVF_SQ8"])
def test_what_happens_in_between_is_seen_by_the_next_search(tmp_path: Path, kind: str) -> None:
    docs, alive = made(tmp_path, kind, "L2"), np.ones(ROWS, np.bool_)
    other = hw.connect(tmp_path).collection("docs")

    def check() -> None:
        for query in [*QUERIES, QUERIES[0]]:
            for one in (docs, other):
                hits = asked(one, query, params=EFFORTS[kind], consistency_level="Strong")[0]
                assert [hit["id"] for hit in hits] == exact(query, "L2", alive)
            hits = asked(docs, [query], params=EFFORTS[kind])[0]
            assert [hit["id"] for hit in hits] == exact(query, "L2", alive)

    check()
    gone = exact(QUERIES[0], "L2", alive)[:2]
    docs.delete(ids=gone)
    alive[gone] = False
    check()
    row = {"id": gone[:1], "n": [gone[0] % 10], "title": [f"title {gone[0]}"], "v": VECTORS[gone[:1]]}
    docs.insert(row)
    alive[gone[0]] = True
    check()
    docs.flush()
    check()
    docs.release()
    check()
    docs.set_tier("cold")
    check()
    docs.set_tier("hot")
    check()


@pytest.mark.parametrize("metric", ["L2", "IP", "COSINE"])
@pytest.mark.parametrize("kind", ["HNSW", "IVF_SQ8", "AUTOINDEX"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_the_short_way_refuses_one_number_that_is_not_finite(
    tmp_path: Path, kind: str, metric: str, wrong: float
) -> None:
    docs = made(tmp_path, kind, metric)
    for filter in (None, "n < 5", "id < 3", "n > 100"):
        for _ in range(4):
            asked(docs, QUERIES[0], filter=filter)
        for place in range(DIM):
            bad = QUERIES[:3].copy()
            bad[1, place] = wrong
            for query in (bad[1], bad):
                with pytest.raises(errors.SchemaMismatch, match="NaN or infinity"):
                    asked(docs, query, filter=filter)


def test_the_short_way_refuses_what_the_long_way_does(tmp_path: Path) -> None:
    docs = made(tmp_path, "HNSW", "L2")
    for _ in range(12):
        asked(docs, QUERIES[0], params={"ef": 64})
    with pytest.raises(errors.InvalidArgument, match="ef must be a positive integer"):
        asked(docs, QUERIES[0], params={"ef": True})
    with pytest.raises(errors.DimensionMismatch):
        asked(docs, QUERIES[0][:-1], params={"ef": 64})
    with pytest.raises(errors.SchemaMismatch, match="NaN or infinity"):
        asked(docs, np.full(DIM, np.nan, np.float32), params={"ef": 64})
    with pytest.raises(errors.UnsupportedOption):
        asked(docs, QUERIES[0], params={"ef": 64}, nonsense=1)
    assert len(asked(docs, np.empty((0, DIM), np.float32), params={"ef": 64})) == 0
    reversed_query = QUERIES[0][::-1]
    assert asked(docs, reversed_query, params={"ef": 2000}) == asked(
        docs, reversed_query.tolist(), params={"ef": 2000}
    )


def test_an_explanation_of_a_search_asked_often_has_its_steps(tmp_path: Path) -> None:
    docs = made(tmp_path, "HNSW", "L2")
    for _ in range(12):
        asked(docs, QUERIES[0])
    with hw.explain() as what:
        asked(docs, QUERIES[0])
    steps = [step.name for step in what.root.walk()]
    assert {"search", "segment", "merge", "fetch"} <= set(steps)


@pytest.fixture
def decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields are in memory from the first search."""
    monkeypatch.setattr(opened_fields, "_HOT_TAKES", 0)


@pytest.mark.parametrize(
    ("kind", "metric", "condition"),
    [
        ("HNSW", "L2", "n < 8"),
        ("HNSW", "COSINE", "n == 3"),
        ("IVF_SQ8", "L2", "n == 3"),
        ("IVF_SQ8", "COSINE", "n < 8"),
        ("IVF_SQ8", "COSINE", "n == 3"),
    ],
)
def test_a_filtered_search_asked_again_takes_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, metric: str, condition: str
) -> None:
    docs, params = made(tmp_path, kind, metric), EFFORTS[kind]
    alive = np.arange(ROWS) % 10 < 8 if condition == "n < 8" else np.arange(ROWS) % 10 == 3
    first = [asked(docs, [query], params=params, filter=condition) for query in QUERIES]
    monkeypatch.setattr(ready, "search", long_way)
    for query, before in zip(QUERIES, first, strict=True):
        again = asked(docs, query, params=params, filter=condition)
        assert again == before
        assert [hit["id"] for hit in again[0]] == exact(query, metric, alive)
        assert again.info._replace(age_s=0, elapsed_s=0) == before.info._replace(age_s=0, elapsed_s=0)
    together = asked(docs, QUERIES, params=params, filter=condition)
    assert [[hit["id"] for hit in hits] for hits in together] == [
        exact(one, metric, alive) for one in QUERIES
    ]


@pytest.mark.usefixtures("decoded_at_once")
def test_fewer_rows_than_are_asked_for_are_found_the_short_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs, none = made(tmp_path, "IVF_SQ8", "L2"), "id >= 1000 and id < 1000"
    for _ in range(4):
        assert [hit["id"] for hit in asked(docs, QUERIES[0], filter="id in [7, 2999]")[0]] in (
            [7, 2999],
            [2999, 7],
        )
        assert list(asked(docs, QUERIES[0], filter=none)[0]) == []
    monkeypatch.setattr(ready, "search", long_way)
    assert len(asked(docs, QUERIES[0], filter="id in [7, 2999]")[0]) == 2


@pytest.mark.usefixtures("decoded_at_once")
@pytest.mark.parametrize("kind", ["HNSW", "IVF_SQ8"])
def test_what_happens_in_between_is_seen_by_the_next_filtered_search(tmp_path: Path, kind: str) -> None:
    docs, alive = made(tmp_path, kind, "L2"), np.arange(ROWS) % 10 < 8
    other = hw.connect(tmp_path).collection("docs")

    def check() -> None:
        for query in [*QUERIES[:4], QUERIES[0]]:
            for one in (docs, other):
                hits = asked(one, query, params=EFFORTS[kind], filter="n < 8", consistency_level="Strong")[0]
                assert [hit["id"] for hit in hits] == exact(query, "L2", alive)

    check()
    gone = exact(QUERIES[0], "L2", alive)[:2]
    docs.delete(ids=gone)
    alive[gone] = False
    check()
    docs.insert({"id": gone[:1], "n": [1], "title": [f"title {gone[0]}"], "v": VECTORS[gone[:1]]})
    alive[gone[0]] = True
    check()
    docs.flush()
    check()
    left = exact(QUERIES[0], "L2", alive)[0]
    docs.upsert({"id": [left], "n": [9], "title": ["another"], "v": VECTORS[[left]]})
    alive[left] = False
    check()
    docs.optimize()
    check()
    docs.release()
    check()
    docs.set_tier("cold")
    check()


@pytest.mark.usefixtures("decoded_at_once")
def test_values_of_templates_and_kept_bitmaps_do_not_mix(tmp_path: Path) -> None:
    docs = made(tmp_path, "IVF_SQ8", "L2")
    for _ in range(4):
        for most in (2, 7):
            alive = np.arange(ROWS) % 10 < most
            hits = asked(
                docs, QUERIES[0], params=EFFORTS["IVF_SQ8"], filter="n < {most}", filter_params={"most": most}
            )[0]
            assert [hit["id"] for hit in hits] == exact(QUERIES[0], "L2", alive)


@pytest.mark.usefixtures("decoded_at_once")
def test_rows_that_expire_are_looked_at_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs, alive = made(tmp_path, "IVF_SQ8", "L2"), np.arange(ROWS) % 10 < 8
    ends = datetime.now(UTC) + timedelta(hours=1)
    docs.add_column("until", pa.array([ends] * ROWS), type=hw.TimestampTz)
    docs.set_ttl(field="until")
    for moment in (time.time(), ends.timestamp() + 2):
        clock = SimpleNamespace(**{**vars(time), "time": lambda moment=moment: moment})
        monkeypatch.setattr(snapshot, "time", clock)
        monkeypatch.setattr(core, "time", clock)
        expected = exact(QUERIES[0], "L2", alive) if moment < ends.timestamp() else []
        for _ in range(4):
            hits = asked(docs, QUERIES[0], params=EFFORTS["IVF_SQ8"], filter="n < 8")[0]
            assert [hit["id"] for hit in hits] == expected


@pytest.mark.usefixtures("decoded_at_once")
def test_a_bitmap_that_left_is_made_again(tmp_path: Path) -> None:
    docs, alive = made(tmp_path, "IVF_SQ8", "L2"), np.arange(ROWS) % 10 < 8
    for _ in range(3):
        for _ in range(4):
            hits = asked(docs, QUERIES[0], params=EFFORTS["IVF_SQ8"], filter="n < 8")[0]
            assert [hit["id"] for hit in hits] == exact(QUERIES[0], "L2", alive)
        docs._opened.caches["filters"].clear()
