"""Fusion by whole arrays against plain Python: properties of any legs over any rows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.query.found import Found
from headwater.query.fuse import best, union
from headwater.query.rerank import RRFRanker, WeightedRanker
from headwater.query.snapshot import Snapshot
from headwater.types import MetricType

KEYS = [f"k{(i * 37) % 60:02d}" for i in range(60)]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    docs = hw.connect(tmp_path_factory.mktemp("fuse")).create_collection(
        "docs", {"id": hw.String, "v": hw.FloatVector(2)}, "id"
    )
    for start in (0, 20, 40):
        docs.insert([{"id": key, "v": [1.0, 0.0]} for key in KEYS[start : start + 20]])
        if start < 40:
            docs.flush()
    return docs._pinned()._snapshot


LEG = st.lists(
    st.tuples(st.integers(0, 59), st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.5])),
    max_size=25,
    unique_by=lambda hit: hit[0],
)
METRIC = st.sampled_from([MetricType.L2, MetricType.IP, MetricType.COSINE, MetricType.BM25])
LEGS = st.integers(1, 3).flatmap(
    lambda queries: st.lists(
        st.tuples(METRIC, st.lists(LEG, min_size=queries, max_size=queries)), min_size=1, max_size=5
    )
)
Legs = list[tuple[MetricType, list[list[tuple[int, float]]]]]


def ordered(metric: MetricType, hits: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return sorted(hits, key=lambda hit: -hit[1] if metric.larger_is_closer else hit[1])


def found(snapshot: Snapshot, legs: Legs) -> list[Found]:
    """Legs as `find` answers them; each names the segments in an order of its own."""
    out = []
    for turn, (metric, queries) in enumerate(legs):
        segments = list(snapshot.segments)[:: -1 if turn % 2 else 1]
        place = {segment.id: i for i, segment in enumerate(segments)}
        hits = [hit for query in queries for hit in ordered(metric, query)]
        out.append(
            Found(
                segments,
                np.array([place[snapshot.segments[row // 20].id] for row, _ in hits], np.int32),
                np.array([row % 20 for row, _ in hits], np.int64),
                np.array([score for _, score in hits], np.float32),
                [len(query) for query in queries],
            )
        )
    return out


def fused(
    snapshot: Snapshot, legs: Legs, ranker: Any, keep: int | None = None
) -> list[list[tuple[str, float]]]:
    candidates = union(snapshot, found(snapshot, legs), [metric for metric, _ in legs])
    scores = ranker.rerank(candidates)
    order = best(candidates, scores, keep)
    out: list[list[tuple[str, float]]] = [[] for _ in legs[0][1]]
    for i in order.tolist():
        key = KEYS[int(candidates.which[i]) * 20 + int(candidates.rows[i])]
        out[int(candidates.query[i])].append((key, float(np.float32(scores.values[i]))))
    return out


def plain(legs: Legs, score: Any) -> list[list[tuple[str, float]]]:
    out = []
    for query in range(len(legs[0][1])):
        parts: dict[str, list[float]] = {}
        for leg, (metric, queries) in enumerate(legs):
            for rank, (row, value) in enumerate(ordered(metric, queries[query]), 1):
                parts.setdefault(KEYS[row], []).append(score(leg, metric, rank, value))
        scores = {key: float(np.float32(math.fsum(values))) for key, values in parts.items()}
        out.append(sorted(scores.items(), key=lambda item: (-item[1], item[0])))
    return out


def close(a: list[list[tuple[str, float]]], b: list[list[tuple[str, float]]]) -> None:
    for x, y in zip(a, b, strict=True):
        assert dict(x).keys() == dict(y).keys()
        np.testing.assert_allclose([s for _, s in sorted(x)], [s for _, s in sorted(y)], rtol=1e-6, atol=1e-9)
        # The order is that of the scores, up to the last bit of a sum.
        assert all(p[1] >= q[1] for p, q in itertools.pairwise(x))
        assert all(p[0] < q[0] for p, q in itertools.pairwise(x) if p[1] == q[1])


@given(legs=LEGS, k=st.sampled_from([0.5, 1, 60, 16_000]))
@settings(max_examples=150)
def test_rrf_is_what_plain_python_makes(snapshot: Snapshot, legs: Legs, k: float) -> None:
    close(
        fused(snapshot, legs, RRFRanker(k)), plain(legs, lambda _leg, _metric, rank, _value: 1 / (k + rank))
    )


def normal(metric: MetricType, score: float) -> float:
    if metric is MetricType.COSINE:
        return (1 + score) / 2
    if metric is MetricType.BM25:
        return 2 * math.atan(score) / math.pi
    return 0.5 + math.atan(score) / math.pi if metric is MetricType.IP else 1 - 2 * math.atan(score) / math.pi


@given(legs=LEGS, weights=st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0]), min_size=5, max_size=5))
@settings(max_examples=150)
def test_weights_are_what_plain_python_makes(snapshot: Snapshot, legs: Legs, weights: list[float]) -> None:
    ranker = WeightedRanker(*weights[: len(legs)])
    close(
        fused(snapshot, legs, ranker),
        plain(legs, lambda leg, metric, _rank, value: weights[leg] * normal(metric, value)),
    )


@given(legs=LEGS, order=st.randoms(use_true_random=False))
@settings(max_examples=100)
def test_the_order_of_the_legs_changes_nothing(snapshot: Snapshot, legs: Legs, order: Any) -> None:
    weighted = list(zip(legs, [0.1, 0.7, 0.33, 1.0, 0.55], strict=False))
    turned = list(weighted)
    order.shuffle(turned)
    for one, other in ((weighted, turned),):
        rankers = [WeightedRanker(*[weight for _, weight in some]) for some in (one, other)]
        assert fused(snapshot, [leg for leg, _ in one], rankers[0]) == fused(
            snapshot, [leg for leg, _ in other], rankers[1]
        )
    assert fused(snapshot, legs, RRFRanker()) == fused(snapshot, [leg for leg, _ in turned], RRFRanker())


@given(legs=LEGS)
@settings(max_examples=100)
def test_a_hit_better_in_every_leg_never_ranks_below(snapshot: Snapshot, legs: Legs) -> None:
    [hits, *_] = fused(snapshot, legs, RRFRanker())
    place = {key: i for i, (key, _) in enumerate(hits)}
    ranks = [
        {KEYS[row]: i for i, (row, _) in enumerate(ordered(metric, queries[0]))} for metric, queries in legs
    ]
    everywhere = [key for key in place if all(key in leg for leg in ranks)]
    for good in everywhere:
        for other in place:
            if other != good and all(other not in leg or leg[good] < leg[other] for leg in ranks):
                assert place[good] < place[other]


@given(legs=LEGS, keep=st.integers(1, 30))
@settings(max_examples=100)
def test_the_best_few_are_the_first_of_all(snapshot: Snapshot, legs: Legs, keep: int) -> None:
    whole = fused(snapshot, legs, RRFRanker())
    assert fused(snapshot, legs, RRFRanker(), keep) == [hits[:keep] for hits in whole]


def test_nothing_at_all_is_fused_to_nothing(tmp_path: Any) -> None:
    docs = hw.connect(tmp_path).create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    found = docs.hybrid_search([hw.AnnSearchRequest([[1.0, 0.0], [0.0, 1.0]], "v", {}, 5)] * 2)
    assert [list(hits) for hits in found] == [[], []]
    assert docs.search([[1.0, 0.0]], offset=3)[0] == []
    assert docs.search([], offset=3, group_by_field="id") == []
