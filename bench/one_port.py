"""What it costs to speak two protocols on one port: a call straight to its server, and by ways of sharing the port.

    python bench/one_port.py [--seconds 3] [--rounds 3]

A bare grpc.aio handler returns a constant answer of ten hits to a request of 768 floats. `direct` listens itself;
`loop` carries connections in the same event loop; `thread` in a thread of the same process; `process` in a process of
its own, as `headwater serve` does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
import uvloop
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.serve.loop import READ, Loop
from headwater.doors.serve.pump import join

METHOD = "/milvus.proto.milvus.MilvusService/Search"
DESIGNS = ("direct", "loop", "thread", "process")


def answer() -> milvus_pb2.SearchResults:
    made = milvus_pb2.SearchResults()
    made.results.num_queries, made.results.top_k = 1, 10
    made.results.topks.append(10)
    made.results.scores.extend([0.5] * 10)
    made.results.ids.int_id.data.extend(range(10**12, 10**12 + 10))
    return made


async def start(address: str) -> grpc.aio.Server:
    said = answer()

    async def search(request: milvus_pb2.SearchRequest, context: grpc.aio.ServicerContext):
        return said

    handler = grpc.unary_unary_rpc_method_handler(
        search, milvus_pb2.SearchRequest.FromString, milvus_pb2.SearchResults.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("milvus.proto.milvus.MilvusService", {"Search": handler}),)
    )
    server.add_insecure_port(address)
    await server.start()
    return server


def pump(port: int, path: str) -> None:
    """Accept and carry, as the front does."""
    loop = Loop()
    listener = socket.create_server(("127.0.0.1", port), backlog=512)

    def accept(events: int) -> None:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        backend = socket.socket(socket.AF_UNIX)
        backend.connect(path)
        for one in (sock, backend):
            one.setblocking(False)
        join(loop, sock, backend, lambda: None)

    loop.watch(listener.fileno(), READ, accept)
    loop.run()


class Carried(asyncio.Protocol):
    def __init__(self, path: str) -> None:
        self.path, self.waiting, self.out = path, [], None

    def connection_lost(self, error: Exception | None) -> None:
        if self.out is not None:
            self.out.abort()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.task = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        front = self.transport

        class Back(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                front.write(data)

        self.out, _ = await asyncio.get_running_loop().create_unix_connection(Back, self.path)
        for data in self.waiting:
            self.out.write(data)

    def data_received(self, data: bytes) -> None:
        if self.out is None:
            self.waiting.append(data)
        else:
            self.out.write(data)


async def serve(design: str, port: int, path: str) -> None:
    held = await start(f"127.0.0.1:{port}" if design == "direct" else f"unix:{path}")
    if design == "loop":
        await asyncio.get_running_loop().create_server(lambda: Carried(path), "127.0.0.1", port)
    elif design == "thread":
        threading.Thread(target=pump, args=(port, path), daemon=True).start()
    print("ready", flush=True)
    await held.wait_for_termination()


def ask(port: int, seconds: float) -> None:
    request = milvus_pb2.SearchRequest(collection_name="x", placeholder_group=os.urandom(3072), nq=1)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            METHOD, milvus_pb2.SearchRequest.SerializeToString, milvus_pb2.SearchResults.FromString
        )
        for _ in range(50):
            call(request, timeout=20, wait_for_ready=True)
        took, end = [], time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            call(request, timeout=20)
            took.append(time.perf_counter() - began)
    print(len(took) / seconds, statistics.median(took) * 1e6)


def measure(design: str, clients: int, seconds: float) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port, path = free.getsockname()[1], str(Path(folder) / "grpc.sock")
        free.close()
        run = [sys.executable, __file__]
        server = subprocess.Popen(
            [*run, "--serve", design, str(port), path], stdout=subprocess.PIPE, text=True
        )
        server.stdout.readline()
        running = [server]
        if design == "process":
            running.append(subprocess.Popen([*run, "--pump", str(port), path]))
        asking = [
            subprocess.Popen([*run, "--ask", str(port), str(seconds)], stdout=subprocess.PIPE, text=True)
            for _ in range(clients)
        ]
        figures = [tuple(map(float, one.communicate()[0].split())) for one in asking]
        for one in running:
            one.kill()
            one.wait()
    return sum(qps for qps, _ in figures), statistics.median(p50 for _, p50 in figures)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", nargs=3)
    parser.add_argument("--pump", nargs=2)
    parser.add_argument("--ask", nargs=2)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(given.serve[0], int(given.serve[1]), given.serve[2]))
    elif given.pump:
        pump(int(given.pump[0]), given.pump[1])
    elif given.ask:
        ask(int(given.ask[0]), float(given.ask[1]))
    else:
        rounds, seconds = (1, 2.0) if given.quick else (given.rounds, given.seconds)
        print(f"{'':10}{'1 client, p50 µs':>18}{'calls/s':>10}{'4 clients, p50 µs':>20}{'calls/s':>10}")
        found = {(design, clients): [] for design in DESIGNS for clients in (1, 4)}
        for _ in range(rounds):
            for design, clients in found:
                found[design, clients].append(measure(design, clients, seconds))
        for design in DESIGNS:
            one, four = ([statistics.median(x) for x in zip(*found[design, n], strict=True)] for n in (1, 4))
            print(f"{design:10}{one[1]:18.0f}{one[0]:10.0f}{four[1]:20.0f}{four[0]:10.0f}")


if __name__ == "__main__":
    main()
