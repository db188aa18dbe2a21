"""gRPC over our own HTTP/2: gRPC's client library on one side, frames written by hand on the other."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest

from headwater.doors.serve.http2 import GrpcServer
from headwater.doors.serve.http2.hpack import HeaderReader, HeadersTooLarge, UnreadableHeaders, literal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
PATH = "/test.Service/"


class Echo:
    """Answers at once or by and by, with what it was asked or as much as it was asked for."""

    def __init__(self) -> None:
        self.seen: list[tuple[Mapping[str, str], str, float | None]] = []
        self.go = asyncio.Event()
        self.waited = self.cancelled = 0

    def at_once(self, name: str, data: bytes, metadata: Any, *, peer: str, left_s: float | None) -> Any:
        if name == "Break":
            raise ValueError("broken")
        if name != "Quick":
            return None
        self.seen.append((metadata, peer, left_s))
        return data

    async def awaited(
        self, name: str, data: bytes, metadata: Any, *, peer: str, left_s: float | None
    ) -> bytes:
        if name == "Refuse":
            raise ValueError("no: 100 % naïve\n")
        if name == "Wait":
            self.waited += 1
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return bytes(int(data)) if name == "Many" else data

    def status_of(self, error: Exception) -> tuple[int, str]:
        return 7, str(error)


@pytest.fixture
async def served() -> AsyncIterator[tuple[GrpcServer, Echo, int]]:
    echo = Echo()
    names = ["Quick", "Slow", "Many", "Wait", "Refuse", "Break"]
    server = GrpcServer("test.Service", names, echo, most_bytes=8 << 20, most_streams=100)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop = asyncio.get_running_loop()

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            await server.take(sock)

    accepting = asyncio.create_task(accept())
    yield server, echo, listener.getsockname()[1]
    accepting.cancel()
    await server.stop(1)
    listener.close()


def call(channel: grpc.aio.Channel, name: str) -> Any:
    return channel.unary_unary(PATH + name)


# -- gRPC's own client --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", list(grpc.Compression))
async def test_messages_of_every_size_come_back(served: Any, compression: grpc.Compression) -> None:
    _, echo, port = served
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options, compression) as channel:
        for size in (0, 1, 16_384, 65_535, 65_536, 1_000_000, 6_000_000):
            sent = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            assert await call(channel, "Quick")(sent) == sent
            assert await call(channel, "Slow")(sent) == sent
        several = [call(channel, "Many")(b"300000") for _ in range(20)]
        assert [len(await one) for one in several] == [300_000] * 20
    assert echo.seen[0][1].startswith("127.0.0.1:")


async def test_headers_come_through_whatever_the_table_holds(served: Any) -> None:
    _, echo, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for number in range(200):
            sent = (("number", str(number)), (f"name-{number % 70}", "v" * (number % 90)), ("same", "same"))
            await call(channel, "Quick")(b"", metadata=sent, timeout=10)
            metadata, _, left_s = echo.seen[-1]
            assert dict(sent).items() <= metadata.items()
            assert left_s is not None
            assert 5 < left_s < 11


@pytest.mark.parametrize(
    ("name", "size", "code", "said"),
    [
        ("Refuse", 1, grpc.StatusCode.PERMISSION_DENIED, "no: 100 % naïve\n"),
        ("Break", 1, grpc.StatusCode.PERMISSION_DENIED, "broken"),
        ("Nothing", 1, grpc.StatusCode.UNIMPLEMENTED, "Method not found: /test.Service/Nothing"),
        ("Slow", (8 << 20) + 1, grpc.StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
async def test_failures_have_grpcs_statuses(
    served: Any, name: str, size: int, code: grpc.StatusCode, said: str
) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{served[2]}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, name)(bytes(size), timeout=20)
        assert (caught.value.code(), said in (caught.value.details() or "")) == (code, True)
        assert await call(channel, "Quick")(b"after") == b"after"


async def test_who_no_longer_waits_ends_the_call(served: Any) -> None:
    _, echo, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        for timeout_s in (0.2, 1, 5, 25):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(channel, "Wait")(b"", timeout=timeout_s)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if echo.waited:
                # On a busy machine the time may be up before the call comes.
                break
        assert await call(channel, "Quick")(b"x") == b"x"
        assert echo.cancelled == echo.waited == 1


async def test_a_server_that_stops_answers_what_runs(served: Any) -> None:
    server, echo, port = served
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        running = asyncio.ensure_future(call(channel, "Wait")(b"late"))
        await asyncio.sleep(0.2)
        stopping = asyncio.create_task(server.stop(20))
        await asyncio.sleep(0.2)
        assert not stopping.done()
        echo.go.set()
        assert await running == b"late"
        await stopping


# -- frames -------------------------------------------------------------------------------------------------------


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + content


def asking(name: str, *more: tuple[bytes, bytes]) -> bytes:
    pairs = (
        (b":method", b"POST"),
        (b":path", (PATH + name).encode()),
        (b"content-type", b"application/grpc"),
    )
    return b"".join(literal(*pair) for pair in (*pairs, *more))


def message(content: bytes) -> bytes:
    return struct.pack(">BI", 0, len(content)) + content


class Peer:
    """A client of few words."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, window: int = 65_535) -> Peer:
        made = cls(*await asyncio.open_connection("127.0.0.1", port))
        made.writer.write(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, window)))
        return made

    async def frames(self, until: int) -> list[tuple[int, int, int, bytes]]:
        """What comes, up to the first frame of a kind."""
        found = []
        while True:
            head = await asyncio.wait_for(self.reader.readexactly(9), 10)
            content = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            found.append((head[3], head[4], int.from_bytes(head[5:], "big"), content))
            if head[3] == until:
                return found

    async def answer(self, stream: int) -> bytes:
        """The message of a call's answer."""
        content = b""
        while True:
            for kind, flags, number, part in await self.frames(HEADERS):
                content += part if kind == DATA and number == stream else b""
                if kind == HEADERS and number == stream and flags & 1:
                    return content[5:]


