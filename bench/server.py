"""Serving through pymilvus: searches with 1, 4 and 16 clients, and inserts.

Beside ours stand the server of Milvus Lite on the same rows at equal recall, the embedded call, and the limit: a bare
grpc.aio handler that answers every search with the same bytes. Servers and clients are processes of their own, and are
asked in turn, so a slow moment meets them all.

Clients and servers share the machine's cores. Where clients keep them busy, no server can be faster against another
than `(client + other) / client` in processor time, were it to answer in no time at all: the table says it as `bound`.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from harness import Bench
from serving import QUIET, Clients, Load, Measured, Server, closed, searcher

DIM, K, QUERIES = 768, 10, 200
FILTER = "year < 10"
"""One row in five."""
ROUNDS = 2
BATCH = 1000
HNSW = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 16, "efConstruction": 200}}
AUTOINDEX = {"index_type": "AUTOINDEX", "metric_type": "COSINE"}
EFFORTS = {
    "ours": [
        {"nprobe": probes, "refine_k": refine}
        for probes, refine in ((1, 2), (1, 4), (2, 4), (4, 4), (8, 4), (16, 4), (32, 4), (64, 8))
    ],
    "milvus lite": [{"ef": ef} for ef in (32, 64, 128, 256, 512)],
}


def vectors(rng: np.random.Generator, n: int) -> np.ndarray:
    centres = np.random.default_rng(7).normal(size=(256, DIM)).astype(np.float32)
    drawn = centres[rng.integers(0, 256, n)]
    drawn += np.float32(0.8) * rng.standard_normal(size=(n, DIM), dtype=np.float32)
    return drawn


def exact(base: np.ndarray, queries: np.ndarray, allowed: np.ndarray | None) -> list[set[int]]:
    """The nearest rows of each query by cosine."""
    scores = queries @ base.T
    scores /= np.linalg.norm(base, axis=1)
    if allowed is not None:
        scores[:, ~allowed] = -np.inf
    return [set(np.argpartition(-one, K)[:K].tolist()) for one in scores]


# -- inserts ----------------------------------------------------------------------------------------------------


def make(address: str, name: str = "docs") -> None:
    """An empty collection."""
    from pymilvus import DataType, MilvusClient

    made = MilvusClient(address, grpc_options=QUIET)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("year", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=DIM)
    made.create_collection(name, schema=schema)
    made.close()


def batches(base: np.ndarray) -> Iterator[list[dict[str, Any]]]:
    """Rows as dicts."""
    for start in range(0, len(base), BATCH):
        yield [
            {"id": i, "year": i % 50, "text": f"document number {i} with a line of text", "v": base[i]}
            for i in range(start, min(start + BATCH, len(base)))
        ]


def by_rows(address: str, name: str, base: np.ndarray) -> tuple[float, float]:
    """Insert rows of dicts with `MilvusClient`; seconds that it took, and of the client's processor."""
    from pymilvus import MilvusClient

    client, passed, worked = MilvusClient(address, grpc_options=QUIET), 0.0, 0.0
    for rows in batches(base):
        began, at = time.perf_counter(), time.process_time()
        client.insert(name, rows)
        passed, worked = passed + time.perf_counter() - began, worked + time.process_time() - at
    client.close()
    return passed, worked


def by_columns(address: str, name: str, base: np.ndarray) -> tuple[float, float]:
    """Insert columns with the ORM's `Collection`; seconds that it took, and of the client's processor."""
    from pymilvus import Collection, connections

    connections.connect("bench", uri=address, grpc_options=QUIET)
    collection, passed, worked = Collection(name, using="bench"), 0.0, 0.0
    for rows in batches(base):
        columns = [[row[one] for row in rows] for one in ("id", "year", "text")]
        columns.append([row["v"].tolist() for row in rows])
        began, at = time.perf_counter(), time.process_time()
        collection.insert(columns)
        passed, worked = passed + time.perf_counter() - began, worked + time.process_time() - at
    connections.disconnect("bench")
    return passed, worked


def compare_inserts(bench: Bench, servers: dict[str, Server], base: np.ndarray) -> None:
    """Rows a second through the client, into collections without an index."""
    for how, insert in (("rows of dicts", by_rows), ("columns", by_columns)):
        best: dict[str, tuple[float, float, float]] = {}
        for turn in range(ROUNDS):
            for name, server in servers.items():
                place = f"{insert.__name__}_{turn}"
                make(server.address, place)
                before = server.worked_s
                passed, worked = insert(server.address, place, base)
                found = passed, worked, server.worked_s - before
                best[name] = min(best.get(name, found), found)
        for name, (passed, worked, served) in best.items():
            bench.row(
                what=f"insert {how}, {name}",
                clients=1,
                rows_s=len(base) / passed,
                client_cpu_us=1e6 * worked / len(base),
                server_cpu_us=1e6 * served / len(base),
                bound=best["milvus lite"][0] / best["ours"][1] if name == "ours" else "",
            )
        over = best["milvus lite"][0] / best["ours"][0]
        bench.at_least(f"insert {how}: rows/s through the client over Milvus Lite's", over, 5)


