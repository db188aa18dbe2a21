"""Postings: for each term, the rows that hold it. The one shape that searches read, in memory and from a file alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.types import Bitmap

__all__ = ["KeptTotals", "MemoryPostings", "Postings", "Totals", "Vocabulary", "next_serial"]

Int32s = npt.NDArray[np.int32]

_MEMO_TERMS = 65_536
_serials = itertools.count()

Totals = tuple[Bitmap | None, int, int]
"""Rows of a segment that are gone, None for none; how many rows with a text are left; how many terms in them."""


class Vocabulary:
    """Terms in order, and their numbers.

    Args:
        terms: sorted distinct texts (by bytes), or sorted dimensions as uint32.
    """

    def __init__(self, terms: pa.StringArray | npt.NDArray[np.uint32]) -> None:
        self.terms = terms
        self._memo: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self.terms)

    def find(self, term: str | int) -> int:
        """The number of a term; -1 where there is none."""
        number = self._memo.get(term)
        if number is None:
            if len(self._memo) >= _MEMO_TERMS:
                self._memo = {}
            number = self._memo[term] = self._find(term)
        return number

    def _find(self, term: str | int) -> int:
        if isinstance(self.terms, np.ndarray):
            place = int(np.searchsorted(self.terms, term))
            return place if place < len(self.terms) and self.terms[place] == term else -1
        wanted = str(term).encode()
        low, high = 0, len(self.terms)
        while low < high:
            middle = (low + high) // 2
            if self.terms[middle].as_buffer().to_pybytes() < wanted:
                low = middle + 1
            else:
                high = middle
        there = low < len(self.terms) and self.terms[low].as_buffer().to_pybytes() == wanted
        return low if there else -1


class Postings(Protocol):
    """An inverted index of one segment.

    Attributes:
        serial: different for every one that is opened; a key for caches.
        num_rows: rows of the segment.
        vocabulary: its terms.
        lengths: (num_rows,) terms in each row, -1 where the text is null; None for sparse vectors.
        size_bytes: about the memory that it holds.
    """

    serial: int
    num_rows: int
    vocabulary: Vocabulary
    lengths: Int32s | None
    size_bytes: int

    def totals(self, token: Hashable, count: Callable[[], Totals]) -> Totals:
        """What `count` says of the rows, kept for the last token."""
        ...

    def count(self, number: int) -> int:
        """Rows that hold a term."""
        ...

    def postings(self, number: int) -> tuple[Int32s, npt.NDArray[Any]]:
        """The rows that hold a term, in order, and how often each does (unsigned), or its weight there (float32)."""
        ...

    def positions(self, number: int) -> Int32s:
        """Where a term stands in its rows, row after row, as many in each as `postings` says."""
        ...


class KeptTotals:
    """See `Postings.totals`."""

    _totals: tuple[Hashable, Totals] | None = None

    def totals(self, token: Hashable, count: Callable[[], Totals]) -> Totals:
        """See `Postings`."""
        known = self._totals
        if known is None or known[0] != token:
            known = self._totals = (token, count())
        return known[1]


class MemoryPostings(KeptTotals):
    """`Postings` of arrays in memory.

    Args:
        terms: see `Vocabulary`.
        starts: (terms + 1,) where each term's postings begin.
        rows: of all postings, by term.
        values: counts or weights of all postings.
        positions: of all postings, row after row; None for sparse vectors.
        lengths: see `Postings`.
        num_rows: rows of the segment.
    """

    def __init__(
        self,
        terms: pa.StringArray | npt.NDArray[np.uint32],
        starts: npt.NDArray[np.int64],
        rows: Int32s,
        values: npt.NDArray[Any],
        *,
        positions: Int32s | None,
        lengths: Int32s | None,
        num_rows: int,
    ) -> None:
        self.serial = next(_serials)
        self.vocabulary = Vocabulary(terms)
        self.starts, self.rows, self.values = starts, rows, values
        self.all_positions = positions
        self.lengths = lengths
        self.num_rows = num_rows
        self._position_starts: npt.NDArray[np.int64] | None = None
        arrays: list[npt.NDArray[Any] | None] = [starts, rows, values, positions, lengths]
        self.size_bytes = int(terms.nbytes) + sum(int(one.nbytes) for one in arrays if one is not None)

    def count(self, number: int) -> int:
        """See `Postings`."""
        return int(self.starts[number + 1] - self.starts[number])

    def postings(self, number: int) -> tuple[Int32s, npt.NDArray[Any]]:
        """See `Postings`."""
        span = slice(int(self.starts[number]), int(self.starts[number + 1]))
        return self.rows[span], self.values[span]

    @property
    def position_starts(self) -> npt.NDArray[np.int64]:
        """(terms + 1,) where each term's positions begin."""
        if self._position_starts is None:
            before = np.zeros(len(self.values) + 1, np.int64)
            np.cumsum(self.values, out=before[1:])
            self._position_starts = before[self.starts]
        return self._position_starts

    def positions(self, number: int) -> Int32s:
        """See `Postings`."""
        assert self.all_positions is not None
        return self.all_positions[int(self.position_starts[number]) : int(self.position_starts[number + 1])]


def next_serial() -> int:
    """A serial for postings of another kind."""
    return next(_serials)
