"""Bind a filter to a schema: names become fields, types are checked, literals folded, once for all segments."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.query.expr import fold, nodes, terms
from headwater.query.expr.bind_values import ValueBinder
from headwater.query.expr.functions import CONDITIONS, FUNCTIONS, bind_call
from headwater.query.expr.nodes import Node
from headwater.query.expr.terms import Condition, Const, Kind, Value, same, shown
from headwater.schema import Schema
from headwater.types import DataType

__all__ = ["FUNCTIONS", "Binder", "Bound", "bind", "chosen_in"]


@dataclass(frozen=True, eq=False)
class Bound:
    """A filter that fits a schema; compared by identity.

    Attributes:
        condition: what a row must satisfy; names of a dynamic schema are paths of its JSON field.
        fields: the fields it reads.
        schema: what it is bound to.
        number: of no other filter of the process: what it selects is kept by it, and does not keep the filter.
    """

    condition: Condition
    fields: frozenset[str]
    schema: Schema
    number: int = dataclasses.field(default_factory=partial(next, itertools.count()), repr=False)

    @property
    def chosen_elements(self) -> frozenset[str]:
        """The fields of lists of which it means some elements: those of an `element_filter` that is not negated."""
        return chosen_in(self.condition)


def chosen_in(condition: Condition) -> frozenset[str]:
    """See `Bound.chosen_elements`."""
    if isinstance(condition, terms.All | terms.Some):
        return frozenset().union(*(chosen_in(item) for item in condition.items))
    chosen = isinstance(condition, terms.Quantified) and condition.chosen
    return frozenset((condition.name,)) if chosen else frozenset()  # type: ignore[union-attr]


def bind(tree: nodes.Filter, schema: Schema, *, timezone: str | None = None) -> Bound:
    """Check a filter against a schema.

    Args:
        tree: of `parse`.
        schema: names and types the fields.
        timezone: IANA name that times without an offset are in; None for UTC.

    Raises:
        FilterSyntax: an unknown field or function, or types that do not go together; says where.
    """
    binder = Binder(schema, tree.text, timezone)
    condition = binder.top(tree.node)
    return Bound(condition, frozenset(binder.fields), schema)


class Binder(ValueBinder):
    """Walks a tree once: the half that knows what conditions are."""

    def top(self, node: Node) -> Condition:
        """The whole filter; the only place where the last conjunct may be a sample."""
        items = node.items if isinstance(node, nodes.And) else (node,)
        last = items[-1]
        if isinstance(last, nodes.Call) and last.function == "random_sample":
            sample = bind_call(self, last)
            return fold.all_of([*(self.condition(item) for item in items[:-1]), sample])
        found = self.condition(node)
        if isinstance(node, nodes.Name) and isinstance(found, terms.Holds) and found.of.kind is Kind.JSON:
            # A key of dynamic rows by itself is a field misspelt more often than a truth value.
            raise self.error(f"expected a condition, got {shown(found.of)}", node, f"{node.name} == true")
        return found

    def condition(self, node: Node) -> Condition:
        """A tree whose value is a truth value."""
        if isinstance(node, nodes.And):
            return fold.all_of([self.condition(item) for item in node.items])
        if isinstance(node, nodes.Or):
            return fold.some_of([self.condition(item) for item in node.items])
        if isinstance(node, nodes.Not):
            return fold.negated(self.condition(node.item))
        if isinstance(node, nodes.Compare):
            return self._compare(node)
        if isinstance(node, nodes.In):
            return self._member(node)
        if isinstance(node, nodes.Like):
            return self._pattern(node)
        if isinstance(node, nodes.IsNull | nodes.Exists):
            return self._null_test(node)
        if isinstance(node, nodes.Call) and node.function not in FUNCTIONS.keys() - CONDITIONS:
            if node.function == "random_sample":
                raise self.error(
                    "random_sample stands last, joined to the rest by and",
                    node,
                    "a > 1 and random_sample(0.1)",
                )
            return bind_call(self, node)
        value = self.value(node)
        if isinstance(value, terms.Truth):
            return value.condition
        if isinstance(value, Const) and value.kind is Kind.BOOL:
            return terms.Constant(value.value)
        if value.kind not in (Kind.BOOL, Kind.JSON):
            raise self.error(f"expected a condition, got {shown(value)}", node)
        return terms.Holds(value)

    def _compare(self, node: nodes.Compare) -> Condition:
        op, left, right = node.op, self.value(node.left), self.value(node.right)
        if isinstance(left, Const) and not isinstance(right, Const):
            op, left, right = fold.FLIPPED[op], right, left
        if isinstance(right, Const):
            right = self._fitted(left, right)
        self._comparable(op, left, right, node)
        if isinstance(left, Const) and isinstance(right, Const):
            return terms.Constant(bool(fold.COMPARE[op](left.value, right.value)))
        if isinstance(left, terms.Shifted) and left.months == 0 and isinstance(right, Const):
            right = Const(right.value - left.microseconds, Kind.MOMENT, right.position)
            left = left.of
        return terms.Compare(op, left, right)

    def _fitted(self, of: Value, const: Const) -> Const:
        """A literal in the form that the other side compares with."""
        if of.kind is Kind.MOMENT and const.kind is Kind.TEXT:
            return self.moment(const.value, const)
        if isinstance(of, terms.Column | terms.ElementAt | terms.Current) and const.kind.number:
            data_type = of.type.data_type
            if data_type is DataType.FLOAT:
                with np.errstate(over="ignore"):
                    return Const(float(np.float32(const.value)), Kind.DOUBLE, const.position)
            if data_type is DataType.DOUBLE:
                return Const(float(const.value), Kind.DOUBLE, const.position)
        return const

    def _comparable(self, op: str, left: Value, right: Value, at: Node) -> None:
        kinds = (left.kind, right.kind)
        known = (Kind.INTEGER, Kind.DOUBLE, Kind.TEXT, Kind.BOOL, Kind.MOMENT, Kind.JSON, Kind.LIST)
        if all(kind in known for kind in kinds):
            if Kind.LIST in kinds or Kind.BOOL in kinds:
                if op not in ("==", "!="):
                    raise self.error(f"{op} needs values that have an order, got {shown(left)}", at)
                if Kind.JSON in kinds or (kinds[0] == kinds[1] and self._alike(left, right, at)):
                    return
            elif (
                kinds[0] == kinds[1]
                or (kinds[0].number and kinds[1].number)
                or (Kind.JSON in kinds and Kind.MOMENT not in kinds)
            ):
                return
        types = (terms.type_of(left), terms.type_of(right))
        said = f"cannot compare {shown(left)} with {shown(right)}"
        if isinstance(at, nodes.In):
            raise self.error(said, at, listed=types)
        raise self.error(said, at, types=types if isinstance(at, nodes.Compare) else ())

    def _alike(self, left: Value, right: Value, at: Node) -> bool:
        """Whether the elements of two lists compare; True of what are no lists."""
        one, other = terms.element_kind(left), terms.element_kind(right)
        if one is None or (other is None and not isinstance(right, Const)):
            return left.kind is not Kind.LIST
        if other is not None:
            return one == other or (one.number and other.number)
        assert isinstance(right, Const)
        kinds = {self.const(value, at).kind for value in right.value}
        return all(kind is one or (kind.number and one.number) for kind in kinds)

    def _member(self, node: nodes.In) -> Condition:
        item, values = self.value(node.item), self.literals(node.values)
        if item.kind in (Kind.LIST, Kind.STRUCTS, Kind.GEOMETRY, Kind.OTHER):
            raise self.error(f"in needs one value, got {shown(item)}", node, "array_contains_any(list, [..])")
        fitted, compared = [], set()
        for value in values:
            one = self._fitted(item, value)
            if one.kind not in compared:
                self._comparable("==", item, one, node)
                compared |= {one.kind} - {Kind.LIST}
            fitted.append(one.value)
        if isinstance(item, Const):
            return terms.Constant(any(same(item.value, one) for one in fitted))
        arrow = None if item.kind is Kind.JSON else _value_set(item, fitted)
        return terms.Member(item, tuple(fitted), arrow)

    def _pattern(self, node: nodes.Like) -> Condition:
        word = "=~" if node.regex else "like"
        item, pattern = self.value(node.item), self.literal(node.pattern, f"{word} needs a text pattern")
        if item.kind not in (Kind.TEXT, Kind.JSON) or isinstance(item, Const):
            raise self.error(f"{word} needs text, got {shown(item)}", node)
        if pattern.kind is not Kind.TEXT:
            raise self.error(f"{word} needs a text pattern, got {shown(pattern)}", node.pattern)
        if node.regex:
            self._check_regex(pattern)
        return terms.Pattern(item, pattern.value, node.regex)

    def _check_regex(self, pattern: Const) -> None:
        try:
            pa.compute.match_substring_regex(pa.array([""]), pattern.value)
        except pa.ArrowInvalid as error:
            raise self.error(f"not a regular expression of RE2: {error}", pattern) from error

    def _null_test(self, node: nodes.IsNull | nodes.Exists) -> Condition:
        named = node.item.name if isinstance(node.item, nodes.Name) else ""
        if any(field.name == named and "vector" in field.type.data_type for field in self.schema.fields):
            raise self.error("IsNull/IsNotNull operations are not supported on vector fields", node)
        item = self.value(node.item)
        if isinstance(node, nodes.Exists):
            if not isinstance(item, terms.JsonAt):
                raise self.error(f"exists needs a JSON path, got {shown(item)}", node, "name is not null")
            return terms.Negated(terms.NullTest(item))
        if isinstance(item, Const | terms.Truth):
            raise self.error(f"is null needs a field or a path, got {shown(item)}", node)
        return terms.NullTest(item)


def _value_set(item: Value, values: list[Any]) -> pa.Array:
    """The values that can be equal to one of the kind; integers of 64 bits, doubles, texts or truth values."""
    if item.kind in (Kind.INTEGER, Kind.MOMENT):
        whole = {int(v) for v in values if isinstance(v, int) or (isinstance(v, float) and v.is_integer())}
        return pa.array([v for v in whole if -(2**63) <= v < 2**63], pa.int64())
    if item.kind is Kind.DOUBLE:
        return pa.array([float(v) + 0.0 for v in values if not math.isnan(v)], pa.float64())
    return pa.array(values, pa.bool_() if item.kind is Kind.BOOL else pa.large_string())
