"""The log of a shard that was split comes before those of its heirs, for whoever writes to them too."""

from __future__ import annotations

import pytest

from headwater.errors import StoreUnavailable
from headwater.testing.simulation import Chances

from .protocol import Process, Simulation

QUIET = Chances(0, 0, 0, 0, 0, 0, 0)


def test_a_delete_after_a_split_takes_rows_that_were_not_read_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation = Simulation(0, QUIET)
    one, other = Process(simulation), Process(simulation)
    simulation.next_key = 10
    one.insert([0])
    other.read()
    one.insert([5])
    one.split()
    simulation.world.now_s += 1
    store, split = simulation.world.store, next(iter(other.log.pin(max_age_s=float("inf")).cursors.values()))
    reads: list[str] = []
    get = store.get

    def fails_after_the_new_version(key: str) -> bytes:
        if "/manifests/" in key:
            reads.append(key)
        if reads and f"/log/{split.shard.log}/" in key:
            raise StoreUnavailable("no answer")
        return get(key)

    with monkeypatch.context() as failing:
        failing.setattr(store, "get", fails_after_the_new_version)
        with pytest.raises(StoreUnavailable):
            other.log.pin()
    assert reads
    other.delete([5])
    assert other.read() == one.read() == {0: 0}
    other.seal()
    assert Process(simulation).read() == {0: 0}
