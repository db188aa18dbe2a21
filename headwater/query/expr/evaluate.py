"""Evaluate a bound filter over columns: whole arrays at a time, three-valued logic, null means not selected.

JSON is parsed once per batch and field; from there on a JSON value is a Python object, and a comparison with a value of
another type is unknown, as in Milvus.
"""

from __future__ import annotations

import datetime
import functools
import json
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import FilterSyntax
from headwater.query.expr import nodes
from headwater.query.expr.bind import Bound, kind_of
from headwater.query.expr.nodes import Node
from headwater.query.expr.rows import FilterRows
from headwater.types import Bitmap

__all__ = ["evaluate"]

_COMPARE: dict[str, tuple[Callable[..., Any], Callable[[Any, Any], bool]]] = {
    "==": (pc.equal, operator.eq),
    "!=": (pc.not_equal, operator.ne),
    "<": (pc.less, operator.lt),
    "<=": (pc.less_equal, operator.le),
    ">": (pc.greater, operator.gt),
    ">=": (pc.greater_equal, operator.ge),
}
_MISSING = object()


def evaluate(bound: Bound, rows: FilterRows) -> Bitmap:
    """Which rows a filter selects.

    Args:
        bound: the filter.
        rows: have the columns `bound.fields`.

    Returns:
        (rows,) True where the filter holds; False where it does not or is unknown.
    """
    result = _Evaluation(bound, rows).condition(bound.node)
    selected: Bitmap = pc.fill_null(result, False).to_numpy(zero_copy_only=False)
    return selected


