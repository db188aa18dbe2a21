"""What a caller may ask of a search beyond its query, as typed values."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.query.buckets import SearchAggregation
from headwater.query.chain import FunctionChain
from headwater.query.group import Grouping
from headwater.query.highlighting import LexicalHighlighter
from headwater.query.ordering import OrderBy
from headwater.query.paths import field_path
from headwater.schema import Schema
from headwater.types import DataType, MetricType

__all__ = [
    "AnnSearchRequest",
    "Paging",
    "Refining",
    "chains",
    "checked_options",
    "grouping",
    "named_metric",
    "ordering",
    "whole",
]


@dataclass(frozen=True, eq=False)
class AnnSearchRequest:
    """One leg of a hybrid search.

    Attributes:
        data: its queries, one for each question: vectors, or texts where the field is searched by text.
        anns_field: the field it searches.
        param: `metric_type`, `radius`, `range_filter` and the index kind's search parameters.
        limit: rows it contributes for each question, 1 to 16,384.
        expr: its filter; `filter` is the same by another name.
        expr_params: values of ``{name}`` templates in the filter; `filter_params` is the same by another name.
        filter: its filter.
        filter_params: values of ``{name}`` templates in the filter.

    Raises:
        InvalidArgument: a filter, or its values, are given under both names.
    """

    data: Any
    anns_field: str
    param: Mapping[str, Any] | None = None
    limit: int = 10
    expr: str | None = None
    expr_params: Mapping[str, Any] | None = None
    filter: str | None = None
    filter_params: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.expr is not None and self.filter is not None:
            raise InvalidArgument("AnnSearchRequest: expr and filter are two names of one thing; give one")
        if self.expr_params is not None and self.filter_params is not None:
            raise InvalidArgument("AnnSearchRequest: expr_params and filter_params are one thing; give one")

    @property
    def chosen_filter(self) -> str | None:
        """The filter, by whichever name."""
        return self.expr if self.filter is None else self.filter

    @property
    def chosen_params(self) -> Mapping[str, Any] | None:
        """The values of its templates."""
        return self.expr_params if self.filter_params is None else self.filter_params


class Paging(TypedDict, total=False):
    """Which hits are shown, and how; see `SnapshotSearcher.search`."""

    offset: int
    order_by_fields: Any
    round_decimal: int
    group_by_field: str
    group_by_fields: Sequence[str]
    group_size: int
    strict_group_size: bool
    rank_group_scorer: str
    json_type: DataType | str
    strict_cast: bool


class Refining(Paging, total=False):
    """What becomes of the hits of a search; see `SnapshotSearcher.search`."""

    limit: int
    ids: Any
    ranker: Any
    highlighter: LexicalHighlighter
    search_aggregation: SearchAggregation
    function_chains: FunctionChain | Sequence[FunctionChain]


_NAMED = {
    "search": ("data", "anns_field", "top_k", "filter", "filter_params", "output_fields", "params"),
    "hybrid_search": ("reqs", "ranker", "limit", "output_fields"),
}
"""Arguments that the methods have beside their options."""


def checked_options(method: str, options: Mapping[str, Any], known: type) -> None:
    """Refuse what a method does not know.

    Raises:
        UnsupportedOption: there is no such option.
    """
    for name in options:
        every = {**known.__annotations__, **Paging.__annotations__}
        if name not in every:
            named = [*every, *_NAMED[method]]
            near = difflib.get_close_matches(name, named, n=1)
            hint = f"did you mean {near[0]}?" if near else f"options: {', '.join(sorted(named))}"
            raise UnsupportedOption(f"{method} has no option {name!r}", hint=hint)


def whole(name: str, value: Any) -> int:
    """A whole number, of Python or numpy.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        raise InvalidArgument(f"{name} must be an integer, got {value!r}") from error


def named_metric(name: Any) -> MetricType:
    """A metric by its name, in any case.

    Raises:
        InvalidArgument: there is no such metric.
    """
    try:
        return MetricType(str(name).upper())
    except ValueError as error:
        known = ", ".join(MetricType)
        raise InvalidArgument(f"unknown metric_type {name!r}, expected one of {known}") from error


