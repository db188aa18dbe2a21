"""Serving through pymilvus: searches with 1, 4 and 16 clients, and inserts.

Beside ours stand the server of Milvus Lite on the same rows at equal recall, the embedded call, and the limit: a bare
grpc.aio handler that answers every search with the same bytes. Each client is a process of its own; servers are asked
in turn, so a slow moment meets them all.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import Bench

import headwater as hw

DIM, K, QUERIES = 768, 10, 200
FILTER = "year < 10"
"""One row in five."""


def vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = np.random.default_rng(7).normal(size=(256, DIM)).astype(np.float32)
    return centres[rng.integers(0, 256, n)] + 0.8 * rng.normal(size=(n, DIM)).astype(np.float32)


def exact(base: np.ndarray, queries: np.ndarray, allowed: np.ndarray | None) -> list[set[int]]:
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    found = []
    for query in queries:
        scores = unit @ (query / np.linalg.norm(query))
        if allowed is not None:
            scores[~allowed] = -2
        found.append(set(np.argpartition(-scores, K)[:K].tolist()))
    return found


@dataclass(frozen=True)
class Load:
    """What a client does for a while.

    Attributes:
        address: of the server; a lake's folder for the embedded call.
        seconds: how long.
        filter: of each search; empty for none.
        params: that tune the search.
    """

    address: str
    seconds: float
    filter: str
    params: dict[str, Any]


def searcher(load: Load) -> Any:
    """A function from a query to ids, after a text field of each hit is there too."""
    if not load.address.startswith("http"):
        docs = hw.connect(load.address).collection("docs")

        def embedded(query: np.ndarray) -> list[int]:
            [hits] = docs.search(
                query, top_k=K, filter=load.filter or None, output_fields=["text"], params=load.params
            )
            return [hit["id"] for hit in hits]

        return embedded
    from pymilvus import MilvusClient

    client = MilvusClient(load.address)

    def served(query: np.ndarray) -> list[int]:
        [hits] = client.search(
            "docs",
            [query],
            anns_field="v",
            limit=K,
            filter=load.filter,
            output_fields=["text"],
            search_params={"params": load.params},
        )
        return [hit["id"] for hit in hits]

    # An idle client pings, which not every server takes for long.
    served.close = client.close  # type: ignore[attr-defined]
    return served


def closed(search: Any) -> None:
    getattr(search, "close", lambda: None)()


def client(pipe: Any, queries: np.ndarray, seed: int) -> None:
    """A client process: loads come, latencies in seconds go back."""
    order = np.random.default_rng(seed).permutation(len(queries))
    while (load := pipe.recv()) is not None:
        search = searcher(load)
        for query in queries[:20]:
            search(query)
        pipe.send(None)
        pipe.recv()
        taken, stop, i = [], time.perf_counter() + load.seconds, 0
        while (began := time.perf_counter()) < stop:
            search(queries[order[i % len(order)]])
            taken.append(time.perf_counter() - began)
            i += 1
        closed(search)
        pipe.send(taken)


class Clients:
    """Processes that are clients; importing one takes seconds, so they stay."""

    def __init__(self, most: int, queries: np.ndarray) -> None:
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(most)]
        self.pipes = [ours for ours, _ in pairs]
        self.running = [
            context.Process(target=client, args=(theirs, queries, number), daemon=True)
            for number, (_, theirs) in enumerate(pairs)
        ]
        for one in self.running:
            one.start()

    def measured(self, load: Load, count: int) -> dict[str, float]:
        """QPS, p50 and p99 in ms of some clients at once."""
        chosen = self.pipes[:count]
        for pipe in chosen:
            pipe.send(load)
        for pipe in chosen:
            pipe.recv()
        for pipe in chosen:
            pipe.send("go")
        ordered = sorted(one for pipe in chosen for one in pipe.recv())
        return {
            "qps": len(ordered) / load.seconds,
            "p50": 1e3 * statistics.median(ordered),
            "p99": 1e3 * ordered[int(0.99 * (len(ordered) - 1))],
        }

    def close(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for one in self.running:
            one.join()


def recall(load: Load, queries: np.ndarray, truth: list[set[int]]) -> float:
    search = searcher(load)
    found = [len(set(search(query)) & want) / K for query, want in zip(queries, truth, strict=True)]
    closed(search)
    return statistics.fmean(found)


# -- servers ----------------------------------------------------------------------------------------------------


def ours(lake: Path) -> tuple[subprocess.Popen[str], str]:
    """`headwater serve` as users start it."""
    run = "from headwater.doors.cli import main; main()"
    command = [sys.executable, "-c", run, "serve", "--lake", str(lake), "--port", "0"]
    return started(command, "headwater serves")


def constant(lake: Path) -> tuple[subprocess.Popen[str], str]:
    """The limit: this file as a server of one constant answer."""
    return started([sys.executable, __file__, "constant", str(lake)], "serves")


def started(command: list[str], word: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return process, "http://" + line.split()[-1].removeprefix("http://")
    raise RuntimeError(f"{command} ended")


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


def milvus_lite(folder: Path) -> tuple[Any, str]:
    """The server that MilvusClient starts for a file."""
    from milvus_lite.server_manager import server_manager_instance

    return server_manager_instance, server_manager_instance.start_and_get_uri(str(folder / "lite.db"))


def fill(address: str, base: np.ndarray, index: dict[str, Any], batch: int = 1000) -> float:
    """Make the collection through the client; rows per second of the inserts alone."""
    from pymilvus import DataType, MilvusClient

    made = MilvusClient(address)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("year", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    made.create_collection("docs", schema=schema)
    spent = 0.0
    for start in range(0, len(base), batch):
        rows = [
            {"id": i, "year": i % 50, "text": f"document number {i} with a line of text", "v": base[i]}
            for i in range(start, min(start + batch, len(base)))
        ]
        began = time.perf_counter()
        made.insert("docs", rows)
        spent += time.perf_counter() - began
    made.flush("docs")
    params = made.prepare_index_params()
    params.add_index("v", **index)
    made.create_index("docs", params)
    made.load_collection("docs")
    made.close()
    return len(base) / spent


EFFORTS = (
    [{"nprobe": probes, "refine_k": refine} for probes, refine in ((8, 4), (16, 4), (32, 4), (64, 8))],
    [{"ef": ef} for ef in (32, 64, 128, 256, 512)],
)


def tuned(
    address: str, filter: str, efforts: list[dict[str, Any]], queries: np.ndarray, truth: list[set[int]]
) -> tuple[dict[str, Any], float]:
    """The cheapest parameters with a recall of .95, or the dearest there are."""
    for params in efforts:
        found = recall(Load(address, 0, filter, params), queries[:100], truth[:100])
        if found >= 0.95:
            break
    return params, found


def main() -> None:
    bench = Bench.from_args("serving through pymilvus")
    n, seconds = (20_000, 2.0) if bench.quick else (200_000, 8.0)
    rng = np.random.default_rng(0)
    base, queries = vectors(rng, n), vectors(rng, QUERIES)
    allowed = np.arange(n) % 50 < 10
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    clients_of = Clients(16, queries)
    process, mine = ours(folder / "lake")
    rate = fill(mine, base, {"index_type": "AUTOINDEX", "metric_type": "COSINE"})
    limit_process, limit = constant(folder / "lake")
    _, lite = milvus_lite(folder)
    few = base if bench.quick else base[:50_000]
    lite_rate = fill(
        lite, few, {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}
    )
    bench.row(what="insert", ours_rows_s=rate, lite_rows_s=lite_rate)
    bench.at_least("insert rows/s through the client over Milvus Lite's", rate / lite_rate, 5)
    for filter, mask in (("", None), (FILTER, allowed)):
        truth = exact(base, queries, mask)
        params, mine_recall = tuned(mine, filter, EFFORTS[0], queries, truth)
        lite_truth = truth if few is base else exact(few, queries, None if mask is None else mask[: len(few)])
        lite_params, lite_recall = tuned(lite, filter, EFFORTS[1], queries, lite_truth)
        kind = "filtered" if filter else "plain"
        alone = clients_of.measured(Load(str(folder / "lake"), seconds, filter, params), 1)
        bench.row(what=f"{kind}, embedded", clients=1, **alone)
        for clients in (1, 4, 16):
            figures = {}
            for name, address, chosen in (
                ("ours", mine, params),
                ("constant", limit, params),
                ("milvus lite", lite, lite_params),
            ):
                figures[name] = clients_of.measured(Load(address, seconds, filter, chosen), clients)
                share = {"ours": mine_recall, "milvus lite": lite_recall}.get(name)
                bench.row(what=f"{kind}, {name}", clients=clients, **figures[name], recall=share or "")
            mine_now = figures["ours"]
            over = mine_now["qps"] / figures["milvus lite"]["qps"]
            bench.at_least(
                f"{kind}, {clients} clients: QPS over Milvus Lite's", over, 20 if clients == 1 else 50
            )
            share = mine_now["qps"] / figures["constant"]["qps"]
            bench.at_least(f"{kind}, {clients} clients: QPS of the constant answer's", share, 0.6)
            if clients == 1:
                bench.at_most(f"{kind}: p50 above the embedded call, ms", mine_now["p50"] - alone["p50"], 0.7)
    clients_of.close()
    for one in (process, limit_process):
        one.terminate()
        one.wait()
    shutil.rmtree(folder, ignore_errors=True)
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["constant"]:
        asyncio.run(serve_constant(sys.argv[2]))
    else:
        main()
