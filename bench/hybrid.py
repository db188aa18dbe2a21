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
NUM_QUERIES = 600
"""Legs alone and hybrid searches ask all of them, but never the same one after the other."""

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
    data = {name: vectors(rng, n + NUM_QUERIES, dim) for name, dim in DIMS.items()}
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
    return docs, {**asked, "sparse": [[text] for text in texts(rng, NUM_QUERIES, 5)]}


def request(asked: dict[str, Any], name: str, i: int, filter: str | None = None) -> hw.AnnSearchRequest:
    i %= NUM_QUERIES
    data = asked[name][i] if name == "sparse" else asked[name][i : i + 1]
    return hw.AnnSearchRequest(data, name, None, LIMIT, filter=filter)


def alone(docs: hw.Collection, one: hw.AnnSearchRequest) -> hw.SearchResult:
    return docs.search(one.data, anns_field=one.anns_field, top_k=one.limit, filter=one.filter)


def plain_rrf(docs: hw.Collection, reqs: list[hw.AnnSearchRequest], limit: int) -> list[int]:
    scores: dict[int, float] = {}
    for one in reqs:
        for rank, hit in enumerate(alone(docs, one)[0], 1):
            scores[hit["id"]] = scores.get(hit["id"], 0.0) + 1 / (60 + rank)
    return sorted(scores, key=lambda key: (-np.float32(scores[key]), key))[:limit]


class Case:
    """One mix of legs: compared with plain Python first, then timed, each leg and all together in turns.

    Args:
        docs: what is searched.
        asked: queries of each field.
        names: the fields.
        filter: of all legs but the first.
    """

    def __init__(
        self, docs: hw.Collection, asked: dict[str, Any], names: list[str], filter: str | None = None
    ) -> None:
        self.docs, self.asked, self.names, self.filter = docs, asked, names, filter
        self.shown = " + ".join(names) + (f", {filter}" if filter else "")
        self.times: dict[str, list[float]] = {name: [] for name in (*names, "hybrid")}
        for i in range(20):
            ids = [hit["id"] for hit in docs.hybrid_search(self.legs(i), limit=10)[0]]
            assert ids == plain_rrf(docs, self.legs(i), 10), "the fusion differs from plain Python"

    def legs(self, i: int) -> list[hw.AnnSearchRequest]:
        return [
            request(self.asked, name, i, self.filter if ordinal else None)
            for ordinal, name in enumerate(self.names)
        ]

    def turn(self, i: int) -> None:
        legs = zip(self.names, self.legs(i + NUM_QUERIES // 2), strict=True)
        calls: dict[str, Callable[[], Any]] = {name: partial(alone, self.docs, one) for name, one in legs}
        calls["hybrid"] = partial(self.docs.hybrid_search, self.legs(i), limit=10)
        for name, call in calls.items():
            timed(self.times[name], call)

    def report(self, bench: Bench) -> None:
        p50 = {name: statistics.median(some) for name, some in self.times.items()}
        together = p50.pop("hybrid")
        slowest = max(p50.values())
        bench.row(case=self.shown, hybrid_ms=together, slowest_ms=slowest, all_legs_ms=sum(p50.values()))
        bench.at_most(f"{self.shown}: hybrid p50 / slowest leg", together / slowest, 1.3)


def timed(times: list[float], call: Callable[[], Any]) -> None:
    start = time.perf_counter()
    call()
    times.append((time.perf_counter() - start) * 1000)


class BareCalls:
    """What the machine allows: the bare calls of two indexes at the same time, beside the slower one alone."""

    def __init__(self, docs: hw.Collection, asked: dict[str, Any], names: list[str]) -> None:
        snapshot = docs._pinned()._snapshot
        [segment] = snapshot.segments
        self.shown = f"{' + '.join(names)}, index calls alone"
        self.calls: list[Callable[[int], Any]] = []
        for name in names:
            field = snapshot.schema.field(name)
            spec = snapshot.index_of(field)
            index = snapshot.opened.indexes.vector(snapshot.build_of(spec, segment), spec)
            vectors = snapshot.opened.vectors.of(segment, snapshot.schema, name)
            effort = index.effort(LIMIT, vectors, {})
            self.calls.append(
                lambda i, of=asked[name], n=(index, vectors, effort): n[0].nearest(of[i : i + 1], n[1], n[2])
            )
        self.times: dict[str, list[float]] = {name: [] for name in (*names, "both")}

    def turn(self, i: int) -> None:
        calls = [partial(call, i % NUM_QUERIES) for call in self.calls]
        for name, call in zip(self.times, [*calls, partial(together, calls, short=True)], strict=True):
            timed(self.times[name], call)

    def report(self, bench: Bench) -> None:
        p50 = {name: statistics.median(some) for name, some in self.times.items()}
        both = p50.pop("both")
        bench.row(
            case=self.shown, hybrid_ms=both, slowest_ms=max(p50.values()), all_legs_ms=sum(p50.values())
        )


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
        cases: list[Case | BareCalls] = [
            Case(docs, asked, ["title", "body"]),
            BareCalls(docs, asked, ["title", "body"]),
            Case(docs, asked, ["body", "sparse"]),
            Case(docs, asked, ["raw", "sparse"]),
            Case(docs, asked, ["raw", "body", "sparse"], "year < 25"),
        ]
        for case in cases:
            for i in range(100 if bench.quick else NUM_QUERIES):
                case.turn(i)
            case.report(bench)
    fusing(bench)
    bench.finish()


if __name__ == "__main__":
    main()