def grouping(schema: Schema, paging: Paging) -> Grouping | None:
    """How hits are grouped, where they are.

    Raises:
        FieldNotFound: there is no such field.
        InvalidArgument: a field cannot be grouped by, or an option needs a field to group by.
    """
    one, several = paging.get("group_by_field"), paging.get("group_by_fields")
    if one is not None and several:
        raise InvalidArgument("group_by_field and group_by_fields are one thing; give one")
    names = [one] if one is not None else several or []
    if not names:
        for name in ("group_size", "strict_group_size", "rank_group_scorer", "json_type", "strict_cast"):
            if paging.get(name) is not None:
                raise UnsupportedOption(f"{name} has no effect without group_by_field")
        return None
    if isinstance(names, str) or len(set(names)) != len(names):
        raise InvalidArgument(f"group_by_fields: expected a list of different fields, got {names!r}")
    size, strict = paging.get("group_size"), paging.get("strict_group_size", False)
    paths = [field_path(schema, name, "group_by_field") for name in names]
    json_type = paging.get("json_type")
    if json_type is not None:
        paths = [path.cast(json_type, strict=bool(paging.get("strict_cast"))) for path in paths]
    elif paging.get("strict_cast") is not None:
        raise UnsupportedOption("strict_cast has no effect without json_type")
    return Grouping(
        paths=tuple(paths),
        size=1 if size is None else size,
        strict=bool(strict),
        scorer=paging.get("rank_group_scorer", "max"),
    )


def chains(asked: Any) -> tuple[FunctionChain, ...]:
    """Function chains, one after the other.

    Raises:
        InvalidArgument: something else.
    """
    several = tuple(asked) if isinstance(asked, list | tuple) else () if asked is None else (asked,)
    for one in several:
        if not isinstance(one, FunctionChain):
            raise InvalidArgument(f"function_chains: expected a FunctionChain, got {one!r}")
    return several


def ordering(order_by: str | Sequence[Any] | Mapping[str, str] | None) -> tuple[OrderBy, ...]:
    """An order of any of the forms that name one.

    Args:
        order_by: one of, or several of: ``"year"``, ``"-year"``, ``"year:desc"``, ``"year:desc:nulls_first"``,
            ``("year", "desc")``, ``("year", "desc", "nulls_first")``, ``{"field": "year", "order": "desc"}``. Nulls
            come last where nothing is said.

    Raises:
        InvalidArgument: it names no field, or a direction that is neither asc nor desc.
    """
    if order_by is None:
        return ()
    several = [order_by] if isinstance(order_by, str | Mapping) else order_by
    return tuple(_one_order(item) for item in several)


def _one_order(item: Any) -> OrderBy:
    nulls = "nulls_last"
    if isinstance(item, str):
        steps = item.rfind("]") + 1
        word, *said = item[steps:].split(":")
        name, direction = item[:steps] + word, said[0] if said else ""
        nulls = said[1] if len(said) > 1 else nulls
        if name.startswith("-"):
            name, direction = name.lstrip("-"), direction or "desc"
    elif isinstance(item, Mapping):
        name, direction = item.get("field", ""), item.get("order", "asc")
    elif isinstance(item, tuple | list) and len(item) in (2, 3):
        name, direction, *said = item
        nulls = said[0] if said else nulls
    else:
        raise InvalidArgument(f"order_by {item!r}: expected a field, or a field and a direction")
    direction = str(direction or "asc").lower()
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"order_by {item!r} names no field")
    if direction not in ("asc", "desc"):
        raise InvalidArgument(f"order_by {name!r}: direction must be 'asc' or 'desc', got {direction!r}")
    if nulls not in ("nulls_first", "nulls_last"):
        raise InvalidArgument(f"order_by {name!r}: expected 'nulls_first' or 'nulls_last', got {nulls!r}")
    return OrderBy(name, direction == "desc", nulls == "nulls_first")
