"""Arithmetic of fields, of JSON and of elements at the edges of their types, beside Python's."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from filter_corpus import EQUAL, RELATION, Dice, Rows, Text, check, combined, mixed_layouts, python_join

import headwater as hw
from headwater.schema import Field, Schema

COUNT = 90
CASES = 900
LEAST, MOST = -(2**63), 2**63 - 1
BIG = [LEAST, LEAST + 1, -(2**53) - 1, -3, -1, 0, 1, 2, 7, 2**53 + 1, MOST - 1, MOST]
FRACTIONS = [-2.5, -0.5, 0.0, 0.1, 0.5, 1.0, 3.25, 1e10]
STEPS = [-3, -1, 0, 1, 2, 3, 33, 2**40]
SCHEMA = Schema.of(
    [
        Field("id", hw.Int64),
        Field("tiny", hw.Int8, nullable=True),
        Field("big", hw.Int64, nullable=True),
        Field("f", hw.Float, nullable=True),
        Field("d", hw.Double, nullable=True),
        Field("j", hw.JSON, nullable=True),
        Field("l", hw.Array(hw.Int64), nullable=True),
    ],
    primary_key="id",
)
COMPARE = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Read = Callable[[Any], Any]
"""What a row holds: an integer, a fraction, one of single precision, or None."""


def rows(seed: int) -> pa.Table:
    dice = Dice(seed)

    def column(make: Any) -> list[Any]:
        return [None if dice.random() < 0.15 else make() for _ in range(COUNT)]

    documents = column(
        lambda: json.dumps(
            {"n": dice.choice([*BIG, *FRACTIONS, "7", None, True, [1]]), "k": dice.randint(-3, 3)}
        )
    )
    return pa.table(
        {
            "id": range(COUNT),
            "tiny": column(lambda: dice.choice([-128, -7, -1, 0, 1, 5, 127])),
            "big": column(lambda: dice.choice(BIG)),
            "f": column(lambda: dice.choice(FRACTIONS)),
            "d": column(lambda: dice.choice(FRACTIONS)),
            "j": documents,
            "l": column(lambda: [dice.choice(BIG) for _ in range(dice.randint(0, 2))]),
        },
        SCHEMA.to_arrow(),
    )


def computed(op: str, left: Any, right: Any) -> Any:
    """Exact for integers of 64 bits; a result that needs more is a fraction."""
    if left is None or right is None:
        return None
    if isinstance(left, int) and isinstance(right, int):
        if op in "/%":
            if right == 0:
                return None
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            exact = quotient if op == "/" else left - quotient * right
        else:
            exact = {"+": operator.add, "-": operator.sub, "*": operator.mul}[op](left, right)
        if LEAST <= exact <= MOST:
            return exact
        left, right = float(left), float(right)
    single = any(isinstance(one, np.float32) for one in (left, right))
    kind = np.float32 if single else np.float64
    one, other = kind(left), kind(right)
    if op in "/%" and other == 0:
        return None
    if op == "%":
        return math.fmod(one, other)
    with np.errstate(all="ignore"):
        return {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[op](
            one, other
        )


def compared(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, np.float32):
        right = np.float32(right)
    elif not isinstance(left, int) or not isinstance(right, int):
        left, right = float(left), float(right)
    return bool(COMPARE[op](left, right))


def _number(document: Any, key: str) -> Any:
    found = None if document is None else json.loads(document)[key]
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


SOURCES: list[tuple[str, Read]] = [
    ("tiny", lambda row: row["tiny"]),
    ("big", lambda row: row["big"]),
    ("f", lambda row: None if row["f"] is None else np.float32(row["f"])),
    ("d", lambda row: row["d"]),
    ("j['n']", lambda row: _number(row["j"], "n")),
    ("j['k']", lambda row: _number(row["j"], "k")),
    ("l[0]", lambda row: row["l"][0] if row["l"] else None),
]


class Writer:
    """Comparisons of arithmetic with what some row computes to, as text of ours and as functions of a row."""

    def __init__(self, seed: int, table: pa.Table) -> None:
        self.dice = Dice(seed)
        self.rows = table.to_pylist()

    def case(self) -> tuple[Text, dict[str, Any]]:
        return combined(self.dice, self.leaf, 2, python_join), {}

    def leaf(self) -> Text:
        dice = self.dice
        ours, read = self.term()
        value = next((one for one in (read(dice.choice(self.rows)) for _ in range(9)) if one is not None), 0)
        if not isinstance(value, int):
            value = float(str(value)) if abs(value) < 2.0**63 else dice.randint(-9, 9)
        if isinstance(value, int) and abs(value) < 2**62:
            value += dice.choice([-1, 0, 0, 1])
        op = dice.choice(list(COMPARE))
        level = EQUAL if op in ("==", "!=") else RELATION
        return Text(f"{ours} {op} {value!r}", level, lambda row: compared(op, read(row), value))

    def term(self) -> tuple[str, Read]:
        dice = self.dice
        (name, read), op = dice.choice(SOURCES), dice.choice("+-*/%")
        if dice.random() < 0.15:
            return f"-{name}", lambda row: computed("-", 0, read(row))
        kind = dice.random()
        if kind < 0.25:
            other_name, other = dice.choice(SOURCES)
            if "f" in (name, other_name):
                other_name, other = SOURCES[0]
                read, name = SOURCES[1][1], SOURCES[1][0]
            return f"{name} {op} {other_name}", lambda row: computed(op, read(row), other(row))
        step = dice.choice(STEPS) if kind < 0.85 else dice.choice([0.5, -0.25, 3.0])
        if kind < 0.35:
            return f"{step} {op} {name}", lambda row: computed(op, step, read(row))
        if kind < 0.5:
            then = dice.choice("+-*")
            more = dice.choice(STEPS)
            return (
                f"({name} {op} {step}) {then} {more}",
                lambda row: computed(then, computed(op, read(row), step), more),
            )
        return f"{name} {op} {step}", lambda row: computed(op, read(row), step)


@pytest.mark.parametrize("seed", range(3))
def test_arithmetic_is_that_of_python(tmp_path: Path, seed: int) -> None:
    table = rows(seed)
    laid_out = Rows.laid_out(tmp_path, SCHEMA, table)
    layouts = mixed_layouts(3)
    writer = Writer(seed, table)
    cases = [writer.case() for _ in range(CASES)]
    expected = [[row["id"] for row in writer.rows if text.theirs(row) is True] for text, _ in cases]
    assert check(laid_out, cases, expected, layouts) == CASES
    assert sum(0 < len(one) < COUNT for one in expected) > CASES // 3, "the corpus asks nothing"
