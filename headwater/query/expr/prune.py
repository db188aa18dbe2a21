"""May a segment hold a row that a filter selects? Answered from statistics, never wrongly no."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, Protocol

from headwater.query.expr import terms
from headwater.query.expr.bind import Bound
from headwater.query.expr.fold import negated
from headwater.query.expr.patterns import like_parts
from headwater.query.expr.terms import Condition, Const, Kind

__all__ = ["Stats", "StatsOf", "may_match"]


class Stats(Protocol):
    """Least and greatest value, None where unknown, and number of nulls."""

    @property
    def min(self) -> Any:
        """Least value."""
        ...

    @property
    def max(self) -> Any:
        """Greatest value."""
        ...

    @property
    def null_count(self) -> int:
        """Number of nulls."""
        ...


StatsOf = Callable[[str], Stats | None]
"""Statistics of a field in a segment; None where there are none."""

_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_ORDERED = (bool, int, float, str)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def may_match(bound: Bound, stats_of: StatsOf, num_rows: int) -> bool:
    """False only when no row of the segment can satisfy the filter."""
    return _may(bound.condition, stats_of, num_rows)


def _may(node: Condition, stats_of: StatsOf, num_rows: int) -> bool:
    if isinstance(node, terms.Constant):
        return node.value
    if isinstance(node, terms.All):
        return all(_may(item, stats_of, num_rows) for item in node.items)
    if isinstance(node, terms.Some):
        return any(_may(item, stats_of, num_rows) for item in node.items)
    if isinstance(node, terms.Negated):
        return _may_not(node.item, stats_of, num_rows)
    if isinstance(node, terms.Compare):
        if not isinstance(node.left, terms.Column) or not isinstance(node.right, Const):
            return True
        return _may_hold(node.op, node.left, node.right.value, stats_of, num_rows)
    of: terms.Value | None = getattr(node, "of", None)
    return not isinstance(of, terms.Column) or _may_of(node, of, stats_of, num_rows)


def _may_of(node: Condition, of: terms.Column, stats_of: StatsOf, num_rows: int) -> bool:
    if isinstance(node, terms.NullTest):
        stats = stats_of(of.name)
        return stats is None or stats.null_count > 0
    if isinstance(node, terms.Between):
        ops = (">=" if node.low_inclusive else ">", "<=" if node.high_inclusive else "<")
        values = (node.low.value, node.high.value)
        return all(_may_hold(op, of, v, stats_of, num_rows) for op, v in zip(ops, values, strict=True))
    if isinstance(node, terms.Member):
        return any(_may_hold("==", of, value, stats_of, num_rows) for value in node.values)
    if isinstance(node, terms.Holds):
        return _may_hold("==", of, True, stats_of, num_rows)
    if isinstance(node, terms.Pattern) and not node.regex:
        return _may_start(node, of, stats_of, num_rows)
    return True


def _may_not(node: Condition, stats_of: StatsOf, num_rows: int) -> bool:
    """Whether a row may make the condition false."""
    if isinstance(node, terms.All):
        return any(_may(negated(item), stats_of, num_rows) for item in node.items)
    if isinstance(node, terms.Some):
        return all(_may(negated(item), stats_of, num_rows) for item in node.items)
    if isinstance(node, terms.NullTest) and isinstance(node.of, terms.Column):
        stats = stats_of(node.of.name)
        return stats is None or stats.null_count < num_rows
    if isinstance(node, terms.Compare):
        return _may(terms.Compare(_OPPOSITE[node.op], node.left, node.right), stats_of, num_rows)
    if isinstance(node, terms.Between):
        below = terms.Compare("<" if node.low_inclusive else "<=", node.of, node.low)
        above = terms.Compare(">" if node.high_inclusive else ">=", node.of, node.high)
        return _may(below, stats_of, num_rows) or _may(above, stats_of, num_rows)
    if isinstance(node, terms.Holds) and isinstance(node.of, terms.Column):
        return _may_hold("==", node.of, False, stats_of, num_rows)
    return True


def _may_start(node: terms.Pattern, of: terms.Column, stats_of: StatsOf, num_rows: int) -> bool:
    parts = like_parts(node.pattern) or []
    if not parts or not isinstance(parts[0], str):
        return True
    start = parts[0]
    stats = stats_of(of.name)
    if stats is None or stats.null_count >= num_rows:
        return stats is None
    if not isinstance(stats.min, str) or not isinstance(stats.max, str):
        return True
    return bool(stats.min[: len(start)] <= start <= stats.max[: len(start)])


def _may_hold(op: str, of: terms.Column, value: Any, stats_of: StatsOf, num_rows: int) -> bool:
    stats = stats_of(of.name)
    if stats is None or of.kind is Kind.LIST:
        return True
    if stats.null_count >= num_rows:
        return False
    low, high = _plain(stats.min), _plain(stats.max)
    if not isinstance(low, _ORDERED) or isinstance(low, str) != isinstance(value, str):
        return True
    if op == "!=":
        return bool(low != value or high != value)
    if op == "==":
        return bool(low <= value <= high)
    if op in ("<", "<="):
        return bool(low < value or (op == "<=" and low == value))
    return bool(high > value or (op == ">=" and high == value))


def _plain(value: Any) -> Any:
    """Timestamps as microseconds since 1970."""
    if isinstance(value, datetime.datetime):
        value = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return (value - _EPOCH) // datetime.timedelta(microseconds=1)
    return value
