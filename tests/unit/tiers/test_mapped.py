"""The mapped files of the process, counted while files come and go anywhere."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.tiers.mapped import MappedMemory

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
