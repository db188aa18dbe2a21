"""Calls made at once: every one is made once, whoever comes to it, and nobody waits for what nobody will do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from headwater.store import ahead, together


def test_results_come_in_the_order_of_the_calls() -> None:
    assert together([lambda i=i: i * i for i in range(200)]) == [i * i for i in range(200)]
    assert together([]) == []
    assert together([lambda: 3]) == [3]


def test_calls_run_at_the_same_time_as_their_caller() -> None:
    met = threading.Barrier(3, timeout=20)
    assert sorted(together([met.wait] * 3)) == [0, 1, 2]


def test_every_call_is_made_once_however_many_wait_for_it() -> None:
    made: list[int] = []
    begun = [ahead(lambda i=i: made.append(i)) for i in range(500)]
    waiting = [threading.Thread(target=lambda: [one.result() for one in begun]) for _ in range(4)]
    for one in waiting:
        one.start()
    for one in waiting:
        one.join(20)
    assert sorted(made) == list(range(500))


@pytest.mark.parametrize("seconds", [0.0, 0.0001, 0.005])
def test_whoever_stays_awake_gets_what_ends_meanwhile_and_what_ends_later(seconds: float) -> None:
    def work(i: int) -> int:
        time.sleep(seconds)
        if i == 7:
            raise KeyError("gone")
        return i

    for _ in range(20):
        assert together([partial(work, i) for i in range(4)], short=True) == [0, 1, 2, 3]
    with pytest.raises(KeyError, match="gone"):
        together([partial(work, 1), partial(work, 7)], short=True)


def test_calls_that_make_calls_without_end_do_not_wait_for_each_other() -> None:
    def deep(level: int) -> int:
        return 1 if not level else sum(together([lambda: deep(level - 1)] * 3))

    assert deep(6) == 3**6


def test_what_a_call_raises_is_raised_where_its_result_is_asked_for() -> None:
    def fail() -> int:
        raise KeyError("gone")

    begun = ahead(fail)
    for _ in range(2):
        with pytest.raises(KeyError, match="gone"):
            begun.result()
    done: list[int] = []
    with pytest.raises(KeyError, match="gone"):
        together([fail, lambda: done.append(1)])
    assert done == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_has_threads_of_its_own() -> None:
    program = """
import os, sys, threading
from headwater.store import ahead, together
together([lambda: None] * 8)
child = os.fork()
if not child:
    met = threading.Barrier(2, timeout=20)
    os._exit(0 if sorted(together([met.wait] * 2)) == [0, 1] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "0\n"


def test_a_program_that_ends_waits_for_what_a_thread_is_doing() -> None:
    program = """
import threading, time
from headwater.store import ahead
began = threading.Event()
def work():
    began.set()
    time.sleep(0.5)
    print("done", flush=True)
ahead(work)
began.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
