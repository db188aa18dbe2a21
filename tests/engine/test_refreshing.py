"""Refreshes of an external collection beside each other, beside columns of ours, and beside files that change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import CommitConflict, SourceChanged
from headwater.lake.external.parquet_files import ParquetFiles
from headwater.settings import LakeSettings, Settings

SMALL = Settings(lake=LakeSettings(shared_fragment_rows=100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


@pytest.fixture
def docs(tmp_path: Path, folder: Path) -> hw.Collection:
    write(folder, "a", range(10))
    write(folder, "b", range(100, 110))
    db = hw.connect(tmp_path / "lake", settings=SMALL)
    return db.create_external_collection("docs", folder, primary_key="id")


@pytest.fixture
def other(docs: hw.Collection, tmp_path: Path) -> hw.Collection:
    """As another process has it."""
    return hw.connect(tmp_path / "lake", settings=SMALL).collection("docs")


def write(folder: Path, name: str, keys: range, number: int | None = 1) -> None:
    table = pa.table({"id": pa.array(keys, pa.int64()), "n": pa.array([number] * len(keys), pa.int64())})
    pq.write_table(table, folder / f".{name}")
    os.replace(folder / f".{name}", folder / f"{name}.parquet")


def keys(docs: hw.Collection, filter: str | None = None) -> list[int]:
    return sorted(docs.to_arrow(["id"], filter, consistency_level="Strong")["id"].to_pylist())


def refresh_around(docs: hw.Collection, work: Callable[[], Any]) -> None:
    """Refresh, and have something done right after the files were listed."""
    source = docs._source
    assert source is not None
    listed = source.list_files

    def list_files() -> Any:
        source.list_files = listed  # type: ignore[method-assign]
        found = listed()
        work()
        return found

    source.list_files = list_files  # type: ignore[method-assign]
    docs.refresh()


def test_rows_that_stay_are_found_when_a_file_of_nothing_but_nulls_goes(
    docs: hw.Collection, folder: Path
) -> None:
    write(folder, "c", range(200, 220), number=None)
    write(folder, "a", range(10))
    docs.refresh()
    assert len(docs.manifest.segments) == 2
    (folder / "c.parquet").unlink()
    docs.refresh()
    assert keys(docs, "n == 1") == keys(docs, "n is not null") == [*range(10), *range(100, 110)]
    assert keys(docs, "n is null") == []


def test_two_refreshes_at_once_bring_each_file_once(
    docs: hw.Collection, other: hw.Collection, folder: Path
) -> None:
    write(folder, "c", range(200, 205))
    refresh_around(docs, other.refresh)
    assert keys(docs) == keys(other) == [*range(10), *range(100, 110), *range(200, 205)]
    write(folder, "a", range(20, 25))
    (folder / "b.parquet").unlink()
    refresh_around(docs, other.refresh)
    assert keys(docs) == keys(other) == [*range(20, 25), *range(200, 205)]


@pytest.mark.parametrize("change", ["added", "changed"])
def test_a_column_that_comes_during_a_refresh_keeps_its_values(
    docs: hw.Collection, other: hw.Collection, folder: Path, change: str
) -> None:
    write(folder, "c" if change == "added" else "b", range(200, 205))
    refresh_around(docs, lambda: other.add_column("mine", 7, type=hw.Int64))
    kept = [*range(10), *(range(100, 110) if change == "added" else ())]
    assert keys(docs, "mine == 7") == kept
    assert keys(docs, "mine is null") == list(range(200, 205))


def test_rows_of_a_source_that_was_replaced_meanwhile_are_not_brought(
    docs: hw.Collection, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    write(tmp_path / "others", "z", range(500, 505))
    db = hw.connect(tmp_path / "lake", settings=SMALL)
    write(folder, "c", range(200, 205))

    def replace_source() -> None:
        job = db.external.refresh("docs", str(tmp_path / "others"), "")
        assert str(db.jobs.wait(job.id).state) == "completed", db.jobs.get(job.id)

    with pytest.raises(CommitConflict, match="another source"):
        refresh_around(docs, replace_source)
    assert keys(docs) == list(range(500, 505))


def test_a_file_put_in_place_of_another_while_it_is_read_is_not_taken_for_it(
    docs: hw.Collection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ParquetFiles.parquet

    def parquet(self: ParquetFiles, file: Any, **how: Any) -> Any:
        if file.path.endswith("b.parquet"):
            write(folder, "b", range(300, 310), number=2)
        return opened(self, file, **how)

    monkeypatch.setattr(ParquetFiles, "parquet", parquet)
    with pytest.raises(SourceChanged, match=r"b\.parquet"):
        docs.to_arrow()


READING = """
import os, sys
import headwater as hw
from headwater.errors import SourceChanged
from headwater.lake.external.parquet_files import ParquetFiles

opened = ParquetFiles.parquet

def parquet(self, file, **how):
    found = opened(self, file, **how)
    if file.path.endswith("b.parquet"):
        os.truncate(sys.argv[1] + "/files/b.parquet", 0)
    return found

docs = hw.connect(sys.argv[1] + "/lake").collection("docs")
ParquetFiles.parquet = parquet
try:
    docs.to_arrow()
except SourceChanged as error:
    print(error)
"""


def test_a_file_that_is_cut_short_while_it_is_read_ends_no_process(
    docs: hw.Collection, folder: Path, tmp_path: Path
) -> None:
    """As most writers begin who write over a file in place."""
    write(folder, "b", range(100, 100_000))
    docs.refresh()
    run = subprocess.run(
        [sys.executable, "-c", READING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert (run.returncode, "b.parquet" in run.stdout) == (0, True), run.stderr
