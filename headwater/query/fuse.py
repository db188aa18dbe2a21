"""Several answers to one question as one: the hits of all legs side by side, by whole arrays.

A leg is one search: a field, a filter, a limit. `union` lines the legs up row by row; a reranker (`query.rerank`)
makes one score of what it sees there; `best` orders by it. A row is a row: two rows with one key are two hits, as in
`search`.

Invariants: no order of the legs changes a score, and equal scores are ordered by primary key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.lake import Segment
from headwater.query.columns import NumberColumn
from headwater.query.fetch import fetch, fetch_keys
from headwater.query.found import Found
from headwater.query.runs import places_in_runs
from headwater.query.search_plan import MAX_TOP_K
from headwater.query.snapshot import Snapshot
from headwater.types import Bitmap, MetricType, RowIds

if TYPE_CHECKING:
    from headwater.query import expr

__all__ = [
    "Candidates",
    "Floats",
    "Leg",
    "Scores",
    "as_found",
    "best",
    "closeness",
    "combined",
    "normalised",
    "total",
    "union",
]

Floats = npt.NDArray[np.float64]


class Scores(NamedTuple):
    """A score for each candidate.

    Attributes:
        values: (n,) float64; NaN ranks last.
        descending: whether a larger one is better.
    """

    values: Floats
    descending: bool = True


class Leg(NamedTuple):
    """What one search says about the candidates.

    Attributes:
        metric: of its distances; None for the scores of a reranker that came before.
        descending: whether a larger score is better.
        scores: (n,) float64, NaN where this leg did not find the row.
        ranks: (n,) int64, 1 for its best hit, 0 where it did not find the row.
    """

    metric: MetricType | None
    descending: bool
    scores: Floats
    ranks: npt.NDArray[np.int64]

    @property
    def found(self) -> Bitmap:
        """(n,) True where this leg found the row."""
        there: Bitmap = self.ranks > 0
        return there


@dataclass(eq=False)
class Candidates:
    """The rows that any leg found, each once for a query, ordered by query; nothing changes them.

    Attributes:
        snapshot: what was searched.
        segments: that `which` points into.
        num_queries: how many questions were asked.
        query: (n,) int64, the question of each candidate.
        which: (n,) int32, its segment.
        rows: (n,) int64, its position in that segment.
        metrics: of each leg; None for the scores of a reranker that came before.
        descending: of each leg, whether a larger score is better.
        scores: (legs, n) float64, NaN where a leg did not find the row.
        ranks: (legs, n) int64, 1 for a leg's best hit, 0 where it did not find the row.
        texts: the questions as text, where they are.
        elements: (n,) int64, of candidates that are elements their positions in the arrays of their rows; else None.
    """

    snapshot: Snapshot
    segments: Sequence[Segment]
    num_queries: int
    query: npt.NDArray[np.int64]
    which: npt.NDArray[np.int32]
    rows: RowIds
    metrics: tuple[MetricType | None, ...]
    descending: tuple[bool, ...]
    scores: Floats
    ranks: npt.NDArray[np.int64]
    texts: tuple[str, ...] | None = None
    elements: RowIds | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def legs(self) -> tuple[Leg, ...]:
        """What each search says about them."""
        return tuple(map(Leg, self.metrics, self.descending, self.scores, self.ranks))

    def column(self, name: str) -> pa.Array:
        """A field of the candidates.

        Raises:
            FieldNotFound: there is no such field.
        """
        return fetch(self.snapshot, self.segments, self.which, self.rows, [name])[name].to_arrow()

    def matches(self, bound: expr.Bound | None) -> Bitmap:
        """(n,) True for the candidates that a filter selects; None selects all."""
        out = np.ones(len(self), np.bool_)
        if bound is None:
            return out
        for ordinal in np.unique(self.which):
            here = self.which == ordinal
            bitmap = self.snapshot.select(self.segments[ordinal], bound).bitmap
            if bitmap is not None:
                out[here] = bitmap[self.rows[here]]
        return out

    @property
    def leg_scores(self) -> npt.NDArray[np.float32]:
        """(n, legs) float32, NaN where a leg did not find the row."""
        return self.scores.T.astype(np.float32, order="C")

    def take(self, chosen: npt.NDArray[Any]) -> Candidates:
        """Some of them, in the order given, which must be by query."""
        return Candidates(
            self.snapshot,
            self.segments,
            self.num_queries,
            self.query[chosen],
            self.which[chosen],
            self.rows[chosen],
            self.metrics,
            self.descending,
            self.scores[:, chosen],
            self.ranks[:, chosen],
            self.texts,
            None if self.elements is None else self.elements[chosen],
        )

    def scored(self, scores: Scores) -> Candidates:
        """The same rows as one leg, whose scores are a reranker's: what the next reranker sees."""
        ranks = np.empty((1, len(self)), np.int64)
        order = best(self, scores)
        ranks[0, order] = places_in_runs(self.query[order]) + 1
        one = scores.values[None]
        return replace(self, metrics=(None,), descending=(scores.descending,), scores=one, ranks=ranks)


