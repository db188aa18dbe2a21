"""Computing on demand: from the start of a process to its first answer, of a lake that it has never seen.

Each program is started anew, searches once (top 10, filtered, with an output field) and prints the keys; the clock runs
from before its start until they are there. Beside Headwater: what the imports alone cost, LanceDB and Milvus Lite on
the same rows. The store is a folder of this machine; the same folder behind an S3 server that counts; and that server
with 30 ms and 100 MB/s a request. Last, a server that a supervisor starts for its first connection.

Medians of wall time, and the least CPU time, of some runs; other work on the machine disturbs the former.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from harness import Bench
from s3_folder import BUCKET, FolderServer, folder_server

K = 10
YEAR_BELOW = 2010
LATENCY_S, BANDWIDTH = 0.03, 1e8
SLOW_S = 0.5

BARE = "import numpy, pyarrow, pyarrow.compute, faiss"
OURS = """
import json, sys, numpy as np
from headwater.engine import open_on_demand
asked = json.loads(sys.argv[1])
db = open_on_demand(asked["url"] + "/headwater", asked["s3"])
[hits] = db.search("t", np.load(asked["query"]), top_k=10, filter="year < 2010", output_fields=["text"])
print(json.dumps([hit["id"] for hit in hits]), flush=True)
"""
LANCE = """
import json, sys, numpy as np, lancedb
asked = json.loads(sys.argv[1])
s3 = asked["s3"] and {
    "aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_region": "us-east-1",
    "aws_endpoint": asked["s3"]["endpoint"], "allow_http": "true",
}
table = lancedb.connect(asked["url"] + "/lance", storage_options=s3 or None).open_table("t")
request = table.search(np.load(asked["query"])[0]).distance_type("cosine").where("year < 2010", prefilter=True)
found = request.limit(10).nprobes(16).refine_factor(5).select(["id", "text", "_distance"]).to_arrow()
print(json.dumps(found["id"].to_pylist()), flush=True)
"""
MILVUS_LITE = """
import json, sys, numpy as np
from pymilvus import MilvusClient
asked = json.loads(sys.argv[1])
client = MilvusClient(asked["url"] + "/milvus/milvus.db")
client.load_collection("t")
query = np.load(asked["query"]).tolist()
[hits] = client.search("t", query, limit=10, filter="year < 2010", output_fields=["text"])
print(json.dumps([hit["id"] for hit in hits]), flush=True)
import os; os._exit(0)
"""
CLI = "from headwater.doors.cli import main; main()"
SERVER = """
import os, sys
os.dup2(int(sys.argv.pop(1)), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
from headwater.doors.cli import main
main()
"""


def data(rows: int, dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, years and a query."""
    dice = np.random.default_rng(0)
    centres = dice.standard_normal((rows // 200, dim)).astype(np.float32)
    vectors = centres[dice.integers(0, len(centres), rows)] + 0.4 * dice.standard_normal((rows, dim))
    vectors = vectors.astype(np.float32)
    query = vectors[7] + 0.1 * dice.standard_normal(dim).astype(np.float32)
    return vectors, dice.integers(1990, 2026, rows), query


def build(name: str, folder: Path, rows: int, dim: int) -> None:
    """The lake of one engine; in a process of its own, since some hold theirs until they end."""
    import peers

    kinds: dict[str, Any] = {"headwater": peers.Headwater, "lance": peers.LanceDb, "milvus": peers.MilvusLite}
    engine = kinds[name]()
    engine.folder = folder / name
    vectors, years, _ = data(rows, dim)
    try:
        engine.folder.mkdir()
        engine.load(vectors, years)
        engine.index()
        if name == "headwater":
            engine.collection.optimize()
    except ImportError as error:
        print(f"{name} is left out: {error}")
        engine.folder.rmdir()


def made(folder: Path, rows: int, dim: int) -> list[int]:
    """The lakes of all engines, and the keys that exact search answers."""
    context = multiprocessing.get_context("spawn")
    for name in ("headwater", "lance", "milvus"):
        process = context.Process(target=build, args=(name, folder, rows, dim))
        process.start()
        process.join()
    vectors, years, query = data(rows, dim)
    np.save(folder / "query.npy", query[None])
    similar = vectors @ query / np.linalg.norm(vectors, axis=1)
    similar[years >= YEAR_BELOW] = -np.inf
    return np.argsort(-similar)[:K].tolist()


def started(program: str, *arguments: str) -> tuple[float, float, str]:
    """Wall seconds to the first line, or to the end where there is none; CPU seconds of the process; the line."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{program[:60]!r} ended with {process.returncode}")
    return seconds, used.ru_utime + used.ru_stime, line


def timed(bench: Bench, name: str, program: str, *arguments: str, **more: Any) -> dict[str, Any]:
    runs = [started(program, *arguments) for _ in range(4 if bench.quick else 8)][1:]
    found = {
        "process": name,
        "first answer ms": 1000 * statistics.median(run[0] for run in runs),
        "least ms": 1000 * min(run[0] for run in runs),
        "least CPU ms": 1000 * min(run[1] for run in runs),
        **more,
    }
    found["line"] = runs[0][2]
    return found


def searches(bench: Bench, folder: Path, url: str, s3: dict[str, str], exact: list[int]) -> dict[str, Any]:
    """One search by each engine, at one place."""
    asked = json.dumps({"url": url, "s3": s3, "query": str(folder / "query.npy")})
    found = {"headwater": timed(bench, "headwater", OURS, asked)}
    if (folder / "lance").is_dir():
        found["lancedb"] = timed(bench, "lancedb", LANCE, asked)
    if not s3 and (folder / "milvus").is_dir():
        found["milvus lite"] = timed(bench, "milvus lite", MILVUS_LITE, asked)
    for one in found.values():
        one["recall"] = len(set(json.loads(one.pop("line"))) & set(exact)) / K
    return found


def counted(server: FolderServer, program: str, asked: str) -> tuple[int, int]:
    server.figures()
    started(program, asked)
    figures = server.figures()
    return figures["requests"], figures["bytes"]


def activated(folder: Path) -> float:
    """Seconds from a first connection, of a client that waits, to its answer by a server that is started for it."""
    from pymilvus import MilvusClient

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        arguments = ["serve", "--lake", str(folder / "headwater"), "--set", "server.log_level=error"]
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(fd), *arguments],
            pass_fds=[fd],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            client = MilvusClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60)
            client.load_collection("t")
            query = np.load(folder / "query.npy").tolist()
            [hits] = client.search("t", query, limit=K, filter=f"year < {YEAR_BELOW}", output_fields=["text"])
            assert len(hits) == K
            seconds = time.perf_counter() - began
            client.close()
            return seconds
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    bench = Bench.from_args("on demand")
    rows, dim = (20_000, 256) if bench.quick else (200_000, 768)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        exact = made(folder, rows, dim)
        nothing = timed(bench, "python -c pass", "pass")
        bare = timed(bench, BARE, BARE)
        ours = timed(bench, "import headwater", "import headwater")
        cli = ["--lake", str(folder / "headwater"), "run", "--on-demand", "search", "t"]
        cli += [
            "--vector",
            f"@{folder / 'query.npy'}",
            "--filter",
            "year < 2010",
            "--fields",
            "text",
            "-o",
            "-",
        ]
        for one in (nothing, bare, ours, timed(bench, "headwater run --on-demand search", CLI, *cli)):
            one.pop("line")
            bench.row(store="folder", **one)
        here = searches(bench, folder, str(folder), {}, exact)
        for one in here.values():
            bench.row(store="folder", **one)
        with folder_server(folder) as server:
            s3 = {"endpoint": server.endpoint, "region": "us-east-1", "access_key_id": "test"}
            s3 |= {"secret_access_key": "test"}
            url = f"s3://{BUCKET}"
            asked = json.dumps({"url": url, "s3": s3, "query": str(folder / "query.npy")})
            near = searches(bench, folder, url, s3, exact)
            server.wait(LATENCY_S, BANDWIDTH)
            far = searches(bench, folder, url, s3, exact)
            for engine, program in (("headwater", OURS), ("lancedb", LANCE)):
                if engine in far:
                    far[engine]["requests"], size = counted(server, program, asked)
                    far[engine]["MB read"] = size / 1e6
            # So long a wait that whatever else the machine does is small beside it.
            server.wait(SLOW_S, BANDWIDTH)
            slow = min(started(OURS, asked)[0] for _ in range(3))
            turns = (slow - far["headwater"]["least ms"] / 1000) / (SLOW_S - LATENCY_S)
        for where, found in (("S3", near), ("S3, 30 ms, 100 MB/s", far)):
            for one in found.values():
                bench.row(store=where, **one)
        back = [activated(folder) for _ in range(2 if bench.quick else 5)]
        bench.row(
            store="folder", process="headwater serve, first connection", **{"least ms": 1000 * min(back)}
        )
    cpu = "least CPU ms"
    bench.at_most("CPU, import headwater / the imports alone", ours[cpu] / bare[cpu], 2.0)
    bench.at_most("CPU, first answer / the imports alone", here["headwater"][cpu] / bare[cpu], 3.0)
    bench.at_most("round trips that a first answer waits for", turns, 8.0)
    by = "least ms"
    bench.at_most("server's first answer / a process's", 1000 * min(back) / here["headwater"][by], 3.0)
    if "lancedb" in far:
        bench.at_most("CPU, first answer / LanceDB", here["headwater"][cpu] / here["lancedb"][cpu], 1.0)
        bench.at_most("first answer, 30 ms / LanceDB", far["headwater"][by] / far["lancedb"][by], 1.0)
        bench.at_most("requests / LanceDB", far["headwater"]["requests"] / far["lancedb"]["requests"], 1.0)
    if "milvus lite" in here:
        bench.at_most(
            "CPU, first answer / Milvus Lite", here["headwater"][cpu] / here["milvus lite"][cpu], 1.0
        )
    bench.finish()


if __name__ == "__main__":
    main()
