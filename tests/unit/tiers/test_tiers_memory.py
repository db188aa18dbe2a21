"""The budget of memory: bounded at all times, kept by use, released with its owner, and no flood by a scan."""

from __future__ import annotations

import threading
import weakref

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headwater.tiers.memory import NOMINAL_BYTES, MemoryCache, taken

UNIT = 1024


def sized(cache: MemoryCache, kind: str = "things", **bounds: int):
    return cache.view(kind, weigh=lambda value: value, **bounds)


def test_what_is_there_is_given_and_what_is_not_is_made_once():
    view, made = sized(MemoryCache(100 * UNIT)), []

    def make():
        made.append(1)
        return UNIT

    assert [view.get_or("a", make) for _ in range(5)] == [UNIT] * 5
    assert len(made) == 1
    assert (view.hits, view.misses, len(view), view.used) == (4, 1, 1, UNIT)


def test_over_the_high_watermark_entries_leave_down_to_the_low_one():
    cache = MemoryCache(100 * UNIT, high=0.9, low=0.5)
    view = sized(cache)
    for number in range(90):
        view.put(number, UNIT)
    assert cache.used_bytes == 90 * UNIT
    view.put(90, UNIT)
    assert cache.used_bytes == 50 * UNIT
    assert view.keys() == list(range(41, 91))
    assert view.evictions == 41


def test_a_scan_does_not_flush_what_is_used_again_and_again():
    cache = MemoryCache(100 * UNIT)
    hot, scanned = sized(cache, "hot"), sized(cache, "scan")
    for number in range(40):
        hot.put(number, UNIT)
    for number in range(2000):
        scanned.get_or(number, lambda: UNIT)
        if number % 40 == 0:
            for key in range(40):
                hot.get(key)
        assert cache.used_bytes <= cache.high_bytes
    assert sorted(hot.keys()) == list(range(40))
    assert hot.misses == 0


def test_what_is_taken_from_its_place_counts_as_used_and_is_let_go_with_its_entry():
    class Opened:
        """Something that says when it is gone."""

    cache = MemoryCache(100 * UNIT)
    hot, scanned = cache.view("hot", weigh=lambda _: UNIT), sized(cache, "scan")
    for number in range(40):
        hot.put(number, Opened())
    places = [hot.place(number) for number in range(40)]
    assert hot.place("absent") is None
    for number in range(2000):
        scanned.get_or(number, lambda: UNIT)
        if number % 40 == 0:
            assert taken(places) == [hot.get(key) for key in range(40)]
    assert hot.hits == 2 * 40 * 50
    gone = weakref.ref(hot.get(7))
    hot.drop(7)
    assert taken(places) is None
    assert gone() is None
    hot.put(7, Opened())
    assert taken(places) is None
    assert taken([hot.place(7)]) == [hot.get(7)]


def test_what_was_hot_once_leaves_when_others_are_hot_for_long():
    cache = MemoryCache(100 * UNIT)
    old, new = sized(cache, "old"), sized(cache, "new")
    for number in range(60):
        old.put(number, UNIT)
        old.get(number)
    for _ in range(20):
        for number in range(80):
            new.get_or(number, lambda: UNIT)
    assert len(new) == 80
    assert len(old) <= 15
    assert new.misses < 400


def test_what_is_heavier_than_the_budget_is_given_and_not_kept():
    cache = MemoryCache(10 * UNIT)
    view = sized(cache)
    view.put("small", UNIT)
    assert view.get_or("large", lambda: 20 * UNIT) == 20 * UNIT
    assert view.keys() == ["small"]
    assert view.refused == 1


def test_unused_entries_leave_after_their_time():
    clock = [0.0]
    cache = MemoryCache(100 * UNIT, ttl_s=60, now=lambda: clock[0])
    view = sized(cache)
    for key in ("used", "unused", "pinned"):
        view.put(key, UNIT)
    assert view.pin("pinned")
    for clock[0] in (30.0, 60.0, 90.0):
        view.get("used")
        cache.tick()
    assert sorted(view.keys()) == ["pinned", "used"]
    assert (view.expired, view.evictions) == (1, 0)


def test_pinned_entries_stay_and_leave_room_for_others():
    cache = MemoryCache(100 * UNIT)
    view = sized(cache)
    for number in range(90):
        view.put(number, UNIT)
    pinned = [number for number in range(90) if view.pin(number)]
    assert pinned == list(range(80))
    for number in range(100, 400):
        view.put(number, UNIT)
    assert set(pinned) <= set(view.keys())
    view.unpin(3)
    for number in range(400, 700):
        view.put(number, UNIT)
    assert 3 not in view
    assert cache.pinned_bytes == 79 * UNIT


