"""Rows of a Parquet file that is larger than what may be in memory: all of a shard are there at one moment, or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_memory import NEEDS_PROC, grown_mib

import headwater as hw
from headwater.engine import streaming
from headwater.errors import Corrupt, SchemaMismatch
from headwater.lake.log import CollectionLog

ROWS = 30_000
SMALL = hw.Settings(
    write=hw.settings.WriteSettings(bulk_bytes=1 << 16),
    maintenance=hw.settings.MaintenanceSettings(automatic=False),
)

FILE = """
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from dataclasses import replace
from headwater.engine import streaming

streaming._SEGMENT_BYTES = 16 << 20
rows, dim = 5_000, 512
path = sys.argv[1] + "/many.parquet"
schema = pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32(), dim))])
vectors = np.random.default_rng(0).random(rows * dim, dtype=np.float32)
with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
    for number in range(40):
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors), dim)
        writer.write_table(pa.table([np.arange(rows) + number * rows, column], schema=schema))
del vectors, column
settings = hw.Settings()
settings = replace(settings, maintenance=replace(settings.maintenance, automatic=False))
made = hw.connect(sys.argv[1] + "/lake", settings=settings).create_collection(
    "t", {"id": hw.Int64, "v": hw.FloatVector(dim)}, "id"
)
pa.set_memory_pool(pa.system_memory_pool())
with watched():
    written = made.insert(path)
assert made.count("id >= 0") == written.count == len(written.keys)
print(written.count)
"""


@NEEDS_PROC
def test_a_file_larger_than_what_is_held_is_inserted(tmp_path: Path) -> None:
    grown, written = grown_mib(FILE, str(tmp_path))
    assert written == 200_000
    # The file is 400 MiB.
    assert grown < 250


def table(first: int = 0, count: int = ROWS) -> pa.Table:
    numbers = np.arange(first, first + count)
    return pa.table({"id": numbers, "text": [f"row {i}" for i in numbers], "n": numbers % 7})


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and segments are small."""
    monkeypatch.setattr("headwater.engine.data._PIECE_BYTES", 1 << 16)
    monkeypatch.setattr(streaming, "_SEGMENT_BYTES", 1 << 18)


def made(path: Path, **options: Any) -> hw.Collection:
    schema = {"id": hw.Int64, "text": hw.String, "n": hw.Int64}
    return hw.connect(path / "lake", settings=SMALL).create_collection("t", schema, "id", **options)


def entries(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    written, inner = [], CollectionLog.write

    def write(log: CollectionLog, *args: Any, **how: Any) -> Any:
        written.append(args[0])
        return inner(log, *args, **how)

    monkeypatch.setattr(CollectionLog, "write", write)
    return written


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "options", [{}, {"num_shards": 3}, {"partition_key": "n", "num_partitions": 4}], ids=str
)
def test_all_rows_come_with_one_entry_of_each_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    docs = made(tmp_path, **options)
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=4_000)
    written = entries(monkeypatch)
    result = docs.insert(tmp_path / "a.parquet")
    assert (len(written), result.count) == (options.get("num_shards", 1), ROWS)
    assert len({one.shard for one in written}) == len(written)
    assert all(len(one.segments) >= 3 for one in written)
    assert result.keys is not None
    assert result.keys.to_pylist() == list(range(ROWS))
    docs.delete(list(range(0, ROWS, 3)))
    docs.upsert(table(ROWS - 10, 20).to_pylist())
    other = hw.connect(tmp_path / "lake").collection("t")
    wanted = sorted({i for i in range(ROWS) if i % 3} | set(range(ROWS - 10, ROWS + 10)))
    for collection in (docs, other):
        assert sorted(collection.to_arrow(["id"])["id"].to_pylist()) == wanted
        docs.flush()
        docs.gc(retention_s=0.0, grace_s=-1.0)
    assert docs.count("n == 3 and id < 100") == len([i for i in wanted if i % 7 == 3 and i < 100])


@pytest.mark.usefixtures("few")
def test_a_shard_that_is_split_meanwhile_has_its_rows_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = made(tmp_path)
    docs.set_ttl(3600)
    pq.write_table(table(), tmp_path / "a.parquet")
    inner, splits = streaming.NewSegments, []

    def split_first(*given: Any) -> Any:
        if not splits:
            splits.append(hw.connect(tmp_path / "lake").collection("t").split_shard())
        return inner(*given)

    monkeypatch.setattr(streaming, "NewSegments", split_first)
    docs.insert(tmp_path / "a.parquet")
    assert splits == [[1, 2]]
    docs.delete(list(range(0, ROWS, 2)))
    for collection in (docs, hw.connect(tmp_path / "lake").collection("t")):
        found = collection.to_arrow(["id", "text", "n"]).sort_by("id")
        assert found.to_pydict() == table().filter(pa.array([False, True] * (ROWS // 2))).to_pydict()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("auto_id", [False, True])
def test_nothing_comes_of_a_file_whose_last_row_does_not_fit(tmp_path: Path, auto_id: bool) -> None:
    docs = made(tmp_path, auto_id=auto_id)
    rows = table()
    texts = rows["text"].to_pylist()
    texts[-1] = None
    rows = rows.set_column(1, "text", pa.array(texts))
    pq.write_table(rows.drop_columns(["id"]) if auto_id else rows, tmp_path / "a.parquet")
    with pytest.raises(SchemaMismatch, match=r'a\.parquet.*after the first.*"text"'):
        docs.insert(tmp_path / "a.parquet")
    assert docs.num_rows == 0
    assert not [one for one in (tmp_path / "lake").rglob("staged/**/*") if one.is_file()]


@pytest.mark.usefixtures("few")
def test_a_file_that_is_damaged_in_the_middle_adds_nothing(tmp_path: Path) -> None:
    docs = made(tmp_path)
    path = tmp_path / "a.parquet"
    pq.write_table(table(), path, row_group_size=3_000)
    content = bytearray(path.read_bytes())
    middle = pq.read_metadata(path).row_group(7).column(1).data_page_offset
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"a\.parquet"):
        docs.insert(path)
    assert docs.num_rows == 0


@pytest.mark.usefixtures("few")
def test_the_lake_makes_the_keys_of_a_file_without_them(tmp_path: Path) -> None:
    docs = made(tmp_path, auto_id=True)
    pq.write_table(table().drop_columns(["id"]), tmp_path / "a.parquet")
    result = docs.insert(tmp_path / "a.parquet")
    assert result.keys is not None
    assert len(set(result.keys.to_pylist())) == result.count == docs.num_rows == ROWS
    keys = result.keys.to_pylist()
    for place in (0, 17_000, ROWS - 1):
        assert docs.get([keys[place]])[0]["text"] == f"row {place}"


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("writer", ["duckdb", "polars"])
def test_files_of_other_engines_are_their_rows(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "a.parquet"
    if writer == "duckdb":
        rows = table()
        duckdb.sql("select * from rows").write_parquet(str(path))
        assert rows.num_rows
    else:
        pl.DataFrame(table()).write_parquet(path)
    docs = made(tmp_path)
    docs.insert(path)
    found = docs.to_arrow(["id", "text", "n"]).sort_by("id")
    assert found.to_pydict() == table().to_pydict()


def test_a_file_without_rows_adds_none(tmp_path: Path) -> None:
    docs = made(tmp_path, partition_key="n", num_partitions=4)
    pq.write_table(table(count=0), tmp_path / "a.parquet")
    assert docs.insert(tmp_path / "a.parquet").count == docs.num_rows == 0
