"""Refreshing reads what changed: nothing over 1,000 unchanged files, one file when one changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, median_s

import headwater as hw
from headwater.lake import ExternalSource, Lake
from headwater.lake.external import ParquetFiles, external_schema, refresh
from headwater.settings import LakeSettings
from headwater.store import FaultyStore, open_store


def part(i: int, rows: int = 50) -> pa.Table:
    return pa.table(
        {"id": pa.array(range(i * rows, (i + 1) * rows), pa.int64()), "text": [f"file {i}"] * rows}
    )


def counted(bench: Bench, folder: Path, source: Path) -> None:
    """The same through a store that counts: every request, and every byte that it gave back."""
    store = FaultyStore(open_store(source))
    files = ParquetFiles([(store, source.as_uri(), ["**"])])
    lake = Lake.create(
        open_store(folder / "counted"),
        "t",
        external_schema(files, files.list_files(), None, primary_key="id"),
        properties={},
        source=ExternalSource((source.as_uri(),)),
    )
    refresh(lake, files, limits=LakeSettings())
    changed = source / "part-00300.parquet"
    pq.write_table(part(3000), changed)
    store.reset()
    refresh(lake, files, limits=LakeSettings())
    reads = [(verb, key) for verb, key in store.log if verb != "list"]
    bench.row(case="one changed, counted", files=1000, bytes_read=store.bytes_read, requests=len(store.log))
    others = sum(key != changed.name for _, key in reads)
    bench.at_most("requests to other files than the changed one", others, 0)
    bench.at_most("requests in all: a listing and the changed file's", len(store.log), 5)
    bench.at_most(
        "bytes that came / bytes of the changed file", store.bytes_read / changed.stat().st_size, 1.2
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
        counted(bench, Path(folder), source)
    bench.finish()


if __name__ == "__main__":
    main()
