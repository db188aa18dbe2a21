"""Every scalar index kind keeps the promises of `ScalarIndexTests`."""

import json
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.index.predicates import HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range
from headwater.schema import FieldType
from headwater.testing.scalar_index import ScalarIndexTests

NUMBERS = (hw.Int8, hw.Int16, hw.Int32, hw.Int64, hw.Float, hw.Double, hw.TimestampTz)


class TestSorted(ScalarIndexTests):
    kind = "sorted"
    columns = (*NUMBERS, hw.String)
    serves = (OneOf, Range, IsNull)


class TestInverted(ScalarIndexTests):
    kind = "inverted"
    columns = (
        hw.Bool,
        hw.Int64,
        hw.Double,
        hw.TimestampTz,
        hw.String,
        hw.Array(hw.Int32),
        hw.Array(hw.String),
    )
    serves = (OneOf, IsNull, HasAny, HasAll)


class TestBitmap(ScalarIndexTests):
    kind = "bitmap"
    columns = (hw.Bool, hw.Int8, hw.Int64, hw.TimestampTz, hw.String, hw.Array(hw.Bool), hw.Array(hw.String))
    serves = (OneOf, IsNull, HasAny, HasAll)


class TestJsonPath(ScalarIndexTests):
    """Values of every type at one path; what is no JSON, or has no such path, has no value."""

    kind = "json_path"
    columns = (hw.JSON,)
    serves = (OneOf, Range, IsNull, HasAny, HasAll, Matches)
    options: ClassVar = {"json_path": '["a"]', "json_cast_type": "JSON"}
    inner = (hw.Int64, hw.Double, hw.Bool, hw.String, hw.Array(hw.Int64), hw.Array(hw.String))

    def value(self, field_type: FieldType, dice: np.random.Generator) -> Any:
        if field_type is not hw.JSON:
            return super().value(field_type, dice)
        one = super().value(self.inner[dice.integers(len(self.inner))], dice)
        return None if isinstance(one, float) and not np.isfinite(one) else one

    def column(self, field_type, n, dice, nulls=0.1):
        rows, texts = [], []
        for _ in range(n):
            value = self.value(hw.JSON, dice)
            if dice.random() < nulls:
                value = None
                texts.append([None, "{}", "not json", '{"a": null}', '{"b": 1}'][dice.integers(5)])
            else:
                texts.append(json.dumps({"b": 1, "a": value}, ensure_ascii=False))
            rows.append(value)
        return rows, pa.array(texts, pa.string())

    def predicates(self, field_type, dice) -> list[Predicate]:
        return [p for inner in self.inner for p in super(TestJsonPath, self).predicates(inner, dice)] + [
            OneOf((1, "a", True)),
            HasAny((1, "a")),
        ]

    @pytest.mark.parametrize("shape", ["none", "one", "all null", "one null"])
    def test_columns_without_variety(self, tmp_path, field_type, shape) -> None:
        dice = np.random.default_rng(2)
        count = {"none": 0, "one": 1, "one null": 1}.get(shape, 50)
        rows, column = self.column(hw.JSON, count, dice, nulls=float("null" in shape))
        index, _ = self.made(tmp_path, column)
        for predicate in self.predicates(field_type, dice):
            self.check(index, rows, predicate)


class TestJsonPathOfNumbers(TestJsonPath):
    """The rest is left to the scan."""

    options: ClassVar = {"json_path": '["a"]', "json_cast_type": "DOUBLE"}
    serves = (IsNull,)
