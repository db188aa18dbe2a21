"""What Milvus refuses of filters that the engine takes, and clients of our own may ask for.

A field, a path or a truth value by itself is no condition, two columns are not compared where one is JSON, and a column
of integers is neither compared with a number that has a point nor looked for in a list of such. Words are looked for in
fields that were declared with `enable_match`. Powers are of constants, other arithmetic is of one field, and divides by
what is not zero; `match_least` counts to one at least.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

from headwater.doors.milvus.filter_errors import refused
from headwater.errors import FilterSyntax
from headwater.query.expr import Node, nodes, parse
from headwater.schema import Schema
from headwater.types import INTEGER_TYPES, DataType

__all__ = ["check_conditions"]

_LONGEST = 4096
"""Longer filters are lists of literals, which are not worth parsing twice."""
_TEMPLATE = re.compile(r"\{\s*(\w+)\s*\}")
_AND = "'and' can only be used between boolean expressions"
_OR = "'or' can only be used between boolean expressions"
_MATCHES = ("text_match", "text_match_fuzzy", "phrase_match")
_MOST_TERMS = 1000
"""How many terms `minimum_should_match` may ask for."""
_NOT = "not op can only be applied on boolean expression"


@dataclass(frozen=True)
class _Written:
    """What a filter writes, whatever it is about.

    Attributes:
        alone: the filter where it is a field, a path or a truth value; None for others.
        joined: what is wrong with the first of such among its conditions; None where nothing is.
        columns: the columns that are compared with each other, as pairs.
        decimals: the fields that are compared with numbers that have a point, with those.
        listed: the fields that are looked for in lists with such numbers, with the first of those.
        matched: the calls that look for words.
        wrong: what is wrong with the first of its parts, whatever the fields are; None where nothing is.
    """

    alone: nodes.Name | nodes.Item | nodes.Literal | None
    joined: str | None
    columns: tuple[tuple[Node, Node], ...]
    decimals: tuple[tuple[str, float], ...]
    listed: tuple[tuple[str, float], ...]
    matched: tuple[nodes.Call, ...]
    wrong: str | None


def check_conditions(schema: Schema, expr: str, plan: str = "query") -> None:
    """Refuse a filter that Milvus refuses.

    Args:
        schema: of what is read.
        expr: the filter, which may be wrong otherwise.
        plan: what it is for, `query` or `delete`.

    Raises:
        MilvusError: 1100.
    """
    if not expr or len(expr) > _LONGEST:
        return
    written = _written(expr)
    if written is None:
        return
    said = _said(schema, expr, written)
    if said is not None:
        raise refused(said, plan)


def _said(schema: Schema, expr: str, written: _Written) -> str | None:
    """What Milvus says of a filter; None where it takes it."""
    wrong = f"cannot parse expression: {expr}, error:"
    if written.joined is not None:
        return f"{wrong} {written.joined}"
    if written.wrong is not None:
        return f"{wrong} {written.wrong}"
    if written.alone is not None and not expr.isascii():
        return f"{wrong} invalid expression: {expr}"
    kind = None if written.alone is None else _truth(schema, written.alone)
    if kind is not None:
        return f"predicate is not a boolean expression: {expr}, data type: {kind}"
    if any(_is_json(schema, one) for pair in written.columns for one in pair):
        return f"{wrong} two column comparison with JSON type is not supported"
    for name, value in written.decimals:
        if kind := _integer(schema, name):
            return f"{wrong} cannot cast value to {kind}, value: float_val:{value:.15g}"
    for name, value in written.listed:
        if kind := _integer(schema, name):
            return f"{wrong} value 'float_val:{value:.15g}' in list cannot be casted to {kind}"
    unmatched = next(filter(None, (_unmatched(schema, call) for call in written.matched)), None)
    return None if unmatched is None else f"{wrong} {unmatched}"


def _unmatched(schema: Schema, call: nodes.Call) -> str | None:
    """What Milvus says of a call that looks for words; None where it takes it."""
    if call.function == "text_match_fuzzy":
        options = [one.name for one in call.arguments if isinstance(one, nodes.Option)]
        if len(call.arguments) == 2:
            return "mismatched input ')' expecting ','"
        if options and options != ["max_edit_distance"]:
            return f"unexpected {options[0]}, expected max_edit_distance"
    name = getattr(call.arguments[0], "name", None) if call.arguments else None
    params = dict(schema.field(name).params) if name in schema.names else {}
    if "enable_analyzer" in params and params.get("enable_match", "").lower() != "true":
        return f'field "{name}" does not enable match'
    return None


def _integer(schema: Schema, name: str) -> str:
    """Milvus's name of the type of a field of integers; empty for others."""
    kind = schema.field(name).type.data_type if name in schema.names else None
    return kind.value.capitalize() if kind in INTEGER_TYPES and kind is not None else ""


@lru_cache(maxsize=256)
def _written(expr: str) -> _Written | None:
    try:
        tree = parse(expr, dict.fromkeys(_TEMPLATE.findall(expr), "")).node
    except FilterSyntax:
        return None  # The engine says what is wrong with it.
    conditions = list(_conditions(tree))
    compared = [(one.left, one.right) for one in conditions if isinstance(one, nodes.Compare)]
    columns = [pair for pair in compared if all(isinstance(one, nodes.Name | nodes.Item) for one in pair)]
    decimals = []
    for left, right in (*compared, *((right, left) for left, right in compared)):
        value = _number(right)
        if isinstance(left, nodes.Name) and value is not None:
            decimals.append((left.name, value))
    listed = []
    for one in conditions:
        if isinstance(one, nodes.In) and isinstance(one.item, nodes.Name):
            listed += [(one.item.name, value) for value in _decimals(one.values)][:1]
    alone = tree if isinstance(tree, nodes.Name | nodes.Item | nodes.Literal) else None
    matched = tuple(one for one in conditions if isinstance(one, nodes.Call) and one.function in _MATCHES)
    wrong = next(filter(None, (_wrong(one, expr) for one in _parts(tree))), None)
    return _Written(alone, _joined(tree), tuple(columns), tuple(decimals), tuple(listed), matched, wrong)


