"""Collections that two processes create, drop and rename at once: a name is of one, and no other loses a row by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.engine.upkeep import Upkeep
from headwater.errors import AlreadyExists, CollectionNotFound

SCHEMA = {"id": hw.Int64}


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    return hw.connect(tmp_path)


@pytest.fixture
def other(tmp_path: Path) -> hw.Database:
    """The lake as another process has it."""
    return hw.connect(tmp_path)


def make(db: hw.Database, name: str, key: int) -> None:
    db.create_collection(name, SCHEMA, "id").insert([{"id": key}])


def keys(db: hw.Database, name: str) -> list[int]:
    return sorted(db.collection(name).to_arrow(consistency_level="Strong")["id"].to_pylist())


def once_around(
    monkeypatch: pytest.MonkeyPatch, target: Any, method: str, work: Callable[[], Any], *, after: bool
) -> None:
    """Have something done the next time that a method is called, before it or after it."""
    inner = getattr(target, method)

    def outer(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(target, method, inner)
        if not after:
            work()
        result = inner(*args, **kwargs)
        if after:
            work()
        return result

    monkeypatch.setattr(target, method, outer)


@pytest.mark.parametrize("after", [False, True])
def test_what_is_made_while_its_namesake_is_dropped_stays(
    db: hw.Database, other: hw.Database, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    make(db, "docs", 1)
    once_around(monkeypatch, db._store, "delete", lambda: make(other, "docs", 2), after=after)
    db.drop_collection("docs")
    assert keys(db, "docs") == keys(other, "docs") == [2]
    assert db.list_collections() == ["docs"]


def test_a_second_drop_does_not_take_what_was_made_after_the_first(
    db: hw.Database, other: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop_and_make() -> None:
        other.drop_collection("docs")
        make(other, "docs", 2)

    make(db, "docs", 1)
    once_around(monkeypatch, db._names, "root", drop_and_make, after=True)
    with pytest.raises(CollectionNotFound):
        db.drop_collection("docs")
    assert keys(db, "docs") == keys(other, "docs") == [2]


def test_a_drop_does_not_take_what_was_renamed_meanwhile(
    db: hw.Database, other: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(db, "docs", 1)
    renamed = lambda: other.rename_collection("docs", "kept")  # noqa: E731
    once_around(monkeypatch, db._names, "root", renamed, after=True)
    with pytest.raises(CollectionNotFound):
        db.drop_collection("docs")
    assert keys(db, "kept") == [1]


def test_of_two_that_are_made_at_once_under_a_name_that_was_renamed_one_is_there(
    db: hw.Database, other: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(db, "docs", 1)
    db.rename_collection("docs", "kept")
    once_around(monkeypatch, db._names, "root", lambda: make(other, "docs", 2), after=True)
    with pytest.raises(AlreadyExists):
        make(db, "docs", 3)
    assert keys(db, "docs") == keys(other, "docs") == [2]
    assert keys(db, "kept") == [1]


def test_what_a_drop_that_was_cut_short_leaves_is_nobodys_and_goes(
    db: hw.Database, other: hw.Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def crash(keys: Any) -> None:
        raise KeyboardInterrupt

    make(db, "docs", 1)
    db.collection("docs").flush()
    folder = tmp_path / "default" / "docs"
    with monkeypatch.context() as patched:
        patched.setattr(db._store, "delete", crash)
        with pytest.raises(KeyboardInterrupt):
            db.drop_collection("docs")
    assert folder.is_dir()
    assert (db.list_collections(), other.has_collection("docs")) == ([], False)
    make(other, "docs", 2)
    list(Upkeep(other).once())
    assert not folder.exists()
    assert keys(other, "docs") == [2]


def test_nothing_is_acknowledged_for_a_collection_that_another_has_dropped(
    db: hw.Database, other: hw.Database, tmp_path: Path
) -> None:
    make(db, "docs", 1)
    docs = db.collection("docs")
    other.drop_collection("docs")
    make(other, "docs", 2)
    for write in (
        lambda: docs.insert([{"id": 3}]),
        lambda: docs.upsert([{"id": 3}]),
        lambda: docs.delete([1]),
        lambda: docs.set_properties({"a": "b"}),
    ):
        with pytest.raises(CollectionNotFound):
            write()
    assert keys(db, "docs") == [2]
    assert not list((tmp_path / "default").glob("docs/manifests/*"))
