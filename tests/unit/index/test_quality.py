"""Retrieval quality on human-judged texts, where they are at hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    sys.path.insert(0, str(BENCH))
    try:
        spec = importlib.util.spec_from_file_location("quality", BENCH / "quality.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["quality"] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(BENCH))


def test_measures_are_those_of_the_books(quality: ModuleType) -> None:
    gains = {1: 4.0, 2: 2.0, 3: 1.0}
    assert quality.ndcg([1, 2, 3], gains) == pytest.approx(1.0)
    assert quality.ndcg([9, 1], {1: 4.0}) == pytest.approx(1 / 1.5849625)
    assert quality.ndcg([], gains) == 0.0
    assert quality.average_precision([1, 9, 2], {1: 4.0, 2: 2.0}) == pytest.approx((1 + 2 / 3) / 2)


def test_bm25_answers_the_questions_of_cranfield(quality: ModuleType) -> None:
    collection = quality.read_cranfield()
    if collection is None:
        pytest.skip("the Cranfield collection is not beside the repository")
    assert (len(collection.documents), len(collection.questions)) == (1400, 225)
    rank = quality.RANKERS["text, english"]
    gain, precision = quality.judged(collection, rank(collection.documents, collection.questions))
    assert gain > 0.36
    assert precision > 0.30


def test_a_hybrid_search_is_no_worse_than_its_better_leg(quality: ModuleType) -> None:
    collection = quality.read_cranfield()
    if collection is None:
        pytest.skip("the Cranfield collection is not beside the repository")
    gains = {
        name: quality.judged(collection, quality.RANKERS[name](collection.documents, collection.questions))[0]
        for name in ("text, english", "dense", "hybrid, reciprocal ranks")
    }
    assert gains["hybrid, reciprocal ranks"] >= max(gains["text, english"], gains["dense"])
