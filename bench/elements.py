"""Vectors in struct arrays: time of a search with and without an index, and recall of the one against the other.

python bench/elements.py [--quick] [--json FILE]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from harness import Bench

import headwater as hw

DIM, PER_ROW, TOPICS, QUERIES, TOP_K = 128, 8, 1000, 50, 10
FIELD = "chunks[emb]"


def main() -> None:
    """Build, search, and print."""
    bench = Bench.from_args("vectors in struct arrays")
    rows = 6_000 if bench.quick else 25_000
    dice = np.random.default_rng(0)
    topics = dice.normal(size=(TOPICS, DIM))
    about = topics[dice.integers(TOPICS, size=rows)] + 0.7 * dice.normal(size=(rows, DIM))
    elements = np.repeat(about, PER_ROW, axis=0) + 0.7 * dice.normal(size=(rows * PER_ROW, DIM))
    asked = about[dice.integers(rows, size=QUERIES), None] + 0.9 * dice.normal(size=(QUERIES, 4, DIM))
    with tempfile.TemporaryDirectory() as folder:
        col = filled(Path(folder), elements.astype(np.float32))
        exact = {metric: measured(col, asked, metric) for metric in ("COSINE", "MAX_SIM_COSINE")}
        col.create_index(FIELD, metric_type="MAX_SIM_COSINE")
        for metric, (exact_ms, wanted) in exact.items():
            index_ms, found = measured(col, asked, metric)
            pairs = zip(found, wanted, strict=True)
            recall = float(np.mean([len(a & b) / len(b) for a, b in pairs]))
            bench.row(
                metric=metric, elements=rows * PER_ROW, exact_ms=exact_ms, index_ms=index_ms, recall=recall
            )
            bench.at_least(f"{metric}: recall@{TOP_K}", recall, 0.95)
            bench.at_least(f"{metric}: exact / index", exact_ms / index_ms, 1.0)
    bench.finish()


def filled(path: Path, elements: np.ndarray) -> hw.Collection:
    """A collection of them, sealed."""
    schema = {"id": hw.Int64, "chunks": hw.StructArray({"emb": hw.FloatVector(DIM)})}
    col = hw.connect(path).create_collection("docs", schema, "id")
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(elements.reshape(-1)), DIM)
    starts = pa.array(np.arange(0, len(elements) + 1, PER_ROW, dtype=np.int32))
    chunks = pa.ListArray.from_arrays(starts, pa.StructArray.from_arrays([vectors], ["emb"]))
    col.insert(pa.table({"id": np.arange(len(chunks)), "chunks": chunks}))
    col.flush()
    return col


def measured(col: hw.Collection, asked: np.ndarray, metric: str) -> tuple[float, list[set[Any]]]:
    """Processor time of a search in ms, the best of three rounds, and what each query found."""

    def once(query: np.ndarray) -> set[Any]:
        data = query if metric.startswith("MAX_SIM") else query[0]
        hits = col.search(
            data.astype(np.float32), anns_field=FIELD, top_k=TOP_K, params={"metric_type": metric}
        )[0]
        return {(hit["id"], hit.get("offset")) for hit in hits}

    found = [once(query) for query in asked]
    return min(timed(lambda: [once(query) for query in asked]) for _ in range(3)) / len(asked), found


def timed(call: Callable[[], object]) -> float:
    """Processor time in ms."""
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


if __name__ == "__main__":
    main()
