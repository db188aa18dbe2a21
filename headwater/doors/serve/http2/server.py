"""All connections that gRPC's clients have with a process."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol

from headwater.doors.serve.http2.connection import Connection

__all__ = ["Answers", "GrpcServer"]

_HANDSHAKE_S = 10.0


class Answers(Protocol):
    """What answers calls."""

    def at_once(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, peer: str, left_s: float | None
    ) -> bytes | None:
        """The answer of a call that takes no time; None for one that has to be awaited."""

    async def awaited(
        self, name: str, data: bytes, metadata: Mapping[str, str], *, peer: str, left_s: float | None
    ) -> bytes:
        """The answer of any other call."""

    def status_of(self, error: Exception) -> tuple[int, str]:
        """The status of gRPC, and what is said, where a call has no answer."""


class GrpcServer:
    """Speaks gRPC on connections that somebody else accepted. Lives in one event loop.

    Args:
        service: the name that comes before that of a call.
        methods: names of the calls.
        answers: them.
        most_bytes: of a message; a larger one is not read.
        most_streams: calls that one connection may have under way.
        most_waiting_bytes: of answers that a client has not taken; while there are more, its calls are refused. As
            much, beyond one message, of messages that have not come whole.
        tls: with which connections are encrypted; None for none.
        closed: called when a connection has ended.
    """

    def __init__(
        self,
        service: str,
        methods: list[str],
        answers: Answers,
        *,
        most_bytes: int,
        most_streams: int = 4096,
        most_waiting_bytes: int = 64 << 20,
        tls: ssl.SSLContext | None = None,
        closed: Callable[[], None] | None = None,
    ) -> None:
        self.methods = {f"/{service}/{name}".encode(): name for name in methods}
        self.answers = answers
        self.most_bytes = most_bytes
        self.most_streams = most_streams
        self.most_waiting_bytes = most_waiting_bytes
        self._tls = tls
        self._closed = closed
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._stopping = False

    async def take(self, sock: socket.socket) -> None:
        """Speak on a connection."""
        loop = asyncio.get_running_loop()
        limit = None if self._tls is None else _HANDSHAKE_S
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.connect_accepted_socket(
                lambda: Connection(self), sock, ssl=self._tls, ssl_handshake_timeout=limit
            )
        except OSError:
            sock.close()
            self._tell()

    async def stop(self, grace_s: float) -> None:
        """Let the calls that run finish, and end all connections."""
        self._stopping = True
        for one in list(self._connections):
            one.go_away()
        try:
            await asyncio.wait_for(self._empty.wait(), grace_s)
        except TimeoutError:
            for one in list(self._connections):
                one.abort()

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self._connections.add(connection)
        self._empty.clear()
        if self._stopping:
            connection.go_away()

    def closed(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()
        self._tell()

    def _tell(self) -> None:
        if self._closed is not None:
            self._closed()
