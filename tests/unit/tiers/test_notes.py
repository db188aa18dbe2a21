"""Notes on remote lakes: what is read is what was written, or nothing."""

from __future__ import annotations

import os
import shutil

import pytest

from headwater.store import FaultyStore, LocalObjectStore, open_store
from headwater.tiers import Notes, OnDemandTiers, Tiers

LIMIT = 1 << 20


def notes(folder, url="s3://bucket/lake", limit=LIMIT) -> Notes:
    return Notes(folder / "notes", url, limit)


def only(folder):
    (found,) = (folder / "notes").iterdir()
    return found


def test_the_last_note_is_read_by_other_processes_of_the_same_store_and_key_only(tmp_path):
    written = notes(tmp_path)
    assert written.read("default/docs") is None
    written.write("default/docs", b"first")
    written.write("default/docs", b"second")
    assert notes(tmp_path).read("default/docs") == b"second"
    assert notes(tmp_path).read("default/other") is None
    assert notes(tmp_path, "s3://bucket/other").read("default/docs") is None


def test_a_note_that_is_not_as_it_was_written_is_none(tmp_path):
    written = notes(tmp_path)
    written.write("key", b"what was seen")
    whole = only(tmp_path).read_bytes()
    for at in range(len(whole)):
        only(tmp_path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert written.read("key") is None
        only(tmp_path).write_bytes(whole[:at])
        assert written.read("key") is None
    only(tmp_path).write_bytes(whole)
    assert written.read("key") == b"what was seen"


def test_a_note_too_large_takes_the_place_of_the_one_before(tmp_path):
    written = notes(tmp_path)
    written.write("key", b"small")
    written.write("key", bytes((1 << 20) + 1))
    assert written.read("key") is None
    assert not list((tmp_path / "notes").iterdir())


def test_the_folder_may_go_at_any_time(tmp_path):
    written = notes(tmp_path)
    written.write("key", b"one")
    shutil.rmtree(tmp_path / "notes")
    assert written.read("key") is None
    written.write("key", b"two")
    assert written.read("key") == b"two"


def test_a_disk_that_cannot_be_written_to_is_left_alone(tmp_path):
    (tmp_path / "notes").write_bytes(b"a file where the folder would be")
    written = notes(tmp_path)
    written.write("key", b"one")
    assert written.read("key") is None


def test_the_longest_unused_go_when_there_are_too_many(tmp_path):
    written = notes(tmp_path, limit=LIMIT)
    for number in range(100):
        written.write(f"key {number}", bytes(20_000))
    for number, path in enumerate(sorted((tmp_path / "notes").iterdir())):
        os.utime(path, (1000 + number, 1000 + number))
    (tmp_path / "notes" / "torn.new").write_bytes(bytes(1000))
    os.utime(tmp_path / "notes" / "torn.new", (900, 900))
    assert written.read("key 0") is not None
    notes(tmp_path).write("key 100", bytes(20_000))
    left = list((tmp_path / "notes").iterdir())
    assert sum(path.stat().st_blocks * 512 for path in left) <= LIMIT
    assert 20 < len(left) < 60
    assert not any(path.name.endswith(".new") for path in left)
    # One was read, and one written, just now.
    assert written.read("key 0") is not None
    assert written.read("key 100") is not None


@pytest.mark.parametrize(
    ("given", "kept"), [({}, True), ({"disk_bytes": 0}, False), ({"policy": "on_demand"}, False)]
)
def test_notes_are_made_where_things_are_kept(remote, given, kept):
    assert (remote.tiers(**given).notes(remote.store, "db") is not None) is kept


def test_no_notes_are_made_on_what_is_here_or_by_who_keeps_nothing(remote, tmp_path):
    settings = remote.settings
    assert Tiers(settings).notes(LocalObjectStore(tmp_path / "lake"), "db") is None
    assert Tiers(settings).notes(open_store("memory://notes"), "db") is None
    assert OnDemandTiers(settings).notes(FaultyStore(LocalObjectStore(tmp_path / "lake")), "db") is None
