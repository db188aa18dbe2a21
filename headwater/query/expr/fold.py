"""What can be worked out before any row is read: arithmetic of literals, constant conditions, joined bounds."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from headwater.query.expr import terms
from headwater.query.expr.terms import Condition, Const, Value

__all__ = ["COMPARE", "FLIPPED", "all_of", "compute", "negated", "some_of"]

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}

_INTEGERS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}
_WIDEST = 1 << 63


def compute(op: str, left: Any, right: Any) -> int | float | None:
    """Arithmetic of two literals; None where it has no value, such as division by zero.

    As over rows: integers divide towards zero, one that needs more than 64 bits becomes a double, and a power is a
    double.
    """
    whole = isinstance(left, int) and isinstance(right, int)
    try:
        if op == "**":
            power = float(left) ** float(right)
            return power if isinstance(power, float) else None
        if op in ("/", "%") and right == 0:
            return None
        if op == "/":
            return _towards_zero(left, right) if whole else left / right
        if op == "%":
            return left - _towards_zero(left, right) * right if whole else math.fmod(left, right)
        if op in ("<<", ">>"):
            return _shift(op, left, right)
        found = _INTEGERS[op](left, right)
    except OverflowError:
        return None
    return float(found) if whole and not -_WIDEST <= found < _WIDEST else found


def _towards_zero(left: int, right: int) -> int:
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _shift(op: str, left: int, right: int) -> int | None:
    if right < 0:
        return None
    if op == ">>":
        return left >> min(right, 63)
    bits = (left << right) & (2 * _WIDEST - 1) if right < 64 else 0
    return bits - 2 * _WIDEST if bits >= _WIDEST else bits


def negated(item: Condition) -> Condition:
    """Not `item`."""
    if isinstance(item, terms.Constant):
        return terms.Constant(not item.value)
    return item.item if isinstance(item, terms.Negated) else terms.Negated(item)


def some_of(items: Sequence[Condition]) -> Condition:
    """Some of several conditions, flattened."""
    flat: list[Condition] = []
    for item in items:
        flat += item.items if isinstance(item, terms.Some) else (item,)
    if any(isinstance(item, terms.Constant) and item.value for item in flat):
        return terms.Constant(True)
    flat = [item for item in flat if not isinstance(item, terms.Constant)]
    if not flat:
        return terms.Constant(False)
    return flat[0] if len(flat) == 1 else terms.Some(tuple(flat))


def all_of(items: Sequence[Condition]) -> Condition:
    """All of several conditions, flattened; a lower and an upper bound on one value become one condition."""
    flat: list[Condition] = []
    for item in items:
        flat += item.items if isinstance(item, terms.All) else (item,)
    if any(isinstance(item, terms.Constant) and not item.value for item in flat):
        return terms.Constant(False)
    flat = _ranges([item for item in flat if not isinstance(item, terms.Constant)])
    if not flat:
        return terms.Constant(True)
    return flat[0] if len(flat) == 1 else terms.All(tuple(flat))


def _ranges(items: list[Condition]) -> list[Condition]:
    """The first lower and the first upper bound on each value joined, where the lower one stood."""
    lows: dict[tuple[Value, str], tuple[int, terms.Compare]] = {}
    highs: dict[tuple[Value, str], tuple[int, terms.Compare]] = {}
    for at, item in enumerate(items):
        bound = _bound(item)
        if bound is not None:
            side = lows if bound.op in (">", ">=") else highs
            side.setdefault(_identity(bound), (at, bound))
    found: list[Condition | None] = list(items)
    for key, (low_at, low) in lows.items():
        if key not in highs:
            continue
        high_at, high = highs[key]
        assert isinstance(low.right, Const)
        assert isinstance(high.right, Const)
        found[low_at] = terms.Between(low.left, low.right, high.right, low.op == ">=", high.op == "<=")
        found[high_at] = None
    return [item for item in found if item is not None]


def _bound(item: Condition) -> terms.Compare | None:
    if (
        isinstance(item, terms.Compare)
        and item.op[0] in "<>"
        and isinstance(item.right, Const)
        and isinstance(item.left, terms.Column | terms.JsonAt)
    ):
        return item
    return None


def _identity(bound: terms.Compare) -> tuple[Any, str]:
    left, right = bound.left, bound.right
    assert isinstance(left, terms.Column | terms.JsonAt)
    path = left.path if isinstance(left, terms.JsonAt) else ()
    return (left.name, path), "number" if right.kind.number else right.kind.value
