"""Codes of rows without an index find what comparing every row finds, or there are none."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.index import ScanCodes, exact_search, make_codes
from headwater.types import MetricType

DICE = np.random.default_rng(7)
METRICS = (MetricType.L2, MetricType.IP, MetricType.COSINE)


def _vectors(kind: str, dim: int = 48, count: int = 4500) -> np.ndarray:
    if kind == "clusters":
        centres = DICE.normal(size=(100, dim))[DICE.integers(0, 100, count)]
        return (centres + 0.5 * DICE.normal(size=(count, dim))).astype(np.float32)
    made = DICE.normal(size=(count, dim)) * DICE.gamma(1.0, size=dim) + DICE.normal(size=dim)
    return made.astype(np.float16 if kind == "half" else np.float32)


def _recall(
    codes: ScanCodes, vectors: np.ndarray, queries: np.ndarray, k: int, metric: MetricType, share: float
) -> float:
    allowed = None if share == 1 else DICE.random(len(vectors)) < share
    found = codes.search(vectors, queries, k, allowed=allowed)
    distances, rows = exact_search(vectors, queries, k, metric, allowed=allowed)
    if found is None:
        return 1.0
    assert found[1].shape == rows.shape
    assert allowed is None or allowed[found[1]].all()
    same = found[1] == rows
    # Exact search of many queries takes |a|^2 + |b|^2 - 2ab in float32, which is as exact as these are small.
    widest = float((vectors.astype(np.float64) ** 2).sum(axis=1).max())
    np.testing.assert_allclose(found[0][same], distances[same], rtol=1e-4, atol=max(1e-4, 1e-6 * widest))
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(rows, found[1], strict=True)]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("kind", "dim"), [("spread", 48), ("spread", 33), ("half", 48), ("clusters", 48)])
def test_codes_find_the_exact_neighbours(metric: MetricType, kind: str, dim: int) -> None:
    vectors = _vectors(kind, dim)
    codes = make_codes(vectors, metric)
    assert codes is not None
    noise = 0.1 * DICE.normal(size=(20, dim))
    queries = (vectors[DICE.integers(0, len(vectors), 20)] + noise).astype(np.float32)
    recalls = [
        _recall(codes, vectors, queries, k, metric, share) for k in (1, 10, 100) for share in (1, 0.9, 0.4)
    ]
    assert min(recalls) >= 0.98, recalls
    assert codes.search(vectors, queries, 10) is not None


def test_no_codes_where_they_would_not_tell_rows_apart() -> None:
    centres = DICE.normal(size=(4, 32))[DICE.integers(0, 4, 6000)]
    tight = (centres + 1e-4 * DICE.normal(size=(6000, 32))).astype(np.float32)
    assert make_codes(tight, MetricType.L2) is None
    assert make_codes(_vectors("spread")[:1000], MetricType.L2) is None, "few rows are compared exactly"
    assert make_codes(DICE.integers(0, 255, (6000, 8), np.uint8), MetricType.HAMMING) is None


def test_a_filter_that_leaves_few_rows_is_left_to_exact_search() -> None:
    vectors = _vectors("spread")
    codes = make_codes(vectors, MetricType.L2)
    assert codes is not None
    few = np.zeros(len(vectors), np.bool_)
    few[:100] = True
    assert codes.search(vectors, vectors[:1], 10, allowed=few) is None
    # A third of the rows, none of them near: the nearest by codes hold too few of them.
    far = vectors[:, 0] > np.quantile(vectors[:, 0], 0.67)
    query = vectors[[int(np.argmin(vectors[:, 0]))]]
    found = codes.search(vectors, query, 10, allowed=far)
    if found is not None:
        assert set(found[1][0]) == set(exact_search(vectors, query, 10, MetricType.L2, allowed=far)[1][0])


def test_constant_dimensions_and_equal_rows() -> None:
    vectors = _vectors("spread")
    vectors[:, 5] = 3.0
    vectors[2250:] = vectors[:2250]
    codes = make_codes(vectors, MetricType.L2)
    if codes is not None:
        found = codes.search(vectors, vectors[:20], 2)
        assert found is not None
        np.testing.assert_allclose(found[0], 0, atol=1e-4)
