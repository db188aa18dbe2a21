"""One connection of a gRPC client, and the calls that are under way on it.

A call that can be answered at once is answered before the next frame is looked at: its answer is written without a
task, a thread or a queue between. Others become tasks.
"""

from __future__ import annotations

import asyncio
import io
import struct
from typing import TYPE_CHECKING, cast

from headwater.doors.serve.http2 import framing as wire
from headwater.doors.serve.http2 import grpc_words as words
from headwater.doors.serve.http2.framing import Broken, Cutter, frame
from headwater.doors.serve.http2.hpack import HeaderReader, HeadersTooLarge, UnreadableHeaders
from headwater.doors.serve.http2.sending import Sending

if TYPE_CHECKING:
    from headwater.doors.serve.http2.server import GrpcServer

__all__ = ["FRAME_BYTES", "STREAM_WINDOW", "Connection"]

FRAME_BYTES = 128 << 10
STREAM_WINDOW = 4 << 20
_CONNECTION_WINDOW = 16 << 20
_BLOCK_BYTES = 48 << 10
_HEADERS_BYTES = 16 << 10
_GOING = b"going..."
_PATIENCE_S = 1.0


class Stream:
    """One call: its headers, and as much of its message as has come."""

    __slots__ = ("headers", "message", "number", "received", "size", "task", "undone")

    def __init__(self, number: int, headers: dict[bytes, bytes]) -> None:
        self.number = number
        self.headers = headers
        # Its value is what it gathered, without a copy of it.
        self.message = io.BytesIO()
        self.size = -1
        self.received = 0
        self.undone = 0
        self.task: asyncio.Task[None] | None = None


