"""Programs that watch how much memory of their own they come to hold, and no pages of files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["NEEDS_PROC", "grown_mib"]

NEEDS_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")

_WATCHING = """
import pathlib, sys, threading
from contextlib import contextmanager
import headwater as hw
from headwater.engine import Database
from headwater.store import FaultyStore, open_store


def opened(lake, where):
    if where == "remote":
        return Database(FaultyStore(open_store(lake)), "default", hw.Settings())
    return hw.connect(lake)


def own_mib():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024


@contextmanager
def watched():
    before, most, done = own_mib(), [0], threading.Event()

    def watch():
        while not done.wait(0.005):
            most[0] = max(most[0], own_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    done.set()
    watcher.join()
    print(most[0] - before)

"""


def grown_mib(program: str, *arguments: str) -> tuple[int, int]:
    """Run a program, and say what its memory grew by.

    Args:
        program: what it does; it may call `opened` for a lake, does the work in question ``with watched():``, and
            prints a number after it.
        arguments: of its command line.

    Returns:
        MiB, and the number.
    """
    # What threads keep of what they gave back depends on who ran when, and is not the work's.
    quiet = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", _WATCHING + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    grown, number = map(int, done.stdout.split())
    return grown, number
