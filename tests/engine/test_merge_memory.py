"""Merging segments takes the memory of a few blocks, whatever they hold and however their rows are sorted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw

SEGMENTS, ROWS, DIM, TEXT = 4, 20_000, 512, 1_000
SEGMENT_MIB = ROWS * (DIM * 4 + TEXT) >> 20

MERGE = """
import sys, threading, pathlib
import headwater as hw
from headwater.engine import Database
from headwater.store import FaultyStore, open_store

lake, where, cluster_by = sys.argv[1:]
if where == "remote":
    db = Database(FaultyStore(open_store(lake)), "default", hw.Settings())
else:
    db = hw.connect(lake)

def own_mib():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024

# What every merge brings in: libraries, threads.
db.collection("small").optimize(cluster_by="place")
before, most, done = own_mib(), [0], threading.Event()

def watch():
    while not done.wait(0.005):
        most[0] = max(most[0], own_mib())

watcher = threading.Thread(target=watch)
watcher.start()
[report] = db.collection("large").optimize(cluster_by=cluster_by or None).compactions
done.set()
watcher.join()
print(most[0] - before, report.rows)
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def rows(first: int, n: int) -> pa.Table:
    """Vectors and texts that say which row they are of."""
    vectors = np.zeros((n, DIM), np.float32)
    ids = np.arange(first, first + n)
    vectors[:, 0] = ids
    texts = [f"{number:08d}" * (TEXT // 8) for number in ids]
    return pa.table(
        {
            "id": ids,
            "place": (ids * 7_919) % 100_003,
            "text": texts,
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections of four segments each, of which every tenth row is gone."""
    folder = tmp_path_factory.mktemp("lake")
    schema = {"id": hw.Int64, "place": hw.Int64, "text": hw.String, "v": hw.FloatVector(DIM)}
    with hw.connect(folder) as db:
        for name, n in (("small", 500), ("large", ROWS)):
            made = db.create_collection(name, schema, "id")
            for number in range(SEGMENTS):
                made.insert(rows(number * n, n))
                made.flush()
        made.delete(filter="id % 10 == 3")
        made.flush()
        assert len(made.manifest.segments) == SEGMENTS
    return folder


@pytest.mark.parametrize(("where", "cluster_by"), [("local", "place"), ("remote", "")])
def test_merging_holds_less_than_one_of_the_segments(
    lake: Path, tmp_path: Path, where: str, cluster_by: str
) -> None:
    shutil.copytree(lake, tmp_path / "lake", copy_function=os.link)
    command = [sys.executable, "-c", MERGE, str(tmp_path / "lake"), where, cluster_by]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grown_mib, written = map(int, done.stdout.split())
    assert written == SEGMENTS * ROWS * 9 // 10
    assert grown_mib < SEGMENT_MIB
