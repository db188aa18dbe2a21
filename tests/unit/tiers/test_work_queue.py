"""Work in the background: each piece once, in order, within a bound; nothing that it raises or forks stops the rest."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from headwater.errors import Unavailable
from headwater.tiers import WorkQueue, work_queue


def _queue(most_waiting: int = 4) -> WorkQueue:
    return WorkQueue("test", most_waiting, daemon=True)


class Gate:
    """Work that waits until it may end."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.began.set()
        assert self.may_end.wait(30)


def test_each_piece_is_done_once_and_in_order() -> None:
    queue, gate, done = _queue(), Gate(), []
    assert queue.ask("gate", gate)
    assert gate.began.wait(30)
    for name in ("a", "b", "a", "gate"):
        assert queue.ask(name, lambda name=name: done.append(name))
    assert queue.waiting == 3
    gate.may_end.set()
    assert queue.wait(30)
    assert done == ["a", "b"]
    assert queue.ask("a", lambda: done.append("again"))
    assert queue.wait(30)
    assert done == ["a", "b", "again"]
    assert (queue.done, queue.failures) == (4, 0)


def test_more_than_the_bound_is_not_taken() -> None:
    queue, gate, done = _queue(2), Gate(), []
    queue.ask("gate", gate)
    assert gate.began.wait(30)
    assert [queue.ask(number, lambda number=number: done.append(number)) for number in range(4)] == [
        True,
        True,
        False,
        False,
    ]
    gate.may_end.set()
    assert queue.wait(30)
    assert done == [0, 1]


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("a bug"), MemoryError(), Unavailable("away"), OSError("full")]
)
def test_what_fails_in_any_way_is_counted_and_the_rest_is_done(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    queue, done = _queue(), []

    def fail() -> bool:
        raise error

    with caplog.at_level(logging.WARNING, "headwater.background"):
        assert queue.ask("broken", fail)
        assert queue.wait(30)
    assert "broken" in caplog.text
    assert queue.ask("broken", lambda: done.append("broken"))
    assert queue.ask("sound", lambda: done.append("sound"))
    assert queue.ask("idle", lambda: False)
    assert queue.wait(30)
    assert done == ["broken", "sound"]
    assert (queue.done, queue.failures) == (2, 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_fork_takes_no_work_along_and_can_ask_for_it_again() -> None:
    queue, gate = _queue(), Gate()
    queue.ask("gate", gate)
    assert gate.began.wait(30)
    queue.ask("next", lambda: None)
    # Held by another thread at the moment of the fork, as it may be.
    with queue._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                done: list[str] = []
                if queue.waiting == 0 and queue.ask("gate", lambda: done.append("gate")) and queue.wait(30):
                    status = 0 if done == ["gate"] else 2
            finally:
                os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.may_end.set()
    assert queue.wait(30)
    assert queue.done == 2


class Interrupted(OrderedDict):
    """Another thread does something in the middle of taking a piece of work."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = meanwhile
        self.threads: list[threading.Thread] = []

    def popitem(self, last: bool = True) -> Any:
        found = super().popitem(last)
        self.threads.append(threading.Thread(target=self._meanwhile))
        self.threads[-1].start()
        # It may have to wait for this one.
        self.threads[-1].join(0.2)
        return found


def test_work_that_is_just_taken_is_counted() -> None:
    queue, gate, seen = _queue(), Gate(), []
    taken = queue._waiting = Interrupted(lambda: seen.append(queue.waiting))
    queue.ask("gate", gate)
    assert gate.began.wait(30)
    taken.threads[0].join()
    gate.may_end.set()
    assert queue.wait(30)
    assert seen == [1]


def _threads(queue: WorkQueue, pieces: int) -> set[int]:
    """The threads that so many pieces of work run on, each asked for when the one before is done."""
    threads: set[int] = set()
    for number in range(pieces):
        assert queue.ask(number, lambda: threads.add(threading.get_native_id()))
        assert queue.wait(30)
    return threads


def test_whoever_asks_again_waits_for_no_other_thread_to_begin() -> None:
    assert len(_threads(_queue(), 5)) == 1


def test_a_thread_that_nobody_needs_ends_and_another_takes_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(work_queue, "_IDLE_S", 0.01)
    queue = _queue()
    assert _threads(queue, 1)
    deadline = time.monotonic() + 30
    while queue._thread is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert queue._thread is None
    assert _threads(queue, 1)


def test_a_thread_that_waits_holds_nothing_of_what_it_did() -> None:
    class Thing:
        def work(self) -> None:
            return None

    queue, thing = _queue(), Thing()
    gone = weakref.ref(thing)
    assert queue.ask(thing.work, thing.work)
    assert queue.wait(30)
    del thing
    deadline = time.monotonic() + 30
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert gone() is None
    assert queue._thread is not None


_PROGRAM = """
import sys, threading, time
from headwater.tiers import WorkQueue, work_queue
work_queue._IDLE_S = 600.0
queue = WorkQueue("test", 4, daemon=sys.argv[1] == "daemon")
began = threading.Event()

def work():
    began.set()
    time.sleep(0.5)
    print("done", flush=True)

queue.ask("idle", lambda: None)
queue.wait()
if sys.argv[2] == "work":
    queue.ask("work", work)
    queue.ask("waits", lambda: print("not done", flush=True))
    began.wait()
"""


@pytest.mark.parametrize(
    ("daemon", "work", "said"),
    [("", "work", "done\n"), ("daemon", "work", ""), ("", "", ""), ("daemon", "", "")],
)
def test_a_program_that_ends_waits_for_the_work_at_hand_and_for_no_other(
    daemon: str, work: str, said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, daemon, work], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, said, "")