class _Evaluation:
    def __init__(self, bound: Bound, rows: FilterRows) -> None:
        self._bound = bound
        self._rows = rows
        self._num_rows = rows.num_rows
        self._json: dict[str, list[Any]] = {}

    def condition(self, node: Node) -> pa.Array:
        """(rows,) bool with nulls for unknown."""
        if isinstance(node, nodes.And):
            return functools.reduce(pc.and_kleene, [self.condition(item) for item in node.items])
        if isinstance(node, nodes.Or):
            return functools.reduce(pc.or_kleene, [self.condition(item) for item in node.items])
        if isinstance(node, nodes.Not):
            return pc.invert(self.condition(node.item))
        if isinstance(node, nodes.Compare):
            return self._compare(node)
        if isinstance(node, nodes.In):
            return self._member(node)
        if isinstance(node, nodes.Like):
            return self._like(node)
        if isinstance(node, nodes.IsNull):
            return self._is_null(node.item)
        if isinstance(node, nodes.Exists):
            return pc.invert(self._is_null(node.item))
        if isinstance(node, nodes.Call) and node.function != "array_length":
            return self._contains(node)
        return self._truth(node)

    def _truth(self, node: Node) -> pa.Array:
        if isinstance(node, nodes.Literal):
            return pa.array(np.full(self._num_rows, bool(node.value)))
        if self._kind(node) == "json":
            return pa.array([v if isinstance(v, bool) else None for v in self._objects(node)], pa.bool_())
        return self._array(node)

    def _kind(self, node: Node) -> str:
        return kind_of(node, self._bound.schema)

    # -- values ---------------------------------------------------------------------------------------------------

    def _array(self, node: Node) -> Any:
        """An Arrow array or scalar of a node whose type the schema knows."""
        if isinstance(node, nodes.Literal):
            return _scalar(node)
        if isinstance(node, nodes.Name):
            return self._rows.column(node.name)
        if isinstance(node, nodes.Item) and self._kind(node) != "json":
            return self._element(node)
        if isinstance(node, nodes.Arithmetic):
            return _arithmetic(node, self._number(node.left), self._number(node.right))
        if isinstance(node, nodes.Call):
            return self._length(node)
        return self.condition(node)

    def _number(self, node: Node) -> Any:
        """Numbers of a node; JSON values that are not numbers are null."""
        if self._kind(node) != "json":
            return self._array(node)
        values = [
            v if isinstance(v, int | float) and not isinstance(v, bool) else None for v in self._objects(node)
        ]
        if any(isinstance(value, float) for value in values):
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        return pa.array(values, pa.int64())

    def _element(self, node: nodes.Item) -> pa.Array:
        lists = self._array(node.of)
        key = int(node.key)
        long_enough = pc.fill_null(pc.greater(pc.list_value_length(lists), key), False)
        padded = pc.if_else(long_enough, lists, pa.scalar([None] * (key + 1), lists.type))
        return pc.list_element(padded, key)

    def _length(self, node: nodes.Call) -> pa.Array:
        item = node.arguments[0]
        if self._kind(item) == "array":
            return pc.list_value_length(self._array(item)).cast(pa.int64())
        return pa.array([len(v) if isinstance(v, list) else None for v in self._objects(item)], pa.int64())

    def _objects(self, node: Node) -> list[Any]:
        """JSON values by row; None where there is none."""
        if isinstance(node, nodes.Name):
            if node.name not in self._json:
                texts = self._array(node).to_pylist()
                self._json[node.name] = [None if text is None else json.loads(text) for text in texts]
            return self._json[node.name]
        if isinstance(node, nodes.Item):
            return [_member(value, node.key) for value in self._objects(node.of)]
        if isinstance(node, nodes.Literal):
            return [node.value] * self._num_rows
        values: list[Any] = self._array(node).to_pylist()
        return values

    # -- predicates -----------------------------------------------------------------------------------------------

    def _compare(self, node: nodes.Compare) -> pa.Array:
        vectorised, scalar = _COMPARE[node.op]
        kinds = {self._kind(node.left), self._kind(node.right)}
        if "list" in kinds:
            return self._compare_objects(node, scalar)
        if "json" in kinds and not any(isinstance(s, nodes.Arithmetic) for s in (node.left, node.right)):
            return self._compare_objects(node, scalar)
        left, right = self._number_or_array(node.left), self._number_or_array(node.right)
        if isinstance(left, pa.Scalar) and isinstance(right, pa.Scalar):
            return pa.array([vectorised(left, right).as_py()] * self._num_rows, pa.bool_())
        left, right = _aligned(left, right)
        return _array_of(vectorised(left, right), self._num_rows)

    def _number_or_array(self, node: Node) -> Any:
        return self._number(node) if self._kind(node) == "json" else self._array(node)

    def _compare_objects(self, node: nodes.Compare, compare: Callable[[Any, Any], bool]) -> pa.Array:
        left, right = self._values(node.left), self._values(node.right)
        return pa.array([_compared(a, b, compare) for a, b in zip(left, right, strict=True)], pa.bool_())

    def _values(self, node: Node) -> list[Any]:
        if isinstance(node, nodes.Array):
            return [[item.value for item in node.items if isinstance(item, nodes.Literal)]] * self._num_rows
        return self._objects(node)

    def _member(self, node: nodes.In) -> pa.Array:
        assert isinstance(node.values, nodes.Array)
        values = [item.value for item in node.values.items if isinstance(item, nodes.Literal)]
        if self._kind(node.item) == "json":
            wanted = values
            return pa.array(
                [
                    None if v is None else any(_compared(v, w, operator.eq) for w in wanted)
                    for v in self._objects(node.item)
                ],
                pa.bool_(),
            )
        array = self._array(node.item)
        if isinstance(array, pa.Scalar):
            array = pa.array([array.as_py()] * self._num_rows)
        if pa.types.is_floating(array.type):
            # Members are found by their bits, and -0.0 is 0.0.
            array = pc.add(array, pa.scalar(0.0, array.type))
            values = [value + 0.0 if isinstance(value, float) else value for value in values]
        found = pc.is_in(array, value_set=_value_set(values, array.type))
        return pc.if_else(pc.is_valid(array), found, pa.scalar(None, pa.bool_()))

    def _like(self, node: nodes.Like) -> pa.Array:
        assert isinstance(node.pattern, nodes.Literal)
        if self._kind(node.item) == "json":
            texts = pa.array(
                [v if isinstance(v, str) else None for v in self._objects(node.item)], pa.string()
            )
        else:
            texts = self._array(node.item)
        return pc.match_like(texts, pattern=node.pattern.value)

    def _is_null(self, node: Node) -> pa.Array:
        if isinstance(node, nodes.Item) and self._kind(node) == "json":
            return pa.array([value is None for value in self._objects(node)], pa.bool_())
        return _array_of(pc.is_null(self._array(node)), self._num_rows)

    def _contains(self, node: nodes.Call) -> pa.Array:
        item, argument = node.arguments
        if self._kind(item) == "array":
            rows = self._array(item).to_pylist()
        else:
            rows = [value if isinstance(value, list) else None for value in self._objects(item)]
        if isinstance(argument, nodes.Array):
            wanted: Any = [one.value for one in argument.items if isinstance(one, nodes.Literal)]
        else:
            wanted = argument.value if isinstance(argument, nodes.Literal) else None
        test = _CONTAINS.get(node.function.rsplit("_", 1)[-1], _holds)
        return pa.array([None if row is None else test(row, wanted) for row in rows], pa.bool_())


