"""Frames of HTTP/2 (RFC 9113): a stream of bytes is cut into them, and they are written.

The content of a DATA frame is handed on as it comes, so nothing is gathered twice; every other frame is small, and
handed on whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from headwater.doors.serve.sniff import PREFACE

__all__ = [
    "ACK", "COMPRESSION_ERROR", "CONTINUATION", "DATA", "ENHANCE_YOUR_CALM", "END_HEADERS", "END_STREAM",
    "FIRST_WINDOW", "FLOW_CONTROL_ERROR", "FRAME_SIZE_ERROR", "GOAWAY", "HEADERS", "LARGEST", "NO_ERROR", "PADDED",
    "PING", "PRIORITY", "PRIORITY_FLAG", "PROTOCOL_ERROR", "PUSH_PROMISE", "REFUSED_STREAM", "RST_STREAM", "SETTINGS",
    "WINDOW_UPDATE", "Broken", "Cutter", "frame", "settings_frame",
]  # fmt: skip

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20

NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 3
FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 6, 7, 9, 11

FIRST_WINDOW = 65_535
"""Bytes that either side may send before it is granted more."""

LARGEST = 0x7FFFFFFF
"""The highest number of a stream, and the widest window."""

_HEAD = 9
_SMALL = 64 << 10
"""No frame is longer that is not DATA."""

_SETTING = struct.Struct(">HI")
_pack = struct.Struct(">HBBBI").pack


class Broken(ValueError):
    """The peer broke the protocol: the connection ends.

    Args:
        code: of the error, as GOAWAY says it.
        why: for a log.
    """

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """A frame."""
    size = len(content)
    return _pack(size >> 8, size & 0xFF, kind, flags, stream) + content


def settings_frame(values: Mapping[int, int]) -> bytes:
    """What one side tells the other about itself."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


class Cutter:
    """Cuts what a peer sends into frames.

    Args:
        most_bytes: the longest frame that the peer may send.
        whole: called with a frame's kind, flags, stream and content.
        data: called with the stream and flags of a DATA frame, a part of its content, and how many bytes of it are
            still to come.
    """

    def __init__(
        self,
        most_bytes: int,
        whole: Callable[[int, int, int, bytes], None],
        data: Callable[[int, int, bytes, int], None],
    ) -> None:
        self._most_bytes = most_bytes
        self._whole = whole
        self._data = data
        self._rest = b""
        self._preface = True
        self._data_left = 0
        self._data_flags = 0
        self._data_stream = 0

    def feed(self, data: bytes) -> None:
        """Take what has come.

        Raises:
            ValueError: `Broken`, the peer breaks the protocol.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        if self._preface:
            if end < len(PREFACE):
                self._rest = data
                return
            if not data.startswith(PREFACE):
                raise Broken(PROTOCOL_ERROR, "this is not HTTP/2")
            self._preface, at = False, len(PREFACE)
        if self._data_left:
            at = self._more_data(data, 0)
        while end - at >= _HEAD:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            kind, flags = data[at + 3], data[at + 4]
            if size > self._most_bytes or (size > _SMALL and kind != DATA):
                raise Broken(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            stream = int.from_bytes(data[at + 5 : at + _HEAD], "big") & LARGEST
            begins = at + _HEAD
            if begins + size <= end:
                at = begins + size
                if kind == DATA:
                    self._data(stream, flags, data[begins:at], 0)
                else:
                    self._whole(kind, flags, stream, data[begins:at])
            elif kind == DATA and not flags & PADDED:
                self._data_left, self._data_flags, self._data_stream = size, flags, stream
                at = self._more_data(data, begins)
            else:
                break
        self._rest = data[at:]

    def _more_data(self, data: bytes, at: int) -> int:
        part = data[at : at + self._data_left]
        self._data_left -= len(part)
        if part:
            self._data(self._data_stream, self._data_flags, part, self._data_left)
        return at + len(part)