async def test_frames_may_be_cut_anywhere_padded_and_continued(served: Any) -> None:
    headers = asking("Quick")
    padded = b"\x03" + message(b"hello") + bytes(3)
    sent = (
        frame(HEADERS, 0x28, 1, b"\x02" + bytes(5) + headers[:10] + bytes(2))
        + frame(CONTINUATION, 0, 1, headers[10:20])
        + frame(CONTINUATION, 4, 1, headers[20:])
        + frame(0x77, 0, 0, b"unknown")
        + frame(DATA, 0x8, 1, padded[:9])[:9]
    )
    sent = sent[:-9] + frame(DATA, 0x9, 1, padded)
    for step in (1, 7, len(sent)):
        peer = await Peer.connect(served[2])
        for at in range(0, len(sent), step):
            peer.writer.write(sent[at : at + step])
            await asyncio.sleep(0)
        assert await peer.answer(1) == b"hello"
        peer.writer.close()


async def test_an_answer_waits_for_the_clients_windows(served: Any) -> None:
    peer = await Peer.connect(served[2], window=10)
    peer.writer.write(frame(HEADERS, 4, 1, asking("Many")) + frame(DATA, 1, 1, message(b"100000")))
    peer.writer.write(frame(PING, 0, 0, bytes(8)))
    got = b"".join(part for kind, _, _, part in await peer.frames(PING) if kind == DATA)
    while len(got) < 10:
        got += b"".join(part for kind, _, _, part in await peer.frames(DATA) if kind == DATA)
    peer.writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 20)))
    got += b"".join(part for kind, _, _, part in await peer.frames(DATA) if kind == DATA)
    assert len(got) == 20
    peer.writer.write(frame(WINDOW, 0, 1, struct.pack(">I", 1 << 20)))
    while len(got) < 65_535:
        got += b"".join(part for kind, _, _, part in await peer.frames(DATA) if kind == DATA)
    assert len(got) == 65_535, "the window of the connection holds too"
    peer.writer.write(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 20)))
    while len(got) < 100_005:
        got += b"".join(part for kind, _, _, part in await peer.frames(DATA) if kind == DATA)
    assert got == message(bytes(100_000))
    assert (await peer.frames(HEADERS))[-1][1] & 1
    peer.writer.close()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(DATA, 0, 1, b"x"), 1),
        (frame(HEADERS, 4, 2, asking("Quick")), 1),
        (frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\xff\xff"), 9),
        (frame(HEADERS, 0, 1, asking("Quick")) + frame(PING, 0, 0, bytes(8)), 1),
        (frame(HEADERS, 0, 1, asking("Quick")) + frame(CONTINUATION, 0, 1, bytes(60_000)), 11),
        (frame(WINDOW, 0, 0, struct.pack(">I", (1 << 31) - 1)), 3),
        (frame(WINDOW, 0, 0, bytes(4)), 1),
        (frame(SETTINGS, 0, 0, b"abc"), 6),
        (frame(5, 4, 1, b""), 1),
        (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 6),
        (frame(HEADERS, 0xC, 1, b"\xff" + asking("Quick")), 1),
    ],
)
async def test_who_breaks_the_protocol_is_told_and_left(served: Any, sent: bytes, code: int) -> None:
    peer = await Peer.connect(served[2])
    peer.writer.write(sent)
    *_, (_, _, _, content) = await peer.frames(GOAWAY)
    assert struct.unpack(">I", content[4:8]) == (code,)
    assert await peer.reader.read() == b""
    peer.writer.close()


