"""Searching texts and sparse vectors: the statistics of the whole collection, then each segment's best rows.

BM25 counts every live row of the collection - sealed or growing, of any partition, whatever the filter - and no row
that is deleted or past its time. So a score says the same wherever a row lies, before a compaction and after it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.errors import InvalidArgument
from headwater.index.text import (
    BM25_B,
    BM25_K1,
    Norms,
    Postings,
    Scoring,
    WeightedTerm,
    hot_term,
    top_rows,
)
from headwater.lake import Segment
from headwater.query.inverted import text_analyzer, text_input
from headwater.query.search_plan import SearchPlan
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["search_inverted"]


class _Held(NamedTuple):
    """A segment's postings, and what is gone of it.

    Attributes:
        postings: of all its rows.
        gone: (num_rows,) True for rows that do not count; None when all do.
        token: equal only for equal `gone`; None where it is never the same twice.
        num_texts: rows with a text that count.
        num_terms: terms in them.
    """

    postings: Postings
    gone: Bitmap | None
    token: Hashable
    num_texts: int
    num_terms: int


class _Query(NamedTuple):
    """One query: terms or dimensions with weights, in a fixed order."""

    terms: Sequence[str | int]
    weights: Sequence[float]


def search_inverted(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any], segments: Sequence[Segment]
) -> list[tuple[FloatMatrix, RowIds]]:
    """Each segment's best rows, by query.

    Args:
        snapshot: what to read.
        plan: what to find; its field is sparse.
        queries: texts, or (indices, values) pairs, as `query_matrix` makes them.
        segments: to look into.

    Returns:
        For each segment (q, k) scores, descending, and positions, -1 where there are no more. A row that cannot be
        among the best of all segments may be left out.
    """
    asked, scoring, held = _asked(snapshot, plan, queries)
    floors, best = [0.0] * len(asked), [np.empty(0, np.float32) for _ in asked]
    partials = []
    for segment in segments:
        with trace.step("segment", segment=segment.id, rows=segment.num_rows):
            selection = snapshot.select(segment, plan.filter)
            if plan.within is not None:
                selection = selection.narrowed(plan.within(segment))
            found = []
            postings = held[segment.id].postings if segment.id in held else _postings(snapshot, plan, segment)
            for i, query in enumerate(asked if selection.count else []):
                terms = [
                    WeightedTerm(number, weight)
                    for term, weight in zip(query.terms, query.weights, strict=True)
                    if (number := postings.vocabulary.find(term)) >= 0
                ]
                scores, rows = top_rows(
                    postings, terms, plan.top_k, scoring, allowed=selection.bitmap, floor=floors[i]
                )
                if len(segments) > 1:
                    best[i] = -np.sort(-np.concatenate([best[i], scores]))[: plan.top_k]
                    floors[i] = float(best[i][-1]) if len(best[i]) == plan.top_k else 0.0
                found.append((scores, rows))
            partials.append(_padded(found, len(asked)))
    return partials


def _padded(found: Sequence[tuple[npt.NDArray[np.float32], RowIds]], q: int) -> tuple[FloatMatrix, RowIds]:
    if len(found) == 1:
        return found[0][0][None, :], found[0][1][None, :]
    width = max((len(rows) for _, rows in found), default=0)
    scores, rows = np.zeros((q, width), np.float32), np.full((q, width), -1, np.int64)
    for i, (one, where) in enumerate(found):
        scores[i, : len(one)], rows[i, : len(one)] = one, where
    return scores, rows


def _postings(snapshot: Snapshot, plan: SearchPlan, segment: Segment) -> Postings:
    return snapshot.cache.inverted.of(snapshot.opened, snapshot.schema, segment, plan.field)


def _asked(
    snapshot: Snapshot, plan: SearchPlan, queries: npt.NDArray[Any]
) -> tuple[list[_Query], Scoring, Mapping[str, _Held]]:
    above = plan.radius if plan.radius is not None else 0.0
    drop = float(plan.options.get("drop_ratio_search", 0.0))
    if plan.metric is not MetricType.BM25:
        vectors = [_dropped(_vector(plan.field, one), drop) for one in queries]
        return vectors, Scoring(None, above, plan.range_filter), {}
    analyzer = text_analyzer(
        text_input(snapshot.schema, plan.field), snapshot.opened.files, plan.options.get("analyzer_name")
    )
    counted = [Counter(term for term, _ in analyzer.terms(_text(plan.field, one))) for one in queries]
    with trace.step("statistics"):
        k1, b = _bm25_params(snapshot, plan.field)
        held = _held(snapshot, plan.field)
        num_texts = sum(one.num_texts for one in held.values())
        num_terms = sum(one.num_terms for one in held.values())
        rarity = {
            term: _idf(num_texts, sum(_count(one, term) for one in held.values())) * (k1 + 1)
            for term in {term for terms in counted for term in terms}
        }
    texts = [
        _dropped(_Query(list(terms), [rarity[term] * times for term, times in terms.items()]), drop)
        for terms in counted
    ]
    mean = num_terms / num_texts if num_terms else 1.0
    return texts, Scoring(Norms(k1 * (1 - b), k1 * b / mean), above, plan.range_filter), held


def _text(field: Field, query: Any) -> str:
    if not isinstance(query, str):
        raise InvalidArgument(f"field {field.name!r} is searched by text, got a sparse vector")
    return query


def _vector(field: Field, query: Any) -> _Query:
    if isinstance(query, str):
        raise InvalidArgument(f"field {field.name!r} is searched by sparse vectors, got the text {query!r}")
    return _Query(query[0].tolist(), query[1].tolist())


def _dropped(query: _Query, ratio: float) -> _Query:
    """Without that share of the smallest weights, and without those that add nothing."""
    least = sorted(query.weights)[int(ratio * len(query.weights))] if ratio and query.weights else 0.0
    kept = [
        (term, weight)
        for term, weight in zip(query.terms, query.weights, strict=True)
        if weight > 0 and weight >= least
    ]
    return _Query([term for term, _ in kept], [weight for _, weight in kept])


def _idf(num_texts: int, holding: int) -> float:
    return math.log(1 + (num_texts - holding + 0.5) / (holding + 0.5))


def _bm25_params(snapshot: Snapshot, field: Field) -> tuple[float, float]:
    spec = snapshot.index_of(field)
    options = dict(spec.options) if spec is not None else {}
    return float(options.get("bm25_k1", BM25_K1)), float(options.get("bm25_b", BM25_B))


def _held(snapshot: Snapshot, field: Field) -> dict[str, _Held]:
    """Every segment of the collection that has a row to count, whatever part of it is searched."""
    whole = snapshot.whole
    held = {}
    for segment in whole.segments:
        if segment.num_rows > segment.num_deleted:
            postings = whole.cache.inverted.of(whole.opened, whole.schema, segment, field)
            held[segment.id] = _counted(whole, segment, postings)
    return held


def _counted(snapshot: Snapshot, segment: Segment, postings: Postings) -> _Held:
    token: Hashable = None if snapshot.expires else snapshot.gone_token(segment)

    def count() -> tuple[Bitmap | None, int, int]:
        assert postings.lengths is not None
        gone = snapshot.gone(segment)
        there = postings.lengths >= 0
        if gone is not None:
            there = there & ~gone
        return gone, int(np.count_nonzero(there)), int(postings.lengths[there].sum(dtype=np.int64))

    found = count() if token is None else postings.totals(token, count)
    return _Held(postings, found[0], token, found[1], found[2])


def _count(held: _Held, term: str) -> int:
    """Rows that count and hold a term."""
    number = held.postings.vocabulary.find(term)
    if number < 0:
        return 0
    if held.gone is None:
        return held.postings.count(number)
    hot = hot_term(held.postings, number)
    return len(hot.rows) - hot.num_gone(held.gone, held.token)
