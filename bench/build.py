"""Building an index over a column: time, processor time and peak memory, beside faiss alone and LanceDB.

Every build runs in a process of its own, which is watched from outside: memory is what it holds resident at most,
mapped pages included; what it held before the build is shown beside it. faiss trains and fills the same kind of index
with the same parameters over an array in memory, and is the limit. Recall is measured after each build.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("LANCE_LOG", "error")

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

K, QUERIES = 10, 100
LATENCY_S, BYTES_S = 0.03, 100e6
KIND = "ivf_rabitq"
Found = Callable[[np.ndarray], np.ndarray]
Built = tuple[Callable[[], None], Callable[[], Found]]
"""What is timed, and what gives a search of it: (q, dim) queries to (q, k) rows."""


def make(folder: Path, n: int, dim: int) -> None:
    """Vectors of length one around centres, 400 to a centre on average; queries, and their exact neighbours."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(16, n // 400), dim)).astype(np.float32)

    def draw(count: int) -> np.ndarray:
        rows = centres[rng.integers(0, len(centres), count)]
        rows += rng.normal(size=(count, dim)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    whole = np.lib.format.open_memmap(folder / "rows.npy", "w+", np.float32, (n, dim))
    for start in range(0, n, 50_000):
        whole[start : start + 50_000] = draw(min(50_000, n - start))
    queries = draw(QUERIES)
    np.save(folder / "queries.npy", queries)
    np.save(folder / "truth.npy", faiss.knn(queries, whole, K, faiss.METRIC_INNER_PRODUCT)[1])


def table_of(folder: Path, name: str) -> pa.Table:
    rows = np.load(folder / "rows.npy")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
    return pa.table({"id": np.arange(len(rows)), name: vectors})


def load(engine: str, folder: Path) -> None:
    """Everything before the build: rows where the engine keeps them."""
    if engine == "lancedb":
        import lancedb

        lancedb.connect(str(folder / engine)).create_table("t", table_of(folder, "vector"))
    elif engine == "external Parquet":
        import headwater as hw

        (folder / "files").mkdir()
        table = table_of(folder, "v")
        pq.write_table(table, folder / "files/rows.parquet", compression="none", use_dictionary=["id"])
        schema = {"id": hw.Int64, "v": hw.FloatVector(table.column("v").type.list_size)}
        hw.connect(folder / engine).create_external_collection("t", folder / "files", schema, "id")
    elif engine != "faiss":
        import headwater as hw

        table = table_of(folder, "v")
        schema = {"id": hw.Int64, "v": hw.FloatVector(table.column("v").type.list_size)}
        hw.connect(folder / engine).create_collection("t", schema, "id").insert(table)


def headwater(engine: str, folder: Path) -> Built:
    import headwater as hw
    from headwater.engine import Database
    from headwater.store import FaultyStore, open_store

    db = hw.connect(folder / engine)
    if engine == "lake behind a network":
        far = FaultyStore(open_store(folder / engine), latency_s=LATENCY_S, bandwidth_bytes_s=BYTES_S)
        db = Database(far, "default", hw.Settings())
    collection = db.collection("t")

    def search() -> Found:
        near = hw.connect(folder / engine).collection("t")
        return lambda queries: np.array(
            [[hit["id"] for hit in hits] for hits in near.search(queries, top_k=K)]
        )

    return lambda: collection.create_index("v", "AUTOINDEX"), search


def faiss_alone(folder: Path) -> Built:
    from headwater.index import IndexParams, ivf_build
    from headwater.types import MetricType

    rows = np.load(folder / "rows.npy")
    index = ivf_build._new_index(KIND, IndexParams(KIND, MetricType.COSINE), rows.shape[1], len(rows))
    index.cp.niter = ivf_build._TRAIN_ROUNDS

    def build() -> None:
        wanted = min(len(rows), max(20_000, index.nlist * ivf_build._TRAIN_PER_LIST))
        index.train(rows[np.sort(np.random.default_rng(0).choice(len(rows), wanted, replace=False))])
        index.add(rows)

    def search() -> Found:
        index.nprobe = 16
        exact = faiss.IndexFlatIP(rows.shape[1])
        exact.add(rows)
        refined = faiss.IndexRefine(index, exact)
        refined.k_factor = 10
        refined.referenced_objects = [exact]
        return lambda queries: refined.search(queries, K)[1]

    return build, search


def lancedb_alone(folder: Path, lists: int | None) -> Built:
    import lancedb

    table = lancedb.connect(str(folder / "lancedb")).open_table("t")
    options = {"num_partitions": lists} if lists else {}

    def search() -> Found:
        def one(query: np.ndarray) -> list[int]:
            asked = table.search(query).distance_type("cosine").limit(K).nprobes(32).refine_factor(10)
            return asked.select(["id", "_distance"]).to_arrow()["id"].to_pylist()

        return lambda queries: np.array([one(query) for query in queries])

    def build() -> None:
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_RQ", **options)

    return build, search


def child(engine: str, folder: Path) -> None:
    """One build, in a process of its own; says when it begins and ends."""
    if engine.startswith("load "):
        load(engine[5:], folder)
        return
    if engine == "faiss":
        build, search = faiss_alone(folder)
    elif engine.startswith("lancedb"):
        parts = engine.split()
        build, search = lancedb_alone(folder, int(parts[1]) if len(parts) > 1 else None)
    else:
        build, search = headwater(engine, folder)
    print("begin", flush=True)
    sys.stdin.readline()
    begin, cpu = time.perf_counter(), time.process_time()
    build()
    figures = {"build_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}
    print("end", flush=True)
    sys.stdin.readline()
    found, truth = search()(np.load(folder / "queries.npy")), np.load(folder / "truth.npy")
    figures["recall"] = float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))
    print(json.dumps(figures), flush=True)


