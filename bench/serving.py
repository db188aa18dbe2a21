"""What `bench/server.py` measures with: servers and clients that are processes of their own, and what both cost.

Nothing shares a process: neither a server's interpreter lock nor its processor time is anybody else's.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import headwater as hw

__all__ = ["QUIET", "Clients", "Load", "Measured", "Server", "closed", "searcher"]

QUIET = {"grpc.keepalive_time_ms": 3_600_000}
"""Options of every client's channel: Milvus Lite's server ends connections whose clients ping while they wait."""

_WARM_S = 1.0
_WARM = 20


@dataclass(frozen=True)
class Load:
    """What a client does for a while.

    Attributes:
        address: of the server; a lake's folder for the embedded call.
        seconds: how long.
        filter: of each search; empty for none.
        params: that tune the search.
        k: hits of each search.
    """

    address: str
    seconds: float
    filter: str
    params: dict[str, Any]
    k: int = 10


# -- servers ----------------------------------------------------------------------------------------------------


class Server:
    """A server that was started for this run.

    Args:
        command: starts it.
        word: in the line by which it says that it serves, whose last word is the address.
    """

    def __init__(self, command: list[str], word: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if word in line:
                self.address = "http://" + line.split()[-1].removeprefix("http://")
                return
        raise RuntimeError(f"{command} ended")

    @classmethod
    def ours(cls, lake: Path) -> Server:
        """`headwater serve` as users start it."""
        run = "from headwater.doors.cli import main; main()"
        command = [sys.executable, "-c", run, "serve", "--lake", str(lake), "--port", "0"]
        return cls(command, "headwater serves")

    @classmethod
    def constant(cls, lake: Path) -> Server:
        """The limit: this file as a server of one constant answer."""
        return cls([sys.executable, __file__, "constant", str(lake)], "serves")

    @classmethod
    def milvus_lite(cls, folder: Path) -> Server:
        """The server that MilvusClient starts for a file, in a process that does nothing else."""
        return cls([sys.executable, __file__, "milvus-lite", str(folder / "lite.db")], "serves")

    @property
    def worked_s(self) -> float:
        """Seconds of a core that its processes have used."""
        ticks = sum(sum(map(int, _stat(one)[11:13])) for one in self._processes())
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def peak_mb(self) -> float:
        """The most that its processes have held resident."""
        return sum(_peak_mb(one) for one in self._processes())

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def _processes(self) -> list[int]:
        found = [self._process.pid]
        for one in found:
            for path in Path(f"/proc/{one}/task").glob("*/children"):
                found += map(int, path.read_text().split())
        return found


def _stat(process: int) -> list[str]:
    """The figures of a process after its name, which may hold anything."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _peak_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


async def serve_constant(lake: str) -> None:
    """Every call is answered as ours does, but searches are always answered with the first answer's bytes."""
    import grpc
    from pymilvus.grpc_gen import milvus_pb2

    from headwater.doors.milvus.backend import Backend
    from headwater.doors.milvus.service import MilvusService

    service = MilvusService(Backend(hw.connect(lake)))
    held: list[bytes] = []

    async def search(request: bytes, _: Any) -> bytes:
        if not held:
            answer = await service.call("Search", milvus_pb2.SearchRequest.FromString(request), {})
            held.append(answer.SerializeToString())
        return held[0]

    server = grpc.aio.server(
        options=[
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.http2.max_ping_strikes", 0),
        ]
    )
    bare = grpc.unary_unary_rpc_method_handler(search)
    name = "milvus.proto.milvus.MilvusService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(name, {"Search": bare}), service.handlers())
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"serves 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def serve_milvus_lite(file: str) -> None:
    """Milvus Lite's server until somebody ends it."""
    from milvus_lite.server_manager import server_manager_instance

    print(f"serves {server_manager_instance.start_and_get_uri(file)}", flush=True)
    while True:
        time.sleep(3600)


# -- clients ----------------------------------------------------------------------------------------------------


