"""Filters on arrays, struct arrays and geometry, beside plain Python and shapely, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import shapely
from filter_corpus import (
    ATOM,
    CONDITION,
    EQUAL,
    RELATION,
    Dice,
    Rows,
    Text,
    check,
    combined,
    mixed_layouts,
    python_join,
)

import headwater as hw
from headwater.schema import Field, Schema

COUNT = 100
NESTED_CASES = 1600
SHAPE_CASES = 700
Test = Callable[[Any], bool | None]
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: bool(a == b),
    "!=": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}
WORDS = ["", "a", "ab", "b%", "é"]
FLAT = [
    Field("id", hw.Int64),
    Field("l", hw.Array(hw.Int32), nullable=True),
    Field("r", hw.Array(hw.Double), nullable=True),
    Field("w", hw.Array(hw.VarChar(20)), nullable=True),
    Field("n", hw.Int64, nullable=True),
]
NESTED = Schema.of(
    [*FLAT, Field("st", hw.StructArray({"x": hw.Int64, "y": hw.VarChar(20)}), nullable=True)],
    primary_key="id",
)
SHAPES = Schema.of(
    [
        Field("id", hw.Int64),
        Field("g", hw.Geometry, nullable=True),
        Field("p", hw.Geometry),
        Field("any", hw.Geometry, nullable=True),
    ],
    "id",
)


def level(op: str) -> int:
    return EQUAL if op in ("==", "!=") else RELATION


def nested_rows(seed: int, schema: Schema) -> list[dict[str, Any]]:
    dice = Dice(seed)

    def some(make: Callable[[], Any]) -> Any:
        return None if dice.random() < 0.1 else [make() for _ in range(dice.choice([0, 1, 1, 2, 3, 4]))]

    def struct() -> dict[str, Any]:
        return {
            "x": None if dice.random() < 0.1 else dice.randint(0, 5),
            "y": None if dice.random() < 0.1 else dice.choice(WORDS),
        }

    made = [
        {
            "id": number,
            "l": some(lambda: dice.randint(0, 5)),
            "r": some(lambda: dice.choice([-0.0, 0.5, 1.0, 2.5])),
            "w": some(lambda: dice.choice(WORDS)),
            "n": dice.choice([None, 0, 1, 2, 3]),
            "st": some(struct),
        }
        for number in range(COUNT)
    ]
    return [{name: row[name] for name in schema.names} for row in made]


class NestedWriter:
    """Trees over lists, as text and as functions of a row."""

    def __init__(self, seed: int, structs: bool) -> None:
        self.dice = Dice(seed)
        self.params: dict[str, Any] = {}
        self.structs = structs

    def case(self) -> tuple[Text, dict[str, Any]]:
        self.params = {}
        return combined(self.dice, self.leaf, 2, python_join), self.params

    def leaf(self) -> Text:
        makers = [
            self.contains,
            self.contains,
            self.length,
            self.element,
            self.equal,
            self.null,
            self.quantified,
        ]
        if self.structs:
            makers += [self.quantified, self.quantified, self.member_at, self.contains]
        return self.dice.choice(makers)()

    def given(self, value: Any, ours: str) -> str:
        if self.dice.random() > 0.1:
            return ours
        self.params[f"p{len(self.params)}"] = value
        return "{" + f"p{len(self.params) - 1}" + "}"

    def value(self, kind: str) -> Any:
        if kind == "text":
            return self.dice.choice(WORDS)
        return self.dice.randint(0, 5) if kind == "int" else self.dice.choice([0, 0.5, 1, 2.5, 7.25])

    def literal(self, value: Any) -> str:
        return self.given(value, self.dice.quoted(value) if isinstance(value, str) else repr(value))

    def a_list(self) -> tuple[str, str, Callable[[Any], list[Any] | None]]:
        """A list, the kind of its elements, and how a row has it."""
        kinds = [("l", "int"), ("r", "real"), ("w", "text")]
        if self.structs:
            kinds += [("st[x]", "int"), ("st[y]", "text")]
        name, kind = self.dice.choice(kinds)
        if name[-1] != "]":
            return name, kind, lambda row: row[name]  # type: ignore[no-any-return]
        member = name[3]
        return name, kind, lambda row: None if row["st"] is None else [one[member] for one in row["st"]]

    def contains(self) -> Text:
        dice = self.dice
        name, kind, read = self.a_list()
        values = [self.value(kind) for _ in range(dice.randint(0, 3))]
        function = dice.choice(["array_contains", "array_contains_all", "array_contains_any"])
        if function == "array_contains":
            values = [self.value(kind)]
            argument = self.literal(values[0])
        else:
            argument = self.given(values, "[" + ", ".join(self.literal(one) for one in values) + "]")
        decide = any if function != "array_contains_all" else all

        def test(row: Any) -> bool | None:
            held = read(row)
            return None if held is None else decide(one in held for one in values)

        return Text(f"{dice.word(function)}({name}, {argument})", ATOM, test)

    def length(self) -> Text:
        dice = self.dice
        name, _, read = self.a_list()
        name = "st" if name.startswith("st") and dice.random() < 0.5 else name
        op, size = dice.choice(list(COMPARE)), dice.randint(0, 4)

        def test(row: Any) -> bool | None:
            held = read(row)
            return None if held is None else COMPARE[op](len(held), size)

        return Text(f"{dice.word('array_length')}({name}) {op} {size}", level(op), test)

    def compared(self, text: str, kind: str, read: Callable[[Any], Any]) -> Text:
        """A condition on one value, which may be null."""
        dice = self.dice
        form = dice.choice(["compare", "compare", "chain", "in", "null", "like" if kind == "text" else "sum"])
        one, other = self.value(kind), self.value(kind)
        test: Test
        if form == "null":
            word = dice.choice(["is null", "is not null"])
            return Text(
                f"{text} {dice.word(word)}", CONDITION, lambda row: (read(row) is None) == (word == "is null")
            )
        if form == "in":
            test = lambda value: value in (one, other)  # noqa: E731
            ours, binds = f"{text} {dice.word('in')} [{self.literal(one)}, {self.literal(other)}]", CONDITION
        elif form == "chain":
            test = lambda value: one <= value < other  # noqa: E731
            ours, binds = f"{self.literal(one)} <= {text} < {self.literal(other)}", RELATION
        elif form == "like":
            prefix = dice.choice("ab")
            test = lambda value: value.startswith(prefix)  # noqa: E731
            ours, binds = f"{text} {dice.word('like')} '{prefix}%'", CONDITION
        else:
            op, add = dice.choice(list(COMPARE)), dice.randint(1, 3) if form == "sum" else None
            test = lambda value: COMPARE[op](value if add is None else value * 2 + add, one)  # noqa: E731
            shown = text if add is None else f"{text} * 2 + {add}"
            ours, binds = f"{shown} {op} {self.literal(one)}", level(op)
        return Text(ours, binds, lambda row: None if read(row) is None else test(read(row)))

    def element(self) -> Text:
        name, kind, read = self.a_list()
        at = self.dice.randint(0, 3)

        def item(row: Any) -> Any:
            held = read(row)
            return held[at] if held is not None and len(held) > at else None

        return self.compared(f"{name}[{at}]", kind, item)

    def member_at(self) -> Text:
        at, member = self.dice.randint(0, 2), self.dice.choice("xy")

        def item(row: Any) -> Any:
            return row["st"][at][member] if row["st"] is not None and len(row["st"]) > at else None

        return self.compared(f"st[{at}][{member}]", "int" if member == "x" else "text", item)

    def equal(self) -> Text:
        dice = self.dice
        name, kind, read = self.a_list()
        wanted = [self.value(kind) for _ in range(dice.randint(0, 2))]
        op = dice.choice(["==", "!="])

        def test(row: Any) -> bool | None:
            held = read(row)
            return None if held is None else COMPARE[op](held, wanted)

        return Text(f"{name} {op} [{', '.join(self.literal(one) for one in wanted)}]", EQUAL, test)

    def null(self) -> Text:
        name = self.dice.choice(["l", "r", "w", "n"])
        return Text(f"{name} {self.dice.word('is null')}", CONDITION, lambda row: row[name] is None)

    def quantified(self) -> Text:
        dice = self.dice
        names = [("l", "int"), ("w", "text")]
        if self.structs:
            names = [*names, ("st", "")] + [("st", "")] * 3
        name, kind = dice.choice(names)

        def leaf() -> Text:
            if kind:
                return self.compared("$", kind, lambda one: one)
            member = dice.choice("xy")
            return self.compared(f"$[{member}]", "int" if member == "x" else "text", lambda one: one[member])

        inner = combined(dice, leaf, 1, python_join)
        function = dice.choice(
            ["element_filter", "match_any", "match_all", "match_least", "match_most", "match_exact"]
        )
        threshold = dice.randint(0, 3)
        enough: dict[str, Callable[[int, int], bool]] = {
            "match_all": lambda hits, size: hits == size,
            "match_least": lambda hits, _: hits >= threshold,
            "match_most": lambda hits, _: hits <= threshold,
            "match_exact": lambda hits, _: hits == threshold,
        }

        def test(row: Any) -> bool | None:
            held = row[name]
            if held is None:
                return None
            hits = sum(inner.theirs(one) is True for one in held)
            return enough.get(function, lambda hits, _: hits > 0)(hits, len(held))

        option = (
            f", {dice.word('threshold')}={threshold}" if function[6:] in ("least", "most", "exact") else ""
        )
        return Text(f"{dice.word(function)}({name}, {inner.ours}{option})", ATOM, test)


RELATIONS = ["contains", "within", "intersects", "equals", "touches", "overlaps", "crosses"]


def shape(dice: Dice, *, invalid: bool = False) -> Any:
    """A small geometry on a coarse grid, so that relations other than apart are common."""

    def at() -> tuple[float, float]:
        return dice.randint(0, 6) / 2, dice.randint(0, 6) / 2

    kind = dice.random()
    if kind < 0.3:
        return shapely.Point(at())
    if kind < 0.5:
        (x, y), (width, height) = at(), (dice.randint(1, 4) / 2, dice.randint(1, 4) / 2)
        return shapely.box(x, y, x + width, y + height)
    if kind < 0.7:
        return shapely.LineString([at(), at(), at()])
    if kind < 0.8:
        return shapely.MultiPoint([at(), at()])
    if kind < 0.9:
        ring = shapely.Polygon([at(), at(), at(), at()])
        # Relations of an invalid geometry have no meaning that two methods must share.
        return ring if ring.is_valid or invalid else shape(dice)
    return shapely.box(0, 0, 3, 3).difference(shapely.box(1, 1, 2, 2))


def great_circle_m(one: Any, other: Any) -> float:
    """Metres between two points in degrees, by the law of haversines."""
    (east, north), (x, y) = ((math.radians(c) for c in (p.x, p.y)) for p in (one, other))
    half = math.sin((y - north) / 2) ** 2 + math.cos(north) * math.cos(y) * math.sin((x - east) / 2) ** 2
    return 2 * 6_371_008.8 * math.asin(min(1.0, math.sqrt(half)))


class ShapeWriter:
    """Trees over geometries, as text and as functions of a row."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.params: dict[str, Any] = {}

    def case(self) -> tuple[Text, dict[str, Any]]:
        self.params = {}
        return combined(self.dice, self.leaf, 2, python_join), self.params

    def literal(self, value: Any) -> str:
        if self.dice.random() > 0.2:
            return self.dice.quoted(value.wkt)
        self.params[f"p{len(self.params)}"] = self.dice.choice([value, value.wkt, value.wkb])
        return "{" + f"p{len(self.params) - 1}" + "}"

    def leaf(self) -> Text:
        dice = self.dice
        name, kind = dice.choice("ggp"), dice.random()
        if kind < 0.1:
            word = dice.choice(["is null", "is not null"])
            return Text(f"{name} {word}", CONDITION, lambda row: (row[name] is None) == (word == "is null"))
        if kind < 0.2:
            test: Test = lambda row: None if row["any"] is None else bool(row["any"].is_valid)  # noqa: E731
            return Text(f"{dice.word('st_isvalid')}(any)", ATOM, test)
        other = shape(dice)
        if kind < 0.35:
            centre = shapely.Point(dice.randint(0, 60) / 20, dice.randint(0, 60) / 20)
            metres = dice.choice([0, 40_000.5, 150_000, 300_000])
            text = f"{dice.word('st_dwithin')}(p, {self.literal(centre)}, {metres})"
            return Text(text, ATOM, lambda row: great_circle_m(row["p"], centre) <= metres)
        relation = dice.choice(RELATIONS)
        text = f"{dice.word('st_' + relation)}({name}, {self.literal(other)})"
        return Text(
            text, ATOM, lambda row: None if row[name] is None else bool(getattr(row[name], relation)(other))
        )


