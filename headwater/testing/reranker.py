"""What every reranker must do, as tests: subclass `RerankerTests` and give it a `reranker` fixture.

    class TestMine(RerankerTests):
        @pytest.fixture
        def reranker(self):
            return MyReranker()

The candidates are rows of a collection with the fields `id`, `year`, `at`, `text` and two vectors, found by two
legs, or by one where `legs` is 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.query.fuse import Candidates, union
from headwater.query.rerank import Reranker, checked_reranker
from headwater.query.search import find
from headwater.types import MetricType

__all__ = ["RerankerTests"]

_DIM = 4
_ROWS = 120


class RerankerTests:
    """The suite; every test takes the fixtures `reranker` and `candidates`.

    Attributes:
        legs: how many searches the reranker takes together, 1 or 2.
    """

    legs = 2

    @pytest.fixture
    def reranker(self) -> Reranker:
        """The reranker to test; subclasses say which."""
        raise NotImplementedError("define a fixture `reranker` in the subclass")

    @pytest.fixture(scope="class")
    @classmethod
    def collection(cls, tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
        """Rows in two segments and in the log, some of them deleted."""
        schema = hw.Schema.of(
            [
                hw.Field("id", hw.Int64),
                hw.Field("year", hw.Int32, nullable=True),
                hw.Field("at", hw.TimestampTz, nullable=True),
                hw.Field("text", hw.String, nullable=True),
                hw.Field("a", hw.FloatVector(_DIM)),
                hw.Field("b", hw.FloatVector(_DIM)),
            ],
            "id",
        )
        docs = hw.connect(tmp_path_factory.mktemp("reranker")).create_collection("docs", schema)
        rng = np.random.default_rng(0)
        for start in range(0, _ROWS, _ROWS // 3):
            docs.insert([_row(rng, i) for i in range(start, start + _ROWS // 3)])
            if start < _ROWS // 2:
                docs.flush()
        docs.delete(list(range(0, _ROWS, 11)))
        return docs

    @pytest.fixture(scope="class")
    @classmethod
    def candidates(cls, collection: hw.Collection) -> Candidates:
        """What the legs find for three questions."""
        return cls._candidates(collection, 3)

    @classmethod
    def _candidates(cls, collection: hw.Collection, queries: int, seed: int = 1) -> Candidates:
        reader = collection._pinned()
        asked = np.random.default_rng(seed).normal(size=(3, _DIM)).astype(np.float32)[:queries]
        found, metrics = [], []
        for name, metric in list(zip("ab", (MetricType.COSINE, MetricType.L2), strict=True))[: cls.legs]:
            plan = reader._plan(name, 20, None, None, None, {"metric_type": str(metric)})
            found.append(find(reader._snapshot, plan, asked))
            metrics.append(metric)
        return union(reader._snapshot, found, metrics)

    def test_is_a_reranker(self, reranker: Reranker) -> None:
        """It has a name, and is taken wherever a ranker is."""
        assert isinstance(reranker, Reranker)
        assert reranker.name
        assert checked_reranker(reranker) is reranker

    def test_scores_each_candidate(self, reranker: Reranker, candidates: Candidates) -> None:
        """One float64 for each, in the order given; never infinite."""
        scores = reranker.rerank(candidates)
        assert scores.values.shape == (len(candidates),)
        assert scores.values.dtype == np.float64
        assert not np.isinf(scores.values).any()

    def test_says_the_same_again(self, reranker: Reranker, candidates: Candidates) -> None:
        """It holds no state, and changes no candidate."""
        before = [leg.scores.copy() for leg in candidates.legs]
        first, second = reranker.rerank(candidates), reranker.rerank(candidates)
        np.testing.assert_array_equal(first.values, second.values)
        for leg, scores in zip(candidates.legs, before, strict=True):
            np.testing.assert_array_equal(leg.scores, scores)

    def test_questions_do_not_see_each_other(
        self, reranker: Reranker, collection: hw.Collection, candidates: Candidates
    ) -> None:
        """A question asked alone is scored as beside others."""
        alone = self._candidates(collection, 1)
        together = reranker.rerank(candidates).values[candidates.query == 0]
        np.testing.assert_allclose(self._for_one(reranker).rerank(alone).values, together, rtol=1e-5)

    def _for_one(self, reranker: Reranker) -> Reranker:
        """The reranker for the first question alone; for those that are told the questions."""
        return reranker

    def test_takes_no_candidates(self, reranker: Reranker, candidates: Candidates) -> None:
        """Where nothing was found there is nothing to score."""
        assert len(reranker.rerank(candidates.take(np.empty(0, np.int64))).values) == 0

    def test_serves_a_search(self, reranker: Reranker, collection: hw.Collection) -> None:
        """The hits of a search with it are those it scores best, and none is deleted."""
        asked = np.random.default_rng(1).normal(size=(3, _DIM)).astype(np.float32)
        reqs = [hw.AnnSearchRequest(asked, name, {}, 20) for name in "ab"[: self.legs]]
        found = collection.hybrid_search(reqs, reranker, limit=15)
        for hits in found:
            assert 0 < len(hits) <= 15
            assert not any(hit["id"] % 11 == 0 for hit in hits)


def _row(rng: np.random.Generator, i: int) -> dict[str, Any]:
    return {
        "id": i,
        "year": None if i % 13 == 0 else 1990 + i % 40,
        "at": None if i % 13 == 1 else f"20{i % 30:02d}-01-01T00:00:00Z",
        "text": None if i % 17 == 0 else f"row {i} of {'many' if i % 3 else 'few'}",
        "a": rng.normal(size=_DIM).astype(np.float32),
        "b": rng.normal(size=_DIM).astype(np.float32),
    }
