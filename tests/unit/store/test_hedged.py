"""Hedged reads: a late one is asked again, an even store hardly ever, and nothing that writes."""

from __future__ import annotations

import itertools
import threading
import time
import uuid

import pytest

from headwater.errors import Corrupt, ObjectNotFound, StoreUnavailable
from headwater.settings import StoreSettings
from headwater.store import FaultyStore, RetryingStore, open_lake_store, open_store
from headwater.store.hedged import HedgedStore
from headwater.store.latencies import HedgeBudget, Latencies
from headwater.testing import Fault
from headwater.types import ByteRange

DATA = bytes(i % 251 for i in range(1 << 20))
FAR = [ByteRange(at, at + 100) for at in range(0, 1 << 20, 1 << 17)]


class Gate:
    """A schedule that holds one of the requests for the object, or all of them, until they are let go."""

    def __init__(self) -> None:
        self.held: int | None = None
        self.every = False
        self.open = threading.Event()
        self.asked = itertools.count()

    def __call__(self, number: int, verb: str, key: str) -> Fault | None:
        if key != "dir/object":
            return None
        if (next(self.asked) == self.held or self.every) and not self.open.wait(30):
            raise AssertionError("the request was held for too long")
        return None


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def faulty(gate):
    inner = open_store(f"memory://{uuid.uuid4().hex}")
    inner.put("dir/object", DATA)
    inner.put("dir/other", DATA)
    return FaultyStore(inner, schedule=gate)


def warmed(store: HedgedStore) -> HedgedStore:
    """Knows how long its requests take, by those for another object: one of them may be late, and go on meanwhile."""
    for _ in range(40):
        store.get_ranges("dir/other", [ByteRange(0, 100)])
        store.get("dir/other")
        store.head("dir/other")
    return store


def asked_for(faulty: FaultyStore, verb: str) -> int:
    return faulty.log.count((verb, "dir/object"))


def test_a_late_range_is_asked_again_alone_and_the_first_answer_is_taken(faulty, gate):
    # However many of those before were late on a busy machine, enough may be asked again.
    store = warmed(HedgedStore(faulty, share=1.0))
    gate.held = 3
    views = store.get_ranges("dir/object", FAR)
    assert [bytes(view) for view in views] == [DATA[span.start : span.stop] for span in FAR]
    assert not gate.open.is_set()  # the held request has not been answered yet
    assert store.hedges >= 1
    assert store.won >= 1
    assert len(FAR) < asked_for(faulty, "get_ranges") <= len(FAR) + store.hedges


@pytest.mark.parametrize("verb", ["get", "head"])
def test_whole_objects_and_questions_are_asked_again_too(faulty, gate, verb):
    store = warmed(HedgedStore(faulty, share=1.0))
    gate.held = 0
    answer = getattr(store, verb)("dir/object")
    assert answer == DATA if verb == "get" else answer.size_bytes == len(DATA)
    assert store.won >= 1


def test_when_all_of_a_store_is_slow_only_a_share_is_asked_twice(faulty, gate):
    store = warmed(HedgedStore(faulty))
    earned = 0.05 * store.requests + 1
    gate.every = True
    asking = threading.Thread(target=store.get_ranges, args=("dir/object", FAR))
    asking.start()
    deadline = time.monotonic() + 10
    while store.hedges == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    asking.join(0.2)
    assert asking.is_alive()
    gate.open.set()
    asking.join()
    assert 0 < store.hedges <= earned + 0.05 * len(FAR)
    assert asked_for(faulty, "get_ranges") <= len(FAR) + store.hedges


def test_nothing_is_asked_twice_before_it_is_known_what_late_is(faulty):
    store = HedgedStore(faulty)
    for _ in range(10):
        store.get_ranges("dir/object", FAR[:1])
    assert store.hedges == 0


def test_an_error_of_one_of_the_two_is_no_error(faulty, gate):
    store = warmed(HedgedStore(faulty, share=1.0))
    letting_go = threading.Timer(0.3, gate.open.set)

    def schedule(number: int, verb: str, key: str) -> Fault | None:
        at = next(gate.asked) if key == "dir/object" else None
        if at == 0:
            assert gate.open.wait(30)
        if at == 1:
            letting_go.start()
            return Fault("before", StoreUnavailable("injected"))
        return None

    faulty.schedule = schedule
    assert store.get("dir/object") == DATA
    assert store.hedges >= 1
    letting_go.join()


def test_errors_are_those_of_the_store_below_and_retries_compose(faulty):
    store = HedgedStore(faulty)
    with pytest.raises(ObjectNotFound, match="no object 'nothing'"):
        store.get("nothing")
    with pytest.raises(ObjectNotFound, match="nothing"):
        store.get_ranges("nothing", FAR)
    with pytest.raises(Corrupt, match="ends at"):
        store.get_ranges("dir/object", [ByteRange(0, 10), ByteRange(len(DATA) - 1, len(DATA) + 1)])
    faulty.fail_before = 0.3
    again = RetryingStore(store, sleep=lambda _: None, attempts=50)
    views = again.get_ranges("dir/object", FAR)
    assert [bytes(view) for view in views] == [DATA[span.start : span.stop] for span in FAR]


def test_the_setting_turns_it_off():
    on = open_lake_store("s3://bucket/lake", {"region": "us-east-1"}, StoreSettings())
    off = open_lake_store("s3://bucket/lake", {"region": "us-east-1"}, StoreSettings(hedge=False))
    folder = open_lake_store("memory://anything", None, StoreSettings())
    kinds = [isinstance(store.inner, HedgedStore) for store in (on, off, folder)]
    assert kinds == [True, False, False]


def test_late_is_the_95th_percentile_of_its_size_and_never_what_is_usual():
    known = Latencies()
    for place in range(200):
        known.add(1000, 1.0 if place % 50 == 0 else 0.030)
        known.add(1 << 20, 0.100)
    assert known.late_s(2000) == pytest.approx(0.045)
    assert known.late_s(1 << 20) == pytest.approx(0.150)
    assert known.late_s(1 << 30) is None


def test_a_budget_saves_up_to_its_bound():
    budget = HedgeBudget(0.05, most=3)
    assert budget.spend()
    assert not budget.spend()
    budget.earn(1000)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
