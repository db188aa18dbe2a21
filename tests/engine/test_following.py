"""Reads of a process beside another that writes: looked for by a thread of its own, and never less than promised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.engine.following import Follower
from headwater.errors import StoreUnavailable

DIM = 8


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come in time"
        time.sleep(0.005)


def rows(first: int, count: int = 1) -> list[dict[str, object]]:
    return [{"id": number, "n": number, "v": vector(number)} for number in range(first, first + count)]


def vector(number: int) -> list[float]:
    return [float(x) for x in np.random.default_rng(number).normal(size=DIM).astype(np.float32)]


@pytest.fixture
def writer(tmp_path: Path) -> hw.Collection:
    made = hw.connect(tmp_path / "lake").create_collection(
        "docs", {"id": hw.Int64, "n": hw.Int64, "v": hw.FloatVector(DIM)}, "id"
    )
    made.create_index("v", "AUTOINDEX", metric_type="L2")
    return made


@pytest.fixture
def reader(writer: hw.Collection, tmp_path: Path) -> hw.Collection:
    """As another process has it."""
    return hw.connect(tmp_path / "lake").collection("docs")


@pytest.fixture
def followed(writer: hw.Collection, reader: hw.Collection) -> Iterator[int]:
    """The reader follows; how many rows were written until it did."""
    count = 0

    def written() -> bool:
        nonlocal count
        writer.insert(rows(count))
        count += 1
        reader.search(vector(0), top_k=1)
        return reader._follower.running

    until(written)
    yield count
    thread = reader._follower._thread
    assert thread is not None
    thread.join(20.0)
    assert not thread.is_alive(), "it goes on though nobody reads"


def test_reads_beside_a_follower_never_go_back_and_come_to_everything(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    number = followed
    seen = 0
    for number in range(followed, followed + 30):
        acknowledged = number
        writer.insert(rows(number))
        found = reader.count()
        assert seen <= found <= acknowledged + 1, "what a read has seen is there in the next one"
        seen = found
    until(lambda: reader.count() == number + 1)


def test_a_strong_read_sees_what_was_acknowledged_before_it_began(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    for number in range(followed, followed + 30):
        written = writer.insert(rows(number))
        assert reader.count(consistency_level="Strong") == number + 1
        assert reader.count(min_timestamp=written.timestamp) == number + 1
        hits = reader.search(vector(number), top_k=1, consistency_level="Strong")[0]
        assert [hit["id"] for hit in hits] == [number]


def test_a_connection_sees_its_own_writes_while_it_follows(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    mine = 0
    for number in range(followed, followed + 20):
        writer.insert(rows(number))
        reader.insert(rows(1_000_000 + number))
        mine += 1
        assert reader.count("id >= 1000000") == mine
        hits = reader.search(vector(1_000_000 + number), top_k=1)[0]
        assert [hit["id"] for hit in hits] == [1_000_000 + number]
        if number % 5 == 0:
            reader.delete([1_000_000 + number])
            mine -= 1
            assert reader.count("id >= 1000000") == mine


def test_versions_and_deletes_of_others_are_followed(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    writer.insert(rows(followed, 200))
    writer.flush()
    writer.insert(rows(followed + 200, 50))
    writer.delete(list(range(0, followed + 250, 3)))
    alive = [number for number in range(followed + 250) if number % 3]

    def kept() -> list[int]:
        reader.search(vector(1), top_k=3)
        return sorted(reader.to_arrow(["id"])["id"].to_pylist())

    until(lambda: kept() == alive)
    for number in alive[:: len(alive) // 10]:
        assert reader.search(vector(number), top_k=1)[0][0]["id"] == number


def test_a_search_finds_ready_what_was_asked_before(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    before, number = None, followed

    def made_ready() -> bool:
        nonlocal before, number
        reader.search(vector(0), top_k=5, output_fields=["n"])
        writer.insert(rows(number))
        number += 1
        now = reader._follower.take()
        known, before = before, now
        # Nobody but this thread searches, and it has not searched what it takes here for the first time.
        return known is not None and now is not None and now is not known and bool(now.snapshot.ready)

    until(made_ready)
    until(lambda: reader.count() == number)
    hits = reader.search(vector(followed), top_k=5, output_fields=["n"])[0]
    assert hits[0]["id"] == followed
    assert hits[0]["entity"]["n"] == followed


def test_reads_look_themselves_once_it_has_ended(
    writer: hw.Collection, reader: hw.Collection, followed: int
) -> None:
    until(lambda: not reader._follower.running)
    for number in range(followed, followed + 3):
        writer.insert(rows(number))
        time.sleep(0.002)
        assert reader.count() == number + 1


def test_a_process_that_writes_alone_follows_nobody(writer: hw.Collection) -> None:
    for number in range(50):
        writer.insert(rows(number))
        assert writer.count() == number + 1
    assert writer._follower._thread is None


def test_nothing_is_taken_that_is_older_than_its_bound() -> None:
    going = threading.Event()

    def look(before: int | None) -> int:
        if before is not None:
            going.wait(20.0)
        return (before or 0) + 1

    follower = Follower[int](most_age_s=0.05)
    for _ in range(8):
        follower.noticed(look)
    until(lambda: follower.running)
    until(lambda: follower.take() is None)
    assert follower.running
    going.set()
    until(lambda: not follower.running)
    assert follower.take() is None


def test_news_that_come_seldom_start_nothing() -> None:
    follower = Follower[int]()
    for _ in range(7):
        follower.noticed(lambda before: 1)
    assert not follower.running
    assert follower._thread is None


def test_a_failure_ends_it_and_the_next_news_begin_it_again() -> None:
    looks = 0

    def look(before: int | None) -> int:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise StoreUnavailable("away")
        return looks

    follower = Follower[int]()
    for _ in range(8):
        follower.noticed(look)
    until(lambda: looks == 3 and not follower.running)
    thread = follower._thread
    assert thread is not None
    thread.join(20.0)
    for _ in range(8):
        follower.noticed(look)
    until(lambda: follower.take() is not None)
