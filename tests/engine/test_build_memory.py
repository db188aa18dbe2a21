"""Building an index takes the memory of its sample, its codes and a few blocks of rows, wherever the vectors are."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_memory import NEEDS_PROC, grown_mib

import headwater as hw

ROWS, DIM = 160_000, 256
COLUMN_MIB = ROWS * DIM * 4 >> 20
MOST_MIB = 130

BUILD = """
lake, where = sys.argv[1:]
db = opened(lake, where)

# What every build brings in: libraries, threads.
db.collection("small").create_index("v", params={"nlist": 16})
shares, params = [], {"nlist": 63 if where == "remote" else 64}
with watched():
    report = db.collection("large").create_index(
        "v", params=params, progress=lambda rows, total: shares.append(rows / total)
    )
assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 8, shares
print(report.rows)
"""

pytestmark = NEEDS_PROC


def rows(n: int) -> pa.Table:
    """Vectors of whatever numbers, and a key."""
    numbers = np.random.default_rng(0).random((n, DIM), dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), DIM)
    return pa.table({"id": np.arange(n), "v": vectors})


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A managed lake, and one over a Parquet file that is one row group."""
    folder = tmp_path_factory.mktemp("lakes")
    schema = {"id": hw.Int64, "v": hw.FloatVector(DIM)}
    managed, external = hw.connect(folder / "managed"), hw.connect(folder / "external")
    for name, n in (("small", 1_000), ("large", ROWS)):
        table, files = rows(n), folder / name
        managed.create_collection(name, schema, "id").insert(table)
        files.mkdir()
        pq.write_table(table, files / "all.parquet", use_dictionary=["id"], compression="none")
        external.create_external_collection(name, files, schema, "id")
    return {"local": folder / "managed", "remote": folder / "managed", "external": folder / "external"}


@pytest.mark.parametrize("where", ["local", "remote", "external"])
def test_a_build_holds_a_few_blocks_of_the_column(lakes: dict[str, Path], where: str) -> None:
    grown, built = grown_mib(BUILD, str(lakes[where]), where)
    assert built == ROWS
    assert grown < MOST_MIB < COLUMN_MIB


def test_a_build_that_is_given_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    docs = hw.connect(tmp_path / "lake").create_collection(
        "t", {"id": hw.Int64, "v": hw.FloatVector(DIM)}, "id"
    )
    docs.insert(rows(3_000))
    docs.flush()

    def give_up(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        docs.create_index("v", progress=give_up)
    assert not [path for path in scratch.rglob("*") if path.is_file()]
    assert not [path for path in (tmp_path / "lake").rglob("*.hwx")]
    assert docs.create_index("v").rows == 3_000
