"""Merging byte ranges: each is answered, runs do not overlap, and waste is bounded."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headwater.store import Run, merge_ranges, slice_runs
from headwater.types import ByteRange

spans = st.tuples(st.integers(0, 5000), st.integers(0, 300)).map(lambda pair: ByteRange(pair[0], sum(pair)))
DATA = bytes(i % 251 for i in range(6000))


@given(st.lists(spans, max_size=30), st.integers(0, 500), st.integers(1, 1000))
def test_every_range_is_cut_from_exactly_one_run(ranges, gap_bytes, limit_bytes):
    runs = merge_ranges(ranges, gap_bytes=gap_bytes, limit_bytes=limit_bytes)
    found = slice_runs(ranges, runs, [memoryview(DATA)[r.span.start : r.span.stop] for r in runs])
    assert [bytes(view) for view in found] == [DATA[r.start : r.stop] for r in ranges]
    asked = sorted(position for run in runs for position in run.members)
    assert asked == [i for i, r in enumerate(ranges) if r.size_bytes]
    assert all(a.span.stop <= b.span.start for a, b in pairwise(runs))


@given(st.lists(spans, max_size=30), st.integers(0, 500))
def test_waste_between_two_wanted_ranges_is_bounded_by_the_gap(ranges, gap_bytes):
    runs = merge_ranges(ranges, gap_bytes=gap_bytes, limit_bytes=10**9)
    for run in runs:
        reach = run.span.start
        for position in run.members:
            assert ranges[position].start - reach <= gap_bytes
            reach = max(reach, ranges[position].stop)
        assert reach == run.span.stop


def test_near_ranges_are_one_request_and_far_ones_two():
    ranges = [ByteRange(0, 10), ByteRange(1000, 1010), ByteRange(15, 20)]
    runs = merge_ranges(ranges, gap_bytes=5, limit_bytes=10**6)
    assert runs == [Run(ByteRange(0, 20), (0, 2)), Run(ByteRange(1000, 1010), (1,))]


def test_a_run_stops_growing_at_the_limit():
    ranges = [ByteRange(start, start + 100) for start in range(0, 1000, 100)]
    runs = merge_ranges(ranges, gap_bytes=10, limit_bytes=250)
    assert [run.span.size_bytes for run in runs] == [200] * 5
