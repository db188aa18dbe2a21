"""Hybrid search: legs fused as plain Python fuses them, over segments, deletes, growing rows and indexes."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument, UnsupportedOption

DIM = 8
Hits = list[tuple[Any, float]]


def normalise(score: float, metric: str) -> float:
    """Milvus's formulas, one score at a time."""
    if metric == "COSINE":
        return (1 + score) / 2
    if metric == "IP":
        return 0.5 + math.atan(score) / math.pi
    return 1 - 2 * math.atan(score) / math.pi


def fuse_rrf(legs: list[Hits], k: float = 60) -> Hits:
    scores: dict[Any, list[float]] = defaultdict(list)
    for hits in legs:
        for rank, (key, _) in enumerate(hits, 1):
            scores[key].append(1 / (k + rank))
    return in_order({key: math.fsum(parts) for key, parts in scores.items()})


def fuse_weighted(legs: list[Hits], weights: list[float], metrics: list[str], norm: bool = True) -> Hits:
    scores: dict[Any, float] = defaultdict(float)
    turned = norm or len({metric == "L2" for metric in metrics}) > 1
    for hits, weight, metric in zip(legs, weights, metrics, strict=True):
        for key, score in hits:
            value = normalise(score, metric) if norm or (turned and metric == "L2") else score
            scores[key] += weight * value
    return in_order(scores, descending=turned or metrics[0] != "L2")


def in_order(scores: dict[Any, float], descending: bool = True) -> Hits:
    sign = -1 if descending else 1
    return sorted(scores.items(), key=lambda item: (sign * np.float32(item[1]), item[0]))


def same(found: list[dict[str, Any]], expected: Hits) -> None:
    assert [hit["id"] for hit in found] == [key for key, _ in expected]
    np.testing.assert_allclose(
        [hit["distance"] for hit in found], [score for _, score in expected], rtol=1e-5
    )


@pytest.fixture(params=["growing", "sealed", "several", "indexed"])
def docs(request: pytest.FixtureRequest, tmp_path: Path) -> hw.Collection:
    db = hw.connect(tmp_path)
    schema = {
        "id": hw.Int64,
        "year": hw.Int32,
        "lang": hw.String,
        "a": hw.FloatVector(DIM),
        "b": hw.FloatVector(DIM),
        "c": hw.FloatVector(DIM),
    }
    docs = db.create_collection("docs", schema, "id")
    rng = np.random.default_rng(7)
    for part in range(3):
        docs.insert(
            [
                {
                    "id": 1000 - i,
                    "year": 2000 + i % 20,
                    "lang": ["en", "de", "fr"][i % 3],
                    "a": rng.normal(size=DIM),
                    "b": rng.normal(size=DIM),
                    "c": rng.normal(size=DIM),
                }
                for i in range(part * 100, part * 100 + 100)
            ]
        )
        if request.param == "several":
            docs.flush()
    if request.param in ("sealed", "indexed"):
        docs.flush()
    if request.param == "indexed":
        docs.create_index("a", "HNSW", metric_type="L2")
        docs.create_index("b", "IVF_FLAT", metric_type="IP")
    docs.delete([1000 - i for i in range(0, 300, 7)])
    return docs


METRICS = {"a": "L2", "b": "IP", "c": "COSINE"}


def request(field: str, data: Any, limit: int = 20, **more: Any) -> hw.AnnSearchRequest:
    return hw.AnnSearchRequest(data, field, {"metric_type": METRICS[field]}, limit, **more)


def legs_of(docs: hw.Collection, reqs: list[hw.AnnSearchRequest], query: int) -> list[Hits]:
    return [
        [
            (hit["id"], hit["distance"])
            for hit in docs.search(
                one.data,
                anns_field=one.anns_field,
                top_k=one.limit,
                params=one.param,
                filter=one.chosen_filter,
            )[query]
        ]
        for one in reqs
    ]


