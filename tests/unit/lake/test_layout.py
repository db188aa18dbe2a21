"""The lake on disk is what `docs/format/` says: names, one JSON document, files that other engines read."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import vortex
import zstandard

import headwater as hw

_ID = r"[0-9a-f]{32}"
LAYOUT = (
    r"manifests/\d{20}\.json\.zst",
    rf"segments/{_ID}/{_ID}\.(vortex|arrow|parquet)",
    rf"indexes/{_ID}/\d+-{_ID}/index\.hwx",
    r"log/0-[0-9a-f]{8}/\d{20}\.arrow",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    notes = hw.connect(tmp_path / "lake").create_collection(
        "notes", {"id": hw.Int64, "text": hw.String, "v": hw.FloatVector(4)}, "id"
    )
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    notes.insert([{"id": i, "text": f"text {i}", "v": v} for i, v in enumerate(vectors)])
    notes.create_index("v", "IVF_RABITQ")
    notes.tag("first")
    return tmp_path / "lake" / "default" / "notes"


def document(path: Path) -> dict[str, Any]:
    """As `zstd -dc` shows it."""
    with path.open("rb") as file:
        text = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_file_has_its_place(root: Path) -> None:
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    kinds = [next((i for i, one in enumerate(LAYOUT) if re.fullmatch(one, file)), None) for file in files]
    assert None not in kinds, files
    assert set(kinds) == {0, 1, 2, 3}


def test_a_manifest_is_one_document_that_names_every_file(root: Path) -> None:
    newest = max(root.glob("manifests/*"))
    found = document(newest)
    assert found["format"] == 1
    assert found["version"] == int(newest.name.split(".")[0])
    assert found["tags"] == {"first": found["version"] - 1}
    [segment] = found["segments"]
    assert segment["row_ids"] == [[0, 50]]
    [build] = found["builds"]
    files = [group["file"] for group in segment["column_groups"]] + [build["file"]]
    for file in files:
        content = (root.parents[1] / file["key"]).read_bytes()
        assert len(content) == file["size_bytes"]
        assert f"crc32:{zlib.crc32(content):08x}" == file["checksum"]
    stored = {
        path
        for path in root.rglob("*")
        if path.is_file() and path.parent.parent.name != "log" and path.parent.name != "manifests"
    }
    assert {root.parents[1] / file["key"] for file in files} == stored


def test_other_readers_read_the_columns(root: Path) -> None:
    found = document(max(root.glob("manifests/*")))
    ids = {field["id"]: field["name"] for field in found["schema"]["fields"]}
    columns = {}
    for group in found["segments"][0]["column_groups"]:
        path = root.parents[1] / group["file"]["key"]
        if path.suffix == ".arrow":
            table = pa.ipc.open_file(path).read_all()
        elif path.suffix == ".parquet":
            table = pq.read_table(path)
        else:
            table = vortex.open(str(path)).scan().read_all().to_arrow_table()
        for number in group["field_ids"]:
            columns[ids[number]] = table.column(str(number))
    assert columns["id"].to_pylist() == list(range(50))
    assert columns["text"].to_pylist() == [f"text {i}" for i in range(50)]
    expected = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(np.stack(columns["v"].to_numpy(zero_copy_only=False)), expected)


def test_an_old_reader_refuses_a_newer_format(root: Path) -> None:
    newest = max(root.glob("manifests/*"))
    changed = {**document(newest), "format": 99, "version": document(newest)["version"] + 1}
    name = f"{changed['version']:020d}.json.zst"
    (root / "manifests" / name).write_bytes(zstandard.compress(json.dumps(changed).encode()))
    with pytest.raises(hw.errors.Corrupt, match="upgrade") as caught:
        hw.connect(root.parents[1]).collection("notes").count()
    assert "format 99" in str(caught.value)
