"""Whatever is typed as a filter, it parses or is a `FilterSyntax`; what parses is bounded, and binds or points."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import FilterSyntax
from headwater.query import expr
from headwater.query.expr.trees import MAX_DEPTH
from headwater.schema import JSON, Array, Geometry, Int64, Schema, String, StructArray, TimestampTz
from headwater.testing.table_rows import TableRows

SCHEMA = Schema.of(
    {
        "a": Int64,
        "s": String,
        "j": JSON,
        "l": Array(Int64),
        "st": StructArray({"x": Int64}),
        "t": TimestampTz,
        "g": Geometry,
    },
    dynamic=True,
)
EMPTY = SCHEMA.to_arrow().empty_table()
ONE = pa.Table.from_pylist(
    [{"a": 3, "s": "x", "j": "{bad", "l": [1], "st": [{"x": 1}], "t": None, "g": None, "$meta": "{}"}],
    SCHEMA.to_arrow(),
)
WORDS = """
a s j l st t g free true false not and or in like is null exists iso interval cast as threshold = == != < <= > >= =~ !~
+ - * / % ** & | ^ ~ << >> ( ) [ ] { } , $ ! && || 0 1 -1 2.5 1e400 0x1f 017 08 'x' "" 'P1D' r'\\d' '2025-01-01' ['k']
'POINT (1 1)' array_length( json_contains( match_any( st_within( text_match( random_sample( [0] [x] $[x] .5
9223372036854775808 '\\ud800' u8'é' `a` element_filter( empty( st_dwithin( {p}
"""
SOUP = st.lists(st.sampled_from(WORDS.split()), max_size=14).map(" ".join)


def size(node: Any) -> int:
    found, level = 0, [node]
    while level:
        found += len(level)
        values = [getattr(one, field.name) for one in level for field in fields(one)]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        level = [one for one in flat if is_dataclass(one)]
    return found


@settings(max_examples=1200)
@given(text=st.one_of(SOUP, st.text(max_size=40), st.text("()[]'\"\\!&|<>=a1.$ ", max_size=30)))
@example(text="'\\ud800'")
@example(text="a in [" + "1," * 3000 + "]")
@example(text="-" * 3000 + "1")
@example(text="a" + "[0]" * 3000)
@example(text="1 " + "and 1 " * 3000)
@example(text="(" * 3000)
@example(text="2 ** 2 " * 200)
@example(text="9" * 5000)
@example(text="1 << 99999999999")
@example(text="a == 10.0 ** 400")
def test_any_text_is_a_bounded_tree_or_an_error_that_points(text: str) -> None:
    try:
        tree = expr.parse(text, {"p": [1, "x", None, {}]})
        assert size(tree.node) <= 2 * len(text) + 2
        assert depth(tree.node) <= MAX_DEPTH
        bound = expr.bind(tree, SCHEMA)
    except FilterSyntax as error:
        outside = not 0 <= error.details["position"] <= len(text)
        if outside:
            raise
        return
    for table in (EMPTY, ONE):
        assert len(expr.evaluate(bound, TableRows(table))) == table.num_rows


def depth(node: Any) -> int:
    levels, level = 0, [node]
    while level:
        levels += 1
        values = [getattr(one, field.name) for one in level for field in fields(one)]
        flat = [item for value in values for item in (value if isinstance(value, tuple) else (value,))]
        level = [one for one in flat if is_dataclass(one)]
    return levels
