"""Bind a filter to a schema: names become fields, types are checked, once for all segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headwater.errors import FieldNotFound, FilterSyntax
from headwater.query.expr import nodes
from headwater.query.expr.nodes import Node
from headwater.schema import DYNAMIC_FIELD, Field, Schema
from headwater.types import DataType

__all__ = ["FUNCTIONS", "Bound", "bind"]

NUMBERS = {
    DataType.INT8,
    DataType.INT16,
    DataType.INT32,
    DataType.INT64,
    DataType.FLOAT,
    DataType.DOUBLE,
}
TEXTS = {DataType.VARCHAR, DataType.TEXT}

FUNCTIONS = {
    "json_contains": 2,
    "json_contains_all": 2,
    "json_contains_any": 2,
    "array_contains": 2,
    "array_contains_all": 2,
    "array_contains_any": 2,
    "array_length": 1,
}
"""Functions of the language and how many arguments each takes."""


@dataclass(frozen=True, eq=False)
class Bound:
    """A filter that fits a schema; compared by identity, so that what it selects can be kept by it.

    Attributes:
        node: the tree; names of a dynamic schema are items of its JSON field.
        fields: the fields it reads.
        schema: what it is bound to.
    """

    node: Node
    fields: frozenset[str]
    schema: Schema


def bind(node: Node, schema: Schema) -> Bound:
    """Check a filter against a schema.

    Raises:
        FilterSyntax: an unknown field or function, or types that do not go together; says where.
    """
    binder = _Binder(schema)
    bound = binder.condition(node)
    return Bound(bound, frozenset(binder.fields), schema)


def _error(message: str, node: Node, hint: str | None = None) -> FilterSyntax:
    return FilterSyntax(f"{message}, at position {node.position}", hint=hint, position=node.position)


def kind_of(node: Node, schema: Schema) -> str:
    """`number`, `text`, `bool`, `json` (known only by row), or the field's own type."""
    if isinstance(node, nodes.Literal):
        if isinstance(node.value, bool):
            return "bool"
        return "number" if isinstance(node.value, int | float) else "text"
    if isinstance(node, nodes.Name):
        return _field_kind(schema.field(node.name).type.data_type)
    if isinstance(node, nodes.Item):
        base = node.of
        if isinstance(base, nodes.Name):
            field = schema.field(base.name)
            if field.type.data_type is DataType.ARRAY and field.type.element is not None:
                return _field_kind(field.type.element.data_type)
        return "json"
    if isinstance(node, nodes.Arithmetic):
        return "number"
    if isinstance(node, nodes.Call) and node.function == "array_length":
        return "number"
    return "list" if isinstance(node, nodes.Array) else "bool"


def _field_kind(data_type: DataType) -> str:
    if data_type in NUMBERS:
        return "number"
    if data_type in TEXTS:
        return "text"
    return {DataType.BOOL: "bool", DataType.JSON: "json"}.get(data_type, data_type.value)


