"""Collections that are searched one value of the partition key at a time: whether a filter asks for one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.errors import InvalidArgument
from headwater.query.expr.nodes import And, Compare, In, Item, Name, Node, Not, Or
from headwater.query.expr.parse import parse

__all__ = ["check_isolated"]

_WORDS = {
    "!=": "NotEqual",
    "<": "LessThan",
    "<=": "LessEqual",
    ">": "GreaterThan",
    ">=": "GreaterEqual",
}


def check_isolated(text: str | None, params: Mapping[str, Any] | None, key: str) -> None:
    """Check that a filter asks for one value of a field, by ``key == value``, whatever else it asks.

    Args:
        text: the filter.
        params: values of its templates.
        key: the partition key.

    Raises:
        InvalidArgument: it does not.
    """
    tree = parse(text, params) if text is not None and text.strip() else None
    if tree is None or not _asks_for_one(tree.node, key):
        raise InvalidArgument(
            "partition key not found in expr or the expr is invalid when validating partition key isolation",
            hint=f"say {key} == value in the filter",
        )


def _asks_for_one(node: Node, key: str) -> bool:
    if isinstance(node, And):
        return any([_asks_for_one(item, key) for item in node.items])
    if isinstance(node, Or):
        if any([_asks_for_one(item, key) for item in node.items]):
            raise InvalidArgument("partition key isolation does not support OR")
        return False
    if isinstance(node, Not):
        if _asks_for_one(node.item, key):
            raise InvalidArgument("partition key isolation does not support NOT")
        return False
    if isinstance(node, In):
        if _is_key(node.item, key):
            raise InvalidArgument("partition key isolation does not support IN")
        return False
    if isinstance(node, Compare):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if _is_key(one, key) and not isinstance(other, Name | Item):
                if node.op != "==":
                    raise InvalidArgument(f"partition key isolation does not support {_WORDS[node.op]}")
                return True
    return False


def _is_key(node: Node, key: str) -> bool:
    return isinstance(node, Name) and node.name == key
