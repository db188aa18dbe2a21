"""What a condition asks of a scalar index."""

from __future__ import annotations

import datetime
from typing import Any

from headwater.index.json_paths import JsonPath
from headwater.index.predicates import HasAll, HasAny, IsNull, Matches, OneOf, Predicate, Range, Spatial
from headwater.query.expr import terms
from headwater.query.expr.terms import Const, Kind, Value

__all__ = ["Probe", "probe"]

Probe = tuple[str, JsonPath, Predicate]
"""Field, path in it, and what is asked."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def probe(condition: terms.Condition) -> Probe | None:
    """The question that answers a condition, None where there is none.

    `!=` asks for what is equal; the caller turns the answer round.
    """
    if isinstance(condition, terms.Compare) and isinstance(condition.right, Const):
        return _asked(condition.left, _comparison(condition.op, condition.left, condition.right))
    if isinstance(condition, terms.Between):
        low, high = (_value(condition.of, one.value) for one in (condition.low, condition.high))
        return _asked(condition.of, Range(low, high, condition.low_inclusive, condition.high_inclusive))
    if isinstance(condition, terms.Member):
        if not _askable(condition.values):
            return None
        return _asked(condition.of, OneOf(tuple(_value(condition.of, one) for one in condition.values)))
    if isinstance(condition, terms.Pattern):
        return _asked(condition.of, Matches(condition.pattern, condition.regex))
    if isinstance(condition, terms.NullTest):
        return _asked(condition.of, IsNull())
    if isinstance(condition, terms.Contains):
        if not _askable(condition.values) or _moments(condition.of):
            return None
        return _asked(condition.of, (HasAll if condition.every else HasAny)(condition.values))
    if isinstance(condition, terms.Holds):
        return _asked(condition.of, OneOf((True,)))
    if isinstance(condition, terms.Empty):
        return _asked(condition.of, OneOf(("",)))
    if isinstance(condition, terms.Spatial):
        spatial = Spatial(condition.relation, condition.wkb, condition.distance_m)
        return condition.name, (), spatial
    return None


def _askable(values: tuple[Any, ...]) -> bool:
    return bool(values) and not any(isinstance(one, tuple) for one in values)


def _moments(of: Value) -> bool:
    element = of.type.element if isinstance(of, terms.Column) else None
    return element is not None and terms.kind_of_type(element) is Kind.MOMENT


def _asked(of: Value, predicate: Predicate | None) -> Probe | None:
    if predicate is None:
        return None
    if isinstance(of, terms.Column) and of.kind is not Kind.STRUCTS:
        return of.name, (), predicate
    return (of.name, of.path, predicate) if isinstance(of, terms.JsonAt) else None


def _comparison(op: str, of: Value, const: Const) -> Predicate | None:
    if const.kind is Kind.LIST:
        return None
    value = _value(of, const.value)
    if op in ("==", "!="):
        return OneOf((value,))
    if op[0] == "<":
        return Range(None, value, True, op == "<=")
    return Range(value, None, op == ">=", True)


def _value(of: Value, value: Any) -> Any:
    """A value as an index knows it: timestamps are those of Python."""
    if of.kind is Kind.MOMENT and isinstance(value, int):
        try:
            return _EPOCH + datetime.timedelta(microseconds=value)
        except OverflowError:
            return (
                datetime.datetime.max.replace(tzinfo=datetime.UTC)
                if value > 0
                else _EPOCH.min.replace(tzinfo=datetime.UTC)
            )
    return value
