"""Adding a column writes the column and nothing else, on managed and external collections.

Figures: bytes of the new data files / bytes of the column in Arrow, and how many existing files were touched.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench

import headwater as hw


def snapshot_of(folder: Path) -> dict[Path, tuple[int, int]]:
    return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def main() -> None:
    bench = Bench.from_args("add_column")
    n, dim = (100_000, 32) if bench.quick else (200_000, 768)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    table = pa.table(
        {
            "id": np.arange(n),
            "text": [f"row {i} of a table that is not rewritten" for i in range(n)],
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
        }
    )
    columns = {
        "int64": rng.integers(0, 1 << 60, n),
        "vector": rng.normal(size=(n, dim)).astype(np.float32),
    }
    for kind in ("managed", "external"):
        with tempfile.TemporaryDirectory() as folder:
            lake, source = Path(folder) / "lake", Path(folder) / "source"
            source.mkdir()
            db = hw.connect(lake)
            if kind == "managed":
                collection = db.create_collection("t", table.schema, "id")
                collection.insert(table)
            else:
                pq.write_table(table, source / "part.parquet")
                collection = db.create_external_collection("t", src=str(source), primary_key="id")
            for name, values in columns.items():
                before = snapshot_of(Path(folder))
                collection.add_column(f"new_{name}", values)
                after = snapshot_of(Path(folder))
                new = {p: size for p, (_, size) in after.items() if p not in before}
                touched = sum(before[p] != after.get(p) for p in before)
                written = sum(new.values())
                ratio = written / values.nbytes
                bench.row(
                    kind=kind, column=name, written=written, column_bytes=values.nbytes, touched=touched
                )
                bench.at_most(f"{kind} {name}: bytes written / bytes of the column", ratio, 1.1)
                bench.at_most(f"{kind} {name}: other files touched", touched, 0)
    bench.finish()


if __name__ == "__main__":
    main()
