"""Servers hold nothing of importance: they end when nobody calls, and come back with a connection."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from process import get, serving
from pymilvus import MilvusClient

from headwater.doors.serve.idle import given_socket
from headwater.errors import InvalidArgument

ON_A_GIVEN_SOCKET = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
from headwater.doors.cli import main
main()
"""
DIM = 4
ROWS = [{"id": n, "vector": [float(n), 1.0, 0.0, 0.0]} for n in range(50)]


def activated(lake: Path, listener: socket.socket) -> subprocess.Popen[str]:
    """What systemd does with a socket on which a connection waits."""
    fd = listener.fileno()
    arguments = ["serve", "--lake", str(lake), "--idle-exit", "1", "--set", "server.log_level=warning"]
    return subprocess.Popen(
        [sys.executable, "-c", ON_A_GIVEN_SOCKET, str(fd), *arguments], pass_fds=[fd], text=True
    )


def nearest(client: MilvusClient) -> list[tuple[int, float]]:
    query = [[7.2, 1.0, 0.0, 0.0]]
    [hits] = client.search("docs", query, limit=5, consistency_level="Strong", timeout=60)
    return [(hit["id"], hit["distance"]) for hit in hits]


def test_a_server_ends_when_nobody_calls_and_comes_back_with_the_first_connection(tmp_path: Path) -> None:
    started: list[subprocess.Popen[str]] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, done = listener.getsockname()[1], threading.Event()

        def look_after() -> None:
            # Starts a server when a connection waits and none runs, as a supervisor does.
            while not done.is_set():
                if started and started[-1].poll() is None:
                    time.sleep(0.05)
                elif select.select([listener], [], [], 0.1)[0]:
                    started.append(activated(tmp_path, listener))

        supervisor = threading.Thread(target=look_after)
        supervisor.start()
        try:
            client = MilvusClient(f"http://127.0.0.1:{port}", timeout=60)
            client.create_collection("docs", dimension=DIM, metric_type="L2", auto_id=False)
            client.insert("docs", ROWS)
            before = nearest(client)
            assert before[0][0] == 7
            first, number = started[-1], len(started)
            # A scrape is no call, and keeps nobody alive.
            deadline = time.monotonic() + 60
            while first.poll() is None and time.monotonic() < deadline:
                time.sleep(0.3)
                with suppress(OSError):
                    get(port, "/healthz")
            assert first.returncode == 0
            # The same client, on the same channel, finds the next one.
            assert nearest(client) == before
            assert len(started) > number
            client.close()
            started[-1].kill()
        finally:
            done.set()
            supervisor.join()
            for process in started:
                process.kill()
                process.wait()
    # Killed in the middle of nothing in particular, and served from another port by another process.
    with serving(tmp_path) as (_, other):
        client = MilvusClient(f"http://127.0.0.1:{other}")
        assert nearest(client) == before
        client.close()


def test_only_one_listening_socket_that_is_meant_for_this_process_is_taken() -> None:
    elsewhere = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
    assert given_socket(elsewhere) is None
    assert elsewhere == {}
    with pytest.raises(InvalidArgument, match="LISTEN_FDS=2"):
        given_socket({"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid())})
