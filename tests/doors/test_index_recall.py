"""What searches through each index type find, beside comparing every row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from serving import served

import headwater as hw

ROWS, DIM, QUERIES = 12_000, 32, 20


@pytest.fixture(scope="module")
def vectors() -> Any:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(64, DIM))
    return (centres[rng.integers(0, 64, ROWS)] + 0.4 * rng.normal(size=(ROWS, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, vectors: Any) -> Iterator[MilvusClient]:
    lake: Path = tmp_path_factory.mktemp("lake")
    with hw.connect(lake) as db:
        bits = np.packbits(vectors > 0, axis=1)
        made = db.create_collection(
            "c", {"id": hw.Int64, "vec": hw.FloatVector(DIM), "bits": hw.BinaryVector(DIM)}, "id"
        )
        made.insert({"id": range(ROWS), "vec": vectors, "bits": list(bits)})
        made.flush()
    with served(lake) as address:
        made_client = MilvusClient(address)
        yield made_client
        made_client.close()


def distances(vectors: Any, queries: Any, metric: str) -> Any:
    """(q, n), the nearer the less."""
    if metric == "L2":
        return ((queries[:, None, :] - vectors) ** 2).sum(axis=2)
    inner = queries @ vectors.T
    if metric == "IP":
        return -inner
    return -inner / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(vectors, axis=1)


@pytest.mark.parametrize(
    ("index_type", "metric", "params", "search"),
    [
        ("AUTOINDEX", "COSINE", {}, {}),
        ("IVF_FLAT", "L2", {"nlist": 64}, {"nprobe": 16}),
        ("IVF_SQ8", "IP", {"nlist": 64}, {"nprobe": 16}),
        ("SCANN", "COSINE", {"nlist": 64}, {"nprobe": 16, "reorder_k": 200}),
        ("HNSW", "COSINE", {"M": 16, "efConstruction": 100}, {"ef": 64}),
        ("HNSW_PQ", "L2", {"M": 16, "m": 8, "nbits": 8}, {"ef": 64, "refine_k": 4}),
        ("DISKANN", "L2", {}, {"search_list": 100}),
    ],
)
def test_the_neighbours_are_found(
    client: MilvusClient,
    vectors: Any,
    index_type: str,
    metric: str,
    params: dict[str, Any],
    search: dict[str, Any],
) -> None:
    wanted = client.prepare_index_params()
    wanted.add_index("vec", index_type=index_type, metric_type=metric, params=params)
    wanted.add_index("bits", index_type="BIN_FLAT", metric_type="HAMMING")
    client.create_index("c", wanted)
    try:
        shown = client.describe_index("c", "vec")
        assert (shown["state"], shown["indexed_rows"], shown["pending_index_rows"]) == ("Finished", ROWS, 0)
        client.load_collection("c")
        queries = vectors[:QUERIES]
        found = client.search("c", queries, anns_field="vec", limit=10, search_params={"params": search})
        truth = np.argsort(distances(vectors, queries, metric), axis=1)[:, :10]
        hits = [
            len({hit["id"] for hit in row} & set(best))
            for row, best in zip(found, truth.tolist(), strict=True)
        ]
        assert sum(hits) / (10 * QUERIES) > 0.9
        exact = np.sort(distances(vectors, queries[:1], metric)[0])[:10]
        scores = np.array([hit["distance"] for hit in found[0]]) * (1 if metric == "L2" else -1)
        np.testing.assert_allclose(scores[0], exact[0], rtol=1e-4, atol=1e-4)
    finally:
        client.release_collection("c")
        client.drop_index("c", "vec")
        client.drop_index("c", "bits")
