"""Arithmetic by whole arrays.

Integers are computed with exactly, and divide towards zero. One that needs more than 64 bits is a double, in its row
alone; so is one beside a fraction, and in JSON each row tells which of them it holds. Fractions of single precision are
computed with in single precision, as they are compared. Dividing by zero has no value.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.json_paths import JsonKind, JsonValues
from headwater.types import Bitmap

__all__ = ["computed"]

_Plain: TypeAlias = pa.Array | pa.Scalar
_CHECKED = {
    "+": pc.add_checked,
    "-": pc.subtract_checked,
    "*": pc.multiply_checked,
    "/": pc.divide_checked,
}
_PLAIN = {"+": pc.add, "-": pc.subtract, "*": pc.multiply, "/": pc.divide}
_BITS = {"&": pc.bit_wise_and, "|": pc.bit_wise_or, "^": pc.bit_wise_xor}
_LEAST = -(2**63)


def computed(op: str, left: _Plain | JsonValues, right: _Plain | JsonValues) -> pa.Array | JsonValues:
    """`left op right` of every row.

    Args:
        op: of `terms.Arithmetic`.
        left: numbers, or one for all rows; of JSON, what is no number has no value.
        right: the same; one of the two is of rows.

    Returns:
        Integers of 64 bits, or fractions; where rows differ in that, values of JSON.
    """
    if op in _BITS:
        return _BITS[op](_whole(left), _whole(right))
    if op in ("<<", ">>"):
        return _shift(op, _whole(left), _whole(right))
    if op == "**":
        return pc.power(_fractions(left), _fractions(right))
    if isinstance(left, JsonValues) or isinstance(right, JsonValues):
        return _by_row(op, left, right)
    if pa.types.is_integer(left.type) and pa.types.is_integer(right.type):
        return _of_integers(op, _whole(left), _whole(right))
    return _of_fractions(op, left, right)


def _whole(values: _Plain | JsonValues) -> _Plain:
    if isinstance(values, JsonValues):
        return values.integers
    return values if values.type == pa.int64() else values.cast(pa.int64(), safe=False)


def _fractions(values: _Plain | JsonValues) -> _Plain:
    if isinstance(values, JsonValues):
        return values.numbers
    return values if values.type == pa.float64() else values.cast(pa.float64(), safe=False)


# -- integers --------------------------------------------------------------------------------------------


def _of_integers(op: str, left: _Plain, right: _Plain) -> pa.Array | JsonValues:
    if op in ("/", "%"):
        right = _without_zero(right)
    if op == "%":
        # The remainder of a division by -1 is that of one by 1, which never overflows.
        right = pc.if_else(pc.equal(right, -1), pa.scalar(1, pa.int64()), right)
        return pc.subtract(left, pc.multiply(pc.divide(left, right), right))
    try:
        return _CHECKED[op](left, right)
    except pa.ArrowInvalid:
        return _widened(op, left, right)


def _widened(op: str, left: _Plain, right: _Plain) -> JsonValues:
    """Integers of which some need more than 64 bits."""
    wide = pa.array(_beyond(op, _known(left), _known(right)))
    integers = pc.if_else(wide, pa.scalar(None, pa.int64()), _PLAIN[op](left, right))
    doubles = _PLAIN[op](_fractions(left), _fractions(right))
    return _numbers(integers, pc.if_else(wide, doubles, integers.cast(pa.float64(), safe=False)))


def _known(values: _Plain) -> Any:
    if isinstance(values, pa.Scalar):
        return np.int64(values.as_py() or 0)
    return pc.fill_null(values, 0).to_numpy(zero_copy_only=False)


def _beyond(op: str, left: Any, right: Any) -> Bitmap:
    """Where a result needs more than 64 bits; reference: Warren, "Hacker's Delight", 2nd edition, 2-13."""
    with np.errstate(all="ignore"):
        if op == "/":
            found: Bitmap = (left == _LEAST) & (right == -1)
        elif op == "+":
            found = ((left ^ (left + right)) & (right ^ (left + right))) < 0
        elif op == "-":
            found = ((left ^ right) & (left ^ (left - right))) < 0
        else:
            turned = (left == -1) & (right == _LEAST)
            found = (left != 0) & (turned | ((left * right) // np.where(left == 0, 1, left) != right))
    return found


def _shift(op: str, left: _Plain, right: _Plain) -> pa.Array:
    """Shifts as of 64 bits; by 64 or more nothing is left, and by a negative number there is no value."""
    right = pc.if_else(pc.less(right, pa.scalar(0, pa.int64())), pa.scalar(None, pa.int64()), right)
    near = pc.min_element_wise(right, pa.scalar(63, pa.int64()), skip_nulls=False)
    if op == ">>":
        return pc.shift_right(left, near)
    far = pc.greater(right, pa.scalar(63, pa.int64()))
    return pc.if_else(far, pc.bit_wise_and(left, pa.scalar(0, pa.int64())), pc.shift_left(left, near))


# -- fractions --------------------------------------------------------------------------------------------


def _of_fractions(op: str, left: _Plain, right: _Plain) -> pa.Array:
    rows = [one.type for one in (left, right) if isinstance(one, pa.Array)]
    kind = pa.float32() if set(rows) == {pa.float32()} else pa.float64()
    left, right = (one if one.type == kind else one.cast(kind, safe=False) for one in (left, right))
    if op in ("/", "%"):
        right = _without_zero(right)
    return _remainder(left, right) if op == "%" else _PLAIN[op](left, right)


def _remainder(left: _Plain, right: _Plain) -> pa.Array:
    sides: list[Any] = [
        np.float64(np.nan if one.as_py() is None else one.as_py())
        if isinstance(one, pa.Scalar)
        else one.to_numpy(zero_copy_only=False)
        for one in (left, right)
    ]
    valid = pc.and_(pc.is_valid(left), pc.is_valid(right))
    missing = ~valid.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        return pa.array(np.fmod(*sides), pa.float64(), mask=missing)


def _without_zero(values: _Plain) -> _Plain:
    return pc.if_else(pc.equal(values, pa.scalar(0, values.type)), pa.scalar(None, values.type), values)


# -- both --------------------------------------------------------------------------------------------


def _by_row(op: str, left: _Plain | JsonValues, right: _Plain | JsonValues) -> pa.Array | JsonValues:
    doubles = _of_fractions(op, _fractions(left), _fractions(right))
    if any(not isinstance(one, JsonValues) and pa.types.is_floating(one.type) for one in (left, right)):
        return doubles
    one, other = _whole(left), _whole(right)
    whole = _of_integers(op, one, other)
    if isinstance(whole, JsonValues):
        integers, numbers = whole.integers, whole.numbers
    else:
        integers, numbers = whole, whole.cast(pa.float64(), safe=False)
    exact = pc.and_(pc.is_valid(one), pc.is_valid(other))
    return _numbers(integers, pc.if_else(exact, numbers, doubles))


def _numbers(integers: pa.Array, numbers: pa.Array) -> JsonValues:
    """Integers and doubles as values of JSON; `numbers` has all of them."""
    count = len(integers)
    kind = np.full(count, np.uint8(JsonKind.MISSING))
    kind[numbers.is_valid().to_numpy(zero_copy_only=False)] = JsonKind.DOUBLE
    kind[integers.is_valid().to_numpy(zero_copy_only=False)] = JsonKind.INTEGER
    text = pa.nulls(count, pa.large_string())
    return JsonValues(kind, integers, numbers, text, pa.nulls(count, pa.bool_()), text)
