"""A filter never costs neighbours: at every selectivity, whether or not it goes along with the vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headwater as hw

ROWS, DIM, QUERIES, K = 40_000, 24, 24, 10
FLOOR = 0.95
SHARES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001, 0.00001)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Clustered vectors; `chance` has nothing to do with them, `distance` is that to a point, `topic` the cluster."""
    draw = np.random.default_rng(5)
    centres = draw.normal(size=(80, DIM))
    topic = draw.choice(80, ROWS + QUERIES, p=draw.dirichlet(np.ones(80)))
    vectors = (centres[topic] + 0.5 * draw.normal(size=(ROWS + QUERIES, DIM))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows, queries = vectors[:ROWS], vectors[ROWS:]
    return {
        "queries": queries,
        "columns": {
            "id": np.arange(ROWS),
            "chance": draw.permutation(ROWS),
            "distance": np.argsort(np.argsort(-(rows @ queries[0]))),
            "topic": topic[:ROWS],
            "v": rows,
        },
    }


@pytest.fixture(scope="module", params=["AUTOINDEX", "IVF_FLAT", "IVF_SQ8", "HNSW", "HNSW_SQ"])
def docs(
    request: pytest.FixtureRequest, data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> hw.Collection:
    schema = {name: hw.Int64 for name in ("id", "chance", "distance", "topic")} | {"v": hw.FloatVector(DIM)}
    made = hw.connect(tmp_path_factory.mktemp("floor")).create_collection("docs", schema, "id")
    made.insert(data["columns"])
    made.create_index("v", request.param)
    return made


def filters() -> list[tuple[str, Any]]:
    chosen: list[tuple[str, Any]] = []
    for share in SHARES:
        size = max(1, round(share * ROWS))
        chosen.append((f"chance < {size}", lambda c, size=size: c["chance"] < size))
        chosen.append((f"distance < {size}", lambda c, size=size: c["distance"] < size))
        chosen.append((f"distance >= {ROWS - size}", lambda c, size=size: c["distance"] >= ROWS - size))
        low = (ROWS - size) // 2
        between = f"{low} <= distance < {low + size}"
        chosen.append(
            (between, lambda c, low=low, size=size: (c["distance"] >= low) & (c["distance"] < low + size))
        )
    chosen += [(f"topic < {n}", lambda c, n=n: c["topic"] < n) for n in (1, 4, 16, 40)]
    return chosen


@pytest.mark.parametrize(("text", "holds"), filters(), ids=[text for text, _ in filters()])
def test_a_filter_costs_no_recall_and_no_row(
    docs: hw.Collection, data: dict[str, Any], text: str, holds: Any
) -> None:
    columns, queries = data["columns"], data["queries"]
    allowed = holds(columns)
    wanted = min(K, int(allowed.sum()))
    similar = np.where(allowed, queries @ columns["v"].T, -np.inf)
    worst = -np.sort(-similar, axis=1)[:, wanted - 1]
    found = right = 0
    for query, hits, bound in zip(queries, docs.search(queries, top_k=K, filter=text), worst, strict=True):
        assert len({hit["id"] for hit in hits}) == len(hits) == wanted
        assert all(allowed[hit["id"]] for hit in hits)
        for hit in hits:
            assert hit["distance"] == pytest.approx(float(query @ columns["v"][hit["id"]]), abs=1e-4)
        right += sum(hit["distance"] >= bound - 1e-5 for hit in hits)
        found += wanted
    assert right / found >= FLOOR
