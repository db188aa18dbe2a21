"""Merging byte ranges: each is answered, runs do not overlap, and waste is bounded."""

from __future__ import annotations

import uuid
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.store import Run, merge_ranges, open_store, slice_runs
from headwater.store.hedged import HedgedStore
from headwater.store.ranges import AT_ONCE, GAP_BYTES, cut_runs, gap_between, store_runs
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


@given(st.lists(st.tuples(st.integers(0, 200_000), st.integers(1, 4000)), min_size=1, max_size=200))
def test_what_a_store_sends_besides_is_bounded_and_so_are_its_requests(steps):
    ranges, at = [], 0
    for gap, size in steps:
        ranges.append(ByteRange(at + gap, at + gap + size))
        at += gap + size
    runs = store_runs(ranges)
    near = gap_between(sum(one.size_bytes for one in ranges) / len(ranges))
    gaps = [after.start - before.stop for before, after in pairwise(ranges)]
    read = [gap for run in runs for gap in gaps[run.members[0] : run.members[-1]]]
    left = [after.span.start - before.span.stop for before, after in pairwise(runs)]
    assert max(read, default=0) <= GAP_BYTES
    # Gaps that are longer than what is wanted is worth are read only where there would be too many requests.
    assert max(read, default=0) <= near or 1 + sum(gap > max(read) - 1 for gap in gaps) > AT_ONCE
    assert min(left, default=GAP_BYTES) > near or sum(run.span.size_bytes for run in runs) > 4 << 20
    assert len(runs) <= AT_ONCE or min(left) > GAP_BYTES


def test_single_rows_far_apart_are_not_read_with_what_lies_between():
    rows = [ByteRange(start, start + 1024) for start in range(0, 20 * 30_000, 30_000)]
    assert sum(run.span.size_bytes for run in store_runs(rows)) == 20 * 1024
    pages = [
        ByteRange(start - start % 4096, start - start % 4096 + 4096) for start in range(0, 600_000, 15_000)
    ]
    assert len(store_runs(pages)) == 1
    assert len(store_runs(pages, near_bytes=gap_between(1024))) == len(pages)
    lists = [ByteRange(start, start + 20_000) for start in range(0, 20 * 40_000, 40_000)]
    assert len(store_runs(lists)) == 1


@given(st.lists(st.integers(1, 6 << 20), min_size=1, max_size=6))
def test_the_requests_of_a_run_are_all_of_it_in_order(sizes):
    starts = np.cumsum([0, *(size + (1 << 20) for size in sizes)]).tolist()
    ranges = [ByteRange(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    runs = merge_ranges(ranges, gap_bytes=0, limit_bytes=8 << 20)
    cut = cut_runs(runs)
    for run, parts in zip(runs, cut, strict=True):
        assert (parts[0].start, parts[-1].stop) == (run.span.start, run.span.stop)
        assert all(a.stop == b.start for a, b in pairwise(parts))
        assert len(parts) == 1 or min(part.size_bytes for part in parts) >= 1 << 18
        assert max(part.size_bytes for part in parts) <= 1 << 19 or sum(sizes) >= 8 << 20
    # A transfer pays for no request more than it has runs.
    assert sum(sizes) < 8 << 20 or sum(map(len, cut)) == len(runs)


def test_a_long_read_that_somebody_waits_for_comes_by_several_requests():
    data = np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8).tobytes()
    memory = open_store(f"memory://{uuid.uuid4().hex}")
    memory.put("a", data)
    store = HedgedStore(memory)
    whole, head = store.get_ranges("a", [ByteRange(0, 4_500_000), ByteRange(4_600_001, 4_600_005)])
    assert (bytes(whole), bytes(head)) == (data[:4_500_000], data[4_600_001:4_600_005])
    assert store.requests == 10
