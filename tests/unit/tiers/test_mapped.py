"""The mapped files of the process, counted while files come and go anywhere."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headwater.tiers.mapped import MappedMemory, map_file

FILES, SIZE = 500, 64


def mapping_in_a_cycle(memory: MappedMemory) -> list[Any]:
    """A mapping that only the collector of cycles lets go."""
    held: list[Any] = [np.zeros(SIZE, np.uint8)]
    memory.add(held[0])
    held.append(held)
    return held


def address_of(mapping: npt.NDArray[np.uint8]) -> int:
    return int(mapping.ctypes.data)


def test_files_are_let_go_in_the_middle_of_a_walk_over_them() -> None:
    memory = MappedMemory()
    kept = [np.zeros(SIZE, np.uint8) for _ in range(FILES)]
    for mapping in kept:
        memory.add(mapping)
    before = gc.get_threshold()
    try:
        for later in range(0, FILES, 25):
            no_tuple_is_used_again = [(one, one) for one in range(3000)]
            mapping_in_a_cycle(memory)
            # The collector of cycles runs so many objects from here.
            gc.set_threshold(gc.get_count()[0] + later)
            assert memory.holds(address_of(kept[-1]))
            gc.set_threshold(*before)
            del no_tuple_is_used_again
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert memory.report().mapped_bytes == FILES * SIZE


def test_a_file_that_is_let_go_is_counted_no_more(tmp_path: Path) -> None:
    memory = MappedMemory()
    memory.bound(2 * SIZE)
    first, second = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    memory.add(first)
    memory.add(second)
    where = address_of(first)
    assert memory.holds(where)
    assert not memory.room(1)
    del first
    assert not memory.holds(where)
    assert memory.holds(address_of(second))
    assert memory.room(SIZE)
    assert memory.report().mapped_bytes == SIZE


@pytest.mark.skipif(sys.platform != "linux", reason="no other system is asked")
def test_a_file_that_is_populated_is_resident_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(bytes(8 << 20))
    memory, mapping = MappedMemory(), map_file(path, 8 << 20)
    memory.add(mapping)
    assert memory.report().resident_bytes < 1 << 20
    assert memory.populate(mapping) == 8 << 20
    assert memory.report().resident_bytes >= 8 << 20


def test_a_file_larger_than_the_bound_is_not_populated(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    path.write_bytes(bytes(8 << 20))
    memory, mapping = MappedMemory(), map_file(path, 8 << 20)
    memory.bound(4 << 20)
    memory.add(mapping)
    assert memory.populate(mapping) == 0
    assert memory.report().resident_bytes < 1 << 20
