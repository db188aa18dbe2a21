"""Filters that do not parse or bind, in Milvus's words: these come first, and ours, with the position, after them."""

from __future__ import annotations

import re

from headwater.doors.milvus.codes import INVALID_PARAMETER, MilvusError
from headwater.errors import FilterSyntax

__all__ = ["filter_error"]

_KINDS = {"integer": "Int64", "number": "Double", "text": "VarChar", "json": "JSON", "array": "Array"}
"""How Milvus calls what a filter is where it is no condition, by the words of our errors."""
_JOINS = (
    (re.compile(r"\band\b|&&", re.IGNORECASE), "'and' can only be used between boolean expressions"),
    (re.compile(r"\bor\b|\|\|", re.IGNORECASE), "'or' can only be used between boolean expressions"),
    (re.compile(r"\bnot\b|!(?!=)", re.IGNORECASE), "not op can only be applied on boolean expression"),
)
_REGEX = (
    (re.compile(r"=~ needs text, got .*\(array\)"), "can not comparisons array fields directly"),
    (re.compile(r"=~ needs text, got"), "regex match on non-string or non-json field"),
    (
        re.compile(r"=~ needs a text pattern"),
        "the pattern of =~ must be a string literal or template variable",
    ),
    (re.compile(r"not a regular expression of RE2.*missing \)"), "invalid regex pattern: missing closing )"),
    (re.compile(r"not a regular expression of RE2"), "invalid regex pattern"),
)
"""What Milvus says of a regular expression that does not go, by our words."""
_FIELD = re.compile(r"unknown field '(?P<name>[^']*)'")


def filter_error(expr: str, error: FilterSyntax) -> MilvusError:
    """A filter that does not parse or bind.

    Args:
        expr: the filter.
        error: what is wrong with it.
    """
    ours = error.message
    if ours.startswith("expected a condition"):
        said = next((said for join, said in _JOINS if join.search(expr)), None)
        if said is None:
            line = ours.split("\n")[0]
            kind = next((name for word, name in _KINDS.items() if word in line), "Int64")
            return _refused(f"predicate is not a boolean expression: {expr}, data type: {kind}")
        ours = f"{said}: {ours}"
    elif ours.startswith("the filter is not understood"):
        ours = f"invalid expression: {expr}: {ours}"
    elif ours.startswith("expected a list"):
        ours = f"the right-hand side of 'in' must be a list: {ours}"
    elif said := next((said for known, said in _REGEX if known.match(ours)), None):
        ours = f"{said}: {ours}"
    elif unknown := _FIELD.match(ours):
        ours = f"field {unknown['name']} not exist: {ours}"
    return _refused(f"cannot parse expression: {expr}, error: {ours}")


def _refused(said: str) -> MilvusError:
    return MilvusError(INVALID_PARAMETER, f"failed to create query plan: {said}")
