"""Builds read a column once, a block at a time, and give the same index however the vectors come."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headwater import index
from headwater.formats import FetchedVectors, block_rows, blocks, drawn
from headwater.index import IndexParams
from headwater.index.reading import Nearest, Reading, spread_rows
from headwater.store import open_store
from headwater.tiers import open_object
from headwater.types import MetricType

N, DIM = 12_000, 256
Rows = npt.NDArray[np.float32]


def made(n: int = N, dim: int = DIM) -> Rows:
    """Rows around forty centres, of different lengths."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, dim))
    rows: Rows = (centres[rng.integers(0, 40, n)] + 0.5 * rng.normal(size=(n, dim))).astype(np.float32)
    return rows


class Column:
    """Vectors somewhere else, which count the rows that are asked for."""

    def __init__(self, rows: Rows, parts: int = 0) -> None:
        self.rows = rows
        self.fetched: list[int] = []
        self.scans = 0
        self._lock = threading.Lock()
        scan = (lambda: self._scan(parts)) if parts else None
        self.vectors = FetchedVectors(rows.shape, rows.dtype, self._fetch, scan=scan)  # type: ignore[arg-type]

    def _fetch(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        with self._lock:
            self.fetched.append(len(rows))
        return self.rows[rows]

    def _scan(self, parts: int) -> Iterator[npt.NDArray[Any]]:
        self.scans += 1
        yield from np.array_split(self.rows, parts)


@pytest.mark.parametrize("parts", [0, 1, 7, 500])
def test_blocks_are_all_rows_in_order(parts: int) -> None:
    rows, column = made(), Column(made(), parts)
    size = block_rows(column.vectors)
    starts, found = zip(*blocks(column.vectors), strict=True)
    assert list(starts) == list(range(0, N, size))
    assert {len(one) for one in found[:-1]} <= {size}
    np.testing.assert_array_equal(np.concatenate(found), rows)
    wanted = np.flatnonzero(np.random.default_rng(1).random(N) < 0.3)
    np.testing.assert_array_equal(drawn(column.vectors, wanted), rows[wanted])


@pytest.mark.parametrize("parts", [0, 7])
def test_a_pass_that_is_given_up_stops_reading(parts: int) -> None:
    column = Column(made(30_000, 256), parts)
    for _ in itertools.islice(blocks(column.vectors), 1):
        pass
    assert sum(column.fetched) <= 5 * block_rows(column.vectors)


def test_an_error_while_reading_ahead_reaches_the_build() -> None:
    def fails(rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(blocks(FetchedVectors((N, DIM), np.dtype(np.float32), fails)))


def test_spread_rows_come_from_every_part_of_the_column() -> None:
    rows = spread_rows(100_000, 5_000, None, 25)
    assert len(rows) == 5_000
    assert (np.diff(rows) > 0).all()
    # Whatever 1,000 rows in a row one looks at, some are drawn.
    assert np.bincount(rows // 1_000, minlength=100).min() > 0
    present = np.arange(100_000) % 3 == 0
    some = spread_rows(100_000, 5_000, present, 25)
    assert present[some].all()
    assert len(np.unique(some)) == len(some) == 5_000


@pytest.mark.parametrize("kind", ["ivf_rabitq", "ivf_flat", "ivf_sq8", "ivf_pq", "hnsw", "hnsw_sq"])
def test_a_build_reads_the_column_once_and_the_sample(kind: str, tmp_path: Path) -> None:
    rows, shares = made(dim=64), list[float]()
    column = Column(rows)
    path, params = tmp_path / "a.hwx", IndexParams(kind, MetricType.COSINE, (("nlist", 20),))
    if kind == "ivf_pq":
        params = IndexParams(kind, MetricType.COSINE, (("m", 32), ("nbits", 4), ("nlist", 20)))
    if kind.startswith("hnsw"):
        params = IndexParams(kind, MetricType.COSINE, (("M", 8), ("efConstruction", 40)))
    index.get(kind).build(column.vectors, params, path, progress=shares.append, threads=1)
    assert sum(column.fetched) <= 2 * N
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    opened = index.get(kind).open(open_object(open_store(tmp_path), path.name), params)
    queries = rows[:50] + np.float32(0.01)
    found = opened.search(queries, 1, vectors=rows, options={})[1]
    assert (found[:, 0] == np.arange(50)).mean() > 0.95


def test_a_column_that_can_only_be_scanned_is_scanned_twice(tmp_path: Path) -> None:
    column = Column(made(dim=64), 9)
    params = IndexParams("ivf_rabitq", MetricType.L2, (("nlist", 20),))
    index.get("ivf_rabitq").build(column.vectors, params, tmp_path / "a.hwx", threads=1)
    assert column.scans == 2
    assert not column.fetched


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP, MetricType.COSINE])
@pytest.mark.parametrize("nulls", [False, True])
def test_a_pass_knows_lengths_and_exact_neighbours(metric: MetricType, nulls: bool) -> None:
    rows = made(9_000, 256)
    before = rows.copy()
    present = np.random.default_rng(3).random(len(rows)) < 0.7 if nulls else None
    reading = Reading(rows, metric, present)
    asked = np.flatnonzero(present)[:5] if present is not None else np.arange(5)
    queries = rows[asked].astype(np.float64)
    exact = rows.astype(np.float64)
    if metric is MetricType.COSINE:
        queries, exact = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (queries, exact))
    nearest = Nearest(queries.astype(np.float32), 11, metric)
    for start, block, here in reading.blocks():
        nearest.add(start, block, here)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_allclose(reading.lengths, np.linalg.norm(rows, axis=1), rtol=1e-5)
    far = (
        ((queries[:, None] - exact[None]) ** 2).sum(axis=2) if metric is MetricType.L2 else -queries @ exact.T
    )
    if present is not None:
        far[:, ~present] = np.inf
    np.testing.assert_array_equal(nearest.rows, np.argsort(far, axis=1)[:, :11])
