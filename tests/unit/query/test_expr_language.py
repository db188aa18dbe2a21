"""The filter language: meaning of each form, three-valued logic, and errors that point."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from headwater.errors import FilterSyntax
from headwater.query import expr
from headwater.schema import JSON, Array, Bool, Double, Float, Int64, Schema, String
from headwater.testing.table_rows import TableRows

SCHEMA = Schema.of({"a": Int64, "b": Double, "s": String, "j": JSON, "l": Array(Int64), "ok": Bool})
TABLE = pa.table(
    {
        "a": [1, 2, None, 4],
        "b": [1.5, None, 0.0, 2.0],
        "s": ["ab", "b", None, "a%"],
        "j": ['{"x":{"y":[1,2]},"n":1}', None, '{"n":"q"}', "{}"],
        "l": [[1, 2], [], None, [5]],
        "ok": [True, False, None, True],
    }
)


def rows(text: str, **params: object) -> list[int]:
    bound = expr.bind(expr.parse(text, params), SCHEMA)
    return [i for i, held in enumerate(expr.evaluate(bound, TableRows(TABLE)).tolist()) if held]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a > 1", [1, 3]),
        ("not a > 1", [0]),
        ("1 < a <= 4", [1, 3]),
        ("a in [1, 4.0]", [0, 3]),
        ("a NOT IN [1]", [1, 3]),
        ("s like 'a%'", [0, 3]),
        ("s is null", [2]),
        ("s is not null", [0, 1, 3]),
        ('j["x"]["y"][1] == 2', [0]),
        ('j["n"] == 1', [0]),
        ('exists j["n"]', [0, 2]),
        ('json_contains(j["x"]["y"], 2)', [0]),
        ("array_contains(l, 5)", [3]),
        ("array_contains_all(l, [1, 2])", [0]),
        ("array_contains_any(l, [2, 5])", [0, 3]),
        ("array_length(l) == 0", [1]),
        ("l[0] == 1", [0]),
        ("a + 1 == 2", [0]),
        ("a * b > 3 || ok", [0, 3]),
        ("a % 2 == 0 && !ok", [1]),
        ("-a < -1", [1, 3]),
        ("a / 2 == 2", [3]),
        ("2 ** 2 == a", [3]),
        ("b == 0 or a == null_is_a_name", None),
        ("a == 1 or a is null", [0, 2]),
        ("true", [0, 1, 2, 3]),
    ],
)
def test_each_form_selects_what_it_says(text: str, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises(FilterSyntax, match="unknown field"):
            rows(text)
    else:
        assert rows(text) == expected


def test_templates_bind_values_and_never_text() -> None:
    assert rows("a in {ids}", ids=[2, 4]) == [1, 3]
    assert rows("s == {name}", name="ab' or true or s == '") == []


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("a >", 3),
        ("a == zz", 5),
        ("s > 1", 2),
        ("a in 3", 5),
        ("j[", 2),
        ("a like 'x'", 0),
        ("{q} == 1", 0),
        ("(a", 2),
    ],
)
def test_an_error_says_where(text: str, position: int) -> None:
    with pytest.raises(FilterSyntax) as caught:
        rows(text)
    assert abs(caught.value.details["position"] - position) <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"a == {2**53 + 1}", [1]),
        ("a + 1 > 0", [0, 1, 2]),
        (f"a + 1 == {2**53 + 2}", [1]),
        ("a / -1 > 0", [3]),
        ("a % -1 == 0", [0, 1, 2, 3]),
        ("a * a >= 0", [0, 1, 2, 3]),
        (f"j['k'] + 1 == {2**53 + 2}", [1]),
        ("j['k'] / 2 == 3", [0]),
        ("j['k'] / 2.0 == 3.5", [0]),
        ("j['k'] * 2 == 5", [2]),
        ("-j['k'] < 0", [0, 1, 2]),
        ("f + 0.1 == 0.2", [1]),
        ("f * 2 in [0.2, 1]", [0, 1]),
        ("not (f - 0.1 == 0)", [0, 3]),
        ("d in [1e308]", [0]),
        (f"d == {2**53 + 1}", [1]),
        ("d in {given}", [2]),
        ("a == d", [1]),
        ("a < d", [0, 2]),
        ("j['k'] not in []", [0, 1, 2, 3]),
        (f"cast(j['k'] as int64) == {2**63 - 1}", [3]),
    ],
)
def test_numbers_are_exact_at_the_edges_of_their_types(text: str, expected: list[int]) -> None:
    schema = Schema.of({"a": Int64, "d": Double, "f": Float, "j": JSON})
    table = pa.table(
        {
            "a": [2**53, 2**53 + 1, 2**63 - 1, -(2**63)],
            "d": [1e308, 2.0**53, math.inf, math.nan],
            "f": [0.5, 0.1, None, -0.1],
            "j": ['{"k": 7}', f'{{"k": {2**53 + 1}}}', '{"k": 2.5}', '{"k": "9223372036854775807"}'],
        },
        schema.to_arrow(),
    )
    bound = expr.bind(expr.parse(text, {"given": [math.inf, math.nan]}), schema)
    assert expr.evaluate(bound, TableRows(table)).nonzero()[0].tolist() == expected


def test_what_programs_join_one_by_one_is_as_deep_as_it_is_hard() -> None:
    text = "a == 0"
    for value in range(1, 200):
        text = f"({text} or a == {value})"
    assert rows(text) == [0, 1, 3]
