"""The disk cache: what it gives is what the store holds, whatever happens to its files; what is there costs nothing."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater.store import FaultyStore, LocalObjectStore
from headwater.tiers import TierPolicy, Tiers, disk_object
from headwater.tiers import disk as disk_module
from headwater.tiers.disk import DiskCache
from headwater.types import ByteRange

SPANS = [(0, 10), (4090, 4100), (1_000_000, 1_200_000), (2_999_999, 3_000_001), (5, 5)]


def test_ranges_are_right_and_the_second_time_cost_nothing(remote):
    opened = remote.open(remote.tiers())
    for _ in range(3):
        remote.right(opened, *SPANS)
    assert remote.asked == 1
    remote.right(opened, (4100, 8192), (1_199_000, 1_201_000))
    assert remote.asked == 2
    remote.right(opened, (0, len(remote.data)))
    assert remote.asked == 3
    remote.right(opened, (0, len(remote.data)))
    assert remote.asked == 3


def test_missing_pages_of_a_request_come_in_one_call(remote):
    opened = remote.open(remote.tiers())
    remote.right(opened, (100_000, 100_010), (300_000, 300_010))
    remote.right(opened, (0, 200_000), (250_000, 350_000), (999_000, 999_001))
    assert remote.asked == 2


def test_it_survives_a_restart(remote):
    remote.right(remote.open(remote.tiers()), *SPANS)
    again = remote.tiers()
    remote.right(remote.open(again), *SPANS)
    assert remote.asked == 1
    assert again.report().disk.hits > 50


def test_another_checksum_is_another_object(remote):
    tiers = remote.tiers()
    remote.right(remote.open(tiers), *SPANS)
    other = bytes(reversed(remote.data))
    remote.store.put("db/c/segments/s/object", other)
    opened = tiers.open(
        remote.store,
        "db/c/segments/s/object",
        size_bytes=len(other),
        checksum="crc32:2",
        policy=TierPolicy.COLD,
    )
    assert bytes(opened.read(ByteRange(5, 50))) == other[5:50]


def test_on_demand_keeps_nothing(remote):
    tiers = remote.tiers()
    remote.right(remote.open(tiers, TierPolicy.ON_DEMAND), *SPANS)
    assert not remote.cache.exists()


def test_a_bulk_scan_is_served_and_not_kept(remote):
    tiers = remote.tiers()
    opened = remote.open(tiers)
    remote.right(opened, (0, 10))
    scan = remote.open(tiers)
    scan.keep = False
    remote.right(scan, (0, 10), (4000, 3_000_000), (3_000_000, 3_000_001))
    remote.right(scan, (4000, 3_000_000))
    assert remote.asked == 3
    assert tiers.report().disk.bytes_written == 4096


def damage_truncate(remote):
    os.truncate(remote.file(), 4096)


def damage_flip(remote):
    with remote.file().open("r+b") as file:
        file.seek(1_100_000)
        file.write(bytes([remote.data[1_100_000] ^ 1]))


def damage_sums(remote):
    remote.file("pages").write_bytes(os.urandom(remote.file("pages").stat().st_size))


def damage_sums_truncate(remote):
    os.truncate(remote.file("pages"), 7)


def damage_sums_away(remote):
    remote.file("pages").unlink()


def damage_data_away(remote):
    remote.file().unlink()


def damage_everything_away(remote):
    shutil.rmtree(remote.cache)


def damage_stale_sums(remote):
    """What a crash of the machine leaves: checksums reached the disk and bytes did not."""
    size = remote.file().stat().st_size
    os.truncate(remote.file(), 0)
    os.truncate(remote.file(), size)


DAMAGE = [
    damage_truncate, damage_flip, damage_sums, damage_sums_truncate, damage_sums_away, damage_data_away,
    damage_everything_away, damage_stale_sums,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("policy", [TierPolicy.COLD, TierPolicy.WARM])
def test_damage_between_processes_is_found_and_read_again(remote, damage, policy):
    opened = remote.open(remote.tiers(), policy)
    remote.right(opened, *SPANS)
    assert (opened.buffer().to_pybytes() if policy is TierPolicy.WARM else remote.data) == remote.data
    damage(remote)
    before = remote.asked
    tiers = remote.tiers()
    again = remote.open(tiers, policy)
    remote.right(again, *SPANS)
    if policy is TierPolicy.WARM:
        assert again.tier == "warm"
        assert again.buffer().to_pybytes() == remote.data
    assert remote.asked > before
    assert remote.open(tiers, policy).tier == ("warm" if policy is TierPolicy.WARM else "cold")


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_data_away, damage_sums_away, damage_everything_away]
)
def test_damage_under_an_open_object_is_never_read(remote, damage):
    tiers = remote.tiers()
    opened = remote.open(tiers)
    remote.right(opened, *SPANS)
    damage(remote)
    remote.right(opened, *SPANS, (2_000_000, 2_100_000))
    # Another process comes, finds the remains and puts them in order; what this one knows is not of them.
    remote.right(remote.open(remote.tiers()), (50_000, 60_000))
    remote.right(opened, *SPANS, (2_000_000, 2_100_000))


def test_a_map_outlives_the_folder(remote):
    opened = remote.open(remote.tiers(), TierPolicy.WARM)
    shutil.rmtree(remote.cache)
    assert opened.path.exists()
    assert opened.buffer().to_pybytes() == remote.data


class FailingOs:
    """The module `os`, of which some calls fail."""

    def __init__(self, number: int, *calls: str) -> None:
        self.number = number
        self.calls = calls

    def __getattr__(self, name):
        if name not in self.calls:
            return getattr(os, name)

        def fail(*_: object, **__: object) -> None:
            raise OSError(self.number, os.strerror(self.number))

        return fail


@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("pwrite", errno.ENOSPC), ("pwrite", errno.EDQUOT), ("pwrite", errno.EIO), ("open", errno.EROFS),
        ("ftruncate", errno.ENOSPC), ("link", errno.EPERM), ("pread", errno.EIO),
    ],
)  # fmt: skip
@pytest.mark.parametrize("policy", [TierPolicy.COLD, TierPolicy.WARM, TierPolicy.AUTO])
def test_a_disk_that_fails_costs_requests_and_nothing_else(remote, monkeypatch, caplog, number, call, policy):
    tiers = remote.tiers()
    if call == "pread":
        # What was written before is there, and cannot be read.
        remote.right(remote.open(remote.tiers()), *SPANS)
    monkeypatch.setattr(disk_object, "os", FailingOs(number, call))
    opened = remote.open(tiers, policy)
    assert opened.tier == "cold"
    for _ in range(3):
        remote.right(opened, *SPANS)
    figures = tiers.report().disk
    assert figures.degradations >= 1
    assert figures.paused
    assert len([record for record in caplog.records if "disk cache" in record.message]) == 1


def test_after_a_while_a_disk_is_tried_again(remote, monkeypatch):
    tiers = remote.tiers()
    opened = remote.open(tiers)
    with monkeypatch.context() as patch:
        patch.setattr(
            disk_object.os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full"))
        )
        remote.right(opened, *SPANS)
    remote.right(opened, *SPANS)
    assert tiers.report().disk.bytes_written == 0
    tiers.disk._paused_until = 0.0
    remote.right(opened, *SPANS)
    asked = remote.asked
    remote.right(opened, *SPANS)
    assert remote.asked == asked


def test_a_file_where_the_folder_should_be_is_a_failing_disk(remote):
    remote.cache.write_text("in the way")
    tiers = remote.tiers()
    remote.right(remote.open(tiers, TierPolicy.WARM), *SPANS)
    assert tiers.report().disk.degradations == 1


def filled(folder, count, size=100_000, **how):
    """A cache with objects of about 100 kB, the first used longest ago."""
    cache = DiskCache(folder, 1_000_000, high=0.9, low=0.5, **how)
    objects = []
    for number in range(count):
        one = cache.object("s3://bucket", f"key{number}", size, "crc32:0")
        opened, runs = one.missing([ByteRange(0, size)])
        one.fill(opened, runs, [memoryview(bytes([number]) * size)])
        os.utime(one.folder / "pages", (time.time() - 1000 + number,) * 2)
        objects.append(one)
    return cache, objects


def there(objects):
    return [number for number, one in enumerate(objects) if (one.folder / "data").exists()]


def test_over_the_high_watermark_the_longest_unused_leave_down_to_the_low_one(tmp_path):
    cache, objects = filled(tmp_path, 12)
    cache.pin(objects[1])
    cache.sweep()
    kept = there(objects)
    assert 1 in kept
    assert kept[1:] == list(range(kept[1], 12))
    figures = cache.report()
    assert figures.used_bytes <= 500_000
    assert figures.evictions == 12 - len(kept)
    assert not list((tmp_path / "v1").glob("gone.*"))


def test_what_was_evicted_is_read_again(tmp_path):
    cache, objects = filled(tmp_path, 12)
    cache.sweep()
    assert 0 not in there(objects)
    asked = []

    def fetch(ranges):
        asked.append(ranges)
        return [memoryview(bytes(span.size_bytes)) for span in ranges]

    assert bytes(cache.read(objects[0], [ByteRange(10, 20)], fetch)[0]) == bytes(10)
    assert len(asked) == 1


def test_unused_objects_leave_after_their_time(tmp_path):
    cache, objects = filled(tmp_path, 4, ttl_s=2500)
    for number, one in enumerate(objects):
        os.utime(one.folder / "pages", (time.time() - 4000 + 1000 * number,) * 2)
    cache.sweep()
    assert there(objects) == [2, 3]
    assert cache.report().expired == 2


def test_one_process_evicts_at_a_time(tmp_path):
    cache, objects = filled(tmp_path, 12)
    with disk_module._locked(cache.folder / "evict.lock"):
        cache.sweep()
        assert len(there(objects)) == 12
    cache.sweep()
    assert len(there(objects)) < 12


def test_an_object_larger_than_the_budget_is_served_and_not_kept_whole(remote):
    tiers = remote.tiers(disk_bytes=2_000_000)
    opened = remote.open(tiers, TierPolicy.WARM)
    assert opened.tier == "cold"
    remote.right(opened, *SPANS)
    remote.right(opened, *SPANS)
    assert remote.asked == 1
    remote.right(opened, (0, len(remote.data)))
    assert tiers.report().disk.used_bytes <= 2_000_000


def _read_all(folder, settings, data):
    def opened(policy):
        store = FaultyStore(LocalObjectStore(folder / "lake"))
        return Tiers(settings).open(
            store, "db/c/segments/s/object", size_bytes=len(data), checksum="crc32:1", policy=policy
        )

    cold = opened(TierPolicy.COLD)
    for start in range(0, len(data), 70_000):
        stop = min(start + 90_000, len(data))
        assert bytes(cold.read(ByteRange(start, stop))) == data[start:stop]
    assert opened(TierPolicy.WARM).buffer().to_pybytes() == data


def test_processes_share_it(remote, tmp_path):
    # Not forked from here: other tests may have left threads that hold a lock at that moment.
    context = multiprocessing.get_context("spawn")
    readers = [
        context.Process(target=_read_all, args=(tmp_path, remote.settings, remote.data), daemon=True)
        for _ in range(3)
    ]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(120)
        assert reader.exitcode == 0
    remote.right(remote.open(remote.tiers()), (0, len(remote.data)))
    assert remote.asked == 0


def test_flipped_bytes_under_a_map_are_found_and_put_right(remote, caplog):
    remote.open(remote.tiers(), TierPolicy.WARM)
    tiers = remote.tiers()
    opened = remote.open(tiers, TierPolicy.WARM)
    seen = opened.buffer()
    damage_flip(remote)
    assert seen.to_pybytes() != remote.data
    for _ in range(4):
        tiers.tend()
    assert seen.to_pybytes() == remote.data
    assert tiers.report().disk.damaged_pages == 1
    assert "do not fit" in caplog.text
    # It is whole again for those who come later.
    asked = remote.asked
    assert remote.open(remote.tiers(), TierPolicy.WARM).tier == "warm"
    assert remote.asked == asked


def test_an_object_is_let_go_while_pins_are_renewed(tmp_path, monkeypatch):
    cache, objects = filled(tmp_path, 3)
    for one in objects:
        cache.pin(one)
    touch, threads = Path.touch, []

    def interrupted(path: Path, *how: object, **others: object) -> None:
        touch(path, *how, **others)
        if not threads:
            threads.append(threading.Thread(target=cache.unpin, args=(objects[0],)))
            threads[0].start()
            # It may have to wait for this thread.
            threads[0].join(0.2)

    monkeypatch.setattr(Path, "touch", interrupted)
    cache.sweep()
    threads[0].join()
    assert [(one.folder / "pin").exists() for one in objects] == [False, True, True]


def test_an_object_that_others_remove_in_the_middle_of_a_read_is_no_failing_disk(tmp_path):
    cache = DiskCache(tmp_path, 1_000_000)
    one = cache.object("s3://bucket", "key", 100_000, "crc32:0")
    asked = []

    def fetch(ranges):
        asked.append(ranges)
        if len(asked) == 1:
            shutil.rmtree(cache.folder)
        return [memoryview(bytes(span.size_bytes)) for span in ranges]

    for _ in range(3):
        assert bytes(cache.read(one, [ByteRange(10, 20)], fetch)[0]) == bytes(10)
    figures = cache.report()
    assert (figures.degradations, figures.paused) == (0, False)
    # Kept again the second time.
    assert len(asked) == 2


def test_two_threads_may_find_an_object_whole_at_once(tmp_path, monkeypatch):
    _, [one] = filled(tmp_path, 1)
    replace = os.replace

    def interrupted(*paths: Path) -> None:
        monkeypatch.setattr(os, "replace", replace)
        other = threading.Thread(target=one.mark_whole)
        other.start()
        other.join()
        replace(*paths)

    monkeypatch.setattr(os, "replace", interrupted)
    one.mark_whole()
    assert one.whole()


def test_threads_that_begin_to_fetch_at_once_share_a_few(monkeypatch):
    fetching, pools, others = disk_module._Fetching(), [], []

    class Slow(ThreadPoolExecutor):
        """Another thread asks for one while it is made."""

        def __init__(self, *given: object, **others_given: object) -> None:
            super().__init__(*given, **others_given)
            if not others:
                others.append(threading.Thread(target=lambda: pools.append(fetching.pool)))
                others[0].start()
                # It may have to wait for this one.
                others[0].join(0.2)

    monkeypatch.setattr(disk_module, "ThreadPoolExecutor", Slow)
    pools.append(fetching.pool)
    others[0].join()
    assert pools[0] is pools[1]
