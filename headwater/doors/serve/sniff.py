"""Which protocol a connection speaks, by its first bytes.

gRPC begins with the preface of HTTP/2. A TLS connection says in its first message, in the clear, which protocols it
would speak (ALPN): gRPC clients offer HTTP/2 alone, while web clients offer HTTP/1.1 too, or nothing.
"""

from __future__ import annotations

from typing import Literal

__all__ = ["ENOUGH", "PREFACE", "Protocol", "protocol_of"]

Protocol = Literal["grpc", "http"]

ENOUGH = 16 << 10
"""So many bytes always tell."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client of HTTP/2 says first."""

_HANDSHAKE = 0x16
_CLIENT_HELLO = 1
_ALPN = 16


def protocol_of(first: bytes) -> Protocol | None:
    """The protocol of a connection; None while its first bytes do not tell.

    Args:
        first: what has come so far.
    """
    if not first:
        return None
    if first[0] == _HANDSHAKE:
        try:
            offered = _offered(first)
        except ValueError:
            return None if len(first) < ENOUGH else "http"
        return "grpc" if b"h2" in offered and b"http/1.1" not in offered else "http"
    if first.startswith(PREFACE[:4]):
        return "grpc"
    return None if PREFACE.startswith(first) else "http"


def _offered(record: bytes) -> list[bytes]:
    """The protocols that a ClientHello offers.

    Raises:
        ValueError: there is more to come.
    """
    hello = _Reader(_handshake(record))
    if hello.number(1) != _CLIENT_HELLO:
        return []
    hello.take(3 + 2 + 32)
    hello.take(hello.number(1))
    hello.take(hello.number(2))
    hello.take(hello.number(1))
    extensions = _Reader(hello.take(hello.number(2)))
    while extensions.left:
        kind = extensions.number(2)
        body = _Reader(extensions.take(extensions.number(2)))
        if kind == _ALPN:
            names = _Reader(body.take(body.number(2)))
            found = []
            while names.left:
                found.append(names.take(names.number(1)))
            return found
    return []


def _handshake(first: bytes) -> bytes:
    """The handshake's bytes, taken out of the records that they came in."""
    records = _Reader(first)
    found = b""
    while records.left:
        if records.number(1) != _HANDSHAKE:
            break
        records.take(2)
        size = records.number(2)
        found += records.take(min(size, records.left))
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError(count)
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")
