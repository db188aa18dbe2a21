"""FaultyStore: the same faults for the same seed, before or after the fact, and every request counted."""

from __future__ import annotations

import time
import uuid

import pytest

from headwater.errors import QuotaExceeded, StoreUnavailable
from headwater.store import Fault, FaultyStore, LocalObjectStore, open_store
from headwater.types import ByteRange


@pytest.fixture
def inner():
    return open_store(f"memory://{uuid.uuid4().hex}")


def outcomes(store, times=60):
    found = []
    for n in range(times):
        try:
            store.put(f"k/{n}", b"")
            found.append("ok")
        except StoreUnavailable as error:
            found.append("before" if "not sent" in str(error) else "after")
    return found


def test_same_seed_same_faults(inner):
    runs = [outcomes(FaultyStore(inner, seed=s, fail_before=0.3, fail_after=0.3)) for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {"ok", "before", "after"}


def test_before_means_nothing_happened_and_after_means_it_did(inner):
    store = FaultyStore(inner, schedule=lambda n, *_: Fault("before") if n == 0 else Fault("after"))
    for key in ("a", "b"):
        with pytest.raises(StoreUnavailable, match=f"injected: .*'{key}'"):
            store.create(key, b"x")
    assert [meta.key for meta in inner.list()] == ["b"]


def test_chances_by_verb(inner):
    store = FaultyStore(inner, fail_before={"get": 1.0})
    store.put("k", b"x")
    with pytest.raises(StoreUnavailable):
        store.get("k")
    assert store.head("k").size_bytes == 1


def test_a_fault_may_be_any_error(inner):
    store = FaultyStore(inner, schedule=lambda *_: Fault("before", QuotaExceeded("full")))
    with pytest.raises(QuotaExceeded, match="full"):
        store.put("k", b"")


def test_counts_and_log(inner, tmp_path):
    (tmp_path / "f").write_bytes(b"1234")
    store = FaultyStore(inner)
    store.put("a", b"123")
    store.put_file("b", tmp_path / "f")
    store.get("a")
    store.get_ranges("b", [ByteRange(0, 2), ByteRange(1, 2)])
    list(store.list("p"))
    store.delete(["a", "b"])
    assert store.requests == {"put": 1, "put_file": 1, "get": 1, "get_ranges": 1, "list": 1, "delete": 1}
    assert (store.bytes_written, store.bytes_read) == (7, 6)
    assert store.log[-3:] == [("list", "p"), ("delete", "a"), ("delete", "b")]
    store.reset()
    assert (store.requests, store.log, store.bytes_read) == ({}, [], 0)


def test_slow_store_is_slow(inner):
    began = time.monotonic()
    FaultyStore(inner, latency_s=0.02, bandwidth_bytes_s=1e6).put("k", bytes(20_000))
    assert time.monotonic() - began >= 0.04


def test_local_files_are_hidden_unless_wanted(tmp_path):
    local = LocalObjectStore(tmp_path)
    assert FaultyStore(local).local_path("k") is None
    assert FaultyStore(local, local_paths=True).local_path("k") == tmp_path / "k"
