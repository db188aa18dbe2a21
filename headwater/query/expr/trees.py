"""The work of `parse`: Lark's tree of a filter, made one of ours.

Apart, since Lark takes long to import and only who filters needs it.
"""

from __future__ import annotations

import datetime
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from lark import Lark, Token, Transformer, Tree, v_args
from lark.exceptions import UnexpectedInput, UnexpectedToken, VisitError

from headwater.errors import FilterSyntax, HeadwaterError
from headwater.query.expr import literals, nodes, tables
from headwater.query.expr.nodes import Node
from headwater.query.expr.parse import syntax_error

__all__ = ["tree_of"]

MAX_LENGTH = 1 << 20
MAX_WITH_LISTS = 1 << 25
LIST_WEIGHT = 32
LONGEST_KEPT = 4096
MAX_DEPTH = 100
MAX_LIST = 1 << 20


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return tables.parser()


@lru_cache(maxsize=1)
def _literals() -> re.Pattern[str]:
    return re.compile(_parser().get_terminal("LITERALS").pattern.to_regexp())


@lru_cache(maxsize=256)
def _kept(text: str) -> Tree[Token]:
    """Lark's tree of a short filter; the same for all values of its templates."""
    return _parser().parse(text)


def tree_of(text: str, params: Mapping[str, Any]) -> nodes.Filter:
    """See `headwater.query.expr.parse.parse`."""
    if len(text) > MAX_LENGTH:
        _check_length(text)
    try:
        tree = _kept(text) if len(text) <= LONGEST_KEPT else _parser().parse(text)
        node: Node = _Build(text, params).transform(tree)
    except UnexpectedInput as error:
        position = (
            error.pos_in_stream if error.pos_in_stream is not None and error.pos_in_stream >= 0 else len(text)
        )
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            advice: str | None = "something is missing at the end"
        else:
            advice = _advice(text, position)
        raise syntax_error("the filter is not understood", text, position, advice) from error
    except VisitError as error:
        if isinstance(error.orig_exc, HeadwaterError):
            raise error.orig_exc from error
        if isinstance(error.orig_exc, RecursionError):
            raise syntax_error("the filter is nested too deeply", text, 0) from error
        raise
    except RecursionError as error:
        raise syntax_error("the filter is nested too deeply", text, 0) from error
    if _deeper_than(node, MAX_DEPTH):
        raise syntax_error(f"the filter is nested more than {MAX_DEPTH} deep", text, 0)
    return nodes.Filter(node, text)


def _check_length(text: str) -> None:
    """Bound what a long text costs to parse: a list of literals is one token."""
    if len(text) <= MAX_WITH_LISTS:
        outside = _literals().sub(" " * LIST_WEIGHT, text)
        if len(outside) <= MAX_LENGTH:
            return
    raise FilterSyntax(
        f"the filter has {len(text)} characters: {MAX_LENGTH} at most beside lists of literals, "
        f"{MAX_WITH_LISTS} with them",
        hint="put long lists in as {templates}",
        position=min(len(text), MAX_LENGTH),
    )