def _scalar(node: nodes.Literal) -> pa.Scalar:
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        raise FilterSyntax(
            f"integer {value} does not fit 64 bits, at position {node.position}", position=node.position
        )
    return pa.scalar(value)


def _array_of(value: Any, count: int) -> pa.Array:
    if isinstance(value, pa.Scalar):
        return pa.array([value.as_py()] * count, pa.bool_())
    return value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value


def _aligned(left: Any, right: Any) -> tuple[Any, Any]:
    """Timestamps against text, and integers against fractions exactly."""
    for one, other, swap in ((left, right, False), (right, left, True)):
        if (
            pa.types.is_timestamp(one.type)
            and isinstance(other, pa.Scalar)
            and isinstance(other.as_py(), str)
        ):
            moment = datetime.datetime.fromisoformat(other.as_py())
            moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
            other = pa.scalar(moment, one.type)
            return (other, one) if swap else (one, other)
    return left, right


def _value_set(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values that the type can hold; the others cannot be equal to any row."""
    held = []
    for value in values:
        if pa.types.is_integer(kind) and isinstance(value, float):
            if not value.is_integer():
                continue
            value = int(value)
        try:
            held.append(pa.scalar(value, kind).as_py())
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            continue
    return pa.array(held, kind)


def _arithmetic(node: nodes.Arithmetic, left: Any, right: Any) -> Any:
    """Numbers; an integer that overflows becomes a double, and division by zero is null."""
    integers = pa.types.is_integer(left.type) and pa.types.is_integer(right.type)
    if node.op in ("/", "%"):
        zero = pc.equal(right, pa.scalar(0, right.type))
        right = pc.if_else(zero, pa.scalar(None, right.type), right)
    if node.op == "%":
        wide = pa.int64() if integers else pa.float64()
        left, right = left.cast(wide), right.cast(wide)
        whole = pc.trunc(pc.divide(left, right)) if not integers else pc.divide(left, right)
        return pc.subtract(left, pc.multiply(whole, right))
    if node.op == "/":
        return pc.divide(left, right)
    function = {"+": pc.add_checked, "-": pc.subtract_checked, "*": pc.multiply_checked, "**": pc.power}[
        node.op
    ]
    if integers:
        left, right = left.cast(pa.int64()), right.cast(pa.int64())
    if node.op == "**":
        left, right = left.cast(pa.float64()), right.cast(pa.float64())
    try:
        return function(left, right)
    except pa.ArrowInvalid:
        return function(left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False))


def _member(value: Any, key: str | int) -> Any:
    if isinstance(key, str):
        return value.get(key) if isinstance(value, dict) else None
    return value[key] if isinstance(value, list) and key < len(value) else None


def _same_type(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool)
    if isinstance(left, int | float) and isinstance(right, int | float):
        return True
    return type(left) is type(right)


def _compared(left: Any, right: Any, compare: Callable[[Any, Any], bool]) -> bool | None:
    if left is None or right is None:
        return None
    if not _same_type(left, right):
        return None
    try:
        return bool(compare(left, right))
    except TypeError:
        return None


def _holds(row: list[Any], wanted: Any) -> bool:
    return any(_same_type(one, wanted) and one == wanted for one in row)


def _holds_all(row: list[Any], wanted: list[Any]) -> bool:
    return all(_holds(row, one) for one in wanted)


def _holds_any(row: list[Any], wanted: list[Any]) -> bool:
    return any(_holds(row, one) for one in wanted)


_CONTAINS: dict[str, Callable[[list[Any], Any], bool]] = {"all": _holds_all, "any": _holds_any}
