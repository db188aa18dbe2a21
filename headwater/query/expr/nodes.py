"""The tree of a filter: frozen values, each with its position in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "And",
    "Arithmetic",
    "Array",
    "Call",
    "Compare",
    "Exists",
    "In",
    "IsNull",
    "Item",
    "Like",
    "Literal",
    "Name",
]
__all__ += ["Node", "Not", "Or"]


@dataclass(frozen=True)
class Literal:
    """A number, text, truth value or list."""

    value: Any
    position: int


@dataclass(frozen=True)
class Array:
    """A list of expressions, each a literal once templates are filled in."""

    items: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class Name:
    """A field."""

    name: str
    position: int


@dataclass(frozen=True)
class Item:
    """`of[key]`: a JSON member or an array element."""

    of: Node
    key: str | int
    position: int


@dataclass(frozen=True)
class Arithmetic:
    """`left op right`, op one of + - * / % **."""

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
    """`item like pattern`, with % for any text and _ for one character."""

    item: Node
    pattern: Node
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
class Call:
    """`function(arguments)`."""

    function: str
    arguments: tuple[Node, ...]
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


Node = (
    Literal | Array | Name | Item | Arithmetic | Compare | In | Like | IsNull | Exists | Call | Not | And | Or
)
