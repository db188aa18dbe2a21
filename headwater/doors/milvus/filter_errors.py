"""Filters that do not parse or bind, in Milvus's words: these come first, and ours, with the position, after them."""

from __future__ import annotations

import ast
import json
import re

from headwater.doors.milvus.codes import INVALID_PARAMETER, MilvusError, unexpected
from headwater.doors.milvus.index_types import DATA_TYPE_NAMES
from headwater.errors import FilterSyntax
from headwater.types import DataType

__all__ = ["filter_error", "refused"]

_KINDS = {
    "integer": "Int64",
    "number": "Double",
    "text": "VarChar",
    "bool": "Bool",
    "json": "JSON",
    "array": "Array",
    "timestamp": "Timestamptz",
}
"""How Milvus calls what a filter is where it is no condition, by the words of our errors."""
_JOINS = (
    (re.compile(r"\band\b|&&", re.IGNORECASE), "'and' can only be used between boolean expressions"),
    (re.compile(r"\bor\b|\|\|", re.IGNORECASE), "'or' can only be used between boolean expressions"),
    (re.compile(r"\bnot\b|!(?!=)", re.IGNORECASE), "not op can only be applied on boolean expression"),
)
_WORDS = (
    (re.compile(r"NULL is no value|null is no value"), "NULL literal is not supported in expressions"),
    (re.compile(r"=~ needs text, got .*\(array\)"), "can not comparisons array fields directly"),
    (re.compile(r"=~ needs text, got"), "regex match on non-string or non-json field"),
    (
        re.compile(r"=~ needs a text pattern"),
        "the pattern of =~ must be a string literal or template variable",
    ),
    (re.compile(r"not a regular expression of RE2.*missing \)"), "invalid regex pattern: missing closing )"),
    (re.compile(r"not a regular expression of RE2"), "invalid regex pattern"),
    (
        re.compile(r"(\w*_match\w*): needs a text, got"),
        r"\1 query should be a string literal or template variable",
    ),
    (
        re.compile(r"(\w*_match\w*): needs a varchar or text field"),
        r"\1 operation on non-string is unsupported",
    ),
    (
        re.compile(r"st_\w+: needs a geometry field"),
        "spatial operation are only supported on geometry fields",
    ),
    (re.compile(r"\w+_match\w*: field '(\w+)' has no analyzer"), r'field "\1" does not enable match'),
    (
        re.compile(r"text_match: minimum_should_match must be an integer of at least 1, got (-?\d+),"),
        r"minimum_should_match should be >= 1, got \1",
    ),
    (
        re.compile(r"text_match: minimum_should_match must be an integer"),
        "mismatched input, expecting IntegerConstant",
    ),
    (
        re.compile(r"phrase_match: slop must be an integer of at least 0, got (-\d+),"),
        r'"slop" should not be a negative interger. "slop" passed: \1',
    ),
    (
        re.compile(r"phrase_match: slop must be an integer|phrase_match needs a number"),
        '"slop" should be a const integer expression with "uint32" value',
    ),
    (
        re.compile(r"random_sample stands last.*\bor\b", re.DOTALL | re.IGNORECASE),
        "random sample expression cannot be used in logical and expression",
    ),
    (
        re.compile(r"random_sample stands last.*(?:\bnot\b|!)", re.DOTALL | re.IGNORECASE),
        "random sample expression cannot be used in unary expression",
    ),
    (
        re.compile(r"random_sample stands last"),
        "random sample expression can only be the last expression in the logical and expression",
    ),
    (
        re.compile(r"exists needs a JSON path"),
        "exists operations are only supportted on json field",
    ),
    (
        re.compile(r"an array is indexed by a number"),
        "can only access array field with integer index",
    ),
    (re.compile(r"\[\.\.\.\] needs a JSON"), "data type not supported accessed with []"),
    (
        re.compile(r"\S+ needs (?:numbers|values that have an order), got field '\w+' \(array\)"),
        "can not comparisons array fields directly",
    ),
    (re.compile(r"\S+ needs numbers, got"), "cannot perform arithmetic between such values"),
    (re.compile(r".*max_edit_distance.* got -?\d+,"), "max_edit_distance should be in [0, 2]"),
    (re.compile(r"text_match_fuzzy: allows at most"), "max_edit_distance should be in [0, 2]"),
    (re.compile(r".*max_edit_distance must be an integer"), "mismatched input, expecting IntegerConstant"),
    (re.compile(r"match_\w+: threshold must be an integer"), "mismatched input, expecting IntegerConstant"),
    (
        re.compile(r".*array_length\s*\(\s*\w+\s*\[\s*\d+\s*\]\s*\[", re.DOTALL),
        "mismatched input, expecting a field or the member of one",
    ),
    (
        re.compile(r"integer \d+ does not fit 64 bits.*max_edit_distance", re.DOTALL),
        "invalid max_edit_distance value",
    ),
)
"""What Milvus says of patterns and searched words that do not go, by our words."""
_NEGATED_LIST = re.compile(r"\bin\s+not\b", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"\bin\s*(\([^()]*\))", re.IGNORECASE)
_IN_TEMPLATE = re.compile(r"\bin\s*(?P<name>\{\w+\})", re.IGNORECASE)
_NO_VALUE = re.compile(r"template (?P<name>\{\w+\}) has no value")
_WORD = re.compile(r"[^,\]\s]+")
_NON_CONST = "value '{}' in list cannot be a non-const expression"
_COMPARED = re.compile(r"cannot compare (?P<left>.+?) with (?P<right>.+?)(?=, at position)")
_NAMED = re.compile(r"field '(?P<name>[^']*)' \((?P<kind>[\w ]+)\)")
_FIELD = re.compile(r"unknown field '(?P<name>[^']*)'")
_MEMBER = re.compile(r"unknown member '(?P<member>[^']*)' of '(?P<name>[^']*)'")
_MEMBER_OF = re.compile(r"\w+\s*(?:\[\s*\d+\s*\]\s*)?\[\s*[A-Za-z_]\w*\s*\]")
"""A member, such as `clips[start]` or `clips[0][start]`."""


