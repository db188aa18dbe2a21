"""Evaluate a bound filter over rows: whole arrays at a time, three-valued logic, null means not selected.

A condition is never given a third value: one asks for the rows where it is true, or for those where it is false, and a
row where it is unknown is in neither. `not` turns the question round, so that `and` and `or` stay sets.

In a conjunction, indexes answer first, then what is cheap, and what is expensive looks only at the rows that are still
undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater import trace
from headwater.index.json_paths import JsonValues
from headwater.index.predicates import Answer, IsNull
from headwater.query.expr import patterns, spatial, terms
from headwater.query.expr.bind import Bound, chosen_in
from headwater.query.expr.compare import between, compare, equal_elements, member
from headwater.query.expr.frame import ElementFrame, Frame, RowFrame, bits
from headwater.query.expr.probes import probe
from headwater.query.expr.rows import FilterRows
from headwater.query.expr.terms import Condition, Kind
from headwater.query.expr.values import array_of, lists_of, texts_of
from headwater.schema import Schema
from headwater.types import Bitmap

__all__ = ["evaluate", "evaluate_elements"]

_CHEAP, _TEXTUAL, _NESTED, _DEAR = range(4)
_NARROW_BELOW = (1 / 32, 1 / 8, 1 / 4, 1 / 2)
"""By cost: the share of undecided rows under which taking them out is cheaper than looking at all."""


def evaluate(bound: Bound, rows: FilterRows) -> Bitmap:
    """Which rows a filter selects.

    Args:
        bound: the filter.
        rows: have the columns `bound.fields`.

    Returns:
        (rows,) True where the filter holds; False where it does not or is unknown.
    """
    return _Evaluation(bound.schema).holds(bound.condition, RowFrame(rows), True)


def evaluate_elements(bound: Bound, rows: FilterRows, name: str) -> Bitmap:
    """Which elements of a field of lists a filter means, among those of the rows that it selects.

    Args:
        bound: the filter.
        rows: have the columns `bound.fields`.
        name: the field, one of `Bound.chosen_elements`.

    Returns:
        (elements,) of all rows, one after the other; rows that are null have none. Of rows that the filter does not
        select it says nothing.
    """
    frame, evaluation = RowFrame(rows), _Evaluation(bound.schema)
    lists = lists_of(terms.Column(name, bound.schema.field(name).type, 0), frame)
    assert isinstance(lists.flat, pa.Array)
    first = np.cumsum(lists.lengths) - lists.lengths
    places = np.repeat(lists.starts - first, lists.lengths) + np.arange(int(lists.lengths.sum()))
    elements = ElementFrame(lists.flat)

    def held(condition: Condition) -> Bitmap:
        if isinstance(condition, terms.All):
            every: Bitmap = np.logical_and.reduce([held(item) for item in condition.items])
            return every
        if isinstance(condition, terms.Some):
            some: Bitmap = np.logical_or.reduce([held(item) for item in condition.items])
            return some
        if isinstance(condition, terms.Quantified) and condition.chosen and condition.name == name:
            return evaluation.holds(condition.condition, elements, True)[places]
        return np.repeat(evaluation.holds(condition, frame, True), lists.lengths)

    top = bound.condition
    if isinstance(top, terms.All):
        # The others select rows, which are selected by them already.
        top = terms.All(tuple(item for item in top.items if name in chosen_in(item)))
    return held(top)


class _Evaluation:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def holds(self, condition: Condition, frame: Frame, want: bool) -> Bitmap:
        """(rows,) True where a condition is what is wanted, True or False; rows where it is unknown are neither."""
        if isinstance(condition, terms.Negated):
            return self.holds(condition.item, frame, not want)
        if isinstance(condition, terms.All | terms.Some):
            if isinstance(condition, terms.All) == want:
                return self._every(condition.items, frame, want)
            return self._any(condition.items, frame, want)
        if isinstance(condition, terms.Constant):
            return np.full(frame.num_rows, condition.value == want)
        return self._every((condition,), frame, want)

    # -- logic ------------------------------------------------------------------------------------------------------

    def _every(self, items: Sequence[Condition], frame: Frame, want: bool) -> Bitmap:
        """Rows where each item is what is wanted; a sample is drawn from those of the others."""
        samples = [item for item in items if isinstance(item, terms.Sample)]
        if samples:
            alive = self._every([item for item in items if item not in samples], frame, want)
            for sample in samples:
                alive = _drawn(sample, frame, alive)
            return alive
        return self._each(items, frame, want)

    def _each(self, items: Sequence[Condition], frame: Frame, want: bool) -> Bitmap:
        alive: Bitmap | None = None
        rest: list[Condition] = []
        for item in items:
            answer = self._answer(item, frame, want)
            if answer is None:
                rest.append(item)
                continue
            alive = answer.rows.copy() if alive is None else alive & answer.rows
            if not answer.exact:
                rest.append(item)
        for item in sorted(rest, key=_cost):
            if alive is None:
                alive = self._looked_at(item, frame, want)
                continue
            count = int(np.count_nonzero(alive))
            if count == 0:
                break
            if count <= _NARROW_BELOW[_cost(item)] * frame.num_rows:
                chosen = np.flatnonzero(alive)
                alive[chosen[~self._looked_at(item, frame.narrow(chosen), want)]] = False
            else:
                alive = alive & self._looked_at(item, frame, want)
        return np.full(frame.num_rows, True) if alive is None else alive

    def _any(self, items: Sequence[Condition], frame: Frame, want: bool) -> Bitmap:
        """Rows where some item is what is wanted."""
        found: Bitmap | None = None
        for item in sorted(items, key=_cost):
            if found is None:
                found = self.holds(item, frame, want)
                continue
            open_rows = frame.num_rows - int(np.count_nonzero(found))
            if open_rows == 0:
                break
            if open_rows <= _NARROW_BELOW[_cost(item)] * frame.num_rows:
                chosen = np.flatnonzero(~found)
                found[chosen[self.holds(item, frame.narrow(chosen), want)]] = True
            else:
                found = found | self.holds(item, frame, want)
        return np.full(frame.num_rows, False) if found is None else found

    def _answer(self, condition: Condition, frame: Frame, want: bool) -> Answer | None:
        """What an index says of a condition; None where none says anything."""
        while isinstance(condition, terms.Negated):
            condition, want = condition.item, not want
        asked = probe(condition)
        if asked is None:
            return None
        name, path, predicate = asked
        if isinstance(condition, terms.Compare) and condition.op == "!=":
            want = not want
        plain = want or isinstance(predicate, IsNull) or not path
        json_field = name in self._schema.json_fields
        if not plain or (not want and json_field and not isinstance(predicate, IsNull)):
            # Which rows are unknown only their values tell.
            return None
        answer = frame.indexed(name, path, predicate)
        if answer is None or want:
            return answer
        if not answer.exact:
            return None
        if isinstance(predicate, IsNull):
            return Answer(~answer.rows)
        return Answer(self._present(name, frame) & ~answer.rows)

    def _present(self, name: str, frame: Frame) -> Bitmap:
        if not self._schema.field(name).nullable:
            return np.full(frame.num_rows, True)
        nulls = frame.indexed(name, (), IsNull())
        if nulls is not None and nulls.exact:
            return ~nulls.rows
        present: Bitmap = frame.column(name).is_valid().to_numpy(zero_copy_only=False)
        return present

    # -- leaves -----------------------------------------------------------------------------------------------------

    def _looked_at(self, condition: Condition, frame: Frame, want: bool) -> Bitmap:
        """`_scanned`, as a step that `explain` shows."""
        if not trace.recording():
            return self._scanned(condition, frame, want)
        names = sorted(terms.fields_of(condition))
        with trace.step(
            "scan", condition=type(condition).__name__.lower(), fields=names, rows=frame.num_rows
        ):
            return self._scanned(condition, frame, want)

    def _scanned(self, condition: Condition, frame: Frame, want: bool) -> Bitmap:
        """As `holds`, without asking an index about the condition itself."""
        if isinstance(condition, terms.Negated):
            return self._scanned(condition.item, frame, not want)
        if isinstance(condition, terms.All | terms.Some | terms.Constant):
            return self.holds(condition, frame, want)
        if isinstance(condition, terms.Texts):
            found = frame.matching(condition.name, condition.query)
            return found if want else self._present(condition.name, frame) & ~found
        if isinstance(condition, terms.Quantified):
            return self._quantified(condition, frame, want)
        if isinstance(condition, terms.Contains):
            return _contains(condition, frame, want)
        if isinstance(condition, terms.NullTest):
            missing = _null(condition, frame)
            return missing if want else ~missing
        if isinstance(condition, terms.Holds) and isinstance(condition.of, terms.Truth):
            return self.holds(condition.of.condition, frame, want)
        truth = self._truth(condition, frame)
        return bits(truth) if want else bits(pc.invert(truth))

    def _truth(self, condition: Condition, frame: Frame) -> pa.Array:
        """(rows,) truth values, null where unknown."""
        if isinstance(condition, terms.Compare):
            return self._compare(condition, frame)
        if isinstance(condition, terms.Spatial):
            column = frame.column(condition.name)
            return spatial.related(column, condition.relation, condition.wkb, condition.distance_m)
        if isinstance(condition, terms.Holds):
            found = array_of(condition.of, frame)
            return found.bools if isinstance(found, JsonValues) else found
        return _TRUTHS[type(condition)](condition, frame)

    def _compare(self, condition: terms.Compare, frame: Frame) -> pa.Array:
        """A comparison; conditions among its sides are evaluated first."""
        sides = [
            self._three_valued(side, frame) if isinstance(side, terms.Truth) else None
            for side in (condition.left, condition.right)
        ]
        if sides == [None, None]:
            return compare(condition, frame)
        left, right = (
            side if side is not None else _truths(value, frame)
            for side, value in zip(sides, (condition.left, condition.right), strict=True)
        )
        return (pc.equal if condition.op == "==" else pc.not_equal)(left, right)

    def _three_valued(self, value: terms.Truth, frame: Frame) -> pa.Array:
        true = self.holds(value.condition, frame, True)
        return pa.array(true, mask=~(true | self.holds(value.condition, frame, False)))

    def _quantified(self, condition: terms.Quantified, frame: Frame, want: bool) -> Bitmap:
        of: terms.Column | terms.JsonAt
        if condition.path is None:
            of = terms.Column(condition.name, self._schema.field(condition.name).type, 0)
        else:
            of = terms.JsonAt(condition.name, condition.path, 0)
        lists = lists_of(of, frame)
        hits = self.holds(condition.condition, ElementFrame(lists.flat), True)
        counts = lists.counts(hits)
        if condition.least is None:
            held = counts == lists.lengths
        else:
            held = counts >= condition.least
            if condition.most is not None:
                held &= counts <= condition.most
        found: Bitmap = lists.valid & (held == want)
        return found


def _truths(value: terms.Value, frame: Frame) -> pa.Array:
    if isinstance(value, terms.Const):
        return pa.array(np.full(frame.num_rows, bool(value.value)))
    found = array_of(value, frame)
    return found.bools if isinstance(found, JsonValues) else found


def _null(condition: terms.NullTest, frame: Frame) -> Bitmap:
    """Never unknown: a JSON path holds no value where it is missing, null, or the whole document is."""
    of = condition.of
    if isinstance(of, terms.Column | terms.Members):
        missing: Bitmap = frame.column(of.name).is_null().to_numpy(zero_copy_only=False)
        return missing
    found = array_of(of, frame)
    if isinstance(found, JsonValues):
        return ~found.present
    empty: Bitmap = found.is_null().to_numpy(zero_copy_only=False)
    return empty


def _contains(condition: terms.Contains, frame: Frame, want: bool) -> Bitmap:
    lists = lists_of(condition.of, frame)
    if condition.every:
        held = lists.valid.copy()
        for value in condition.values:
            held &= lists.counts(equal_elements(lists.flat, value)) > 0
    else:
        hits = np.zeros(len(lists.flat), np.bool_)
        for value in condition.values:
            hits |= equal_elements(lists.flat, value)
        held = lists.counts(hits) > 0
    found: Bitmap = lists.valid & (held == want)
    return found


_TRUTHS: dict[Any, Callable[[Any, Frame], pa.Array]] = {
    terms.Between: between,
    terms.Member: member,
    terms.Pattern: lambda node, frame: patterns.matches(
        texts_of(node.of, frame), node.pattern, regex=node.regex
    ),
    terms.Empty: lambda node, frame: pc.equal(pc.binary_length(texts_of(node.of, frame)), 0),
    terms.Valid: lambda node, frame: spatial.valid(frame.column(node.name)),
}


def _drawn(sample: terms.Sample, frame: Frame, alive: Bitmap) -> Bitmap:
    """A share of some rows."""
    chosen = np.flatnonzero(alive)
    found = np.zeros(len(alive), np.bool_)
    found[chosen[frame.narrow(chosen).sample(sample.share, sample.seed)]] = True
    return found


def _cost(condition: Condition) -> int:
    """How dear a row is; what indexes answer is not asked here."""
    if isinstance(condition, terms.Negated):
        return _cost(condition.item)
    if isinstance(condition, terms.All | terms.Some):
        return max(_cost(item) for item in condition.items)
    if isinstance(condition, terms.Spatial | terms.Valid | terms.Quantified | terms.Texts):
        return _DEAR
    if isinstance(condition, terms.Pattern | terms.Contains):
        return _NESTED
    sides = (
        (condition.left, condition.right)
        if isinstance(condition, terms.Compare)
        else (getattr(condition, "of", None),)
    )
    return max((_value_cost(side) for side in sides if side is not None), default=_CHEAP)


def _value_cost(value: terms.Value) -> int:
    if isinstance(value, terms.Truth):
        return _DEAR
    if value.kind is Kind.JSON or isinstance(
        value, terms.ElementAt | terms.Length | terms.Cast | terms.Members
    ):
        return _NESTED
    if isinstance(value, terms.Arithmetic):
        return max(_TEXTUAL, _value_cost(value.left), _value_cost(value.right))
    return _TEXTUAL if value.kind is Kind.TEXT else _CHEAP
