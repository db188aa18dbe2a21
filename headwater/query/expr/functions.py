"""The functions of the filter language: what each takes, and the condition that a call of it becomes."""

from __future__ import annotations

import difflib
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headwater.query.expr import nodes, terms
from headwater.query.expr.rows import TextQuery
from headwater.query.expr.terms import Condition, Const, Kind, shown
from headwater.schema.geometry import to_wkb
from headwater.types import DataType

if TYPE_CHECKING:
    from headwater.query.expr.bind import Binder

__all__ = ["CONDITIONS", "FUNCTIONS", "bind_call"]

FUNCTIONS = {
    "json_contains": "json_contains(path, value)",
    "json_contains_all": "json_contains_all(path, [values])",
    "json_contains_any": "json_contains_any(path, [values])",
    "array_contains": "array_contains(list, value)",
    "array_contains_all": "array_contains_all(list, [values])",
    "array_contains_any": "array_contains_any(list, [values])",
    "array_length": "array_length(list)",
    "text_match": "text_match(field, 'words'[, minimum_should_match=n])",
    "text_match_fuzzy": "text_match_fuzzy(field, 'words', max_edits=n)",
    "phrase_match": "phrase_match(field, 'a phrase'[, slop])",
    "random_sample": "random_sample(share)",
    "element_filter": "element_filter(list, condition on $)",
    "match_any": "match_any(list, condition on $)",
    "match_all": "match_all(list, condition on $)",
    "match_least": "match_least(list, condition on $, threshold=n)",
    "match_most": "match_most(list, condition on $, threshold=n)",
    "match_exact": "match_exact(list, condition on $, threshold=n)",
    "empty": "empty(text)",
    "starts_with": "starts_with(text, 'prefix')",
    "ends_with": "ends_with(text, 'suffix')",
    "st_contains": "st_contains(field, 'WKT')",
    "st_within": "st_within(field, 'WKT')",
    "st_intersects": "st_intersects(field, 'WKT')",
    "st_equals": "st_equals(field, 'WKT')",
    "st_touches": "st_touches(field, 'WKT')",
    "st_overlaps": "st_overlaps(field, 'WKT')",
    "st_crosses": "st_crosses(field, 'WKT')",
    "st_dwithin": "st_dwithin(field, 'POINT (longitude latitude)', metres)",
    "st_isvalid": "st_isvalid(field)",
}
"""Functions of the language, each with its form."""

CONDITIONS = frozenset(FUNCTIONS) - {"array_length"}
"""Those that are conditions."""

_MAX_EDITS = 2
_EDIT_OPTIONS = ("max_edits", "max_edit_distance")


class _Arguments:
    """What a call was given, checked as it is read."""

    def __init__(self, binder: Binder, call: nodes.Call) -> None:
        self.binder = binder
        self.call = call
        self.plain = [one for one in call.arguments if not isinstance(one, nodes.Option)]
        self.options = {one.name: one for one in call.arguments if isinstance(one, nodes.Option)}

    def error(self, message: str, at: Any = None, **details: Any) -> Exception:
        """An error that shows the form of the function."""
        form = f"the form is {FUNCTIONS[self.call.function]}"
        return self.binder.error(f"{self.call.function}: {message}", at or self.call, form, **details)

    def count(self, least: int, most: int | None = None, options: tuple[str, ...] = ()) -> None:
        """Check how many arguments there are, and which options."""
        if not least <= len(self.plain) <= (most or least):
            wanted = str(least) if most in (None, least) else f"{least} to {most}"
            plural = "argument" if wanted == "1" else "arguments"
            raise self.error(f"takes {wanted} {plural}, got {len(self.plain)}")
        for name, option in self.options.items():
            if name not in options:
                raise self.error(f"unknown option {name!r}", option)

    def column(self, *types: DataType) -> terms.Column:
        """The first argument, a field of one of some types."""
        first = self.plain[0]
        found = self.binder.value(first) if isinstance(first, nodes.Name) else None
        if not isinstance(found, terms.Column) or found.type.data_type not in types:
            names = " or ".join(str(one) for one in types)
            got = "something else" if found is None else shown(found)
            raise self.error(f"needs a {names} field, got {got}", first)
        return found

    def text(self, at: int) -> str:
        """An argument that is a literal text."""
        const = self.binder.literal(self.plain[at], f"{self.call.function} needs a text")
        if const.kind is not Kind.TEXT:
            raise self.error(f"needs a text, got {const.value!r}", self.plain[at])
        return str(const.value)

    def whole(self, node: nodes.Node, what: str, least: int = 0) -> int:
        """An argument that is a literal integer."""
        const = self.binder.literal(node, f"{self.call.function} needs a number")
        if const.kind is not Kind.INTEGER or const.value < least:
            raise self.error(f"{what} must be an integer of at least {least}, got {const.value!r}", node)
        return int(const.value)

    def option(self, name: str, at: int, default: int, least: int = 0) -> int:
        """An integer given by name, or by place."""
        if name in self.options:
            return self.whole(self.options[name].value, name, least)
        return self.whole(self.plain[at], name, least) if len(self.plain) > at else default


