"""A process that starts again on a remote lake: what is new is known after one round of requests, and none is missed.

Another process on the lake's files is the oracle: it asks for everything.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headwater as hw
from headwater.engine import Database
from headwater.settings import MaintenanceSettings, TierSettings
from headwater.store import LocalObjectStore
from headwater.testing.rounds import RoundsStore

TRIES = 4
FIELDS = {"id": hw.Int64, "title": hw.String, "near": hw.FloatVector(8)}


def rows(start: int, count: int) -> dict[str, Any]:
    ids = np.arange(start, start + count)
    vectors = np.random.default_rng(start).normal(size=(count, 8)).astype(np.float32)
    return {"id": ids, "title": [f"title {one}" for one in ids], "near": vectors}


@pytest.fixture
def lake(tmp_path):
    folder = tmp_path / "lake"
    with hw.connect(folder) as db:
        docs = db.create_collection("docs", FIELDS, "id")
        docs.insert(rows(0, 500))
        docs.flush()
    return folder


def process(lake: Path, **other: Any) -> tuple[RoundsStore, Database]:
    """The lake, a request away, with a disk cache that outlives the process."""
    store = RoundsStore(LocalObjectStore(lake))
    tiers = TierSettings(policy="warm", disk_path=str(lake.parent / "cache"), **other)
    return store, Database(
        store, "default", hw.Settings(tiers=tiers, maintenance=MaintenanceSettings(automatic=False))
    )


def ask(db: Database, name: str = "docs") -> list[tuple[Any, ...]]:
    found = db.search(name, np.ones((1, 8), np.float32), top_k=5, output_fields=["title"])
    return [(hit["id"], hit["entity"]["title"], round(hit["distance"], 5)) for hit in found[0]]


def expected(lake: Path, name: str = "docs") -> list[tuple[Any, ...]]:
    with hw.connect(lake, settings=hw.Settings(maintenance=MaintenanceSettings(automatic=False))) as db:
        return ask(db, name)


def started_again(lake: Path, name: str = "docs") -> int:
    """Rounds until the first answer, the least of a few processes; every answer is right."""
    right, rounds = expected(lake, name), []
    for _ in range(TRIES):
        store, db = process(lake)
        assert ask(db, name) == right, store.timeline()
        rounds.append(store.rounds)
    return min(rounds)


def test_a_process_that_starts_again_answers_after_one_round(lake):
    store, db = process(lake)
    ask(db)
    assert store.rounds > 2
    assert started_again(lake) == 1


def test_rows_in_the_log_are_part_of_that_round(lake):
    ask(process(lake)[1])
    with hw.connect(lake) as db:
        db.insert("docs", {**rows(500, 1), "near": np.ones((1, 8), np.float32)})
        assert expected(lake)[0][0] == 500
        store, again = process(lake)
        assert ask(again) == expected(lake), store.timeline()


def test_names_that_changed_before_are_part_of_that_round(lake):
    with hw.connect(lake) as db:
        db.create_alias("papers", "docs")
        db.rename_collection("docs", "texts")
    ask(process(lake)[1], "texts")
    assert started_again(lake, "texts") == 1
    assert started_again(lake, "papers") == 1


def insert(db: Database) -> None:
    db.insert("docs", rows(500, 200))
    db.collection("docs").flush()


def delete(db: Database) -> None:
    db.delete("docs", [one[0] for one in ask(db)])


def make_anew(db: Database) -> None:
    db.drop_collection("docs")
    db.create_collection("docs", FIELDS, "id").insert(rows(7000, 50))


def take_the_name(db: Database) -> None:
    db.rename_collection("docs", "old")
    db.create_collection("docs", FIELDS, "id").insert(rows(8000, 50))


def alter(db: Database) -> None:
    db.collection("docs").set_tier("cold")


@pytest.mark.parametrize("change", [insert, delete, make_anew, take_the_name, alter])
def test_what_others_did_meanwhile_is_seen(lake, change: Callable[[Database], None]):
    ask(process(lake)[1])
    with hw.connect(lake) as db:
        change(db)
        ask(db)
    assert started_again(lake) == 1


def test_another_lake_in_its_place_is_seen(lake, tmp_path):
    with hw.connect(lake) as db:
        db.create_alias("papers", "docs")
    ask(process(lake)[1])
    lake.rename(tmp_path / "before")
    with hw.connect(lake) as db:
        db.create_collection("docs", FIELDS, "id").insert(rows(9000, 20))
        assert ask(process(lake)[1]) == ask(db)
        for number in range(5):
            db.create_alias(f"papers{number}", "docs")
            db.insert("docs", rows(10_000 + 10 * number, 10))
            db.collection("docs").flush()
            if number != 1:
                assert ask(process(lake)[1], f"papers{number}") == ask(db)
    with pytest.raises(hw.errors.CollectionNotFound):
        process(lake)[1].collection("papers")


def test_a_collection_that_is_gone_is_said(lake):
    ask(process(lake)[1])
    with hw.connect(lake) as db:
        db.drop_collection("docs")
    with pytest.raises(hw.errors.CollectionNotFound):
        ask(process(lake)[1])


def test_damaged_notes_and_none_are_the_same(lake):
    ask(process(lake)[1])
    for path in (lake.parent / "cache").glob("v1/notes/*"):
        path.write_bytes(path.read_bytes()[:-1])
    started_again(lake)
    for path in (lake.parent / "cache").glob("v1/notes/*"):
        path.unlink()
    store, db = process(lake)
    assert ask(db) == expected(lake), store.timeline()


def test_a_writer_that_starts_again_goes_on_after_what_others_wrote(lake):
    _, db = process(lake)
    db.insert("docs", rows(500, 10))
    with hw.connect(lake) as other:
        other.insert("docs", rows(510, 10))
        other.collection("docs").flush()
        other.insert("docs", rows(520, 10))
    _, db = process(lake)
    docs = db.collection("docs")
    docs.insert(rows(530, 10))
    docs.flush()
    with hw.connect(lake) as other:
        assert other.count("docs") == 540
        assert [row["id"] for row in other.query("docs", "id >= 500", output_fields=["id"])] == list(
            range(500, 540)
        )