def queries(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def test_rrf_is_the_fusion_that_plain_python_makes(docs: hw.Collection) -> None:
    asked = queries(3)
    reqs = [
        request("a", asked, 30),
        request("b", asked, 20, expr="year < 2015"),
        request("c", asked, 25, filter='lang == "de"'),
    ]
    found = docs.hybrid_search(reqs, hw.RRFRanker(), limit=15, output_fields=["year"])
    for query, hits in enumerate(found):
        same(hits, fuse_rrf(legs_of(docs, reqs, query))[:15])
        assert all(hit["entity"]["year"] == docs.get(hit["id"])[0]["year"] for hit in hits)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("fields", ["ab", "abc", "bc", "aa"])
def test_weights_are_applied_as_plain_python_applies_them(
    docs: hw.Collection, fields: str, norm: bool
) -> None:
    asked = queries(2)
    reqs = [request(field, asked) for field in fields]
    weights = [0.9, 0.3, 0.55][: len(reqs)]
    ranker = hw.WeightedRanker(*weights, norm_score=norm)
    found = docs.hybrid_search(reqs, ranker, limit=40)
    for query, hits in enumerate(found):
        expected = fuse_weighted(
            legs_of(docs, reqs, query), weights, [METRICS[field] for field in fields], norm
        )
        same(hits, expected[:40])


def test_the_scores_of_each_leg_are_there(docs: hw.Collection) -> None:
    asked = queries(2)
    reqs = [request("a", asked, 10), request("b", asked, 10)]
    found = docs.hybrid_search(reqs, limit=20)
    for query, (hits, scores) in enumerate(zip(found, found.leg_scores, strict=True)):
        legs = [dict(hits) for hits in legs_of(docs, reqs, query)]
        assert scores.shape == (len(hits), 2)
        for hit, row in zip(hits, scores.tolist(), strict=True):
            for leg, score in zip(legs, row, strict=True):
                assert (hit["id"] not in leg) if math.isnan(score) else leg[hit["id"]] == score


def test_pages_are_slices_of_the_whole(docs: hw.Collection) -> None:
    asked = queries(2)
    reqs = [request("a", asked), request("c", asked)]
    whole = docs.hybrid_search(reqs, limit=30)
    for offset in (0, 7, 14, 28, 29):
        page = docs.hybrid_search(reqs, limit=7, offset=offset)
        assert list(page) == [hits[offset:] for hits in docs.hybrid_search(reqs, limit=offset + 7)]
    assert [len(hits) for hits in whole] == [30, 30]
    everything = docs.search(asked, anns_field="c", top_k=300)
    for offset in (0, 100, 256, 257, 290):
        page = docs.search(asked, anns_field="c", top_k=10, offset=offset)
        assert list(page) == [hits[offset : offset + 10] for hits in everything]


def test_one_snapshot_is_read_by_all_legs(docs: hw.Collection) -> None:
    asked = queries(1)
    reqs = [request("a", asked, 300), request("b", asked, 300)]
    before = docs.hybrid_search(reqs, limit=300)
    alive = docs.num_rows
    assert len(before[0]) == alive
    docs.delete([hit["id"] for hit in before[0][:5]])
    after = docs.hybrid_search(reqs, limit=300)
    assert len(after[0]) == alive - 5
    assert not {hit["id"] for hit in before[0][:5]} & {hit["id"] for hit in after[0]}


def test_a_leg_may_find_nothing(docs: hw.Collection) -> None:
    asked = queries(2)
    reqs = [request("a", asked), request("b", asked, filter="year > 3000")]
    found = docs.hybrid_search(reqs, limit=20)
    alone = docs.hybrid_search(reqs[:1], limit=20)
    assert list(found) == list(alone)
    nothing = docs.hybrid_search([reqs[1], reqs[1]], limit=5)
    assert [list(hits) for hits in nothing] == [[], []]
    assert nothing.to_arrow().num_rows == 0


def test_hits_of_a_page_are_ordered_by_fields(docs: hw.Collection) -> None:
    asked = queries(2)
    by_score = docs.search(asked, anns_field="c", top_k=12, output_fields=["year", "lang"])
    for form in (
        ["lang:desc", "year"],
        [("lang", "desc"), "year"],
        [{"field": "lang", "order": "desc"}, "year:asc"],
    ):
        found = docs.search(
            asked, anns_field="c", top_k=12, output_fields=["year", "lang"], order_by_fields=form
        )
        for hits, unordered in zip(found, by_score, strict=True):
            expected = sorted(unordered, key=lambda hit: hit["entity"]["year"])
            expected.sort(key=lambda hit: hit["entity"]["lang"], reverse=True)
            assert hits == expected


def test_a_page_of_ordered_hits_is_one_of_the_nearest_ordered(docs: hw.Collection) -> None:
    asked, form = queries(2), {"output_fields": ["year", "lang"], "order_by_fields": ["lang:desc", "year"]}
    nearest = docs.search(asked, anns_field="c", top_k=12, **form)
    page = docs.search(asked, anns_field="c", top_k=5, offset=7, **form)
    assert list(page) == [hits[7:] for hits in nearest]
    groups = {**form, "group_by_field": "year", "group_size": 2}
    nearest = docs.search(asked, anns_field="c", top_k=6, **groups)
    page = docs.search(asked, anns_field="c", top_k=4, offset=2, **groups)
    for hits, every in zip(page, nearest, strict=True):
        years = list(dict.fromkeys(hit["entity"]["year"] for hit in every))
        assert len(years) == 6
        assert hits == [hit for hit in every if hit["entity"]["year"] in years[2:]]


def test_distances_are_rounded_last(docs: hw.Collection) -> None:
    asked = queries(1)
    exact = docs.search(asked, anns_field="a", top_k=20, params={"metric_type": "L2"})
    rounded = docs.search(asked, anns_field="a", top_k=20, params={"metric_type": "L2"}, round_decimal=0)
    assert [hit["id"] for hit in rounded[0]] == [hit["id"] for hit in exact[0]]
    assert [hit["distance"] for hit in rounded[0]] == [round(hit["distance"]) for hit in exact[0]]
    assert docs.search(asked, anns_field="c", round_decimal=-1) == docs.search(asked, anns_field="c")


def test_wrong_requests_say_what_is_wrong(docs: hw.Collection) -> None:
    one, two = request("a", queries(1)), request("b", queries(2))
    with pytest.raises(InvalidArgument, match=r"same questions.*1, 2"):
        docs.hybrid_search([one, two])
    with pytest.raises(InvalidArgument, match="at least one"):
        docs.hybrid_search([])
    with pytest.raises(InvalidArgument, match="request 0: expected an AnnSearchRequest"):
        docs.hybrid_search([{"data": 1}])
    with pytest.raises(InvalidArgument, match="2 weights for 1 legs"):
        docs.hybrid_search([one], hw.WeightedRanker(0.5, 0.5))
    with pytest.raises(InvalidArgument, match="expected a reranker"):
        docs.hybrid_search([one], "rrf")
    with pytest.raises(InvalidArgument, match="limit \\+ offset"):
        docs.hybrid_search([one], limit=16_000, offset=1_000)
    with pytest.raises(InvalidArgument, match="offset must be an integer"):
        docs.search(queries(1), anns_field="a", offset=-1)
    with pytest.raises(UnsupportedOption, match="no option 'group'"):
        docs.hybrid_search([one], group="year")
    with pytest.raises(FieldNotFound, match="nowhere"):
        docs.search(queries(1), anns_field="a", order_by_fields="nowhere")
    with pytest.raises(InvalidArgument, match="'b' is float_vector, which has no order"):
        docs.search(queries(1), anns_field="a", order_by_fields="b")
    with pytest.raises(InvalidArgument, match="round_decimal"):
        docs.search(queries(1), anns_field="a", round_decimal=9)
    with pytest.raises(InvalidArgument, match="two names of one thing"):
        hw.AnnSearchRequest(queries(1), "a", {}, 3, expr="year > 1", filter="year > 2")
    for wrong in (0, 16_384, "x", True, float("nan")):
        with pytest.raises(InvalidArgument, match="RRFRanker"):
            hw.RRFRanker(wrong)
    for wrong in (-0.1, 1.1, "x", True, float("nan")):
        with pytest.raises(InvalidArgument, match="WeightedRanker"):
            hw.WeightedRanker(0.5, wrong)


def test_the_database_takes_it_by_name(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    db.create_collection("docs", {"id": hw.Int64, "a": hw.FloatVector(2)}, "id")
    db.insert("docs", [{"id": i, "a": [1.0, i]} for i in range(5)])
    found = db.hybrid_search("docs", [hw.AnnSearchRequest([[1.0, 0.0]], "a", {}, 3)], limit=2)
    assert [hit["id"] for hit in found[0]] == [0, 1]


def test_text_sparse_and_dense_legs_are_fused(tmp_path: Path) -> None:
    schema = {
        "id": hw.Int64,
        "text": hw.VarChar(500, analyzer="standard"),
        "bm25": hw.SparseFloatVector,
        "splade": hw.SparseFloatVector,
        "v": hw.FloatVector(DIM),
    }
    function = hw.Function("words", "BM25", "text", "bm25")
    docs = hw.connect(tmp_path).create_collection("docs", schema, "id", functions=[function])
    rng = np.random.default_rng(3)
    words = ["red", "green", "blue", "car", "apple", "tree", "sky"]
    for _ in range(2):
        first = docs.num_rows
        docs.insert(
            [
                {
                    "id": i,
                    "text": " ".join(rng.choice(words, 4)),
                    "splade": {int(j): float(rng.random() + 0.1) for j in rng.choice(20, 3, replace=False)},
                    "v": rng.normal(size=DIM),
                }
                for i in range(first, first + 60)
            ]
        )
        docs.flush()
    docs.delete([3, 77])
    legs = [
        hw.AnnSearchRequest(["red car", "blue sky"], "bm25", {}, 30),
        hw.AnnSearchRequest([{1: 0.5, 7: 1.0}, {3: 1.0}], "splade", {}, 25, filter="id < 90"),
        hw.AnnSearchRequest(queries(2), "v", {"metric_type": "COSINE"}, 20),
    ]
    alone = [
        docs.search(one.data, anns_field=one.anns_field, top_k=one.limit, filter=one.filter) for one in legs
    ]
    found = docs.hybrid_search(legs, limit=20)
    weighted = docs.hybrid_search(legs, hw.WeightedRanker(0.2, 0.3, 0.5), limit=20)
    for query in range(2):
        hits = [[(hit["id"], hit["distance"]) for hit in one[query]] for one in alone]
        assert all(hits)
        same(found[query], fuse_rrf(hits)[:20])
        expected: dict[int, float] = defaultdict(float)
        for leg, weight, norm in zip(
            hits,
            (0.2, 0.3, 0.5),
            (
                lambda s: 2 * math.atan(s) / math.pi,
                lambda s: 0.5 + math.atan(s) / math.pi,
                lambda s: (1 + s) / 2,
            ),
            strict=True,
        ):
            for key, score in leg:
                expected[key] += weight * norm(score)
        same(weighted[query], in_order(expected)[:20])
    by_question = docs.hybrid_search(
        legs, hw.ModelRanker(lambda q, t: [len(q) + len(x) for x in t], "text"), limit=5
    )
    for question, hits_of in zip(["red car", "blue sky"], by_question, strict=True):
        assert all(hit["distance"] == len(question) + len(docs.get(hit["id"])[0]["text"]) for hit in hits_of)
    grouped = docs.search(["red car"], anns_field="bm25", top_k=3, group_by_field="text")
    assert len(grouped[0]) == 3
