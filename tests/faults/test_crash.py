"""kill -9 at every system call that changes the disk: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import headwater as hw

from . import crashing

# The next step is played in the same folder, where no thread of the one before may be at work.
QUIET = hw.Settings(maintenance=hw.settings.MaintenanceSettings(automatic=False))

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["headwater", "headwater.index", "pyarrow.parquet", "pandas"])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder as it was, and the folder to work in."""
    before, folder = tmp_path_factory.mktemp("before") / "lake", tmp_path_factory.mktemp("work") / "lake"
    folder.mkdir()
    crashing.prepare(folder)
    shutil.copytree(folder, before, copy_function=os.link)
    return before, folder


def check_notes(folder: Path, *, acknowledged: bool) -> None:
    notes = hw.connect(folder / "lake").collection("notes")
    expected = set(range(120))
    found = notes.to_arrow(["id", "text", "v"])
    ids = found.column("id").to_pylist()
    assert len(ids) == len(set(ids))
    inserted = expected | set(range(500, 525))
    assert set(ids) in (expected, inserted, inserted - {3, 501}, inserted - {3})
    assert not acknowledged or len(ids) in (120, 144, 145)
    assert found.column("text").to_pylist() == [f"row {i}" for i in ids]
    vectors = np.stack(found.column("v").to_numpy(zero_copy_only=False))
    for entry in notes.history():
        assert notes.at(version=entry.version).to_arrow().num_rows == entry.num_rows
    [hits] = notes.search(vectors[17], top_k=5, params={"metric_type": "COSINE"})
    cosine = vectors @ vectors[17] / np.linalg.norm(vectors, axis=1)
    assert [hit["id"] for hit in hits] == [ids[i] for i in np.argsort(-cosine)[:5]]


def check_again(operation: str, folder: Path, *, acknowledged: bool) -> None:
    """After the crash the same operation can be run to its end, and shows what it should."""
    db = hw.connect(folder / "lake", settings=QUIET)
    notes, docs = db.collection("notes"), db.collection("docs")
    if operation in ("insert", "insert_large"):
        assert notes.num_rows == 145 if acknowledged else notes.num_rows in (120, 145)
        assert notes.insert(crashing.rows(900, 5)).count == 5
        assert notes.count("id >= 900") == 5
    elif operation == "flush":
        assert not acknowledged or notes.describe()["num_segments"] == 4
        crashing.flush(folder)
        assert set(notes.to_arrow(["id"]).column(0).to_pylist()) == {*range(120), *range(500, 525)} - {3}
        return
    elif operation == "create_index":
        covered = notes.describe()["indexes"]
        share = covered[0]["coverage"] if covered else 0.0
        report = notes.create_index("v", "HNSW")
        assert report.segments_covered == round(3 * share), "a finished segment was built again"
        assert report.segments_built + report.segments_covered == 3
        assert notes.search(crashing.rows(0, 1)["v"][0].as_py()).info.index_coverage == 1.0
    elif operation == "add_column":
        if "length" not in notes.schema.names:
            assert not acknowledged
            crashing.add_column(folder)
        assert notes.to_arrow(["length"]).column(0).to_pylist() == list(range(120))
    elif operation == "refresh":
        assert docs.num_rows == 90 if acknowledged else docs.num_rows in (60, 90)
        docs.refresh()
        assert sorted(docs.to_arrow(["id"]).column(0).to_pylist()) == [
            *range(30),
            *range(1000, 1030),
            *range(2000, 2030),
        ]
    else:
        crashing.collect_garbage(folder)
        assert len(notes.history()) == 1
        assert not list((folder / "lake").rglob("unnamed/*.vortex"))
    if not operation.startswith("insert"):
        check_notes(folder, acknowledged=acknowledged)
    there = notes.to_arrow(["id"])
    for collection in (notes, docs):
        collection.gc(retention_s=0.0, grace_s=-1.0)
    assert hw.connect(folder / "lake").collection("notes").to_arrow(["id", "v"]).select(["id"]) == there
    files = [path for path in (folder / "lake").rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.startswith(".hwtmp-")], "gc left a torn file behind"
    named = {folder / "lake" / key for key in notes._lake.latest().files()}
    assert named <= set(files)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", list(crashing.OPERATIONS))
def test_a_kill_at_every_step(prepared: tuple[Path, Path], operation: str, when: str) -> None:
    before, folder = prepared
    for step in itertools.count(1):
        # Links, because a source file is recognised by its inode and time too; nothing is ever changed in place.
        shutil.rmtree(folder)
        shutil.copytree(before, folder, copy_function=os.link)
        process = _CONTEXT.Process(target=crashing.run, args=(operation, folder, step, when), daemon=True)
        process.start()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL), f"step {step}: {process.exitcode}"
        acknowledged = (folder / "acknowledged").exists()
        check_notes(folder, acknowledged=acknowledged)
        check_again(operation, folder, acknowledged=acknowledged)
        if process.exitcode == 0:
            break
    assert step > 3, "the operation makes fewer durable calls than it must"
