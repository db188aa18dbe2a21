"""Legs are run the way that takes least, whichever that is, and however it changes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from headwater.query.turns import Turns

APART = 2


def chosen(turns: Turns, ways_s: Sequence[float], calls: int, *, waits: bool = False) -> list[int]:
    """Which way each of some calls went, where each way takes so long, give or take a half."""
    noise, ways = random.Random(1), []
    for _ in range(calls):
        way = turns.way(waits=waits)
        turns.took(way, ways_s[way] * noise.uniform(0.75, 1.5))
        ways.append(way)
    return ways


@pytest.mark.parametrize("ways_s", [(0.001, 0.003, 0.003), (0.003, 0.001, 0.003), (0.003, 0.003, 0.001)])
def test_the_way_that_takes_least_is_taken_and_the_others_tried(ways_s: Sequence[float]) -> None:
    ways = chosen(Turns(2), ways_s, 640)
    assert ways.count(ways_s.index(min(ways_s))) >= 540
    assert all(ways[64:].count(way) >= 12 for way in range(3))


def test_a_first_call_that_opens_everything_is_soon_forgotten() -> None:
    turns = Turns(2)
    assert turns.way(waits=False) == APART
    turns.took(APART, 0.5)
    assert chosen(turns, (0.003, 0.003, 0.001), 128)[64:].count(APART) > 50


def test_a_machine_that_becomes_busy_is_noticed() -> None:
    turns = Turns(2)
    assert chosen(turns, (0.003, 0.001, 0.002), 200)[-20:].count(1) >= 16
    assert chosen(turns, (0.006, 0.006, 0.002), 200)[-20:].count(APART) >= 16


def test_a_thread_that_has_slept_is_not_taken_for_a_slow_one() -> None:
    turns, before, ways = Turns(2), APART, []
    for _ in range(640):
        way = turns.way(waits=False)
        together_s = 0.0006 if before != APART else 0.0012
        turns.took(way, 0.001 if way == APART else together_s)
        ways.append(way)
        before = way
    assert ways.count(APART) <= 100


def test_legs_that_wait_for_a_store_wait_together() -> None:
    assert APART not in chosen(Turns(2), (0.1, 0.1, 0.2), 200, waits=True)


def test_what_is_short_is_told_by_what_it_took() -> None:
    turns = Turns(2)
    assert not turns.short(0)
    turns.took(0, 0.0005)
    turns.took(1, 0.005)
    assert turns.short(0)
    assert not turns.short(1)
