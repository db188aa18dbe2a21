"""Random rows of a sealed segment, beside Lance, Vortex and Parquet laid out for random reads.

10, 100 and 1,000 rows of 768-d vectors and of real texts, warm and with the page cache dropped. Every reader is open
before a read, and every answer is compared with the rows that were written.
"""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import vortex as vx
from harness import Bench

import headwater as hw
from headwater.doors.cli.texts import docstrings
from headwater.lake import open_segment

DIM = 768
GROUP_ROWS = 1024
COUNTS = (10, 100, 1000)
Take = Callable[[np.ndarray], pa.Array]


class Headwater:
    """A managed collection, read as the engine reads it."""

    name = "headwater"

    def write(self, table: pa.Table, folder: Path) -> None:
        self.collection = hw.connect(folder).create_collection("t", table.schema)
        self.collection.insert(table)

    def open(self, column: str) -> Take:
        snapshot = self.collection._pinned()._snapshot
        [segment] = snapshot.manifest.segments
        reader = open_segment(self.collection._lake.store, segment, snapshot.schema)
        return lambda rows: reader.take([column], rows).column(0)


class Lance:
    """A Lance dataset of the current file version."""

    name = "lance"

    def write(self, table: pa.Table, folder: Path) -> None:
        self.path = str(folder / "t.lance")
        lance.write_dataset(table, self.path)

    def open(self, column: str) -> Take:
        dataset = lance.dataset(self.path)
        return lambda rows: dataset.take(rows.tolist(), columns=[column]).column(0)


class Vortex:
    """One Vortex file, mapped."""

    name = "vortex"

    def write(self, table: pa.Table, folder: Path) -> None:
        self.path = str(folder / "t.vortex")
        vx.io.write(table, self.path)

    def open(self, column: str) -> Take:
        file = vx.open(self.path, memory_map=True)

        def take(rows: np.ndarray) -> pa.Array:
            found = file.scan([column], indices=vx.array(pa.array(rows, pa.uint64()))).read_all()
            return found.to_arrow_table().column(0)

        return take


class Parquet:
    """Parquet with small row groups and pages, plain vectors, texts without a dictionary."""

    name = "parquet"

    def write(self, table: pa.Table, folder: Path) -> None:
        self.path = folder / "t.parquet"
        pq.write_table(
            table,
            self.path,
            row_group_size=GROUP_ROWS,
            data_page_size=8 << 10,
            compression="zstd",
            use_dictionary=False,
            write_statistics=False,
        )

    def open(self, column: str) -> Take:
        file = pq.ParquetFile(self.path, memory_map=True)

        def take(rows: np.ndarray) -> pa.Array:
            groups, where = np.unique(rows // GROUP_ROWS, return_inverse=True)
            table = file.read_row_groups(groups.tolist(), columns=[column])
            return table.column(0).take(pa.array(where * GROUP_ROWS + rows % GROUP_ROWS))

        return take


def drop_page_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def timed(take: Take, rows: np.ndarray, truth: pa.ChunkedArray) -> float:
    start = time.perf_counter()
    found = take(rows)
    seconds = time.perf_counter() - start
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    wanted = truth.take(pa.array(rows)).combine_chunks()
    assert _values(found).equals(_values(wanted)), "a reader returned other rows than were written"
    return seconds


def _values(array: Any) -> pa.Array:
    if pa.types.is_fixed_size_list(array.type) or pa.types.is_list(array.type):
        return pc.list_flatten(array)
    return array.cast(pa.large_string())


def main() -> None:
    bench = Bench.from_args("random_read")
    n, repeat = (80_000, 4) if bench.quick else (200_000, 9)
    rng = np.random.default_rng(0)
    texts = [one.text for one in docstrings(20_000)]
    vectors = pa.array(rng.normal(size=n * DIM).astype(np.float32))
    table = pa.table(
        {
            "text": [texts[i] for i in rng.integers(0, len(texts), n)],
            "vector": pa.FixedSizeListArray.from_arrays(vectors, DIM),
        }
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("HEADWATER_BENCH_DIR")) as root:
        engines = [Headwater(), Lance(), Vortex(), Parquet()]
        for engine in engines:
            folder = Path(root) / engine.name
            folder.mkdir()
            engine.write(table, folder)
        for column in ("vector", "text"):
            for cache in ("warm", "cold"):
                for count in COUNTS:
                    compare(bench, engines, Path(root), table, (column, cache, count), repeat)
    bench.finish()


def compare(
    bench: Bench, engines: list[Any], root: Path, table: pa.Table, case: tuple[str, str, int], repeat: int
) -> None:
    column, cache, count = case
    rng = np.random.default_rng(count)
    seconds: dict[str, list[float]] = {engine.name: [] for engine in engines}
    for _ in range(repeat):
        rows = np.sort(rng.choice(table.num_rows, count, replace=False))
        for engine in engines:
            take = engine.open(column)
            take(rows[:1])
            if cache == "cold":
                gc.collect()
                drop_page_cache(root / engine.name)
            else:
                take(rows)
            seconds[engine.name].append(timed(take, rows, table.column(column)))
            del take
    median = {name: statistics.median(times) for name, times in seconds.items()}
    bench.row(
        column=column, cache=cache, rows=count, **{name: f"{s * 1e3:.3g} ms" for name, s in median.items()}
    )
    best = min(s for name, s in median.items() if name != "headwater")
    bench.at_most(f"{count} {column}s, {cache}: time / best of the others", median["headwater"] / best, 1.2)


if __name__ == "__main__":
    main()
