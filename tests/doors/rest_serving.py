"""Both doors over one service and one lake: a gRPC server and a RESTful one, and a caller for each."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import uvicorn
from pymilvus import MilvusClient

import headwater as hw
from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.service import MilvusService
from headwater.doors.rest import rest_app
from headwater.settings import Settings


class Caller:
    """Calls routes, and holds a client of the gRPC server beside them."""

    service: MilvusService

    def __init__(self, url: str, grpc_url: str, token: str = "") -> None:
        self.url = url
        self.http = httpx.Client(base_url=f"{url}/v2/vectordb/", timeout=60)
        self.client = MilvusClient(grpc_url, token=token)

    def raw(self, path: str, content: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        answer = self.http.post(path, content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        body = answer.json()
        assert isinstance(body["code"], int)
        assert ("data" in body) == (body["code"] == 0)
        return body

    def ask(self, path: str, /, *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        """The whole answer of a route."""
        return self.raw(path, json.dumps(body).encode(), headers)

    def get(self, path: str, /, *, headers: dict[str, str] | None = None, **body: Any) -> Any:
        """The data of a route's answer."""
        answer = self.ask(path, headers=headers, **body)
        assert answer["code"] == 0, answer
        return answer["data"]

    def refused(self, path: str, /, *, headers: dict[str, str] | None = None, **body: Any) -> tuple[int, str]:
        """The error of a route."""
        answer = self.ask(path, headers=headers, **body)
        assert answer["code"] != 0, answer
        return answer["code"], answer["message"]


@contextmanager
def both(lake: str | Path, settings: Settings | None = None, token: str = "") -> Iterator[Caller]:
    """Both doors over a lake."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    backend = Backend(hw.connect(lake, settings=settings))
    service = MilvusService(backend)
    config = uvicorn.Config(rest_app(service), host="127.0.0.1", port=0, log_level="error", lifespan="off")
    web = uvicorn.Server(config)

    async def start() -> tuple[grpc.aio.Server, int, int]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((service.handlers(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        config.load()
        web.lifespan = config.lifespan_class(config)
        await web.startup()
        return server, port, web.servers[0].sockets[0].getsockname()[1]

    async def stop() -> None:
        web.should_exit = True
        await web.shutdown()
        await server.stop(1)

    server, port, web_port = asyncio.run_coroutine_threadsafe(start(), loop).result()
    caller = Caller(f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{port}", token)
    caller.service = service
    try:
        yield caller
    finally:
        caller.http.close()
        caller.client.close()
        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        service.close()
        backend.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
