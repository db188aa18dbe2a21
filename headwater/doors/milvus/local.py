"""Lakes that clients of Milvus open by a path, `MilvusClient("x.db")`, with no server to start first.

Each process that opens a lake starts a server of its own for it: a child that serves a socket in a folder private to
this user, and that ends when its parent does, however that happens. Processes on one lake therefore share nothing but
the lake, whose log lets any number of them write: none waits for another to go on, or dies with it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from headwater.errors import InvalidArgument, Unavailable
from headwater.settings import ServerSettings, Settings
from headwater.store import open_store

__all__ = ["LocalServers"]

_START_S = 120.0
_STOP_S = 5.0


class LocalServers:
    """The servers of this process, one for each lake. Safe between threads; after a fork the child has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[str, _Server] = {}
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def start_and_get_uri(self, path: str, args: Mapping[str, Any] | None = None) -> str:
        """What pymilvus calls when it is given a path that ends in `.db`: an address that it can connect to.

        Args:
            path: of the lake, a folder.
            args: pymilvus passes none.

        Raises:
            InvalidArgument: at the path is something else than a lake.
        """
        if args:
            raise InvalidArgument(f"a lake opened by its path takes no arguments, found {', '.join(args)}")
        return self.address(path)

    def address(
        self,
        lake: str | Path,
        options: Mapping[str, Any] | None = None,
        *,
        settings: Settings | None = None,
    ) -> str:
        """The address of a server of a lake, which is started unless this process has one.

        Args:
            lake: a folder, `s3://bucket/prefix`, `gs://` or `az://`.
            options: credentials and endpoint of the lake's store; taken from the environment by default.
            settings: limits and defaults; read from `HEADWATER_*` variables by default.

        Raises:
            InvalidArgument: at the path is something else than a lake, or the scheme or an option is unknown.
            Unavailable: the server did not start; says why.
        """
        url = _checked(lake)
        with self._lock:
            server = self._servers.get(url)
            if server is None:
                open_store(url, options)  # A wrong scheme or option is told here, and by no child.
                server = self._servers[url] = _Server(
                    url, dict(options or {}), settings or Settings.from_env()
                )
            try:
                server.run()
            except Unavailable:
                del self._servers[url]
                raise
        return f"unix:{server.socket}"

    def close(self) -> None:
        """End every server; what they have written stays."""
        with self._lock:
            for server in self._servers.values():
                server.close()
            self._servers.clear()

    def _forked(self) -> None:
        self._lock = threading.Lock()
        for server in self._servers.values():
            server.abandon()
        self._servers = {}


class _Server:
    """A child that serves one lake, always on the same socket."""

    def __init__(self, lake: str, options: dict[str, Any], settings: Settings) -> None:
        # Who can reach the socket can read the lake's files: there is nobody to ask for a password.
        chosen = replace(
            settings,
            server=ServerSettings(log_level="warning", slow_query_s=0.0),
            access=replace(settings.access, authorization=False),
        )
        self._folder = tempfile.TemporaryDirectory(prefix="headwater-", ignore_cleanup_errors=True)
        self.socket = str(Path(self._folder.name) / "lake.sock")
        self._start = {
            "lake": lake,
            "options": options,
            "settings": asdict(chosen),
            "folder": self._folder.name,
            "secret": secrets.token_hex(32),
            "workers": 1,
            "index": 0,
            "role": "worker",
            "alone": self.socket,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def run(self) -> None:
        """Start the child unless it runs."""
        if self._process is not None and self._process.poll() is None:
            return
        if self._control is not None:
            self._control.close()
        Path(self.socket).unlink(missing_ok=True)
        ours, theirs = socket.socketpair()
        # A group of its own: Ctrl-C is for the program, at whose end the pair breaks.
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "headwater.doors.serve.worker", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            process_group=0,
        )
        theirs.close()
        self._control = ours
        self._tell(self._start)
        self._wait_until_ready(ours)
        self._tell({"writer": True})

    def close(self) -> None:
        """Let the child finish what it does, and end it."""
        if self._process is not None and self._control is not None:
            with contextlib.suppress(OSError):
                self._tell({"stop": _STOP_S / 2})
            self._control.close()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def abandon(self) -> None:
        """After a fork: the child is the parent's, and goes on for it."""
        if self._control is not None:
            self._control.close()
        self._folder._finalizer.detach()  # type: ignore[attr-defined]
        if self._process is not None:
            self._process.returncode = 0

    def _tell(self, message: Mapping[str, Any]) -> None:
        assert self._control is not None
        self._control.sendall(json.dumps(message).encode() + b"\n")

    def _wait_until_ready(self, control: socket.socket) -> None:
        control.settimeout(_START_S)
        heard = b""
        while b"\n" not in heard:
            try:
                more = control.recv(65536)
            except TimeoutError:
                more = b""
            if not more:
                self.close()
                raise Unavailable(f"the server of {self._start['lake']} did not start")
            heard += more
        message = json.loads(heard.partition(b"\n")[0])
        if not message.get("ready"):
            self.close()
            raise Unavailable(
                f"{self._start['lake']} cannot be opened: {message.get('failed', 'no reason given')}"
            )
        control.settimeout(None)


def _checked(lake: str | Path) -> str:
    """The lake's URL, the same for every way to write its path."""
    text = str(lake)
    if "://" in text:
        if text.startswith("memory://"):
            raise InvalidArgument(
                f"{text} would be in the memory of another process",
                hint="give a folder, or use headwater.connect",
            )
        return text
    path = Path(text).expanduser().resolve()
    if path.is_file():
        raise InvalidArgument(f"{path} is a file; a lake is a folder", hint="give another name")
    if (path / "collections").is_dir() and (path / "LOCK").is_file():
        raise InvalidArgument(
            f"{path} is a database of Milvus Lite; a lake is a folder of another kind",
            hint="give another name",
        )
    return str(path)
