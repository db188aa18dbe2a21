"""A search as a client sends it, read into the engine's words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as filled
from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import invalid, unexpected
from headwater.doors.milvus.highlights import highlighter
from headwater.doors.milvus.hit_order import check_group_field, check_group_size, search_order
from headwater.doors.milvus.params import Pairs, checked_limit
from headwater.doors.milvus.placeholders import checked_count, queries
from headwater.doors.milvus.rankers import aggregation, chains, declared
from headwater.doors.milvus.templates import template_values
from headwater.engine import CollectionAt
from headwater.errors import FieldNotFound
from headwater.query.max_sim import list_field
from headwater.schema import Field, Schema
from headwater.types import DataType, MetricType

__all__ = [
    "IteratorStep",
    "SearchWords",
    "check_bounds",
    "filter_words",
    "output_names",
    "read_queries",
    "refinements",
    "searched_field",
    "shown_members",
]

_MAX_DECIMALS = 6
_DYNAMIC_KEY = re.compile(r"\$meta\[(['\"])(?P<quoted>[^\[\]]+)\1\]|(?P<bare>[^\W\d][\w$]*)")
_HINTS = frozenset(("iterative_filter", "disable"))
_ELSEWHERE = frozenset(
    (
        "metric_type",
        "anns_field",
        "hints",
        "ignore_growing",
        "offset",
        "round_decimal",
        "analyzer_name",
        "group_by_field",
        "group_by_fields",
        "group_size",
        "strict_group_size",
        "order_by_fields",
        "timezone",
        "time_fields",
        "limit",
    )
)
"""Names that clients copy into `params` beside sending them by themselves."""


@dataclass(frozen=True)
class IteratorStep:
    """One step of a search iterator of the second kind.

    Attributes:
        batch_size: hits to return.
        token: which iterator; empty for a new one.
        last_bound: the distance of the last hit that was handed out; None before the first.
    """

    batch_size: int
    token: str
    last_bound: float | None


@dataclass
class SearchWords:
    """What the key-value pairs of a search say.

    Attributes:
        field: the field that is searched.
        top_k: hits per query.
        params: `metric_type`, `radius`, `range_filter`, and what tunes the index.
        options: what becomes of the hits: offset, groups, order, rounding.
        growing: whether rows that are in the log only are searched.
        iterator: whether this is a step of an iterator, of either kind.
        step: of an iterator of the second kind.
        timezone: for times in the answer.
        time_fields: parts of times that are wanted in place of them.
    """

    field: Field
    top_k: int
    params: dict[str, Any]
    options: dict[str, Any] = filled(default_factory=dict)
    growing: bool = True
    iterator: bool = False
    collection_id: int | None = None
    step: IteratorStep | None = None
    timezone: str | None = None
    time_fields: tuple[str, ...] = ()

    @classmethod
    def read(cls, pairs: Pairs, schema: Schema, *, leg: bool = False, lenient: bool = False) -> SearchWords:
        """Read the pairs of a search, or of one leg of a hybrid one.

        Args:
            pairs: of the request.
            schema: the collection's.
            leg: whether it is of a hybrid search.
            lenient: whether what Milvus refuses and we can do is done, as our own clients ask for.

        Raises:
            MilvusError: a value is wrong, in Milvus's words, or a parameter is unknown.
        """
        vector_field = searched_field(schema, pairs.text("anns_field"))
        iterator = bool(pairs.truth("iterator"))
        top_k = pairs.number("topk")
        if top_k is None:
            raise unexpected("topk is required")
        top_k = min(max(top_k, 1), 16_384) if iterator else checked_limit("topk", top_k)
        params = pairs.mapping("params")
        words = cls(vector_field, top_k, params, iterator=iterator)
        words.growing = not _either(pairs.truth("ignore_growing"), params.get("ignore_growing"))
        words._paging(pairs, schema, leg)
        words._grouping(pairs, schema, lenient)
        words._ranging(lenient)
        words._iterating(pairs)
        metric = pairs.text("metric_type")
        hints = pairs.text("hints")
        if hints is not None and hints not in _HINTS:
            raise invalid(f"hints {hints!r} is unknown", expected="iterative_filter or disable", actual=hints)
        for name in _ELSEWHERE:
            params.pop(name, None)
        params.pop("page_retain_order", None)
        if metric:
            params["metric_type"] = metric
        words.timezone = pairs.text("timezone")
        words.time_fields = tuple((pairs.text("time_fields") or "").replace(",", " ").split())
        analyzer = pairs.text("analyzer_name")
        if analyzer is not None:
            params["analyzer_name"] = analyzer
        pairs.done("search")
        return words

    def _paging(self, pairs: Pairs, schema: Schema, leg: bool) -> None:
        offset = pairs.number("offset") or 0
        if offset and not leg:
            checked_limit("offset", offset)
            checked_limit("offset+topk", offset + self.top_k)
            self.options["offset"] = offset
        text = pairs.text("round_decimal")
        if text is not None and text != "-1":
            if not text.isdecimal() or int(text) > _MAX_DECIMALS:
                raise unexpected(
                    f"round_decimal [{text}] is invalid, should be -1 or an integer in range [0, {_MAX_DECIMALS}]"
                )
            self.options["round_decimal"] = int(text)
        order = search_order(schema, pairs.text("order_by_fields") or "")
        if order:
            if self.iterator:
                raise invalid("order_by is not supported when using search iterator", expected="", actual="")
            self.options["order_by_fields"] = order

    def _ranging(self, lenient: bool) -> None:
        """Check the bounds of a range search."""
        inner, outer = self.params.get("range_filter"), self.params.get("radius")
        if inner is not None and outer is None and not lenient and not self.iterator:
            raise invalid(
                "range_filter requires radius to be set; range_filter alone is not a valid range search parameter",
                expected="range_filter",
                actual="",
            )

    def _grouping(self, pairs: Pairs, schema: Schema, lenient: bool) -> None:
        one, several = pairs.text("group_by_field"), pairs.names("group_by_fields")
        path, json_type = pairs.text("json_path"), pairs.text("json_type")
        strict_cast = bool(pairs.truth("strict_cast"))
        size, strict = _group_size(pairs), pairs.truth("strict_group_size")
        if one is None and not several:
            if path is not None:
                raise invalid("json_path has no effect without group_by_field")
            return
        if self.iterator:
            raise invalid("Not allowed to do groupBy when doing iteration", expected="", actual="")
        if "radius" in self.params:
            raise invalid("Not allowed to do range-search when doing search-group-by", expected="", actual="")
        if size is not None and not lenient:
            check_group_size(size)
        if several:
            self.options["group_by_fields"] = several
        else:
            self.options["group_by_field"] = f"{one}{_brackets(path)}"
        for name in several or [self.options["group_by_field"]]:
            check_group_field(schema, name)
        if size is not None:
            self.options["group_size"] = size
        if json_type is not None:
            self.options["json_type"] = json_type.lower()
            self.options["strict_cast"] = strict_cast
        if strict is not None:
            self.options["strict_group_size"] = strict

    def _iterating(self, pairs: Pairs) -> None:
        second = bool(pairs.truth("search_iter_v2"))
        batch, token = pairs.number("search_iter_batch_size"), pairs.text("search_iter_id") or ""
        bound = pairs.text("search_iter_last_bound")
        self.collection_id = pairs.number("collection_id")
        if not second:
            return
        problem = None
        if not self.iterator:
            problem = "both iterator and search_iter_v2 must be set in the SDK"
        elif "offset" in self.options:
            problem = "Setting an offset is not permitted when using a search iterator v2"
        elif batch is None:
            problem = "batch size is required"
        if problem is not None or batch is None:
            raise unexpected(f"parse iterator v2 info failed: {problem}")
        try:
            last = None if bound is None else float(bound)
        except ValueError as error:
            raise unexpected(
                f"parse iterator v2 info failed: failed to parse input last bound, {error}"
            ) from error
        self.step = IteratorStep(checked_limit("batch size", batch), token, last)


def _group_size(pairs: Pairs) -> int | None:
    text = pairs.text("group_size")
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError as error:
        raise invalid(f"failed to parse input group size:{text}") from error


def check_bounds(params: dict[str, Any], metric: MetricType) -> None:
    """Check that the bounds of a range search have something between them.

    Raises:
        MilvusError: 65535, they have not.
    """
    inner, outer = params.get("range_filter"), params.get("radius")
    if not isinstance(inner, int | float) or not isinstance(outer, int | float):
        return
    if inner < outer if metric.larger_is_closer else inner > outer:
        word = "greater" if metric.larger_is_closer else "less"
        raise unexpected(
            f"metric type {metric}, range_filter({inner:g}) must be {word} than radius({outer:g})"
        )


def read_queries(
    request: Any, vector_field: Field, schema: Schema, params: Mapping[str, Any], *, lenient: bool = False
) -> dict[str, Any]:
    """The queries of a search: `data`, or `ids` of rows whose vectors are searched for.

    Args:
        request: the search.
        vector_field: that is searched.
        schema: the collection's.
        params: of the search.
        lenient: whether a key may come twice.

    Raises:
        MilvusError: they do not fit the field, or the primary key.
    """
    if request.HasField("ids"):
        ids = request.ids
        keys = list(ids.int_id.data or ids.str_id.data)
        checked_count(len(keys))
        if not lenient:
            _check_keys(keys, schema)
        return {"ids": keys}
    by_text = vector_field.name in schema.virtual
    return {"data": queries(request.placeholder_group, vector_field, params, by_text=by_text)}


def _check_keys(keys: list[Any], schema: Schema) -> None:
    key = None if schema.primary_key is None else schema.field(schema.primary_key)
    text = key is not None and key.type.data_type is DataType.VARCHAR
    if isinstance(keys[0], str) is not text:
        raise invalid(f"primary key is {'varchar' if text else 'int64'}, but IDs type mismatch")
    if len(set(keys)) < len(keys):
        raise invalid("duplicate IDs found in search request")


def refinements(
    request: milvus_pb2.SearchRequest, words: SearchWords, schema: Schema, *, lenient: bool
) -> dict[str, Any]:
    """What the messages beside the pairs of a search say: rerankers, chains, highlighting, aggregation."""
    options: dict[str, Any] = {}
    ranker = declared(request.function_score, schema, request.nq, lenient=lenient)
    if ranker is not None:
        options["ranker"] = ranker
    if request.function_chains:
        if ranker is not None:
            raise invalid("function_score and function_chains cannot be used together")
        options["function_chains"] = chains(request.function_chains)
    if request.HasField("highlighter"):
        options["highlighter"] = highlighter(
            request.highlighter, schema, words.field, words.params.get("metric_type")
        )
    if request.HasField("search_aggregation"):
        options["search_aggregation"] = aggregation(request.search_aggregation)
    return options


def filter_words(expr: str, values: Any) -> dict[str, Any]:
    """A filter and the values of its templates, as the engine takes them."""
    words: dict[str, Any] = {}
    if expr.strip():
        words["filter"] = expr
    if values:
        words["filter_params"] = template_values(values)
    return words


def searched_field(schema: Schema, name: str | None) -> Field:
    """The vector field of a search.

    Raises:
        MilvusError: there is none of that name, it is no vector, or none is named and there are several.
    """
    if name is None:
        found = (*schema.vector_fields, *schema.sparse_fields)
        if not found:
            raise unexpected("anns_field not found in schema")
        if len(found) > 1:
            raise unexpected("multiple anns_fields exist, please specify a anns_field in search_params")
        return found[0]
    try:
        found_field = list_field(schema, name) if name.endswith("]") else schema.field(name)
    except FieldNotFound as error:
        raise invalid(
            f"failed to create query plan: failed to get field schema by name: fieldName({name}) not found"
        ) from error
    kind = found_field.type.data_type
    if not name.endswith("]") and not kind.value.endswith("_vector"):
        raise invalid(f"failed to create query plan: field ({name}) to search is not of vector data type")
    return found_field


def output_names(state: CollectionAt, asked: list[str]) -> tuple[list[str], list[str]]:
    """Fields to fetch, and the names that the client is told.

    Keys that no field names are fetched as the dynamic field; the client picks them out of it.

    Raises:
        MilvusError: there is no such field, or its values are not kept.
    """
    schema = state.schema
    fetch: dict[str, None] = {}
    told: dict[str, None] = {}
    for raw in asked:
        name = raw.strip()
        if name == "*":
            for one in schema.readable_names:
                fetch[one] = told[one] = None
        elif name in schema.virtual:
            raise invalid(f"not allowed to retrieve raw data of field {name}")
        elif name in schema.names:
            fetch[name] = told[name] = None
        elif (member := _member(schema, name)) is not None:
            fetch[member[0]] = told[member[0]] = None
        elif schema.dynamic and (key := _key(name)):
            fetch["$meta"] = told[key] = None
        elif schema.dynamic:
            raise invalid(f"parse output field name failed: {name}")
        else:
            raise invalid(f"field {name} not exist")
    return list(fetch), list(told)


def shown_members(schema: Schema, asked: list[str]) -> dict[str, tuple[str, ...]]:
    """Of struct arrays that are asked for in part, such as ``clips[length]``: the members that are wanted."""
    named = {name.strip() for name in asked}
    chosen: dict[str, set[str]] = {}
    for name in named if "*" not in named else ():
        found = _member(schema, name)
        if found is not None and found[0] not in named:
            chosen.setdefault(found[0], set()).add(found[1])
    return {
        parent: tuple(one.name for one in schema.field(parent).type.fields if one.name in members)
        for parent, members in chosen.items()
    }


def _member(schema: Schema, name: str) -> tuple[str, str] | None:
    """The struct array and the member that a name such as ``clips[length]`` says; None where it says none."""
    parent, bracket, rest = name.partition("[")
    if not bracket or not rest.endswith("]") or parent not in schema.names:
        return None
    return (
        (parent, rest[:-1])
        if any(one.name == rest[:-1] for one in schema.field(parent).type.fields)
        else None
    )


def _key(name: str) -> str | None:
    """The key of ``$meta["key"]``, or the name itself; None where it can be neither."""
    found = _DYNAMIC_KEY.fullmatch(name)
    return None if found is None else found["quoted"] or found["bare"]


def _brackets(path: str | None) -> str:
    """A JSON pointer, or a path in brackets, as a path in brackets."""
    if path is None:
        return ""
    if path.startswith("["):
        return path
    return "".join(f'["{part}"]' for part in path.strip("/").split("/"))


def _either(*values: Any) -> bool:
    return any(value in (True, "True", "true") for value in values)
