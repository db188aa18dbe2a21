"""Files that were cut or changed behind our back: named, never misread, and older versions stay readable."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import Corrupt, ObjectNotFound, SourceChanged

from . import crashing


def rewrite(path: Path, content: bytes) -> None:
    """Other bytes under the same name; the page cache of the old file is not what is read."""
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    notes = hw.connect(tmp_path / "lake").create_collection("notes", crashing.rows(0, 1).schema, "id")
    notes.insert(crashing.rows(0, 400))
    notes.create_index("v", "HNSW")
    notes.insert(crashing.rows(400, 50))
    notes.flush()
    return tmp_path / "lake"


def newest(lake: Path, pattern: str) -> Path:
    return max(lake.rglob(pattern), key=lambda path: (path.stat().st_mtime_ns, path.name))


def counted(collection: hw.Collection) -> int | Corrupt:
    try:
        return collection.count()
    except Corrupt as error:
        return error


@pytest.mark.parametrize("cut", [0, 1, 2, 50, 90, 99])
def test_a_manifest_cut_anywhere_is_named_and_the_version_before_it_reads(lake: Path, cut: int) -> None:
    path = newest(lake, "*.json.zst")
    content = path.read_bytes()
    rewrite(path, content[: len(content) * cut // 100])
    notes = hw.connect(lake).collection("notes")
    with pytest.raises(Corrupt, match=path.name):
        notes.count()
    version = int(path.name.split(".")[0])
    with pytest.raises(Corrupt, match=path.name):
        notes.at(version=version)
    assert notes.at(version=version - 1).count() == 400


def test_a_manifest_with_any_bit_flipped_is_found_out(lake: Path) -> None:
    path = newest(lake, "*.json.zst")
    content = path.read_bytes()
    version = int(path.name.split(".")[0])
    reader = hw.connect(lake).collection("notes")
    expected = reader.at(version=version - 1).to_arrow(["id"])
    for bit in np.random.default_rng(0).choice(len(content) * 8, 60, replace=False).tolist():
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        rewrite(path, bytes(flipped))
        notes = hw.connect(lake).collection("notes")
        found = counted(notes)
        # A bit that zstd does not look at (an unused one of a frame header) changes nothing.
        assert found == 450 or path.name in str(found)
        assert notes.at(version=version - 1).to_arrow(["id"]).equals(expected)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("suffix", ["vortex", "arrow", "hwx"])
def test_a_data_or_index_file_cut_short_is_named(lake: Path, suffix: str, share: float) -> None:
    path = newest(lake, f"*.{suffix}")
    content = path.read_bytes()
    rewrite(path, content[: int(len(content) * share)])
    notes = hw.connect(lake).collection("notes")
    query = np.ones(crashing.DIM, np.float32)
    top_k = 5 if suffix == "hwx" else 450
    with pytest.raises(Corrupt) as caught:
        list(notes.search(query, top_k=top_k, output_fields=["text"]))
    assert path.name in str(caught.value)
    if suffix != "hwx":
        assert notes.at(version=2).to_arrow().num_rows == 400
    [line] = notes.verify().damaged
    assert path.name in line


@pytest.mark.parametrize("suffix", ["vortex", "arrow", "hwx"])
def test_verify_finds_one_flipped_bit(lake: Path, suffix: str) -> None:
    notes = hw.connect(lake).collection("notes")
    report = notes.verify()
    assert report.damaged == ()
    assert report.files == 5
    path = newest(lake, f"*.{suffix}")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    rewrite(path, bytes(content))
    [line] = notes.verify().damaged
    assert path.name in line
    assert "crc32" in line


def test_an_index_with_a_flipped_bit_is_found_when_it_is_opened(lake: Path) -> None:
    path = newest(lake, "*.hwx")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    rewrite(path, bytes(content))
    with pytest.raises(Corrupt, match="index"):
        hw.connect(lake).collection("notes").search(np.ones(crashing.DIM), top_k=3)


def test_a_file_that_vanished_is_named(lake: Path) -> None:
    path = newest(lake, "*.arrow")
    path.unlink()
    notes = hw.connect(lake).collection("notes")
    with pytest.raises((ObjectNotFound, Corrupt), match=path.name):
        notes.to_arrow()
    assert notes.verify().damaged[0].endswith("missing")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for part in range(3):
        pq.write_table(crashing.rows(100 * part, 50), folder / f"part-{part}.parquet")
    return folder


def test_a_broken_source_file_is_named_and_the_version_before_it_stays(tmp_path: Path, source: Path) -> None:
    docs = hw.connect(tmp_path / "lake").create_external_collection("docs", source, primary_key="id")
    before = docs.to_arrow()
    for content in (b"", b"PAR1", b"not parquet at all" * 100, (source / "part-0.parquet").read_bytes()[:-9]):
        (source / "part-9.parquet").write_bytes(content)
        with pytest.raises(Corrupt, match=r"part-9\.parquet"):
            docs.refresh()
        assert docs.to_arrow().equals(before)
    (source / "part-9.parquet").unlink()
    assert docs.refresh().unchanged == 3


def test_a_source_that_never_was_readable_makes_no_collection(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"zero")
    db = hw.connect(tmp_path / "lake")
    with pytest.raises(Corrupt, match=r"bad\.parquet"):
        db.create_external_collection("docs", tmp_path / "bad.parquet")
    assert db.list_collections() == []


@pytest.mark.parametrize("change", ["rewrite", "same size", "vanish"])
def test_a_source_file_that_changed_between_refreshes_is_an_error_on_every_read(
    tmp_path: Path, source: Path, change: str
) -> None:
    db = hw.connect(tmp_path / "lake")
    docs = db.create_external_collection("docs", source, primary_key="id")
    path = source / "part-1.parquet"
    if change == "vanish":
        path.unlink()
    elif change == "rewrite":
        pq.write_table(crashing.rows(5000, 70), path)
    else:
        content = path.read_bytes()
        shutil.copy(path, tmp_path / "copy")
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
    for read in (
        docs.to_arrow,
        lambda: list(docs.scan()),
        lambda: docs.search(np.ones(crashing.DIM), top_k=150)[0],
        lambda: docs.get(list(range(100, 150))).to_arrow(),
    ):
        with pytest.raises(SourceChanged, match=r"part-1\.parquet"):
            read()
    docs.refresh()
    assert docs.num_rows == {"vanish": 100, "rewrite": 170, "same size": 150}[change]
    assert docs.to_arrow().num_rows == docs.num_rows


def test_a_source_whose_columns_changed_type_is_refused(tmp_path: Path, source: Path) -> None:
    docs = hw.connect(tmp_path / "lake").create_external_collection("docs", source, primary_key="id")
    table = crashing.rows(900, 5)
    pq.write_table(table.set_column(1, "text", pa.array([1.5] * 5)), source / "part-7.parquet")
    with pytest.raises(hw.errors.SchemaMismatch, match=r"part-7\.parquet.*text|text.*part-7\.parquet"):
        docs.refresh()
    assert docs.num_rows == 150
