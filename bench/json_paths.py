"""Filters on JSON paths, with and without an index, beside DuckDB over the same text and Milvus Lite on fewer rows.

Counts of rows, one filter at a time, each with a constant not asked before, so that nothing is answered from a cache of
answers; every count is compared with the true one. "first" is with nothing in memory but what is open.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from harness import Bench

import headwater as hw

PATHS = ("/user/age", "/country", "/tags")
REPEAT = 7
MILVUS_ROWS = 20_000


def documents(n: int) -> tuple[list[str], dict[str, np.ndarray]]:
    """JSON texts and what is in them."""
    dice = np.random.default_rng(0)
    age = dice.integers(0, 100_000, n)
    country, tag = dice.integers(0, 1000, n), dice.integers(0, 50, n)
    texts = [
        json.dumps({"user": {"age": a, "name": f"name {a}"}, "country": f"c{c}", "tags": [f"t{t}", "every"]})
        for a, c, t in zip(age.tolist(), country.tolist(), tag.tolist(), strict=True)
    ]
    return texts, {"age": age, "country": country, "tag": tag}


Case = tuple[str, Callable[[int], str], Callable[[int], str], Callable[[dict[str, np.ndarray], int], int]]
"""Selectivity and kind; the filter of the i-th try for us, and for DuckDB; the true count."""


def below(share: float) -> Case:
    bound = int(share * 100_000)
    return (
        f"number, {share:.2%}",
        lambda i: f'doc["user"]["age"] < {bound + i}',
        lambda i: f"CAST(doc->'$.user.age' AS BIGINT) < {bound + i}",
        lambda held, i: int((held["age"] < bound + i).sum()),
    )


CASES: tuple[Case, ...] = (
    below(0.0001),
    below(0.01),
    below(0.1),
    (
        "text, 0.1%",
        lambda i: f'doc["country"] == "c{i}"',
        lambda i: f"doc->>'$.country' = 'c{i}'",
        lambda held, i: int((held["country"] == i).sum()),
    ),
    (
        "array element, 2%",
        lambda i: f'json_contains(doc["tags"], "t{i}")',
        lambda i: f"json_contains(doc->'$.tags', '\"t{i}\"')",
        lambda held, i: int((held["tag"] == i).sum()),
    ),
)


def measured(count: Callable[[str], int], case: Case, side: int, held: dict[str, np.ndarray]) -> float:
    """Median milliseconds; every count must be the true one."""
    times = []
    for i in range(REPEAT):
        text = (case[1], case[2])[side](i)
        start = time.perf_counter()
        found = count(text)
        times.append(time.perf_counter() - start)
        assert found == case[3](held, i), f"{text}: {found}, not {case[3](held, i)}"
    return statistics.median(times) * 1e3


def milvus_lite(folder: Path, texts: list[str]) -> tuple[Any, Callable[[str], int]]:
    from pymilvus import DataType, MilvusClient

    client = MilvusClient(str(folder / "milvus.db"))
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("doc", DataType.JSON)
    schema.add_field("v", DataType.FLOAT_VECTOR, dim=2)
    params = client.prepare_index_params()
    params.add_index("v", index_type="FLAT", metric_type="L2")
    client.create_collection("t", schema=schema, index_params=params)
    for start in range(0, len(texts), 1000):
        some = texts[start : start + 1000]
        client.insert(
            "t", [{"id": start + i, "doc": json.loads(t), "v": [0.0, 1.0]} for i, t in enumerate(some)]
        )
    client.load_collection("t")

    def count(text: str) -> int:
        return int(client.query("t", filter=text, output_fields=["count(*)"])[0]["count(*)"])

    return client, count


def main() -> None:
    bench = Bench.from_args("filters on JSON paths")
    n = 200_000 if bench.quick else 1_000_000
    texts, held = documents(n)
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    docs = hw.connect(folder / "lake").create_collection("t", {"id": hw.Int64, "doc": hw.JSON}, "id")
    docs.insert(pa.table({"id": np.arange(n), "doc": texts}))
    docs.flush()
    db = duckdb.connect()
    db.register("rows", pa.table({"doc": texts}))
    db.execute("CREATE TABLE t AS SELECT doc::JSON AS doc FROM rows")

    def duck(text: str) -> int:
        return int(db.execute(f"SELECT count(*) FROM t WHERE {text}").fetchone()[0])

    times = {("duckdb", case[0]): measured(duck, case, 1, held) for case in CASES}
    for case in CASES:
        docs._opened.clear()
        start = time.perf_counter()
        docs.count(case[1](90))
        times["scan, first", case[0]] = (time.perf_counter() - start) * 1e3
        times["scan", case[0]] = measured(docs.count, case, 0, held)
    built = [docs.create_index("doc", params={"json_path": path}) for path in PATHS]
    for case in CASES:
        docs._opened.clear()
        start = time.perf_counter()
        docs.count(case[1](91))
        times["index, first", case[0]] = (time.perf_counter() - start) * 1e3
        times["index", case[0]] = measured(docs.count, case, 0, held)
    few = {name: values[:MILVUS_ROWS] for name, values in held.items()}
    client, count = milvus_lite(folder, texts[:MILVUS_ROWS])
    for case in CASES:
        times["milvus lite", case[0]] = measured(count, case, 0, few)
    client.close()
    for case in CASES:
        ours = times["index", case[0]]
        bench.row(
            filter=case[0],
            **{
                f"{name}, ms": times[name, case[0]]
                for name in ("index", "index, first", "scan", "scan, first", "duckdb", "milvus lite")
            },
        )
        bench.at_least(f"{case[0]}: duckdb / ours", times["duckdb", case[0]] / ours, 10)
        bench.at_least(
            f"{case[0]}: milvus lite over {MILVUS_ROWS:,} rows / ours",
            times["milvus lite", case[0]] / ours,
            10,
        )
        first = times["scan, first", case[0]] / times["index, first", case[0]]
        bench.at_least(f"{case[0]}: scan / index, nothing in memory", first, 2)
    raw = sum(len(text) for text in texts)
    bench.at_most("index bytes / JSON bytes", sum(one.bytes_written for one in built) / raw, 0.5)
    bench.finish()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
