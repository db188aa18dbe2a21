"""A store that is down, or slow to answer: writers hear of it in time, readers go on, and all recovers by itself."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import headwater as hw
from headwater.engine import Database
from headwater.errors import StoreUnavailable, Timeout, Unavailable
from headwater.store import FaultyStore, open_store

SCHEMA = {"id": hw.Int64, "v": hw.FloatVector(2)}


def settings(deadline_s: float) -> hw.Settings:
    default = hw.Settings()
    return replace(default, write=replace(default.write, deadline_s=deadline_s, staleness_s=0.2))


def row(key: int) -> dict[str, object]:
    return {"id": key, "v": [float(key), 1.0]}


@pytest.fixture
def store(tmp_path: Path) -> FaultyStore:
    return FaultyStore(open_store(tmp_path / "lake"))


def ids(collection: hw.Collection, level: str) -> set[int]:
    return set(collection.to_arrow(["id"], consistency_level=level).column(0).to_pylist())


def test_a_store_that_is_down_for_a_while(store: FaultyStore) -> None:
    writer = Database(store, "default", settings(60.0)).create_collection("t", SCHEMA, "id")
    reader = Database(store, "default", settings(1.0)).collection("t")
    writer.insert([row(1), row(2)])
    assert ids(reader, "Strong") == {1, 2}
    store.fail_before = 1.0
    # Tried until the deadline, which is far away for the writes that are to succeed, however slow the machine.
    writer._log._deadline_s = 1.0
    for _ in range(2):
        with pytest.raises(Unavailable):
            writer.upsert([row(3)])
    writer._log._deadline_s = 60.0
    time.sleep(0.3)
    # Who asks for what cannot be promised is told; everybody else goes on.
    with pytest.raises(StoreUnavailable):
        ids(reader, "Strong")
    with pytest.raises(StoreUnavailable):
        ids(reader, "Bounded")
    for level in ("Session", "Eventually"):
        assert ids(reader, level) == {1, 2}
        assert reader.search([1.0, 1.0], top_k=1, consistency_level=level)[0][0]["id"] == 1
    store.fail_before = 0.0
    writer.upsert([row(4)])
    assert ids(reader, "Strong") in ({1, 2, 4}, {1, 2, 3, 4})
    assert ids(writer, "Strong") == ids(reader, "Strong")


def test_a_strong_collection_is_strong_for_a_handle_that_has_only_written(store: FaultyStore) -> None:
    Database(store, "default", settings(1.0)).create_collection("t", SCHEMA, "id", consistency_level="Strong")
    first, second = (Database(store, "default", hw.Settings()).collection("t") for _ in range(2))
    first.insert([row(1)])
    second.insert([row(2)])
    assert set(first.to_arrow(["id"]).column(0).to_pylist()) == {1, 2}


def test_answers_that_are_lost_say_so_and_write_nothing_twice(store: FaultyStore) -> None:
    writer = Database(store, "default", settings(60.0)).create_collection("t", SCHEMA, "id")
    writer.insert([row(1)])
    # Every request is done and every answer is lost, the read-back's too.
    store.fail_after = 1.0
    writer._log._deadline_s = 0.5
    with pytest.raises(StoreUnavailable, match="outcome unknown"):
        writer.insert([row(2)])
    store.fail_after = 0.0
    writer._log._deadline_s = 60.0
    writer.insert([row(3)])
    found = writer.to_arrow(["id"], consistency_level="Strong").column(0).to_pylist()
    assert found == [1, 2, 3]


def test_a_caller_waits_for_its_turn_no_longer_than_its_deadline(store: FaultyStore) -> None:
    writer = Database(store, "default", settings(60.0)).create_collection("t", SCHEMA, "id")
    writer.insert([row(1)])
    outcomes: dict[int, Exception | None] = {}
    writing = threading.Event()

    def slow_entries(number: int, verb: str, key: str) -> None:
        if verb == "create":
            writing.set()
            time.sleep(1.5)

    def insert(key: int) -> None:
        try:
            writer.insert([row(key)])
            outcomes[key] = None
        except Unavailable as error:
            outcomes[key] = error

    first, second = (threading.Thread(target=insert, args=(key,)) for key in (2, 3))
    store.schedule = slow_entries
    writer._log._deadline_s = 0.4
    first.start()
    assert writing.wait(20)
    second.start()
    first.join()
    second.join()
    store.schedule = None
    writer._log._deadline_s = 60.0
    written = {key for key, error in outcomes.items() if error is None}
    assert any(isinstance(error, Timeout) for error in outcomes.values())
    writer.insert([row(4)])
    found = ids(writer, "Strong")
    assert {1, 4} | written <= found
    refused = {key for key, error in outcomes.items() if error and "nothing was written" in str(error)}
    assert not refused & found


def test_many_callers_share_an_entry(store: FaultyStore) -> None:
    writer = Database(store, "default", settings(30.0)).create_collection("t", SCHEMA, "id")
    writer.insert([row(0)])
    store.reset()
    threads = [threading.Thread(target=lambda key=key: writer.insert([row(key)])) for key in range(1, 41)]

    def until_all_wait(number: int, verb: str, key: str) -> None:
        # However slowly they begin.
        until = time.monotonic() + 60
        while verb == "create" and store.requests["create"] < 2 and time.monotonic() < until:
            if sum(len(lane.queue) for lane in list(writer._log._lanes.values())) == len(threads) - 1:
                return
            time.sleep(0.001)

    store.schedule = until_all_wait
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.schedule = None
    assert store.requests["create"] == 2, "each caller paid for itself"
    assert ids(writer, "Strong") == set(range(41))
