"""The codes of several runs of rows as those of one segment that has all of these rows.

Rows in memory are sealed as they are, so that their codes are those of the sealed segment, at other positions: it is
searched by codes from its first search on. Rows of it that came without codes are compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.index.exact import best, exact_search
from headwater.index.refine import refine
from headwater.index.scan_codes import ScanCodes
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["CodedRows", "JoinedCodes", "join_codes"]

_LEAST_SHARE = 0.25
"""Codes of rows most of which are elsewhere are left out, and so are joined ones of too few rows of a segment."""


@dataclass(frozen=True)
class CodedRows:
    """Codes, and where their rows are.

    Attributes:
        codes: of some rows.
        places: (codes.num_rows,) int64 positions of these rows in a segment; -1 for those that are not in it.
    """

    codes: ScanCodes
    places: RowIds


class JoinedCodes:
    """Codes of most rows of a segment. Safe to search from several threads.

    Attributes:
        held_bytes: memory that they take.

    Args:
        parts: no two of them have a row in common.
        without: (num_rows,) True for rows that no part has.
        metric: that the codes were made for.
    """

    def __init__(self, parts: Sequence[CodedRows], without: Bitmap, metric: MetricType) -> None:
        self.held_bytes = without.nbytes + sum(one.codes.held_bytes + one.places.nbytes for one in parts)
        self._parts = [(one.codes, one.places, _inside(one.places)) for one in parts]
        self._without = without if without.any() else None
        self._metric = metric

    def search(
        self, vectors: npt.NDArray[Any], queries: npt.NDArray[Any], k: int, *, allowed: Bitmap | None = None
    ) -> tuple[FloatMatrix, RowIds] | None:
        """See `ScanCodes.search`."""
        near, others = [], [] if self._without is None else [np.flatnonzero(self._without)]
        for codes, places, inside in self._parts:
            wanted = inside if allowed is None else _both(allowed[places], inside)
            found = codes.candidates(queries, k, allowed=wanted)
            if found is None:
                others.append(places if inside is None else places[inside])
            else:
                near.append(places[found])
        if not near:
            return None
        candidates = np.concatenate(near, axis=1)
        trace.note(strategy="codes", candidates=candidates.shape[1])
        refined = refine(vectors, queries, candidates, k, self._metric, allowed=allowed)
        if not others:
            return refined
        left = np.zeros(len(vectors), np.bool_)
        left[np.concatenate(others)] = True
        exact = exact_search(vectors, queries, k, self._metric, allowed=_both(left, allowed))
        distances = np.concatenate([refined[0], exact[0]], axis=1)
        rows = np.concatenate([refined[1], exact[1]], axis=1)
        order = best(distances, k, self._metric)
        return np.take_along_axis(distances, order, axis=1), np.take_along_axis(rows, order, axis=1)


def join_codes(parts: Sequence[CodedRows], num_rows: int, metric: MetricType) -> JoinedCodes | None:
    """The codes of a segment's rows, as they were made before the segment was.

    Args:
        parts: codes, and where their rows are in the segment; no two have a row in common.
        num_rows: of the segment.
        metric: that the codes were made for.

    Returns:
        The codes; None where too few rows have some.
    """
    used = [one for one in parts if np.count_nonzero(one.places >= 0) >= _LEAST_SHARE * one.codes.num_rows]
    without = np.ones(num_rows, np.bool_)
    for one in used:
        without[one.places[one.places >= 0]] = False
    if np.count_nonzero(without) > (1 - _LEAST_SHARE) * num_rows:
        return None
    return JoinedCodes(used, without, metric)


def _inside(places: RowIds) -> Bitmap | None:
    """Which rows are in the segment; None for all."""
    inside: Bitmap = places >= 0
    return None if inside.all() else inside


def _both(one: Bitmap, other: Bitmap | None) -> Bitmap:
    return one if other is None else one & other