class _Binder:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.fields: set[str] = set()

    def condition(self, node: Node) -> Node:
        """A tree whose value is a truth value."""
        if isinstance(node, nodes.And | nodes.Or):
            return type(node)(tuple(self.condition(item) for item in node.items), node.position)
        if isinstance(node, nodes.Not):
            return nodes.Not(self.condition(node.item), node.position)
        bound = self._predicate(node)
        if bound is None:
            bound = self.value(node)
            if kind_of(bound, self._schema) not in ("bool", "json"):
                raise _error(f"expected a condition, got a {kind_of(bound, self._schema)}", node)
        return bound

    def _predicate(self, node: Node) -> Node | None:
        if isinstance(node, nodes.Compare):
            left, right = self.value(node.left), self.value(node.right)
            self._comparable(left, right, node)
            return nodes.Compare(node.op, left, right, node.position)
        if isinstance(node, nodes.In):
            item, values = self.value(node.item), self._literals(node.values)
            for value in values.items:
                self._comparable(item, value, node)
            return nodes.In(item, values, node.position)
        if isinstance(node, nodes.Like):
            item, pattern = self.value(node.item), node.pattern
            if kind_of(item, self._schema) not in ("text", "json"):
                raise _error(f"like needs text, got a {kind_of(item, self._schema)}", node)
            if not isinstance(pattern, nodes.Literal) or not isinstance(pattern.value, str):
                raise _error("like needs a text pattern", pattern)
            return nodes.Like(item, pattern, node.position)
        if isinstance(node, nodes.IsNull | nodes.Exists):
            return type(node)(self.value(node.item), node.position)
        return None

    def _literals(self, node: Node) -> nodes.Array:
        if not isinstance(node, nodes.Array):
            raise _error("expected a list such as [1, 2]", node)
        for item in node.items:
            if not isinstance(item, nodes.Literal):
                raise _error("a list holds literals only", item)
        return node

    def _comparable(self, left: Node, right: Node, at: Node) -> None:
        kinds = (kind_of(left, self._schema), kind_of(right, self._schema))
        if (
            "json" in kinds
            or "list" in kinds
            or (kinds[0] == kinds[1] and kinds[0] in ("number", "text", "bool"))
        ):
            return
        if "timestamptz" in kinds and "text" in kinds:
            return
        raise _error(f"cannot compare {_shown(left, kinds[0])} with {_shown(right, kinds[1])}", at)

    def value(self, node: Node) -> Node:
        """A tree whose value is compared or computed with."""
        if isinstance(node, nodes.Name):
            return self._name(node)
        if isinstance(node, nodes.Item):
            of = self.value(node.of)
            kind = kind_of(of, self._schema)
            if kind not in ("json", "array"):
                raise _error(f"[...] needs a JSON or array field, got a {kind}", node)
            if kind == "array" and not isinstance(node.key, int):
                raise _error(f"an array is indexed by a number, got {node.key!r}", node)
            return nodes.Item(of, node.key, node.position)
        if isinstance(node, nodes.Arithmetic):
            left, right = self.value(node.left), self.value(node.right)
            for side in (left, right):
                if kind_of(side, self._schema) not in ("number", "json"):
                    raise _error(
                        f"{node.op} needs numbers, got {_shown(side, kind_of(side, self._schema))}", side
                    )
            return nodes.Arithmetic(node.op, left, right, node.position)
        if isinstance(node, nodes.Call):
            return self._call(node)
        if isinstance(node, nodes.Literal | nodes.Array):
            return node
        return self.condition(node)

    def _name(self, node: nodes.Name) -> Node:
        if node.name not in self._schema.names and self._schema.dynamic:
            self.fields.add(DYNAMIC_FIELD)
            return nodes.Item(nodes.Name(DYNAMIC_FIELD, node.position), node.name, node.position)
        try:
            field: Field = self._schema.field(node.name)
        except FieldNotFound as error:
            raise _error(f"unknown field {node.name!r}", node, error.hint) from error
        if field.type.data_type.dense_vector:
            raise _error(f"field {node.name!r} is a vector, which a filter cannot compare", node)
        self.fields.add(node.name)
        return node

    def _call(self, node: nodes.Call) -> Node:
        arity = FUNCTIONS.get(node.function)
        if arity is None:
            raise _error(f"unknown function {node.function!r}", node, f"functions: {', '.join(FUNCTIONS)}")
        if len(node.arguments) != arity:
            raise _error(f"{node.function} takes {arity} arguments, got {len(node.arguments)}", node)
        first = self.value(node.arguments[0])
        if kind_of(first, self._schema) not in ("json", "array"):
            raise _error(f"{node.function} needs a JSON or array field", node)
        rest: list[Any] = []
        for argument in node.arguments[1:]:
            if not isinstance(argument, nodes.Literal | nodes.Array):
                raise _error(f"{node.function} needs literals", argument)
            if node.function.endswith(("_all", "_any")):
                self._literals(argument)
            rest.append(argument)
        return nodes.Call(node.function, (first, *rest), node.position)


def _shown(node: Node, kind: str) -> str:
    if isinstance(node, nodes.Name):
        return f"field {node.name!r} ({kind})"
    if isinstance(node, nodes.Literal):
        return f"{node.value!r}"
    return f"a {kind}"
