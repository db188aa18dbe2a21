"""Iterators: every row once, in order, from one state, whatever is written; and on in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater import errors

DIM = 12


def made(path: Path | str, n: int = 3000, index: str | None = None) -> tuple[hw.Collection, np.ndarray]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, DIM)).astype(np.float32)
    col = hw.connect(path).create_collection(
        "docs", {"id": hw.Int64, "year": hw.Int32, "v": hw.FloatVector(DIM)}, "id"
    )
    order = rng.permutation(n)
    for part in np.array_split(order, 3):
        col.insert({"id": part, "year": part % 10, "v": vectors[part]})
        col.flush()
    if index is not None:
        col.create_index("v", index, metric_type="L2")
    return col, vectors


def squared(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    return ((vectors.astype(np.float64) - query) ** 2).sum(axis=1)


L2 = {"metric_type": "L2"}


def test_hits_come_once_each_in_order_in_batches(tmp_path: Path) -> None:
    col, vectors = made(tmp_path)
    query = np.full(DIM, 0.3, np.float32)
    with col.search_iterator(query, batch_size=70, params=L2, output_fields=["year"]) as iterator:
        batches = list(iterator)
    assert {len(batch) for batch in batches[:-1]} == {70}
    hits = [hit for batch in batches for hit in batch]
    assert [hit["id"] for hit in hits] == np.argsort(squared(vectors, query), kind="stable").tolist()
    assert all(hit["entity"]["year"] == hit["id"] % 10 for hit in hits)
    with pytest.raises(errors.InvalidArgument, match="closed"):
        iterator.next()


@pytest.mark.parametrize("index", ["HNSW", "IVF_RABITQ"])
def test_an_index_loses_no_row_and_gives_none_twice(tmp_path: Path, index: str) -> None:
    col, vectors = made(tmp_path, index=index)
    col.delete(list(range(0, 300)))
    query = vectors[5]
    kept = np.flatnonzero((np.arange(3000) >= 300) & (np.arange(3000) % 10 != 3))
    iterator = col.search_iterator(query, batch_size=50, filter="year != 3")
    seen = [hit["id"] for batch in iterator for hit in batch]
    assert len(seen) == len(kept)
    assert set(seen) == set(kept.tolist())
    # The order is as good as the index: the first thousand are nearly the nearest thousand.
    nearest = kept[np.argsort(squared(vectors[kept], query))][:1000]
    assert len(set(seen[:1000]) & set(nearest.tolist())) >= 990


def test_a_limit_a_radius_and_a_ring_bound_the_hits(tmp_path: Path) -> None:
    col, vectors = made(tmp_path, index="HNSW")
    query = vectors[0]
    distances = squared(vectors, query)
    assert [len(b) for b in col.search_iterator(query, batch_size=40, limit=100)] == [40, 40, 20]
    for params, expected in (
        ({"radius": 15.0}, distances < 15),
        ({"radius": 20.0, "range_filter": 12.0}, (distances < 20) & (distances >= 12)),
    ):
        seen = [
            hit["id"] for batch in col.search_iterator(query, batch_size=64, params=params) for hit in batch
        ]
        assert sorted(seen) == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize("index", [None, "HNSW"])
def test_a_ring_of_cosines_up_to_one_has_equal_vectors(tmp_path: Path, index: str | None) -> None:
    col, vectors = made(tmp_path, 300)
    if index is not None:
        col.create_index("v", index, metric_type="COSINE")
    ring = {"metric_type": "COSINE", "radius": 0.5, "range_filter": 1.0}
    for row in range(60):
        [hits] = col.search([vectors[row]], top_k=5, params=ring)
        assert hits[0]["id"] == row
        assert hits[0]["distance"] <= 1.0
        first = next(iter(col.search_iterator(vectors[row], batch_size=5, params=ring)))
        assert [hit["id"] for hit in first] == [hit["id"] for hit in hits]
    every = col.search(vectors[:60], top_k=5, params=ring)
    assert [hits[0]["id"] for hits in every] == list(range(60))


def test_writes_after_the_first_batch_are_not_seen(tmp_path: Path) -> None:
    col, vectors = made(tmp_path, 500)
    col.insert({"id": [1000, 1001], "year": [0, 0], "v": vectors[:2]})
    search = col.search_iterator(vectors[0], batch_size=100)
    rows = col.query_iterator(batch_size=100)
    seen = [hit["id"] for hit in search.next()]
    keys = [row["id"] for row in rows.next()]
    col.delete(list(range(0, 250)))
    col.insert({"id": [2000], "year": [0], "v": vectors[:1]})
    col.upsert({"id": [300], "year": [77], "v": vectors[:1]})
    col.optimize()
    seen += [hit["id"] for batch in search for hit in batch]
    rest = [row for batch in rows for row in batch]
    every = [*range(500), 1000, 1001]
    assert sorted(seen) == every
    assert keys + [row["id"] for row in rest] == every
    assert next(row["year"] for row in rest if row["id"] == 300) == 0


def test_rows_come_by_key_in_batches_that_are_arrow_tables(tmp_path: Path) -> None:
    col, _ = made(tmp_path)
    iterator = col.query_iterator("year < 5", batch_size=400, output_fields=["id", "year"])
    tables = [batch.to_arrow() for batch in iterator]
    keys = np.concatenate([table["id"].to_numpy() for table in tables])
    np.testing.assert_array_equal(keys, np.flatnonzero(np.arange(3000) % 10 < 5))
    assert [len(b) for b in col.query_iterator(batch_size=1000, limit=1500)] == [1000, 500]
    assert len(col.query_iterator("year > 100").next()) == 0
    assert list(col.query_iterator("year > 100")) == []


def test_text_keys_row_ids_and_rows_of_one_key_are_ordered_too(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    texts = db.create_collection("texts", {"k": hw.String, "n": hw.Int32}, "k")
    texts.insert({"k": [f"key {i * 7 % 100:03d}" for i in range(100)], "n": range(100)})
    texts.insert({"k": ["key 005", "key 005"], "n": [1, 2]})
    got = [row["k"] for batch in texts.query_iterator(batch_size=9) for row in batch]
    assert got == sorted([*(f"key {i:03d}" for i in range(100)), "key 005", "key 005"])
    plain = db.create_collection("plain", {"n": hw.Int32})
    plain.insert({"n": range(50)})
    assert [row["n"] for batch in plain.query_iterator(batch_size=8) for row in batch] == list(range(50))


CONTINUE = """
import json, sys
import numpy as np
import headwater as hw
col = hw.connect(sys.argv[1]).collection("docs")
query = np.full(12, 0.3, np.float32)
search = col.search_iterator(query, batch_size=70, filter="year != 3", token=sys.argv[2])
rows = col.query_iterator("year != 3", batch_size=70, token=sys.argv[3])
print(json.dumps([[row["id"] for batch in one for row in batch] for one in (search, rows)]))
"""


@pytest.mark.parametrize("index", [None, "HNSW"])
def test_a_token_goes_on_in_another_process(tmp_path: Path, index: str | None) -> None:
    col, _ = made(tmp_path, index=index)
    query = np.full(DIM, 0.3, np.float32)
    search = col.search_iterator(query, batch_size=70, filter="year != 3")
    rows = col.query_iterator("year != 3", batch_size=70)
    first = [[row["id"] for _ in range(5) for row in one.next()] for one in (search, rows)]
    tokens = [one.token() for one in (search, rows)]
    expected = [[row["id"] for batch in one for row in batch] for one in (search, rows)]
    col.insert({"id": [9000], "year": [1], "v": np.zeros((1, DIM), np.float32)})
    ran = subprocess.run(
        [sys.executable, "-c", CONTINUE, str(tmp_path), *tokens], capture_output=True, text=True, check=True
    )
    rest = json.loads(ran.stdout)
    for before, after in zip(first, rest, strict=True):
        assert len(set(before) | set(after)) == len(before) + len(after) == 2700
    assert rest[1] == expected[1]
    if index is None:
        assert rest[0] == expected[0]


def test_tokens_say_what_is_wrong(tmp_path: Path) -> None:
    col, vectors = made(tmp_path, 300)
    iterator = col.search_iterator(vectors[0], batch_size=10)
    iterator.next()
    token = iterator.token()
    for other in ({"filter": "year > 3"}, {"params": L2}):
        with pytest.raises(errors.InvalidArgument, match="other arguments"):
            col.search_iterator(vectors[0], batch_size=10, token=token, **other)
    with pytest.raises(errors.InvalidArgument, match="other arguments"):
        col.query_iterator(token=token)
    for broken in ("", token[:-9], "abcd"):
        with pytest.raises(errors.InvalidArgument, match="token"):
            col.search_iterator(vectors[0], token=broken)
    col.insert({"id": [1000], "year": [0], "v": vectors[:1]})
    with pytest.raises(errors.InvalidArgument, match="in no version yet"):
        col.query_iterator().token()
    assert col.query_iterator(version=col.flush()).token()


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 20_000},
        {"batch_size": 1.5},
        {"limit": -1},
        {"data": np.zeros((2, DIM))},
    ],
)
def test_sizes_and_queries_are_checked(tmp_path: Path, wrong: dict[str, Any]) -> None:
    col, vectors = made(tmp_path, 30)
    with pytest.raises(errors.InvalidArgument):
        col.search_iterator(**{"data": vectors[0], **wrong})
    with pytest.raises(TypeError, match="top_k"):
        col.search_iterator(vectors[0], top_k=3)


def test_an_iterator_of_an_older_version_reads_that_version(tmp_path: Path) -> None:
    col, vectors = made(tmp_path, 300)
    version = col.version
    col.delete(list(range(100)))
    col.flush()
    assert sum(len(batch) for batch in col.query_iterator(version=version)) == 300
    assert sum(len(batch) for batch in col.at(version=version).search_iterator(vectors[0])) == 300
    assert sum(len(batch) for batch in col.search_iterator(vectors[0])) == 200


def test_a_batch_says_how_long_it_took(tmp_path: Path) -> None:
    col, vectors = made(tmp_path, n=300)
    began = time.perf_counter()
    infos = [col.query_iterator(batch_size=10).next().info]
    infos.append(col.search_iterator(vectors[0], batch_size=10).next_result().info)
    took = time.perf_counter() - began
    assert 0 < sum(info.elapsed_s for info in infos) <= took
