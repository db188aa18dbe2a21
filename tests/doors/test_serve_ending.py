"""A process that nobody is left to end."""

from __future__ import annotations

import subprocess
import sys

HANGS = """
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from headwater.doors.serve.ending import leave_within
leave_within({seconds})
ThreadPoolExecutor(1).submit(sleep, 600)
"""


def test_what_hangs_is_broken_off_and_what_ends_is_not() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGS.format(seconds=0.1)], capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 1
    assert "did not end in time" in ended.stderr
    sound = HANGS.format(seconds=500).replace("sleep, 600", "sleep, 0.1")
    assert subprocess.run([sys.executable, "-c", sound], timeout=100).returncode == 0
