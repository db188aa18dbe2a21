"""Refreshing reads what changed: nothing over 1,000 unchanged files, one file when one changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, median_s

import headwater as hw


def part(i: int, rows: int = 50) -> pa.Table:
    return pa.table(
        {"id": pa.array(range(i * rows, (i + 1) * rows), pa.int64()), "text": [f"file {i}"] * rows}
    )


def main() -> None:
    bench = Bench.from_args("refresh")
    files = 1000
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for i in range(files):
            pq.write_table(part(i), source / f"part-{i:05d}.parquet")
        db = hw.connect(Path(folder) / "lake")
        docs = db.create_external_collection("docs", src=str(source), primary_key="id")
        unchanged_s = median_s(docs.refresh)
        changed = source / "part-00500.parquet"
        pq.write_table(part(2000), changed)
        report = docs.refresh()
        bench.row(case="unchanged", files=files, seconds=unchanged_s)
        bench.row(case="one changed", files=files, seconds=report.seconds, bytes_read=report.bytes_read)
        bench.at_most("seconds to refresh 1,000 unchanged files", unchanged_s, 0.3)
        bench.at_most("files read when one of 1,000 changed", len(report.changed) + len(report.added), 1)
        bench.at_most(
            "bytes read / bytes of the changed file", report.bytes_read / changed.stat().st_size, 1.2
        )
        assert docs.count("id >= 100000 and id < 100050") == 50
    bench.finish()


if __name__ == "__main__":
    main()
