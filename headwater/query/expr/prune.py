"""May a segment hold a row that a filter selects? Answered from statistics, never wrongly no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headwater.query.expr import nodes
from headwater.query.expr.bind import Bound
from headwater.query.expr.nodes import Node
from headwater.types import DataType

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

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def may_match(bound: Bound, stats_of: StatsOf, num_rows: int) -> bool:
    """False only when no row of the segment can satisfy the filter."""
    return _may(bound.node, bound, stats_of, num_rows)


def _may(node: Node, bound: Bound, stats_of: StatsOf, num_rows: int) -> bool:
    if isinstance(node, nodes.And):
        return all(_may(item, bound, stats_of, num_rows) for item in node.items)
    if isinstance(node, nodes.Or):
        return any(_may(item, bound, stats_of, num_rows) for item in node.items)
    if isinstance(node, nodes.IsNull) and isinstance(node.item, nodes.Name):
        stats = stats_of(node.item.name)
        return stats is None or stats.null_count > 0
    if isinstance(node, nodes.Compare):
        return _may_compare(node, bound, stats_of, num_rows)
    if (
        isinstance(node, nodes.In)
        and isinstance(node.item, nodes.Name)
        and isinstance(node.values, nodes.Array)
    ):
        values = [item.value for item in node.values.items if isinstance(item, nodes.Literal)]
        return any(_may_hold("==", node.item.name, value, bound, stats_of, num_rows) for value in values)
    return True


def _may_compare(node: nodes.Compare, bound: Bound, stats_of: StatsOf, num_rows: int) -> bool:
    if isinstance(node.left, nodes.Name) and isinstance(node.right, nodes.Literal):
        return _may_hold(node.op, node.left.name, node.right.value, bound, stats_of, num_rows)
    if isinstance(node.right, nodes.Name) and isinstance(node.left, nodes.Literal):
        return _may_hold(_FLIPPED[node.op], node.right.name, node.left.value, bound, stats_of, num_rows)
    return True


def _may_hold(op: str, name: str, value: Any, bound: Bound, stats_of: StatsOf, num_rows: int) -> bool:
    stats = stats_of(name)
    if stats is None or bound.schema.field(name).type.data_type is DataType.JSON:
        return True
    if stats.null_count >= num_rows:
        return False
    low, high = stats.min, stats.max
    if low is None or high is None or isinstance(low, str) != isinstance(value, str):
        return True
    if op == "!=":
        return bool(low != value or high != value)
    if op == "==":
        return bool(low <= value <= high)
    if op in ("<", "<="):
        return bool(low < value or (op == "<=" and low == value))
    return bool(high > value or (op == ">=" and high == value))