def union(
    snapshot: Snapshot,
    found: Sequence[Found],
    metrics: Sequence[MetricType],
    texts: tuple[str, ...] | None = None,
) -> Candidates:
    """Line up what several searches of one snapshot found.

    Args:
        snapshot: what was searched.
        found: the hits of each leg, for the same questions in the same order; rows, or elements of one array.
        metrics: of each leg.
        texts: the questions as text.

    Raises:
        InvalidArgument: the legs ask different numbers of questions.
    """
    segments, first, num_queries = snapshot.segments, snapshot.row_starts, len(found[0].counts)
    for leg in found:
        if len(leg.counts) != num_queries:
            raise InvalidArgument(
                "the legs of a hybrid search ask the same questions: expected equal numbers of queries, "
                f"got {', '.join(str(len(leg.counts)) for leg in found)}"
            )
    span = int(first[-1]) + 1
    numbers = np.concatenate([_row_numbers(leg, segments, first, span) for leg in found])
    elements, longest = None, 0
    if found[0].elements is not None:
        places = np.concatenate([leg.elements for leg in found if leg.elements is not None])
        longest = int(places.max(initial=0)) + 1
        numbers = numbers * longest + places
    every, inverse = _distinct(numbers)
    if longest:
        every, elements = np.divmod(every, longest)
    query, rows = (np.zeros(len(every), np.int64), every) if num_queries == 1 else np.divmod(every, span)
    which = np.zeros(len(every), np.int32)
    if len(segments) > 1:
        which = (np.searchsorted(first, rows, side="right") - 1).astype(np.int32)
        rows = rows - first[which]
    return Candidates(
        snapshot,
        segments,
        num_queries,
        query,
        which,
        rows,
        tuple(metrics),
        tuple(metric.larger_is_closer for metric in metrics),
        *_side_by_side(found, inverse, len(every)),
        texts,
        elements,
    )


# One hybrid search after another finds the caches of its core full of vectors, so that a call into numpy takes three
# times as long as again and again. Methods, and few of them, are taken where functions around them would read better.