def fill(address: str, base: np.ndarray, index: dict[str, Any], *, optimize: bool) -> tuple[float, float]:
    """Make the collection that is searched; seconds of the inserts, and until it is loaded and optimized."""
    from pymilvus import MilvusClient

    make(address)
    passed, _ = by_rows(address, "docs", base)
    began = time.perf_counter()
    client = MilvusClient(address, grpc_options=QUIET)
    client.flush("docs")
    params = client.prepare_index_params()
    params.add_index("v", **index)
    client.create_index("docs", params)
    client.load_collection("docs")
    if optimize:
        client.optimize("docs")
    client.close()
    return passed, time.perf_counter() - began


# -- searches ---------------------------------------------------------------------------------------------------


def recall(load: Load, queries: np.ndarray, truth: list[set[int]]) -> float:
    search = searcher(load)
    found = [len(set(search(query)) & want) / K for query, want in zip(queries, truth, strict=True)]
    closed(search)
    return statistics.fmean(found)


def tuned(
    address: str, filter: str, efforts: list[dict[str, Any]], queries: np.ndarray, truth: list[set[int]]
) -> tuple[dict[str, Any], float]:
    """The cheapest parameters with a recall of .95, or the dearest there are."""
    for params in efforts:
        found = recall(Load(address, 0, filter, params), queries, truth)
        if found >= 0.95:
            break
    return params, found


def compare_searches(
    bench: Bench,
    clients_of: Clients,
    servers: dict[str, Server],
    loads: dict[str, Load],
    recalls: dict[str, float],
) -> None:
    """One kind of search, with few and many clients."""
    kind = "filtered" if loads["ours"].filter else "plain"
    for clients in (1, 4, 16):
        embedded = Measured()
        found = {name: Measured() for name in servers}
        for _ in range(ROUNDS):
            for name, server in servers.items():
                clients_of.measure(found[name], loads[name], clients, server)
            if clients == 1:
                clients_of.measure(embedded, loads["embedded"], 1)
        mine, lite, limit = found["ours"], found["milvus lite"], found["constant"]
        for name, seen in found.items():
            bound = (seen.client_us + seen.server_us) / mine.client_us if name == "milvus lite" else ""
            bench.row(
                what=f"{kind}, {name}",
                clients=clients,
                **seen.figures,
                recall=recalls.get(name, ""),
                bound=bound,
            )
        over = mine.qps / lite.qps
        bench.at_least(f"{kind}, {clients} clients: QPS over Milvus Lite's", over, 20 if clients == 1 else 50)
        share = mine.qps / limit.qps
        bench.at_least(f"{kind}, {clients} clients: QPS of the constant answer's", share, 0.6)
        if clients == 1:
            bench.row(what=f"{kind}, embedded", clients=1, **embedded.figures)
            bench.at_most(f"{kind}: p50 above the embedded call, ms", mine.p50_ms - embedded.p50_ms, 0.7)


def run(bench: Bench, folder: Path, ending: ExitStack) -> None:
    """All of it; what is started ends with `ending`."""
    n, seconds = (20_000, 1.0) if bench.quick else (200_000, 4.0)
    rng = np.random.default_rng(0)
    base, queries = vectors(rng, n), vectors(rng, QUERIES)
    allowed = np.arange(n) % 50 < 10
    lake = folder / "lake"
    servers: dict[str, Server] = {}

    def start(name: str, server: Server) -> None:
        servers[name] = server
        ending.callback(server.close)

    start("ours", Server.ours(lake))
    start("milvus lite", Server.milvus_lite(folder))
    compare_inserts(bench, servers, base[: n // 10])
    for name, index in (("ours", AUTOINDEX), ("milvus lite", HNSW)):
        # Milvus Lite compacts by itself, and has nothing to do when it is asked to.
        inserts_s, index_s = fill(servers[name].address, base, index, optimize=name == "ours")
        bench.row(what=f"fill, {name}", rows_s=n / inserts_s, index_s=index_s)
    start("constant", Server.constant(lake))
    clients_of = Clients(16, queries)
    ending.callback(clients_of.close)
    for filter, mask in (("", None), (FILTER, allowed)):
        truth = exact(base, queries, mask)
        loads, recalls = {}, {}
        for name, efforts in EFFORTS.items():
            address = servers[name].address
            params, recalls[name] = tuned(address, filter, efforts, queries[:50], truth[:50])
            loads[name] = Load(address, seconds, filter, params, K)
        mine = loads["ours"].params
        loads["constant"] = Load(servers["constant"].address, seconds, filter, mine, K)
        loads["embedded"] = Load(str(lake), seconds, filter, mine, K)
        compare_searches(bench, clients_of, servers, loads, recalls)
    for name, server in servers.items():
        bench.row(what=f"memory, {name}", peak_mb=server.peak_mb)


def main() -> None:
    bench = Bench.from_args("serving through pymilvus")
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    try:
        with ExitStack() as ending:
            run(bench, folder, ending)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    bench.finish()


if __name__ == "__main__":
    main()
