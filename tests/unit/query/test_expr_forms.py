"""Each form of the filter language on a few rows whose answer can be read off."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import pyarrow as pa
import pytest
import shapely

from headwater.errors import FilterSyntax
from headwater.query import expr
from headwater.schema import (
    JSON,
    Array,
    Bool,
    Double,
    Float,
    Geometry,
    Int8,
    Int64,
    Schema,
    String,
    StructArray,
    TimestampTz,
)
from headwater.testing.table_rows import TableRows

SCHEMA = Schema.of(
    {
        "i": Int64,
        "small": Int8,
        "f": Float,
        "d": Double,
        "s": String,
        "ok": Bool,
        "j": JSON,
        "l": Array(Int64),
        "words": Array(String),
        "st": StructArray({"x": Int64, "y": String}),
        "t": TimestampTz,
        "g": Geometry,
    },
    dynamic=True,
)
MOMENTS = [1_735_689_600_000_000, 1_738_281_600_000_000, None, 0]
"""2025-01-01, 2025-01-31, none, 1970-01-01; all at midnight in UTC."""
TABLE = pa.table(
    {
        "i": pa.array([1, 6, None, -7], pa.int64()),
        "small": pa.array([1, 127, None, -128], pa.int8()),
        "f": pa.array([0.1, 2.5, None, -1.0], pa.float32()),
        "d": pa.array([0.5, -0.0, None, 7.0]),
        "s": ["a%b", "A\\d1", None, ""],
        "ok": [True, False, None, True],
        "j": [
            '{"a":1,"b":[1,"x",[2]],"c":{"d":"t"}}',
            '{"a":"1","b":[],"c":null}',
            None,
            '{"a":1.5,"e":true}',
        ],
        "l": [[1, 2, 3], [], None, [5, None]],
        "words": [["a", "b"], ["c"], None, []],
        "st": [[{"x": 1, "y": "a"}, {"x": 5, "y": "b"}], [{"x": 5, "y": None}], None, []],
        "t": pa.array(MOMENTS, pa.timestamp("us", "UTC")),
        "g": pa.array([shapely.Point(0, 0).wkb, shapely.box(0, 0, 2, 2).wkb, None, shapely.Point(5, 5).wkb]),
        "$meta": ['{"free":1}', '{"free":"x","other":[1]}', None, "{}"],
    }
)


def rows(text: str, **params: Any) -> list[int]:
    bound = expr.bind(expr.parse(text, params), SCHEMA)
    return [i for i, held in enumerate(expr.evaluate(bound, TableRows(TABLE)).tolist()) if held]


FORMS: list[tuple[str, list[int]]] = [
    # chains, both ways round
    ("-7 <= i < 6", [0, 3]),
    ("6 > i >= -7", [0, 3]),
    ("0 < i and i < 6 and i != 2", [0]),
    ("not (0 < i < 6)", [1, 3]),
    # numbers of other types, exactly
    ("i == 1.0", [0]),
    ("i > 0.5", [0, 1]),
    ("i != 0.5", [0, 1, 3]),
    ("small < 1000", [0, 1, 3]),
    ("small == 1000", []),
    ("f == 0.1", [0]),
    ("d == 0", [1]),
    # arithmetic
    ("i / 2 == 3", [1]),
    ("i / 2 == -3", [3]),
    ("i % 4 == -3", [3]),
    ("i / 0 == 1 or i / 0 is null", [0, 1, 2, 3]),
    ("2 * i + 1 == 13", [1]),
    ("i - 1 - 1 == 4", [1]),
    ("-i == 7", [3]),
    ("i ** 2 == 36", [1]),
    ("2 ** 3 ** 2 == 64.0 and i == 1", [0]),
    ("-2 ** 2 == -4 and i == 1", [0]),
    ("i + d > 6.5", []),
    ("d % 2 == 1", [3]),
    ("9223372036854775807 + i > 0", [0, 1, 3]),
    # bits bind looser than comparison, as in C
    ("(i & 1) == 1", [0, 3]),
    ("(i | 1) == 7", [1]),
    ("(i ^ 3) == 5", [1]),
    ("~i == 6", [3]),
    ("i << 1 == 12", [1]),
    ("i >> 1 == 3", [1]),
    ("i << 64 == 0", [0, 1, 3]),
    ("0x10 == 020 and 0b11 == 3 and i == 1", [0]),
    # membership
    ("i in [1, 6, 6]", [0, 1]),
    ("i not in [1]", [1, 3]),
    ("i in []", []),
    ("d in [0, 0.5]", [0, 1]),
    ("s in ['', 'x',]", [3]),
    ("ok in [true]", [0, 3]),
    # patterns
    ("s like 'a%'", [0]),
    ("s like 'a\\%b'", [0]),
    ("s like '_\\%_'", [0]),
    ("s like '%'", [0, 1, 3]),
    ("s like ''", [3]),
    ("s not like 'a%'", [1, 3]),
    ("s =~ '\\d'", [1]),
    ("s =~ r'^a'", [0]),
    ("s !~ '[aA]'", [3]),
    ("s == 'A\\\\d1'", [1]),
    ("s == r'A\\d1'", [1]),
    ("empty(s)", [3]),
    ("not empty(s)", [0, 1]),
    ("starts_with(s, 'a%')", [0]),
    ("ENDS_WITH(s, '1')", [1]),
    # nulls
    ("i is null", [2]),
    ("i IS NOT NULL", [0, 1, 3]),
    ("j['c'] is null", [1, 2, 3]),
    ("j['c'] is not null", [0]),
    ("exists j['c']['d']", [0]),
    ("not exists j['e']", [0, 1, 2]),
    ("not (j['a'] == 1)", [3]),
    # truth values
    ("ok", [0, 3]),
    ("not ok", [1]),
    ("ok == (i > 0)", [0]),
    ("(i > 0) != (d > 0)", [1, 3]),
    ("j['e']", [3]),
    # JSON
    ("j['a'] == 1", [0]),
    ("j['a'] > 1", [3]),
    ("j['a'] in [1, 'x']", [0]),
    ("j['a'] not in [1, 'x']", [1, 3]),
    ("j['a'] + 1 == 2.5", [3]),
    ("j['b'][1] == 'x'", [0]),
    ("j['b'] == [1, 'x', [2]]", [0]),
    ("j['b'] != []", [0]),
    ("j['c']['d'] like 't%'", [0]),
    ("j['a'] == i", [0]),
    ("j['a'] == j['b'][0]", [0]),
    ("cast(j['a'] as double) == 1", [0, 1]),
    ("cast(j['a'] as varchar) == '1'", [0, 1]),
    ("cast(s as int64) is null", [0, 1, 2, 3]),
    ("cast(i as varchar) == '-7'", [3]),
    ("json_contains(j['b'], 'x')", [0]),
    ("JSON_CONTAINS(j['b'], [2])", [0]),
    ("json_contains_all(j['b'], [1, 'x'])", [0]),
    ("not json_contains_any(j['b'], [7])", [0, 1]),
    ("array_length(j['b']) == 0", [1]),
    ("match_any(j['b'], $ == 'x')", [0]),
    ("match_all(j['b'], $ == 1)", [1]),
    ("match_exact(j['b'], $ in [1, 'x'], threshold=2)", [0]),
    ("not match_any(j['b'], $ > 0 and $ < 2)", [1]),
    ("match_most(j['b'], $ like 'x%', threshold=0)", [1]),
    ("match_any(j['b'], array_length($) == 1)", [0]),
    ("not match_least(j['a'], $ == 1, threshold=1)", []),
    ("match_any(other, $ == 1)", [1]),
    ("free == 1", [0]),
    ("$meta['free'] == 'x'", [1]),
    ("exists other", [1]),
    # arrays
    ("l[0] == 1", [0]),
    ("l[2] is null", [1, 2, 3]),
    ("l == [1, 2, 3]", [0]),
    ("l != [1]", [0, 1, 3]),
    ("l == l", [0, 1]),
    ("array_length(l) >= 2", [0, 3]),
    ("array_contains(l, 5)", [3]),
    ("not array_contains(l, 5)", [0, 1]),
    ("ARRAY_CONTAINS_ALL(l, [])", [0, 1, 3]),
    ("array_contains_any(words, ['b', 'c'])", [0, 1]),
    ("match_any(l, $ > 2)", [0, 3]),
    # struct arrays
    ("st[0][x] == 1", [0]),
    ("st[x][1] == 5", [0]),
    ("array_contains(st[x], 5)", [0, 1]),
    ("array_length(st) == 2", [0]),
    ("element_filter(st, $[x] > 1 && $[y] == 'b')", [0]),
    ("match_all(st, $[x] == 5)", [1, 3]),
    ("not match_any(st, $[y] == 'a')", [1, 3]),
    ("MATCH_LEAST(st, $[x] >= 1, threshold=2)", [0]),
    ("match_most(st, $[x] >= 1, threshold=1)", [1, 3]),
    ("match_exact(st, $[x] == 5, threshold=1)", [0, 1]),
    # timestamps
    ("t > ISO '2025-01-01T07:00:00+08:00'", [0, 1]),
    ("ISO '2025-01-01' == t", [0]),
    ("t + INTERVAL 'P1M' == ISO '2025-02-28'", [1]),
    ("t - interval 'P1DT12H' < '2024-12-31'", [0, 3]),
    ("'2025-01-01' <= t <= iso '2025-12-31'", [0, 1]),
    ("t in ['2025-01-01', '1970-01-01']", [0, 3]),
    ("not (t > '2025-01-01')", [0, 3]),
    # geometry
    ("ST_WITHIN(g, 'POLYGON ((-1 -1, 3 -1, 3 3, -1 3, -1 -1))')", [0, 1]),
    ("st_contains(g, 'POINT (1 1)')", [1]),
    ("not st_intersects(g, 'POINT (0 0)')", [3]),
    ("st_dwithin(g, 'POINT (5 4)', 112000)", [3]),
    ("st_isvalid(g)", [0, 1, 3]),
    # whole-table literals
    ("true", [0, 1, 2, 3]),
    ("1 > 2 or i == 1", [0]),
    ("NOT FALSE AND True", [0, 1, 2, 3]),
]


@pytest.mark.parametrize(("text", "expected"), FORMS)
def test_each_form_selects_what_it_says(text: str, expected: list[int]) -> None:
    assert rows(text) == expected


@pytest.mark.parametrize("below", [0.0, 2.0])
def test_narrowing_to_undecided_rows_changes_no_answer(monkeypatch: pytest.MonkeyPatch, below: float) -> None:
    monkeypatch.setattr(sys.modules["headwater.query.expr.evaluate"], "_NARROW_BELOW", (below,) * 4)
    for (one, first), (other, second) in itertools.pairwise(FORMS):
        assert rows(f"({one}) and ({other})") == sorted(set(first) & set(second))
        assert rows(f"({one}) or ({other})") == sorted(set(first) | set(second))
        assert rows(f"not (({one}) and ({other})) and ({one}) and ({other})") == []


def test_templates_stand_for_any_value() -> None:
    assert rows("i in {ids}", ids=[1, 6]) == [0, 1]
    assert rows("s == {name}", name="' or true or s == '") == []
    assert rows("array_contains_any(l, {some})", some={5}) == [3]
    assert rows("st_contains(g, {shape})", shape=shapely.Point(1, 1)) == [1]
    assert rows("1 + {n} == i", n=5) == [1]


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("a >", 2, "not understood"),
        ("i == nope", 5, "unknown field"),
        ("s > 1", 2, "cannot compare"),
        ("i in 3", 5, "list such as"),
        ("i like 'x'", 0, "like needs text"),
        ("s =~ '('", 5, "RE2"),
        ("{q} == 1", 0, "template"),
        ("i & 1 == 1", 6, "needs numbers"),
        ("1 < i > 2", 0, "one way"),
        ("text_match(s, 'q')", 11, "no analyzer"),
        ("starts_wit(s, 'q')", 0, "unknown function"),
        ("random_sample(0.5) and i > 1", 0, "stands last"),
        ("i > 1 and random_sample(2)", 24, "between 0 and 1"),
        ("match_least(st, $[x] > 1)", 0, "threshold"),
        ("match_any(st, i > 1)", 14, "elements reads"),
        ("match_any(st, $[z] > 1)", 14, "unknown member 'z' of 'st'"),
        ("$[x] == 1", 0, "only known in"),
        ("match_any(j['b'], $[x] == 1)", 18, "has no members"),
        ("match_any(j['b'], i == 1)", 18, "elements reads"),
        ("element_filter(j['b'], $ == 1)", 15, "needs a array or struct_array field"),
        ("t > 'yesterday'", 4, "not a timestamp"),
        ("t + INTERVAL 'P' > '2025-01-01'", 4, "duration"),
        ("st_within(g, 'POINT (1')", 13, "not a geometry"),
        ("i == 9223372036854775808", 5, "64 bits"),
        ("l[j] == 1", 0, "indexed by a number"),
        ("i + 'x' == 1", 4, "needs numbers"),
        ("array_contains(l, 'x')", 18, "elements that are each"),
        ("exists i", 0, "JSON path"),
        ("ok < true", 3, "order"),
        ("l == ['x']", 2, "cannot compare"),
        ("l == words", 2, "cannot compare"),
    ],
)
def test_an_error_points_at_the_place(text: str, position: int, says: str) -> None:
    schema = Schema.of(SCHEMA.fields)
    with pytest.raises(FilterSyntax, match=says) as caught:
        expr.bind(expr.parse(text), schema)
    assert caught.value.details["position"] == position
    assert "^" in str(caught.value)


def test_near_names_are_suggested() -> None:
    with pytest.raises(FilterSyntax) as caught:
        expr.bind(expr.parse("starts_wit(s, 'a')"), SCHEMA)
    assert "starts_with" in str(caught.value.hint)


def test_times_without_an_offset_are_in_the_time_zone() -> None:
    bound = expr.bind(expr.parse("t == ISO '2025-01-01T08:00:00'"), SCHEMA, timezone="Asia/Shanghai")
    assert expr.evaluate(bound, TableRows(TABLE)).tolist() == [True, False, False, False]


def test_a_sample_is_a_share_that_a_bound_filter_keeps() -> None:
    table = pa.table({"a": range(20_000)})
    schema = Schema.of({"a": Int64})
    bound = expr.bind(expr.parse("a >= 10000 and random_sample(0.25)"), schema)
    first, second = (expr.evaluate(bound, TableRows(table)) for _ in range(2))
    assert (first == second).all()
    assert not first[:10_000].any()
    assert first.sum() == 2500


def test_a_sample_is_drawn_anew_by_every_binding() -> None:
    rows, schema = TableRows(pa.table({"a": range(2000)})), Schema.of({"a": Int64})
    tree = expr.parse("random_sample(0.5)")
    drawn = [expr.evaluate(expr.bind(tree, schema), rows) for _ in range(3)]
    assert len({one.tobytes() for one in drawn}) == 3
    assert [one.sum() for one in drawn] == [1000] * 3


def test_a_sample_of_a_few_rows_is_one_of_them_at_least() -> None:
    schema = Schema.of({"a": Int64})
    table = pa.table({"a": range(100)})
    for text, count in (
        ("a < 7 and random_sample(0.01)", 1),
        ("a < 7 and random_sample(0.5)", 3),
        ("a < 0 and random_sample(0.5)", 0),
        ("random_sample(0.99)", 99),
    ):
        assert expr.evaluate(expr.bind(expr.parse(text), schema), TableRows(table)).sum() == count


def test_the_tree_is_bounded() -> None:
    for text in ("(" * 5000 + "true" + ")" * 5000, "not " * 5000 + "true", "i" + "+1" * 500 + " > 1"):
        try:
            expr.parse(text)
        except FilterSyntax:
            continue
        assert text.startswith("(")
    for text in (
        "i == 1" + " " * (1 << 20),
        "i in [" + "1," * 600_000 + "(1)]",
        "i in [" + "[1]," * 300_000 + "[1]]",
    ):
        with pytest.raises(FilterSyntax, match="characters"):
            expr.parse(text)
    with pytest.raises(FilterSyntax, match="characters"):
        expr.parse("i in [" + " " * (1 << 25) + "1]")
    with pytest.raises(FilterSyntax, match="values"):
        expr.parse("i in [" + "1," * (1 << 20) + "1]")
    with pytest.raises(FilterSyntax, match="values"):
        expr.parse("i in {n}", {"n": range(1 << 21)} and {"n": list(range((1 << 20) + 1))})
