"""Hybrid search finds what a fusion of exact legs finds, at every selectivity, filters along the vectors included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headwater as hw

ROWS, DIM, QUERIES, K, LEG = 30_000, 24, 20, 10, 50
TERMS = 400
FLOOR = 0.95


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    draw = np.random.default_rng(8)
    topic = draw.integers(0, 60, ROWS + QUERIES)

    def near(noise: float) -> Any:
        made = draw.normal(size=(60, DIM))[topic] + noise * draw.normal(size=(ROWS + QUERIES, DIM))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)

    sparse = np.zeros((ROWS + QUERIES, TERMS), np.float32)
    for row in range(ROWS + QUERIES):
        sparse[row, draw.choice(TERMS, 12, replace=False)] = draw.random(12, np.float32)
    v, w = near(0.5), near(0.8)
    return {
        "chance": draw.permutation(ROWS),
        "distance": np.argsort(np.argsort(-(v[:ROWS] @ v[ROWS]))),
        "topic": topic[:ROWS],
        "rows": {"v": v[:ROWS], "w": w[:ROWS], "s": sparse[:ROWS]},
        "queries": {"v": v[ROWS:], "w": w[ROWS:], "s": sparse[ROWS:]},
    }


def as_pairs(matrix: Any) -> list[dict[int, float]]:
    return [{int(at): float(row[at]) for at in np.flatnonzero(row)} for row in matrix]


@pytest.fixture(scope="module")
def docs(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    numbers = ("id", "chance", "distance", "topic")
    schema: dict[str, Any] = {name: hw.Int64 for name in numbers}
    schema |= {"v": hw.FloatVector(DIM), "w": hw.FloatVector(DIM), "s": hw.SparseFloatVector}
    made = hw.connect(tmp_path_factory.mktemp("hybrid")).create_collection("docs", schema, "id")
    columns = {name: data[name] for name in numbers[1:]}
    made.insert({"id": np.arange(ROWS), **columns, **data["rows"], "s": as_pairs(data["rows"]["s"])})
    made.create_index("v", "AUTOINDEX")
    made.create_index("w", "IVF_SQ8")
    made.create_index("s", "SPARSE_INVERTED_INDEX", metric_type="IP")
    return made


def exact_fusion(data: dict[str, Any], allowed: Any, query: int) -> dict[int, float]:
    """Reciprocal ranks over exact legs: the score of every row that a leg finds."""
    scores: dict[int, float] = {}
    for name in ("v", "w", "s"):
        similar = np.where(allowed, data["rows"][name] @ data["queries"][name][query], -np.inf)
        if name == "s":
            similar = np.where(similar > 0, similar, -np.inf)
        order = np.argsort(-similar, kind="stable")[:LEG]
        for rank, row in enumerate(order[np.isfinite(similar[order])].tolist(), start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (60 + rank)
    return scores


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02, 0.001, 0.0001, 0.00001])
@pytest.mark.parametrize("along", ["chance", "distance", "far", "topic"])
def test_the_fused_answer_is_that_of_exact_legs(
    docs: hw.Collection, data: dict[str, Any], along: str, share: float
) -> None:
    size = max(1, round(share * ROWS))
    text, allowed = {
        "chance": (f"chance < {size}", data["chance"] < size),
        "distance": (f"distance < {size}", data["distance"] < size),
        "far": (f"distance >= {ROWS - size}", data["distance"] >= ROWS - size),
        "topic": (f"topic < {max(1, round(60 * share))}", data["topic"] < max(1, round(60 * share))),
    }[along]
    queries = {**data["queries"], "s": as_pairs(data["queries"]["s"])}
    legs = [hw.AnnSearchRequest(queries[name], name, limit=LEG, filter=text) for name in ("v", "w", "s")]
    found = right = 0
    for query, hits in enumerate(docs.hybrid_search(legs, hw.RRFRanker(), limit=K)):
        truth = exact_fusion(data, allowed, query)
        wanted = min(K, int(allowed.sum()))
        assert len(hits) == wanted
        assert all(allowed[hit["id"]] for hit in hits)
        bound = sorted(truth.values(), reverse=True)[wanted - 1]
        right += sum(truth.get(hit["id"], 0.0) >= bound - 1e-9 for hit in hits)
        found += wanted
    assert right / found >= FLOOR
