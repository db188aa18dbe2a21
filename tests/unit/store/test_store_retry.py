"""Retries: only what may succeed later, no longer than allowed, and never a conditional write."""

from __future__ import annotations

import uuid

import pytest

from headwater.errors import ObjectNotFound, StoreUnavailable
from headwater.store import Fault, FaultyStore, RetryingStore, open_store, with_retries


def failing(times, error=StoreUnavailable):
    left = iter(range(times))

    def call():
        if next(left, None) is not None:
            raise error("down")
        return "done"

    return call


def test_waits_double_up_to_a_ceiling_and_are_jittered():
    waits = []
    with_retries(failing(9), attempts=10, jitter=lambda: 1.0, sleep=waits.append)
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    halved = []
    with_retries(failing(2), jitter=lambda: 0.5, sleep=halved.append)
    assert halved == [0.025, 0.05]


def test_last_error_says_how_often_it_was_tried():
    with pytest.raises(StoreUnavailable, match="down") as caught:
        with_retries(failing(99), attempts=3, sleep=lambda _: None)
    assert any("after 3 attempts" in note for note in caught.value.__notes__)


def test_deadline_counts_the_next_wait():
    now = [0.0]

    def sleep(seconds):
        now[0] += seconds

    with pytest.raises(StoreUnavailable):
        with_retries(
            failing(99), deadline_s=1.0, attempts=99, jitter=lambda: 1.0, sleep=sleep, clock=lambda: now[0]
        )
    assert 0.5 < now[0] <= 1.0


def test_errors_that_stay_are_raised_at_once():
    waits = []
    with pytest.raises(ObjectNotFound):
        with_retries(failing(1, ObjectNotFound), sleep=waits.append)
    assert waits == []


def test_no_attempts_is_an_error():
    with pytest.raises(ValueError, match="attempts"):
        with_retries(lambda: None, attempts=0)


@pytest.fixture
def inner():
    return open_store(f"memory://{uuid.uuid4().hex}")


def test_create_is_not_repeated(inner):
    faulty = FaultyStore(inner, schedule=lambda number, *_: Fault("after") if number == 0 else None)
    with pytest.raises(StoreUnavailable):
        RetryingStore(faulty, sleep=lambda _: None).create("k", b"")
    assert faulty.requests == {"create": 1}


def test_broken_listing_goes_on_after_the_last_key(inner):
    for n in range(5):
        inner.put(f"k/{n}", b"")

    class Breaking(FaultyStore):
        def list(self, prefix="", *, start_after=None):
            for count, meta in enumerate(super().list(prefix, start_after=start_after)):
                if count == 2:
                    raise StoreUnavailable("broke off")
                yield meta

    faulty = Breaking(inner)
    found = [meta.key for meta in RetryingStore(faulty, sleep=lambda _: None).list("k")]
    assert found == [f"k/{n}" for n in range(5)]
    assert faulty.requests["list"] == 3
