"""Decoded postings of the terms that are searched for, kept within a budget shared by all indexes of the process.

Beside its postings a term keeps the largest part of a score that it gives in each block of eight rows: what a search
prunes by. A part is `count * / (count + norm)`, which grows with the mean length of texts; so a bound worked out for
one mean holds for a smaller one as it is, and for a larger one times the ratio of the two.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.index.text.postings import Postings
from headwater.types import Bitmap

__all__ = ["BLOCK", "Bounds", "HotTerm", "Norms", "hot_term"]

BLOCK = 8
"""Rows of a block."""

_BUDGET_BYTES = 512 << 20
_ENTRY_BYTES = 1024
_DENSE_SHARE = 16
_DRIFT = 1.05
_SLACK = np.float32(1.00001)

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Norms:
    """What a row's length does to a count: `count / (count + base + slope * length)`.

    Attributes:
        base: k1 * (1 - b).
        slope: k1 * b / mean length.
    """

    base: float
    slope: float


@dataclass(frozen=True)
class Bounds:
    """The largest part in each block.

    Attributes:
        norms: that they were worked out for; None for weights.
        blocks: numbers of the blocks that hold the term; None where `largest` has all blocks.
        largest: (blocks,) upper bounds.
    """

    norms: Norms | None
    blocks: npt.NDArray[np.int64] | None
    largest: Floats


class HotTerm:
    """One term of one index, decoded.

    Attributes:
        rows: that hold it, in order.
        values: counts or weights there.

    Args:
        source: the index.
        number: the term's number.
    """

    def __init__(self, source: Postings, number: int) -> None:
        self.rows, self.values = source.postings(number)
        self._lengths = source.lengths
        self._num_blocks = -(-source.num_rows // BLOCK)
        self._dense: npt.NDArray[Any] | None = None
        if len(self.rows) * _DENSE_SHARE > source.num_rows:
            self._dense = np.zeros(self._num_blocks * BLOCK, self.values.dtype)
            self._dense[self.rows] = self.values
        self._bounds: Bounds | None = None
        self._gone: tuple[Hashable, int] | None = None
        bounds = 12 * len(self.rows) if self._dense is None else 4 * self._num_blocks + self._dense.nbytes
        self.size_bytes = _ENTRY_BYTES + int(self.rows.nbytes + self.values.nbytes + bounds)

    def at(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Counts or weights at some rows, zero where the term is not."""
        if self._dense is not None:
            return self._dense[rows]
        place = self.rows.searchsorted(rows)
        place[place == len(self.rows)] = 0
        found: npt.NDArray[Any] = self.values[place] * (self.rows[place] == rows)
        return found

    def bounds(self, norms: Norms | None) -> tuple[Bounds, float]:
        """Bounds of the parts, and what to multiply them by."""
        known = self._bounds
        if known is not None:
            if norms is None or known.norms is None or norms == known.norms:
                return known, 1.0
            ratio = known.norms.slope / norms.slope if norms.slope else 1.0
            if norms.base == known.norms.base and 1 / _DRIFT <= ratio <= _DRIFT:
                return known, max(1.0, ratio)
        known = self._bounds = self._work_out(norms)
        return known, 1.0

    def _work_out(self, norms: Norms | None) -> Bounds:
        parts = self.values.astype(np.float32)
        if norms is not None:
            assert self._lengths is not None
            lengths = self._lengths[self.rows].astype(np.float32)
            parts /= parts + (np.float32(norms.base) + np.float32(norms.slope) * lengths)
        if self._dense is not None:
            every = np.zeros(self._num_blocks * BLOCK, np.float32)
            every[self.rows] = parts
            lanes = every.reshape(-1, BLOCK).T
            return Bounds(norms, None, _largest_of(lanes) * _SLACK)
        blocks = self.rows // np.int32(BLOCK)
        first = np.flatnonzero(np.diff(blocks, prepend=-1))
        return Bounds(norms, blocks[first].astype(np.int64), np.maximum.reduceat(parts, first) * _SLACK)

    def num_gone(self, gone: Bitmap, token: Hashable) -> int:
        """How many of its rows are gone.

        Args:
            gone: (num_rows,) True for rows that are.
            token: equal only for equal bitmaps; None where there is none.
        """
        if token is not None and self._gone is not None and self._gone[0] == token:
            return self._gone[1]
        number = int(np.count_nonzero(gone[self.rows]))
        if token is not None:
            self._gone = (token, number)
        return number


class _Cache:
    """Least recently used first out; the terms of an index go when it does.

    Args:
        budget_bytes: the bound on all terms together.
    """

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._terms: OrderedDict[tuple[int, int], HotTerm] = OrderedDict()
        self._numbers: dict[int, set[int]] = {}
        self._closed: deque[int] = deque()
        self._used = 0
        self._lock = threading.Lock()

    def get(self, source: Postings, number: int) -> HotTerm:
        key = (source.serial, number)
        with self._lock:
            found = self._terms.get(key)
            if found is not None:
                self._terms.move_to_end(key)
                return found
        made = HotTerm(source, number)
        with self._lock:
            while self._closed:
                serial = self._closed.popleft()
                for one in self._numbers.pop(serial, ()):
                    self._used -= self._terms.pop((serial, one)).size_bytes
            if key not in self._terms and made.size_bytes <= self._budget:
                self._keep(source, number, made)
        return made

    def _keep(self, source: Postings, number: int, made: HotTerm) -> None:
        if source.serial not in self._numbers:
            self._numbers[source.serial] = set()
            # Only noted here: a finalizer may run anywhere, under the lock too.
            weakref.finalize(source, self._closed.append, source.serial).atexit = False
        self._numbers[source.serial].add(number)
        self._terms[source.serial, number] = made
        self._used += made.size_bytes
        while self._used > self._budget:
            (serial, one), evicted = self._terms.popitem(last=False)
            self._numbers[serial].discard(one)
            self._used -= evicted.size_bytes


_cache = _Cache(_BUDGET_BYTES)


def hot_term(source: Postings, number: int) -> HotTerm:
    """A term of an index, from the cache or decoded now."""
    return _cache.get(source, number)


def _largest_of(lanes: Floats) -> Floats:
    """The largest of each column; a few long sweeps are sooner done than many short ones."""
    largest: Floats = lanes[0].copy()
    for lane in lanes[1:]:
        np.maximum(largest, lane, out=largest)
    return largest
