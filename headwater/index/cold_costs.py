"""What a search costs whose vectors have to be fetched, and how far it may go.

A request counts as much as reading `REQUEST_BYTES`. A search with a filter may cost `BOUND` times what the same search
costs without one, however wrong an estimate is: it probes so many lists at the most, compares every selected row only
where that is within the bound, and beyond that goes on only until k rows are found.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from headwater.store.ranges import RUN_BYTES
from headwater.types import Bitmap, RowIds

__all__ = ["BOUND", "REQUEST_BYTES", "Effort", "ReadCosts", "bounded", "rows_cost"]

REQUEST_BYTES = 64 * 1024
"""Ranges closer than this are read together (`store/`), so a request is taken to cost as much."""

BOUND = 8


class Effort(NamedTuple):
    """What a search may do.

    Attributes:
        nprobe: lists that find enough without a filter.
        refine_k: candidates that do, as a multiple of k.
        most_probes: lists probed at the most; None for no bound.
        exact_rows: selected rows, at the most, of which each may be compared where no list is better than another.
        least_rows: rows that the probed lists hold at the least, where there are so many; more are probed else.
    """

    nprobe: int
    refine_k: float
    most_probes: int | None = None
    exact_rows: int = 0
    least_rows: int = 0


class ReadCosts(NamedTuple):
    """What reading costs.

    Attributes:
        list_bytes: of a list, on average, its request included; 0 where lists are here.
        row_bytes: of a vector.
        share: of the candidates, whose vectors are read: 0 where distances are exact without, less than 1 where several
            segments' candidates are compared together.
        most_list_bytes: of all lists, read from end to end.
    """

    list_bytes: float
    row_bytes: int
    share: float = 1.0
    most_list_bytes: float = math.inf

    @classmethod
    def of_lists(cls, lists_bytes: float, num_lists: float, row_bytes: int, share: float) -> ReadCosts:
        """Where lists lie one after another: many short ones are a few requests, and at the most what all of them are.

        Args:
            lists_bytes: of all lists; 0 where they are here.
            num_lists: of the segment.
            row_bytes: of a vector.
            share: see the class.
        """
        each = lists_bytes / num_lists + REQUEST_BYTES if lists_bytes else 0.0
        whole = lists_bytes + REQUEST_BYTES * math.ceil(lists_bytes / RUN_BYTES)
        return cls(each, row_bytes, share, whole)

    def of(self, probes: float, rows: float) -> float:
        """Bytes that probing lists and fetching far-apart rows costs."""
        lists = min(probes * self.list_bytes, self.most_list_bytes)
        return lists + self.share * rows * (self.row_bytes + REQUEST_BYTES)


def rows_cost(rows: RowIds, row_bytes: int) -> int:
    """Bytes that fetching rows costs, each request counted.

    Args:
        rows: (n,) positions, ascending.
        row_bytes: of each.
    """
    if not len(rows):
        return 0
    gaps = (np.diff(rows) - 1) * row_bytes
    near = gaps <= REQUEST_BYTES
    requests = len(rows) - int(np.count_nonzero(near))
    return len(rows) * row_bytes + int(gaps[near].sum()) + requests * REQUEST_BYTES


def bounded(
    effort: Effort, costs: ReadCosts, num_rows: int, allowed: Bitmap | None, count: int, k: int
) -> Effort | None:
    """How far a search goes whose vectors are fetched; None for comparing every selected row.

    Args:
        effort: what finds enough without a filter.
        costs: of reading.
        num_rows: of the segment.
        allowed: (num_rows,) rows to consider; None for all.
        count: how many they are.
        k: hits wanted, at most `count`.
    """
    if count == 0 or k > count // 4:
        return None
    bound = BOUND * costs.of(effort.nprobe, max(1.0, k * effort.refine_k))
    every = float(count * costs.row_bytes)
    if allowed is None:
        every += REQUEST_BYTES
    elif every <= bound:
        every = float(rows_cost(np.flatnonzero(allowed), costs.row_bytes))
    most = BOUND * effort.nprobe if costs.list_bytes else None
    probes = effort.nprobe * (num_rows / count) ** 0.5
    through = costs.of(probes if most is None else min(probes, most), max(1.0, k * effort.refine_k))
    if every <= through:
        return None
    return effort._replace(most_probes=most, exact_rows=count if every <= bound else 0, least_rows=2 * k)
