"""A crash before and after every request of every operation, each in turn, with a store that otherwise works."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pyarrow as pa
import pytest

from headwater.errors import Fenced
from headwater.lake.log import Deletion
from headwater.testing.simulation import Chances, Crash

from .protocol import Process, Simulation

QUIET = Chances(0, 0, 0, 0, 0, 0, 0)


def _prepared() -> tuple[Simulation, Process]:
    """Rows in two segments with a delete vector, more in the log, and more in segments that only the log names."""
    simulation = Simulation(0, QUIET)
    process = Process(simulation)
    simulation.next_key = 15
    process.insert([0, 1, 2, 3, 4, 5])
    process.seal()
    process.delete([1])
    process.insert([6, 7])
    process.seal()
    process.upsert([0, 6])
    process.delete([2])
    process.insert([8])
    process.insert([12, 13, 14], large=True)
    process.upsert([4, 13], large=True)
    process.delete([14])
    simulation.world.now_s += 120.0
    return simulation, process


def _collect_later(process: Process) -> None:
    process.simulation.world.now_s += 1000.0
    process.collect()


OPERATIONS: dict[str, Callable[[Process], None]] = {
    "insert": lambda process: process.insert([9, 10]),
    "insert, large": lambda process: process.insert([9, 10], large=True),
    "upsert": lambda process: process.upsert([0, 3, 8, 11]),
    "upsert, large": lambda process: process.upsert([0, 3, 8, 11, 12], large=True),
    "delete": lambda process: process.delete([0, 4, 6]),
    "seal": lambda process: process.seal(),
    "split": lambda process: process.split(),
    "gc": _collect_later,
    "open": lambda process: Process(process.simulation).read() and None,
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_a_crash_at_every_request(name: str, when: str) -> None:
    for step in itertools.count(1):
        simulation, process = _prepared()
        store = simulation.world.store
        store.requests, store.crash_at = 0, (step, when)
        crashed = False
        try:
            OPERATIONS[name](process)
        except Crash:
            crashed = True
        store.crash_at = None
        # Whoever comes next finds a whole state, and everything works.
        after = Process(simulation)
        found = after.read()
        after.upsert([5, 7])
        after.delete([3])
        after.seal()
        after.split()
        after.insert([9 if 9 not in found else 20], large=True)
        simulation.next_key = 21
        after.read()
        _collect_later(after)
        Process(simulation).read()
        simulation.check()
        if not crashed:
            break
    assert step > 1, "the operation asks nothing of the store"


def test_a_writer_that_was_taken_over_is_fenced() -> None:
    simulation = Simulation(0, QUIET)
    first, second = Process(simulation, takeover=False), Process(simulation, takeover=False)
    first.insert([0])
    second.insert([1])
    with pytest.raises(Fenced, match="epoch 2"):
        first.log.write(Deletion(pa.array([0])))
    second.insert([2])
    simulation.check()
