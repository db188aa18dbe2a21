"""The server as an operator starts it: a process, one port, two protocols."""

from __future__ import annotations

import http.client
import json
import logging
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from process import MAIN, get, serving
from pymilvus import MilvusClient
from typer.testing import CliRunner

from headwater.doors.cli import app
from headwater.errors import HeadwaterError
from headwater.settings import Settings, load_settings
from headwater.testing.processes import free_port


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("lake")) as (process, found):
        yield found
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_one_port_speaks_grpc_and_http(port: int) -> None:
    client = MilvusClient(f"http://127.0.0.1:{port}")
    assert client.list_collections() == []
    status, body = get(port, "/")
    assert status == 200
    assert {b"/healthz", b"/readyz", b"/metrics", b"/docs", b"/openapi.json"} <= set(body.split())
    status, body = get(port, "/healthz")
    assert (status, json.loads(body)["status"]) == (200, "ok")
    assert json.loads(get(port, "/readyz")[1]) == {"status": "ready"}
    assert client.get_server_version()
    client.close()


def test_a_request_that_comes_byte_by_byte_is_understood(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"PUT /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert sock.recv(1000).startswith(b"HTTP/1.1 405")


def test_a_connection_that_ends_before_it_says_what_it_speaks_is_closed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(b"PRI")
        sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            assert sock.recv(10) == b""


def refusal(*arguments: str) -> str:
    """What `headwater serve` says instead of serving."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        error = CliRunner().invoke(app, ["serve", *arguments]).exception
    finally:
        # It has this process log where the runner, which is gone, listened.
        root.handlers[:] = before
        root.setLevel(level)
    assert isinstance(error, HeadwaterError)
    return f"{error.message} ({error.hint})"


def test_a_taken_port_and_an_open_address_are_refused(tmp_path: Path, port: int) -> None:
    assert f"127.0.0.1:{port}" in refusal("--lake", str(tmp_path), "--port", str(port))
    assert "--insecure" in refusal("--lake", str(tmp_path), "--host", "0.0.0.0")
    assert "2001:db8::1" in refusal("--lake", str(tmp_path), "--host", "2001:db8::1")


def test_a_setting_that_is_none_is_refused_with_the_nearest(tmp_path: Path) -> None:
    config = tmp_path / "headwater.toml"
    config.write_text("[server]\nprot = 1\n")
    for arguments, said in (
        (["--set", "server.prot=1"], "server.port"),
        (["--set", "server.port=many"], "expected int"),
        (["--set", "server.port"], "expected a name and a value"),
        (["--config", str(config)], "server.port"),
        (["--config", str(tmp_path / "absent.toml")], "absent.toml"),
        (["--set", "server.tls_cert=/nowhere", "--set", "server.tls_key=/nowhere"], "no such file"),
        (["--set", "server.tls_cert=/nowhere"], "go together"),
    ):
        assert said in refusal("--lake", str(tmp_path), *arguments)


def test_a_lake_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    command = [*MAIN, "serve", "--lake", "ftp://nowhere", "--port", "0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert "ftp" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_settings_come_from_the_file_then_the_environment_then_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "headwater.toml"
    config.write_text('[server]\nport = 1\nhost = "::1"\nworkers = 2\n[store]\ndeadline_s = 5\n')
    monkeypatch.setenv("HEADWATER_CONFIG", str(config))
    monkeypatch.setenv("HEADWATER_SERVER_PORT", "2")
    monkeypatch.setenv("HEADWATER_SERVER_WORKERS", "3")
    found, sources = load_settings(flags={"server.workers": 4, "server.host": None})
    assert (found.server.host, found.server.port, found.server.workers) == ("::1", 2, 4)
    assert found.store.deadline_s == 5.0
    assert sources == {
        "server.port": "HEADWATER_SERVER_PORT",
        "server.host": str(config),
        "server.workers": "flag",
        "store.deadline_s": str(config),
    }
    assert Settings.from_values(asdict(found)) == found
    ran = subprocess.run([*MAIN, "settings", "--json"], capture_output=True, text=True, timeout=60)
    rows = {row["setting"]: (row["value"], row["from"]) for row in json.loads(ran.stdout)}
    assert rows["server.port"] == (2, "HEADWATER_SERVER_PORT")
    assert rows["server.max_top_k"] == (16384, "default")


def test_http_may_have_a_port_of_its_own_and_grpc_no_hop(tmp_path: Path) -> None:
    with (
        free_port() as http_port,
        serving(tmp_path, "--workers", "2", "--set", f"server.http_port={http_port}") as (process, port),
    ):
        client = MilvusClient(f"http://127.0.0.1:{port}")
        client.create_collection("c", dimension=4)
        assert client.list_collections() == ["c"]
        client.close()
        assert get(http_port, "/readyz")[0] == 200
        with pytest.raises((OSError, http.client.HTTPException)):
            get(port, "/readyz")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
