"""Late interaction beside its own matrix product, min-hashes beside reading the text, iterators beside paging.

Each answer is compared with numpy's before it is timed.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np
import pyarrow as pa
from harness import Bench, median_s

import headwater as hw
from headwater.jobs.minhash import MinHasher

DIM = 128
TOKENS = 32


def late_interaction(bench: Bench, folder: str, n: int) -> None:
    """Documents of 32 vectors, a question of 32."""
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(n * TOKENS, DIM)).astype(np.float32)
    kind = hw.StructArray({"emb": hw.FloatVector(DIM)})
    docs = hw.connect(folder).create_collection("late", {"id": hw.Int64, "parts": kind}, "id")
    structs = pa.StructArray.from_arrays(
        [pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), DIM)], ["emb"]
    )
    lists = pa.ListArray.from_arrays(pa.array(np.arange(n + 1) * TOKENS, pa.int32()), structs)
    docs.insert(pa.table({"id": np.arange(n), "parts": lists}))
    docs.flush()
    question = rng.normal(size=(TOKENS, DIM)).astype(np.float32)

    def by_numpy() -> np.ndarray:
        # In blocks that stay in the cache, as the fastest of several sizes.
        parts = [flat[start : start + 65_536] for start in range(0, len(flat), 65_536)]
        products = [(question @ part.T).reshape(TOKENS, -1, TOKENS).max(axis=2).sum(axis=0) for part in parts]
        return np.concatenate(products)

    def by_search() -> list[int]:
        params = {"metric_type": "MAX_SIM_IP"}
        return [hit["id"] for hit in docs.search(question, anns_field="parts[emb]", params=params)[0]]

    assert by_search() == np.argsort(-by_numpy())[:10].tolist()
    limit, took = median_s(by_numpy), median_s(by_search)
    bench.row(case=f"MAX_SIM_IP, {n:,} rows of {TOKENS} x {DIM}", ms=took * 1000, numpy_ms=limit * 1000)
    bench.at_most("late interaction / numpy over an array in memory", took / limit, 1.5)


def near_duplicates(bench: Bench, folder: str, n: int) -> None:
    """Signatures of 128 hashes, and their index."""
    rng = np.random.default_rng(1)
    words = np.array([f"word{i}" for i in range(5000)])
    texts = [" ".join(row) for row in words[rng.integers(0, 5000, (n, 60))]]
    size_mb = sum(map(len, texts)) / 1e6
    hasher = MinHasher(128)
    sample = texts[: n // 4]
    seconds = median_s(lambda: hasher.signatures(sample), repeat=3)
    bench.row(case="128 min-hashes of 60 words", ms=seconds * 1000, mb_per_s=size_mb / 4 / seconds)
    function = hw.Function("near", "MINHASH", "text", "signature", {"num_hashes": 128})
    fields = {"id": hw.Int64, "text": hw.String, "signature": hw.BinaryVector(128 * 32)}
    docs = hw.connect(folder).create_collection("near", fields, "id", functions=[function])
    copies = [f"{text} and more" for text in texts[:100]]
    docs.insert({"id": np.arange(n + 100), "text": texts + copies})
    docs.flush()
    asked = hasher.signatures(copies)

    def search() -> list[set[int]]:
        found = docs.search([row.tobytes() for row in asked], anns_field="signature", top_k=2)
        return [{hit["id"] for hit in hits} for hits in found]

    assert search() == [{i, n + i} for i in range(100)]
    exact = median_s(search, repeat=3)
    docs.create_index("signature", "MINHASH_LSH")
    assert search() == [{i, n + i} for i in range(100)]
    indexed = median_s(search, repeat=3)
    bench.row(case=f"100 near-duplicates among {n:,}", ms=indexed * 1000, exact_ms=exact * 1000)
    bench.at_least("near-duplicates: exact / MINHASH_LSH", exact / indexed, 10)


def iterating(bench: Bench, folder: str, n: int) -> None:
    """Every row by distance, a thousand at a time; and the first ten thousand by ever later pages."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(n, DIM)).astype(np.float32)
    docs = hw.connect(folder).create_collection("all", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id")
    docs.insert({"id": np.arange(n), "v": vectors})
    docs.create_index("v", "IVF_RABITQ", metric_type="L2")
    query = vectors[0] + 0.1

    def iterate(limit: int | None) -> int:
        return sum(len(batch) for batch in docs.search_iterator(query, batch_size=1000, limit=limit))

    started = time.perf_counter()
    assert iterate(None) == n
    whole = time.perf_counter() - started
    first = median_s(lambda: iterate(10_000), repeat=3)

    def page() -> int:
        return sum(len(docs.search(query, top_k=1000, offset=start)[0]) for start in range(0, 10_000, 1000))

    assert page() == 10_000
    paged = median_s(page, repeat=3)
    bench.row(case=f"all {n:,} rows in batches", ms=whole * 1000)
    bench.row(case="10,000 hits in batches", ms=first * 1000, pages_ms=paged * 1000)
    bench.at_least("10,000 hits: pages / iterator", paged / first, 2)


def main() -> None:
    bench = Bench.from_args("Vectors")
    with tempfile.TemporaryDirectory() as folder:
        late_interaction(bench, folder, 5_000 if bench.quick else 20_000)
        near_duplicates(bench, folder, 10_000 if bench.quick else 50_000)
        iterating(bench, folder, 30_000 if bench.quick else 200_000)
    bench.finish()


if __name__ == "__main__":
    main()
