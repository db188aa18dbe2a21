"""Searching: one field, several at once, and step by step."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.milvus.aggregation_rules import check_aggregation
from headwater.doors.milvus.codes import collection_not_found, invalid, unexpected
from headwater.doors.milvus.distinct import distinct_hits
from headwater.doors.milvus.element_rules import (
    check_element_filter,
    check_element_legs,
    check_element_search,
)
from headwater.doors.milvus.filter_errors import filter_error
from headwater.doors.milvus.filter_rules import check_conditions
from headwater.doors.milvus.highlights import highlighter
from headwater.doors.milvus.hit_order import check_group_field, check_group_size
from headwater.doors.milvus.index_params import tuned
from headwater.doors.milvus.loads import loaded_names, narrow
from headwater.doors.milvus.names import is_collection_name
from headwater.doors.milvus.params import Pairs, checked_window
from headwater.doors.milvus.placeholders import by_lists
from headwater.doors.milvus.rankers import declared, ranked
from headwater.doors.milvus.reading import pinned
from headwater.doors.milvus.rerank_rules import check_groups
from headwater.doors.milvus.results import Shown, check_timezone, search_results
from headwater.doors.milvus.rpc import Call, rpc
from headwater.doors.milvus.search_request import (
    IteratorStep,
    SearchWords,
    check_bounds,
    filter_words,
    output_names,
    read_queries,
    refinements,
    searched_field,
    shown_members,
)
from headwater.engine import AnnSearchRequest, Collection, CollectionAt
from headwater.errors import FilterSyntax, HeadwaterError, NotFound, Unavailable
from headwater.query import SearchResult
from headwater.schema import Schema
from headwater.types import DataType, MetricType

__all__: list[str] = []

_MAX_LEGS = 1024
_GROUPED = ("group_by_field", "group_by_fields")


@rpc("Search")
def search(call: Call, request: milvus_pb2.SearchRequest) -> milvus_pb2.SearchResults:
    """Nearest neighbours of some queries."""
    if request.namespace:
        raise invalid("namespaces are not supported")
    name = request.collection_name
    with call.named(name):
        collection = call.reading(name)
        if not call.by_python_door:
            narrow(collection, name, request)
        state, words, shown = _understood(call, collection, request)
        if not call.by_python_door:
            check_aggregation(request, state.schema, words)
        if words.step is not None and (request.function_score.functions or request.function_chains):
            raise invalid("function rerank is not supported with search iterator")
        refining = refinements(request, words, state.schema, lenient=call.by_python_door)
        named = filter_words(request.dsl, request.expr_template_values)
        if not call.by_python_door:
            check_groups({**words.options, **refining})
        try:
            if not call.by_python_door:
                check_conditions(state.schema, request.dsl)
                check_element_filter(state, words.field, words.params, named)
            if words.step is not None:
                _check_alone([*words.options, *refining])
                return _iterated(call, collection, state, request, words, shown)
            result = state.search(
                anns_field=words.field.name,
                top_k=words.top_k,
                output_fields=shown.fetch,
                params=words.params,
                **read_queries(request, words.field, state.schema, words.params, lenient=call.by_python_door),
                **named,
                **words.options,
                **refining,
            )
        except FilterSyntax as error:
            raise filter_error(request.dsl, error) from error
        except NotFound as error:
            raise _missing(state, request, error) from error
        except Unavailable as error:
            raise _of_service(error) from error
    highlighted = request.HasField("highlighter")
    if not call.by_python_door and not highlighted:
        result = distinct_hits(result)
    answer = search_results(state, name, result, shown, highlighted=highlighted)
    if words.iterator:
        answer.session_ts = _session(call, collection, state, request)
    return answer


@rpc("HybridSearch")
def hybrid_search(call: Call, request: milvus_pb2.HybridSearchRequest) -> milvus_pb2.SearchResults:
    """Several searches made one answer."""
    if request.namespace:
        raise invalid("namespaces are not supported")
    if request.function_chains:
        raise invalid("function_chains is not supported for hybrid_search")
    if len(request.requests) > _MAX_LEGS:
        raise unexpected(f"maximum of ann search requests is {_MAX_LEGS}")
    if not request.requests:
        raise unexpected(
            "nq [0] is invalid, nq (number of search vector per search request) should be in range [1, 16384], "
            "but got 0"
        )
    name = request.collection_name
    if name and not is_collection_name(name):
        raise collection_not_found(call.database, name)
    pairs = Pairs(request.rank_params)
    with call.named(name):
        collection = call.reading(name)
        growing = not pairs.truth("ignore_growing")
        if not call.by_python_door:
            narrow(collection, name, request)
        state = pinned(collection, request, growing=growing)
        lenient, num_queries = call.by_python_door, request.requests[0].nq
        score = declared(request.function_score, state.schema, num_queries, lenient=lenient)
        ranker = score or ranked(pairs, len(request.requests))
        limit, offset = pairs.number("limit"), pairs.number("offset") or 0
        if limit is None:
            raise unexpected("limit not found in rank_params")
        checked_window(offset, limit)
        options = _hybrid_options(pairs, offset, state.schema, lenient=lenient)
        shown = _shown(collection, state, request.output_fields, None)
        grouped = "group_by_field" in options
        legs = [_leg(state, leg, grouped=grouped) for leg in request.requests]
        try:
            if not call.by_python_door:
                check_element_legs(state, legs, options.get("group_by_field"))
                for leg in legs:
                    field, named = searched_field(state.schema, leg.anns_field), _filter_of(leg)
                    check_conditions(state.schema, named.get("filter", ""))
                    check_element_filter(state, field, leg.param or {}, named)
            result = state.hybrid_search(legs, ranker, limit=limit, output_fields=shown.fetch, **options)
        except FilterSyntax as error:
            texts = [leg.dsl for leg in request.requests if leg.dsl]
            raise filter_error(
                next((one for one in texts if one in error.message), texts[0]), error
            ) from error
        except Unavailable as error:
            raise _of_service(error) from error
    return search_results(state, name, result if call.by_python_door else distinct_hits(result), shown)


def _of_service(error: Unavailable) -> HeadwaterError:
    """A service that a model's scores or vectors come from, and that does not answer, in Milvus's words."""
    return unexpected(f"call service failed: {error.message}") if "url" in error.details else error


def _hybrid_options(pairs: Pairs, offset: int, schema: Schema, *, lenient: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if offset:
        options["offset"] = offset
    decimals = pairs.number("round_decimal")
    if decimals not in (None, -1):
        options["round_decimal"] = decimals
    field = pairs.text("group_by_field")
    size, strict, scorer = (
        pairs.number("group_size"),
        pairs.truth("strict_group_size"),
        pairs.text("rank_group_scorer"),
    )
    if field is not None:
        check_group_field(schema, field)
        if size is not None and not lenient:
            check_group_size(size)
        options["group_by_field"] = field
        given = {"group_size": size, "strict_group_size": strict, "rank_group_scorer": scorer}
        options.update({name: value for name, value in given.items() if value is not None})
    for name in ("strategy", "params"):
        pairs.text(name)
    pairs.done("hybrid_search")
    return options


def _leg(state: CollectionAt, request: milvus_pb2.SearchRequest, *, grouped: bool) -> AnnSearchRequest:
    words = SearchWords.read(Pairs(request.search_params), state.schema, leg=True)
    params = tuned(state, words.field, words.params, words.top_k, stepwise=grouped)
    named = filter_words(request.dsl, request.expr_template_values)
    if words.iterator and words.field.type.data_type is DataType.STRUCT_ARRAY:
        kind = "embedding-list" if by_lists(words.field, params) else "element-level"
        raise invalid(
            f"search iterator is not supported for vector array ({kind}) fields in hybrid search, "
            f"fieldName:{words.field.name}",
            expected="",
            actual="",
        )
    queries = read_queries(request, words.field, state.schema, params)
    if "ids" in queries:
        raise invalid("search by primary keys is not supported in hybrid_search")
    return AnnSearchRequest(
        data=queries["data"], anns_field=words.field.name, param=params, limit=words.top_k, **named
    )


def _filter_of(leg: AnnSearchRequest) -> dict[str, Any]:
    given = {"filter": leg.chosen_filter, "filter_params": leg.chosen_params}
    return {name: value for name, value in given.items() if value}


def _understood(
    call: Call, collection: Collection, request: milvus_pb2.SearchRequest
) -> tuple[CollectionAt, SearchWords, Shown]:
    """What is searched, how, and what is shown; iterators go on in the state that they began in.

    A client says the same words with every query, so they are read once for each version of the collection.
    """
    held = call.backend.pins.get(collection.root, request.guarantee_timestamp)
    state = held or pinned(collection, request)
    said = tuple((pair.key, pair.value) for pair in request.search_params)
    lenient = call.by_python_door
    if request.HasField("ids"):
        _check_named(request, state.schema)
    key = (collection.root, state.version, said, tuple(request.output_fields), lenient)
    found = call.backend.understood.get(key)
    if found is None:
        words = SearchWords.read(Pairs(request.search_params), state.schema, lenient=lenient)
        if request.HasField("highlighter"):
            highlighter(request.highlighter, state.schema, words.field, words.params.get("metric_type"))
        if words.collection_id not in (None, 0, collection.id):
            raise invalid(
                f"collection id:{words.collection_id} in the request is not consistent to that in the search context,"
                f"alias or database may have been changed: {collection.id}"
            )
        stepwise = words.step is not None or not words.options.keys().isdisjoint(_GROUPED)
        words.params = tuned(state, words.field, words.params, words.top_k, stepwise=stepwise)
        if not lenient and words.params.get("range_filter") is not None:
            check_bounds(words.params, _metric(state, words))
        if not lenient:
            check_element_search(state, words)
        found = words, _shown(collection, state, request.output_fields, words)
        if not words.iterator:
            call.backend.understood.put(key, found)
    words, shown = found
    if held is None and not words.growing:
        state = pinned(collection, request, growing=False)
    return state, words, shown


def _metric(state: CollectionAt, words: SearchWords) -> MetricType:
    named = str(words.params.get("metric_type") or state.metric(words.field.name))
    try:
        return MetricType(named)
    except ValueError as error:
        raise invalid(f"metric type {named} is unknown") from error


def _check_named(request: milvus_pb2.SearchRequest, schema: Schema) -> None:
    """Check that a search by keys says which of several fields it is of."""
    several = len((*schema.vector_fields, *schema.sparse_fields)) > 1
    if several and not any(pair.key == "anns_field" and pair.value for pair in request.search_params):
        raise invalid("multiple vector fields exist, please specify anns_field in search_params")


def _missing(state: CollectionAt, request: milvus_pb2.SearchRequest, error: NotFound) -> HeadwaterError:
    """A search by keys of which some are not there, in Milvus's words."""
    asked, key = list(request.ids.int_id.data or request.ids.str_id.data), state.schema.primary_key
    if not asked or key is None:
        return error
    there = {row[key] for row in state.get(asked, output_fields=[key])}
    absent = [str(one) for one in asked if one not in there]
    return invalid(f"some of the provided primary key IDs do not exist: missing IDs = [{' '.join(absent)}]")


