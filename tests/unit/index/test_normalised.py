"""One query is brought to length one by other means than many are, to the same end."""

from __future__ import annotations

import numpy as np

from headwater.index.exact import normalised


def test_one_vector_is_scaled_as_many_are_and_stays_as_it_was():
    drawn = np.random.default_rng(4).normal(size=(20, 19)).astype(np.float32)
    vectors = np.concatenate([drawn, 1e6 * drawn, 1e-6 * drawn, np.zeros((1, 19), np.float32)])
    before, together = vectors.copy(), normalised(vectors)
    for number in range(len(vectors)):
        np.testing.assert_allclose(normalised(vectors[number : number + 1])[0], together[number], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together[:-1], axis=1), 1, rtol=1e-6)
    assert not together[-1].any()
    np.testing.assert_array_equal(vectors, before)
