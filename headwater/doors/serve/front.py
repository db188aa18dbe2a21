"""Accepting connections and handing each to a worker that speaks its protocol."""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Callable
from itertools import count

from headwater.doors.serve.loop import READ, Loop
from headwater.doors.serve.pump import join
from headwater.doors.serve.sniff import ENOUGH, protocol_of
from headwater.doors.serve.workers import Worker, Workers

__all__ = ["Front"]

_log = logging.getLogger("headwater.server")

_UNDECIDED_S = 10.0
"""A connection that has not said in this time what it speaks is closed."""


class Front:
    """The port.

    Args:
        loop: calls us.
        workers: answer.
        max_connections: so many are open at a time; further ones wait to be accepted.
        http_only: hand every connection to the HTTP application.
    """

    def __init__(
        self, loop: Loop, workers: Workers, *, max_connections: int = 8192, http_only: bool = False
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._max_connections = max_connections
        self._http_only = http_only
        self._listeners: list[socket.socket] = []
        self._undecided: dict[int, tuple[socket.socket, float]] = {}
        self._pumps: dict[int, Callable[[], None]] = {}
        self._numbers = count(1)
        self._listening = False
        loop.every_tick(self._tick)

    @property
    def undecided(self) -> bool:
        """Whether a connection is open of which nobody knows yet what it wants."""
        return bool(self._undecided)

    def listen(self, listener: socket.socket) -> None:
        """Accept connections from a bound socket."""
        listener.setblocking(False)
        listener.listen(1024)
        self._listeners.append(listener)
        self._accept_more(True)

    def close(self) -> None:
        """Accept no more; open connections stay."""
        self._accept_more(False)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for sock, _ in list(self._undecided.values()):
            self._drop(sock)

    def _accept_more(self, wanted: bool) -> None:
        if wanted == self._listening:
            return
        self._listening = wanted
        for listener in self._listeners:
            if wanted:
                self._loop.watch(listener.fileno(), READ, lambda _, one=listener: self._accept(one))  # type: ignore[misc]
            else:
                self._loop.forget(listener.fileno())

    def _accept(self, listener: socket.socket) -> None:
        if len(self._pumps) + len(self._undecided) >= self._max_connections:
            self._accept_more(False)
            return
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            _log.warning("cannot accept: %s", error)
            self._accept_more(False)
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fd = sock.fileno()
        self._undecided[fd] = (sock, time.monotonic() + _UNDECIDED_S)
        self._loop.watch(fd, READ, lambda _: self._look(sock, 0))

    def _look(self, sock: socket.socket, seen: int) -> None:
        """Decide what a connection speaks, leaving what has come where it is."""
        try:
            first = sock.recv(ENOUGH, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            first = b""
        if len(first) <= seen:
            # Woken without more to see: the other side has closed.
            self._drop(sock)
            return
        protocol = "http" if self._http_only else protocol_of(first)
        if protocol is None:
            # Wake up when there is more than this.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(first) + 1)
            fd = sock.fileno()
            self._loop.forget(fd)
            self._loop.watch(fd, READ, lambda _: self._look(sock, len(first)))
            return
        if seen:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        worker = self._workers.least_busy()
        if worker is None:
            self._drop(sock)
        elif protocol == "grpc":
            self._pump(sock, worker)
        else:
            self._forget(sock)
            worker.give(sock)

    def _pump(self, sock: socket.socket, worker: Worker) -> None:
        number = next(self._numbers)
        backend = socket.socket(socket.AF_UNIX)
        try:
            if sys.platform == "linux":
                # The worker sees this name as its peer's, and so knows whom it is talking to.
                host, port, *_ = sock.getpeername() or ("unix", 0)
                backend.bind(f"\0headwater/{number}/{worker.pid}/{host}/{port}")
            backend.setblocking(False)
            backend.connect(worker.socket)
        except OSError as error:
            _log.warning("%s does not answer: %s", worker.name, error)
            backend.close()
            self._drop(sock)
            return
        self._forget(sock)
        worker.connections += 1

        def closed() -> None:
            worker.connections -= 1
            self._pumps.pop(number, None)

        self._pumps[number] = join(self._loop, sock, backend, closed)

    def _forget(self, sock: socket.socket) -> None:
        self._undecided.pop(sock.fileno(), None)
        self._loop.forget(sock.fileno())

    def _drop(self, sock: socket.socket) -> None:
        self._forget(sock)
        sock.close()

    def _tick(self) -> None:
        if self._undecided:
            now = time.monotonic()
            for sock, until in list(self._undecided.values()):
                if now > until:
                    self._drop(sock)
        if self._listeners and not self._listening:
            self._accept_more(len(self._pumps) + len(self._undecided) < self._max_connections)
