"""Hybrid search beside its slowest leg, and the cost of fusing alone.

Each answer is first compared with the fusion that plain Python makes of the same legs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from harness import Bench, median_s

import headwater as hw
from headwater.query.fuse import best, union
from headwater.query.search import Found
from headwater.types import MetricType

DIMS = {"title": 96, "body": 192, "image": 128}
LIMIT = 100


def vectors(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    centres = rng.normal(size=(64, dim)).astype(np.float32)
    return centres[rng.integers(0, 64, n)] + 0.6 * rng.normal(size=(n, dim)).astype(np.float32)


def built(folder: str, n: int) -> tuple[hw.Collection, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    data = {name: vectors(rng, n + 200, dim) for name, dim in DIMS.items()}
    schema = {"id": hw.Int64, "year": hw.Int32, **{name: hw.FloatVector(dim) for name, dim in DIMS.items()}}
    docs = hw.connect(folder).create_collection("docs", schema, "id")
    columns: dict[str, Any] = {"id": np.arange(n), "year": (np.arange(n) * 7919 % 50).astype(np.int32)}
    docs.insert({**columns, **{name: values[:n] for name, values in data.items()}})
    docs.flush()
    for name in DIMS:
        docs.create_index(name, "AUTOINDEX", metric_type="COSINE")
    return docs, {name: values[n:] for name, values in data.items()}


def p50_ms(call: Callable[[int], Any], rounds: int) -> float:
    times = []
    for i in range(rounds):
        start = time.perf_counter()
        call(i)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def request(
    asked: dict[str, np.ndarray], name: str, i: int, filter: str | None = None
) -> hw.AnnSearchRequest:
    return hw.AnnSearchRequest(asked[name][i % 200 : i % 200 + 1], name, None, LIMIT, filter=filter)


def plain_rrf(docs: hw.Collection, reqs: list[hw.AnnSearchRequest], limit: int) -> list[int]:
    scores: dict[int, float] = {}
    for one in reqs:
        hits = docs.search(one.data, anns_field=one.anns_field, top_k=one.limit, filter=one.filter)[0]
        for rank, hit in enumerate(hits, 1):
            scores[hit["id"]] = scores.get(hit["id"], 0.0) + 1 / (60 + rank)
    return sorted(scores, key=lambda key: (-np.float32(scores[key]), key))[:limit]


def legs(asked: dict[str, np.ndarray], count: int, i: int, filtered: bool) -> list[hw.AnnSearchRequest]:
    return [
        request(asked, name, i, "year < 25" if filtered and turn == 1 else None)
        for turn, name in enumerate(list(DIMS)[:count])
    ]


def fusing(bench: Bench) -> None:
    """Five legs of a thousand hits, nothing searched and nothing fetched but the keys of equal scores."""
    with tempfile.TemporaryDirectory() as folder:
        docs = hw.connect(folder).create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
        docs.insert({"id": np.arange(20_000), "v": np.ones((20_000, 2), np.float32)})
        docs.flush()
        snapshot = docs._pinned()._snapshot
        rng = np.random.default_rng(1)
        found = [
            Found(
                snapshot.segments,
                np.zeros(1000, np.int32),
                rng.choice(20_000, 1000, replace=False),
                np.sort(rng.random(1000).astype(np.float32)),
                [1000],
            )
            for _ in range(5)
        ]
        metrics = [MetricType.L2] * 5

        def fuse() -> None:
            candidates = union(snapshot, found, metrics)
            best(candidates, hw.RRFRanker().rerank(candidates), 100)

        fuse()
        ms = median_s(fuse, repeat=50) * 1000
        bench.row(case="fuse 5 legs of 1,000", hybrid_ms=ms)
        bench.at_most("fusing 5 legs of 1,000 hits, ms", ms, 2.0)


def case(bench: Bench, docs: hw.Collection, asked: dict[str, np.ndarray], count: int, filtered: bool) -> None:
    """One mix of legs: right first, then timed, the legs alone and together in turns."""

    def alone(i: int, leg: int) -> Any:
        one = legs(asked, count, i, filtered)[leg]
        return docs.search(one.data, anns_field=one.anns_field, top_k=LIMIT, filter=one.filter)

    for i in range(20):
        reqs = legs(asked, count, i, filtered)
        ids = [hit["id"] for hit in docs.hybrid_search(reqs, limit=10)[0]]
        assert ids == plain_rrf(docs, reqs, 10), "the fusion differs from plain Python"
    rounds = 100 if bench.quick else 300
    each = [p50_ms(partial(alone, leg=leg), rounds) for leg in range(count)]
    together = p50_ms(lambda i: docs.hybrid_search(legs(asked, count, i, filtered), limit=10), rounds)
    name = f"{count} legs{', one filtered' if filtered else ''}"
    bench.row(case=name, hybrid_ms=together, slowest_ms=max(each), all_legs_ms=sum(each))
    bench.at_most(f"{name}: hybrid p50 / slowest leg", together / max(each), 1.3)


def main() -> None:
    bench = Bench.from_args("Hybrid search")
    with tempfile.TemporaryDirectory() as folder:
        docs, asked = built(folder, 30_000 if bench.quick else 200_000)
        for count in (2, 3):
            for filtered in (False, True):
                case(bench, docs, asked, count, filtered)
    fusing(bench)
    bench.finish()


if __name__ == "__main__":
    main()