def searcher(load: Load) -> Callable[[np.ndarray], list[int]]:
    """A function from a query to ids, after a text field of each hit is there too."""
    if not load.address.startswith("http"):
        docs = hw.connect(load.address).collection("docs")

        def embedded(query: np.ndarray) -> list[int]:
            [hits] = docs.search(
                query, top_k=load.k, filter=load.filter or None, output_fields=["text"], params=load.params
            )
            return [hit["id"] for hit in hits]

        return embedded
    from pymilvus import MilvusClient

    client = MilvusClient(load.address, grpc_options=QUIET)

    def served(query: np.ndarray) -> list[int]:
        [hits] = client.search(
            "docs",
            [query],
            anns_field="v",
            limit=load.k,
            filter=load.filter,
            output_fields=["text"],
            search_params={"params": load.params},
        )
        return [hit["id"] for hit in hits]

    served.close = client.close  # type: ignore[attr-defined]
    return served


def closed(search: Any) -> None:
    """Close what a searcher holds open."""
    getattr(search, "close", lambda: None)()


def _client(pipe: Any, queries: np.ndarray, seed: int) -> None:
    """A client process: loads come; latencies, how long it all took, and its processor time go back."""
    order = np.random.default_rng(seed).permutation(len(queries))
    while True:
        load = pipe.recv()
        search = searcher(load)
        until = time.perf_counter() + _WARM_S
        for query in queries[:_WARM]:
            search(query)
            if time.perf_counter() > until:
                break
        pipe.send(None)
        pipe.recv()
        taken: list[float] = []
        worked, start = time.process_time(), time.perf_counter()
        stop = start + load.seconds
        while (began := time.perf_counter()) < stop:
            search(queries[order[len(taken) % len(order)]])
            taken.append(time.perf_counter() - began)
        pipe.send((taken, time.perf_counter() - start, time.process_time() - worked))
        closed(search)


class Measured:
    """What some clients saw, in one round or more."""

    def __init__(self) -> None:
        self._taken: list[float] = []
        self._qps: list[float] = []
        self._client_s = 0.0
        self._server_s = 0.0

    def add(self, found: list[tuple[list[float], float, float]], server_s: float) -> None:
        """Add a round: what each client saw, and the processor time of the server meanwhile."""
        self._taken += [one for taken, _, _ in found for one in taken]
        self._qps.append(sum(len(taken) / elapsed for taken, elapsed, _ in found))
        self._client_s += sum(worked for _, _, worked in found)
        self._server_s += server_s

    @property
    def qps(self) -> float:
        """Searches a second."""
        return statistics.fmean(self._qps)

    @property
    def p50_ms(self) -> float:
        """The median latency."""
        return 1e3 * statistics.median(self._taken)

    @property
    def client_us(self) -> float:
        """Processor time of a client for each search, in microseconds."""
        return 1e6 * self._client_s / len(self._taken)

    @property
    def server_us(self) -> float:
        """Processor time of the server for each search, in microseconds."""
        return 1e6 * self._server_s / len(self._taken)

    @property
    def figures(self) -> dict[str, float]:
        """All of it, for the table."""
        p99 = sorted(self._taken)[int(0.99 * (len(self._taken) - 1))]
        return {
            "qps": self.qps,
            "p50_ms": self.p50_ms,
            "p99_ms": 1e3 * p99,
            "client_cpu_us": self.client_us,
            "server_cpu_us": self.server_us,
        }


class Clients:
    """Processes that are clients; importing one takes seconds, so they stay.

    Args:
        most: how many.
        queries: that they ask.
    """

    def __init__(self, most: int, queries: np.ndarray) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(most)]
        self._pipes = [ours for ours, _ in pairs]
        self._running = [
            context.Process(target=_client, args=(theirs, queries, number), daemon=True)
            for number, (_, theirs) in enumerate(pairs)
        ]
        for one in self._running:
            one.start()

    def measure(self, into: Measured, load: Load, count: int, server: Server | None = None) -> None:
        """Have some clients search at once.

        Args:
            into: takes what they see.
            load: what they do.
            count: how many.
            server: that answers; None for the embedded call.
        """
        chosen = self._pipes[:count]
        for pipe in chosen:
            pipe.send(load)
        for pipe in chosen:
            pipe.recv()
        before = server.worked_s if server else 0.0
        for pipe in chosen:
            pipe.send("go")
        found = [pipe.recv() for pipe in chosen]
        into.add(found, server.worked_s - before if server else 0.0)

    def close(self) -> None:
        """End them, whatever they do."""
        for one in self._running:
            one.terminate()
            one.join()


if __name__ == "__main__":
    if sys.argv[1] == "constant":
        asyncio.run(serve_constant(sys.argv[2]))
    else:
        serve_milvus_lite(sys.argv[2])
