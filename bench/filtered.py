"""Filtered search at 50, 10, 1 and 0.1 % selectivity: recall against exact search, and time beside the peers.

One query at a time, one thread, cosine, ten hits with ids and one text field; each engine at its own defaults, with the
search effort that the peers' makers recommend where they have one. The filter is `year < x` over uniform years; ours
runs without an index on the year, with one, and with one where no filter was asked before ("fresh").
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import faiss
import numpy as np
from ann import K, clustered, tenth_best
from harness import Bench
from peers import PEERS, Headwater

YEARS = 1000
SELECTED = (500, 100, 10, 1)
EFFORT: dict[str, Any] = {"qdrant edge": 128, "chroma": None, "lancedb": 16, "milvus lite": 64}


def measured(
    engine: Any, queries: np.ndarray, bounds: np.ndarray, vectors: np.ndarray, years: np.ndarray, below: int
):
    """Recall@10 and the median milliseconds of a query; every hit must pass the filter."""
    effort = EFFORT.get(engine.name, {})
    engine.search(queries[0], K, effort, below)
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(engine.search(query, K, effort, below))
        times.append(time.perf_counter() - start)
    right = 0
    for ids, query, bound in zip(found, queries, bounds, strict=True):
        unique = list(set(ids))
        assert (years[unique] < below).all(), f"{engine.name} returned a row that the filter excludes"
        right += np.count_nonzero(vectors[unique] @ query >= bound - 1e-5)
    return right / (K * len(queries)), statistics.median(times) * 1e3


class Indexed(Headwater):
    """With a sorted index on the field of the filter."""

    def __init__(self, fresh: bool = False) -> None:
        super().__init__("AUTOINDEX")
        self.name = "headwater, year indexed" + (", fresh" if fresh else "")
        self._fresh = fresh
        self._asked = 0

    def index(self) -> None:
        super().index()
        self.collection.create_index("year", "STL_SORT")

    def search(self, query: np.ndarray, k: int, effort: Any, year_below: int | None = None) -> list[int]:
        if not self._fresh:
            return super().search(query, k, effort, year_below)
        self._asked += 1
        text = f"year < {year_below} and year > {-self._asked}"
        [hits] = self.collection.search([query], top_k=k, filter=text, output_fields=["text"], params=effort)
        return [hit["id"] for hit in hits]


def main() -> None:
    bench = Bench.from_args("filtered")
    faiss.omp_set_num_threads(1)
    n, dim, count = (20_000, 256, 50) if bench.quick else (200_000, 768, 100)
    vectors, queries = clustered(n, dim, count)
    years = np.random.default_rng(1).integers(0, YEARS, n)
    bounds = {
        below: tenth_best(vectors[years < below], queries, min(K, int((years < below).sum())))
        for below in SELECTED
    }
    ours: dict[tuple[str, int], tuple[float, float]] = {}
    makes = (
        lambda: Headwater("AUTOINDEX"),
        lambda: Headwater("HNSW"),
        Indexed,
        lambda: Indexed(True),
        *PEERS,
    )
    for make in makes:
        engine: Any = make()
        engine.load(vectors, years)
        engine.index()
        for below in SELECTED:
            recall, ms = measured(engine, queries, bounds[below], vectors, years, below)
            ours[engine.name, below] = recall, ms
            times_ours = ms / ours["headwater AUTOINDEX", below][1]
            bench.row(
                engine=engine.name,
                selected=f"{below / YEARS:.1%}",
                recall=recall,
                ms=ms,
                times_ours=times_ours,
            )
        engine.close()
    for below in SELECTED:
        share = f"{below / YEARS:.1%}"
        for name in ("headwater AUTOINDEX", "headwater HNSW", "headwater, year indexed"):
            bench.at_least(f"{share}: recall of {name}", ours[name, below][0], 0.95)
    bench.finish()


if __name__ == "__main__":
    main()
