"""What a call costs before it does anything: gRPC's own server, and the one that shares its port with HTTP.

    python bench/one_port.py [--quick] [--json FILE]

A bare handler returns a constant answer of ten hits to a request of 768 floats. `core` is grpc.aio on uvloop; `own` is
`headwater.doors.serve.http2`, as `headwater serve` uses it.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time

import grpc
import uvloop
from harness import Bench
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.serve.http2 import GrpcServer

METHOD = "/milvus.proto.milvus.MilvusService/Search"
DESIGNS = ("core", "own")


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


class Constant:
    """Answers every call with the same bytes."""

    said = answer().SerializeToString()

    def at_once(self, name, data, metadata, *, peer, left_s):
        milvus_pb2.SearchRequest.FromString(data)
        return self.said

    async def awaited(self, name, data, metadata, *, peer, left_s):
        return self.said

    def status_of(self, error):
        return 2, str(error)


async def serve(design: str, port: int) -> None:
    if design == "core":
        held = await start(f"127.0.0.1:{port}")
        print("ready", flush=True)
        await held.wait_for_termination()
    loop = asyncio.get_running_loop()
    server = GrpcServer("milvus.proto.milvus.MilvusService", ["Search"], Constant(), most_bytes=1 << 20)
    listener = socket.create_server(("127.0.0.1", port), backlog=512)
    listener.setblocking(False)
    print("ready", flush=True)
    while True:
        sock, _ = await loop.sock_accept(listener)
        await server.take(sock)


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
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    run = [sys.executable, __file__]
    server = subprocess.Popen([*run, "--serve", design, str(port)], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    asking = [
        subprocess.Popen([*run, "--ask", str(port), str(seconds)], stdout=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    figures = [tuple(map(float, one.communicate()[0].split())) for one in asking]
    server.kill()
    server.wait()
    return sum(qps for qps, _ in figures), statistics.median(p50 for _, p50 in figures)


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve(sys.argv[2], int(sys.argv[3])))
        return
    if sys.argv[1:2] == ["--ask"]:
        ask(int(sys.argv[2]), float(sys.argv[3]))
        return
    bench = Bench.from_args("one_port")
    rounds, seconds = (1, 2.0) if bench.quick else (3, 3.0)
    found: dict[tuple[str, int], list[tuple[float, float]]] = {
        (design, clients): [] for design in DESIGNS for clients in (1, 4)
    }
    for _ in range(rounds):
        for design, clients in found:
            found[design, clients].append(measure(design, clients, seconds))
    for (design, clients), told in found.items():
        calls, p50_us = (statistics.median(each) for each in zip(*told, strict=True))
        bench.row(server=design, clients=clients, p50_us=p50_us, calls_per_s=calls)
    for clients in (1, 4):
        own, core = (
            statistics.median(calls for calls, _ in found[name, clients]) for name in ("own", "core")
        )
        bench.at_least(f"calls a second with {clients} clients / gRPC's own server", own / core, 1.0)
    bench.finish()


if __name__ == "__main__":
    main()
