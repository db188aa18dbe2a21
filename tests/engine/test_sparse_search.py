"""Sparse vectors through the door, against inner products in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse

import headwater as hw
from headwater import errors

DIMS = 300


def make(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random((n, DIMS)) < 0.05, rng.random((n, DIMS)), 0).astype(np.float32)


def as_dict(row: np.ndarray) -> dict[int, float]:
    return {int(i): float(row[i]) for i in np.flatnonzero(row)}


def collection(folder: Path) -> hw.Collection:
    schema = {"id": hw.Int64, "v": hw.Field("v", hw.SparseFloatVector, nullable=True)}
    return hw.connect(folder).create_collection("sparse", schema, "id")


def check(col: Any, live: dict[int, np.ndarray], **request: Any) -> None:
    queries = make(5, seed=99)
    found = col.search([as_dict(query) for query in queries], anns_field="v", top_k=10, **request)
    for query, hits in zip(queries, found, strict=True):
        exact = {key: float(row @ query) for key, row in live.items() if row @ query > 0}
        assert [hit["distance"] for hit in hits] == pytest.approx(
            sorted(exact.values(), reverse=True)[:10], abs=1e-5
        )
        assert all(hit["distance"] == pytest.approx(exact[hit["id"]], abs=1e-5) for hit in hits)


def test_sparse_search_is_exact_through_all_that_happens(tmp_path: Path) -> None:
    col, rows = collection(tmp_path), make(600)
    col.insert([{"id": i, "v": as_dict(row)} for i, row in enumerate(rows[:300])])
    live = dict(enumerate(rows[:300]))
    check(col, live)
    col.flush()
    col.create_index("v", "SPARSE_INVERTED_INDEX", params={"inverted_index_algo": "DAAT_MAXSCORE"})
    check(col, live)
    col.insert([{"id": i, "v": as_dict(row) if i % 10 else None} for i, row in enumerate(rows[300:], 300)])
    live.update({i: row for i, row in enumerate(rows[300:], 300) if i % 10})
    check(col, live)
    col.delete(list(range(0, 600, 4)))
    live = {key: row for key, row in live.items() if key % 4}
    check(col, live)
    check(col, {key: row for key, row in live.items() if key < 200}, filter="id < 200")
    col.flush()
    col.optimize()
    col.build_indexes()
    check(col, live)


def test_every_form_of_a_sparse_vector_is_the_same(tmp_path: Path) -> None:
    col, row = collection(tmp_path), make(1)[0]
    pairs = sorted(as_dict(row).items())
    matrix = scipy.sparse.csr_matrix(row[None, :])
    forms = [
        as_dict(row),
        pairs[::-1],
        {"indices": [i for i, _ in pairs], "values": [v for _, v in pairs]},
        [{"index": i, "value": v} for i, v in pairs],
        matrix,
        scipy.sparse.coo_array(row),
    ]
    col.insert([{"id": i, "v": form} for i, form in enumerate(forms)])
    stored = col.query(output_fields=["v"]).to_arrow()["v"].to_pylist()
    assert all(value == stored[0] for value in stored)
    assert [one["index"] for one in stored[0]] == [i for i, _ in pairs]
    kind = pa.list_(pa.struct([("index", pa.int64()), ("value", pa.float64())]))
    backwards = pa.array([[{"index": i, "value": v} for i, v in pairs[::-1]]], kind)
    col.insert(pa.table({"id": [9], "v": backwards}))
    assert col.get(9)[0]["v"] == stored[0]
    for query in (forms[0], [forms[0]], pairs, [pairs], matrix, [matrix]):
        [hits] = col.search(query, top_k=20)
        assert sorted(hit["id"] for hit in hits) == [0, 1, 2, 3, 4, 5, 9]


@pytest.mark.parametrize(
    "wrong",
    [
        {-1: 1.0},
        {1: -0.5},
        {1: float("nan")},
        {1: 1e39},
        {2**32: 1.0},
        {"a": 1.0},
        [(1, 1.0), (1, 2.0)],
        "text",
        5,
    ],
    ids=str,
)
def test_what_is_no_sparse_vector_is_refused(tmp_path: Path, wrong: Any) -> None:
    col = collection(tmp_path)
    with pytest.raises(errors.SchemaMismatch, match="row 1"):
        col.insert([{"id": 1, "v": {1: 1.0}}, {"id": 2, "v": wrong}])
    assert col.num_rows == 0
    with pytest.raises(errors.InvalidArgument):
        col.search([wrong], anns_field="v")


def test_small_weights_are_dropped_when_asked(tmp_path: Path) -> None:
    col = collection(tmp_path)
    col.insert([{"id": 1, "v": {1: 1.0}}, {"id": 2, "v": {2: 1.0}}, {"id": 3, "v": {}}])
    query = [{1: 0.9, 2: 0.1}]
    assert [hit["id"] for hit in col.search(query)[0]] == [1, 2]
    assert [hit["id"] for hit in col.search(query, params={"drop_ratio_search": 0.5})[0]] == [1]
    with pytest.raises(errors.InvalidArgument, match="drop_ratio_search"):
        col.search(query, params={"drop_ratio_search": 1.0})
    with pytest.raises(errors.InvalidArgument, match="inverted_index_algo"):
        col.create_index("v", params={"inverted_index_algo": "MAGIC"})
    with pytest.raises(errors.InvalidArgument, match="not filled by BM25"):
        col.create_index("v", metric_type="BM25")


def test_the_stored_vector_of_a_key_is_a_query(tmp_path: Path) -> None:
    col, rows = collection(tmp_path), make(50)
    col.insert([{"id": i, "v": as_dict(row)} for i, row in enumerate(rows)])
    [hits] = col.search(ids=[7], anns_field="v", top_k=3)
    exact = rows @ rows[7]
    assert [hit["distance"] for hit in hits] == pytest.approx(np.sort(exact)[::-1][:3].tolist(), abs=1e-5)
