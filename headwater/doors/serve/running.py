"""`headwater serve`, from the first socket to the last goodbye."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import FrameType
from typing import Any

from headwater.doors.serve.checking import checked_for_serving
from headwater.doors.serve.front import Front
from headwater.doors.serve.idle import given_socket
from headwater.doors.serve.logs import configure_logs
from headwater.doors.serve.loop import READ, Loop
from headwater.doors.serve.workers import Workers
from headwater.errors import InvalidArgument, Unavailable
from headwater.settings import ServerSettings, Settings
from headwater.store import scratch_folder

__all__ = ["serve"]

_log = logging.getLogger("headwater.server")

_CLOSING_S = 60.0
"""Sealing what is in the logs may take so long; what is not sealed stays in the log."""


def serve(
    lake: str,
    settings: Settings,
    *,
    options: Mapping[str, Any] | None = None,
    insecure: bool = False,
    ready: Callable[[str, int], None] | None = None,
) -> int:
    """Serve a lake until a signal says to stop; the exit status.

    Args:
        lake: folder or URL.
        settings: all of them.
        options: credentials and endpoint of the lake's store.
        insecure: listen on other addresses than loopback although everyone who reaches them may do everything.
        ready: called with the address and the port once calls are answered.

    Raises:
        InvalidArgument: the settings do not go together.
        Unavailable: the port is taken, or the lake does not answer.
    """
    given = given_socket()
    settings = checked_for_serving(settings, given, insecure=insecure)
    server = settings.server
    configure_logs(server)
    listener = given or _bound(server.host, server.http_port or server.port)
    for_grpc = _bound(server.host, server.port) if server.http_port else None
    port = _address(for_grpc or listener)[1]
    loop = Loop()
    with scratch_folder("serve") as folder:
        start = {"lake": lake, "options": dict(options or {}), "settings": asdict(settings)}
        workers = Workers(loop, _roles(server), folder, start)
        front = Front(loop, workers, max_connections=server.max_connections)
        signals = _Signals(loop, front, workers, server.shutdown_grace_s)
        said = False

        def tick() -> None:
            nonlocal said
            if not said and workers.ready:
                said = True
                front.listen(listener, "http" if for_grpc is not None else None)
                if for_grpc is not None:
                    front.listen(for_grpc, "grpc")
                at = _address(listener)[0]
                workers.active_s = time.monotonic()
                _log.info("ready on %s:%d", at, port)
                if ready is not None:
                    ready(at, port)
            idle_s = time.monotonic() - workers.active_s
            if said and 0 < server.idle_exit_s < idle_s and not signals.stopping and not front.undecided:
                _log.info("nobody has called for %.0f s", idle_s)
                signals.stop()
            if workers.gone and (signals.stopping or workers.failed):
                loop.stop()
            elif signals.overdue:
                _log.error("the workers did not end in time: they are killed")
                workers.kill()

        loop.every_tick(tick)
        try:
            loop.run()
        finally:
            workers.kill()
            listener.close()
            if for_grpc is not None:
                for_grpc.close()
    if workers.failed:
        raise Unavailable(workers.reason or "the server did not start")
    return signals.status


class _Signals:
    """The first signal asks everyone to finish, the second ends everything."""

    def __init__(self, loop: Loop, front: Front, workers: Workers, grace_s: float) -> None:
        self.stopping = False
        self.status = 0
        self._until = float("inf")
        self._loop = loop
        self._front = front
        self._workers = workers
        self._grace_s = grace_s
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            one.setblocking(False)
        self._pair = (ours, theirs)
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._noted)
        loop.watch(ours.fileno(), READ, self._received)

    @property
    def overdue(self) -> bool:
        """Whether the workers have had their grace, and the time it takes to close."""
        return time.monotonic() > self._until

    def _noted(self, number: int, frame: FrameType | None) -> None:
        """Python must handle the signal for the wakeup to be written."""

    def _received(self, events: int) -> None:
        for number in self._pair[0].recv(64):
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            if self.stopping:
                self._workers.kill()
                self.status = 128 + number
                self._loop.stop()
                return
            self.stop()

    def stop(self) -> None:
        """Ask everyone to finish."""
        self.stopping = True
        self._until = time.monotonic() + self._grace_s + _CLOSING_S
        _log.info("stopping, within %.0f s; a second signal stops at once", self._grace_s)
        self._front.close()
        self._workers.stop(self._grace_s)


def _roles(server: ServerSettings) -> list[str]:
    """Who does what, a process each."""
    return [
        *["worker"] * server.workers,
        *["writer"] * (server.writer == "process"),
        *["analytics"] * server.analytics_workers,
        *["maintenance"] * (server.maintenance == "process"),
    ]


def _address(listener: socket.socket) -> tuple[str, int]:
    """Where a socket listens; a path has no port."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}", 0
    host, port, *_ = listener.getsockname()
    return host, port


def _bound(host: str, port: int) -> socket.socket:
    """A socket at an address."""
    if not 0 <= port <= 65_535:
        # The system would take it for another one.
        raise InvalidArgument(f"port {port}: expected 1 to 65535, or 0 for any that is free")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind(address)
        except OSError:
            made.close()
            raise
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return made
