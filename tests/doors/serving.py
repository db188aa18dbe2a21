"""A Milvus door over a lake of its own, in a thread of the test's process, for real clients to connect to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

import headwater as hw
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.service import MilvusService
from headwater.settings import Settings


class Address(str):
    """The address of a server, such as `http://127.0.0.1:41234`, and what it serves."""

    backend: Backend
    service: MilvusService


@contextmanager
def served(lake: str | Path | hw.Database, settings: Settings | None = None) -> Iterator[Address]:
    """A server over a lake, or over one that is open."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    backend = Backend(lake if isinstance(lake, hw.Database) else hw.connect(lake, settings=settings))
    service = MilvusService(backend, backend.lake.settings.server)

    async def start() -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 256 << 20)])
        server.add_generic_rpc_handlers((service.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    server, port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        address = Address(f"http://127.0.0.1:{port}")
        address.backend = backend
        address.service = service
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(1), loop).result()
        service.close()
        backend.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
