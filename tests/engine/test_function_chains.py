"""Function chains against plain Python, step by step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.errors import FieldNotFound, InvalidArgument, UnsupportedOption

QUERIES = np.array([[1.0, 0.2], [0.3, 1.0]], np.float32)
ROWS = [
    {
        "id": i,
        "year": None if i == 4 else 2000 + i * 7 % 23,
        "votes": float(i * 13 % 17),
        "text": f"row {i % 5}",
        "v": [math.cos(i / 9), math.sin(i / 9)],
    }
    for i in range(40)
]
YEARS = {row["id"]: row["year"] for row in ROWS}
VOTES = {row["id"]: row["votes"] for row in ROWS}


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> hw.Collection:
    schema = hw.Schema.of(
        [
            hw.Field("id", hw.Int64),
            hw.Field("year", hw.Int32, nullable=True),
            hw.Field("votes", hw.Double),
            hw.Field("text", hw.String),
            hw.Field("v", hw.FloatVector(2)),
        ],
        "id",
    )
    docs = hw.connect(tmp_path_factory.mktemp("chains")).create_collection("docs", schema)
    docs.insert(ROWS[:20])
    docs.flush()
    docs.insert(ROWS[20:])
    return docs


def hits(docs: hw.Collection, chain: Any, **how: Any) -> list[list[tuple[int, float]]]:
    found = docs.search(QUERIES, top_k=30, function_chains=chain, **how)
    return [[(hit["id"], hit["distance"]) for hit in some] for some in found]


def base(docs: hw.Collection) -> list[list[tuple[int, float]]]:
    return [[(hit["id"], hit["distance"]) for hit in some] for some in docs.search(QUERIES, top_k=30)]


def same(found: list[list[tuple[int, float]]], expected: list[list[tuple[int, float]]]) -> None:
    for some, others in zip(found, expected, strict=True):
        assert [key for key, _ in some] == [key for key, _ in others]
        np.testing.assert_allclose([s for _, s in some], [s for _, s in others], rtol=1e-5, equal_nan=True)


def test_a_chain_of_every_step(docs: hw.Collection) -> None:
    chain = (
        hw.FunctionChain()
        .filter("year > {low}", {"low": 2003})
        .decay("fresh", "year", origin=2020, scale=5, function="exp", offset=1)
        .combine("$score", ["$score", "fresh", "votes"], mode="weighted", weights=[0.7, 0.2, 0.01])
        .round("$score", "$score", 3)
        .sort("$score", desc=True, tie_break="$id")
        .limit(8, offset=2)
    )
    expected = []
    for some in base(docs):
        scored = []
        for key, score in some:
            year = YEARS[key]
            if year is not None and year > 2003:
                fresh = 0.5 ** (max(0, abs(year - 2020) - 1) / 5)
                scored.append((key, round(0.7 * score + 0.2 * fresh + 0.01 * VOTES[key], 3)))
        expected.append(sorted(scored, key=lambda hit: (-hit[1], hit[0]))[2:10])
    same(hits(docs, chain), expected)
    same(hits(docs, [hw.FunctionChain(chain.ops[:3]), hw.FunctionChain(chain.ops[3:])]), expected)


@pytest.mark.parametrize(
    ("mode", "fold"),
    [
        ("sum", lambda a, b: a + b),
        ("multiply", lambda a, b: a * b),
        ("max", max),
        ("min", min),
        ("avg", lambda a, b: (a + b) / 2),
    ],
)
def test_columns_are_combined(docs: hw.Collection, mode: str, fold: Any) -> None:
    found = hits(docs, hw.FunctionChain().combine("$score", ["$score", "votes"], mode))
    same(found, [[(key, fold(score, VOTES[key])) for key, score in some] for some in base(docs)])


def test_what_is_null_is_no_number_and_comes_last(docs: hw.Collection) -> None:
    found = hits(docs, hw.FunctionChain().combine("$score", ["year", "votes"]).sort("$score"))
    for some in found:
        assert math.isnan(dict(some).get(4, math.nan))
        numbers = [score for _, score in some if not math.isnan(score)]
        assert numbers == sorted(numbers, reverse=True)
        assert all(math.isnan(score) for _, score in some[len(numbers) :])


def test_fields_order_too_and_equal_ones_stay(docs: hw.Collection) -> None:
    found = hits(docs, hw.FunctionChain().sort("text", desc=False))
    expected = [sorted(some, key=lambda hit: ROWS[hit[0]]["text"]) for some in base(docs)]
    same(found, expected)


def test_a_model_reads_only_what_is_left(docs: hw.Collection) -> None:
    seen: list[int] = []

    def score(question: str, texts: Any) -> list[float]:
        seen.append(len(texts))
        return [len(question) + float(text[-1]) for text in texts]

    chain = (
        hw.FunctionChain()
        .limit(5)
        .model("$score", score, "text", ["a", "bb"])
        .sort("$score", tie_break="$id")
    )
    found = hits(docs, chain)
    assert seen == [5, 5]
    for question, some, before in zip(("a", "bb"), found, base(docs), strict=True):
        scored = [(key, len(question) + key % 5) for key, _ in before[:5]]
        assert some == sorted(scored, key=lambda hit: (-hit[1], hit[0]))


def test_pages_of_what_is_left(docs: hw.Collection) -> None:
    chain = hw.FunctionChain().sort("votes")
    whole = docs.search(QUERIES, top_k=30, function_chains=chain)
    page = docs.search(QUERIES, top_k=20, offset=10, function_chains=chain)
    assert list(page) == [some[10:] for some in whole]
    assert docs.search(QUERIES, top_k=30, function_chains=hw.FunctionChain()) == docs.search(
        QUERIES, top_k=30
    )


def test_chains_are_values() -> None:
    one = hw.FunctionChain()
    assert one.limit(3) == one.limit(3)
    assert one.limit(3) != one.limit(4)
    assert one.ops == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda chain: chain.combine("$score", ["votes"]), "two columns"),
        (lambda chain: chain.combine("$score", ["votes", "year"], "median"), "median"),
        (lambda chain: chain.combine("$score", ["votes", "year"], "weighted"), "takes a weight"),
        (lambda chain: chain.combine("$score", ["votes", "year"], "sum", [1, 2]), "takes a weight"),
        (lambda chain: chain.combine("$id", ["votes", "year"]), "name of a column"),
        (lambda chain: chain.combine("", ["votes", "year"]), "name of a column"),
        (lambda chain: chain.combine("$mine", ["votes", "year"]), r"'\$mine'"),
        (lambda chain: chain.decay("x", "year", origin=1, scale=0), "above 0"),
        (lambda chain: chain.decay("x", "year", origin=1, scale=1, score_mode="max"), "score_mode"),
        (lambda chain: chain.round("x", "votes", 7), "0 to 6"),
        (lambda chain: chain.limit(0), "limit must"),
        (lambda chain: chain.limit(1, -1), "offset must"),
        (lambda chain: chain.sort("votes", desc="yes"), "desc must"),
        (lambda chain: chain.model("x", "scorer", "text"), "callable"),
    ],
)
def test_wrong_steps_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make(hw.FunctionChain())


def test_chains_that_do_not_fit(docs: hw.Collection, tmp_path: Path) -> None:
    chain = hw.FunctionChain()
    with pytest.raises(FieldNotFound, match="no column 'nowhere'"):
        hits(docs, chain.sort("nowhere"))
    with pytest.raises(InvalidArgument, match="expected numbers"):
        hits(docs, chain.combine("$score", ["text", "votes"]))
    with pytest.raises(InvalidArgument, match="is computed"):
        hits(docs, chain.round("x", "votes", 1).decay("y", "x", origin=1, scale=1))
    with pytest.raises(InvalidArgument, match="expected a FunctionChain"):
        hits(docs, "sort")
    for more in ({"ranker": hw.RRFRanker()}, {"order_by_fields": "year"}, {"group_by_field": "text"}):
        with pytest.raises(UnsupportedOption, match="do not go together"):
            hits(docs, chain.limit(3), **more)
    with pytest.raises(UnsupportedOption, match="no option 'function_chains'"):
        docs.hybrid_search([hw.AnnSearchRequest(QUERIES, "v")], function_chains=chain)
