"""The tables of the parser that are shipped are those of the grammar beside them."""

from __future__ import annotations

from importlib import resources

import pytest

from headwater.query.expr import parse, tables

FILTERS = (
    'year >= 2020 and (lang in ["en", "de"] or not draft) and 1 < rank <= 5',
    "json_contains(meta['tags'], 'a') and name like 'x%' and price * 2 - 1 != {limit}",
)


def test_the_shipped_tables_are_those_of_the_grammar_and_parse_alike() -> None:
    folder = resources.files("headwater.query.expr")
    grammar = folder.joinpath("grammar.lark").read_text()
    shipped = folder.joinpath("grammar.tables").read_bytes()
    assert shipped[:32] == tables.stamp(grammar), "run python -m headwater.query.expr.tables"
    made = tables.made_parser(grammar)
    for text in FILTERS:
        assert tables.parser().parse(text) == made.parse(text)


def test_tables_of_another_grammar_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "stamp", lambda grammar: b"0.0 other".ljust(32))
    assert (
        tables.parser().parse(FILTERS[0]).data == tables.made_parser(tables._grammar()).parse(FILTERS[0]).data
    )
    assert parse("year > 2000").text == "year > 2000"
