"""Embedders: unit length, nothing for nothing, and meaning where a model is behind them."""

import numpy as np
import pytest

from headwater.errors import InvalidArgument
from headwater.jobs.embedders import embedder


@pytest.mark.parametrize("name", ["lexical", "wordllama"])
def test_vectors_have_length_one_and_a_text_without_words_has_none(name):
    model = embedder(name)
    vectors = model.embed(["sort a list", "sort a list", ""])
    assert vectors.shape == (3, model.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert model.embed([]).shape == (0, model.dim)


def test_spelling_is_near_for_one_and_meaning_for_the_other():
    words = ["car", "automobile", "carpet"]
    lexical, model = (embedder(name).embed(words) for name in ("lexical", "wordllama"))
    assert lexical[0] @ lexical[2] > lexical[0] @ lexical[1]
    assert model[0] @ model[1] > model[0] @ model[2]


def test_an_unknown_embedder_is_refused():
    with pytest.raises(InvalidArgument, match="bert"):
        embedder("bert")
