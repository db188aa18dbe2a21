"""One index, served hot, warm, cold and on demand, from the same files; beside LanceDB on the same S3 server.

Every tier answers in a process of its own, from an S3 server that counts requests and bytes and takes 30 ms for each
and a second for 100 MB, and once without. "Round trips" are times over those 30 ms. "First" is the first query of a
process, from `connect` to the answer with its fields; imports are not counted. Recall is that of the ten nearest.
Rows come in twenty parts and are merged into one segment by both engines, as compaction would, before the queries.

    python bench/tiers.py [--quick] [--json FILE]

The data of a full run takes minutes to make; `BENCH_KEEP=FOLDER` keeps it for the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

K = 10
LATENCY_S = 0.03
BANDWIDTH = 100e6
FILTER = "year < 100"
BLOCK = 50_000
PARTS = 20
UNMEASURED, MEASURED = 20, 200
SHARE = 0.1
"""Of the rows that the filter selects: years are drawn from 0 to 999."""


def options(endpoint: str) -> dict[str, str]:
    return {"endpoint": endpoint, "region": "us-east-1", "access_key_id": "t", "secret_access_key": "t"}


# --- the processes that answer --------------------------------------------------------------------------------------


def resident() -> dict[str, int]:
    """MB of memory: anonymous, of mapped files, and both."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, mapped = (int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))
    return {"anonymous": round(anonymous), "mapped": round(mapped), "resident": round(anonymous + mapped)}


class Headwater:
    """Ours, at one tier."""

    def __init__(self, url: str, endpoint: str, tier: str, mapped_mb: int, table: str) -> None:
        import headwater as hw
        from headwater.settings import MaintenanceSettings, TierSettings

        loaded(hw)
        tiers = TierSettings(policy=tier, disk_path=os.environ["BENCH_CACHE"], mapped_bytes=mapped_mb << 20)
        settings = hw.Settings(tiers=tiers, maintenance=MaintenanceSettings(automatic=False))
        self.idle_mb = resident()
        self.start = time.perf_counter()
        self.db = hw.connect(url, options(endpoint) if endpoint else None, settings=settings)
        self.table = self.db.collection(table)

    def warm_up(self) -> None:
        self.table.warm_up()

    def index_mb(self) -> float:
        """What the open index holds in memory."""
        kinds = {one.kind: one.used_bytes for one in self.db.tiers.report().memory.kinds}
        return kinds.get("vector_indexes", 0) / 1e6

    def search(self, query: np.ndarray, effort: Any, text: str | None) -> list[int]:
        [hits] = self.table.search([query], top_k=K, filter=text, output_fields=["text"], params=effort or {})
        return [hit["id"] for hit in hits]

    def raw(self) -> Callable[[np.ndarray], Any]:
        """The faiss call on the very index that is open: no ids, fields or versions."""
        import faiss

        faiss.omp_set_num_threads(1)
        snapshot = self.table._pinned()._snapshot
        [spec], [build] = snapshot.manifest.indexes, snapshot.manifest.builds
        opened = snapshot.opened.indexes.vector(build, spec)
        [segment] = snapshot.manifest.segments
        refiner = opened._refiner(snapshot.opened.vectors.of(segment, snapshot.schema, "v"))
        params = opened._unfiltered(opened.nprobe, opened.refine_k).refined
        return lambda query: refiner.search(query[None], K, params=params)


def loaded(hw: Any) -> None:
    """A search of a lake in memory, so that every library is there before anything is timed."""
    schema = {"id": hw.Int64, "year": hw.Int32, "text": hw.String, "v": hw.FloatVector(8)}
    table = hw.connect("memory://loaded").create_collection("t", schema, "id")
    rng = np.random.default_rng(0)
    table.insert(
        {"id": np.arange(3000), "year": np.arange(3000), "text": ["a"] * 3000, "v": rng.random((3000, 8))}
    )
    table.flush()
    table.create_index("v")
    table.search([rng.random(8)], top_k=1, filter=FILTER, output_fields=["text"])


