"""The codes of several runs of rows, joined, find in the segment that has these rows what comparing every row finds."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.index import exact_search, make_codes
from headwater.index.joined_codes import CodedRows, JoinedCodes, join_codes
from headwater.types import MetricType

DIM = 32
DICE = np.random.default_rng(11)
METRICS = (MetricType.L2, MetricType.IP, MetricType.COSINE)


def _coded(vectors: np.ndarray, places: np.ndarray, metric: MetricType) -> CodedRows:
    codes = make_codes(vectors, metric)
    assert codes is not None
    return CodedRows(codes, places)


def _segment(metric: MetricType) -> tuple[np.ndarray, JoinedCodes]:
    """15,000 rows: 5,000 of a run in turn, 4,500 of another in its order of which 600 are elsewhere, others without."""
    vectors = DICE.normal(size=(15_000, DIM)).astype(np.float32)
    backwards = np.arange(5000)[::-1].copy()
    some = np.arange(6000, 10_500)
    some[DICE.choice(4500, 600, replace=False)] = -1
    away = DICE.normal(size=(4500, DIM)).astype(np.float32)
    parts = [
        _coded(vectors[backwards], backwards, metric),
        _coded(np.where((some >= 0)[:, None], vectors[some], away), some, metric),
    ]
    joined = join_codes(parts, len(vectors), metric)
    assert joined is not None
    return vectors, joined


@pytest.mark.parametrize("metric", METRICS)
def test_joined_codes_find_the_exact_neighbours(metric: MetricType) -> None:
    vectors, joined = _segment(metric)
    queries = DICE.normal(size=(30, DIM)).astype(np.float32)
    late = np.arange(len(vectors)) > 5200
    for allowed in (None, DICE.random(len(vectors)) < 0.6, late):
        for q, k in ((1, 1), (1, 10), (30, 10), (30, 50)):
            found = joined.search(vectors, queries[:q], k, allowed=allowed)
            assert found is not None
            distances, rows = exact_search(vectors, queries[:q], k, metric, allowed=allowed)
            assert found[1].shape == rows.shape
            assert allowed is None or allowed[found[1]].all()
            assert all(len(set(row)) == k for row in found[1].tolist())
            assert np.mean([np.isin(a, b).mean() for a, b in zip(rows, found[1], strict=True)]) >= 0.98
            same = found[1] == rows
            np.testing.assert_allclose(found[0][same], distances[same], rtol=1e-4, atol=1e-4)


def test_few_allowed_rows_are_left_to_exact_search() -> None:
    vectors, joined = _segment(MetricType.L2)
    few = np.zeros(len(vectors), np.bool_)
    few[::300] = True
    assert joined.search(vectors, vectors[:1], 10, allowed=few) is None


def test_codes_of_too_few_rows_of_a_segment_are_none_of_it() -> None:
    vectors = DICE.normal(size=(5000, DIM)).astype(np.float32)
    whole = _coded(vectors, np.arange(5000), MetricType.L2)
    assert join_codes([whole], 40_000, MetricType.L2) is None
    elsewhere = CodedRows(whole.codes, np.where(np.arange(5000) < 200, np.arange(5000), -1))
    assert join_codes([elsewhere], 5000, MetricType.L2) is None
    joined = join_codes([whole], 5000, MetricType.L2)
    assert joined is not None
    assert joined.held_bytes >= whole.codes.held_bytes