def _session(call: Call, collection: Collection, state: CollectionAt, request: Any) -> int:
    """The timestamp by which an iterator's next step finds the state it began in."""
    if call.backend.pins.get(collection.root, request.guarantee_timestamp) is not None:
        return int(request.guarantee_timestamp)
    return call.backend.pins.hold(collection.root, state)


def _shown(collection: Collection, state: CollectionAt, asked: Any, words: SearchWords | None) -> Shown:
    fetch, told = output_names(state, list(asked))
    loaded = loaded_names(collection, fetch, asked)
    told = [name for name in told if name in loaded or name not in fetch]
    zone = check_timezone(None if words is None else words.timezone) or state.timezone
    parts, members = () if words is None else words.time_fields, shown_members(state.schema, list(asked))
    return Shown(tuple(loaded), tuple(told), zone, parts, members)


# -- iterators of the second kind --------------------------------------------------------------------------------


def _check_alone(others: list[str]) -> None:
    """Refuse what would refine the hits of an iterator."""
    if others:
        raise invalid(f"a search iterator does not go with {', '.join(others)}")


def _iterated(
    call: Call,
    collection: Collection,
    state: CollectionAt,
    request: milvus_pb2.SearchRequest,
    words: SearchWords,
    shown: Shown,
) -> milvus_pb2.SearchResults:
    """The next batch of an iterator: hits farther than the last one that was handed out.

    The iterator itself is held where it was begun; where it is not, or where the client asks for a batch again, the
    bound alone says where it is.
    """
    step = words.step
    assert step is not None
    token = step.token or str(uuid.uuid4())
    session = _session(call, collection, state, request)
    queries = read_queries(request, words.field, state.schema, words.params)
    if "ids" in queries:
        raise invalid("search by primary keys is not supported in search iterators")
    named = filter_words(request.dsl, request.expr_template_values)
    held = call.backend.iterators.take(token, step.last_bound)
    if held is None and step.last_bound is None:
        held = state.search_iterator(
            queries["data"],
            anns_field=words.field.name,
            batch_size=step.batch_size,
            output_fields=shown.fetch,
            params=words.params,
            **named,
        )
    result = held.next_result() if held else _beyond(state, words, step, queries["data"], shown, named)
    bound = float(result.distances[-1]) if len(result.distances) else step.last_bound
    if held is not None:
        call.backend.iterators.put(token, bound, held)
    answer = search_results(state, request.collection_name, result, shown)
    answer.session_ts = session
    answer.results.search_iterator_v2_results.token = token
    answer.results.search_iterator_v2_results.last_bound = 0.0 if bound is None else bound
    return answer


def _beyond(
    state: CollectionAt,
    words: SearchWords,
    step: IteratorStep,
    data: Any,
    shown: Shown,
    named: dict[str, Any],
) -> SearchResult:
    """Hits strictly farther than a bound, by a range search."""
    params = dict(words.params)
    assert step.last_bound is not None
    closer = _metric(state, words).larger_is_closer
    beyond = np.nextafter(np.float32(step.last_bound), np.float32(-np.inf if closer else np.inf))
    params["range_filter"] = float(beyond)
    params.setdefault("radius", -3e38 if closer else 3e38)
    return state.search(
        data,
        anns_field=words.field.name,
        top_k=step.batch_size,
        output_fields=shown.fetch,
        params=params,
        **named,
    )
