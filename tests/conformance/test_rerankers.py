"""Every reranker, held to one suite."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headwater.query.rerank import (
    BoostRanker,
    Boosts,
    DecayRanker,
    ModelRanker,
    RankerSequence,
    Reranker,
    RRFRanker,
    WeightedRanker,
)
from headwater.testing.reranker import RerankerTests


def words_shared(query: str, texts: Sequence[str]) -> list[float]:
    asked = set(query.split())
    return [len(asked & set(text.split())) / (1 + len(text)) for text in texts]


class TestRRF(RerankerTests):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return RRFRanker()


class TestWeighted(RerankerTests):
    @pytest.fixture(params=[True, False])
    def reranker(self, request: pytest.FixtureRequest) -> Reranker:
        return WeightedRanker(0.7, 0.2, norm_score=request.param)


class TestDecay(RerankerTests):
    @pytest.fixture(params=["gauss", "exp", "linear"])
    def reranker(self, request: pytest.FixtureRequest) -> Reranker:
        return DecayRanker("year", origin=2010, scale=5, offset=1, function=request.param, score_mode="sum")


class TestDecayOfMoments(RerankerTests):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return DecayRanker("at", origin="2020-01-01", scale=86400 * 365, norm_score=True, score_mode="avg")


class TestBoost(RerankerTests):
    legs = 1

    @pytest.fixture(params=["filter", "random", "several"])
    def reranker(self, request: pytest.FixtureRequest) -> Reranker:
        boost = BoostRanker(1.5, filter="year > 2010")
        chance = BoostRanker(0.5, random_score={"seed": 3, "field": "year"})
        return {"filter": boost, "random": chance, "several": Boosts((boost, chance), "sum", "sum")}[
            request.param
        ]


class TestModel(RerankerTests):
    @pytest.fixture
    def reranker(self) -> Reranker:
        return ModelRanker(words_shared, "text", ["row 1", "few row", "of many"])

    def _for_one(self, reranker: Reranker) -> Reranker:
        return ModelRanker(words_shared, "text", "row 1")


class TestSequence(RerankerTests):
    @pytest.fixture
    def reranker(self) -> Reranker:
        rankers = (
            RRFRanker(),
            BoostRanker(2, filter='text like "%few"'),
            DecayRanker("year", origin=2000, scale=9),
        )
        return RankerSequence(rankers)
