"""Every scalar index kind keeps the promises of `ScalarIndexTests`."""

import json
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import shapely

import headwater as hw
from headwater.index.predicates import HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range, Spatial
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


class TestNgram(ScalarIndexTests):
    """Candidates for patterns."""

    kind = "ngram"
    columns = (hw.String, hw.Text)
    serves = (IsNull, Matches)
    options: ClassVar = {"min_gram": 2, "max_gram": 3}


class TestLongNgram(TestNgram):
    """Grams that are hashes, and single characters."""

    options: ClassVar = {"min_gram": 1, "max_gram": 5}


class TestNgramOfAJsonPath(TestJsonPath):
    """Texts at a path."""

    kind = "ngram"
    serves = (Matches,)
    options: ClassVar = {
        "json_path": '["a"]',
        "json_cast_type": "VARCHAR",
        "min_gram": 2,
        "max_gram": 3,
    }


class TestBloom(ScalarIndexTests):
    """Answers only where there is nothing."""

    kind = "bloom"
    columns = (hw.Int64, hw.Double, hw.TimestampTz, hw.String, hw.Array(hw.String))
    serves = ()

    @pytest.mark.parametrize("values", [range(0, 40_000, 2), [f"key {i}" for i in range(20_000)]])
    def test_few_absent_values_are_taken_for_present_ones(self, tmp_path, values) -> None:
        index, _ = self.made(tmp_path, pa.array(list(values)))
        absent = [value + "x" if isinstance(value, str) else value + 1 for value in values]
        missed = sum(index.select(OneOf((value,)), index.num_rows) is None for value in absent[:5000])
        assert missed < 50
        assert all(index.select(OneOf((value,)), index.num_rows) is None for value in list(values)[::7])


class TestRtree(ScalarIndexTests):
    """Against shapely, row by row."""

    kind = "rtree"
    columns = (hw.Geometry,)
    serves = (IsNull, Spatial)

    def value(self, field_type, dice) -> Any:
        x, y = dice.normal(0, 20), dice.normal(0, 10)
        if dice.random() < 0.1:
            x = float(dice.choice([-179.99, 179.99]))
        shape = dice.integers(5)
        if shape == 0:
            return shapely.box(round(x), round(y), round(x) + 3, round(y) + 2).wkb
        if shape == 1:
            return shapely.LineString([(x, y), (x + 2, y + 1), (x + 3, y - 4)]).wkb
        if shape == 2:
            return shapely.Point(round(x), round(y)).wkb
        if shape == 3 and dice.random() < 0.1:
            return shapely.Point().wkb
        return shapely.Point(x, y).buffer(2).wkb if shape == 4 else shapely.Point(x, y).wkb

    def predicates(self, field_type, dice) -> list[Predicate]:
        shapes = [self.value(field_type, dice), shapely.box(-5, -5, 12, 9).wkb, shapely.Point(0, 0).wkb]
        relations = ("contains", "within", "intersects", "equals", "touches", "overlaps", "crosses")
        near = [
            Spatial("dwithin", shapely.Point(x, y).wkb, distance_m)
            for x, y in ((0, 0), (179.9, 5), (-179.9, -5), (30, 88))
            for distance_m in (0.0, 50_000.0, 3e6)
        ]
        return [IsNull(), *(Spatial(relation, wkb) for relation in relations for wkb in shapes), *near]

    def check(self, index, rows, predicate) -> bool:
        if not isinstance(predicate, Spatial):
            return super().check(index, rows, predicate)
        answer = index.select(predicate, len(rows))
        if answer is None:
            assert shapely.is_empty(shapely.from_wkb(predicate.wkb))
            return False
        asked = shapely.from_wkb(predicate.wkb)
        expected = np.asarray(
            [row is not None and self.related(row, asked, predicate) for row in rows], np.bool_
        )
        assert not (expected & ~answer.rows).any()
        if answer.exact:
            np.testing.assert_array_equal(answer.rows, expected)
        return True

    def related(self, row: bytes, asked: Any, predicate: Spatial) -> bool:
        shape = shapely.from_wkb(row)
        if predicate.distance_m is None:
            return bool(getattr(shapely, predicate.relation)(shape, asked))
        if shape.geom_type != "Point" or shape.is_empty:
            return False
        (x, y), (u, v) = (np.radians((one.x, one.y)) for one in (shape, asked))
        half = np.sin((v - y) / 2) ** 2 + np.cos(y) * np.cos(v) * np.sin((u - x) / 2) ** 2
        return bool(2 * 6_371_000 * np.arcsin(np.sqrt(half)) <= predicate.distance_m)

    def exactly_compared(self, predicate) -> bool:
        return isinstance(predicate, IsNull)

    def test_points_in_a_rectangle_need_no_second_look(self, tmp_path) -> None:
        dice = np.random.default_rng(0)
        points = shapely.points(dice.normal(0, 10, (20_000, 2)))
        index, _ = self.made(tmp_path, pa.array(shapely.to_wkb(points), pa.binary()))
        box = shapely.box(-3, -4, 5, 6)
        answer = index.select(Spatial("intersects", box.wkb), index.num_rows)
        assert answer.exact
        np.testing.assert_array_equal(answer.rows, shapely.intersects(points, box))
