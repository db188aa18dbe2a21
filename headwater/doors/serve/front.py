"""Accepting connections and handing each to a worker that speaks its protocol."""

from __future__ import annotations

import logging
import socket
import time

from headwater.doors.serve.loop import READ, Loop
from headwater.doors.serve.sniff import ENOUGH, Protocol, protocol_of
from headwater.doors.serve.workers import Workers

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
    """

    def __init__(self, loop: Loop, workers: Workers, *, max_connections: int = 8192) -> None:
        self._loop = loop
        self._workers = workers
        self._max_connections = max_connections
        self._listeners: dict[socket.socket, Protocol | None] = {}
        self._undecided: dict[int, tuple[socket.socket, float]] = {}
        self._listening = False
        loop.every_tick(self._tick)

    @property
    def undecided(self) -> bool:
        """Whether a connection is open of which nobody knows yet what it wants."""
        return bool(self._undecided)

    def listen(self, listener: socket.socket, protocol: Protocol | None = None) -> None:
        """Accept connections from a bound socket.

        Args:
            listener: it.
            protocol: what is spoken there; None where each connection says it by its first bytes.
        """
        listener.setblocking(False)
        listener.listen(1024)
        self._accept_more(False)
        self._listeners[listener] = protocol
        self._accept_more(True)

    def close(self) -> None:
        """Accept no more; open connections stay."""
        self._accept_more(False)
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for sock, _ in list(self._undecided.values()):
            self._drop(sock)

    @property
    def _room(self) -> bool:
        return self._workers.connections + len(self._undecided) < self._max_connections

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
        if not self._room:
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
        known = self._listeners[listener]
        self._loop.watch(fd, READ, lambda _: self._look(sock, 0, known))

    def _look(self, sock: socket.socket, seen: int, known: Protocol | None) -> None:
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
        protocol = known or protocol_of(first)
        if protocol is None:
            # Wake up when there is more than this.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(first) + 1)
            fd = sock.fileno()
            self._loop.forget(fd)
            self._loop.watch(fd, READ, lambda _: self._look(sock, len(first), known))
            return
        if seen:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        worker = self._workers.least_busy()
        if worker is None:
            self._drop(sock)
        else:
            self._forget(sock)
            worker.give(sock, protocol)

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
            self._accept_more(self._room)
