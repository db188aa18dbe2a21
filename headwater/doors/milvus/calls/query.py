"""Querying: rows by filter, aggregates over them."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.codes import invalid
from headwater.doors.milvus.distinct import distinct_rows, rows_by_key
from headwater.doors.milvus.element_pages import Seen, element_page
from headwater.doors.milvus.element_rules import names_elements
from headwater.doors.milvus.filter_errors import filter_error
from headwater.doors.milvus.filter_rules import check_conditions
from headwater.doors.milvus.hit_order import query_order
from headwater.doors.milvus.loads import kept_names, loaded_names, narrow
from headwater.doors.milvus.params import Pairs, checked_window
from headwater.doors.milvus.reading import pinned
from headwater.doors.milvus.results import Shown, aggregate_results, check_timezone, query_results
from headwater.doors.milvus.rpc import Call, rpc
from headwater.doors.milvus.search_request import filter_words, output_names, shown_members
from headwater.engine import Collection, CollectionAt
from headwater.errors import FieldNotFound, FilterSyntax
from headwater.query.aggregate import names_aggregate
from headwater.types import INTEGER_TYPES, DataType

__all__: list[str] = []

_GROUPED_BY = INTEGER_TYPES | {DataType.VARCHAR, DataType.TIMESTAMPTZ}


@rpc("Query")
def query(call: Call, request: milvus_pb2.QueryRequest) -> milvus_pb2.QueryResults:
    """Rows that a filter selects."""
    if request.namespace:
        raise invalid("namespaces are not supported")
    name = request.collection_name
    pairs = Pairs(request.query_params)
    with call.named(name):
        collection = call.reading(name)
        growing = not pairs.truth("ignore_growing")
        if not call.by_python_door:
            narrow(collection, name, request, "query")
        held = call.backend.pins.get(collection.root, request.guarantee_timestamp)
        state = held or pinned(collection, request, growing=growing)
        words = _words(state, pairs, lenient=call.by_python_door) | {"held": held is not None}
        if words["collection_id"] not in (None, 0, collection.id):
            raise invalid(
                "Input collection id is not consistent to collectionID in the context,"
                "alias or database may have changed"
            )
        asked = list(request.output_fields)
        aggregating = bool(words["group_by_fields"]) or names_aggregate(state.schema, asked)
        _check(words, request, aggregating)
        if not call.by_python_door:
            check_conditions(state.schema, request.expr)
        try:
            answer = (
                _aggregated(state, request, words, asked)
                if aggregating
                else _rows(collection, state, request, words)
            )
        except FilterSyntax as error:
            raise filter_error(request.expr, error) from error
    if words["iterator"]:
        known = held is not None
        answer.session_ts = (
            request.guarantee_timestamp if known else call.backend.pins.hold(collection.root, state)
        )
    return answer


def _rows(
    collection: Collection, state: CollectionAt, request: milvus_pb2.QueryRequest, words: dict[str, Any]
) -> milvus_pb2.QueryResults:
    every, told = output_names(state, list(request.output_fields))
    fetch = loaded_names(collection, every, request.output_fields)
    if words["held"]:
        fetch = kept_names(collection, state, fetch, request.output_fields)
    told = [name for name in told if name in fetch or name not in every]
    key = state.schema.primary_key
    if key is not None and key not in fetch:
        fetch.append(key)
        told.append(key)
    members = shown_members(state.schema, list(request.output_fields))
    zone = words["timezone"] or state.timezone
    shown = Shown(tuple(fetch), tuple(told), zone, words["time_fields"], members)
    lenient = words["lenient"]
    order: list[Any] = query_order(state.schema, words["order_by"], only_fields=not lenient)
    if order and key is not None and not lenient:
        order.append((key, "asc"))
    paged = words["limit"] is not None and not order and not lenient
    if key is not None and (paged or words["iterator"]):
        order = [key]  # Milvus's pages are in the order of keys, and so are its iterators.
    asked = {
        "output_fields": fetch,
        "order_by": order or None,
        **filter_words(request.expr, request.expr_template_values),
    }
    page = {"limit": words["limit"], "offset": words["offset"]}
    if lenient:
        result = state.query(**asked, **page)
    elif len(names_elements(state, asked)) == 1:
        result = element_page(state, asked, **page, seen=words["seen"])
    else:
        result = distinct_rows(state.query(**asked, **page), key)
        if not order:
            result = rows_by_key(result, key)
    return query_results(state, request.collection_name, result, shown)


def _aggregated(
    state: CollectionAt, request: milvus_pb2.QueryRequest, words: dict[str, Any], asked: list[str]
) -> milvus_pb2.QueryResults:
    groups = words["group_by_fields"]
    for one in groups:
        try:
            kind = state.schema.field(one).type.data_type
        except FieldNotFound as error:
            raise invalid(f"field {one} not exist") from error
        if kind not in _GROUPED_BY:
            raise invalid(f"group by field {one} has unsupported data type {kind}")
    order = query_order(None, words["order_by"])
    result = state.query(
        output_fields=asked or groups,
        group_by_fields=groups or None,
        limit=words["limit"],
        offset=words["offset"],
        order_by=order or None,
        **filter_words(request.expr, request.expr_template_values),
    )
    return aggregate_results(state, request.collection_name, result, asked or groups)


def _words(state: CollectionAt, pairs: Pairs, *, lenient: bool) -> dict[str, Any]:
    """The key-value pairs of a query, checked; lenient: orders that Milvus has not are taken."""
    key, element = pairs.text("query_iter_last_pk"), pairs.number("query_iter_last_element_offset")
    pairs.truth("reduce_stop_for_best")
    limit, offset = pairs.number("limit"), pairs.number("offset") or 0
    if limit is not None:
        checked_window(offset, limit)
    else:
        offset = 0
    words = {
        "iterator": bool(pairs.truth("iterator")),
        "collection_id": pairs.number("collection_id"),
        "limit": limit,
        "offset": offset,
        "timezone": check_timezone(pairs.text("timezone")),
        "time_fields": tuple((pairs.text("time_fields") or "").replace(",", " ").split()),
        "group_by_fields": pairs.names("group_by_fields"),
        "order_by": pairs.text("order_by_fields") or "",
        "lenient": lenient,
        "seen": None if key is None or element is None else Seen(key, element),
    }
    pairs.done("query")
    return words


def _check(words: dict[str, Any], request: milvus_pb2.QueryRequest, aggregating: bool) -> None:
    """What Milvus refuses before it looks at a row."""
    limit, groups = words["limit"], words["group_by_fields"]
    if words["order_by"] and limit is None:
        raise invalid("ORDER BY requires explicit limit")
    if words["order_by"] and words["iterator"]:
        raise invalid("ORDER BY with iterator is not supported")
    if not request.expr.strip() and limit is None and not aggregating:
        raise invalid("empty expression should be used with limit")
    if aggregating and not words["lenient"]:
        _check_order(words["order_by"], groups)
    counts = any(one.strip().lower().replace(" ", "") == "count(*)" for one in request.output_fields)
    if counts and limit is not None and not groups:
        raise invalid("count entities with pagination is not allowed")


def _check_order(order_by: str, groups: list[str]) -> None:
    """Groups are ordered by what makes them."""
    for target, *_ in query_order(None, order_by):
        if target not in groups:
            raise invalid(
                f"ORDER BY field '{target}' is not valid: when using GROUP BY or aggregates, ORDER BY can only "
                f"reference GROUP BY columns. Valid targets are: [{' '.join(groups)}]"
            )
