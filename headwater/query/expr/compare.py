"""Comparisons and membership by whole arrays, with null for unknown.

Integers are compared with fractions exactly. JSON is compared by type: numbers with numbers, texts with texts, and so
on; a value of another type is unknown.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.json_paths import JsonKind, JsonValues
from headwater.query.expr import terms
from headwater.query.expr.fold import FLIPPED
from headwater.query.expr.frame import Frame, bits
from headwater.query.expr.terms import Const, Kind, Value
from headwater.query.expr.values import Lists, array_of, lists_of
from headwater.types import Bitmap

__all__ = ["between", "compare", "equal_elements", "member"]

_COMPARE = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def compare(node: terms.Compare, frame: Frame) -> pa.Array:
    """`left op right` of every row."""
    op, left, right = node.op, node.left, node.right
    if isinstance(right, Const):
        return _against(op, left, right, frame)
    if Kind.LIST in (left.kind, right.kind):
        return _same_lists(op, left, right, frame)
    one, other = array_of(left, frame), array_of(right, frame)
    if isinstance(one, JsonValues) and isinstance(other, JsonValues):
        return _json_pairs(op, one, other)
    if isinstance(one, JsonValues):
        return _json_with(op, one, other)
    if isinstance(other, JsonValues):
        return _json_with(FLIPPED[op], other, one)
    return _aligned(op, one, other)


def between(node: terms.Between, frame: Frame) -> pa.Array:
    """A lower and an upper bound on every row."""
    low = _against(">=" if node.low_inclusive else ">", node.of, node.low, frame)
    high = _against("<=" if node.high_inclusive else "<", node.of, node.high, frame)
    return pc.and_kleene(low, high)


def _aligned(op: str, one: pa.Array, other: pa.Array) -> pa.Array:
    if pa.types.is_string(one.type) != pa.types.is_string(other.type):
        one, other = one.cast(pa.large_string()), other.cast(pa.large_string())
    if pa.types.is_integer(one.type) != pa.types.is_integer(other.type):
        one, other = (side.cast(pa.float64(), safe=False) for side in (one, other))
    return _COMPARE[op](one, other)


def _against(op: str, of: Value, const: Const, frame: Frame) -> pa.Array:
    if const.kind is Kind.LIST:
        return _with_list(op, of, const.value, frame)
    found = array_of(of, frame)
    if isinstance(found, JsonValues):
        return _json_const(op, found, const.value)
    return _with_const(op, found, const.value)


def _with_const(op: str, array: pa.Array, value: Any) -> pa.Array:
    kind = array.type
    if pa.types.is_integer(kind):
        fitted = _fitted(op, value, kind)
        if isinstance(fitted, bool):
            return pc.if_else(array.is_valid(), pa.scalar(fitted), pa.scalar(None, pa.bool_()))
        op, value = fitted
    elif pa.types.is_floating(kind):
        value = float(value)
    return _COMPARE[op](array, pa.scalar(value, kind))


def _fitted(op: str, value: int | float, kind: pa.DataType) -> bool | tuple[str, int]:
    """A comparison of integers with a number as one with an integer of their type, or as what it always is."""
    if isinstance(value, float):
        if math.isnan(value):
            return op == "!="
        if math.isinf(value):
            return op == "!=" or (op[0] == "<") == (value > 0)
        if not value.is_integer():
            if op in ("==", "!="):
                return op == "!="
            op, value = ("<=", math.floor(value)) if op[0] == "<" else (">=", math.ceil(value))
        value = int(value)
    half = 1 << (kind.bit_width - 1)
    if not -half <= value < half:
        return op == "!=" if op in ("==", "!=") else (op[0] == "<") == (value > 0)
    return op, value


# -- JSON ------------------------------------------------------------------------------------------------


def _json_const(op: str, values: JsonValues, value: Any) -> pa.Array:
    if isinstance(value, bool):
        return _COMPARE[op](values.bools, value) if op in ("==", "!=") else _unknown(len(values))
    if isinstance(value, str):
        return _COMPARE[op](values.texts, pa.scalar(value, pa.large_string()))
    if JsonKind.DOUBLE not in values.kinds:
        return _with_const(op, values.integers, value)
    doubles = _COMPARE[op](values.numbers, pa.scalar(float(value)))
    if JsonKind.INTEGER not in values.kinds:
        return doubles
    return pc.coalesce(_with_const(op, values.integers, value), doubles)


def _json_pairs(op: str, one: JsonValues, other: JsonValues) -> pa.Array:
    test = _COMPARE[op]
    parts = [
        test(one.integers, other.integers),
        test(one.numbers, other.numbers),
        test(one.texts, other.texts),
    ]
    if op in ("==", "!="):
        nested = pa.array(one.kind == other.kind)
        raw = pc.if_else(nested, test(one.raw, other.raw), pa.scalar(None, pa.bool_()))
        parts += [test(one.bools, other.bools), raw]
    return pc.coalesce(*parts)


def _json_with(op: str, values: JsonValues, array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return _COMPARE[op](values.bools, array)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return _aligned(op, values.texts, array)
    doubles = _COMPARE[op](values.numbers, array.cast(pa.float64(), safe=False))
    if not pa.types.is_integer(array.type):
        return doubles
    return pc.coalesce(_COMPARE[op](values.integers, array), doubles)


def _unknown(count: int) -> pa.Array:
    return pa.nulls(count, pa.bool_())


# -- lists -----------------------------------------------------------------------------------------------


def equal_elements(elements: pa.Array | JsonValues, value: Any) -> Bitmap:
    """(n,) which elements equal a literal; one that is null, or of another type, does not."""
    if isinstance(elements, JsonValues):
        if isinstance(value, list | tuple):
            lists = elements.lists
            taken = Lists(lists.lengths >= 0, lists.starts, np.maximum(lists.lengths, 0), lists.elements)
            return _equal_lists(taken, tuple(value))
        return bits(_json_const("==", elements, value))
    if pa.types.is_timestamp(elements.type):
        elements = elements.cast(pa.timestamp("us", elements.type.tz)).view(pa.int64())
    if pa.types.is_float32(elements.type):
        value = float(np.float32(value))
    return bits(_with_const("==", elements, value))


def _equal_lists(lists: Lists, values: tuple[Any, ...]) -> Bitmap:
    equal: Bitmap = lists.valid & (lists.lengths == len(values))
    for index, value in enumerate(values):
        chosen = np.flatnonzero(equal)
        if len(chosen) == 0:
            break
        positions = lists.starts[chosen] + index
        flat = lists.flat
        some = flat.take(positions) if isinstance(flat, JsonValues) else flat.take(pa.array(positions))
        equal[chosen[~equal_elements(some, value)]] = False
    return equal


def _with_list(op: str, of: Value, values: tuple[Any, ...], frame: Frame) -> pa.Array:
    lists = lists_of(of, frame)
    equal = _equal_lists(lists, values)
    return pa.array(equal if op == "==" else ~equal, mask=~lists.valid)


def _same_lists(op: str, left: Value, right: Value, frame: Frame) -> pa.Array:
    one, other = lists_of(left, frame), lists_of(right, frame)
    equal: Bitmap = one.valid & other.valid & (one.lengths == other.lengths)
    rows = np.flatnonzero(equal)
    counts = one.lengths[rows]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.repeat(one.starts[rows], counts) + within
    second = np.repeat(other.starts[rows], counts) + within
    if isinstance(one.flat, JsonValues) and isinstance(other.flat, JsonValues):
        pairs = _json_pairs("==", one.flat.take(first), other.flat.take(second))
    elif isinstance(one.flat, JsonValues):
        pairs = _json_with("==", one.flat.take(first), other.flat.take(pa.array(second)))
    elif isinstance(other.flat, JsonValues):
        pairs = _json_with("==", other.flat.take(second), one.flat.take(pa.array(first)))
    else:
        pairs = _aligned("==", one.flat.take(pa.array(first)), other.flat.take(pa.array(second)))
    equal[np.repeat(rows, counts)[~bits(pairs)]] = False
    return pa.array(equal if op == "==" else ~equal, mask=~(one.valid & other.valid))


# -- membership ------------------------------------------------------------------------------------------


def member(node: terms.Member, frame: Frame) -> pa.Array:
    """Whether each row is one of some values; unknown where it is null, or JSON of a type that none of them has."""
    found = array_of(node.of, frame)
    if isinstance(found, JsonValues):
        return _json_member(found, node.values)
    assert node.value_set is not None
    if len(node.value_set) == 0:
        return pc.if_else(found.is_valid(), pa.scalar(False), pa.scalar(None, pa.bool_()))
    values = node.value_set
    if pa.types.is_floating(found.type):
        if found.type == pa.float32():
            values = values.cast(pa.float32(), safe=False).cast(pa.float64())
        # Members are found by their bits, and -0.0 is 0.0.
        found = pc.add(found.cast(pa.float64()), pa.scalar(0.0))
    elif pa.types.is_integer(found.type):
        found = found.cast(pa.int64())
    elif pa.types.is_string(found.type):
        found = found.cast(pa.large_string())
    held = pc.is_in(found, value_set=values)
    return pc.if_else(found.is_valid(), held, pa.scalar(None, pa.bool_())) if found.null_count else held


def _json_member(values: JsonValues, wanted: tuple[Any, ...]) -> pa.Array:
    numbers = [one for one in wanted if isinstance(one, int | float) and not isinstance(one, bool)]
    texts = [one for one in wanted if isinstance(one, str)]
    truths = [one for one in wanted if isinstance(one, bool)]
    lists = [one for one in wanted if isinstance(one, tuple)]
    held = np.zeros(len(values), np.bool_)
    if not wanted:
        return pa.array(held, mask=~values.present)
    known = np.zeros(len(values), np.bool_)
    if numbers:
        known |= (values.kind == JsonKind.INTEGER) | (values.kind == JsonKind.DOUBLE)
        whole = [int(one) for one in numbers if isinstance(one, int) or one.is_integer()]
        integers = pa.array([one for one in whole if -(2**63) <= one < 2**63], pa.int64())
        held |= bits(pc.is_in(values.integers, value_set=integers, skip_nulls=True))
        if JsonKind.DOUBLE in values.kinds:
            doubles = pc.add(values.numbers, pa.scalar(0.0))
            near = bits(
                pc.is_in(doubles, value_set=pa.array([float(one) + 0.0 for one in numbers]), skip_nulls=True)
            )
            held |= near & (values.kind == JsonKind.DOUBLE)
    if texts:
        known |= bits(values.texts.is_valid())
        held |= bits(pc.is_in(values.texts, value_set=pa.array(texts, pa.large_string()), skip_nulls=True))
    if truths:
        known |= values.kind == JsonKind.BOOL
        held |= bits(pc.is_in(values.bools, value_set=pa.array(truths), skip_nulls=True))
    if lists:
        known |= values.kind == JsonKind.ARRAY
        for one in lists:
            held |= equal_elements(values, one)
    return pa.array(held, mask=~known)
