"""Bind what a filter compares and computes with: literals, fields, paths, arithmetic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from headwater.errors import FieldNotFound, FilterSyntax
from headwater.query.expr import fold, moments, nodes, terms
from headwater.query.expr.nodes import Node
from headwater.query.expr.parse import syntax_error
from headwater.query.expr.terms import Condition, Const, Kind, Value, shown
from headwater.schema import DYNAMIC_FIELD, FieldType, Schema
from headwater.types import DataType

__all__ = ["ValueBinder"]

_BITS = ("&", "|", "^", "<<", ">>")
_CASTS = {
    "bool": Kind.BOOL,
    **dict.fromkeys(("int8", "int16", "int32", "int64", "int", "bigint"), Kind.INTEGER),
    **dict.fromkeys(("float", "double"), Kind.DOUBLE),
    **dict.fromkeys(("varchar", "string", "text"), Kind.TEXT),
}
_NULL_HINT = "null is asked for by `is null` and `is not null`"


class ValueBinder(ABC):
    """The half of `Binder` that knows what values are.

    Args:
        schema: names and types the fields.
        text: the filter as it was written, which errors point into.
        timezone: IANA name that times without an offset are in; None for UTC.

    Attributes:
        schema: names and types the fields.
        fields: the fields met so far.
        element: what has the elements that the condition at hand is about; None outside of such.
    """

    def __init__(self, schema: Schema, text: str, timezone: str | None) -> None:
        self.schema = schema
        self.fields: set[str] = set()
        self.element: terms.Column | terms.JsonAt | None = None
        self._text = text
        self._timezone = timezone

    def error(
        self, message: str, node: Node | Value, hint: str | None = None, **details: Any
    ) -> FilterSyntax:
        """An error that points at a node."""
        return syntax_error(message, self._text, node.position, hint, **details)

    @abstractmethod
    def condition(self, node: Node) -> Condition:
        """A tree whose value is a truth value."""

    # -- literals ---------------------------------------------------------------------------------------------------

    def literal(self, node: Node, message: str) -> Const:
        """A node that must be a literal."""
        value = self.value(node)
        if not isinstance(value, Const):
            raise self.error(f"{message}, got {shown(value)}", node)
        return value

    def literals(self, node: Node) -> list[Const]:
        """A node that must be a list of literals."""
        value = self.value(node) if isinstance(node, nodes.Array | nodes.Literal) else None
        if not isinstance(value, Const) or value.kind is not Kind.LIST:
            hint = "what an array field holds is asked by array_contains(field, value)"
            raise self.error(
                "expected a list such as [1, 2]", node, hint if isinstance(node, nodes.Name) else None
            )
        return [self.const(one, node) for one in value.value]

    def const(self, value: Any, node: Node) -> Const:
        """A Python value as a literal."""
        if isinstance(value, Const):
            return value
        if hasattr(value, "item") and not isinstance(value, str | bytes):
            value = value.item()
        if isinstance(value, bool):
            return Const(value, Kind.BOOL, node.position)
        if isinstance(value, int):
            return self._integer(value, node)
        if isinstance(value, float):
            return Const(value, Kind.DOUBLE, node.position)
        if isinstance(value, str):
            return Const(value, Kind.TEXT, node.position)
        if isinstance(value, list | tuple):
            items = tuple(one.value for one in (self.const(one, node) for one in value))
            return Const(items, Kind.LIST, node.position)
        if hasattr(value, "isoformat") and hasattr(value, "utcoffset"):
            return self.moment(value.isoformat(), node)
        return Const(value, Kind.OTHER, node.position)

    def _integer(self, value: int, node: Node) -> Const:
        if not -(2**63) <= value < 2**63:
            raise self.error(f"integer {value} does not fit 64 bits", node)
        return Const(value, Kind.INTEGER, node.position)

    def moment(self, text: str, node: Node | Value) -> Const:
        """An ISO 8601 text as a literal."""
        try:
            return Const(moments.microseconds(text, self._timezone), Kind.MOMENT, node.position)
        except ValueError as error:
            raise self.error(
                f"{text!r} is not a timestamp ({error})", node, "2025-01-31T08:00:00+08:00"
            ) from error

    # -- values -----------------------------------------------------------------------------------------------------

    def value(self, node: Node) -> Value:
        """A tree whose value is compared or computed with."""
        if isinstance(node, nodes.Literal):
            return self.const(node.value, node)
        if isinstance(node, nodes.Name):
            return self.name(node)
        if isinstance(node, nodes.Item):
            return self._item(node)
        if isinstance(node, nodes.Arithmetic):
            return self._arithmetic(node)
        if isinstance(node, nodes.Unary):
            return self._unary(node)
        if isinstance(node, nodes.Array):
            return Const(
                tuple(self.literal(one, "a list holds literals only").value for one in node.items),
                Kind.LIST,
                node.position,
            )
        if isinstance(node, nodes.Moment):
            return self.moment(node.text, node)
        if isinstance(node, nodes.Interval):
            return self._interval(node)
        if isinstance(node, nodes.Element):
            return self._current(None, node)
        if isinstance(node, nodes.Cast):
            return self._cast(node)
        if isinstance(node, nodes.Option):
            raise self.error(f"unexpected {node.name}=", node)
        if isinstance(node, nodes.Call) and node.function == "array_length":
            return self._length(node)
        condition = self.condition(node)
        if isinstance(condition, terms.Constant):
            return Const(condition.value, Kind.BOOL, node.position)
        return terms.Truth(condition, node.position)

    def name(self, node: nodes.Name) -> terms.Column | terms.JsonAt:
        """A name as a field, or as a key of the dynamic field."""
        if self.element is not None:
            raise self.error(f"a condition on elements reads $[member], not {node.name!r}", node)
        names = {field.name for field in self.schema.every_field}
        if node.name in ("null", "NULL") and node.name not in names:
            raise self.error(f"{node.name} is no value that a filter compares with", node, _NULL_HINT)
        if node.name not in names and self.schema.dynamic:
            self.fields.add(DYNAMIC_FIELD)
            return terms.JsonAt(DYNAMIC_FIELD, (node.name,), node.position)
        try:
            field = self.schema.field(node.name)
        except FieldNotFound as error:
            hint = _NULL_HINT if node.name == "None" else error.hint
            raise self.error(f"unknown field {node.name!r}", node, hint) from error
        if "vector" in field.type.data_type.value:
            raise self.error(f"field {node.name!r} is a vector, which a filter cannot compare", node)
        self.fields.add(node.name)
        if field.type.data_type is DataType.JSON:
            return terms.JsonAt(node.name, (), node.position)
        return terms.Column(node.name, field.type, node.position)

    def _item(self, node: nodes.Item) -> Value:
        if isinstance(node.of, nodes.Element):
            if not isinstance(node.key, nodes.Name):
                raise self.error("$[...] needs the bare name of a member", node)
            return self._current(node.key.name, node)
        if (
            isinstance(node.of, nodes.Item)
            and isinstance(node.key, nodes.Name)
            and isinstance(node.of.key, int)
        ):
            return self._member_at(node.of, node.of.key, node.key.name)
        of = self.value(node.of)
        if isinstance(of, terms.JsonAt):
            if isinstance(node.key, nodes.Name):
                raise self.error(f"a JSON key is quoted: [{node.key.name!r}]", node)
            return terms.JsonAt(of.name, (*of.path, node.key), node.position)
        if isinstance(of, terms.Column) and of.kind is Kind.STRUCTS:
            return self._of_structs(of, node)
        if isinstance(of, terms.Column | terms.Members) and of.kind is Kind.LIST:
            if not isinstance(node.key, int):
                raise self.error(f"an array is indexed by a number, got {node.key!r}", node)
            assert of.type.element is not None
            return terms.ElementAt(of, node.key, of.type.element, node.position)
        raise self.error(f"[...] needs a JSON, array or struct array field, got {shown(of)}", node)

    def _member_at(self, element: nodes.Item, index: int, member: str) -> Value:
        """`arr[0][x]`."""
        of = self.value(element.of)
        if not isinstance(of, terms.Column) or of.kind is not Kind.STRUCTS:
            raise self.error(f"[{index}][{member}] needs a struct array field, got {shown(of)}", element)
        members = self._members(of, member, element)
        assert members.type.element is not None
        return terms.ElementAt(members, index, members.type.element, element.position)

    def _of_structs(self, of: terms.Column, node: nodes.Item) -> Value:
        """`arr[member]`; `arr[0]` stands for the struct, and only `arr[0][member]` for a value."""
        if isinstance(node.key, nodes.Name):
            return self._members(of, node.key.name, node)
        raise self.error("an element of a struct array is read by member, such as arr[0][x]", node)

    def _members(self, of: terms.Column, member: str, node: Node) -> terms.Members:
        element = self._member_type(of, member, node)
        return terms.Members(of.name, member, FieldType(DataType.ARRAY, element=element), node.position)

    def _member_type(self, of: terms.Column, member: str, node: Node) -> FieldType:
        """The type of a member of a struct array."""
        for field in of.type.fields:
            if field.name == member:
                return field.type
        hint = f"members: {', '.join(one.name for one in of.type.fields)}"
        raise self.error(f"unknown member {member!r} of {of.name!r}", node, hint)

    def _current(self, member: str | None, node: Node) -> terms.Current | terms.JsonAt:
        if self.element is None:
            raise self.error("$ is only known in element_filter and match_*", node)
        if isinstance(self.element, terms.Column) and self.element.kind is Kind.STRUCTS:
            if member is None:
                raise self.error("$ of a struct array needs a member: $[x]", node)
            return terms.Current(member, self._member_type(self.element, member, node), node.position)
        if member is not None:
            raise self.error("an element of an array has no members: write $", node)
        if isinstance(self.element, terms.JsonAt):
            return terms.JsonAt(self.element.name, (), node.position)
        assert self.element.type.element is not None
        return terms.Current(None, self.element.type.element, node.position)

    def _arithmetic(self, node: nodes.Arithmetic) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if left.kind is Kind.MOMENT and right.kind is Kind.INTERVAL and node.op in "+-":
            return self._shifted(left, right, node)
        for side, at in ((left, node.left), (right, node.right)):
            if not side.kind.number and side.kind is not Kind.JSON:
                bits = node.op in _BITS and side.kind is Kind.BOOL
                hint = "comparisons bind tighter than & | ^: write (a & 1) == 1" if bits else None
                raise self.error(f"{node.op} needs numbers, got {shown(side)}", at, hint)
        kinds = {left.kind, right.kind}
        whole = kinds == {Kind.INTEGER} and node.op != "**"
        if node.op in _BITS:
            if Kind.DOUBLE in kinds:
                raise self.error(f"{node.op} needs integers, got {shown(left)} and {shown(right)}", node)
            whole = True
        kind = Kind.INTEGER if whole else Kind.DOUBLE
        if isinstance(left, Const) and isinstance(right, Const):
            return self._computed(node, left, right)
        return terms.Arithmetic(node.op, left, right, kind, node.position)

    def _computed(self, node: nodes.Arithmetic, left: Const, right: Const) -> Const:
        value = fold.compute(node.op, left.value, right.value)
        if value is None:
            raise self.error(f"{left.value} {node.op} {right.value} has no value", node)
        return self.const(value, node)

    def _unary(self, node: nodes.Unary) -> Value:
        if node.op == "-" and isinstance(node.item, nodes.Literal) and type(node.item.value) is int:
            return self._integer(-node.item.value, node)
        if node.op == "~":
            minus_one = nodes.Literal(-1, node.position)
            return self._arithmetic(nodes.Arithmetic("^", node.item, minus_one, node.position))
        item = self.value(node.item)
        if isinstance(item, Const) and item.kind is Kind.DOUBLE:
            return Const(-item.value, Kind.DOUBLE, node.position)
        return self._arithmetic(
            nodes.Arithmetic("-", nodes.Literal(0, node.position), node.item, node.position)
        )

    def _interval(self, node: nodes.Interval) -> Const:
        try:
            return Const(moments.interval(node.text), Kind.INTERVAL, node.position)
        except ValueError as error:
            raise self.error(str(error), node, "P1DT2H is a day and two hours") from error

    def _shifted(self, left: Value, right: Value, node: nodes.Arithmetic) -> Value:
        assert isinstance(right, Const)
        by = right.value if node.op == "+" else right.value.negated()
        if isinstance(left, Const):
            moved = moments.shifted(np.array([left.value], np.int64), by.months, by.microseconds)
            return Const(int(moved[0]), Kind.MOMENT, node.position)
        if isinstance(left, terms.Shifted) and not left.months:
            return (
                terms.Shifted(left.of, by.months, by.microseconds + left.microseconds, node.position)
                if (not by.months)
                else terms.Shifted(left, by.months, by.microseconds, node.position)
            )
        return terms.Shifted(left, by.months, by.microseconds, node.position)

    def _cast(self, node: nodes.Cast) -> Value:
        kind = _CASTS.get(node.type)
        if kind is None:
            raise self.error(f"cannot cast to {node.type!r}", node, f"types: {', '.join(_CASTS)}")
        of = self.value(node.item)
        plain = (Kind.INTEGER, Kind.DOUBLE, Kind.TEXT, Kind.BOOL, Kind.JSON)
        if of.kind not in plain or isinstance(of, Const):
            raise self.error(f"cast needs a scalar field or a JSON path, got {shown(of)}", node)
        return terms.Cast(of, kind, node.position)

    def _length(self, node: nodes.Call) -> Value:
        if len(node.arguments) != 1:
            raise self.error(f"array_length takes 1 argument, got {len(node.arguments)}", node)
        of = self.value(node.arguments[0])
        if of.kind not in (Kind.JSON, Kind.LIST, Kind.STRUCTS) or isinstance(of, Const):
            raise self.error(f"array_length needs a JSON or array field, got {shown(of)}", node)
        return terms.Length(of, node.position)
