"""Scalar indexes against a plain evaluation, on columns and predicates that hypothesis looks for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.index import SCALAR_KINDS, ScalarParams
from headwater.index.predicates import IsNull, Matches, OneOf, Predicate, Range
from headwater.index.scalar.patterns import needles_of
from headwater.store import open_store
from headwater.testing.scalar_index import holds, like
from headwater.tiers import open_object

INTEGERS = st.integers(-5, 5) | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, -(2**53) - 1])
FRACTIONS = st.sampled_from([0.0, -0.0, 0.5, -2.5, 3.0, 1e308]) | st.floats(width=64)
TEXTS = st.text("ab%_\\日", max_size=5)
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], st.SearchStrategy[Any]]] = {
    "integers": (pa.int64(), INTEGERS, INTEGERS | st.sampled_from([0.5, -2.0, 1e300, 2.0**60])),
    "fractions": (pa.float64(), FRACTIONS, FRACTIONS | INTEGERS),
    "texts": (pa.string(), TEXTS, TEXTS),
}


def predicates(asked: st.SearchStrategy[Any], texts: bool) -> st.SearchStrategy[Predicate]:
    bounds = st.builds(Range, st.none() | asked, st.none() | asked, st.booleans(), st.booleans())
    some: st.SearchStrategy[Predicate] = (
        st.just(IsNull())
        | bounds
        | st.builds(lambda values: OneOf(tuple(values)), st.lists(asked, max_size=4))
    )
    return some | st.builds(Matches, TEXTS) if texts else some


@pytest.mark.parametrize("kind", ["sorted", "inverted", "bitmap", "bloom", "ngram"])
@pytest.mark.parametrize("name", COLUMNS)
def test_an_answer_is_that_of_a_plain_evaluation(kind: str, name: str) -> None:
    arrow, values, asked = COLUMNS[name]
    if (kind == "ngram" and name != "texts") or (kind == "bitmap" and name == "fractions"):
        return
    params = ScalarParams(kind, (("max_gram", 2), ("min_gram", 1)) if kind == "ngram" else ())

    @settings(max_examples=60)
    @given(
        st.lists(st.none() | values, max_size=30), st.lists(predicates(asked, name == "texts"), min_size=5)
    )
    def check(rows: list[Any], wanted: list[Predicate]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            SCALAR_KINDS[kind].build(pa.array(rows, arrow), params, Path(folder) / "x.hwx")
            index = SCALAR_KINDS[kind].open(open_object(open_store(folder), "x.hwx"), params)
            for predicate in wanted:
                answer = index.select(predicate, len(rows))
                if answer is None:
                    continue
                expected = np.asarray([holds(row, predicate) for row in rows], np.bool_)
                assert not (expected & ~answer.rows).any(), predicate
                assert not answer.exact or (answer.rows == expected).all(), predicate

    check()


@settings(max_examples=500)
@given(TEXTS, st.text("ab%_\\", max_size=6))
def test_a_text_that_matches_holds_the_literal_parts(text: str, pattern: str) -> None:
    needles = needles_of(Matches(pattern))
    if needles is None:
        return
    required = text.startswith(needles.prefix) and text.endswith(needles.suffix)
    required = required and all(part in text for part in needles.inner)
    assert required or not like(text, pattern)
    if needles.exactly == "equal":
        assert like(text, pattern) == (text == needles.prefix)
    elif needles.exactly is not None:
        assert like(text, pattern) == required
