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
from headwater.query.found import Found
from headwater.query.fuse import best, union
from headwater.store import together
from headwater.types import MetricType

DIMS = {"title": 128, "body": 256, "raw": 64}
"""Two indexed fields, and one that is searched exactly."""

LIMIT = 100
WORDS = 20_000


def vectors(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    centres = rng.normal(size=(64, dim)).astype(np.float32)
    return centres[rng.integers(0, 64, n)] + 0.6 * rng.normal(size=(n, dim)).astype(np.float32)


def texts(rng: np.random.Generator, n: int, length: int) -> list[str]:
    """Words as often as in a language: the k-th as 1 / k."""
    share = 1 / np.arange(1, WORDS + 1)
    drawn = rng.choice(WORDS, size=(n, length), p=share / share.sum())
    return [" ".join(f"w{word}" for word in row) for row in drawn.tolist()]


def built(folder: str, n: int) -> tuple[hw.Collection, dict[str, Any]]:
    rng = np.random.default_rng(0)
    data = {name: vectors(rng, n + 200, dim) for name, dim in DIMS.items()}
    words = texts(rng, n, 30)
    schema = {
        "id": hw.Int64,
        "year": hw.Int32,
        "text": hw.VarChar(2000, analyzer="standard"),
        "sparse": hw.SparseFloatVector,
        **{name: hw.FloatVector(dim) for name, dim in DIMS.items()},
    }
    docs = hw.connect(folder).create_collection(
        "docs", schema, "id", functions=[hw.Function("bm25", "BM25", "text", "sparse")]
    )
    columns: dict[str, Any] = {
        "id": np.arange(n),
        "year": (np.arange(n) * 7919 % 50).astype(np.int32),
        "text": words,
    }
    docs.insert({**columns, **{name: values[:n] for name, values in data.items()}})
    docs.flush()
    for name in ("title", "body"):
        docs.create_index(name, "AUTOINDEX", metric_type="COSINE")
    docs.create_index("sparse")
    asked: dict[str, Any] = {name: values[n:] for name, values in data.items()}
    return docs, {**asked, "sparse": [[text] for text in texts(rng, 200, 5)]}


def request(asked: dict[str, Any], name: str, i: int, filter: str | None = None) -> hw.AnnSearchRequest:
    data = asked[name][i % 200] if name == "sparse" else asked[name][i % 200 : i % 200 + 1]
    return hw.AnnSearchRequest(data, name, None, LIMIT, filter=filter)


def alone(docs: hw.Collection, one: hw.AnnSearchRequest) -> hw.SearchResult:
    return docs.search(one.data, anns_field=one.anns_field, top_k=one.limit, filter=one.filter)


def plain_rrf(docs: hw.Collection, reqs: list[hw.AnnSearchRequest], limit: int) -> list[int]:
    scores: dict[int, float] = {}
    for one in reqs:
        for rank, hit in enumerate(alone(docs, one)[0], 1):
            scores[hit["id"]] = scores.get(hit["id"], 0.0) + 1 / (60 + rank)
    return sorted(scores, key=lambda key: (-np.float32(scores[key]), key))[:limit]


def case(
    bench: Bench, docs: hw.Collection, asked: dict[str, Any], names: list[str], filter: str | None = None
) -> None:
    """One mix of legs: right first, then timed, each leg and all together in turns."""

    def legs(i: int) -> list[hw.AnnSearchRequest]:
        return [request(asked, name, i, filter if turn else None) for turn, name in enumerate(names)]

    for i in range(20):
        ids = [hit["id"] for hit in docs.hybrid_search(legs(i), limit=10)[0]]
        assert ids == plain_rrf(docs, legs(i), 10), "the fusion differs from plain Python"
    times: dict[str, list[float]] = {name: [] for name in (*names, "hybrid")}
    for i in range(100 if bench.quick else 300):
        calls: dict[str, Callable[[], Any]] = {
            name: partial(alone, docs, one) for name, one in zip(names, legs(i), strict=True)
        }
        calls["hybrid"] = partial(docs.hybrid_search, legs(i), limit=10)
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1000)
    p50 = {name: statistics.median(some) for name, some in times.items()}
    together = p50.pop("hybrid")
    shown = " + ".join(names) + (f", {filter}" if filter else "")
    bench.row(case=shown, hybrid_ms=together, slowest_ms=max(p50.values()), all_legs_ms=sum(p50.values()))
    bench.at_most(f"{shown}: hybrid p50 / slowest leg", together / max(p50.values()), 1.3)


def raw_at_once(bench: Bench, docs: hw.Collection, asked: dict[str, Any], names: list[str]) -> None:
    """What the machine allows: the bare calls of two indexes at the same time, beside the slower one alone."""
    snapshot = docs._pinned()._snapshot
    [segment] = snapshot.segments
    calls: list[Callable[[int], Any]] = []
    for name in names:
        field = snapshot.schema.field(name)
        spec = snapshot.index_of(field)
        index = snapshot.opened.indexes.vector(snapshot.build_of(spec, segment), spec)
        vectors = snapshot.opened.vectors.of(segment, snapshot.schema, name)
        effort = index.effort(LIMIT, vectors, {})
        calls.append(
            lambda i, of=asked[name], n=(index, vectors, effort): n[0].nearest(of[i : i + 1], n[1], n[2])
        )
    times: dict[str, list[float]] = {name: [] for name in (*names, "both")}
    for i in range(200):
        at_once = partial(together, [partial(call, i) for call in calls])
        for name, call in zip(times, [*(partial(one, i) for one in calls), at_once], strict=True):
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1000)
    p50 = {name: statistics.median(some) for name, some in times.items()}
    both = p50.pop("both")
    shown = f"{' + '.join(names)}, index calls alone"
    bench.row(case=shown, hybrid_ms=both, slowest_ms=max(p50.values()), all_legs_ms=sum(p50.values()))


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


def main() -> None:
    bench = Bench.from_args("Hybrid search")
    with tempfile.TemporaryDirectory() as folder:
        docs, asked = built(folder, 30_000 if bench.quick else 200_000)
        case(bench, docs, asked, ["title", "body"])
        raw_at_once(bench, docs, asked, ["title", "body"])
        case(bench, docs, asked, ["body", "sparse"])
        case(bench, docs, asked, ["raw", "sparse"])
        case(bench, docs, asked, ["raw", "body", "sparse"], "year < 25")
    fusing(bench)
    bench.finish()


if __name__ == "__main__":
    main()
