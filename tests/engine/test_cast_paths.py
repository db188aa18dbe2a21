"""JSON paths whose index says that texts count as the numbers that they spell."""

from __future__ import annotations

import operator
import re
from pathlib import Path

import pytest

import headwater as hw
from headwater.lake import DropBuilds


@pytest.mark.parametrize("state", ["growing", "sealed", "indexed"])
def test_texts_that_spell_numbers_are_numbers_where_an_index_says_so(tmp_path: Path, state: str) -> None:
    docs = hw.connect(tmp_path).create_collection("docs", {"id": hw.Int64, "meta": hw.JSON}, "id")
    values = [1, "2", "2.5", " 3", "x", "-4e1", 5.5, None, "", "0x10", True, ["7"], "7."] * 20
    rows = [{"id": i, "meta": {"a": value, "b": value}} for i, value in enumerate(values)]
    docs.insert(rows[:100])
    casting = {"json_path": "/a", "json_cast_type": "DOUBLE", "json_cast_function": "STRING_TO_DOUBLE"}

    def number(value: object) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        if isinstance(value, str) and not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            return None
        return float(value)

    def check(path: str, numbers: list[float | None]) -> None:
        for op in ("<", "<=", ">", ">=", "==", "!="):
            for bound in (2, 2.5, -40, 7):
                told = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}[op]
                test = getattr(operator, told)
                expected = sum(one is not None and test(one, bound) for one in numbers)
                assert docs.count(f"meta['{path}'] {op} {bound}") == expected, (path, op, bound)
        assert docs.count(f"meta['{path}'] in [2, 7, 1]") == sum(one in (2, 7, 1) for one in numbers)
        held = [row["meta"][path] for row in rows]
        assert docs.count(f"meta['{path}'] == '2'") == held.count("2")
        assert docs.count(f"meta['{path}'] in ['2', 'x']") == held.count("2") + held.count("x")

    plain = [one if isinstance(one, int | float) and not isinstance(one, bool) else None for one in values]
    docs.insert(rows[100:])
    check("a", plain)
    docs.create_index("meta", "INVERTED", params=casting)
    if state == "growing":
        docs.delete(filter="id >= 0")
        docs.insert(rows)
    elif state == "sealed":
        docs._lake.commit(
            docs._lake.latest(), [DropBuilds(docs._lake.latest().indexes[0].name)], operation="test"
        )
    check("a", [number(one) for one in values])
    check("b", plain)
    docs.drop_index("meta")
    check("a", plain)