def memory(process: int) -> dict[str, float]:
    """MiB that a process holds resident: in all, its own, and mapped files."""
    names = {"VmRSS": "total", "RssAnon": "own", "RssFile": "mapped"}
    lines = (line.split() for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return {names[line[0][:-1]]: int(line[1]) / 1024 for line in lines if line and line[0][:-1] in names}


def measured(engine: str, folder: Path) -> dict[str, Any]:
    """The figures of one build."""
    command = [sys.executable, __file__, "--child", engine, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "begin"
        before = memory(process.pid)
        most, done = dict(before), threading.Event()

        def watch() -> None:
            while not done.wait(0.01):
                for name, value in memory(process.pid).items():
                    most[name] = max(most[name], value)

        watcher = threading.Thread(target=watch)
        watcher.start()
        process.stdin.write("\n")
        process.stdin.flush()
        ended = process.stdout.readline().strip()
        done.set()
        watcher.join()
        assert ended == "end", ended
        process.stdin.write("\n")
        process.stdin.flush()
        figures = json.loads(process.stdout.readline())
    peaks = {f"peak_{name}_mib": most[name] for name in ("total", "own", "mapped")}
    return {**figures, **peaks, "before_mib": before["total"]}


def main() -> None:
    from harness import Bench

    bench = Bench.from_args("build")
    n, dim = (100_000, 256) if bench.quick else (1_000_000, 768)
    lists = int(4 * n**0.5)
    engines = [
        "faiss",
        "local lake",
        "lake behind a network",
        "external Parquet",
        "lancedb",
        f"lancedb {lists}",
    ]
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-", dir=os.environ.get("BENCH_DATA")))
    found: dict[str, dict[str, Any]] = {}
    try:
        make(folder, n, dim)
        for engine in engines:
            if not engine.startswith("lancedb "):
                subprocess.run(
                    [sys.executable, __file__, "--child", f"load {engine}", str(folder)], check=True
                )
            found[engine] = measured(engine, folder)
            bench.row(rows=n, dim=dim, engine=engine, **found[engine])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    limit = found["faiss"]
    for engine in engines[1:4]:
        one = found[engine]
        bench.at_most(f"{engine}: time / faiss alone", one["build_s"] / limit["build_s"], 1.2)
        bench.at_most(f"{engine}: processor time / faiss alone", one["cpu_s"] / limit["cpu_s"], 1.2)
        bench.at_most(f"{engine}: peak MiB in all", one["peak_total_mib"], 2048)
        bench.at_least(f"{engine}: recall@10", one["recall"], 0.95)
    ours = found["local lake"]
    for engine in engines[4:]:
        bench.at_least(f"{engine}: time / ours", found[engine]["build_s"] / ours["build_s"], 1.0)
        bench.at_least(
            f"{engine}: peak MiB / ours", found[engine]["peak_total_mib"] / ours["peak_total_mib"], 1.0
        )
    bench.finish()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
