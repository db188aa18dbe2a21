"""The best rows for a weighted set of terms: block-max pruning, eight rows to a block.

For each block the bounds of the query's terms are added up; the blocks with the highest sums are scored first, and once
k rows have a score that the sum of a block cannot reach, that block is never looked at. A block that could tie is
looked at, so the result is that of scoring every row: score descending, then row ascending.

After: Mallia, Suel, Tonellotto, "Faster Learned Sparse Retrieval with Block-Max Pruning" (SIGIR 2024); the bounds of a
block are those of Ding, Suel, "Faster Top-k Document Retrieval Using Block-Max Indexes" (SIGIR 2011).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index.text.hot import BLOCK, HotTerm, Norms, hot_term
from headwater.index.text.postings import Postings
from headwater.types import Bitmap, RowIds

__all__ = ["Scoring", "WeightedTerm", "score_all", "top_rows"]

_GROUP = 16
_FIRST_GROUPS = 64
_AT_LEAST = np.float32(1e-30)
_SEVERAL = 1024
_POSTINGS_OF_TERM, _POSTINGS_OF_PAIR = 2500, 200

Floats = npt.NDArray[np.float32]


class WeightedTerm(NamedTuple):
    """A term of a query.

    Attributes:
        number: in the vocabulary of the index searched.
        weight: what its part of a row's score is multiplied by; above zero.
    """

    number: int
    weight: float


@dataclass(frozen=True)
class Scoring:
    """How a score is made and which scores count.

    Attributes:
        norms: of BM25; None where the score is the sum of products of weights.
        above: scores must be larger.
        up_to: and at most this.
    """

    norms: Norms | None = None
    above: float = 0.0
    up_to: float | None = None


class _Scratch(threading.local):
    sums: Floats | None = None


_scratch = _Scratch()


def top_rows(
    source: Postings,
    terms: Sequence[WeightedTerm],
    k: int,
    scoring: Scoring,
    *,
    allowed: Bitmap | None = None,
    floor: float = 0.0,
) -> tuple[Floats, RowIds]:
    """The k rows with the highest scores above zero.

    Args:
        source: the index.
        terms: of the query; each number once.
        k: how many.
        scoring: how.
        allowed: (num_rows,) rows to consider; None for all.
        floor: scores below it may be left out: what the k-th best row of other segments has.

    Returns:
        (n,) scores, descending, and rows; rows of equal score ascending.
    """
    hot = [hot_term(source, term.number) for term in terms]
    if _fewer_in_all(hot, source.num_rows, scoring):
        return _best_of_all(source, hot, terms, k, scoring, allowed)
    sums = _bound_sums(hot, terms, scoring, source.num_rows, allowed)
    search = _Search(source, hot, [np.float32(term.weight) for term in terms], k, scoring, allowed)
    search.least = max(_AT_LEAST, np.float32(max(floor, scoring.above) * 0.99999))
    high = _first_bound(sums, k)
    search.score(np.flatnonzero(sums >= max(high, search.least)))
    if search.least < high:
        rest = np.flatnonzero((sums >= search.least) & (sums < high))
        while len(rest):
            bounds = sums[rest]
            if len(rest) > _SEVERAL:
                cut = np.partition(bounds, len(rest) - _SEVERAL)[len(rest) - _SEVERAL]
                search.score(rest[bounds >= cut])
                rest = rest[(bounds < cut) & (bounds >= search.least)]
            else:
                search.score(rest)
                break
    if trace.recording():
        trace.note(terms=len(terms), blocks=len(sums), blocks_scored=search.num_blocks)
    return search.best()


def _fewer_in_all(hot: Sequence[HotTerm], num_rows: int, scoring: Scoring) -> bool:
    """Whether adding up all postings costs less than looking for the blocks to score."""
    # Measured: pruning costs about as much as so many postings; with many terms its bounds are looser. A posting of
    # BM25 costs three of a product.
    worth = _POSTINGS_OF_TERM * len(hot) + _POSTINGS_OF_PAIR * len(hot) ** 2
    postings = sum(len(one.rows) for one in hot) * (1 if scoring.norms is None else 3)
    return postings + num_rows // _GROUP <= worth


def _best_of_all(
    source: Postings,
    hot: Sequence[HotTerm],
    terms: Sequence[WeightedTerm],
    k: int,
    scoring: Scoring,
    allowed: Bitmap | None,
) -> tuple[Floats, RowIds]:
    """`top_rows` without pruning, term by term."""
    scores = np.zeros(-(-source.num_rows // _GROUP) * _GROUP, np.float32)
    base = None if scoring.norms is None else _base(source.lengths, scoring.norms)
    for one, term in zip(hot, terms, strict=True):
        parts = one.values.astype(np.float32)
        if base is not None:
            parts /= np.maximum(parts + base[one.rows], _AT_LEAST)
        scores[one.rows] += parts * np.float32(term.weight)
    if allowed is not None:
        scores[: source.num_rows] *= allowed
    if scoring.up_to is not None:
        scores[scores > scoring.up_to] = 0
    trace.note(terms=len(terms), scored="every posting")
    groups = scores.reshape(_GROUP, -1).max(axis=0)
    least = _AT_LEAST
    if len(groups) > k:
        # As many groups have a row at least that good, so it bounds the k-th best.
        least = max(least, np.partition(groups, len(groups) - k)[len(groups) - k])
    rows = np.flatnonzero((scores >= least) & (scores > scoring.above))
    order = np.lexsort((rows, -scores[rows]))[:k]
    return scores[rows[order]], rows[order]


def _base(lengths: npt.NDArray[np.int32] | None, norms: Norms) -> Floats:
    assert lengths is not None
    base: Floats = np.float32(norms.base) + np.float32(norms.slope) * lengths.astype(np.float32)
    return base


def _bound_sums(
    hot: Sequence[HotTerm],
    terms: Sequence[WeightedTerm],
    scoring: Scoring,
    num_rows: int,
    allowed: Bitmap | None,
) -> Floats:
    """(blocks,) what no row of each block exceeds; zero where no row is allowed."""
    num_blocks = -(-num_rows // BLOCK)
    sums = _scratch.sums
    if sums is None or len(sums) != num_blocks:
        sums = _scratch.sums = np.empty(num_blocks, np.float32)
    sums.fill(0)
    for one, term in zip(hot, terms, strict=True):
        bounds, factor = one.bounds(scoring.norms)
        largest = bounds.largest * np.float32(term.weight * factor)
        if bounds.blocks is None:
            np.add(sums, largest, out=sums)
        else:
            sums[bounds.blocks] += largest
    if allowed is not None:
        sums *= _any_in_block(allowed)
    return sums


def _any_in_block(allowed: Bitmap) -> Bitmap:
    whole = len(allowed) // BLOCK
    some = np.ascontiguousarray(allowed[: whole * BLOCK]).view(np.uint64) != 0
    return some if whole * BLOCK == len(allowed) else np.append(some, allowed[whole * BLOCK :].any())


def _first_bound(sums: Floats, k: int) -> np.float32:
    """A bound that a few more than k blocks reach."""
    wanted = max(_FIRST_GROUPS, k // 2)
    width = len(sums) // _GROUP
    if width <= wanted:
        return np.float32(0)
    # The largest of every width-th block: one sweep, and about as telling as the blocks themselves.
    groups = sums[: width * _GROUP].reshape(_GROUP, width).max(axis=0)
    place = width - wanted
    return np.float32(np.partition(groups, place)[place])


class _Search:
    """The rows scored so far, and the score that the next must reach.

    Args:
        source: the index.
        hot: its terms.
        weights: of the terms.
        k: how many rows are wanted.
        scoring: how rows are scored.
        allowed: rows to consider.
    """

    def __init__(
        self,
        source: Postings,
        hot: Sequence[HotTerm],
        weights: Sequence[np.float32],
        k: int,
        scoring: Scoring,
        allowed: Bitmap | None,
    ) -> None:
        self._source, self._hot, self._weights = source, hot, weights
        self._k, self._scoring, self._allowed = k, scoring, allowed
        self._rows = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self.least = _AT_LEAST
        self.num_blocks = 0

    def score(self, blocks: npt.NDArray[np.int64]) -> None:
        """Score every row of some blocks, and keep those that may be among the best."""
        self.num_blocks += len(blocks)
        rows = ((blocks * BLOCK)[:, None] + _LANES).reshape(-1)
        if len(blocks) and rows[-1] >= self._source.num_rows:
            rows = rows[rows < self._source.num_rows]
        scores = _scores(self._source, self._hot, self._weights, rows, self._scoring.norms)
        kept = scores >= self.least
        if self._allowed is not None:
            kept &= self._allowed[rows]
        if self._scoring.above > 0:
            kept &= scores > self._scoring.above
        if self._scoring.up_to is not None:
            kept &= scores <= self._scoring.up_to
        chosen = np.flatnonzero(kept)
        self._rows = np.concatenate([self._rows, rows[chosen]])
        self._scores = np.concatenate([self._scores, scores[chosen]])
        if len(self._scores) > self._k:
            place = len(self._scores) - self._k
            self.least = max(self.least, np.partition(self._scores, place)[place])
            better = np.flatnonzero(self._scores >= self.least)
            self._rows, self._scores = self._rows[better], self._scores[better]

    def best(self) -> tuple[Floats, RowIds]:
        """The rows wanted, best first."""
        order = np.lexsort((self._rows, -self._scores))[: self._k]
        return self._scores[order], self._rows[order]


_LANES = np.arange(BLOCK, dtype=np.int64)


def _scores(
    source: Postings,
    hot: Sequence[HotTerm],
    weights: Sequence[np.float32],
    rows: npt.NDArray[np.int64],
    norms: Norms | None,
) -> Floats:
    scores = np.zeros(len(rows), np.float32)
    if norms is None:
        for one, weight in zip(hot, weights, strict=True):
            scores += one.at(rows) * weight
        return scores
    assert source.lengths is not None
    base = _base(source.lengths[rows], norms)
    for one, weight in zip(hot, weights, strict=True):
        counts = one.at(rows).astype(np.float32)
        # A row without the term gives 0 / norm; with k1 = 0 the norm is 0 too.
        counts /= np.maximum(counts + base, _AT_LEAST)
        scores += counts * weight
    return scores


def score_all(source: Postings, terms: Sequence[WeightedTerm], scoring: Scoring) -> Floats:
    """(num_rows,) the score of every row: what `top_rows` prunes, without pruning."""
    hot = [hot_term(source, term.number) for term in terms]
    weights = [np.float32(term.weight) for term in terms]
    return _scores(source, hot, weights, np.arange(source.num_rows, dtype=np.int64), scoring.norms)
