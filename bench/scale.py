"""The cost model at sizes that no test machine holds, and the same model against real collections in the same run.

    python bench/scale.py            # validates at 20 k, 100 k and 500 k x 256, then simulates 1 M to 100 G
    python bench/scale.py --quick    # validates at 10 k and 40 k
    python bench/scale.py --no-check # simulates only

Prints Markdown; `--into docs/scale.md` puts it between that page's markers instead. A claim says how far the
model is off.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from harness import Bench

import headwater as hw
from headwater.index.faiss_index import prepared
from headwater.query.cost import (
    Case,
    Machine,
    Prices,
    Shape,
    Workload,
    bills,
    break_evens,
    build_core_s,
    cpu_s,
    latency_s,
    load_prices,
    reads,
    sizes,
)
from headwater.tiers import TierPolicy
from headwater.types import MetricType

DIM = 768
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
MOST_OFF = 2.5
"""A model that is off by more says nothing about sizes that are ten thousand times as large."""

POLICIES = (TierPolicy.HOT, TierPolicy.WARM, TierPolicy.AUTO, TierPolicy.COLD, TierPolicy.ON_DEMAND)
SIZES = (10**6, 10**8, 10**9, 10**11)


said: list[str] = []


def say(line: str) -> None:
    """Keep a line, and print it at once."""
    said.append(line)
    print(line, flush=True)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Say a table in Markdown."""
    say(f"\n**{title}**\n")
    say(f"| {' | '.join(head)} |")
    say(f"| {' | '.join('---' if at == 0 else '---:' for at in range(len(head)))} |")
    for row in rows:
        say(f"| {' | '.join(row)} |")


def size(size_bytes: float) -> str:
    """Bytes as people say them."""
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:,.3g} {unit}"
    return f"{size_bytes:,.0f} B"


def span(seconds: float) -> str:
    """A time as people say it."""
    for unit, scale in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= scale:
            return f"{seconds / scale:,.3g} {unit}"
    return f"{seconds * 1000:,.3g} ms"


def number(value: float) -> str:
    """A count, three figures of it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def name_of(rows: int) -> str:
    """1 M, 1 G."""
    return f"{rows // 10**9:,} G" if rows >= 10**9 else f"{rows // 10**6:,} M"


# -- against real collections -----------------------------------------------------------------------------------------


def rows_of(count: int, dim: int) -> pa.Table:
    """Clustered vectors and two fields."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(max(50, count // 500), dim)).astype("f4")
    vectors = centres[rng.integers(0, len(centres), count)]
    vectors += 0.7 * rng.normal(size=(count, dim)).astype("f4")
    return pa.table(
        {
            "id": pa.array(range(count), pa.int64()),
            "views": pa.array(rng.integers(0, 2**40, count), pa.int64()),
            "text": [
                f"the text of row {i}, which goes on for some eighty characters or so" for i in range(count)
            ],
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), dim),
        }
    )


def check(bench: Bench, cases: Sequence[tuple[int, int]], dim: int) -> None:
    """Build real collections, and print what was measured of them beside what the model says."""
    lines = []
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        for count, segments in cases:
            lines += measured(bench, folder / f"{count}-{segments}", count, segments, dim)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table(
        f"The model against real collections, {dim} dimensions",
        ("collection", "figure", "measured", "model", "model / measured"),
        lines,
    )


