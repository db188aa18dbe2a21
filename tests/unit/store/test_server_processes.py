"""Ports of servers that tests start: no two tests are given the same one, in whatever processes they run."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from headwater.testing import processes
from headwater.testing.processes import free_port

ANOTHER = """
import random, sys
from headwater.testing.processes import free_port
random.sample = lambda *_: list(map(int, sys.argv[1:]))
with free_port() as port:
    print(port)
"""


def test_a_port_is_given_to_one_process_at_a_time() -> None:
    with free_port() as first, free_port() as second:
        assert first != second
        # Nothing listens there yet.
        ports = [str(first), str(second), str(31_999)]
        found = subprocess.run([sys.executable, "-c", ANOTHER, *ports[:2]], capture_output=True, text=True)
        assert "no port" in found.stderr
    found = subprocess.run(
        [sys.executable, "-c", ANOTHER, *ports], capture_output=True, text=True, check=True
    )
    assert int(found.stdout) == first


def test_a_port_that_something_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with free_port() as free, free_port() as taken, socket.create_server(("127.0.0.1", taken)):
        pass
    with socket.create_server(("127.0.0.1", taken)):
        monkeypatch.setattr(processes.random, "sample", lambda *_: [taken, free])
        with free_port() as port:
            assert port == free