async def test_calls_that_end_early_or_hold_too_much_are_refused(served: Any) -> None:
    peer = await Peer.connect(served[2])
    reader = HeaderReader()
    for number, sent in (
        (1, frame(HEADERS, 5, 1, asking("Quick"))),
        (3, frame(HEADERS, 4, 3, asking("Quick")) + frame(DATA, 1, 3, message(b"abc")[:6])),
        (5, frame(HEADERS, 4, 5, asking("Quick")) + frame(DATA, 1, 5, message(b"abc") + b"more")),
        (7, frame(HEADERS, 4, 7, asking("Quick", (b"big", b"x" * 20_000)))),
    ):
        peer.writer.write(sent)
        _, flags, stream, block = (await peer.frames(HEADERS))[-1]
        status = reader.read(block)[b"grpc-status"]
        assert (flags & 1, stream, status) == (1, number, b"8" if number == 7 else b"13")
    peer.writer.write(frame(HEADERS, 4, 9, asking("Quick")) + frame(DATA, 1, 9, message(b"well")))
    assert await peer.answer(9) == b"well"
    peer.writer.close()


async def test_more_calls_than_allowed_are_refused_and_resets_forget_them(served: Any) -> None:
    peer = await Peer.connect(served[2])
    for number in range(1, 203, 2):
        peer.writer.write(frame(HEADERS, 4, number, asking("Wait")) + frame(DATA, 1, number, message(b"")))
    *_, (_, _, stream, content) = await peer.frames(RST)
    assert (stream, content) == (201, struct.pack(">I", 7))
    for number in range(1, 201, 2):
        peer.writer.write(frame(RST, 0, number, struct.pack(">I", 8)))
    peer.writer.write(frame(HEADERS, 4, 203, asking("Quick")) + frame(DATA, 1, 203, message(b"again")))
    assert await peer.answer(203) == b"again"
    assert served[1].cancelled == 100
    peer.writer.close()


async def test_messages_that_do_not_come_whole_are_bounded(served: Any) -> None:
    server, _, port = served
    server.most_bytes, server.most_waiting_bytes = 1_000_000, 500_000
    peer = await Peer.connect(port)
    half = message(bytes(900_000))[:100_000]
    for number in range(1, 33, 2):
        peer.writer.write(frame(HEADERS, 4, number, asking("Quick")) + frame(DATA, 0, number, half))
    peer.writer.write(frame(PING, 0, 0, bytes(8)))
    told = await peer.frames(PING)
    (refused,) = [block for kind, _, number, block in told if kind == HEADERS and number == 31]
    assert HeaderReader().read(refused)[b"grpc-status"] == b"8"
    for number in range(1, 31, 2):
        peer.writer.write(frame(RST, 0, number, struct.pack(">I", 8)))
    peer.writer.write(frame(HEADERS, 4, 33, asking("Quick")) + frame(DATA, 1, 33, message(b"whole")))
    assert await peer.answer(33) == b"whole"
    peer.writer.close()


async def test_answers_that_nobody_takes_are_bounded(served: Any) -> None:
    server, _, port = served
    server.most_waiting_bytes = 1_000_000
    peer = await Peer.connect(port, window=0)
    for number in range(1, 41, 2):
        peer.writer.write(
            frame(HEADERS, 4, number, asking("Many")) + frame(DATA, 1, number, message(b"100000"))
        )
        await peer.frames(HEADERS if number < 21 else RST)
    peer.writer.write(frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24)))
    for number in range(1, 21, 2):
        peer.writer.write(frame(WINDOW, 0, number, struct.pack(">I", 1 << 20)))
    for _ in range(10):
        await peer.frames(HEADERS)
    peer.writer.write(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65_535)))
    peer.writer.write(frame(HEADERS, 4, 41, asking("Quick")) + frame(DATA, 1, 41, message(b"again")))
    assert await peer.answer(41) == b"again"
    peer.writer.close()


# -- headers ------------------------------------------------------------------------------------------------------


def test_headers_of_the_standards_examples() -> None:
    reader = HeaderReader()
    first = {b":method": b"GET", b":scheme": b"http", b":path": b"/", b":authority": b"www.example.com"}
    assert reader.read(bytes.fromhex("828684418cf1e3c2e5f23a6ba0ab90f4ff")) == first
    second = reader.read(bytes.fromhex("828684be5886a8eb10649cbf"))
    assert second == first | {b"cache-control": b"no-cache"}
    third = reader.read(bytes.fromhex("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"))
    assert third == first | {b":scheme": b"https", b":path": b"/index.html", b"custom-key": b"custom-value"}


@pytest.mark.parametrize(
    "block", ["80", "c0", "3fe21f", "0085", "00817f", "7fffffffffff0f", "4001", "000181ff"]
)
def test_headers_that_break_the_rules_are_refused(block: str) -> None:
    with pytest.raises(UnreadableHeaders):
        HeaderReader().read(bytes.fromhex(block))


def test_headers_that_unfold_into_many_are_refused() -> None:
    reader = HeaderReader(1000)
    reader.read(b"\x40\x01a" + b"\x7f\x49" + b"v" * 200)
    with pytest.raises(HeadersTooLarge):
        reader.read(b"\xbe" * 10)
    assert reader.read(b"\xbe") == {b"a": b"v" * 200}
