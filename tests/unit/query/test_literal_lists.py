"""A list of literals is one token, and stands for what it stands for when each literal is read alone."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import FilterSyntax
from headwater.query import expr
from headwater.query.expr import tables
from headwater.schema import JSON, Int64, Schema

SCHEMA = Schema.of({"i": Int64, "j": JSON})
SPACE = st.sampled_from(["", "", " ", "\n", "\t \r\n", "\u00a0"])
SIGN = st.sampled_from(["", "", "-", "+", "- ", "-\n"])
NUMBERS = """
0 1 7 017 08 0x1F 0XaB 0b101 0b 0x 12ab 1_000 1..2 0x1e 1e ٣ 9223372036854775807 9223372036854775808 9223372036854775809
1.5 .5 3. 1e5 1E-5 2.5e+3 1.e2 1e400 0x1p3 0X1.8P-1 0x.8p+2
"""
DIGITS = st.sampled_from([*NUMBERS.split(), "9" * 401])
PIECES = st.sampled_from(
    [
        "a",
        "é",
        " ",
        ",",
        "[",
        "]",
        "(",
        "'",
        '"',
        "\\'",
        '\\"',
        "\\\\",
        "\\n",
        "\\x41",
        "\\101",
        "\\ud800",
        "\\%",
        "\n",
    ]
)
BODY = st.lists(PIECES, max_size=5).map("".join)
TEXT = st.builds(
    lambda prefix, quote, body: prefix + quote + body + quote,
    st.sampled_from(["", "", "u8", "u", "U", "L", "r", "R", "R8"]),
    st.sampled_from("'\""),
    BODY,
)
WORD = st.sampled_from(
    [
        "true",
        "False",
        "TRUE",
        "truely",
        "i",
        "{p}",
        "not",
        "1 2",
        "1-2",
        "",
        "(1)",
        "[2, 3]",
        "iso '2025-01-01'",
    ]
)
LITERAL = st.one_of(st.builds(str.__add__, SIGN, DIGITS), TEXT, WORD, st.integers(-9, 10**19).map(str))
ITEM = st.builds(lambda before, literal, after: before + literal + after, SPACE, LITERAL, SPACE)
LIST = st.builds(
    lambda items, end: ",".join(items) + end, st.lists(ITEM, max_size=5), st.sampled_from(["", "", ",", ", "])
)


@lru_cache(maxsize=1)
def slow() -> Any:
    """A parser without lists as tokens."""
    grammar = tables._grammar()
    whole = next(line for line in grammar.splitlines() if "-> literals" in line)
    return tables.made_parser(grammar.replace(whole, ""))


def found(text: str) -> tuple[str, Any]:
    """What a filter's list holds, with types; or why it is refused, and where: at the literal or at its sign."""
    try:
        bound = expr.bind(expr.parse(text, {"p": 1}), SCHEMA)
    except FilterSyntax as error:
        position: int = error.details["position"]
        return str(error).split(", at position")[0], len(text[position:].lstrip("+- \n"))
    member: Any = bound.condition
    return "values", (repr(member.values), member.value_set)


@settings(max_examples=1000)
@given(
    items=LIST, form=st.sampled_from(["j in [{}]", "not (j not in\n([{}]))", "i in [{}]", "i in [{}] and [1"])
)
def test_a_list_read_as_one_token_is_the_list_read_literal_by_literal(items: str, form: str) -> None:
    text = form.replace("{}", items)
    quick = found(text)
    with mock.patch.object(sys.modules["headwater.query.expr.trees"], "_kept", slow().parse):
        by_literal = found(text)
    if "64 bits" in quick[0]:
        assert by_literal[0] != "values"
    else:
        assert quick == by_literal


def leaves(tree: Any) -> int:
    return sum(1 for _ in tree.scan_values(lambda token: True))


def test_a_list_of_literals_is_one_token_wherever_a_value_may_stand() -> None:
    long = ",".join(map(str, range(1000)))
    for text in (
        f"i in [{long}]",
        f"j == [{long},]",
        f"json_contains_any(j, [ {long} ])",
        f"i > 1 and not i in [{long}]",
    ):
        assert leaves(slow().parse(text)) > 1000
        assert leaves(tables.parser().parse(text)) < 6
    assert leaves(tables.parser().parse(f"j[0]['a'] in [{long}]")) == 4
