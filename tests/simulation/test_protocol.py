"""Ten thousand seeds of the commit and log protocol."""

from __future__ import annotations

import os

import pytest

from .protocol import Simulation

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "10000"))
BLOCK = 250


@pytest.mark.parametrize("block", range(SEEDS // BLOCK))
def test_nothing_acknowledged_is_lost_and_strong_reads_are_linearizable(block: int) -> None:
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        try:
            Simulation(seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
