"""A worker: the process that answers calls. Started by the front with one end of a pair of sockets as its argument.

The front sends lines of JSON, the first with the settings, and connections to speak HTTP on; the worker answers when it
is ready. When the pair breaks, the front is gone, and the worker ends too.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import uvloop

from headwater.doors.milvus.backend import Backend
from headwater.doors.milvus.service import MilvusService
from headwater.doors.rest import rest_app
from headwater.doors.serve.activity import Activity
from headwater.doors.serve.ending import leave_within
from headwater.doors.serve.forward import Analysts, Changes, Forwarding
from headwater.doors.serve.grpc_door import grpc_server
from headwater.doors.serve.http import HttpServer, Readiness, http_app
from headwater.doors.serve.http2 import GrpcServer
from headwater.doors.serve.logs import configure_logs
from headwater.doors.serve.metrics import Metrics
from headwater.doors.serve.scrape import Page
from headwater.doors.serve.slow import slow_calls
from headwater.doors.serve.spans import Spans, wanted
from headwater.engine import connect, lower_process_to
from headwater.errors import HeadwaterError
from headwater.settings import ServerSettings, Settings

__all__ = ["grpc_options", "main"]

_log = logging.getLogger("headwater.server")


_SWITCH_S = 0.0005
"""How long a thread that computes in Python may let others wait; 5 ms by default, several times in one search."""

_NICE = {"worker": 0, "writer": 5, "analytics": 10}
"""Who answers searches comes first, then who writes."""

_ORPHAN_S = 30.0
"""Beyond the grace, for a worker whose front is gone and who would otherwise be ended by it."""


def grpc_options(settings: ServerSettings) -> list[tuple[str, int]]:
    """What a gRPC server of ours is told: message sizes, and to bear clients that ping every ten seconds."""
    # What is somewhat too large is answered in a status; what is much too large is not even read.
    most = min(4 * settings.max_message_bytes, (1 << 31) - 1)
    return [
        ("grpc.max_receive_message_length", most),
        ("grpc.max_send_message_length", most),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


class _Worker:
    def __init__(self, control: socket.socket, start: Mapping[str, Any], rest: bytes) -> None:
        self._control = control
        self._start = start
        self._buffer = rest
        self._fds: list[int] = []
        self._settings = Settings.from_values(start["settings"], "the front's settings")
        self._loop = asyncio.get_running_loop()
        self._stop: asyncio.Future[float] = self._loop.create_future()
        self._closed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[grpc.aio.Server] = []
        self._forwarding: Forwarding | None = None
        self._analysts: Analysts | None = None
        self._spans: Spans | None = None

    async def run(self) -> None:
        settings = self._settings.server
        backend = Backend(connect(self._start["lake"], self._start["options"], settings=self._settings))
        # What is loaded is kept warm where searches are answered.
        backend.lake.serving = self._start["role"] == "worker"
        self._service = MilvusService(backend, settings)
        readiness = Readiness(backend)
        self._backend = backend
        if settings.maintenance != "worker":
            backend.tended_by(self._tended)
        if self._start["workers"] > 1:
            self._share(backend)
        if self._start["role"] != "analytics":
            self._use_analysts()
        self._grpc = self._speaks_grpc()
        if self._start["role"] == "analytics":
            path = Path(self._start["folder"]) / f"analytics-{self._start['place']}.sock"
            self._writers.append(await self._listen_inside(path))
        if alone := self._start.get("alone"):
            self._writers.append(await self._listen_inside(Path(alone), forwarded=False))
        await self._watch(backend)
        if settings.idle_exit_s > 0:
            self._spawn(Activity(self._service, self._say).tell())
        rest = rest_app(self._service, max_body_bytes=settings.max_message_bytes)
        figures = self._page.text if settings.metrics else None
        self._http = HttpServer(http_app(readiness, rest.routes, figures), **_tls_of_http(settings))
        http = asyncio.create_task(self._http.serve(sockets=[]))
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop_within, settings.shutdown_grace_s)
        self._read(b"")
        loop.add_reader(self._control.fileno(), self._heard)
        # What is there by now stays: a full collection that walks it keeps every call waiting for 60 ms.
        gc.freeze()
        await asyncio.to_thread(self._control.sendall, b'{"ready": true}\n')
        grace = await self._stop
        readiness.stopping = True
        self._http.config.timeout_graceful_shutdown = max(1, int(grace))
        self._http.should_exit = True
        await asyncio.gather(http, self._grpc.stop(grace), *(one.stop(grace) for one in self._writers))
        await self._close(backend)

    async def _watch(self, backend: Backend) -> None:
        """Count, log and trace what is done."""
        settings, service = self._settings.server, self._service
        index = self._start["index"]
        self._metrics = Metrics(service, backend, index)
        self._metrics.writing = self._forwarding is None
        self._page = Page(Path(self._start["folder"]), f"{index}-{os.getpid()}.figures", self._metrics.text)
        if self._forwarding is not None:
            await self._page.open()
        if settings.slow_query_s > 0:
            service.observers.append(slow_calls(settings.slow_query_s))
        if wanted(settings.traces):
            self._spans = Spans()
            service.observers.append(self._spans.observe)
        if settings.metrics or settings.slow_query_s > 0 or self._spans is not None:
            service.sampled = lambda name: True

    async def _close(self, backend: Backend) -> None:
        writing = self._forwarding is None or self._forwarding.writing
        await self._page.close()
        if self._forwarding is not None:
            await self._forwarding.close()
        if self._analysts is not None:
            await self._analysts.close()
        await asyncio.to_thread(self._service.close)
        await asyncio.to_thread(backend.close, seal=writing)
        if self._spans is not None:
            await asyncio.to_thread(self._spans.close)

    def _share(self, backend: Backend) -> None:
        """Be one of several."""
        folder = Path(self._start["folder"])
        self._forwarding = Forwarding(folder / "writer.sock")

        def look_again() -> None:
            backend.look_again()
            if self._service.gate.guard.on:
                self._service.gate.guard.refresh()

        self._changes = Changes(folder / "changes", look_again)
        self._service.forward = self._forwarding.route
        self._service.before = self._changes.catch_up

    def _use_analysts(self) -> None:
        """Have heavy reads answered by the processes for them."""
        number = self._settings.server.analytics_workers
        if number:
            folder = Path(self._start["folder"])
            self._analysts = Analysts([folder / f"analytics-{one}.sock" for one in range(number)])
            self._service.analysts = self._analysts.least_busy

    async def _write(self) -> None:
        """Be the one who writes from now on."""
        if self._forwarding is None:
            return
        self._service.observers.append(self._changes.observe)
        self._forwarding.writing = self._metrics.writing = True
        path = Path(self._start["folder"]) / "writer.sock"
        self._writers.append(await self._listen_inside(path))

    async def _listen_inside(self, path: Path, *, forwarded: bool = True) -> grpc.aio.Server:
        """Answer what our other processes hand on, or, of a server that is a child of one program, that program."""
        path.unlink(missing_ok=True)
        address = f"unix:{path}"
        server = grpc.aio.server(options=grpc_options(self._settings.server))
        server.add_generic_rpc_handlers((self._service.handlers(forwarded=forwarded),))
        server.add_insecure_port(address)
        await server.start()
        return server

    def _speaks_grpc(self) -> GrpcServer:
        settings = self._settings.server
        tls = _tls_of_grpc(settings)
        return grpc_server(self._service, tls=tls, closed=self._tell_closed)

    def _tell_closed(self) -> None:
        """A connection has ended; the front counts them."""
        self._closed += 1
        self._say(json.dumps({"closed": self._closed}).encode() + b"\n")

    def _stop_within(self, grace_s: float) -> None:
        if not self._stop.done():
            self._stop.set_result(grace_s)

    def _heard(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 65536, 16)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._stop_within(self._settings.server.shutdown_grace_s)
            leave_within(self._settings.server.shutdown_grace_s + _ORPHAN_S)
            return
        self._read(data)

    def _read(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._message(json.loads(line))

    def _message(self, message: Mapping[str, Any]) -> None:
        if message.get("connection"):
            sock = socket.socket(fileno=self._fds.pop(0))
            self._spawn((self._grpc if message["connection"] == "grpc" else self._http).take(sock))
        elif "build_failed" in message:
            self._backend.building.failed(message["build_failed"], message["why"])
        elif message.get("writer"):
            self._spawn(self._write())
        elif "stop" in message:
            self._stop_within(message["stop"])

    def _tended(self, database: str, collection: str, asked: bool) -> None:
        """Have the front tell the process that maintains the lake of a collection to look at; from any thread."""
        line = json.dumps({"tend": [database, collection], "asked": asked}).encode() + b"\n"
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._say, line)

    def _say(self, line: bytes) -> None:
        # What does not fit into the pipe now is dropped: the process looks for itself as well.
        with suppress(OSError):
            self._control.send(line)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _tls_of_grpc(settings: ServerSettings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca or None)
    made.load_cert_chain(settings.tls_cert, settings.tls_key)
    made.set_alpn_protocols(["h2"])
    if settings.tls_client_ca:
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def _tls_of_http(settings: ServerSettings) -> dict[str, Any]:
    if not settings.tls_cert:
        return {}
    found: dict[str, Any] = {"ssl_certfile": settings.tls_cert, "ssl_keyfile": settings.tls_key}
    if settings.tls_client_ca:
        found.update(ssl_ca_certs=settings.tls_client_ca, ssl_cert_reqs=ssl.CERT_REQUIRED)
    return found


def main() -> int:
    """Serve until told to stop."""
    control = socket.socket(fileno=int(sys.argv[1]))
    line, _, rest = _first_line(control).partition(b"\n")
    control.setblocking(False)
    start = json.loads(line)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(Settings.from_values(start["settings"]).server, start["index"])
    sys.setswitchinterval(_SWITCH_S)
    lower_process_to(_NICE[start["role"]])

    async def run() -> None:
        await _Worker(control, start, rest).run()

    try:
        factory = uvloop.new_event_loop if start["settings"]["server"]["uvloop"] else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(run())
    except (HeadwaterError, OSError) as error:
        control.setblocking(True)
        hint = getattr(error, "hint", None)
        said = f"{getattr(error, 'message', error)}{f' ({hint})' if hint else ''}"
        control.sendall(json.dumps({"failed": said}).encode() + b"\n")
        return 1
    return 0


def _first_line(control: socket.socket) -> bytes:
    data = b""
    while b"\n" not in data:
        more = control.recv(65536)
        if not more:
            raise SystemExit(0)
        data += more
    return data


if __name__ == "__main__":
    sys.exit(main())
