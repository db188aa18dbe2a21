"""Values of a bound filter, by whole arrays: an Arrow array, or JSON values sorted by type.

Timestamps are microseconds since 1970 from here on, integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.json_paths import JsonValues
from headwater.query.expr import moments, terms
from headwater.query.expr.arithmetic import computed
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
        return computed(of.op, _operand(of.left, frame), _operand(of.right, frame))
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


def _operand(of: Value, frame: Frame) -> pa.Array | pa.Scalar | JsonValues:
    if isinstance(of, Const):
        return pa.scalar(of.value, pa.int64() if of.kind is Kind.INTEGER else pa.float64())
    return array_of(of, frame)


_INTEGER = r"^\s*[+-]?[0-9]{1,19}\s*$"
_WIDE = pa.decimal128(19, 0)
_LEAST, _MOST = (pa.scalar(Decimal(bound), _WIDE) for bound in (-(2**63), 2**63 - 1))
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
        numbers = pc.if_else(readable, digits, pa.scalar(None, source))
        if kind is Kind.DOUBLE:
            return numbers.cast(target)
        wide = numbers.cast(_WIDE)
        held = pc.and_(pc.greater_equal(wide, _LEAST), pc.less_equal(wide, _MOST))
        return pc.if_else(held, wide, pa.scalar(None, _WIDE)).cast(target)
    if pa.types.is_floating(source) and kind is Kind.INTEGER:
        held = pc.and_(pc.greater_equal(array, -(2.0**63)), pc.less(array, 2.0**63))
        return pc.trunc(pc.if_else(held, array, pa.scalar(None, source))).cast(target, safe=False)
    return array.cast(target, safe=False)
