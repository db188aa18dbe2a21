"""One comparison for all segments: candidates of each are merged by their estimates, and only the best are read.

Where vectors are a request away, each candidate costs one. Read for every segment by itself they are as many as there
are segments, though the hits come from all of them together; here all segments' reads are asked for at once, and a
query reads as many vectors of a hundred segments as of one. Vectors that are here are compared by the index as it finds
them, which costs less than handing them over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index import Candidates, SupportsCandidates, worth_comparing
from headwater.index.exact import best
from headwater.query.away import done
from headwater.store import Ahead, together
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Asked", "Compared", "Pending", "compared", "pending"]

_FETCHED_BYTES = 64 << 20
"""Vectors read together, at the most, unless one query alone wants more."""

Compared = tuple[FloatMatrix, RowIds]
"""(q, c) distances and positions of a segment, -1 where there is none."""


class Asked(NamedTuple):
    """What is searched for in every segment.

    Attributes:
        queries: (q, width).
        k: hits wanted.
        metric: how closeness is measured.
        options: search parameters of the index.
        segments: searched together.
    """

    queries: npt.NDArray[Any]
    k: int
    metric: MetricType
    options: Mapping[str, Any]
    segments: int


class Pending(NamedTuple):
    """A segment's candidates, and what compares them.

    Attributes:
        by: the index that found them.
        vectors: of the segment.
        found: the candidates.
    """

    by: SupportsCandidates
    vectors: Vectors
    found: Candidates


def pending(
    index: Any, vectors: Vectors, asked: Asked, *, allowed: Bitmap | None, kept: Bitmap | None
) -> Pending | None:
    """The candidates of one segment, not compared yet; None where its index compares them itself.

    Args:
        index: of the segment.
        vectors: of the segment.
        asked: what is searched for.
        allowed: rows to consider; None for all.
        kept: the same rows, where all that they leave out is deleted; else None.
    """
    if isinstance(vectors, np.ndarray) or not isinstance(index, SupportsCandidates):
        return None
    search = partial(
        index.candidates, asked.queries, vectors=vectors, options=asked.options, segments=asked.segments
    )
    if kept is not None:
        # As if nothing were deleted, for a few more: which list each row is in need not be known then.
        found = search(asked.k + 4 + asked.k // 4, allowed=None)
        if found is not None:
            alive = (found.rows >= 0) & kept[found.rows]
            if int(alive.sum(axis=1).min()) >= asked.k:
                return Pending(index, vectors, found._replace(rows=np.where(alive, found.rows, -1)))
    found = search(asked.k, allowed=allowed)
    return None if found is None else Pending(index, vectors, found)


def compared(
    parts: Sequence[Compared | Pending],
    asked: Asked,
    meanwhile: Callable[[Sequence[tuple[int, RowIds]]], Sequence[Ahead[None]]],
) -> list[Compared]:
    """The hits of every segment, those of its candidates that may be among the best of all compared.

    Args:
        parts: by segment, what it found.
        asked: what was searched for.
        meanwhile: begins what is done with the rows that are likely to be hits, by the place of their segment.
    """
    waiting = {at: one for at, one in enumerate(parts) if isinstance(one, Pending)}
    hits = [(one.found.estimates, one.found.rows) if isinstance(one, Pending) else one for one in parts]
    if not waiting:
        return hits
    exact = np.zeros(len(asked.queries), np.float32)
    found = [one.found if isinstance(one, Pending) else Candidates(*one, exact) for one in parts]
    chosen = worth_comparing(found, asked.k, asked.metric)
    begun = meanwhile(_likely(found, asked))
    try:
        return _refined(hits, waiting, chosen, asked)
    finally:
        done(begun)


def _likely(found: Sequence[Candidates], asked: Asked) -> list[tuple[int, RowIds]]:
    """By segment the rows that are the hits if estimates are right."""
    exact = np.zeros(len(asked.queries), np.float32)
    nearest = worth_comparing([one._replace(within=exact) for one in found], asked.k, asked.metric)
    return [
        (at, np.unique(one.rows[keep])) for at, (one, keep) in enumerate(zip(found, nearest, strict=True))
    ]


def _refined(
    hits: list[Compared], waiting: Mapping[int, Pending], chosen: Sequence[Bitmap], asked: Asked
) -> list[Compared]:
    """`hits` with exact distances where only estimates are known."""
    counts = np.sum([chosen[at].sum(axis=1) for at in waiting], axis=0)
    with trace.step("refine", segments=len(waiting)):
        trace.count(vectors_compared=int(counts.sum()))
        blocks = list(_blocks(counts * max(_row_bytes(one.vectors) for one in waiting.values())))
        done = []
        for block in blocks:
            calls = [
                partial(_compare, one, asked.queries[block], chosen[at][block], block, asked.metric)
                for at, one in waiting.items()
            ]
            done.append(together(calls))
    for place, at in enumerate(waiting):
        distances = np.concatenate([one[place][0] for one in done])
        order = best(distances, min(asked.k, distances.shape[1]), asked.metric)
        rows = np.concatenate([one[place][1] for one in done])
        hits[at] = np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return hits


def _row_bytes(vectors: Vectors) -> int:
    return int(vectors.shape[1] * vectors.dtype.itemsize)


def _blocks(sizes: npt.NDArray[np.int64]) -> Iterator[slice]:
    """Runs of queries whose vectors come to no more than is read together."""
    start = held = 0
    for at, size in enumerate(sizes.tolist()):
        if at > start and held + size > _FETCHED_BYTES:
            yield slice(start, at)
            start, held = at, 0
        held += size
    yield slice(start, len(sizes))


def _compare(
    one: Pending, queries: npt.NDArray[Any], keep: Bitmap, block: slice, metric: MetricType
) -> Compared:
    """Exact distances of the candidates that are kept, of a block of the queries; the others are none."""
    rows = one.found.rows[block]
    distances = np.full(rows.shape, -np.inf if metric.larger_is_closer else np.inf, np.float32)
    columns = np.flatnonzero(keep.any(axis=0))
    if len(columns):
        # Best first, so that the first columns hold all; what is left out of them stands for a row that is read anyway.
        first = slice(0, int(columns[-1]) + 1)
        read = np.where(keep[:, first], rows[:, first], rows[keep][0])
        np.copyto(distances[:, first], one.by.compare(queries, read, one.vectors), where=keep[:, first])
    return distances, np.where(keep, rows, -1)
