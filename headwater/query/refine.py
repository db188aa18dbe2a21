"""From found rows to an answer: legs fused, reranked, ordered, paged, and only then their fields fetched.

A plain search is one leg without a reranker. Everything between `find` and the fetch works on whole arrays of
(segment, row, score).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater import trace
from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.query.away import done, open_fields
from headwater.query.chain import FunctionChain, run_chains
from headwater.query.collapse import SCOPE, collapsed
from headwater.query.fetch import fetch_hits, json_names
from headwater.query.found import Found
from headwater.query.fuse import Candidates, Scores, as_found, best, union
from headwater.query.group import Grouping, arranged, find_groups, group_numbers
from headwater.query.ordering import OrderBy, sort_columns, sorted_places
from headwater.query.paths import field_path
from headwater.query.ready import ReadySearch
from headwater.query.rerank import Reranker
from headwater.query.results import SearchResult
from headwater.query.runs import places_in_runs
from headwater.query.search import find
from headwater.query.search_plan import MAX_TOP_K, SearchPlan
from headwater.query.snapshot import Snapshot
from headwater.query.turns import Turns
from headwater.store import together

__all__ = ["LegSearch", "Refinement", "refined_search"]

_LARGEST_DECIMAL = 6


class LegSearch(NamedTuple):
    """One search of a hybrid search.

    Attributes:
        plan: what it looks for.
        queries: one for each question, in the form that its field is searched by.
        ready: the same plan, worked out but for the queries; None where it is not kept.
    """

    plan: SearchPlan
    queries: Any
    ready: ReadySearch | None = None

    def find(self, snapshot: Snapshot) -> Found:
        """Its hits."""
        if self.ready is not None:
            return self.ready.find(snapshot, self.queries)
        return find(snapshot, self.plan, self.queries)


@dataclass(frozen=True)
class Refinement:
    """What becomes of the hits.

    Attributes:
        limit: hits of each query.
        offset: better hits that are left out.
        output_fields: fields of the hits.
        reranker: makes one score of the legs'; None where there is one leg.
        grouping: hits that share a value count once, and `limit` and `offset` count groups; None for none.
        chains: steps that the hits go through.
        order_by: the nearest `stop` hits are ordered by these, most significant first, before `offset` of them are left
            out; groups by those of their best hits.
        round_decimal: digits that distances are rounded to; None for all.

    Raises:
        InvalidArgument: a number is out of range.
    """

    limit: int
    offset: int = 0
    output_fields: tuple[str, ...] = ()
    reranker: Reranker | None = None
    grouping: Grouping | None = None
    chains: tuple[FunctionChain, ...] = ()
    order_by: tuple[OrderBy, ...] = ()
    round_decimal: int | None = None

    def __post_init__(self) -> None:
        _whole("limit", self.limit, 1, MAX_TOP_K)
        _whole("offset", self.offset, 0, MAX_TOP_K)
        if self.limit + self.offset > MAX_TOP_K:
            raise InvalidArgument(
                f"limit + offset must be at most {MAX_TOP_K}, got {self.limit} + {self.offset}",
                hint="use an iterator to go further",
            )
        if self.round_decimal is not None:
            _whole("round_decimal", self.round_decimal, 0, _LARGEST_DECIMAL)
        if self.chains and (self.grouping is not None or self.order_by or self.reranker is not None):
            raise UnsupportedOption(
                "function_chains do not go together with ranker, order_by_fields or group_by_field",
                hint="let the chain sort and score",
            )

    @property
    def stop(self) -> int:
        """One past the last hit needed."""
        return self.limit + self.offset


def _whole(name: str, value: Any, least: int, most: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise InvalidArgument(f"{name} must be an integer from {least} to {most}, got {value!r}")


def refined_search(
    snapshot: Snapshot,
    legs: Sequence[LegSearch],
    refinement: Refinement,
    texts: tuple[str, ...] | None = None,
) -> SearchResult:
    """Search once or several times, and make one answer of it.

    Args:
        snapshot: what every leg reads.
        legs: the searches; each has its own filter, limit and parameters.
        refinement: what becomes of their hits.
        texts: the questions as text, for rerankers that read them.

    Returns:
        Hits whose distance is the reranker's score; `leg_scores` of the result has those of the legs. They are elements
        where every leg finds elements of one array, and rows else.

    Raises:
        InvalidArgument: legs ask different numbers of questions, or one says how elements become rows where none do.
    """
    started = time.perf_counter()
    fields, first = refinement.output_fields, legs[0].plan.filter
    begun = open_fields(snapshot, snapshot.survivors(first), fields) if snapshot.opened.waits else ()
    found = _of_one_kind(legs, _find_all(snapshot, legs, refinement))
    done(begun)
    with trace.step("rank", legs=len(legs)):
        candidates = union(snapshot, found, [leg.plan.metric for leg in legs], texts)
        scores = _score(candidates, refinement.reranker)
        if refinement.chains:
            page = (refinement.offset, refinement.stop)
            order, values = run_chains(candidates, scores, refinement.chains, *page)
        else:
            order, values = _chosen(candidates, scores, refinement), scores.values
    chosen, distances = candidates.take(order), values[order].astype(np.float32)
    if refinement.order_by:
        order = _by_fields(chosen, refinement.order_by, refinement.grouping)
        if refinement.offset:
            order = order[_past(chosen.take(order), refinement.grouping, refinement.offset)]
        chosen, distances = chosen.take(order), distances[order]
    if refinement.round_decimal is not None:
        distances = np.round(distances, refinement.round_decimal)
    return _answer(snapshot, legs, found, chosen, distances, refinement, started)


def _of_one_kind(legs: Sequence[LegSearch], found: list[Found]) -> list[Found]:
    """What the legs found as elements, where all find those of one array, or as rows."""
    plans = [leg.plan for leg in legs]
    if not any([plan.of_elements for plan in plans]):
        return found
    if all(plan.of_elements for plan in plans) and len({plan.field.id for plan in plans}) == 1:
        if any(plan.collapse is not None for plan in plans):
            raise InvalidArgument(f"{SCOPE} is not allowed for same-struct element-level hybrid search")
        return found
    return [
        collapsed(one, plan.metric, plan.collapse) if plan.of_elements else one
        for plan, one in zip(plans, found, strict=True)
    ]


def _find_all(snapshot: Snapshot, legs: Sequence[LegSearch], refinement: Refinement) -> list[Found]:
    """The hits of each leg; at the same time where that is worth it, by what such legs took before."""
    if len(legs) == 1:
        return [_find(snapshot, legs[0], refinement)]
    asked = tuple([(leg.plan.field.id, leg.plan.top_k, leg.plan.filter is None) for leg in legs])
    turns = snapshot.cache.turns.get_or(asked, partial(Turns, len(legs)))
    way = turns.way(waits=snapshot.opened.waits)
    calls = [partial(_find, snapshot, leg, refinement) for leg in legs]
    began = time.perf_counter()
    if way == turns.apart:
        found = [call() for call in calls]
    else:
        calls[0], calls[way] = calls[way], calls[0]
        found = together(calls, short=turns.short(way))
        found[0], found[way] = found[way], found[0]
    turns.took(way, time.perf_counter() - began)
    return found


def _find(snapshot: Snapshot, leg: LegSearch, refinement: Refinement) -> Found:
    if refinement.grouping is None:
        return leg.find(snapshot)
    return find_groups(snapshot, leg.plan, leg.queries, refinement.grouping, leg.plan.top_k)


def _score(candidates: Candidates, reranker: Reranker | None) -> Scores:
    if reranker is not None:
        return reranker.rerank(candidates)
    [leg] = candidates.legs
    return Scores(leg.scores, leg.descending)


def _chosen(candidates: Candidates, scores: Scores, refinement: Refinement) -> npt.NDArray[np.int64]:
    """Positions of the hits of the page, by query; of those before it too, where it is of the ordered hits."""
    alone, deep = refinement.reranker is None, refinement.grouping is not None
    offset = 0 if refinement.order_by else refinement.offset
    order = as_found(candidates) if alone else best(candidates, scores, None if deep else refinement.stop)
    if refinement.grouping is not None:
        return arranged(candidates, scores, refinement.grouping, order, (offset, refinement.stop))
    if candidates.num_queries == 1:
        return order[offset : refinement.stop]
    place = places_in_runs(candidates.query[order])
    return order[(place >= offset) & (place < refinement.stop)]


def _by_fields(
    chosen: Candidates, order_by: tuple[OrderBy, ...], grouping: Grouping | None
) -> npt.NDArray[np.int64]:
    """The hits of each query ordered by fields, equal ones as they were; groups by the values of their best hits."""
    if grouping is not None:
        group = group_numbers(chosen, grouping)
        _, best_hits = np.unique(group, return_index=True)
        groups = _by_fields(chosen.take(best_hits), order_by, None)
        place = np.empty(len(groups), np.int64)
        place[groups] = np.arange(len(groups))
        return np.argsort(place[group], kind="stable")
    at = (chosen.snapshot, chosen.segments, chosen.which, chosen.rows)
    schema = chosen.snapshot.schema
    paths = [field_path(schema, one.name, "order_by_fields") for one in order_by]
    columns_of = [sort_columns(*at, path) for path in paths]
    return sorted_places([pa.array(chosen.query)], list(zip(order_by, columns_of, strict=True)))


def _past(ordered: Candidates, grouping: Grouping | None, offset: int) -> npt.NDArray[np.bool_]:
    """(n,) True for the hits past the first `offset` hits, or groups, of their query."""
    place = np.arange(len(ordered)) if grouping is None else group_numbers(ordered, grouping)
    return place - place[np.searchsorted(ordered.query, ordered.query)] >= offset


def _answer(
    snapshot: Snapshot,
    legs: Sequence[LegSearch],
    found: Sequence[Found],
    chosen: Candidates,
    distances: npt.NDArray[np.float32],
    refinement: Refinement,
    started: float,
) -> SearchResult:
    at = (snapshot, chosen.segments, chosen.which, chosen.rows)
    names = refinement.output_fields
    one = chosen.num_queries == 1
    counts = [len(chosen)] if one else np.bincount(chosen.query, minlength=chosen.num_queries).tolist()
    pruned = len(snapshot.segments) - max(len(leg.segments) for leg in found)
    coverage = min([snapshot.coverage_of(leg.plan.field) for leg in legs])
    info = snapshot.info(started=started, pruned=pruned, coverage=coverage)
    ids, fields = fetch_hits(*at, names)
    result = SearchResult(
        ids,
        distances,
        fields,
        counts,
        info,
        json_names(snapshot.schema, names),
        leg_scores=chosen.leg_scores,
    )
    result.flat_elements = chosen.elements
    return result
