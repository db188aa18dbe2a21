"""Equal distances are ordered by position, also where they lie on both sides of the k-th."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.index.exact import best
from headwater.types import MetricType


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP])
def test_the_best_are_the_first_of_a_stable_sort(metric: MetricType) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        n, q = int(rng.integers(2, 40)), int(rng.integers(1, 4))
        k = int(rng.integers(1, n + 2))
        distances = rng.integers(0, 4, size=(q, n)).astype(np.float32)
        key = -distances if metric.larger_is_closer else distances
        np.testing.assert_array_equal(
            best(distances, k, metric), np.argsort(key, axis=1, kind="stable")[:, :k]
        )
