"""What every scalar index kind must do, as tests against a plain evaluation: subclass and name it.

    class TestMine(ScalarIndexTests):
        kind = "mine"
        columns = (hw.Int64, hw.String)
        serves = (OneOf, Range, IsNull)

The oracle looks at one Python value at a time; nothing of the index room takes part in it.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from headwater.errors import Corrupt
from headwater.index import SCALAR_KINDS, ScalarIndex, ScalarParams
from headwater.index.predicates import HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range
from headwater.schema import FieldType, arrow_type
from headwater.store import open_store
from headwater.tiers import open_object
from headwater.types import DataType

__all__ = ["ScalarIndexTests", "holds", "like"]

Dice = np.random.Generator
# fmt: off
WORDS = (
    "", "a", "ab", "abc", "abcabc", "100%", "a_b", "back\\slash", "Ünïcode", "日本語", "🙂 smile", "new\nline", "ABC",
)
_PATTERNS = (
    "a%", "%b", "%bc%", "a%c", "a_c", "%", "", "100\\%", "%\\_%", "abc", "%日%", "%a%b%", "_b%", "a\\%",
    "%abca%", "%nocode%",
)
_REGEXES = (
    "abc", "^a", "b+c", "a|日", "[ab]c", "(ab)c", "a.c", "ab?c", "a{2}", "日本", r"\.", "(?i)abc", "c$", "abc+abc",
)
# fmt: on
_INTEGERS = (0, 1, -1, 2, 3, 5, 127, -128, 2**31 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))
_FRACTIONS = (0.0, -0.0, 0.5, -1.5, 1e300, -1e300, math.inf, -math.inf, math.nan, 3.0, 0.1, 2.0**53)


def holds(value: Any, predicate: Predicate) -> bool:
    """Whether one value satisfies a predicate, by its definition."""
    if isinstance(predicate, IsNull):
        return value is None
    if value is None:
        return False
    if isinstance(predicate, OneOf):
        return any(_equal(value, one) for one in predicate.values)
    if isinstance(predicate, Range):
        return _between(value, predicate)
    if isinstance(predicate, Matches):
        if not isinstance(value, str):
            return False
        if predicate.regex:
            return re.search(predicate.pattern, value, re.DOTALL) is not None
        return like(value, predicate.pattern)
    if isinstance(predicate, HasAny):
        return isinstance(value, list) and any(_equal(e, one) for e in value for one in predicate.values)
    if isinstance(predicate, HasAll):
        return isinstance(value, list) and all(any(_equal(e, one) for e in value) for one in predicate.values)
    raise TypeError(f"no definition of {predicate}")


def like(text: str, pattern: str) -> bool:
    """`text like pattern`: % any text, _ one character, a backslash takes the next one as it is."""
    out, at = "", 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            out += re.escape(pattern[at])
        else:
            out += ".*" if char == "%" else "." if char == "_" else re.escape(char)
        at += 1
    return re.fullmatch(out, text, re.DOTALL) is not None


def _family(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _equal(value: Any, other: Any) -> bool:
    return _family(value) is _family(other) and bool(value == other)


def _between(value: Any, bounds: Range) -> bool:
    for bound, low, inclusive in (
        (bounds.low, True, bounds.low_inclusive),
        (bounds.high, False, bounds.high_inclusive),
    ):
        if bound is None:
            continue
        if _family(bound) is not _family(value) or value != value:
            return False
        inside = value > bound if low else value < bound
        if not inside and not (inclusive and value == bound):
            return False
    return True


class ScalarIndexTests:
    """See the module. Attributes to set in a subclass.

    Attributes:
        kind: the word stored in manifests.
        columns: types of field to index.
        serves: predicates that it must not leave to the scan, each with at least one value.
        options: build options.
    """

    kind: ClassVar[str]
    columns: ClassVar[Sequence[FieldType]]
    serves: ClassVar[tuple[type, ...]]
    options: ClassVar[dict[str, Any]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Every test over every type of column."""
        if "field_type" in metafunc.fixturenames:
            metafunc.parametrize("field_type", self.columns, ids=str)

    # -- values, which a subclass may draw otherwise -----------------------------------------------------------------

    def value(self, field_type: FieldType, dice: Dice) -> Any:
        """One value of a type, often one of few, at times a strange one."""
        kind = field_type.data_type
        if kind is DataType.ARRAY:
            assert field_type.element is not None
            return [self.value(field_type.element, dice) for _ in range(int(dice.integers(0, 5)))]
        if kind is DataType.BOOL:
            return bool(dice.integers(2))
        if kind is DataType.TIMESTAMPTZ:
            moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=int(dice.integers(-60, 60)))
            return moment if dice.random() < 0.9 else moment.replace(year=1901, microsecond=1)
        if kind in (DataType.VARCHAR, DataType.TEXT):
            if dice.random() < 0.5:
                return str(dice.choice(WORDS))
            return "".join(dice.choice(list("abc%日"), int(dice.integers(0, 6))))
        if kind in (DataType.FLOAT, DataType.DOUBLE):
            number = float(
                dice.choice(_FRACTIONS) if dice.random() < 0.3 else round(float(dice.normal()) * 4, 1)
            )
            return float(np.float32(min(max(number, -1e38), 1e38))) if kind is DataType.FLOAT else number
        bits = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32}.get(kind, 64)
        number = (
            int(_INTEGERS[dice.integers(len(_INTEGERS))])
            if dice.random() < 0.3
            else int(dice.integers(-9, 9))
        )
        return number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else 7

    def column(
        self, field_type: FieldType, n: int, dice: Dice, nulls: float = 0.1
    ) -> tuple[list[Any], pa.Array]:
        """Values as Python has them, and the column."""
        rows = [None if dice.random() < nulls else self.value(field_type, dice) for _ in range(n)]
        return rows, pa.array(rows, arrow_type(field_type))

    def predicates(self, field_type: FieldType, dice: Dice) -> list[Predicate]:
        """Predicates of every class, on values that are there and on others."""
        of = field_type.element or field_type
        some = [self.value(of, dice) for _ in range(4)]
        some += [0, 2.5, 2**62] if _family(some[0]) is float else []
        low, high = some[0], some[1]
        array = field_type.data_type is DataType.ARRAY
        made: list[Predicate] = [IsNull()]
        if array:
            made += [HasAny((low,)), HasAny(tuple(some))]
            return [*made, HasAll((low,)), HasAll((low, high)), HasAll((high, high))]
        made += [OneOf((value,)) for value in some] + [OneOf(tuple(some)), OneOf(())]
        if not isinstance(low, bool):
            made += [
                Range(low, None),
                Range(None, low, high_inclusive=False),
                Range(low, high, low_inclusive=bool(dice.integers(2)), high_inclusive=bool(dice.integers(2))),
                Range(low, low),
                Range(some[-1], None, low_inclusive=False),
            ]
        if isinstance(low, str):
            made += [Matches(pattern) for pattern in _PATTERNS]
            made += [Matches(pattern, regex=True) for pattern in _REGEXES]
        return made

    # -- tests -------------------------------------------------------------------------------------------------------

    def made(self, folder: Path, column: pa.Array, name: str = "") -> tuple[ScalarIndex, Path]:
        """A built and opened index, and its file."""
        path = folder / f"{name or uuid.uuid4().hex}.hwx"
        params = ScalarParams(self.kind, tuple(sorted(self.options.items())))
        SCALAR_KINDS[self.kind].build(column, params, path)
        return self.opened(folder, path.name), path

    def opened(self, folder: Path, key: str) -> ScalarIndex:
        """The index in a file."""
        params = ScalarParams(self.kind, tuple(sorted(self.options.items())))
        return SCALAR_KINDS[self.kind].open(open_object(open_store(folder), key), params)

    def check(self, index: ScalarIndex, rows: Sequence[Any], predicate: Predicate) -> bool:
        """Compare one answer with the plain evaluation. Returns whether there was one."""
        answer = index.select(predicate, len(rows))
        if answer is None:
            return False
        expected: npt.NDArray[np.bool_] = np.asarray([holds(one, predicate) for one in rows], np.bool_)
        assert answer.rows.dtype == np.bool_
        assert answer.rows.shape == expected.shape
        missed = np.flatnonzero(expected & ~answer.rows)
        assert not len(missed), f"{predicate} misses row {missed[0]}, {rows[missed[0]]!r}"
        extra = np.flatnonzero(answer.rows & ~expected)
        if answer.exact:
            assert not len(extra), f"{predicate} marks row {extra[0]}, {rows[extra[0]]!r}"
        elif not isinstance(predicate, IsNull):
            assert all(rows[row] is not None for row in extra.tolist()), (
                f"{predicate} marks a row without a value"
            )
        return True

    def exactly_compared(self, predicate: Predicate) -> bool:
        """Whether the kind may not leave the predicate to the scan."""
        if not isinstance(predicate, self.serves) or isinstance(predicate, Matches):
            return False
        if isinstance(predicate, Range):
            values: tuple[Any, ...] = (predicate.low, predicate.high)
        else:
            values = getattr(predicate, "values", ())
        return not any(isinstance(v, int | float) and not abs(v) < 2**53 for v in values)

    def test_rows_are_those_of_a_plain_evaluation(self, tmp_path: Path, field_type: FieldType) -> None:
        """Over values that repeat, with nulls."""
        dice = np.random.default_rng(1)
        served: set[type] = set()
        for n, nulls in ((700, 0.1), (300, 0.0), (40, 0.8), (2000, 0.02)):
            rows, column = self.column(field_type, n, dice, nulls)
            index, _ = self.made(tmp_path, column)
            assert index.num_rows == n
            for _ in range(6 if n < 1000 else 2):
                for predicate in self.predicates(field_type, dice):
                    answered = self.check(index, rows, predicate)
                    assert answered or not self.exactly_compared(predicate), f"{predicate} is not served"
                    served |= {type(predicate)} if answered else set()
        possible = {type(predicate) for predicate in self.predicates(field_type, dice)}
        assert served >= possible & set(self.serves)

    @pytest.mark.parametrize("shape", ["none", "one", "all null", "all equal", "one null"])
    def test_columns_without_variety(self, tmp_path: Path, field_type: FieldType, shape: str) -> None:
        """No rows, one row, only nulls, one value."""
        dice = np.random.default_rng(2)
        value = self.value(field_type, dice)
        rows: list[Any] = {
            "none": [],
            "one": [value],
            "all null": [None] * 50,
            "all equal": [value] * 50,
            "one null": [None],
        }[shape]
        index, _ = self.made(tmp_path, pa.array(rows, arrow_type(field_type)))
        for predicate in self.predicates(field_type, dice):
            self.check(index, rows, predicate)
        if not isinstance(value, list):
            self.check(index, rows, OneOf((value,)))

    def test_a_slice_of_a_column_is_a_column(self, tmp_path: Path, field_type: FieldType) -> None:
        """Arrow arrays have offsets."""
        dice = np.random.default_rng(3)
        rows, column = self.column(field_type, 300, dice)
        index, _ = self.made(tmp_path, column.slice(57, 200))
        for predicate in self.predicates(field_type, dice):
            self.check(index, rows[57:257], predicate)

    def test_cold_is_as_warm(self, tmp_path: Path, field_type: FieldType) -> None:
        """From a store without files, by ranges."""
        dice = np.random.default_rng(4)
        rows, column = self.column(field_type, 2000, dice)
        rows, column = rows * 40, pa.concat_arrays([column] * 40)
        warm, path = self.made(tmp_path, column)
        store = open_store(f"memory://{uuid.uuid4().hex}")
        store.put(path.name, path.read_bytes())
        params = ScalarParams(self.kind, tuple(sorted(self.options.items())))
        cold = SCALAR_KINDS[self.kind].open(open_object(store, path.name), params)
        for predicate in self.predicates(field_type, dice):
            both = [one.select(predicate, len(rows)) for one in (warm, cold)]
            assert (both[0] is None) == (both[1] is None)
            if both[0] is not None and both[1] is not None:
                np.testing.assert_array_equal(both[0].rows, both[1].rows)

    def test_it_gives_up_rather_than_mark_too_many(self, tmp_path: Path, field_type: FieldType) -> None:
        """So that a scan is not preceded by marking most rows."""
        dice = np.random.default_rng(5)
        _, column = self.column(field_type, 500, dice, nulls=0.0)
        index, _ = self.made(tmp_path, column)
        for predicate in self.predicates(field_type, dice):
            answer = index.select(predicate, 10)
            if answer is not None and not isinstance(predicate, IsNull | HasAny | HasAll):
                families = 4 if field_type.data_type is DataType.JSON else 1
                assert np.count_nonzero(answer.rows) <= 10 * families

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_a_file_cut_short_is_named(self, tmp_path: Path, field_type: FieldType, share: float) -> None:
        """Wherever it ends."""
        _, column = self.column(field_type, 500, np.random.default_rng(6))
        _, path = self.made(tmp_path, column)
        content = path.read_bytes()
        (tmp_path / "cut.hwx").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(Corrupt, match=r"cut\.hwx"):
            self.opened(tmp_path, "cut.hwx")

    def test_a_flipped_bit_is_found_or_harmless(self, tmp_path: Path, field_type: FieldType) -> None:
        """Never a wrong row."""
        dice = np.random.default_rng(7)
        rows, column = self.column(field_type, 400, dice)
        _, path = self.made(tmp_path, column)
        asked = self.predicates(field_type, dice)
        content, found = path.read_bytes(), 0
        for bit in dice.choice(len(content) * 8, 40, replace=False).tolist():
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            (tmp_path / "flipped.hwx").write_bytes(flipped)
            try:
                index = self.opened(tmp_path, "flipped.hwx")
                for predicate in asked:
                    self.check(index, rows, predicate)
            except Corrupt:
                found += 1
        assert found > 0
