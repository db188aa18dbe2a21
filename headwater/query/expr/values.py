"""Values of a bound filter, by whole arrays: an Arrow array, or JSON values sorted by type.

Timestamps are microseconds since 1970 from here on, integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.json_paths import JsonValues
from headwater.query.expr import moments, terms
from headwater.query.expr.frame import Frame
from headwater.query.expr.terms import Const, Kind, Value
from headwater.types import Bitmap, RowIds

__all__ = ["Lists", "array_of", "lists_of", "texts_of"]


@dataclass(frozen=True, eq=False)
class Lists:
    """A column of lists, taken apart.

    Attributes:
        valid: (n,) False where there is no list.
        starts: (n,) int64: where a list's elements begin in `flat`.
        lengths: (n,) int64: 0 where there is no list.
        flat: elements of all lists; some may belong to none.
    """

    valid: Bitmap
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    flat: pa.Array | JsonValues

    @cached_property
    def whole(self) -> bool:
        """Whether every row is a list."""
        return bool(self.valid.all())

    def counts(self, hits: Bitmap) -> npt.NDArray[np.int64]:
        """(n,) how many elements of each list are marked.

        Args:
            hits: (len(flat),) marks.
        """
        sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(hits, dtype=np.int64)))
        found: npt.NDArray[np.int64] = sums[self.starts + self.lengths] - sums[self.starts]
        return found

    def at(self, index: int) -> RowIds:
        """(n,) position in `flat` of each list's element at an index; -1 where the list is shorter."""
        return np.where(self.lengths > index, self.starts + index, -1)


def lists_of(of: Value, frame: Frame) -> Lists:
    """The lists that a value is; rows that are none are marked so."""
    if isinstance(of, terms.JsonAt):
        found = frame.json_path(of.name, of.path).lists
        return Lists(found.lengths >= 0, found.starts, np.maximum(found.lengths, 0), found.elements)
    assert isinstance(of, terms.Column | terms.Members)
    column = frame.column(of.name)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = column.offsets.to_numpy().astype(np.int64, copy=False)
    lengths = np.where(valid, np.diff(offsets), 0)
    first = int(offsets[0])
    flat = column.values.slice(first, int(offsets[-1]) - first)
    if isinstance(of, terms.Members):
        flat = pc.struct_field(flat, of.member)
    return Lists(valid, offsets[:-1] - first, lengths, flat)


def array_of(of: Value, frame: Frame) -> pa.Array | JsonValues:
    """A value of every row."""
    if isinstance(of, terms.JsonAt):
        return frame.json_path(of.name, of.path)
    if isinstance(of, terms.Column):
        return _plain(frame.column(of.name))
    if isinstance(of, terms.Current):
        return _plain(frame.current(of.member))
    if isinstance(of, terms.ElementAt):
        lists = lists_of(of.of, frame)
        positions = lists.at(of.index)
        return _plain(lists.flat.take(pa.array(positions, mask=positions < 0)))
    if isinstance(of, terms.Length):
        return _length(of, frame)
    if isinstance(of, terms.Arithmetic):
        return _arithmetic(of, frame)
    if isinstance(of, terms.Shifted):
        moments_in = array_of(of.of, frame)
        assert not isinstance(moments_in, JsonValues)
        moved = moments.shifted(pc.fill_null(moments_in, 0).to_numpy(), of.months, of.microseconds)
        return pa.array(moved, mask=moments_in.is_null().to_numpy(zero_copy_only=False))
    if isinstance(of, terms.Cast):
        return _cast(of, frame)
    if isinstance(of, Const):
        return (
            pa.array(np.full(frame.num_rows, of.value))
            if of.kind is not Kind.TEXT
            else pa.array([of.value] * frame.num_rows, pa.large_string())
        )
    raise AssertionError(of)


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("us", array.type.tz)).view(pa.int64())
    return array


def texts_of(of: Value, frame: Frame) -> pa.Array:
    """Texts of every row; JSON values that are no texts are null."""
    found = array_of(of, frame)
    return found.texts if isinstance(found, JsonValues) else found


def _length(of: terms.Length, frame: Frame) -> pa.Array:
    if isinstance(of.of, terms.Column | terms.Members | terms.JsonAt):
        lists = lists_of(of.of, frame)
        return pa.array(lists.lengths, mask=None if lists.whole else ~lists.valid)
    raise AssertionError(of)


def _number(of: Value, frame: Frame, kind: Kind) -> pa.Array | pa.Scalar:
    """Numbers of one kind: integers of 64 bits or doubles; JSON values that are none are null."""
    target = pa.int64() if kind is Kind.INTEGER else pa.float64()
    if isinstance(of, Const):
        return pa.scalar(of.value, target) if kind is Kind.INTEGER else pa.scalar(float(of.value), target)
    found = array_of(of, frame)
    if isinstance(found, JsonValues):
        return found.integers if kind is Kind.INTEGER else found.numbers
    return found if found.type == target else found.cast(target, safe=False)


