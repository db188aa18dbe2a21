"""Rows of several vectors: late interaction, against loops over every pair in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater import errors
from headwater.query import max_sim

DIM = 8


def value(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric.endswith("L2"):
        return float(((a - b) ** 2).sum())
    product = float(a @ b)
    if metric.endswith("IP"):
        return product
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return product / length if length else 0.0


def expected(rows: dict[int, np.ndarray], query: np.ndarray, metric: str) -> list[tuple[int, float]]:
    pick = min if metric.endswith("L2") else max
    found = {
        key: sum(pick(value(q, v, metric) for v in row) for q in query)
        for key, row in rows.items()
        if len(row)
    }
    return sorted(found.items(), key=lambda one: one[1], reverse=not metric.endswith("L2"))


def made(
    path: Path, n: int = 120, kind: Any = None, **options: Any
) -> tuple[hw.Collection, dict[int, np.ndarray]]:
    rng = np.random.default_rng(0)
    kind = hw.FloatVector(DIM) if kind is None else kind
    schema = [
        hw.Field("id", hw.Int64),
        hw.Field("year", hw.Int32),
        hw.Field("chunks", hw.StructArray({"text": hw.String, "emb": kind}), nullable=True),
    ]
    col = hw.connect(path).create_collection("docs", schema, "id", **options)
    rows = {i: rng.normal(size=(int(rng.integers(0, 7)), DIM)).astype(np.float32) for i in range(n)}
    for part in np.array_split(np.arange(n), 3):
        col.insert(
            [
                {
                    "id": int(i),
                    "year": int(i) % 10,
                    "chunks": None
                    if i % 11 == 0
                    else [{"text": f"{i}-{j}", "emb": v.tolist()} for j, v in enumerate(rows[i])],
                }
                for i in part
            ]
        )
        if part[-1] < n - 1:
            col.flush()
    return col, {i: row for i, row in rows.items() if i % 11}


METRICS = ["MAX_SIM_COSINE", "MAX_SIM_IP", "MAX_SIM_L2"]


@pytest.mark.parametrize("metric", METRICS)
def test_rows_are_ordered_by_their_best_matches(
    tmp_path: Path, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(max_sim, "_BLOCK_SCORES", 100)
    col, rows = made(tmp_path)
    rng = np.random.default_rng(1)
    queries = [rng.normal(size=(m, DIM)).astype(np.float32) for m in (3, 1, 5)]
    col.delete([1, 2, 40])
    kept = {key: row for key, row in rows.items() if key not in (1, 2, 40)}
    for text, chosen in (
        (None, kept),
        ("year in [3, 4]", {key: row for key, row in kept.items() if key % 10 in (3, 4)}),
    ):
        found = col.search(
            queries, anns_field="chunks[emb]", top_k=20, filter=text, params={"metric_type": metric}
        )
        for query, hits in zip(queries, found, strict=True):
            wanted = expected(chosen, query, metric)[:20]
            assert [hit["id"] for hit in hits] == [key for key, _ in wanted]
            np.testing.assert_allclose(
                [hit["distance"] for hit in hits], [v for _, v in wanted], rtol=2e-5, atol=1e-5
            )


@pytest.mark.parametrize("form", [None, "parquet", "vortex"])
def test_growing_sealed_and_compacted_rows_answer_alike(tmp_path: Path, form: str | None) -> None:
    col, rows = made(tmp_path, format=form)
    query = np.random.default_rng(3).normal(size=(4, DIM)).astype(np.float32)
    wanted = [key for key, _ in expected(rows, query, "MAX_SIM_COSINE")]
    before = col.search(query, anns_field="chunks[emb]", top_k=200, output_fields=["chunks"])
    assert [hit["id"] for hit in before[0]] == wanted
    assert before[0][0]["entity"]["chunks"][0]["text"] == f"{wanted[0]}-0"
    col.optimize()
    assert [hit["id"] for hit in col.search(query, anns_field="chunks[emb]", top_k=200)[0]] == wanted
    reopened = hw.connect(tmp_path).collection("docs")
    assert [hit["id"] for hit in reopened.search(query, anns_field="chunks[emb]", top_k=200)[0]] == wanted
    batches = list(reopened.search_iterator(query, anns_field="chunks[emb]", batch_size=30))
    assert [hit["id"] for batch in batches for hit in batch] == wanted


def test_a_radius_and_a_ring_bound_the_sums(tmp_path: Path) -> None:
    col, rows = made(tmp_path)
    query = np.random.default_rng(4).normal(size=(3, DIM)).astype(np.float32)
    every = expected(rows, query, "MAX_SIM_COSINE")
    params: dict[str, Any] = {"metric_type": "MAX_SIM_COSINE", "radius": 1.0}
    hits = col.search(query, anns_field="chunks[emb]", top_k=200, params=params)[0]
    assert [hit["id"] for hit in hits] == [key for key, v in every if v > 1.0]
    hits = col.search(query, anns_field="chunks[emb]", top_k=200, params={**params, "range_filter": 1.5})[0]
    assert [hit["id"] for hit in hits] == [key for key, v in every if 1.0 < v <= 1.5]


@pytest.mark.parametrize("kind", [hw.Float16Vector(DIM), hw.Int8Vector(DIM)])
def test_smaller_numbers_are_widened(tmp_path: Path, kind: Any) -> None:
    rng = np.random.default_rng(5)
    rows = {i: rng.integers(-100, 100, (3, DIM)).astype(np.float32) for i in range(30)}
    schema = {"id": hw.Int64, "c": hw.StructArray({"emb": kind})}
    col = hw.connect(tmp_path).create_collection("docs", schema, "id")
    dtype = np.float16 if kind.data_type == "float16_vector" else np.int8
    col.insert([{"id": i, "c": [{"emb": v.astype(dtype)} for v in row]} for i, row in rows.items()])
    query = rng.integers(-100, 100, (2, DIM)).astype(np.float32)
    hits = col.search(query, anns_field="c[emb]", top_k=30, params={"metric_type": "MAX_SIM_L2"})[0]
    assert [hit["id"] for hit in hits] == [key for key, _ in expected(rows, query, "L2")]


@pytest.mark.parametrize(
    ("request_", "error", "said"),
    [
        ({"anns_field": "chunks"}, errors.InvalidArgument, "not a"),
        ({"anns_field": "chunks[text]"}, errors.InvalidArgument, "not a dense vector"),
        ({"anns_field": "chunks[nope]"}, errors.FieldNotFound, "members: text, emb"),
        ({"anns_field": "year[emb]"}, errors.InvalidArgument, "not an array of structs"),
        ({"params": {"metric_type": "HAMMING"}}, errors.InvalidArgument, "HAMMING"),
        ({"params": {"nprobe": 3}}, errors.UnsupportedOption, "nprobe"),
        ({"data": np.zeros((2, 5))}, errors.DimensionMismatch, "vectors of 8"),
        ({"data": np.zeros((0, 8))}, errors.SchemaMismatch, "no vector"),
        ({"data": np.full((1, 8), np.nan)}, errors.SchemaMismatch, "NaN"),
        ({"data": [["x"] * 8]}, errors.SchemaMismatch, "numbers"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, request_: dict[str, Any], error: Any, said: str
) -> None:
    col, _ = made(tmp_path, 12)
    asked = {"data": np.zeros((2, DIM)), "anns_field": "chunks[emb]", **request_}
    with pytest.raises(error, match=said):
        col.search(asked.pop("data"), **asked)


def test_vectors_of_elements_are_checked_at_insert(tmp_path: Path) -> None:
    kind = hw.StructArray({"emb": hw.FloatVector(2)})
    col = hw.connect(tmp_path).create_collection("docs", {"id": hw.Int64, "c": kind}, "id")
    with pytest.raises(errors.SchemaMismatch, match='row 0, field "c"'):
        col.insert([{"id": 1, "c": [{"emb": [1.0]}]}])
    with pytest.raises(errors.SchemaMismatch, match=r'row 1, field "c".*NaN'):
        col.insert([{"id": 1, "c": None or []}, {"id": 2, "c": [{"emb": [1.0, float("nan")]}]}])
    table = pa.table({"id": [1], "c": pa.array([[{"emb": [1.0, float("inf")]}]])})
    with pytest.raises(errors.SchemaMismatch, match="infinity"):
        col.insert(table)
    assert col.num_rows == 0


def test_a_metric_that_does_not_fit_a_plain_field_is_refused(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection(
        "docs", {"id": hw.Int64, "v": hw.FloatVector(2), "b": hw.BinaryVector(8)}, "id"
    )
    for field, data, metric in (
        ("v", [1.0, 0.0], "MAX_SIM_IP"),
        ("v", [1.0, 0.0], "HAMMING"),
        ("b", [b"a"], "L2"),
        ("b", [b"a"], "MHJACCARD"),
    ):
        with pytest.raises(errors.InvalidArgument, match=metric):
            col.search(data, anns_field=field, params={"metric_type": metric})