def filter_error(expr: str, error: FilterSyntax, plan: str = "query") -> MilvusError:
    """A filter that does not parse or bind.

    Args:
        expr: the filter.
        error: what is wrong with it.
        plan: what it is for, `query` or `delete`.
    """
    ours = error.message
    unknown, member = _FIELD.match(ours), _MEMBER.match(ours)
    written = _MEMBER_OF.match(expr, error.details.get("position", 0)) if unknown or member else None
    if written is not None:
        ours = f"struct field not found: {written[0]}: {ours}"
    elif member:
        ours = f"array field not found: {member['name']}[{member['member']}]: {ours}"
    elif element := error.details.get("element"):
        ours = f"cannot cast value to {DATA_TYPE_NAMES[element]}: {ours}"
    elif listed := error.details.get("listed"):
        into, held = (DATA_TYPE_NAMES[one] for one in listed)
        ours = f"value of {held} in list cannot be casted to {into}: {ours}"
    elif types := error.details.get("types"):
        ours = f"{_compared(*types)}: {_COMPARED.sub(_sides, ours)}"
    elif ours.startswith("expected a condition"):
        said = next((said for join, said in _JOINS if join.search(expr)), None)
        if said is None:
            line = ours.split("\n")[0]
            kind = next((name for word, name in _KINDS.items() if word in line), "Int64")
            return refused(f"predicate is not a boolean expression: {expr}, data type: {kind}", plan)
        ours = f"{said}: {ours}"
    elif ours.startswith("the filter is not understood"):
        if _NEGATED_LIST.search(expr):
            return refused(f"cannot parse expression: {expr}, error: not can only apply on boolean", plan)
        ours = f"invalid expression: {expr}: {ours}"
    elif valueless := _NO_VALUE.match(ours):
        return refused(
            f"the value of expression template variable name {valueless['name']} is not found", plan
        )
    elif ours.startswith("expected a list") and (named := _IN_TEMPLATE.search(expr)):
        return refused(f"the value of term expression template variable {named['name']} is not array", plan)
    elif ours.startswith("unknown function"):
        return unexpected(f"Create retrieve plan by expr failed: {ours}")
    elif ours.startswith("expected a list"):
        put = _IN_BRACKETS.search(expr)
        said = "the right-hand side of 'in' must be a list" if put is None else _NON_CONST.format(put[1])
        ours = f"{said}: {ours}"
    elif ours.startswith("a list holds literals only"):
        found = _WORD.match(expr, error.details.get("position", 0))
        ours = f"{_NON_CONST.format('' if found is None else found[0])}: {ours}"
    elif said := next((met.expand(said) for known, said in _WORDS if (met := known.match(ours))), None):
        ours = f"{said}: {ours}"
    elif unknown:
        ours = f"field {unknown['name']} not exist: {ours}"
    return refused(f"cannot parse expression: {expr}, error: {ours}", plan)


def _compared(left: DataType, right: DataType) -> str:
    if DataType.ARRAY in (left, right):
        return "can not comparisons array fields directly"
    return f"comparisons between {DATA_TYPE_NAMES[left]} and {DATA_TYPE_NAMES[right]} are not supported"


def _sides(compared: re.Match[str]) -> str:
    return f"comparisons between {_side(compared['left'])} and {_side(compared['right'])} are not supported"


def _side(shown: str) -> str:
    """One side of a comparison, as our errors show it, with its type in Milvus's words."""
    if field := _NAMED.fullmatch(shown):
        return f"{field['name']} ({_KINDS.get(field['kind'], field['kind'])})"
    try:
        value = ast.literal_eval(shown)
    except (SyntaxError, ValueError):
        return shown
    kinds = {bool: "Bool", int: "Int64", float: "Double", str: "VarChar"}
    return f"{json.dumps(value)} ({kinds.get(type(value), 'Array')})"


def refused(said: str, plan: str = "query") -> MilvusError:
    """A filter that does not go.

    Args:
        said: what is wrong with it.
        plan: what it is for, `query` or `delete`.
    """
    return MilvusError(INVALID_PARAMETER, f"failed to create {plan} plan: {said}")