def expected(cases: list[tuple[Text, dict[str, Any]]], rows: list[dict[str, Any]]) -> list[list[int]]:
    return [[row["id"] for row in rows if case.theirs(row) is True] for case, _ in cases]


@pytest.mark.parametrize("seed", range(3))
def test_filters_on_lists_mean_what_python_says(tmp_path: Path, seed: int) -> None:
    structs = seed > 0
    schema = NESTED if structs else Schema.of(FLAT, primary_key="id")
    rows = nested_rows(seed, schema)
    laid_out = Rows.laid_out(tmp_path, schema, pa.Table.from_pylist(rows, schema.to_arrow()))
    writer = NestedWriter(seed, structs)
    cases = [writer.case() for _ in range(NESTED_CASES)]
    wanted = expected(cases, rows)
    layouts = mixed_layouts(1)
    layouts += laid_out.indexed(tmp_path, 4 if seed == 1 else 0)
    assert check(laid_out, cases, wanted, layouts) == NESTED_CASES
    assert sum(0 < len(one) < COUNT for one in wanted) > NESTED_CASES // 2, "the corpus asks nothing"


@pytest.mark.parametrize("seed", range(3))
def test_filters_on_geometry_mean_what_shapely_says(tmp_path: Path, seed: int) -> None:
    dice = Dice(seed)
    rows = [
        {
            "id": number,
            "g": None if dice.random() < 0.1 else shape(dice),
            "p": shapely.Point(dice.randint(0, 60) / 20, dice.randint(0, 60) / 20),
            "any": None if dice.random() < 0.1 else shape(dice, invalid=True),
        }
        for number in range(COUNT)
    ]
    table = pa.table(
        {
            "id": range(COUNT),
            "g": pa.array([row["g"] and row["g"].wkb for row in rows], pa.binary()),
            "p": pa.array([row["p"].wkb for row in rows], pa.binary()),
            "any": pa.array([row["any"] and row["any"].wkb for row in rows], pa.binary()),
        }
    )
    laid_out = Rows.laid_out(tmp_path, SHAPES, table)
    layouts = mixed_layouts(1)
    layouts += laid_out.indexed(tmp_path, 1 if seed == 1 else 0)
    writer = ShapeWriter(seed)
    cases = [writer.case() for _ in range(SHAPE_CASES)]
    wanted = expected(cases, rows)
    assert check(laid_out, cases, wanted, layouts) == SHAPE_CASES
    assert sum(0 < len(one) < COUNT for one in wanted) > SHAPE_CASES // 3, "the corpus asks nothing"