def bind_call(binder: Binder, call: nodes.Call) -> Condition:
    """The condition that a call stands for.

    Raises:
        FilterSyntax: there is no such function, or its arguments do not fit.
    """
    make = _MAKERS.get(call.function)
    if make is None:
        near = difflib.get_close_matches(call.function, FUNCTIONS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"functions: {', '.join(FUNCTIONS)}"
        raise binder.error(f"unknown function {call.function!r}", call, hint)
    return make(_Arguments(binder, call))


def _contains(given: _Arguments) -> Condition:
    given.count(2)
    of = given.binder.value(given.plain[0])
    if of.kind not in (Kind.JSON, Kind.LIST) or isinstance(of, Const):
        raise given.error(f"needs a JSON or array field, got {shown(of)}", given.plain[0])
    if given.call.function.endswith(("_all", "_any")):
        values = given.binder.literals(given.plain[1])
    else:
        values = [given.binder.literal(given.plain[1], f"{given.call.function} needs a literal")]
    element = terms.element_kind(of)
    fitted = []
    for value in values:
        one = value
        if element is Kind.MOMENT and value.kind is Kind.TEXT:
            one = given.binder.moment(value.value, value)
        if element is not None and one.kind is not element and not (one.kind.number and element.number):
            said = f"looks for {shown(one)} among elements that are each a {element}"
            assert isinstance(of, terms.Column | terms.Members)
            assert of.type.element is not None
            raise given.error(said, given.plain[1], element=of.type.element.data_type)
        fitted.append(one.value)
    return terms.Contains(of, tuple(fitted), given.call.function.endswith("_all"))


def _analysed(given: _Arguments) -> terms.Column:
    column = given.column(DataType.VARCHAR, DataType.TEXT)
    if column.type.analyzer is None:
        raise given.binder.error(
            f"{given.call.function}: field {column.name!r} has no analyzer",
            given.plain[0],
            f'declare it with one: {{"{column.name}": hw.Text.analyzed("standard")}}',
        )
    return column


def _text_match(given: _Arguments) -> Condition:
    given.count(2, 3, ("minimum_should_match",))
    least = given.option("minimum_should_match", 2, 1, least=1)
    return terms.Texts(_analysed(given).name, TextQuery("match", given.text(1), minimum_should_match=least))


def _fuzzy(given: _Arguments) -> Condition:
    given.count(2, 3, _EDIT_OPTIONS)
    name = next((one for one in _EDIT_OPTIONS if one in given.options), _EDIT_OPTIONS[0])
    edits = given.option(name, 2, 1)
    if edits > _MAX_EDITS:
        raise given.error(f"allows at most {_MAX_EDITS} edits, got {edits}")
    return terms.Texts(_analysed(given).name, TextQuery("fuzzy", given.text(1), max_edits=edits))


def _phrase(given: _Arguments) -> Condition:
    given.count(2, 3, ("slop",))
    slop = given.option("slop", 2, 0)
    return terms.Texts(_analysed(given).name, TextQuery("phrase", given.text(1), slop=slop))


def _sample(given: _Arguments) -> Condition:
    given.count(1)
    share = given.binder.literal(given.plain[0], "random_sample needs a number")
    if not share.kind.number or not 0 < share.value < 1:
        said = "the sample factor should be between 0 and 1 and not too close to 0 or 1"
        raise given.error(f"{said}, got {share.value!r}", given.plain[0])
    return terms.Sample(float(share.value), random.getrandbits(63))


def _listed(given: _Arguments) -> terms.Column | terms.JsonAt:
    """The list that a condition on elements is about; those of JSON have no elements that could be chosen."""
    first = given.plain[0]
    if given.call.function != "element_filter" and isinstance(first, nodes.Name | nodes.Item):
        found = given.binder.value(first)
        if isinstance(found, terms.JsonAt):
            return found
    return given.column(DataType.ARRAY, DataType.STRUCT_ARRAY)


def _quantified(given: _Arguments) -> Condition:
    counted = given.call.function in ("match_least", "match_most", "match_exact")
    given.count(2, 3 if counted else 2, ("threshold",) if counted else ())
    binder = given.binder
    if binder.element is not None:
        raise given.error("conditions on elements do not nest")
    of = _listed(given)
    binder.element = of
    try:
        condition = binder.condition(given.plain[1])
    finally:
        binder.element = None
    least: int | None = 1
    most: int | None = None
    if given.call.function == "match_all":
        least = None
    if counted:
        if "threshold" not in given.options and len(given.plain) < 3:
            raise given.error("needs threshold=n")
        threshold = given.option("threshold", 2, 0)
        least = 0 if given.call.function == "match_most" else threshold
        most = None if given.call.function == "match_least" else threshold
    chosen = given.call.function == "element_filter"
    path = of.path if isinstance(of, terms.JsonAt) else None
    return terms.Quantified(of.name, condition, least, most, chosen, path)


def _text_value(given: _Arguments) -> terms.Value:
    of = given.binder.value(given.plain[0])
    if of.kind not in (Kind.TEXT, Kind.JSON) or isinstance(of, Const):
        raise given.error(f"needs a text, got {shown(of)}", given.plain[0])
    return of


def _empty(given: _Arguments) -> Condition:
    given.count(1)
    return terms.Empty(_text_value(given))


def _affix(given: _Arguments) -> Condition:
    given.count(2)
    text = given.text(1).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = f"{text}%" if given.call.function == "starts_with" else f"%{text}"
    return terms.Pattern(_text_value(given), pattern, False)


def _geometry(given: _Arguments, at: int) -> bytes:
    const = given.binder.literal(given.plain[at], f"{given.call.function} needs a geometry")
    try:
        wkb = to_wkb(const.value)
    except ValueError as error:
        raise given.error(f"not a geometry ({error})", given.plain[at]) from error
    assert wkb is not None
    return wkb


def _spatial(given: _Arguments) -> Condition:
    given.count(2)
    column = given.column(DataType.GEOMETRY)
    return terms.Spatial(column.name, given.call.function.removeprefix("st_"), _geometry(given, 1), None)


def _dwithin(given: _Arguments) -> Condition:
    given.count(3)
    column = given.column(DataType.GEOMETRY)
    wkb = _geometry(given, 1)
    if (int.from_bytes(wkb[1:5], "little") & 0x1FFFFFFF) % 1000 != 1:
        raise given.error("measures from a POINT", given.plain[1])
    metres = given.binder.literal(given.plain[2], "st_dwithin needs a distance")
    if not metres.kind.number or not 0 <= metres.value < math.inf:
        raise given.error(f"the distance must not be negative, got {metres.value!r}", given.plain[2])
    return terms.Spatial(column.name, "dwithin", wkb, float(metres.value))


def _is_valid(given: _Arguments) -> Condition:
    given.count(1)
    return terms.Valid(given.column(DataType.GEOMETRY).name)


_MAKERS: dict[str, Callable[[_Arguments], Condition]] = {
    **dict.fromkeys(
        [name for name in FUNCTIONS if "contains" in name and not name.startswith("st_")], _contains
    ),
    **dict.fromkeys([name for name in FUNCTIONS if name.startswith("st_")], _spatial),
    **dict.fromkeys([name for name in FUNCTIONS if name.startswith("match_")], _quantified),
    "element_filter": _quantified,
    "text_match": _text_match,
    "text_match_fuzzy": _fuzzy,
    "phrase_match": _phrase,
    "random_sample": _sample,
    "empty": _empty,
    "starts_with": _affix,
    "ends_with": _affix,
    "st_dwithin": _dwithin,
    "st_isvalid": _is_valid,
}
