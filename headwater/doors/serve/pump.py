"""A connection carried between two sockets, both ways, byte for byte.

What cannot be sent at once waits, and nothing more is read for it until it has gone: a slow reader holds at most one
buffer of ours.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from headwater.doors.serve.loop import GONE, READ, WRITE, Loop

__all__ = ["join"]

_BUFFER = bytearray(256 << 10)
_VIEW = memoryview(_BUFFER)


def join(
    loop: Loop, one: socket.socket, other: socket.socket, closed: Callable[[], None]
) -> Callable[[], None]:
    """Carry what comes on either socket to the other until both have ended; closes them.

    Args:
        loop: calls us.
        one: connected, and not blocking.
        other: likewise.
        closed: called once, when both sockets are closed.

    Returns:
        What closes the two at once.
    """
    first, second = _End(loop, one, closed), _End(loop, other, closed)
    first.peer, second.peer = second, first
    loop.watch(one.fileno(), READ, first.ready)
    loop.watch(other.fileno(), READ, second.ready)
    return first.close


class _End:
    __slots__ = ("closed", "fd", "loop", "mask", "over", "peer", "pending", "receive", "send", "sock")

    peer: _End

    def __init__(self, loop: Loop, sock: socket.socket, closed: Callable[[], None]) -> None:
        self.loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.receive = sock.recv_into
        self.send = sock.send
        self.closed = closed
        self.pending = b""
        self.mask = READ
        self.over = False

    def ready(self, events: int) -> None:
        if events & WRITE:
            self.flush()
        if not self.mask & READ:
            if events & GONE:
                self.close()
            return
        if not events & (READ | GONE):
            return
        try:
            count = self.receive(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if count == 0:
            self.end()
            return
        try:
            sent = self.peer.send(_VIEW[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < count:
            self.hold(bytes(_VIEW[sent:count]))

    def hold(self, rest: bytes) -> None:
        """The peer takes no more now: read nothing until it does."""
        self.peer.pending = rest
        self.want(self.mask & ~READ)
        self.peer.want(self.peer.mask | WRITE)

    def flush(self) -> None:
        try:
            sent = self.send(self.pending)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.pending = self.pending[sent:]
        if not self.pending:
            self.want(self.mask & ~WRITE)
            if self.peer.over:
                self.finish()
            else:
                self.peer.want(self.peer.mask | READ)

    def end(self) -> None:
        """Nothing more comes from here; the peer is told when it has everything."""
        self.over = True
        if self.peer.over:
            self.close()
            return
        self.want(self.mask & ~READ)
        if not self.peer.pending:
            self.peer.finish()

    def finish(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def want(self, mask: int) -> None:
        if mask != self.mask:
            self.mask = mask
            self.loop.change(self.fd, mask)

    def close(self) -> None:
        if self.sock.fileno() < 0:
            return
        for end in (self, self.peer):
            self.loop.forget(end.fd)
            end.sock.close()
        self.closed()
