"""A thread of the lowest priority takes the disk and the interpreter in small pieces; others do as they always did."""

from __future__ import annotations

import errno
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pyarrow as pa
import pytest

from headwater.engine.priority import lower_thread
from headwater.errors import QuotaExceeded
from headwater.lake.stats import MAX_BLOOM_KEYS, bloom_may_contain, key_bloom
from headwater.store import LocalObjectStore, making_way, write_back
from headwater.store.making_way import awaited, makes_way

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="threads have priorities on Linux"
)

PART = write_back.PART_BYTES


@pytest.fixture
def low():
    """Runs a call on a thread of the lowest priority."""
    with ThreadPoolExecutor(1, initializer=lower_thread) as pool:
        yield lambda call, *args: pool.submit(call, *args).result()


@pytest.fixture
def disk(monkeypatch):
    """What is asked of the disk, in order: ranges that are written back, and syncs of files."""
    asked, write_range, sync = [], write_back._SYNC_FILE_RANGE, os.fsync

    def spy_range(descriptor, start, size, flags):
        asked.append((start, size))
        return write_range(descriptor, start, size, flags)

    def spy_sync(descriptor):
        if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
            asked.append("sync")
        sync(descriptor)

    monkeypatch.setattr(write_back, "_SYNC_FILE_RANGE", spy_range)
    monkeypatch.setattr(os, "fsync", spy_sync)
    return asked


def put(store, path, size):
    path.write_bytes(os.urandom(size))
    store.put_file("files/one", path)
    assert store.get("files/one") == path.read_bytes()


def test_only_threads_that_are_lowered_make_way(low):
    assert low(makes_way)
    assert not makes_way()
    assert threading.current_thread() is threading.main_thread()


def test_upkeep_writes_large_files_back_in_parts_and_then_syncs(tmp_path, disk, low):
    low(put, LocalObjectStore(tmp_path / "root"), tmp_path / "built", 2 * PART + 1)
    assert disk == [(0, PART), (PART, PART), (2 * PART, PART), "sync"]


def test_upkeep_writes_bytes_back_in_parts_too(tmp_path, disk, low):
    store = LocalObjectStore(tmp_path / "root")
    low(store.put, "rows", bytes(PART + 1))
    assert disk == [(0, PART), (PART, PART), "sync"]


def test_upkeep_writes_past_the_cache_in_parts(tmp_path, monkeypatch, low):
    sizes, write = [], os.write

    def watched(descriptor, data):
        sizes.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", watched)
    data = os.urandom(5 * 2**20 + 1)
    store = LocalObjectStore(tmp_path / "root")
    low(store.put, "rows", data)
    assert store.get("rows") == data
    assert max(sizes) <= PART or not hasattr(os, "O_DIRECT")
    sizes.clear()
    store.put("rows", data)
    assert max(sizes) > PART


def test_upkeep_that_somebody_waits_for_makes_no_way(tmp_path, monkeypatch, disk, low):
    """Neither from the beginning, nor once somebody has come."""
    store = LocalObjectStore(tmp_path / "root")
    with awaited():
        assert not low(makes_way)
        low(put, store, tmp_path / "built", 3 * PART)
    assert low(makes_way)
    assert disk == ["sync"]
    disk.clear()
    with ExitStack() as waiting:
        monkeypatch.setattr(write_back.time, "sleep", lambda _: waiting.enter_context(awaited()))
        low(put, store, tmp_path / "more", 3 * PART)
    assert disk == [(0, PART), "sync"]


def test_those_who_wait_sync_at_once(tmp_path, disk):
    put(LocalObjectStore(tmp_path / "root"), tmp_path / "built", 2 * PART)
    assert disk == ["sync"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_part_that_cannot_be_written_fails_the_file(tmp_path, monkeypatch, low, code):
    """The kernel tells of a lost page once for each descriptor: a sync after it would say that all is well."""
    written = []

    def fail_later(descriptor, start, size, flags):
        written.append(start)
        write_back.ctypes.set_errno(code)
        return -1 if start else 0

    monkeypatch.setattr(write_back, "_SYNC_FILE_RANGE", fail_later)
    store = LocalObjectStore(tmp_path / "root")
    with pytest.raises(QuotaExceeded):
        low(put, store, tmp_path / "built", 3 * PART)
    assert written == [0, PART]
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_knows_no_parts_syncs_at_once(tmp_path, monkeypatch, low, code):
    def refuse(descriptor, start, size, flags):
        write_back.ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(write_back, "_SYNC_FILE_RANGE", refuse)
    low(put, LocalObjectStore(tmp_path / "root"), tmp_path / "built", 2 * PART)


def test_a_filter_on_keys_is_the_same_and_gives_turns_while_it_is_made(monkeypatch, low):
    pauses = []
    monkeypatch.setattr(making_way.time, "sleep", pauses.append)
    keys = pa.array([f"key {number}" for number in range(MAX_BLOOM_KEYS)])
    bloom = key_bloom(keys)
    assert not pauses
    assert low(key_bloom, keys) == bloom
    assert len(pauses) >= MAX_BLOOM_KEYS // 512
    assert all(bloom_may_contain(bloom, key) for key in keys[::97].to_pylist())
