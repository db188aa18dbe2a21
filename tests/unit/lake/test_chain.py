"""A chain of numbered documents: who reads it comes to the newest, whatever was noted of it and whoever wrote it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import Corrupt
from headwater.lake import Chain
from headwater.store import LocalObjectStore
from headwater.testing.rounds import RoundsStore
from headwater.tiers import Notes


def chain(folder: Path, notes: Notes | None = None, store: Any = None) -> Chain[int]:
    return Chain(
        store or LocalObjectStore(folder), "count", empty=0, encode=_encoded, decode=_decoded, notes=notes
    )


def _encoded(value: int) -> Mapping[str, Any]:
    return {"value": value}


def _decoded(data: Mapping[str, Any]) -> int:
    return int(data["value"])


def _more(value: int) -> int:
    return value + 1


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes", "file:///lake", 1 << 20)


def test_changes_of_several_threads_and_handles_are_all_made(tmp_path: Path) -> None:
    handles = [chain(tmp_path / "lake"), chain(tmp_path / "lake")]

    def count(handle: Chain[int]) -> None:
        for _ in range(10):
            handle.change(_more)

    threads = [threading.Thread(target=count, args=(handles[i % 2],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [handle.latest() for handle in handles] == [40, 40]


@pytest.mark.parametrize("changes", [0, 1, 2, 7])
def test_a_process_to_come_begins_with_what_was_noted(tmp_path: Path, notes: Notes, changes: int) -> None:
    first = chain(tmp_path / "lake", notes)
    for _ in range(changes):
        first.change(_more)
    unnoted = chain(tmp_path / "lake")
    for further in range(3):
        begun = chain(tmp_path / "lake", notes)
        assert (begun.known, begun.probable) == (0, changes + further)
        assert begun.latest() == changes + further
        assert begun.known == begun.probable == changes + further
        unnoted.change(_more)
        # The next process has the note of the one before.
        begun.latest()


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_another_chain_in_place_of_the_noted_one_is_read(tmp_path: Path, notes: Notes, length: int) -> None:
    first = chain(tmp_path / "lake", notes)
    for _ in range(3):
        first.change(lambda value: value + 100)
    shutil.rmtree(tmp_path / "lake")
    (tmp_path / "lake").mkdir()
    other = chain(tmp_path / "lake")
    for _ in range(length):
        other.change(_more)
    assert chain(tmp_path / "lake", notes).latest() == length


@pytest.mark.parametrize("length", [0, 1, 3, 9])
def test_looking_again_tells_another_chain_from_a_longer_one(tmp_path: Path, length: int) -> None:
    held = chain(tmp_path / "lake")
    for _ in range(3):
        held.change(lambda value: value + 100)
    chain(tmp_path / "lake").change(_more)
    assert held.look_again()
    assert held.known == 301
    shutil.rmtree(tmp_path / "lake")
    (tmp_path / "lake").mkdir()
    other = chain(tmp_path / "lake")
    for _ in range(length):
        other.change(_more)
    assert not held.look_again()
    assert held.known == length


def test_a_long_chain_is_not_walked(tmp_path: Path) -> None:
    writer = chain(tmp_path / "lake")
    for _ in range(50):
        writer.change(_more)
    store = RoundsStore(LocalObjectStore(tmp_path / "lake"))
    assert chain(tmp_path / "lake", store=store).latest() == 50
    assert len(store.requests) <= 4


def test_a_change_that_changes_nothing_is_not_stored(tmp_path: Path) -> None:
    one = chain(tmp_path / "lake")
    one.change(_more)
    one.change(lambda value: value)
    assert len(list((tmp_path / "lake" / "count").iterdir())) == 1


def test_a_damaged_document_is_named(tmp_path: Path) -> None:
    chain(tmp_path / "lake").change(_more)
    [path] = (tmp_path / "lake" / "count").iterdir()
    path.write_bytes(b'{"version": 1, "commit_id": "x"}')
    with pytest.raises(Corrupt, match=path.name):
        chain(tmp_path / "lake").latest()
