"""What a call costs before it does anything: gRPC's own server, and the one that shares its port with HTTP.

    python bench/one_port.py [--seconds 3] [--rounds 3]

A bare handler returns a constant answer of ten hits to a request of 768 floats. `core` is grpc.aio on uvloop; `own` is
`headwater.doors.serve.http2`, as `headwater serve` uses it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time

import grpc
import uvloop
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
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", nargs=2)
    parser.add_argument("--ask", nargs=2)
    given = parser.parse_args()
    if given.serve:
        uvloop.run(serve(given.serve[0], int(given.serve[1])))
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
