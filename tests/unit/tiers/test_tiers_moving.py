"""Objects come nearer when they are used, go farther when they are not, and stay where they are pinned."""

from __future__ import annotations

import shutil
import threading
import weakref

import pytest

from headwater.store import LocalObjectStore
from headwater.tiers import TierPolicy
from headwater.tiers.uses import Uses


class Follower:
    """Writes down what was moved."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def moved(self, keys) -> None:
        self.keys += keys


def test_what_is_read_often_enough_comes_to_disk_and_is_mapped_then(remote):
    tiers, follower = remote.tiers(), Follower()
    tiers.follow(follower)
    opened = remote.open(tiers, TierPolicy.AUTO)
    assert opened.tier == "cold"
    remote.right(opened, (0, 10_000))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert follower.keys == []
    remote.right(opened, (0, 2_000_000))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert follower.keys == [opened.key]
    near = remote.open(tiers, TierPolicy.AUTO)
    assert near.tier == "warm"
    asked = remote.asked
    assert near.buffer().to_pybytes() == remote.data
    remote.right(opened, (0, 10), (2_500_000, 2_600_000))
    assert remote.asked == asked
    # After a restart it is there.
    assert remote.open(remote.tiers(), TierPolicy.AUTO).tier == "warm"
    assert tiers.report().moves.promotions == 1


def test_many_small_reads_are_use_too(remote):
    tiers = remote.tiers()
    opened = remote.open(tiers, TierPolicy.AUTO)
    for _ in range(70):
        remote.right(opened, (7, 8))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert remote.open(tiers, TierPolicy.AUTO).tier == "warm"


def test_use_is_forgotten():
    uses = Uses(0.0)
    for _ in range(100):
        uses.add(10)
    assert uses.often(1_000_000)
    uses.fade(600.0)
    assert uses.reads == pytest.approx(50)
    assert not uses.often(1_000_000)
    assert uses.often(1_000)


def test_cold_stays_cold_however_much_it_is_used(remote):
    tiers = remote.tiers()
    opened = remote.open(tiers, TierPolicy.COLD)
    remote.right(opened, (0, len(remote.data)))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert remote.open(tiers, TierPolicy.COLD).tier == "cold"


def test_a_store_that_fails_meanwhile_leaves_it_where_it_is(remote, caplog):
    tiers, follower = remote.tiers(), Follower()
    tiers.follow(follower)
    opened = remote.open(tiers, TierPolicy.AUTO)
    remote.right(opened, (0, 2_000_000))
    remote.store.fail_before = 1.0
    tiers.tend()
    assert tiers.mover.wait(30)
    remote.store.fail_before = 0.0
    assert follower.keys == []
    assert tiers.report().moves.failures == 1
    assert "was not done" in caplog.text
    remote.right(opened, (0, len(remote.data)))


def test_without_a_disk_cache_it_comes_to_memory(remote):
    tiers, follower = remote.tiers(disk_bytes=0), Follower()
    tiers.follow(follower)
    opened = remote.open(tiers, TierPolicy.AUTO)
    remote.right(opened, (0, 2_000_000))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert follower.keys == [opened.key]
    assert remote.open(tiers, TierPolicy.AUTO).tier == "hot"
    assert not remote.cache.exists()


def test_without_a_disk_cache_and_room_it_stays_cold(remote):
    tiers = remote.tiers(disk_bytes=0, memory_bytes=1_000_000)
    opened = remote.open(tiers, TierPolicy.AUTO)
    remote.right(opened, (0, 2_000_000))
    tiers.tend()
    assert tiers.mover.wait(30)
    assert remote.open(tiers, TierPolicy.AUTO).tier == "cold"


def test_what_left_the_disk_is_opened_farther_away(remote):
    tiers, follower = remote.tiers(), Follower()
    tiers.follow(follower)
    opened = remote.open(tiers, TierPolicy.WARM)
    shutil.rmtree(remote.cache)
    tiers.tend()
    assert follower.keys == [opened.key]
    assert tiers.report().moves.demotions == 1
    assert remote.open(tiers, TierPolicy.AUTO).tier == "cold"


@pytest.mark.parametrize(
    ("policy", "kind", "tier"),
    [
        (TierPolicy.AUTO, "file", "warm"), (TierPolicy.AUTO, "index", "hot"), (TierPolicy.AUTO, "lookup", "warm"),
        (TierPolicy.WARM, "index", "warm"), (TierPolicy.HOT, "file", "hot"), (TierPolicy.COLD, "index", "cold"),
        (TierPolicy.ON_DEMAND, "file", "cold"),
    ],
)  # fmt: skip
def test_files_of_local_lakes_are_where_the_policy_says(remote, tmp_path, policy, kind, tier):
    store = LocalObjectStore(tmp_path / "lake")
    key, size = "db/c/segments/s/object", len(remote.data)
    opened = remote.tiers().open(store, key, size_bytes=size, policy=policy, kind=kind)
    assert opened.tier == tier
    remote.right(opened, (0, 10), (1_000_000, 3_000_001))
    small = remote.tiers(memory_bytes=1_000_000)
    opened = small.open(store, key, size_bytes=size, policy=policy, kind=kind)
    assert opened.tier == ("warm" if tier == "hot" else tier)


def test_hot_takes_no_more_than_there_is(remote, tmp_path):
    store = LocalObjectStore(tmp_path / "lake")
    tiers = remote.tiers(memory_bytes=10_000_000)
    opened = []
    for number in range(5):
        store.put(f"db/c/segments/s/object{number}", remote.data)
        opened.append(
            tiers.open(
                store, f"db/c/segments/s/object{number}", size_bytes=len(remote.data), policy=TierPolicy.HOT
            )
        )
    assert [one.tier for one in opened] == ["hot", "hot", "warm", "warm", "warm"]


def test_columns_beyond_the_bound_of_mapped_memory_are_read(remote, tmp_path):
    store = LocalObjectStore(tmp_path / "lake")
    tiers = remote.tiers(mapped_bytes=1_000_000)
    try:
        key, size = "db/c/segments/s/object", len(remote.data)
        opened = tiers.open(store, key, size_bytes=size, policy=TierPolicy.WARM)
        assert opened.path is None
        remote.right(opened, (0, 10), (1_000_000, 3_000_001))
    finally:
        remote.tiers(mapped_bytes=0)


def test_prefetch_brings_it_before_it_is_asked_for(remote):
    tiers = remote.tiers()
    what = {"size_bytes": len(remote.data), "checksum": "crc32:1"}
    assert tiers.prefetch(remote.store, "db/c/segments/s/object", **what)
    assert tiers.mover.wait(30)
    asked = remote.asked
    assert remote.open(tiers, TierPolicy.AUTO).tier == "warm"
    assert tiers.prefetch(remote.store, "db/c/segments/s/object", **what, wait=True)
    assert remote.asked == asked
    assert not remote.tiers(disk_bytes=0).prefetch(remote.store, "db/c/segments/s/object", **what)


def test_pinned_objects_stay_on_disk_and_in_memory(remote):
    tiers = remote.tiers()
    opened = remote.open(tiers, TierPolicy.WARM)
    held = tiers.memory.view("things", "db/c")
    held.put("a", 1)
    tiers.pin("db/c/")
    tiers.disk._ttl_s = 0.001
    tiers.disk.sweep()
    assert remote.file().exists()
    (mine,) = [one for one in tiers.report().objects if one.name == opened.key]
    assert (mine.tier, mine.pinned, mine.policy) == ("warm", True, TierPolicy.WARM)
    assert mine.disk_bytes >= mine.size_bytes == len(remote.data)
    # Other processes see the pin as well.
    remote.tiers(disk_ttl_s=0.001).disk.sweep()
    assert remote.file().exists()
    tiers.unpin("db/c/")
    assert not any(one.pinned for one in tiers.report().objects)
    tiers.disk.sweep()
    assert not list(remote.cache.glob("v1/*/*"))


class Interrupted(weakref.WeakValueDictionary):
    """Another thread does something in the middle of each walk over the values."""

    def __init__(self, known, meanwhile) -> None:
        super().__init__(known)
        self._meanwhile = meanwhile
        self.threads: list[threading.Thread] = []

    def values(self):
        for one in super().values():
            yield one
            if not self.threads:
                self.threads = [beside(self._meanwhile)]


def beside(call) -> threading.Thread:
    """Have another thread do something, and give it time to; it may have to wait for this one."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(0.2)
    return thread


def test_an_object_is_used_first_while_use_is_looked_at(remote):
    tiers = remote.tiers()
    opened = [remote.open(tiers, TierPolicy.AUTO)]
    remote.store.put("db/c/segments/s/other", b"x" * 100)

    def open_another() -> None:
        opened.append(
            tiers.open(remote.store, "db/c/segments/s/other", size_bytes=5_000_000, checksum="crc32:2")
        )

    walked = tiers._uses = Interrupted(tiers._uses, open_another)
    tiers.tend()
    walked.threads[0].join()
    assert len(opened) == len(tiers._uses) == 2


def test_what_is_let_go_while_pins_are_renewed_is_not_pinned_again(remote, monkeypatch):
    tiers = remote.tiers()
    held = tiers.memory.view("things", "db/c")
    held.put("a", 1)
    tiers.pin("db/c/")
    held.unpin("a")
    views, threads = tiers.memory.views, []

    def interrupted():
        monkeypatch.setattr(tiers.memory, "views", views)
        threads.append(beside(lambda: tiers.unpin("db/c/")))
        return views()

    monkeypatch.setattr(tiers.memory, "views", interrupted)
    tiers.tend()
    threads[0].join()
    assert tiers.memory.report().pinned_bytes == 0