def _wrong(node: Node, expr: str) -> str | None:
    """What Milvus says of a part of a filter by itself; None where it takes it."""
    if isinstance(node, nodes.Arithmetic):
        return _computed(node)
    if (
        isinstance(node, nodes.Item)
        and isinstance(node.of, nodes.Item)
        and isinstance(node.of.key, nodes.Name)
    ):
        return f"invalid expression: {expr}"
    if isinstance(node, nodes.Call) and node.function == "match_least":
        least = [one.value for one in node.arguments if isinstance(one, nodes.Option)]
        if any(isinstance(one, nodes.Literal) and one.value == 0 for one in least):
            return "count in MATCH_LEAST must be positive, got: 0"
    if isinstance(node, nodes.Call) and node.function.endswith("_contains_all") and len(node.arguments) == 2:
        of, values = node.arguments
        listed = not isinstance(values, nodes.Literal) or isinstance(values.value, list | tuple)
        if isinstance(of, nodes.Item) and isinstance(of.key, nodes.Name) and not listed:
            return "contains_all on a struct sub-field does not support a template placeholder list"
    if isinstance(node, nodes.Call) and node.function == "text_match":
        for option in node.arguments:
            count = option.value if isinstance(option, nodes.Option) else None
            if (
                isinstance(count, nodes.Literal)
                and isinstance(count.value, int)
                and count.value > _MOST_TERMS
            ):
                return f"minimum_should_match should be <= {_MOST_TERMS}, got {count.value}"
    return None


def _computed(node: nodes.Arithmetic) -> str | None:
    """What Milvus says of arithmetic; None where it takes it."""
    sides = (node.left, node.right)
    if node.op == "**" and not all(map(_fixed, sides)):
        return "power can only apply on constants"
    if all(isinstance(side, nodes.Name | nodes.Item | nodes.Element) for side in sides):
        return "not supported to do arithmetic operations between multiple fields"
    fields_read = [any(isinstance(one, nodes.Name) for one in _parts(side)) for side in sides]
    if all(fields_read) or any(isinstance(side, nodes.Call) for side in sides):
        return "complicated arithmetic operations are not supported"
    if node.op in ("/", "%") and isinstance(node.right, nodes.Literal) and node.right.value == 0:
        return "division or modulus by zero"
    return None


def _fixed(node: Node) -> bool:
    """Whether a number is written out."""
    if isinstance(node, nodes.Arithmetic):
        return _fixed(node.left) and _fixed(node.right)
    return isinstance(node.item if isinstance(node, nodes.Unary) else node, nodes.Literal)


def _parts(node: Node) -> Iterator[Node]:
    """A tree and all that it is made of."""
    yield node
    for field in fields(node):
        held = getattr(node, field.name)
        for one in held if isinstance(held, tuple) else (held,):
            if isinstance(one, Node):
                yield from _parts(one)


def _joined(node: Node) -> str | None:
    if isinstance(node, nodes.Not):
        return _NOT if _bare(node.item, True, False) else _joined(node.item)
    if isinstance(node, nodes.And) and any(map(_bare, node.items)):
        return _AND
    if isinstance(node, nodes.Or) and any(_bare(item, False) for item in node.items):
        return _OR
    items = node.items if isinstance(node, nodes.And | nodes.Or) else ()
    return next((said for said in map(_joined, items) if said is not None), None)


def _bare(node: Node, *values: bool) -> bool:
    """Whether a part is a field or a path by itself, or one of some truth values."""
    literal = isinstance(node, nodes.Literal) and isinstance(node.value, bool) and node.value in values
    return literal or isinstance(node, nodes.Name | nodes.Item)


def _conditions(node: Node) -> Iterator[Node]:
    if isinstance(node, nodes.And | nodes.Or):
        for item in node.items:
            yield from _conditions(item)
    elif isinstance(node, nodes.Not):
        yield from _conditions(node.item)
    else:
        yield node


def _decimals(node: Node) -> list[float]:
    """The numbers of a list that have a point."""
    if isinstance(node, nodes.Literal) and isinstance(node.value, list | tuple):
        return [value for value in node.value if isinstance(value, float)]
    values = map(_number, node.items) if isinstance(node, nodes.Array) else ()
    return [value for value in values if value is not None]


def _number(node: Node) -> float | None:
    if isinstance(node, nodes.Unary) and node.op == "-":
        value = _number(node.item)
        return None if value is None else -value
    return node.value if isinstance(node, nodes.Literal) and isinstance(node.value, float) else None


def _truth(schema: Schema, node: nodes.Name | nodes.Item | nodes.Literal) -> str | None:
    """The type of what could be a truth value; None of what the engine refuses by itself."""
    if isinstance(node, nodes.Literal):
        return "Bool" if isinstance(node.value, bool) else None
    if isinstance(node, nodes.Name) and node.name in schema.names:
        return {DataType.BOOL: "Bool", DataType.JSON: "JSON"}.get(schema.field(node.name).type.data_type)
    return "JSON" if _is_json(schema, node) else None


def _is_json(schema: Schema, node: Node) -> bool:
    while isinstance(node, nodes.Item):
        node = node.of
    if not isinstance(node, nodes.Name):
        return False
    if node.name not in schema.names:
        return schema.dynamic
    return schema.field(node.name).type.data_type is DataType.JSON
