"""Merging segments takes the memory of a few blocks, whatever they hold and however their rows are sorted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from own_memory import NEEDS_PROC, grown_mib

import headwater as hw

SEGMENTS, ROWS, DIM, TEXT = 4, 20_000, 512, 1_000
SEGMENT_MIB = ROWS * (DIM * 4 + TEXT) >> 20

MERGE = """
lake, where, cluster_by = sys.argv[1:]
db = opened(lake, where)

# What every merge brings in: libraries, threads.
db.collection("small").optimize(cluster_by="place")
with watched():
    [report] = db.collection("large").optimize(cluster_by=cluster_by or None).compactions
print(report.rows)
"""

pytestmark = NEEDS_PROC


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
    grown, written = grown_mib(MERGE, str(tmp_path / "lake"), where, cluster_by)
    assert written == SEGMENTS * ROWS * 9 // 10
    assert grown < SEGMENT_MIB