def measured(bench: Bench, folder: Path, count: int, segments: int, dim: int) -> list[tuple[str, ...]]:
    """Lines of the table of one collection."""
    settings = hw.Settings.from_values({"maintenance": {"automatic": False}})
    db = hw.connect(folder, settings=settings)
    fields = {"id": hw.Int64, "views": hw.Int64, "text": hw.String, "embedding": hw.FloatVector(dim)}
    docs = db.create_collection("docs", fields, primary_key="id")
    rows = rows_of(count, dim)
    each = -(-count // segments)
    for start in range(0, count, each):
        docs.insert(rows.slice(start, each))
        docs.flush()
    began = time.process_time()
    docs.create_index("embedding")
    build = time.process_time() - began
    near = query_s(docs, rows)
    report = docs.cost(probe=True)
    shape, stored = report.shape, sizes(report.shape)
    newest = max(folder.rglob("manifests/*.zst"), key=lambda path: path.name)
    asked = {one.case: one.reads for one in report.queries}
    cold, first = asked["cold"], asked["cold, first of a process"]
    said, said_first = reads(shape, TierPolicy.COLD), reads(shape, TierPolicy.COLD, first=True)
    pairs = [
        ("index", report.stored["index: ivf_rabitq"], stored.index, size),
        ("manifest", newest.stat().st_size, stored.manifest, size),
        ("cold query: requests", cold.requests, said.requests, number),
        ("cold query: bytes", cold.size_bytes, said.size_bytes, size),
        ("cold query: round trips", cold.round_trips, said.round_trips, number),
        ("first query: requests", first.requests, said_first.requests, number),
        ("first query: bytes", first.size_bytes, said_first.size_bytes, size),
        ("first query: round trips", first.round_trips, said_first.round_trips, number),
        ("hot query: core time", near, cpu_s(shape, reads(shape, TierPolicy.HOT)), span),
        ("build: core time", build, build_core_s(shape), span),
    ]
    for name, found, model, _ in pairs:
        off = max(model / found, found / model)
        bench.at_most(f"{count:,} in {segments}, {name}: how many times the model is off", off, MOST_OFF)
    what = f"{count:,} in {shape.segments} ({shape.nprobe} of {shape.nlist} lists)"
    return [
        (what if at == 0 else "", name, show(found), show(model), f"{model / found:.2f}")
        for at, (name, found, model, show) in enumerate(pairs)
    ]


def once(count: int = 60_000, segments: int = 12, dim: int = 128) -> None:
    """Print the recall of reading vectors once, for the best of all segments by their estimates."""
    folder = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        db = hw.connect(folder, settings=hw.Settings.from_values({"maintenance": {"automatic": False}}))
        docs = db.create_collection(
            "docs", {"id": hw.Int64, "embedding": hw.FloatVector(dim)}, primary_key="id"
        )
        rows = rows_of(count, dim).select(["id", "embedding"])
        rng = np.random.default_rng(3)
        mixed = rows.take(rng.permutation(count))
        for start in range(0, count, count // segments):
            docs.insert(mixed.slice(start, count // segments))
            docs.flush()
        docs.create_index("embedding")
        whole = (
            docs.to_arrow(["embedding"])["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, dim)
        )
        queries = prepared(
            whole[rng.choice(count, 200, replace=False)] + 0.1 * rng.normal(size=(200, dim)).astype("f4"),
            MetricType.COSINE,
        )
        lines = recalls(docs, prepared(whole, MetricType.COSINE), queries)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    table(
        f"Vectors read once for {segments} segments, {count:,} x {dim}: the best by estimate, of all segments together",
        ("vectors read", "times the candidates of one segment", "recall@10"),
        lines,
    )


def recalls(docs: hw.Collection, whole: np.ndarray, queries: np.ndarray) -> list[tuple[str, ...]]:
    """Lines of the table of `once`: what a search by segments would refine, cut by its estimates."""
    truth = np.argsort(-(queries @ whole.T), axis=1)[:, :10]
    estimates, rows, before, each = [], [], 0, 0
    manifest = docs.manifest
    for segment in manifest.segments:
        build = next(one for one in manifest.builds if one.segment == segment.id)
        index = docs._opened.indexes.vector(build, manifest.indexes[0])
        wanted = math.ceil(10 * index.refine_k)
        found, at = index._candidates(queries, wanted, index._unfiltered(index.nprobe, index.refine_k))
        estimates.append(np.where(at >= 0, found, -np.inf))
        rows.append(np.where(at >= 0, at + before, 0))
        before, each = before + segment.num_rows, max(each, wanted)
    order = np.argsort(-np.hstack(estimates), axis=1)
    together = np.take_along_axis(np.hstack(rows), order, axis=1)
    lines = []
    for times in (1.0, 2.0, 3.0, 4.0, together.shape[1] / each):
        kept = together[:, : int(times * each)]
        best = [at[np.argsort(-(whole[at] @ query))[:10]] for at, query in zip(kept, queries, strict=True)]
        shares = [len(set(a.tolist()) & set(b.tolist())) / 10 for a, b in zip(best, truth, strict=True)]
        lines.append((number(kept.shape[1]), number(times), f"{np.mean(shares):.3f}"))
    return lines


def query_s(docs: hw.Collection, rows: pa.Table) -> float:
    """Core time of a query of a hot collection."""
    queries = (
        rows["embedding"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)[:: len(rows) // 200]
    )
    for attempt in range(2):
        began = time.process_time()
        for query in queries:
            docs.search([query], top_k=10, output_fields=["views", "text"])
        if attempt:
            break
    return (time.process_time() - began) / len(queries)


# -- the simulation ---------------------------------------------------------------------------------------------------


def shape_of(rows: int, segment_rows: int = 10**6, **others: float) -> Shape:
    """Documents of 768 dimensions with a key, a year and 200 bytes of text."""
    made = Shape.of_rows(rows, segment_rows=segment_rows, dim=DIM, text_row_bytes=200.0)
    return replace(made, output_text_bytes=200.0, **others)  # type: ignore[arg-type]


def simulate(machine: Machine, prices: Prices) -> None:
    """Print what the present design comes to."""
    shapes = [shape_of(rows) for rows in SIZES]
    heads = ["", *(name_of(rows) for rows in SIZES)]
    stored = [sizes(shape) for shape in shapes]
    cold = [reads(shape, TierPolicy.COLD) for shape in shapes]
    first = [reads(shape, TierPolicy.COLD, first=True) for shape in shapes]
    table(
        "What is stored and held",
        heads,
        [
            ("segments", *(number(shape.segments) for shape in shapes)),
            ("vectors", *(size(one.vectors) for one in stored)),
            ("index", *(size(one.index) for one in stored)),
            ("manifest, read after each commit", *(size(one.manifest_read_on_commit) for one in stored)),
            ("memory: centroids, graphs, directories of all segments", *(size(one.opened) for one in stored)),
            ("disk of a warm copy", *(size(one.data) for one in stored)),
        ],
    )
    table(
        "A query, top 10 with output fields",
        heads,
        [
            ("cold: requests", *(number(one.requests) for one in cold)),
            ("cold: bytes", *(size(one.size_bytes) for one in cold)),
            ("first of a process: requests", *(number(one.requests) for one in first)),
            ("first of a process: bytes", *(size(one.size_bytes) for one in first)),
            *(
                (
                    f"latency, {policy}",
                    *(span(latency_s(one, policy, machine, reads(one, policy))) for one in shapes),
                )
                for policy in (TierPolicy.HOT, TierPolicy.WARM, TierPolicy.COLD, TierPolicy.ON_DEMAND)
            ),
        ],
    )
    table(
        "Building the index",
        heads,
        [
            (
                f"{cores} cores",
                *(span(build_core_s(shape) / min(cores, 2 * shape.segments)) for shape in shapes),
            )
            for cores in (2, 16, 256, 4096)
        ],
    )
    cases = [Case(shape, prices, machine) for shape in shapes]
    for rate in (0.01, 1.0, 100.0):
        found = [bills(case, Workload(queries_per_second=rate), POLICIES) for case in cases]
        table(
            f"A month at {rate:g} queries a second, {prices.currency}",
            heads,
            [
                (str(policy), *(f"{one[at].total:,.0f}" for one in found))
                for at, policy in enumerate(POLICIES)
            ],
        )
    crossings = [break_evens(case, Workload(), POLICIES) for case in cases]
    table(
        "The cheapest policy, and the queries a second up to which it is",
        ("rows", "in this order"),
        [
            (
                name_of(rows),
                ", ".join(
                    [*(f"{one.below} to {one.queries_per_second:.3g}" for one in found), str(found[-1].above)]
                ),
            )
            for rows, found in zip(SIZES, crossings, strict=True)
            if found
        ],
    )


def alternatives(machine: Machine, prices: Prices) -> None:
    """Print what other designs would come to."""
    for rows in (10**9, 10**11):
        now = shape_of(rows)
        large = shape_of(rows, 10**8 if rows >= 10**10 else 10**7)
        routed, few, page = (
            max(1, now.segments // 100),
            max(1, large.segments // 20),
            100 if rows < 10**10 else 1000,
        )
        larger = f"segments of {name_of(large.segment_rows)}"
        cases = {
            "as it is: segments of 1 M": now,
            f"directory of two levels, {page} segments a page": replace(now, page_segments=page),
            larger: large,
            f"routed by centroids of segments to {number(routed)}": replace(now, probed_segments=routed),
            f"routed to {number(routed)}, two levels": replace(
                now, probed_segments=routed, page_segments=page
            ),
            f"{larger}, routed to {few}, two levels": replace(large, probed_segments=few, page_segments=page),
        }
        lines = []
        for name, shape in cases.items():
            stored, cold = sizes(shape), reads(shape, TierPolicy.COLD)
            case = Case(shape, prices, machine)
            paid = bills(case, Workload(1.0), (TierPolicy.COLD, TierPolicy.WARM))
            lines.append(
                (
                    name,
                    size(stored.manifest_read_on_commit),
                    size(stored.opened * shape.looked_at / shape.segments),
                    number(cold.requests),
                    size(cold.size_bytes),
                    span(latency_s(shape, TierPolicy.COLD, machine, cold)),
                    span(latency_s(shape, TierPolicy.WARM, machine, reads(shape, TierPolicy.WARM))),
                    f"{paid[0].total:,.0f}",
                    f"{paid[1].total:,.0f}",
                    span(build_core_s(shape) / 256),
                )
            )
        table(
            f"{name_of(rows)}: other designs",
            (
                "design",
                "manifest after a commit",
                "centroids looked at",
                "cold: requests",
                "cold: bytes",
                "cold: latency",
                "warm: latency",
                "cold a month",
                "warm a month",
                "build, 256 cores",
            ),
            lines,
        )


def main() -> None:
    """Check, then simulate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller collections")
    parser.add_argument("--json", type=Path, help="write the claims to this file")
    parser.add_argument("--no-check", action="store_true", help="the simulation only")
    parser.add_argument("--into", type=Path, help="a page with markers, to put the tables in")
    parser.add_argument("--prices", type=Path, help="TOML file of your prices")
    args = parser.parse_args()
    prices = hw.Prices() if args.prices is None else load_prices(args.prices)
    bench = Bench("scale", args.quick, args.json)
    if not args.no_check:
        quick = [(10_000, 1), (40_000, 1), (40_000, 4)]
        once()
        check(bench, quick if args.quick else [(20_000, 1), (100_000, 1), (100_000, 4), (500_000, 1)], 256)
    machine = Machine()
    say(
        f"\nPrices: {prices.as_of}. A round trip takes {span(machine.round_trip_s)}; "
        f"bytes come at {size(machine.bandwidth_bytes_s)}/s; computing is that of one core."
    )
    simulate(machine, prices)
    alternatives(machine, prices)
    if args.into is not None:
        page = args.into.read_text()
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        args.into.write_text("\n".join([before + BEGIN, *said, "", END + after]))
    bench.finish()


if __name__ == "__main__":
    main()
