"""put_if_absent: the outcome is known, and a commit is stored once, whatever becomes of the answers."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import AlreadyExists, PermissionDenied, QuotaExceeded, StoreUnavailable
from headwater.store import Fault, FaultyStore, StoreWrapper, open_store, put_if_absent


def memory():
    return open_store(f"memory://{uuid.uuid4().hex}")


def plan(*faults):
    """Strike the n-th request with the n-th fault."""
    return lambda number, verb, key: faults[number] if number < len(faults) else None


def put(store, data=b"ours", **options):
    return put_if_absent(store, "m/1", data, sleep=lambda _: None, **options)


def test_free_key_is_ours():
    store = memory()
    assert put(store) is True
    assert store.get("m/1") == b"ours"


def test_taken_key_is_theirs():
    store = memory()
    store.put("m/1", b"theirs")
    assert put(store) is False
    assert store.get("m/1") == b"theirs"


def test_lost_response_is_success():
    store = FaultyStore(memory(), schedule=plan(Fault("after")))
    assert put(store) is True
    assert store.requests == {"create": 1, "get": 1}


def test_lost_response_then_silent_retry_is_success():
    """The vendor's client retries by itself, and reports AlreadyExists on our own object."""
    store = FaultyStore(memory(), schedule=plan(Fault("after", AlreadyExists("m/1 exists already"))))
    assert put(store) is True


def test_lost_response_of_a_race_that_was_lost():
    inner = memory()
    inner.put("m/1", b"theirs")
    store = FaultyStore(inner, schedule=plan(Fault("before")))
    assert put(store) is False


def test_request_that_never_arrived_is_repeated():
    store = FaultyStore(memory(), schedule=plan(Fault("before"), None, Fault("before")))
    assert put(store) is True
    assert [verb for verb, _ in store.log] == ["create", "get", "create", "get", "create"]
    assert store.inner.get("m/1") == b"ours"


def test_unreadable_after_lost_response_is_asked_again():
    store = FaultyStore(
        memory(), schedule=plan(Fault("after"), Fault("before"), Fault("before"), Fault("after"))
    )
    assert put(store) is True
    assert store.inner.get("m/1") == b"ours"


@pytest.mark.parametrize("when", ["before", "after"])
def test_store_that_stays_down_is_an_unknown_outcome(when):
    store = FaultyStore(memory(), schedule=lambda *_: Fault(when))
    with pytest.raises(StoreUnavailable, match="'m/1': outcome unknown") as caught:
        put(store, attempts=4)
    assert caught.value.details["key"] == "m/1"
    assert store.requests["create"] == 4


def test_deadline_ends_the_attempts():
    store = FaultyStore(memory(), fail_before=1.0)
    with pytest.raises(StoreUnavailable, match="outcome unknown"):
        put(store, deadline_s=0.0)
    assert store.requests["create"] == 1


@pytest.mark.parametrize("error", [PermissionDenied("no"), QuotaExceeded("full")])
def test_refusals_are_not_retried(error):
    store = FaultyStore(memory(), schedule=plan(Fault("before", error)))
    with pytest.raises(type(error)):
        put(store)
    assert store.requests == {"create": 1}


def test_taken_and_then_absent_is_tried_again():
    """Somebody deleted the other object between the write and the read-back."""

    class Vanishing(StoreWrapper):
        def create(self, key, data):
            if not getattr(self, "seen", False):
                self.seen = True
                raise AlreadyExists(key)
            super().create(key, data)

    store = Vanishing(memory())
    assert put(store) is True
    assert store.get("m/1") == b"ours"


@given(st.integers(0, 2**32), st.floats(0, 0.6), st.floats(0, 0.6))
@settings(max_examples=60)
def test_the_answer_is_true_exactly_when_our_bytes_are_stored(seed, before, after):
    inner = memory()
    for writer in range(4):
        store = FaultyStore(inner, seed=seed + writer, fail_before=before, fail_after=after)
        ours = f"writer {writer}".encode()
        try:
            won = put(store, ours, attempts=30)
        except StoreUnavailable:
            continue
        assert won == (inner.get("m/1") == ours)


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_each_of_many_racing_commits_lands_once_on_a_faulty_store(kind, tmp_path):
    """Six writers append to one numbered chain over a store that loses answers: each lands once."""
    inner = open_store(tmp_path / "chain") if kind == "local" else memory()

    def write(writer):
        store = FaultyStore(inner, seed=writer, fail_before=0.15, fail_after=0.25)
        number = 0
        for commit in range(8):
            data = f"{writer}-{commit}".encode()
            while not put_if_absent(store, f"m/{number:020}", data, attempts=100, sleep=lambda _: None):
                number += 1
        return True

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(write, range(6)))
    keys = [meta.key for meta in inner.list("m")]
    assert keys == [f"m/{number:020}" for number in range(48)]
    found = sorted(inner.get(key).decode() for key in keys)
    assert found == sorted(f"{writer}-{commit}" for writer in range(6) for commit in range(8))