def test_values_that_grow_are_weighed_again():
    cache = MemoryCache(100 * UNIT)
    view = cache.view("growing", weigh=lambda held: held[0])
    held = [[UNIT] for _ in range(10)]
    for number, one in enumerate(held):
        view.put(number, one)
    for one in held:
        one[0] = 20 * UNIT
    cache.tick()
    assert cache.used_bytes == sum(view.get(key)[0] for key in list(view.keys())) <= cache.high_bytes


def test_a_view_is_bounded_by_itself_too():
    cache = MemoryCache(1000 * UNIT)
    counted = cache.view("counted", most=8)
    for number in range(100):
        counted.put(number, number)
    assert len(counted) == 8
    assert counted.used == 8 * NOMINAL_BYTES
    weighed = sized(cache, "weighed", most_bytes=10 * UNIT)
    for number in range(100):
        weighed.put(number, UNIT)
        weighed.get(0)
    assert len(weighed) == 10
    assert 0 in weighed


def test_a_closed_view_leaves_its_bytes_and_its_counts():
    cache = MemoryCache(100 * UNIT)
    view = sized(cache, "gone")
    view.put("a", UNIT)
    view.get("a")
    view.close()
    assert cache.used_bytes == 0
    assert view.put("b", UNIT) == UNIT
    assert len(view) == 0
    (kind,) = cache.report().kinds
    assert (kind.kind, kind.entries, kind.hits) == ("gone", 0, 1)


def test_an_abandoned_view_is_closed_at_the_next_tick():
    cache = MemoryCache(100 * UNIT)
    view = sized(cache)
    view.put("a", UNIT)
    cache.abandon(view)
    cache.tick()
    assert cache.used_bytes == 0
    assert cache.views() == []


def test_threads_leave_the_sums_right():
    cache = MemoryCache(64 * UNIT)
    views = [sized(cache, f"kind{number}") for number in range(4)]

    def work(seed: int) -> None:
        for number in range(3000):
            view = views[(number + seed) % 4]
            key = (number * 7 + seed) % 50
            assert view.get_or(key, lambda: UNIT) == UNIT
            if number % 97 == 0:
                view.drop(key)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.used_bytes == sum(view.used for view in views) == sum(len(view) for view in views) * UNIT
    assert cache.used_bytes <= cache.high_bytes


class MemoryModel(RuleBasedStateMachine):
    """Whatever is done, what is given is right, sums are sums, bounds hold, and pinned entries stay."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = 0.0
        self.cache = MemoryCache(40 * UNIT, high=0.9, low=0.6, ttl_s=10, now=lambda: self.clock)
        self.views = [sized(self.cache, "one"), sized(self.cache, "two", most=12)]
        self.truth: dict[tuple[int, int], int] = {}
        self.pinned: set[tuple[int, int]] = set()
        self.asked = 0

    where = st.integers(0, 1)
    key = st.integers(0, 30)

    @rule(where=where, key=key, size=st.integers(1, 12))
    def ask(self, where: int, key: int, size: int) -> None:
        view, there = self.views[where], key in self.views[where]
        found = view.get_or(key, lambda: size * UNIT)
        self.asked += 1
        if there:
            assert found == self.truth[where, key]
        else:
            assert found == size * UNIT
            self.truth[where, key] = found

    @rule(where=where, key=key)
    def pin(self, where: int, key: int) -> None:
        if self.views[where].pin(key):
            self.pinned.add((where, key))

    @rule(where=where, key=key)
    def unpin(self, where: int, key: int) -> None:
        self.views[where].unpin(key)
        self.pinned.discard((where, key))

    @rule(where=where, key=key)
    def drop(self, where: int, key: int) -> None:
        self.views[where].drop(key)
        self.pinned.discard((where, key))
        assert key not in self.views[where]

    @rule(seconds=st.integers(1, 8))
    def tick(self, seconds: int) -> None:
        self.clock += seconds
        self.cache.tick()

    @precondition(lambda self: self.pinned)
    @rule()
    def clear(self) -> None:
        self.views[0].clear()
        self.pinned = {(where, key) for where, key in self.pinned if where}

    @invariant()
    def sums_and_bounds(self) -> None:
        entries = [(view, entry) for view in self.views for entry in view.entries()]
        assert self.cache.used_bytes == sum(entry.weight for _, entry in entries) <= self.cache.high_bytes
        assert self.cache.pinned_bytes == sum(e.weight for _, e in entries if e.pinned)
        assert len(self.views[1]) <= 12 + sum(e.pinned for _, e in entries)
        for where, key in self.pinned:
            assert key in self.views[where]
        assert sum(view.hits + view.misses for view in self.views) == self.asked


MemoryModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestMemoryModel = MemoryModel.TestCase
