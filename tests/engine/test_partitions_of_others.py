"""Partitions that another process makes and drops: what is acknowledged is there, wherever the lake is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import PartitionNotFound
from headwater.testing.s3_server import s3_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=["local", "s3"])
def connect(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Connects to one lake, as another process does each time."""
    folder: Path = tmp_path_factory.mktemp("lake")
    if request.param == "local":
        yield lambda: hw.connect(folder)
        return
    with s3_server() as server:
        yield lambda: hw.connect(f"{server.url}/lake", server.options)


@pytest.fixture
def handles(connect: Any) -> tuple[hw.Collection, hw.Collection]:
    """Of a collection with the partition p, which both know."""
    name = f"c{next(_NUMBERS)}"
    made = connect().create_collection(name, {"id": hw.Int64, "n": hw.Int64}, "id")
    made.create_partition("p")
    other = connect().collection(name)
    other.insert([{"id": 0, "n": 0}], partition="p")
    return made, other


def insert(into: hw.Collection) -> None:
    into.insert([{"id": 1, "n": 1}], partition="p")


def upsert(into: hw.Collection) -> None:
    into.upsert([{"id": 1, "n": 1}], partition="p")


def partial_upsert(into: hw.Collection) -> None:
    into.upsert([{"id": 1, "n": 1}], partition="p", partial=True)


@pytest.mark.parametrize("write", [insert, upsert, partial_upsert])
def test_rows_of_a_partition_that_was_dropped_are_not_acknowledged(
    handles: tuple[hw.Collection, hw.Collection], write: Callable[[hw.Collection], Any]
) -> None:
    one, other = handles
    one.drop_partition("p")
    with pytest.raises(PartitionNotFound, match="'p'"):
        write(other)
    assert one.query(consistency_level="Strong").to_arrow().num_rows == 0


def test_rows_of_a_partition_that_was_made_again_are_not_lost(
    handles: tuple[hw.Collection, hw.Collection],
) -> None:
    one, other = handles
    one.drop_partition("p")
    one.create_partition("p")
    try:
        other.insert([{"id": 1, "n": 1}], partition="p")
    except PartitionNotFound:
        other.insert([{"id": 1, "n": 1}], partition="p")
    assert [row["id"] for row in one.query(partitions=["p"], consistency_level="Strong")] == [1]


def test_a_partition_is_written_to_as_soon_as_another_made_it(
    handles: tuple[hw.Collection, hw.Collection],
) -> None:
    one, other = handles
    one.create_partition("new")
    assert other.insert([{"id": 1, "n": 1}], partition="new").count == 1
    assert one.query(partitions=["new"], consistency_level="Strong")[0]["id"] == 1
