"""Which requests to make for a set of byte ranges: near ones become one request.

Promise: every range asked for lies inside exactly one run; runs are ordered, do not overlap, and read at most
`gap_bytes` unwanted bytes between two wanted ones. Ranges merge as in Arrow's `ReadRangeCache`; how near is near goes
by what they are (`gap_between`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.types import ByteRange

__all__ = [
    "AT_ONCE",
    "CUT_BYTES",
    "GAP_BYTES",
    "RUN_BYTES",
    "Run",
    "cut_runs",
    "gap_between",
    "mean_bytes",
    "merge_ranges",
    "slice_runs",
    "store_runs",
]

# A request costs about what 64 KiB more of a running one do, on S3 as on its emulators.
GAP_BYTES = 64 * 1024
"""Ranges further apart than this are never one request."""

_WASTE = 6.5
"""Bytes between two ranges, at most, that are read for a byte of theirs: single rows do not cost a hundred others. With
4, a query of 1 M x 768 is 30 requests and 550 KB, with 6.5 it is 20 and 700, with 8 it is 18 and 770."""

_LEAST_GAP_BYTES = 4096
"""Ranges this close always are one request: they take no longer than its head."""

AT_ONCE = 64
"""Requests of one call that take hardly longer than one; where there would be more, nearer ranges become one first."""

RUN_BYTES = 8 * 1024 * 1024
"""Ranges that are merged grow no further, so that big reads stay parallel."""

CUT_BYTES = 512 * 1024
"""A request that somebody waits for reads no more: one connection gives about 100 MB/s, and more than this takes longer
than a sixth of the wait before its first byte."""


@dataclass(frozen=True, slots=True)
class Run:
    """One request, and which of the ranges asked for it answers.

    Attributes:
        span: the bytes to request.
        members: positions, in the sequence asked for, of the ranges inside the span.
    """

    span: ByteRange
    members: tuple[int, ...]


def merge_ranges(ranges: Sequence[ByteRange], *, gap_bytes: int, limit_bytes: int) -> list[Run]:
    """Group ranges into runs.

    Args:
        ranges: any order, overlapping or equal ones allowed; empty ones belong to no run.
        gap_bytes: ranges this close are read together.
        limit_bytes: a run grows past this size only by ranges that overlap it, so big reads stay parallel.

    Returns:
        Runs by position.
    """
    order = sorted((r.start, r.stop, i) for i, r in enumerate(ranges) if r.size_bytes)
    runs: list[Run] = []
    start = stop = 0
    members: list[int] = []
    for first, last, position in order:
        near = first < stop or (first - stop <= gap_bytes and max(last, stop) - start <= limit_bytes)
        if members and near:
            stop = max(stop, last)
            members.append(position)
            continue
        if members:
            runs.append(Run(ByteRange(start, stop), tuple(members)))
        start, stop, members = first, last, [position]
    if members:
        runs.append(Run(ByteRange(start, stop), tuple(members)))
    return runs


def gap_between(size_bytes: float) -> int:
    """How close ranges are one request, where they are few.

    Args:
        size_bytes: of a range, on average.
    """
    return int(min(GAP_BYTES, max(_LEAST_GAP_BYTES, _WASTE * size_bytes)))


def mean_bytes(ranges: Sequence[ByteRange]) -> float:
    """Of the ranges that are not empty; 0 where all are."""
    sizes = [one.size_bytes for one in ranges if one.size_bytes]
    return sum(sizes) / len(sizes) if sizes else 0.0


def store_runs(ranges: Sequence[ByteRange], near_bytes: int | None = None) -> list[Run]:
    """The runs in which a store that is a request away is asked for ranges.

    Args:
        ranges: of one call; as for `merge_ranges`.
        near_bytes: how close they are one request, where they are few; by their size where nothing is said.
    """
    return merge_ranges(ranges, gap_bytes=_gap(ranges, near_bytes), limit_bytes=RUN_BYTES)


def _gap(ranges: Sequence[ByteRange], near_bytes: int | None) -> int:
    spans = sorted((one.start, one.stop) for one in ranges if one.size_bytes)
    if len(spans) < 2:
        return 0
    least = gap_between(mean_bytes(ranges)) if near_bytes is None else near_bytes
    if len(spans) <= AT_ONCE or least == GAP_BYTES:
        return least
    gaps = sorted(after[0] - before[1] for before, after in itertools.pairwise(spans))
    return min(GAP_BYTES, max(least, gaps[-AT_ONCE]))


def cut_runs(runs: Sequence[Run]) -> list[list[ByteRange]]:
    """The requests of each run: several for a long one that somebody waits for.

    A search that opens an index waits for 4 MB of it, which one connection takes longer for than for the first byte.
    Calls of `RUN_BYTES` and more are transfers: they have many runs, and each request more is paid for.

    Args:
        runs: of one call.

    Returns:
        For each run the parts of its span, in order.
    """
    if sum(run.span.size_bytes for run in runs) >= RUN_BYTES:
        return [[run.span] for run in runs]
    return [_equal_parts(run.span, -(-run.span.size_bytes // CUT_BYTES)) for run in runs]


def _equal_parts(span: ByteRange, count: int) -> list[ByteRange]:
    edges = [span.start + span.size_bytes * part // count for part in range(count + 1)]
    return [ByteRange(start, stop) for start, stop in itertools.pairwise(edges)]


def slice_runs(
    ranges: Sequence[ByteRange], runs: Sequence[Run], data: Sequence[memoryview]
) -> list[memoryview]:
    """Cut what the runs read into the ranges asked for, without copying.

    Args:
        ranges: what was given to `merge_ranges`.
        runs: what it returned.
        data: the bytes of each run.

    Returns:
        A view for each range, in the order of `ranges`.
    """
    views = [memoryview(b"")] * len(ranges)
    for run, block in zip(runs, data, strict=True):
        for position in run.members:
            wanted = ranges[position]
            views[position] = block[wanted.start - run.span.start : wanted.stop - run.span.start]
    return views
