"""What is worked out for one query by other means than for many comes to the same."""

from __future__ import annotations

import numpy as np

from headwater.index.exact import normalised, score
from headwater.types import MetricType


def test_one_vector_is_scaled_as_many_are_and_stays_as_it_was():
    drawn = np.random.default_rng(4).normal(size=(20, 19)).astype(np.float32)
    vectors = np.concatenate([drawn, 1e6 * drawn, 1e-6 * drawn, np.zeros((1, 19), np.float32)])
    before, together = vectors.copy(), normalised(vectors)
    for number in range(len(vectors)):
        np.testing.assert_allclose(normalised(vectors[number : number + 1])[0], together[number], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together[:-1], axis=1), 1, rtol=1e-6)
    assert not together[-1].any()
    np.testing.assert_array_equal(vectors, before)


def test_squared_distances_are_never_below_zero_however_many_queries_there_are():
    vectors = np.random.default_rng(5).random((300, 768)).astype(np.float32)
    exact = ((vectors[:, None, :8].astype(np.float64) - vectors[None, :, :8]) ** 2).sum(axis=2)
    for many in (1, 2, 4, 5, 40, 300):
        apart = score(vectors, vectors[:many], MetricType.L2)
        assert apart.min() >= 0
        assert (apart.argmin(axis=1) == np.arange(many)).all()
        few = score(
            np.ascontiguousarray(vectors[:, :8]), np.ascontiguousarray(vectors[:many, :8]), MetricType.L2
        )
        np.testing.assert_allclose(few, exact[:many], rtol=1e-4, atol=1e-5)
    assert score(vectors, vectors[:0], MetricType.L2).shape == (0, 300)