_CHECKED = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked}
_DOUBLES = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide, "**": pc.power}
_BITS = {"&": pc.bit_wise_and, "|": pc.bit_wise_or, "^": pc.bit_wise_xor}


def _arithmetic(of: terms.Arithmetic, frame: Frame) -> pa.Array:
    """Numbers; division by zero is null, and integers that overflow somewhere are doubles."""
    left, right = _number(of.left, frame, of.kind), _number(of.right, frame, of.kind)
    if of.op in _BITS:
        return _BITS[of.op](left, right)
    if of.op in ("<<", ">>"):
        return _shift(of.op, left, right)
    if of.op in ("/", "%"):
        right = pc.if_else(pc.equal(right, pa.scalar(0, right.type)), pa.scalar(None, right.type), right)
    if of.op == "%":
        whole = pc.divide(left, right)
        if of.kind is Kind.DOUBLE:
            return _fmod(left, right, frame.num_rows)
        return pc.subtract(left, pc.multiply(whole, right))
    if of.kind is Kind.DOUBLE or of.op == "/":
        return _DOUBLES[of.op](left, right)
    try:
        return _CHECKED[of.op](left, right)
    except pa.ArrowInvalid:
        return _DOUBLES[of.op](left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False))


def _fmod(left: pa.Array | pa.Scalar, right: pa.Array | pa.Scalar, num_rows: int) -> pa.Array:
    sides = [
        np.full(num_rows, np.nan if one.as_py() is None else one.as_py())
        if isinstance(one, pa.Scalar)
        else one.to_numpy(zero_copy_only=False)
        for one in (left, right)
    ]
    valid = pc.and_(pc.is_valid(left), pc.is_valid(right))
    missing = (
        ~valid.to_numpy(zero_copy_only=False)
        if isinstance(valid, pa.Array)
        else np.full(num_rows, not valid.as_py())
    )
    with np.errstate(invalid="ignore"):
        return pa.array(np.fmod(*sides), pa.float64(), mask=missing)


def _shift(op: str, left: pa.Array | pa.Scalar, right: pa.Array | pa.Scalar) -> pa.Array:
    """Shifts as of 64 bits; by 64 or more nothing is left, and by a negative number there is no value."""
    right = pc.if_else(pc.less(right, pa.scalar(0, pa.int64())), pa.scalar(None, pa.int64()), right)
    if op == ">>":
        return pc.shift_right(left, pc.min_element_wise(right, pa.scalar(63, pa.int64()), skip_nulls=False))
    far = pc.greater(right, pa.scalar(63, pa.int64()))
    near = pc.min_element_wise(right, pa.scalar(63, pa.int64()), skip_nulls=False)
    return pc.if_else(far, pc.bit_wise_and(left, pa.scalar(0, pa.int64())), pc.shift_left(left, near))


_INTEGER = r"^\s*[+-]?[0-9]{1,18}\s*$"
_REAL = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*$"


def _cast(of: terms.Cast, frame: Frame) -> pa.Array:
    found = array_of(of.of, frame)
    if not isinstance(found, JsonValues):
        return _cast_array(found, of.kind)
    if of.kind is Kind.TEXT:
        texts = pc.coalesce(found.texts, found.raw, _cast_array(found.bools, of.kind))
        return pc.coalesce(texts, _cast_array(found.integers, of.kind), _cast_array(found.numbers, of.kind))
    integers = _cast_array(found.integers, of.kind)
    others = (found.numbers, found.bools, found.texts)
    return pc.coalesce(integers, *(_cast_array(one, of.kind) for one in others))


def _cast_array(array: pa.Array, kind: Kind) -> pa.Array:
    """Fractions are cut off; texts are read as numbers and truth values where they are such."""
    source = array.type
    target = {
        Kind.INTEGER: pa.int64(),
        Kind.DOUBLE: pa.float64(),
        Kind.BOOL: pa.bool_(),
        Kind.TEXT: pa.large_string(),
    }[kind]
    if source == target:
        return array
    textual = pa.types.is_string(source) or pa.types.is_large_string(source)
    if textual and kind is Kind.BOOL:
        lower = pc.utf8_lower(array)
        truth = pc.equal(lower, pa.scalar("true", source))
        return pc.if_else(
            pc.or_(truth, pc.equal(lower, pa.scalar("false", source))), truth, pa.scalar(None, pa.bool_())
        )
    if textual and kind.number:
        shape = _INTEGER if kind is Kind.INTEGER else _REAL
        readable = pc.match_substring_regex(array, shape)
        digits = pc.replace_substring_regex(pc.utf8_trim_whitespace(array), r"^\+", "")
        return pc.if_else(readable, digits, pa.scalar(None, source)).cast(target)
    if pa.types.is_floating(source) and kind is Kind.INTEGER:
        held = pc.and_(pc.greater_equal(array, -(2.0**63)), pc.less(array, 2.0**63))
        return pc.trunc(pc.if_else(held, array, pa.scalar(None, source))).cast(target, safe=False)
    return array.cast(target, safe=False)
