"""Geometry filters, with and without the R-tree, beside shapely's STRtree in memory and DuckDB over columns of numbers.

Counts of rows, each filter at a place not asked before; every count is compared with shapely's over all rows. DuckDB
has no geometry without its spatial extension, which it fetches from the network, so it gets what it can do: points in
boxes, as comparisons of two columns.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import shapely
from harness import Bench

import headwater as hw

REPEAT = 7
RADIUS_M = 6_371_008.8


def places(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Points around towns, and a tenth as many small rectangles."""
    dice = np.random.default_rng(0)
    towns = np.column_stack([dice.uniform(-170, 170, 200), dice.uniform(-60, 60, 200)])
    at = towns[dice.integers(0, 200, n)] + dice.normal(0, 2, (n, 2))
    corners = at[: n // 10]
    boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + 0.01, corners[:, 1] + 0.02)
    return at, boxes


def metres(points: np.ndarray, x: float, y: float) -> np.ndarray:
    """From a place to each point, on the sphere."""
    there, up, here, at = np.radians(points[:, 0]), np.radians(points[:, 1]), np.radians(x), np.radians(y)
    half = np.sin((up - at) / 2) ** 2 + np.cos(up) * np.cos(at) * np.sin((there - here) / 2) ** 2
    return 2 * RADIUS_M * np.arcsin(np.sqrt(half))


@dataclass(frozen=True)
class Case:
    """A filter at a place that differs by try.

    Attributes:
        field: points or boxes.
        function: of the filter language.
        shape: window or triangle; empty for a distance.
        size: half its width in degrees, or metres.
    """

    field: str
    function: str
    shape: str
    size: float

    def __str__(self) -> str:
        return f"{self.function} of {self.field}, {self.shape} {self.size:g}".replace(",  ", ", ")

    def asked(self, place: np.ndarray) -> shapely.Geometry:
        x, y = place
        if self.shape == "window":
            return shapely.box(x - self.size, y - self.size, x + self.size, y + self.size)
        return shapely.Polygon(
            [(x - self.size, y - self.size), (x + self.size, y - self.size / 2), (x, y + self.size)]
        )

    def filter(self, place: np.ndarray) -> str:
        if not self.shape:
            return f"{self.function}(g, 'POINT ({place[0]} {place[1]})', {self.size})"
        return f"{self.function}(g, '{shapely.to_wkt(self.asked(place), rounding_precision=-1)}')"

    def truth(self, shapes: np.ndarray, at: np.ndarray, place: np.ndarray) -> int:
        if not self.shape:
            return int((metres(at, *place) <= self.size).sum())
        return int(getattr(shapely, self.function.removeprefix("st_"))(shapes, self.asked(place)).sum())

    def in_tree(self, tree: shapely.STRtree, place: np.ndarray) -> int:
        relation = {"st_within": "contains", "st_intersects": "intersects"}[self.function]
        return len(tree.query(self.asked(place), predicate=relation))

    def in_duckdb(self, duck: duckdb.DuckDBPyConnection, place: np.ndarray) -> int:
        low_x, low_y, high_x, high_y = self.asked(place).bounds
        where = f"x >= {low_x} AND x <= {high_x} AND y >= {low_y} AND y <= {high_y}"
        return int(duck.execute(f"SELECT count(*) FROM t WHERE {where}").fetchone()[0])


CASES = (
    Case("points", "st_within", "window", 0.1),
    Case("points", "st_within", "window", 1.0),
    Case("points", "st_within", "triangle", 0.1),
    Case("points", "st_within", "triangle", 1.0),
    Case("boxes", "st_intersects", "triangle", 0.5),
    Case("points", "st_dwithin", "", 1_000.0),
    Case("points", "st_dwithin", "", 50_000.0),
)


def median_ms(count: Callable[[np.ndarray], int], tries: np.ndarray, truth: list[int]) -> float:
    """Median milliseconds over places; each must give the true count."""
    times = []
    for place, right in zip(tries, truth, strict=True):
        start = time.perf_counter()
        found = count(place)
        times.append(time.perf_counter() - start)
        assert found == right, f"{found}, not {right}"
    return statistics.median(times) * 1e3


def main() -> None:
    bench = Bench.from_args("geometry filters")
    n = 200_000 if bench.quick else 1_000_000
    at, boxes = places(n)
    shapes = {"points": shapely.points(at), "boxes": boxes}
    folder = Path(tempfile.mkdtemp(prefix="headwater-bench-"))
    db = hw.connect(folder)
    made = {name: db.create_collection(name, {"id": hw.Int64, "g": hw.Geometry}, "id") for name in shapes}
    for name, docs in made.items():
        docs.insert(pa.table({"id": np.arange(len(shapes[name])), "g": shapely.to_wkb(shapes[name])}))
        docs.flush()
    trees = {name: shapely.STRtree(some) for name, some in shapes.items()}
    duck = duckdb.connect()
    duck.register("rows", pa.table({"x": at[:, 0], "y": at[:, 1]}))
    duck.execute("CREATE TABLE t AS SELECT * FROM rows")
    tries, other = at[1 : 1000 * REPEAT : 1000], at[555]
    truths = {case: [case.truth(shapes[case.field], at, place) for place in tries] for case in CASES}
    times: dict[tuple[str, Case], float] = {}

    def measure(label: str) -> None:
        for case in CASES:
            docs = made[case.field]
            docs._opened.clear()
            start = time.perf_counter()
            docs.count(case.filter(other))
            times[f"{label}, first", case] = (time.perf_counter() - start) * 1e3
            times[label, case] = median_ms(
                partial(lambda case, docs, place: docs.count(case.filter(place)), case, docs),
                tries,
                truths[case],
            )

    measure("scan")
    built = [docs.create_index("g", "RTREE") for docs in made.values()]
    measure("index")
    for case in CASES:
        if case.shape:
            times["strtree", case] = median_ms(partial(case.in_tree, trees[case.field]), tries, truths[case])
        if case.shape == "window":
            times["duckdb", case] = median_ms(partial(case.in_duckdb, duck), tries, truths[case])
    engines = ("index", "index, first", "scan", "scan, first", "strtree", "duckdb")
    for case in CASES:
        bench.row(filter=str(case), **{f"{engine}, ms": times.get((engine, case), "") for engine in engines})
        bench.at_least(f"{case}: scan / index", times["scan", case] / times["index", case], 2)
        if ("duckdb", case) in times:
            bench.at_least(f"{case}: duckdb / index", times["duckdb", case] / times["index", case], 0.5)
    wkb = sum(len(one) for some in shapes.values() for one in shapely.to_wkb(some))
    bench.at_most("index bytes / WKB bytes", sum(report.bytes_written for report in built) / wkb, 2)
    bench.finish()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
