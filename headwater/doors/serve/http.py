"""The HTTP application of the port: what an operator's tools ask for, and the routes that other doors add."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from headwater import __version__
from headwater.doors.milvus.backend import Backend
from headwater.errors import HeadwaterError

__all__ = ["HttpServer", "Readiness", "http_app"]

_READY_S = 5.0


class Readiness:
    """Whether calls should come here.

    Args:
        backend: the lake that must answer.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.stopping = False

    async def why_not(self) -> str | None:
        """What is in the way; None when nothing is."""
        if self.stopping:
            return "shutting down"
        asked = asyncio.get_running_loop().run_in_executor(None, self._backend.lake.list_databases)
        try:
            await asyncio.wait_for(asked, _READY_S)
        except TimeoutError:
            return f"the lake did not answer within {_READY_S:.0f} s"
        except (HeadwaterError, OSError) as error:
            return f"the lake does not answer: {error}"
        return None


def http_app(
    readiness: Readiness,
    routes: Sequence[BaseRoute] = (),
    figures: Callable[[], Awaitable[bytes]] | None = None,
) -> Starlette:
    """The application.

    Args:
        readiness: of this process.
        routes: of other doors.
        figures: makes the page at `/metrics`; None for no such page.
    """

    async def about(request: Request) -> Response:
        pages = [one.path for one in every if isinstance(one, Route) and "GET" in (one.methods or ())]
        shown = "".join(f"{path}\n" for path in pages if "{" not in path)
        return PlainTextResponse(f"Headwater {__version__}\n\n{shown}")

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok", "version": __version__})

    async def readyz(request: Request) -> Response:
        reason = await readiness.why_not()
        if reason is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "reason": reason}, status_code=503)

    async def metrics(request: Request) -> Response:
        assert figures is not None
        return Response(await figures(), media_type="text/plain; version=0.0.4; charset=utf-8")

    ours = [Route("/", about), Route("/healthz", healthz), Route("/readyz", readyz)]
    if figures is not None:
        ours.append(Route("/metrics", metrics))
    every = [*ours, *routes]
    return Starlette(routes=every)


class HttpServer(uvicorn.Server):
    """Speaks HTTP/1.1 on connections that somebody else accepted.

    Args:
        app: answers.
        **options: of `uvicorn.Config`.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        super().__init__(
            uvicorn.Config(
                app, lifespan="off", log_config=None, access_log=False, server_header=False, **options
            )
        )

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Signals are for the worker."""
        return nullcontext()

    async def take(self, sock: Any) -> None:
        """Speak on a connection."""
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state={}
            )
            return made

        tls = self.config.ssl
        handshake_s = None if tls is None else 10.0
        try:
            await loop.connect_accepted_socket(protocol, sock, ssl=tls, ssl_handshake_timeout=handshake_s)
        except OSError:
            sock.close()
