"""The tree of a filter as it is written: frozen values, each with its position in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "And",
    "Arithmetic",
    "Array",
    "Call",
    "Cast",
    "Compare",
    "Element",
    "Exists",
    "Filter",
    "In",
    "Interval",
    "IsNull",
    "Item",
    "Like",
    "Literal",
    "Moment",
    "Name",
    "Node",
    "Not",
    "Option",
    "Or",
    "Unary",
]


@dataclass(frozen=True)
class Literal:
    """A number, text, truth value or bytes; a list where a template gives one."""

    value: Any
    position: int


@dataclass(frozen=True)
class Moment:
    """`ISO '2025-01-01T00:00:00Z'`."""

    text: str
    position: int


@dataclass(frozen=True)
class Interval:
    """`INTERVAL 'P1DT2H'`."""

    text: str
    position: int


@dataclass(frozen=True)
class Array:
    """A list of expressions."""

    items: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Name:
    """A field, or a key of a dynamic schema."""

    name: str
    position: int


@dataclass(frozen=True)
class Element:
    """`$`: the element that a condition on elements is about."""

    position: int


@dataclass(frozen=True)
class Item:
    """`of[key]`: a JSON member, an array element, or a member of structs, whose key is a bare name."""

    of: Node
    key: str | int | Name
    position: int


@dataclass(frozen=True)
class Unary:
    """`op item`, op one of - ~."""

    op: str
    item: Node
    position: int


@dataclass(frozen=True)
class Arithmetic:
    """`left op right`, op one of + - * / % ** & | ^ << >>."""

    op: str
    left: Node
    right: Node
    position: int


@dataclass(frozen=True)
class Compare:
    """`left op right`, op one of == != < <= > >=."""

    op: str
    left: Node
    right: Node
    position: int


@dataclass(frozen=True)
class In:
    """`item in values`."""

    item: Node
    values: Node
    position: int


@dataclass(frozen=True)
class Like:
    """`item like pattern`, or `item =~ pattern` where `regex`."""

    item: Node
    pattern: Node
    regex: bool
    position: int


@dataclass(frozen=True)
class IsNull:
    """`item is null`."""

    item: Node
    position: int


@dataclass(frozen=True)
class Exists:
    """`exists path`: a JSON path that has a value."""

    item: Node
    position: int


@dataclass(frozen=True)
class Option:
    """`name=value` among the arguments of a function."""

    name: str
    value: Node
    position: int


@dataclass(frozen=True)
class Call:
    """`function(arguments)`; the name in lower case."""

    function: str
    arguments: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Cast:
    """`cast(item as type)`."""

    item: Node
    type: str
    position: int


@dataclass(frozen=True)
class Not:
    """`not item`."""

    item: Node
    position: int


@dataclass(frozen=True)
class And:
    """All items hold."""

    items: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Or:
    """Some item holds."""

    items: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Filter:
    """A whole filter: its tree and its text, which errors point into."""

    node: Node
    text: str


Node = (
    Literal
    | Moment
    | Interval
    | Array
    | Name
    | Element
    | Item
    | Unary
    | Arithmetic
    | Compare
    | In
    | Like
    | IsNull
    | Exists
    | Option
    | Call
    | Cast
    | Not
    | And
    | Or
)
