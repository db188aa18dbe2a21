"""Codes of rows that no index covers yet, made in the background once searches compare such rows one by one.

Codes stand in for the index that a field has declared, until there is one: for rows in the log, and for segments
whose index is not built. They are made by one thread of low priority; until they are there, searches are
exact, and no search ever waits for them. Those of rows in memory go with the rows, and to the segment that
these rows are sealed in; others are kept within the budget of memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import faiss
import numpy as np

from headwater.formats import Vectors
from headwater.index import LEAST_CODED_ROWS, ScanCodes, make_codes
from headwater.index.joined_codes import CodedRows, JoinedCodes, join_codes
from headwater.lake import IndexSpec, Segment
from headwater.lake.log import GrowingSegment, places_in, vectors_in
from headwater.schema import Field
from headwater.tiers import MemoryView, WorkQueue
from headwater.types import MetricType

__all__ = ["Codes", "code_again", "codes_bytes", "later", "wait_for_codes"]

_LEAST_NUMBERS = 1_000_000
"""Numbers of a segment that are compared exactly in less time than is worth saving."""

_SEALED_SEARCHES = 3
"""A segment in files is coded once it is searched so often: most get their index first."""

_MOST_WAITING = 32

_EXACT_KINDS = ("flat", "bin_flat")


@dataclass(frozen=True)
class _InMemory:
    """The key of codes that are kept with a growing segment."""

    field_id: int
    metric: str


class Codes:
    """The codes of one collection's segments. Safe between threads.

    Args:
        kept: keeps the codes of segments in files; None marks those for which none are to be had.
        searches: counts searches of segments in files.
    """

    def __init__(
        self,
        kept: MemoryView[Hashable, ScanCodes | JoinedCodes | None],
        searches: MemoryView[Hashable, itertools.count[int]],
    ) -> None:
        self._kept = kept
        self._searches = searches

    def of(
        self, segment: Segment, field: Field, spec: IndexSpec | None, vectors: Vectors
    ) -> ScanCodes | JoinedCodes | None:
        """The codes of a segment's vectors, where they are there; they are asked for where they would help.

        Args:
            segment: of the collection; no index covers it.
            field: of the vectors.
            spec: the index declared on the field, of the metric that is searched by; None for exact answers.
            vectors: of the segment, as stored.
        """
        if spec is None or spec.kind in _EXACT_KINDS or not isinstance(vectors, np.ndarray):
            return None
        if segment.num_rows < LEAST_CODED_ROWS or vectors.size < _LEAST_NUMBERS:
            return None
        if isinstance(segment, GrowingSegment):
            held = _InMemory(field.id, spec.metric)
            found: ScanCodes | None = segment.memo.get(held)
            if found is None and held not in segment.memo:
                put = partial(segment.memo.__setitem__, held)
                self._ask((segment.id, held), vectors, spec.metric, put)
            return found
        key = _key(segment, field.id, spec.metric)
        if key in self._kept:
            return self._kept.get(key)
        if next(self._searches.get_or(key, itertools.count)) >= _SEALED_SEARCHES:
            self._ask(key, vectors, spec.metric, partial(self._keep, key))
        return None

    def made_of(self, segment: Segment, field: Field, spec: IndexSpec) -> bool:
        """Whether the codes that `of` would give are there; asks for none."""
        if isinstance(segment, GrowingSegment):
            return segment.memo.get(_InMemory(field.id, spec.metric)) is not None
        key = _key(segment, field.id, spec.metric)
        return key in self._kept and self._kept.get(key) is not None

    def carry_over(self, grown: Sequence[GrowingSegment], sealed: Sequence[Segment]) -> None:
        """Keep the codes of rows in memory for the segments that these rows are in from now on.

        Args:
            grown: rows that were in memory.
            sealed: segments in files that came since.
        """
        for held in {held for one in grown for held in list(one.memo) if isinstance(held, _InMemory)}:
            coded = [(one, codes) for one in grown if (codes := one.memo.get(held)) is not None]
            for segment in sealed if coded else ():
                parts = [CodedRows(codes, places_in(segment, one.row_id_array())) for one, codes in coded]
                joined = join_codes(parts, segment.num_rows, MetricType(held.metric))
                if joined is not None:
                    self._keep(_key(segment, held.field_id, held.metric), joined)

    def _keep(self, key: Hashable, codes: ScanCodes | JoinedCodes | None) -> None:
        self._kept.get_or(key, lambda: codes)

    def _ask(
        self,
        key: Hashable,
        vectors: np.ndarray,
        metric: str,
        put: Callable[[ScanCodes | None], None],
    ) -> None:
        _MAKER.ask((id(self), key), lambda: put(make_codes(vectors, MetricType(metric))))


def _key(segment: Segment, field_id: int, metric: str) -> Hashable:
    """Where the codes of a segment in files are kept."""
    return (segment.id, field_id, segment.columns_key, "codes", metric)


def later(make: Callable[[], None]) -> bool:
    """Have a function called soon, once, by the thread that makes codes; False where too much waits already."""
    return _MAKER.ask(make, make)


def code_again(merged: GrowingSegment, larger: GrowingSegment) -> None:
    """Make the codes of a merged segment that a segment it is made of had, on the calling thread."""
    for held in [one for one in list(larger.memo) if isinstance(one, _InMemory)]:
        vectors = vectors_in(merged, held.field_id)
        if vectors is not None:
            merged.memo[held] = make_codes(vectors, MetricType(held.metric))


def _leave_cores() -> None:
    # A number of this thread alone: what it makes must not take the cores that searches are on.
    faiss.omp_set_num_threads(1)


_MAKER = WorkQueue("headwater-codes", _MOST_WAITING, daemon=False, begin=_leave_cores)


def wait_for_codes() -> None:
    """Return once all codes that searches have asked for are made; for tests and measurements."""
    _MAKER.wait()


def codes_bytes(codes: ScanCodes | JoinedCodes | None) -> int:
    """Memory that codes hold."""
    return 0 if codes is None else codes.held_bytes