def _advice(text: str, position: int) -> str | None:
    """What a reader of SQL or Python may have meant there."""
    rest = text[position:].lstrip()
    if rest.startswith("=") or (rest.startswith(">") and text[:position].rstrip().endswith("<")):
        return "== is equal, != is not equal"
    word = re.match(r"\w*", rest)
    if word and word.group().lower() in ("between", "is", "contains", "startswith"):
        return "such as 2000 <= year <= 2010, title is null, title like 'abc%'"
    return None


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

    def _error(self, message: str, meta: Any, hint: str | None = None) -> FilterSyntax:
        return syntax_error(message, self._text, meta.start_pos, hint)

    def any_of(self, meta: Any, items: list[Node]) -> Node:
        # Programs write ((a or b) or c): as one, it is as deep as it is hard.
        parts = (one.items if isinstance(one, nodes.Or) else (one,) for one in items)
        return nodes.Or(tuple(itertools.chain.from_iterable(parts)), meta.start_pos)

    def all_of(self, meta: Any, items: list[Node]) -> Node:
        parts = (one.items if isinstance(one, nodes.And) else (one,) for one in items)
        return nodes.And(tuple(itertools.chain.from_iterable(parts)), meta.start_pos)

    def negate(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(items[-1], meta.start_pos)

    def equality(self, meta: Any, items: list[Any]) -> Node:
        left = items[0]
        for i in range(1, len(items), 2):
            left = nodes.Compare(str(items[i]), left, items[i + 1], items[i].start_pos)
        return left  # type: ignore[no-any-return]

    def relation(self, meta: Any, items: list[Any]) -> Node:
        operators = items[1::2]
        if len({str(one)[0] for one in operators}) > 1:
            raise self._error(
                "a chain of comparisons goes one way, such as 1 < x <= 5", meta, "join the two with and"
            )
        pairs = [
            nodes.Compare(str(items[i]), items[i - 1], items[i + 1], items[i].start_pos)
            for i in range(1, len(items), 2)
        ]
        return pairs[0] if len(pairs) == 1 else nodes.And(tuple(pairs), meta.start_pos)

    def member(self, meta: Any, items: list[Any]) -> Node:
        return nodes.In(items[0], items[1], meta.start_pos)

    def not_member(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(self.member(meta, items), meta.start_pos)

    def like(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Like(items[0], items[1], False, meta.start_pos)

    def not_like(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(self.like(meta, items), meta.start_pos)

    def matches(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Like(items[0], items[1], True, meta.start_pos)

    def not_matches(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Not(self.matches(meta, items), meta.start_pos)

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
        sign, item = str(items[0]), items[1]
        return item if sign == "+" else nodes.Unary(sign, item, meta.start_pos)

    def power(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Arithmetic("**", items[0], items[1], meta.start_pos)

    def item(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Item(items[0], items[1], meta.start_pos)

    def subscript(self, meta: Any, items: list[Token]) -> str | int | nodes.Name:
        token = items[0]
        if token.type == "NAME":
            return nodes.Name(str(token), meta.start_pos)
        return self._integer(token, meta) if token.type == "INT" else self._unquoted(token, meta)

    def call(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Call(str(items[0]).lower(), tuple(items[1:]), meta.start_pos)

    def cast(self, meta: Any, items: list[Any]) -> Node:
        if str(items[0]).lower() != "cast":
            raise self._error(f"only cast takes `as`, not {items[0]}", meta, "cast(x as double)")
        return nodes.Cast(items[1], str(items[2]).lower(), meta.start_pos)

    def option(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Option(str(items[0]).lower(), items[1], meta.start_pos)

    def array(self, meta: Any, items: list[Any]) -> Node:
        return nodes.Array(tuple(items), meta.start_pos)

    def literals(self, meta: Any, items: list[Token]) -> Node:
        values = []
        for one in literals.listed(items[0]):
            try:
                values.append(literals.value(*one.groups()))
            except ValueError as error:
                raise syntax_error(str(error), self._text, meta.start_pos + one.start()) from error
        if len(values) > MAX_LIST:
            raise self._error(f"the list has {len(values)} values, {MAX_LIST} at most", meta)
        return nodes.Literal(tuple(values), meta.start_pos)

    def template(self, meta: Any, items: list[Token]) -> Node:
        name = str(items[0])
        if name not in self._params:
            given = ", ".join(self._params) or "none"
            raise self._error(f"template {{{name}}} has no value", meta, f"given: {given}")
        value = self._params[name]
        if isinstance(value, set | frozenset):
            value = list(value)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, list | tuple):
            if len(value) > MAX_LIST:
                raise self._error(f"template {{{name}}} has {len(value)} values, {MAX_LIST} at most", meta)
            return nodes.Literal(tuple(value), meta.start_pos)
        if isinstance(value, datetime.datetime):
            return nodes.Moment(value.isoformat(), meta.start_pos)
        return nodes.Literal(value, meta.start_pos)

    def moment(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Moment(self._unquoted(items[1], meta), meta.start_pos)

    def interval(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Interval(self._unquoted(items[1], meta), meta.start_pos)

    def float(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(literals.real(items[0]), meta.start_pos)

    def integer(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(self._integer(items[0], meta), meta.start_pos)

    def string(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(self._unquoted(items[0], meta), meta.start_pos)

    def true(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(True, meta.start_pos)

    def false(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Literal(False, meta.start_pos)

    def name(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Name(str(items[0]), meta.start_pos)

    def quoted_name(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Name(str(items[0])[1:-1], meta.start_pos)

    def self(self, meta: Any, items: list[Token]) -> Node:
        return nodes.Element(meta.start_pos)

    def _integer(self, token: Token, meta: Any) -> int:
        try:
            return literals.integer(str(token))
        except ValueError as error:
            raise self._error(str(error), meta) from error

    def _unquoted(self, token: Token, meta: Any) -> str:
        try:
            return literals.unquoted(str(token))
        except ValueError as error:
            raise self._error(str(error), meta) from error
