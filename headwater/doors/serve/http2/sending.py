"""Answers on their way out of a connection, as fast as the client lets them."""

from __future__ import annotations

import asyncio

from headwater.doors.serve.http2 import framing as wire
from headwater.doors.serve.http2 import grpc_words as words
from headwater.doors.serve.http2.framing import Broken, frame

__all__ = ["Sending"]

_ENDS = wire.END_HEADERS | wire.END_STREAM


class Sending:
    """What one client may be sent, and what waits until it may.

    Args:
        transport: of the connection.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._room = wire.FIRST_WINDOW
        self._first = wire.FIRST_WINDOW
        self._rooms: dict[int, int] = {}
        self._waiting: dict[int, memoryview] = {}
        self.frame_bytes = 1 << 14

    @property
    def waiting(self) -> bool:
        """Whether there are answers that the client has not taken."""
        return bool(self._waiting)

    @property
    def calls(self) -> int:
        """How many answers it has not taken whole."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """How much of them it has not taken."""
        return sum(map(len, self._waiting.values())) if self._waiting else 0

    def holds(self, number: int) -> bool:
        """Whether the rest of a call's answer waits."""
        return number in self._waiting

    def answer(self, number: int, message: bytes) -> None:
        """Send the answer of a call, now or by and by."""
        size = len(message) + words.PREFIX.size
        begins = frame(wire.HEADERS, wire.END_HEADERS, number, words.BEGINS)
        content = words.PREFIX.pack(0, len(message)) + message
        if size <= self.frame_bytes and size <= self._room and size <= self._rooms.get(number, self._first):
            self._room -= size
            self._rooms.pop(number, None)
            ends = frame(wire.HEADERS, _ENDS, number, words.ENDS_WELL)
            self._transport.write(begins + frame(wire.DATA, 0, number, content) + ends)
            return
        self._transport.write(begins)
        self._waiting[number] = memoryview(content)
        self._rooms.setdefault(number, self._first)
        self._go_on(number)

    def grant(self, number: int, more: int) -> None:
        """The client takes more bytes, of one call or, for 0, of all.

        Raises:
            ValueError: `Broken`, it takes more than there can be.
        """
        if number:
            room = self._rooms[number] = self._rooms.get(number, self._first) + more
            if room > wire.LARGEST:
                raise Broken(wire.FLOW_CONTROL_ERROR, "a window is too wide")
            if number in self._waiting:
                self._go_on(number)
            return
        self._room += more
        if self._room > wire.LARGEST:
            raise Broken(wire.FLOW_CONTROL_ERROR, "the window is too wide")
        for one in list(self._waiting):
            self._go_on(one)

    def first_window(self, size: int) -> None:
        """The client says how much it takes of each call before it grants more.

        Raises:
            ValueError: `Broken`, it is more than there can be.
        """
        if size > wire.LARGEST:
            raise Broken(wire.FLOW_CONTROL_ERROR, "windows are too wide")
        difference, self._first = size - self._first, size
        for number in self._rooms:
            self._rooms[number] += difference
        for number in list(self._waiting):
            self._go_on(number)

    def forget(self, number: int) -> None:
        """Nobody wants the rest of an answer."""
        self._waiting.pop(number, None)
        self._rooms.pop(number, None)

    def _go_on(self, number: int) -> None:
        rest = self._waiting[number]
        parts = []
        while rest:
            size = min(len(rest), self.frame_bytes, self._room, self._rooms[number])
            if size <= 0:
                break
            self._room -= size
            self._rooms[number] -= size
            parts.append(frame(wire.DATA, 0, number, bytes(rest[:size])))
            rest = rest[size:]
        if rest:
            self._waiting[number] = rest
        else:
            self.forget(number)
            parts.append(frame(wire.HEADERS, _ENDS, number, words.ENDS_WELL))
        if parts:
            self._transport.write(b"".join(parts))
