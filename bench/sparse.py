"""Sparse vectors like SPLADE's, inner product, top 10: queries/s beside scoring every row with scipy, and Milvus Lite.

About 100 of 30,000 dimensions in a row and 30 in a query, frequent dimensions frequent in both; weights are those of
log(1 + activation), as SPLADE has them. Rows come in topics, as documents do. One query at a time, one thread. Every
hit is compared with exhaustive scores.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse
from harness import Bench
from inverted import K, MilvusLite, Ours, seconds

import headwater as hw

DIMS = 30_000


def vectors(n: int, terms: int, topics: int = 500, seed: int = 0) -> scipy.sparse.csr_matrix:
    """Rows of about `terms` dimensions, half of them from the row's topic."""
    rng = np.random.default_rng(seed)
    chances = 1 / (np.arange(1, DIMS + 1) + 50.0)
    common = np.cumsum(chances / chances.sum())
    topic_dims = np.searchsorted(common, np.random.default_rng(7).random((topics, 200)))
    topic = rng.integers(0, topics, n)
    own = topic_dims[topic[:, None], (200 * rng.random((n, terms // 2)) ** 2).astype(int)]
    others = np.searchsorted(common, rng.random((n, terms - terms // 2)))
    columns = np.minimum(np.concatenate([own, others], axis=1), DIMS - 1)
    weights = np.log1p(rng.gamma(1.0, 1.0, columns.shape)).astype(np.float32)
    rows = np.repeat(np.arange(n), terms)
    matrix = scipy.sparse.coo_matrix((weights.ravel(), (rows, columns.ravel())), shape=(n, DIMS)).tocsr()
    matrix.sum_duplicates()
    return matrix


def as_dict(row: scipy.sparse.csr_matrix) -> dict[int, float]:
    return dict(zip(row.indices.tolist(), row.data.tolist(), strict=True))


class Headwater(Ours):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"id": hw.Int64, "v": hw.SparseFloatVector}, "v")

    def load(self, matrix: scipy.sparse.csr_matrix) -> None:
        flat = pa.StructArray.from_arrays(
            [pa.array(matrix.indices.astype(np.uint32)), pa.array(matrix.data)], names=["index", "value"]
        )
        lists = pa.ListArray.from_arrays(pa.array(matrix.indptr.astype(np.int32)), flat)
        self.collection.insert(pa.table({"id": np.arange(matrix.shape[0]), "v": lists}))
        self.collection.create_index("v", "SPARSE_INVERTED_INDEX")


class Exhaustive:
    """One product of the whole matrix by dimension, and a partial sort."""

    name = "scipy, every row"

    def __init__(self, folder: Path) -> None:
        pass

    def load(self, matrix: scipy.sparse.csr_matrix) -> None:
        self.columns = matrix.tocsc()

    def search(self, query: dict[int, float]) -> list[float]:
        columns, scores = self.columns, np.zeros(self.columns.shape[0], np.float32)
        for dim, weight in query.items():
            span = slice(columns.indptr[dim], columns.indptr[dim + 1])
            scores[columns.indices[span]] += columns.data[span] * np.float32(weight)
        best = np.argpartition(scores, -K)[-K:]
        return [float(score) for score in np.sort(scores[best])[::-1]]

    def index_bytes(self) -> int:
        return int(self.columns.data.nbytes + self.columns.indices.nbytes + self.columns.indptr.nbytes)

    def close(self) -> None:
        pass


class Milvus(MilvusLite):
    def __init__(self, folder: Path) -> None:
        from pymilvus import DataType

        super().__init__(folder, "v")
        self.schema.add_field("v", DataType.SPARSE_FLOAT_VECTOR)

    def load(self, matrix: scipy.sparse.csr_matrix) -> None:
        self.insert([{"id": i, "v": as_dict(matrix[i])} for i in range(matrix.shape[0])], "IP")


def main() -> None:
    bench = Bench.from_args("sparse")
    n, count = (10_000, 100) if bench.quick else (200_000, 200)
    matrix = vectors(n, 100)
    queries = [as_dict(row) for row in vectors(count, 30, seed=1)]
    truth = Exhaustive(Path())
    truth.load(matrix)
    speeds: dict[str, float] = {}
    for make in (Headwater, Exhaustive, Milvus):
        folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
        try:
            start = time.perf_counter()
            engine: Any = make(folder)
            engine.load(matrix)
            built = time.perf_counter() - start
            slow = seconds(engine.search, queries[0]) > 0.1
            asked = queries[:20] if slow else queries
            for query in asked[:10] if slow else asked:
                found, exact = engine.search(query), truth.search(query)
                assert np.allclose(found, exact, rtol=1e-4, atol=1e-4), engine.name
            times = [seconds(engine.search, query) for query in asked]
            cuts = statistics.quantiles(times, n=100)
            speeds[engine.name] = len(times) / sum(times)
            bench.row(
                engine=engine.name,
                load_s=built,
                qps=speeds[engine.name],
                p50_ms=cuts[49] * 1e3,
                p99_ms=cuts[98] * 1e3,
                index_mb=engine.index_bytes() / 1e6,
                raw_mb=(matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes) / 1e6,
            )
            engine.close()
        except ImportError as error:
            print(f"{make.name}: not installed ({error})", file=sys.stderr)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    for name in ("scipy, every row", "milvus lite"):
        if name in speeds:
            bench.at_least(
                f"queries/s, times {name}",
                speeds["headwater"] / speeds[name],
                0.3 if "scipy" in name else 2.0,
            )
    bench.finish()


if __name__ == "__main__":
    main()