class LanceDb:
    """The peer; it keeps what it read in memory."""

    def __init__(self, url: str, endpoint: str, tier: str, mapped_mb: int, table: str) -> None:
        import lancedb

        rows = [{"id": i, "vector": [float(i), 0.0]} for i in range(10)]
        lancedb.connect("memory://").create_table("t", rows).search([0.0, 0.0]).limit(1).to_arrow()
        given = options(endpoint)
        given = {f"aws_{name}": value for name, value in given.items()} | {"allow_http": "true"}
        self.idle_mb = resident()
        self.start = time.perf_counter()
        self.table = lancedb.connect(url, storage_options=given).open_table(table)

    def warm_up(self) -> None:
        """It has no such call."""

    def index_mb(self) -> float:
        """Nor this one."""
        return 0.0

    def search(self, query: np.ndarray, effort: Any, text: str | None) -> list[int]:
        request = (
            self.table.search(query).distance_type("cosine").limit(K).select(["id", "text", "_distance"])
        )
        request = request.nprobes(effort[0]).refine_factor(effort[1])
        if text is not None:
            request = request.where(text, prefilter=True)
        return [int(one) for one in request.to_arrow()["id"].to_pylist()]


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """Everything one process is asked: a first query, then the others, then the filtered ones."""
    from s3_folder import FolderServer

    server = (
        FolderServer(0) if not task["endpoint"] else FolderServer(int(task["endpoint"].rsplit(":", 1)[1]))
    )
    counted = bool(task["endpoint"])
    queries = np.load(task["queries"])[: task["queries_asked"]]
    kind = {"headwater": Headwater, "lancedb": LanceDb}[task["engine"]]
    told: dict[str, Any] = {}

    def figures() -> dict[str, Any]:
        found = server.figures() if counted else {"requests": 0, "bytes": 0, "log": []}
        return {"requests": found["requests"], "bytes": found["bytes"], "log": found["log"]}

    figures()
    engine = kind(task["url"], task["endpoint"], task["tier"], task["mapped_mb"], task["table"])
    if task["warm_up"]:
        engine.warm_up()
        told["warm_up"] = {"s": time.perf_counter() - engine.start, **figures()}
        told["warm_up"].pop("log")
        engine.start = time.perf_counter()
    told["first"] = {"ids": engine.search(queries[0], task["effort"], None)}
    told["first"] |= {"s": time.perf_counter() - engine.start, **figures()}

    def steady(text: str | None, asked: np.ndarray, *, raw: bool = False) -> dict[str, Any]:
        times, raw_times, found = [], [], []
        for query in asked[: task["unmeasured"]]:
            engine.search(query, task["effort"], text)
        figures()
        measured = asked[task["unmeasured"] :]
        # In turns, half of the queries apart: for as many the raw call is the first that asks as the second.
        others, search = np.roll(measured, len(measured) // 2, axis=0), engine.raw() if raw else None
        for query, other in zip(measured, others, strict=True):
            start = time.perf_counter()
            found.append(engine.search(query, task["effort"], text))
            times.append(time.perf_counter() - start)
            if search is not None:
                start = time.perf_counter()
                search(other)
                raw_times.append(time.perf_counter() - start)
        return {"ids": found, "times": times, "raw_times": raw_times, **figures(), "log": []}

    told["steady"] = steady(None, queries[1:], raw=task["raw"])
    told["memory"] = {**resident(), "index": engine.index_mb()}
    if task["filtered"]:
        told["filtered"] = steady(FILTER, queries[1:])
    told["idle"] = engine.idle_mb
    return told


def ask(
    engine: str,
    tier: str,
    url: str,
    endpoint: str,
    queries: Path,
    cache: Path,
    *,
    effort: Any = None,
    warm_up: bool = False,
    filtered: bool = True,
    raw: bool = False,
    unmeasured: int = UNMEASURED,
    queries_asked: int = 1 + UNMEASURED + MEASURED,
    mapped_mb: int = 0,
    table: str = "t",
) -> dict[str, Any]:
    """`answer` in a fresh process."""
    task = {
        **{"engine": engine, "tier": tier, "url": url, "endpoint": endpoint, "queries": str(queries)},
        **{"effort": effort, "warm_up": warm_up, "filtered": filtered, "raw": raw, "unmeasured": unmeasured},
        **{"mapped_mb": mapped_mb, "queries_asked": queries_asked, "table": table},
    }
    environment = {**os.environ, "BENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1", "LANCE_LOG": "error"}
    done = subprocess.run(
        [sys.executable, __file__, "--answer", json.dumps(task)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


# --- the data -------------------------------------------------------------------------------------------------------


def rows(vectors: np.ndarray, years: np.ndarray, start: int, name: str) -> pa.Table:
    count, dim = vectors.shape
    return pa.table(
        {
            "id": np.arange(start, start + count),
            "year": years[start : start + count].astype(np.int32),
            "text": [f"document number {i} with a line of text" for i in range(start, start + count)],
            name: pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
        }
    )


def draw_clustered(n: int, dim: int, queries: int, folder: Path) -> None:
    """Vectors of length one around centres, 400 to a centre on average, a block at a time; and queries like them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(16, n // 400), dim), np.float32)
    whole = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (n, dim))

    def block(count: int) -> np.ndarray:
        near = centres[rng.integers(0, len(centres), count)] + rng.standard_normal((count, dim), np.float32)
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    for start in range(0, n, BLOCK):
        whole[start : start + BLOCK] = block(min(BLOCK, n - start))
    np.save(folder / "queries.npy", block(queries))


def draw_texts(n: int, queries: int, folder: Path) -> None:
    """Docstrings, embedded."""
    from ann import texts

    vectors, asked = texts(n, queries)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", asked)


def years_of(n: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 1000, n)


def exact(folder: Path) -> None:
    """How similar the tenth neighbour of each query is, among all rows and among those that the filter selects."""
    import faiss

    vectors, asked = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    chosen = years_of(len(vectors)) < 1000 * SHARE
    best = {name: np.full((len(asked), K), -np.inf, np.float32) for name in ("all", "some")}
    for start in range(0, len(vectors), BLOCK):
        block = np.asarray(vectors[start : start + BLOCK])
        for name, rows in (("all", block), ("some", block[chosen[start : start + BLOCK]])):
            near = faiss.knn(asked, rows, K, faiss.METRIC_INNER_PRODUCT)[0]
            best[name] = -np.sort(-np.concatenate([best[name], near], axis=1), axis=1)[:, :K]
    np.savez(folder / "truth.npz", **{name: found[:, -1] for name, found in best.items()})


def batches(vectors: np.ndarray, name: str) -> Iterator[pa.Table]:
    years, size = years_of(len(vectors)), -(-len(vectors) // PARTS)
    for start in range(0, len(vectors), size):
        yield rows(np.asarray(vectors[start : start + size]), years, start, name)


def make_lake(folder: Path) -> None:
    import headwater as hw
    from headwater.settings import LakeSettings, MaintenanceSettings

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    schema = {"id": hw.Int64, "year": hw.Int32, "text": hw.String, "v": hw.FloatVector(vectors.shape[1])}
    # A million rows of 768 numbers are more bytes than a full segment has by default, and would be three.
    whole = hw.Settings(
        lake=LakeSettings(target_segment_bytes=4 << 30), maintenance=MaintenanceSettings(automatic=False)
    )
    db = hw.connect(folder / "lake", settings=whole)
    table, plain = (db.create_collection(name, schema, "id") for name in ("t", "plain"))
    table.create_index("v")
    for part in batches(vectors, "v"):
        table.insert(part)
        # A segment of its own, as LanceDB makes one.
        table.flush()
        plain.insert(part)
    table.optimize()
    plain.flush()
    db.close()


def make_lance(folder: Path) -> None:
    import lancedb

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    parts = batches(vectors, "vector")
    first = next(parts)
    table = lancedb.connect(str(folder / "lance")).create_table("t", first)
    for part in parts:
        table.add(part)
    table.optimize()
    table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_RQ")
    table.create_scalar_index("year")


class Data:
    """One data set on disk, and how good an answer about it is."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.queries = folder / "queries.npy"
        self.asked = np.load(self.queries)
        self.vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        self.truth = np.load(folder / "truth.npz")

    def recall(self, found: list[list[int]], which: str, unmeasured: int) -> float:
        """A hit at least as similar as the tenth exact one is right, ties included."""
        first = 1 + unmeasured
        right = [
            np.count_nonzero(self.vectors[sorted(set(ids))] @ self.asked[first + i] >= bound - 1e-5)
            for i, (ids, bound) in enumerate(zip(found, self.truth[which][first:], strict=False))
        ]
        return float(np.mean(right)) / K

    def index_bytes(self) -> int:
        [build] = (self.folder / "lake").rglob("index.hwx")
        return build.stat().st_size


def data_sets(quick: bool, folder: Path) -> list[Data]:
    n, dim = (50_000, 256) if quick else (1_000_000, 768)
    wanted = [(f"{n // 1000} k x {dim}", partial(draw_clustered, n, dim, 221))]
    if not quick:
        wanted.append(("40 k x 256, texts", partial(draw_texts, 40_000, 221)))
    found = []
    for name, draw in wanted:
        place = folder / name.replace(" ", "").replace(",", "-")
        place.mkdir(parents=True, exist_ok=True)
        for step, make in (("drawn", draw), ("exact", exact), ("lance", make_lance), ("lake", make_lake)):
            if not (place / f"{step}.made").exists():
                shutil.rmtree(place / step, ignore_errors=True)
                print(f"{name}: {step} ...", file=sys.stderr)
                make(folder=place)
                (place / f"{step}.made").touch()
        found.append(Data(name, place))
    return found


# --- the table ------------------------------------------------------------------------------------------------------


def figures(
    data: Data, told: dict[str, Any], part: str = "steady", *, unmeasured: int = UNMEASURED
) -> dict[str, Any]:
    """p50, p99, QPS, requests and bytes a query, recall of one part of an answer; and its first query."""
    found, first = told[part], told["first"] if part == "steady" else None
    times = np.array(found["times"])
    return {
        "p50_ms": float(np.median(times)) * 1000,
        "p99_ms": float(np.quantile(times, 0.99)) * 1000,
        "qps": len(times) / float(times.sum()),
        "requests": found["requests"] / len(times),
        "kb": found["bytes"] / len(times) / 1000,
        "recall": data.recall(found["ids"], "all" if part == "steady" else "some", unmeasured),
        "first_ms": first["s"] * 1000 if first else "",
        "first_requests": first["requests"] if first else "",
        "first_kb": first["bytes"] / 1000 if first else "",
        "mb": told["memory"]["resident"],
        "anonymous_mb": told["memory"]["anonymous"],
        "index_mb": told["memory"]["index"],
    }


class Runs:
    """The processes that answer from one data set, and what each of them found."""

    def __init__(self, bench: Any, data: Data, server: Any, cache: Path) -> None:
        self.bench, self.data, self.server, self.cache = bench, data, server, cache
        self.seen: dict[str, dict[str, Any]] = {}

    def run(self, label: str, engine: str, tier: str, *, wait: bool = True, **more: Any) -> dict[str, Any]:
        """Ask a process, and put what it found into the table."""
        self.server.wait(LATENCY_S if wait else 0.0, BANDWIDTH if wait else 1e12)
        url = "s3://bench/lake" if engine == "headwater" else "s3://bench/lance"
        told = ask(engine, tier, url, self.server.endpoint, self.data.queries, self.cache, **more)
        unmeasured = more.get("unmeasured", UNMEASURED)
        for part in ("steady", "filtered"):
            if part in told:
                case = label if part == "steady" else f"{label}, filtered"
                self.seen[case] = figures(self.data, told, part, unmeasured=unmeasured)
                self.bench.row(data=self.data.name, case=case, **self.seen[case])
        return told


def measure(runs: Runs) -> None:
    run = partial(runs.run, engine="headwater")
    # The cold runs come first: nothing of the data is in a cache of ours yet.
    run("on demand", tier="on_demand")
    run("cold", tier="cold")
    run("cold, nothing to wait for", tier="on_demand", wait=False)
    run("warm", tier="warm", warm_up=True)
    run("warm, started again", tier="warm")
    run("warm, started again and opened", tier="warm", wait=False, warm_up=True, filtered=False)
    run("warm, 64 MB mapped", tier="warm", mapped_mb=64)
    hot = run("hot", tier="hot", warm_up=True, raw=True)
    few = {"table": "plain", "filtered": False, "unmeasured": 1, "queries_asked": 12}
    run("exact scan, no index, warm", tier="warm", warm_up=True, wait=False, **few)
    goals(runs, float(np.median(hot["steady"]["raw_times"])) * 1000)
    peers(runs)


def goals(runs: Runs, raw_ms: float) -> None:
    bench, seen, name, trip = runs.bench, runs.seen, runs.data.name, LATENCY_S * 1000

    def p50(case: str) -> float:
        return float(seen[case]["p50_ms"])

    bench.at_least(f"{name}: exact scan, recall", seen["exact scan, no index, warm"]["recall"], 0.999)
    bench.at_least(f"{name}: hot, recall", seen["hot"]["recall"], 0.95)
    bench.at_least(f"{name}: hot / raw in-memory index", raw_ms / p50("hot"), 0.9)
    bench.at_most(f"{name}: warm p50 / hot", p50("warm") / p50("hot"), 2)
    bench.at_most(f"{name}: warm p99, ms", seen["warm"]["p99_ms"], 35)
    bench.at_most(f"{name}: warm, filtered / unfiltered p50", p50("warm, filtered") / p50("warm"), 2)
    again, opened = (seen[f"warm, started again{case}"]["first_ms"] for case in ("", " and opened"))
    bench.at_most(f"{name}: warm, first query after a restart, opened / steady", opened / p50("warm"), 3)
    bench.at_most(f"{name}: warm, first query after a restart, round trips", again / trip, 3)
    for case in ("on demand", "cold"):
        for asked, what in (("", "steady"), (", filtered", "filtered")):
            bench.at_most(f"{name}: {case}, {what} p50, round trips", p50(case + asked) / trip, 5)
        read = seen[case]["kb"] * 1000 / runs.data.index_bytes()
        bench.at_most(f"{name}: {case}, bytes of a query / bytes of the index", read, 0.02)
        bench.at_most(f"{name}: {case}, first query, round trips", seen[case]["first_ms"] / trip, 8)
    bench.at_most(f"{name}: warm, resident MB that no file backs", seen["warm"]["anonymous_mb"], 400)
    bench.at_most(f"{name}: warm with 64 MB mapped, resident MB", seen["warm, 64 MB mapped"]["mb"], 400)
    bench.at_most(f"{name}: hot, MB of the index", seen["hot"]["index_mb"], 250)


def peers(runs: Runs) -> None:
    """LanceDB at the least effort that finds what our default does, looked for where there is nothing to wait for."""
    bench, seen, name = runs.bench, runs.seen, runs.data.name
    run = partial(runs.run, engine="lancedb", tier="")
    wanted = seen["cold"]["recall"] - 0.005
    for effort in ((2, 5), (4, 5), (8, 5), (16, 10), (32, 10), (64, 20), (256, 40)):
        label = f"lancedb {effort[0]} {effort[1]}"
        run(f"{label}, nothing to wait for", effort=effort, wait=False)
        if seen[f"{label}, nothing to wait for"]["recall"] >= wanted:
            break
    run(label, effort=effort)
    theirs = seen[label]
    for case in ("on demand", "cold"):
        ours = seen[case]
        for figure, limit in (("requests", 0.5), ("kb", 0.5)):
            ratio = ours[figure] / max(theirs[figure], 1e-9)
            bench.at_most(f"{name}: {case}, {figure} of a query / lancedb's", ratio, limit)
            ratio = ours[f"first_{figure}"] / theirs[f"first_{figure}"]
            bench.at_most(f"{name}: {case}, {figure} of the first query / lancedb's", ratio, limit)
        bench.at_least(f"{name}: lancedb p50 / {case}", theirs["p50_ms"] / ours["p50_ms"], 3)
        first = theirs["first_ms"] / ours["first_ms"]
        bench.at_least(f"{name}: first query, lancedb / {case}", first, 3)
    warm = seen[f"{label}, nothing to wait for"]["p50_ms"] / seen["warm"]["p50_ms"]
    bench.at_least(f"{name}: lancedb with nothing to wait for / warm", warm, 3)


def main() -> None:
    if sys.argv[1:2] == ["--answer"]:
        print(json.dumps(answer(json.loads(sys.argv[2]))))
        return
    from harness import Bench
    from s3_folder import folder_server

    bench = Bench.from_args("tiers")
    with ExitStack() as stack:
        kept = os.environ.get("BENCH_KEEP")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        for data in data_sets(bench.quick, folder):
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = stack.enter_context(folder_server(data.folder))
            measure(Runs(bench, data, server, work / "cache"))
    bench.finish()


if __name__ == "__main__":
    main()
