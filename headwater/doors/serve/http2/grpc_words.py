"""What gRPC says in the headers of HTTP/2, and how its messages lie in the frames."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from urllib.parse import quote

from headwater.doors.serve.http2.hpack import literal

__all__ = [
    "BEGINS", "ENDS_WELL", "INTERNAL", "PREFIX", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "UNKNOWN", "WRONG_TYPE",
    "failure", "inflated", "metadata_of", "seconds_of",
]  # fmt: skip

_STATUS_200, _STATUS = b"\x88", b"\x48\x03"
_TYPE = literal(b"content-type", b"application/grpc")

BEGINS = _STATUS_200 + _TYPE + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
"""The headers before an answer."""

ENDS_WELL = literal(b"grpc-status", b"0")
"""The trailers after one."""

WRONG_TYPE = _STATUS + b"415"
"""The headers for who does not speak gRPC."""

UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 2, 8, 12, 13

PREFIX = struct.Struct(">BI")
"""Before a message: whether it is compressed, and its bytes."""

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_OURS = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"))
_MOST_OF_A_MESSAGE = 4096


def failure(code: int, message: str) -> bytes:
    """The headers of an answer that is only a status."""
    said = quote(message[:_MOST_OF_A_MESSAGE], safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}").encode()
    status = literal(b"grpc-status", str(code).encode())
    return _STATUS_200 + _TYPE + status + literal(b"grpc-message", said[: 2 * _MOST_OF_A_MESSAGE])


def metadata_of(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    """What the caller of a call says beside its message."""
    return {
        name.decode("latin-1"): value.decode("utf-8", "replace")
        for name, value in headers.items()
        if name[0] != 0x3A and name not in _OURS
    }


def seconds_of(timeout: bytes | None) -> float | None:
    """How long a caller waits; None where it does not say so in gRPC's way."""
    if timeout is None:
        return None
    unit = _UNITS.get(timeout[-1:].decode("latin-1"))
    number = timeout[:-1]
    return int(number) * unit if unit is not None and number.isdigit() and len(number) <= 8 else None


def inflated(data: bytes, encoding: bytes | None, most_bytes: int) -> bytes | None:
    """A message that came compressed; None where it is larger than messages may be.

    Raises:
        ValueError: it is not compressed in a way that is understood.
    """
    if encoding not in (b"gzip", b"deflate"):
        raise ValueError(f"grpc-encoding {encoding!r} is not understood, expected gzip or deflate")
    reader = zlib.decompressobj(31 if encoding == b"gzip" else 15)
    try:
        made = reader.decompress(data, most_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"the message is not compressed by {encoding.decode()}: {error}") from error
    if len(made) > most_bytes:
        return None
    if not reader.eof:
        raise ValueError("the compressed message ends early")
    return made