class Connection(asyncio.Protocol):
    """Speaks HTTP/2 with one client.

    Args:
        server: all connections, and what answers.
    """

    def __init__(self, server: GrpcServer) -> None:
        self._server = server
        self._cutter = Cutter(FRAME_BYTES, self._whole, self._data)
        self._reader = HeaderReader(_HEADERS_BYTES)
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._taken = 0
        self._held = 0
        self._block: tuple[int, int, bytes] | None = None
        self._settled = False
        self._going = False
        self._peer = ""

    # -- what asyncio calls -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there: say how much may be sent to us."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._sending = Sending(self._transport)
        name = transport.get_extra_info("peername")
        self._peer = f"{name[0]}:{name[1]}" if isinstance(name, tuple) else ""
        self._transport.set_write_buffer_limits(high=1 << 20)
        ours = {3: self._server.most_streams, 4: STREAM_WINDOW, 5: FRAME_BYTES, 6: _HEADERS_BYTES}
        more = struct.pack(">I", _CONNECTION_WINDOW - wire.FIRST_WINDOW)
        self._transport.write(wire.settings_frame(ours) + frame(wire.WINDOW_UPDATE, 0, 0, more))
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        try:
            self._cutter.feed(data)
        except Broken as error:
            self._break(error)

    def pause_writing(self) -> None:
        """The client takes nothing more now: nothing more is taken from it."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone, and so are those who wait for its calls."""
        for stream in list(self._streams.values()):
            if stream.task is not None:
                stream.task.cancel()
        self._streams.clear()
        self._server.closed(self)

    # -- the end ------------------------------------------------------------------------------------------------

    def go_away(self) -> None:
        """Take no further calls, and end when those that run have been answered."""
        if self._going or self._transport.is_closing():
            return
        self._going = True
        # What the client has sent until it answers the ping is still taken.
        self._go_away(wire.LARGEST, wire.NO_ERROR)
        self._transport.write(frame(wire.PING, 0, 0, _GOING))
        asyncio.get_running_loop().call_later(_PATIENCE_S, self._settle)

    def abort(self) -> None:
        """End now."""
        self._transport.abort()

    def _settle(self) -> None:
        """Whoever still calls does not listen: what comes from now on is refused."""
        if self._going and not self._settled and not self._transport.is_closing():
            self._settled = True
            self._go_away(self._last, wire.NO_ERROR)
            self._close_when_done()

    def _go_away(self, last: int, code: int, why: bytes = b"") -> None:
        self._transport.write(frame(wire.GOAWAY, 0, 0, struct.pack(">II", last, code) + why))

    def _break(self, error: Broken) -> None:
        self._go_away(self._last, error.code, error.why.encode()[:200])
        self._transport.close()

    def _close_when_done(self) -> None:
        if self._going and self._settled and not self._streams and not self._sending.waiting:
            self._transport.close()

    # -- frames -------------------------------------------------------------------------------------------------

    def _whole(self, kind: int, flags: int, number: int, content: bytes) -> None:
        if self._block is not None and (kind != wire.CONTINUATION or number != self._block[0]):
            raise Broken(wire.PROTOCOL_ERROR, "headers are not continued")
        if kind == wire.HEADERS:
            self._headers(flags, number, _unpadded(kind, flags, content))
        elif kind == wire.WINDOW_UPDATE:
            self._window(number, content)
        elif kind == wire.SETTINGS:
            self._settings(flags, number, content)
        elif kind == wire.PING:
            self._ping(flags, number, content)
        elif kind == wire.RST_STREAM:
            if number == 0 or number > self._last or len(content) != 4:
                raise Broken(wire.PROTOCOL_ERROR, "a reset of nothing")
            self._forget(number)
        elif kind == wire.CONTINUATION:
            self._continued(flags, content)
        elif kind == wire.PUSH_PROMISE:
            raise Broken(wire.PROTOCOL_ERROR, "clients promise nothing")
        elif kind == wire.GOAWAY:
            self._going = self._settled = True
            self._close_when_done()
        # PRIORITY, and kinds that are not known, say nothing that matters.

    def _window(self, number: int, content: bytes) -> None:
        if len(content) != 4:
            raise Broken(wire.FRAME_SIZE_ERROR, "a window update")
        more = int.from_bytes(content, "big") & wire.LARGEST
        if more == 0 or number > self._last:
            raise Broken(wire.PROTOCOL_ERROR, "a window update of nothing")
        if number == 0 or number in self._streams or self._sending.holds(number):
            self._sending.grant(number, more)
        self._close_when_done()

    def _settings(self, flags: int, number: int, content: bytes) -> None:
        if number or len(content) % 6 or (flags & wire.ACK and content):
            raise Broken(wire.FRAME_SIZE_ERROR, "settings")
        if flags & wire.ACK:
            return
        for key, value in struct.iter_unpack(">HI", content):
            if key == 4:
                self._sending.first_window(value)
            elif key == 5:
                if not 1 << 14 <= value < 1 << 24:
                    raise Broken(wire.PROTOCOL_ERROR, f"frames of {value} bytes")
                self._sending.frame_bytes = min(value, FRAME_BYTES)
        self._transport.write(frame(wire.SETTINGS, wire.ACK, 0))

    def _ping(self, flags: int, number: int, content: bytes) -> None:
        if number or len(content) != 8:
            raise Broken(wire.FRAME_SIZE_ERROR, "a ping")
        if not flags & wire.ACK:
            self._transport.write(frame(wire.PING, wire.ACK, 0, content))
        elif content == _GOING:
            self._settle()

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        if flags & wire.END_HEADERS:
            self._begin(number, block, flags)
        else:
            self._block = number, flags, block

    def _continued(self, flags: int, content: bytes) -> None:
        if self._block is None:
            raise Broken(wire.PROTOCOL_ERROR, "nothing to continue")
        number, first, block = self._block
        block += content
        if len(block) > _BLOCK_BYTES or not content:
            raise Broken(wire.ENHANCE_YOUR_CALM, f"headers of {len(block)} bytes")
        if flags & wire.END_HEADERS:
            self._block = None
            self._begin(number, block, first)
        else:
            self._block = number, first, block

    def _begin(self, number: int, block: bytes, flags: int) -> None:
        """A call begins, or ends with trailers."""
        if len(block) > _BLOCK_BYTES:
            raise Broken(wire.ENHANCE_YOUR_CALM, f"headers of {len(block)} bytes")
        refused = ""
        try:
            headers = self._reader.read(block)
        except UnreadableHeaders as error:
            raise Broken(wire.COMPRESSION_ERROR, str(error)) from error
        except HeadersTooLarge as error:
            headers, refused = {}, str(error)
        found = self._streams.get(number)
        if found is not None:
            self._ended(found)
            return
        if number <= self._last or number % 2 == 0:
            if number % 2 and number:
                return  # Trailers of a call that has been answered.
            raise Broken(wire.PROTOCOL_ERROR, f"stream {number}")
        if self._full() or (self._going and self._settled):
            self._last = number
            self._reset(number, wire.REFUSED_STREAM)
            return
        self._last = number
        if refused:
            self._fail(number, words.RESOURCE_EXHAUSTED, refused)
        elif not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            self._transport.write(
                frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, number, words.WRONG_TYPE)
            )
        elif headers.get(b":path") not in self._server.methods:
            path = headers.get(b":path", b"").decode("latin-1")[:200]
            self._fail(number, words.UNIMPLEMENTED, f"Method not found: {path}")
        else:
            stream = self._streams[number] = Stream(number, headers)
            if flags & wire.END_STREAM:
                self._ended(stream)

    def _full(self) -> bool:
        """Whether the client has as much under way, with what it has not taken of its answers, as it may."""
        sending = self._sending
        return (
            len(self._streams) + sending.calls >= self._server.most_streams
            or sending.waiting_bytes > self._server.most_waiting_bytes
        )

    def _data(self, number: int, flags: int, content: bytes, left: int) -> None:
        if self._block is not None or number == 0 or number > self._last:
            raise Broken(wire.PROTOCOL_ERROR, "data of nothing")
        self._taken += len(content)
        if self._taken > _CONNECTION_WINDOW // 4:
            # What has come is taken at once, so the window is as wide as it was.
            self._transport.write(frame(wire.WINDOW_UPDATE, 0, 0, struct.pack(">I", self._taken)))
            self._taken = 0
        stream = self._streams.get(number)
        if stream is None or stream.task is not None:
            return
        stream.received += len(content)
        if flags & wire.PADDED:
            content = _unpadded(wire.DATA, flags, content)
        if stream.received > STREAM_WINDOW // 4:
            self._transport.write(frame(wire.WINDOW_UPDATE, 0, number, struct.pack(">I", stream.received)))
            stream.received = 0
        self._gather(stream, content)
        if left == 0 and flags & wire.END_STREAM and number in self._streams:
            self._ended(stream)

    # -- calls --------------------------------------------------------------------------------------------------

    def _gather(self, stream: Stream, content: bytes) -> None:
        """Add to a call's message; run the call when it is whole."""
        if stream.size < 0:
            if stream.message.tell():
                content = stream.message.getvalue() + content
                self._let_go(stream)
            if len(content) < words.PREFIX.size:
                self._hold(stream, content)
                return
            compressed, stream.size = words.PREFIX.unpack_from(content)
            stream.undone = compressed
            most = self._server.most_bytes
            if stream.size > most:
                self._drop(
                    stream,
                    words.RESOURCE_EXHAUSTED,
                    f"Received message larger than max ({stream.size} vs. {most})",
                )
                return
            content = content[words.PREFIX.size :]
            if len(content) == stream.size:
                self._run(stream, content)
                return
        self._hold(stream, content)
        held = stream.message.tell()
        if held == stream.size:
            self._run(stream, stream.message.getvalue())
        elif held > stream.size:
            self._drop(stream, words.INTERNAL, "more than one message for a call that takes one")
        elif self._held > self._server.most_bytes + self._server.most_waiting_bytes:
            self._drop(
                stream, words.RESOURCE_EXHAUSTED, "too many messages of this connection are not whole yet"
            )

    def _hold(self, stream: Stream, content: bytes) -> None:
        self._held += stream.message.write(content)

    def _let_go(self, stream: Stream) -> None:
        self._held -= stream.message.tell()
        stream.message = io.BytesIO()

    def _ended(self, stream: Stream) -> None:
        """The client has said all; what it said should have been a message."""
        if stream.task is None:
            self._drop(stream, words.INTERNAL, "the call ended before its message")

    def _run(self, stream: Stream, message: bytes) -> None:
        server, headers, number = self._server, stream.headers, stream.number
        self._let_go(stream)
        if stream.undone:
            try:
                whole = words.inflated(message, headers.get(b"grpc-encoding"), server.most_bytes)
            except ValueError as error:
                self._drop(stream, words.UNIMPLEMENTED, str(error))
                return
            if whole is None:
                why = f"Received message larger than max ({server.most_bytes} bytes, once decompressed)"
                self._drop(stream, words.RESOURCE_EXHAUSTED, why)
                return
            message = whole
        name = server.methods[headers[b":path"]]
        metadata = words.metadata_of(headers)
        left_s = words.seconds_of(headers.get(b"grpc-timeout"))
        try:
            answer = server.answers.at_once(name, message, metadata, peer=self._peer, left_s=left_s)
        except Exception as error:  # noqa: BLE001 (the boundary of the door: the client gets a status whatever happens)
            self._drop(stream, *server.answers.status_of(error))
            return
        if answer is None:
            waiting = self._wait(stream, name, message, metadata, left_s)
            stream.task = asyncio.get_running_loop().create_task(waiting)
            return
        del self._streams[number]
        self._sending.answer(number, answer)
        self._close_when_done()

    async def _wait(
        self, stream: Stream, name: str, message: bytes, metadata: dict[str, str], left_s: float | None
    ) -> None:
        try:
            answer = await self._server.answers.awaited(
                name, message, metadata, peer=self._peer, left_s=left_s
            )
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (the boundary of the door: the client gets a status whatever happens)
            self._drop(stream, *self._server.answers.status_of(error))
            return
        if self._streams.pop(stream.number, None) is not None:
            self._sending.answer(stream.number, answer)
            self._close_when_done()

    def _drop(self, stream: Stream, code: int, why: str) -> None:
        if self._streams.pop(stream.number, None) is not None:
            self._let_go(stream)
            self._sending.forget(stream.number)
            self._fail(stream.number, code, why)
            self._close_when_done()

    def _fail(self, number: int, code: int, why: str) -> None:
        headers = words.failure(code, why)
        self._transport.write(frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, number, headers))

    def _reset(self, number: int, code: int) -> None:
        self._transport.write(frame(wire.RST_STREAM, 0, number, struct.pack(">I", code)))

    def _forget(self, number: int) -> None:
        """The client no longer wants an answer."""
        stream = self._streams.pop(number, None)
        if stream is not None:
            self._let_go(stream)
            if stream.task is not None:
                stream.task.cancel()
        self._sending.forget(number)
        self._close_when_done()


def _unpadded(kind: int, flags: int, content: bytes) -> bytes:
    if flags & wire.PADDED:
        if not content or content[0] >= len(content):
            raise Broken(wire.PROTOCOL_ERROR, "padding")
        content = content[1 : len(content) - content[0]]
    if kind == wire.HEADERS and flags & wire.PRIORITY_FLAG:
        if len(content) < 5:
            raise Broken(wire.FRAME_SIZE_ERROR, "headers with a priority")
        content = content[5:]
    return content
