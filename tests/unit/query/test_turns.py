"""Legs are run the way that takes less, whichever that is, and however it changes."""

from __future__ import annotations

import random

import pytest

from headwater.query.turns import Turns


def chosen(turns: Turns, apart_s: float, together_s: float, calls: int, *, waits: bool = False) -> list[bool]:
    """Which way each of some calls went, where either way takes so long, give or take a half."""
    noise, ways = random.Random(1), []
    for _ in range(calls):
        together = turns.together(waits=waits)
        seconds = together_s if together else apart_s
        took = seconds * noise.uniform(0.75, 1.5)
        if together:
            turns.took_together(took)
        else:
            turns.took_apart([0.3 * took, 0.7 * took])
        ways.append(together)
    return ways


@pytest.mark.parametrize(("apart_s", "together_s"), [(0.001, 0.003), (0.003, 0.001)])
def test_the_way_that_takes_less_is_taken_and_the_other_one_tried(apart_s: float, together_s: float) -> None:
    ways = chosen(Turns(), apart_s, together_s, 320)
    better = ways.count(together_s < apart_s)
    assert 280 <= better < 320


def test_a_first_call_that_opens_everything_is_soon_forgotten() -> None:
    turns = Turns()
    assert not turns.together(waits=False)
    turns.took_apart([0.4, 0.1])
    assert chosen(turns, 0.001, 0.003, 64).count(False) > 44


def test_a_machine_that_becomes_busy_is_noticed() -> None:
    turns = Turns()
    assert chosen(turns, 0.002, 0.001, 200)[-20:].count(True) >= 16
    assert chosen(turns, 0.002, 0.006, 200)[-20:].count(False) >= 16


def test_a_thread_that_has_slept_is_not_taken_for_a_slow_one() -> None:
    turns, together_before = Turns(), False
    ways = []
    for _ in range(320):
        together = turns.together(waits=False)
        if together:
            turns.took_together(0.0006 if together_before else 0.0012)
        else:
            turns.took_apart([0.0005, 0.0005])
        ways.append(together)
        together_before = together
    assert ways.count(True) >= 280


def test_the_slowest_leg_is_told_by_what_each_takes_alone() -> None:
    turns = Turns()
    assert turns.slowest == 0
    turns.took_apart([0.5, 0.002, 0.001])  # opens everything
    for _ in range(3):
        turns.took_apart([0.001, 0.004, 0.003])
        turns.took_together(0.004)
    assert turns.slowest == 1


def test_legs_that_wait_for_a_store_wait_together() -> None:
    ways = chosen(Turns(), 0.2, 0.1, 200, waits=True)
    assert all(ways)
