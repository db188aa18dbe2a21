"""Residency: the same bytes from a file and from a store, and a short file is Corrupt in both."""

from __future__ import annotations

import os
import threading
import time
import uuid

import pyarrow as pa
import pytest

from headwater.errors import Corrupt, ObjectNotFound, StoreUnavailable
from headwater.store import Fault, FaultyStore, LocalObjectStore, StoreWrapper, open_store
from headwater.tiers import mapped, open_object, read_ahead, residency
from headwater.types import ByteRange

DATA = bytes(i % 249 for i in range(300_000))


@pytest.fixture(params=["warm", "cold"])
def tier(request):
    return request.param


@pytest.fixture
def store(tier, tmp_path):
    store = (
        LocalObjectStore(tmp_path)
        if tier == "warm"
        else FaultyStore(open_store(f"memory://{uuid.uuid4().hex}"))
    )
    store.put("dir/object", DATA)
    return store


@pytest.mark.parametrize("size_bytes", [None, len(DATA)])
def test_reads_are_the_same_in_both_tiers(store, tier, size_bytes):
    opened = open_object(store, "dir/object", size_bytes=size_bytes)
    assert (opened.tier, opened.size_bytes, opened.key) == (tier, len(DATA), "dir/object")
    assert (opened.path is not None) == (tier == "warm")
    ranges = [ByteRange(200_000, 200_010), ByteRange(0, 3), ByteRange(5, 5), ByteRange(299_999, 300_000)]
    expected = [DATA[r.start : r.stop] for r in ranges]
    assert [bytes(view) for view in opened.read_ranges(ranges)] == expected
    assert bytes(opened.read(ranges[0])) == expected[0]
    assert bytes(opened.read_all()) == DATA
    assert opened.buffer().equals(pa.py_buffer(DATA))
    assert [bytes(view) for view in opened.read_ranges(ranges)] == expected


@pytest.mark.parametrize("size_bytes", [None, 0])
def test_empty_object(store, size_bytes):
    store.put("empty", b"")
    opened = open_object(store, "empty", size_bytes=size_bytes)
    assert opened.buffer().size == len(opened.read_all()) == len(opened.read(ByteRange(0, 0))) == 0


def test_shorter_than_said_is_corrupt(store, tier):
    def use():
        opened = open_object(store, "dir/object", size_bytes=len(DATA) + 1)
        opened.buffer()

    with pytest.raises(Corrupt, match=r"dir/object.*ends at 300000"):
        use()


def test_range_past_the_end_is_corrupt(store):
    opened = open_object(store, "dir/object")
    with pytest.raises(Corrupt, match=r"dir/object.*\[299999, 300001\).*ends at 300000"):
        opened.read(ByteRange(299_999, 300_001))


def test_absent_object(store):
    with pytest.raises(ObjectNotFound, match="dir/none"):
        open_object(store, "dir/none")
    with pytest.raises(ObjectNotFound, match="dir/none"):
        open_object(store, "dir/none", size_bytes=5).buffer()


def test_file_cut_short_while_open_is_corrupt_and_not_a_crash(tmp_path):
    store = LocalObjectStore(tmp_path)
    store.put("k", DATA)
    opened = open_object(store, "k")
    os.truncate(tmp_path / "k", 1000)
    with pytest.raises(Corrupt, match="ends at 1000"):
        opened.read(ByteRange(50_000, 60_000))
    with pytest.raises(Corrupt, match="ends at 1000"):
        opened.buffer()


def test_cold_object_costs_no_request_to_open_and_one_to_fetch():
    store = FaultyStore(open_store(f"memory://{uuid.uuid4().hex}"))
    big = os.urandom(1 << 20) * 20
    store.put("big", big)
    store.reset()
    opened = open_object(store, "big", size_bytes=len(big))
    assert store.requests.total() == 0
    assert bytes(opened.buffer()) == big
    assert bytes(opened.read(ByteRange(1, 9))) == big[1:9]
    assert opened.buffer() is opened.buffer()
    assert store.requests == {"get_ranges": 1}
    assert store.bytes_read == len(big)


class Watched(StoreWrapper):
    """Knows how many calls were under way at once, and how many ranges one asked for."""

    def __init__(self, inner):
        super().__init__(inner)
        self.lock = threading.Lock()
        self.now = self.most = self.ranges = 0

    def get_ranges(self, key, ranges, *, near_bytes=None):
        with self.lock:
            self.now += 1
            self.most, self.ranges = max(self.most, self.now), max(self.ranges, len(ranges))
        time.sleep(0.002)
        try:
            return self.inner.get_ranges(key, ranges, near_bytes=near_bytes)
        finally:
            with self.lock:
                self.now -= 1


@pytest.mark.parametrize("part_bytes", [1000, 12_500, 299_999, 300_000, 999_999])
def test_large_objects_come_in_a_bounded_number_of_parts_at_once(monkeypatch, part_bytes):
    monkeypatch.setattr(residency, "_PART_BYTES", part_bytes)
    inner = open_store(f"memory://{uuid.uuid4().hex}")
    inner.put("object", DATA)
    store = Watched(inner)
    assert bytes(open_object(store, "object", size_bytes=len(DATA)).read_all()) == DATA
    assert store.most <= 2
    assert store.ranges <= 8


def test_a_part_that_fails_fails_the_whole(monkeypatch):
    monkeypatch.setattr(residency, "_PART_BYTES", 1000)
    inner = open_store(f"memory://{uuid.uuid4().hex}")
    inner.put("object", DATA)
    store = FaultyStore(inner, schedule=lambda number, _, __: Fault("before") if number == 5 else None)
    opened = open_object(store, "object", size_bytes=len(DATA))
    with pytest.raises(StoreUnavailable):
        opened.buffer()
    assert opened.held_bytes == 0
    assert bytes(opened.read_all()) == DATA


def test_warm_buffer_is_mapped_not_copied(tmp_path):
    store = LocalObjectStore(tmp_path)
    store.put("k", DATA)
    before = pa.total_allocated_bytes()
    opened = open_object(store, "k")
    assert opened.buffer().size == len(DATA)
    assert pa.total_allocated_bytes() == before
    store.delete(["k"])
    assert bytes(opened.read_all()) == DATA


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be asked")
@pytest.mark.parametrize("available", [10 << 30, 2 << 20])
def test_reading_ahead_asks_for_every_piece_of_what_memory_holds(tmp_path, monkeypatch, available):
    size_bytes, asked = (3 << 20) + 5, []
    path = tmp_path / "file"
    path.write_bytes(bytes(size_bytes))
    monkeypatch.setattr(mapped, "_available_bytes", lambda: available)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, start, length, __: asked.append((start, length)))
    read_ahead(path, size_bytes)
    stops = [start + length for start, length in asked]
    assert [start for start, _ in asked] == [0, *stops[:-1]]
    assert max(length for _, length in asked) <= 128 << 10
    assert stops[-1] >= min(size_bytes, available // 2)
    assert stops[-1] < min(size_bytes, available // 2) + (128 << 10)


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="Linux tells")
def test_memory_to_be_had_is_less_than_there_is():
    assert 0 < mapped._available_bytes() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
