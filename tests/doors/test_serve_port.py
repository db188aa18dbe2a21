"""The server as an operator starts it: a process, one port, two protocols."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pymilvus import MilvusClient

MAIN = [sys.executable, "-c", "from headwater.doors.cli import main; main()"]


@contextmanager
def serving(lake: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port."""
    command = [*MAIN, "serve", "--lake", str(lake), "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "serves" in line
        yield process, int(line.rsplit(":", 1)[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("lake")) as (process, found):
        yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def get(port: int, path: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status, answer.read()


def test_one_port_speaks_grpc_and_http(port: int) -> None:
    client = MilvusClient(f"http://127.0.0.1:{port}")
    assert client.list_collections() == []
    status, body = get(port, "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert json.loads(get(port, "/readyz")[1]) == {"status": "ready"}
    assert client.get_server_version()
    client.close()


def test_a_request_that_comes_byte_by_byte_is_understood(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PUT /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert sock.recv(1000).startswith(b"HTTP/1.1 405")


def test_a_connection_that_ends_before_it_says_what_it_speaks_is_closed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"PRI")
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert sock.recv(10) == b""


def test_a_taken_port_and_an_open_address_are_refused(tmp_path: Path, port: int) -> None:
    for arguments, said in (
        (["--port", str(port)], f"127.0.0.1:{port}"),
        (["--port", "0", "--host", "0.0.0.0"], "--insecure"),
    ):
        command = [*MAIN, "serve", "--lake", str(tmp_path), *arguments]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 1
        assert said in ran.stderr
        assert "Traceback" not in ran.stderr