def _distinct(numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The distinct ones, ascending, and the place of each among them: `np.unique` without its many questions."""
    order = numbers.argsort()
    ordered = numbers[order]
    new = np.empty(len(ordered), np.bool_)
    new[:1] = False
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    places = np.empty(len(ordered), np.int64)
    places[order] = np.add.accumulate(new, dtype=np.int64)
    new[:1] = True
    return ordered[new], places


def _row_numbers(
    found: Found, segments: Sequence[Segment], first: npt.NDArray[np.int64], span: int
) -> npt.NDArray[np.int64]:
    """(n,) int64 that name question and row."""
    numbers = found.rows
    if len(segments) > 1 and len(numbers):
        ordinals = {segment.id: ordinal for ordinal, segment in enumerate(segments)}
        known = np.array([ordinals[segment.id] for segment in found.segments], np.int64)
        numbers = numbers + first[known[found.which]]
    if len(found.counts) > 1:
        numbers = numbers + span * np.repeat(np.arange(len(found.counts), dtype=np.int64), found.counts)
    return numbers


def _side_by_side(
    found: Sequence[Found], places: npt.NDArray[np.int64], n: int
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Scores and ranks of all legs, see `Candidates`; `places` has those of all their hits among the candidates."""
    scores, ranks = np.empty((len(found), n)), np.zeros((len(found), n), np.int64)
    scores.fill(np.nan)
    start = 0
    for ordinal, leg in enumerate(found):
        here = places[start : start + len(leg.rows)]
        start += len(here)
        scores[ordinal, here] = leg.distances
        ranks[ordinal, here] = _first_ranks(len(here)) if len(leg.counts) == 1 else _ranks_of_each(leg.counts)
    return scores, ranks


_RANKS = np.arange(1, MAX_TOP_K + 1)


def _ranks_of_each(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """The ranks of so many hits of each query, one after another."""
    return np.concatenate([_RANKS[:0], *map(_first_ranks, counts)])


def _first_ranks(count: int) -> npt.NDArray[np.int64]:
    """1, 2, ... `count`; a leg that looks for groups finds more than `MAX_TOP_K` hits."""
    return _RANKS[:count] if count <= len(_RANKS) else np.arange(1, count + 1)


def best(candidates: Candidates, scores: Scores, keep: int | None = None) -> npt.NDArray[np.int64]:
    """Positions of the best candidates of each query, best first, by query; equal scores by primary key.

    Args:
        candidates: the rows.
        scores: of each.
        keep: how many of each query; None for all.
    """
    # As the caller sees them: scores that look equal are ordered by key. What is not a number is sorted last.
    shown = scores.values.astype(np.float32)
    badness = -shown if scores.descending else shown
    one = candidates.num_queries == 1
    chosen: npt.NDArray[np.int64]
    if keep is None or (one and keep >= len(badness)):
        chosen = np.arange(len(badness))
    else:
        chosen = _nearest(badness, keep) if one else _contenders(candidates.query, badness, keep)
    tie = _key_ranks(candidates, chosen)
    if one:
        return chosen[np.lexsort((tie, badness[chosen]))[:keep]]
    order: npt.NDArray[np.int64] = chosen[np.lexsort((tie, badness[chosen], candidates.query[chosen]))]
    if keep is None:
        return order
    return order[places_in_runs(candidates.query[order]) < keep]


def as_found(candidates: Candidates) -> npt.NDArray[np.int64]:
    """Positions of the candidates of one leg in the order that it found them, by query.

    What a search without a reranker answers: a page then is a slice of the whole, equal distances included.
    """
    [leg] = candidates.legs
    order: npt.NDArray[np.int64] = np.lexsort((leg.ranks, candidates.query))
    return order


def _contenders(query: npt.NDArray[np.int64], badness: npt.NDArray[Any], keep: int) -> npt.NDArray[np.int64]:
    """Candidates no worse than the `keep`-th of their query: only their keys are needed."""
    if not len(query):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.diff(query, prepend=-1))
    stops = [*starts[1:].tolist(), len(query)]
    kept = []
    for start, stop in zip(starts.tolist(), stops, strict=True):
        here = badness[start:stop]
        if len(here) <= keep:
            kept.append(np.arange(start, stop))
        else:
            kept.append(start + _nearest(here, keep))
    return np.concatenate(kept)


def _nearest(badness: npt.NDArray[Any], keep: int) -> npt.NDArray[np.int64]:
    """Positions of what is no worse than the `keep`-th."""
    ordered = badness.copy()
    ordered.partition(keep - 1)
    worst = ordered[keep - 1]
    there = badness <= worst
    return there.nonzero()[0] if worst == worst else np.arange(len(badness))


def _key_ranks(candidates: Candidates, chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """(len(chosen),) numbers that order as the primary keys do."""
    if not len(chosen):
        return chosen
    keys = fetch_keys(
        candidates.snapshot, candidates.segments, candidates.which[chosen], candidates.rows[chosen]
    )
    if isinstance(keys, NumberColumn):
        return keys.numbers
    ranks: npt.NDArray[Any] = pc.rank(keys.to_arrow(), tiebreaker="dense").to_numpy()
    return ranks


def total(parts: npt.NDArray[Any]) -> Floats:
    """Sum over the legs, the same whatever their order: (legs, n) to (n,), small terms first."""
    # Two numbers come to the same either way.
    summed: Floats = parts[0] + parts[1] if len(parts) == 2 else np.sort(parts, axis=0).sum(axis=0)
    return summed


def normalised(scores: Floats, metric: MetricType | None) -> Floats:
    """Scores of a metric in [0, 1], larger is closer, by Milvus's formulas; a reranker's scores stay as they are."""
    if metric is None or metric is MetricType.MHJACCARD:
        return scores
    if metric is MetricType.COSINE:
        return (1 + scores) * 0.5
    if metric is MetricType.BM25:
        return 2 * np.arctan(scores) / np.pi
    if metric.larger_is_closer:
        return 0.5 + np.arctan(scores) / np.pi
    return closeness(scores, metric)


def closeness(scores: Floats, metric: MetricType | None) -> Floats:
    """Scores of which the larger is the closer: distances `d` become `1 - 2 atan(d) / pi`, others stay."""
    if metric is None or metric.larger_is_closer:
        return scores
    return 1.0 - 2 * np.arctan(scores) / np.pi


def combined(legs: Sequence[Leg], mode: str = "max", *, normal: bool = False) -> Floats:
    """One score of several legs, larger is closer.

    Args:
        legs: what they say.
        mode: max, sum or avg of the legs that found the row.
        normal: bring each into [0, 1] first, rather than only the same way round.

    Returns:
        (n,) scores, the same whatever the order of the legs.
    """
    turn = normalised if normal else closeness
    parts = np.stack([np.where(leg.found, turn(leg.scores, leg.metric), np.nan) for leg in legs])
    if len(legs) == 1:
        one: Floats = parts[0]
        return one
    if mode == "max":
        most: Floats = np.fmax.reduce(parts, axis=0)
        return most
    summed = total(np.nan_to_num(parts))
    return summed if mode == "sum" else summed / np.maximum(np.sum([leg.found for leg in legs], axis=0), 1)
