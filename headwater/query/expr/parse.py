"""Text of a filter to a tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput, VisitError

from headwater.errors import FilterSyntax, HeadwaterError
from headwater.query.expr import nodes
from headwater.query.expr.nodes import Node

__all__ = ["parse", "syntax_error"]

MAX_LENGTH = 1 << 20
MAX_DEPTH = 100


def syntax_error(message: str, text: str | None, position: int, hint: str | None = None) -> FilterSyntax:
    """A `FilterSyntax` that shows where."""
    if text is not None:
        start, stop = max(0, position - 40), position + 40
        message = f"{message}, at position {position}:\n  {text[start:stop]}\n  {' ' * (position - start)}^"
    return FilterSyntax(message, hint=hint, position=position)


@lru_cache(maxsize=1)
def _parser() -> Lark:
    grammar = resources.files("headwater.query.expr").joinpath("grammar.lark").read_text()
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse(text: str, params: Mapping[str, Any] | None = None) -> Node:
    """The tree of a filter.

    Args:
        text: such as ``year >= 2020 and lang in ["en", "de"]``.
        params: values of ``{name}`` templates.

    Raises:
        FilterSyntax: the text is not a filter, or a template has no value; `details["position"]` says where.
    """
    if len(text) > MAX_LENGTH:
        raise FilterSyntax(
            f"the filter has {len(text)} characters, {MAX_LENGTH} at most", position=MAX_LENGTH
        )
    try:
        tree = _parser().parse(text)
        node: Node = _Build(text, params or {}).transform(tree)
    except UnexpectedInput as error:
        position = (
            error.pos_in_stream if error.pos_in_stream is not None and error.pos_in_stream >= 0 else len(text)
        )
        raise syntax_error("the filter is not understood", text, position) from error
    except VisitError as error:
        if isinstance(error.orig_exc, HeadwaterError):
            raise error.orig_exc from error
        raise
    except RecursionError as error:
        raise syntax_error("the filter is nested too deeply", text, 0) from error
    if _deeper_than(node, MAX_DEPTH):
        raise syntax_error(f"the filter is nested more than {MAX_DEPTH} deep", text, 0)
    return node


def _deeper_than(node: Node, limit: int) -> bool:
    level: list[Any] = [node]
    for _ in range(limit):
        level = [child for one in level for child in _children(one)]
        if not level:
            return False
    return True


def _children(node: Any) -> Iterator[Any]:
    for field in fields(node):
        value = getattr(node, field.name)
        for one in value if isinstance(value, tuple) else (value,):
            if is_dataclass(one):
                yield one


@v_args(meta=True)
class _Build(Transformer[Token, Any]):
    """Lark's tree to ours."""

    def __init__(self, text: str, params: Mapping[str, Any]) -> None:
        super().__init__()
        self._text = text
        self._params = params

    def any_of(self, meta: Any, items: list[Node]) -> Node:
        return nodes.Or(tuple(items), meta.start_pos)

    def all_of(self, meta: Any, items: list[Node]) -> Node:
        return nodes.And(tuple(items), meta.start_pos)

    def negate(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(items[-1], meta.start_pos)

    def compare(self, meta: Any, items: list[Any]) -> Node:
        pairs = [
            nodes.Compare(str(items[i + 1]), items[i], items[i + 2], items[i + 1].start_pos)
            for i in range(0, len(items) - 2, 2)
        ]
        return pairs[0] if len(pairs) == 1 else nodes.And(tuple(pairs), meta.start_pos)

    def member(self, meta: Any, items: list[Any]) -> Node:
        return nodes.In(items[0], items[1], meta.start_pos)

    def not_member(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(nodes.In(items[0], items[1], meta.start_pos), meta.start_pos)

    def like(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Like(items[0], items[1], meta.start_pos)

    def is_null(self, meta: Any, items: list[Any]) -> Node:
        return nodes.IsNull(items[0], meta.start_pos)

    def is_not_null(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(nodes.IsNull(items[0], meta.start_pos), meta.start_pos)

    def exists(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Exists(items[0], meta.start_pos)

    def arithmetic(self, meta: Any, items: list[Any]) -> Node:
        left = items[0]
        for i in range(1, len(items), 2):
            left = nodes.Arithmetic(str(items[i]), left, items[i + 1], items[i].start_pos)
        return left  # type: ignore[no-any-return]

    def signed(self, meta: Any, items: list[Any]) -> Node:
        sign, item = items
        if sign == "+":
            return item  # type: ignore[no-any-return]
        if isinstance(item, nodes.Literal) and isinstance(item.value, int | float) and item.value is not True:
            return nodes.Literal(-item.value, meta.start_pos)
        return nodes.Arithmetic("-", nodes.Literal(0, meta.start_pos), item, meta.start_pos)

    def power(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Arithmetic("**", items[0], items[1], meta.start_pos)

    def item(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Item(items[0], items[1], meta.start_pos)

    def subscript(self, meta: Any, items: list[Token]) -> str | int:
        return int(items[0]) if items[0].type == "INT" else str(_unquoted(items[0]))

    def call(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Call(str(items[0]).lower(), tuple(items[1:]), meta.start_pos)

    def array(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Array(tuple(items), meta.start_pos)

    def template(self, meta: Any, items: list[Token]) -> Node:
        name = str(items[0])
        if name not in self._params:
            given = ", ".join(self._params) or "none"
            raise syntax_error(
                f"template {{{name}}} has no value", self._text, meta.start_pos, f"given: {given}"
            )
        value = self._params[name]
        if isinstance(value, list | tuple | set):
            return nodes.Array(tuple(nodes.Literal(one, meta.start_pos) for one in value), meta.start_pos)
        return nodes.Literal(value, meta.start_pos)

    def float(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(float(items[0]), meta.start_pos)

    def integer(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(int(items[0]), meta.start_pos)

    def string(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(_unquoted(items[0]), meta.start_pos)

    def true(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(True, meta.start_pos)

    def false(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(False, meta.start_pos)

    def name(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Name(str(items[0]), meta.start_pos)


def _unquoted(token: Token) -> str:
    try:
        return str(ast.literal_eval(str(token)))
    except (SyntaxError, ValueError):
        return str(token)[1:-1]
