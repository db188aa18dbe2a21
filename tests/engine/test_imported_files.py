"""Files of other engines that are imported: what they hold comes as it is, or is refused by name."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.lake import JobState


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    return hw.connect(tmp_path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_a_file_has_twice_is_named(db: hw.Database, tmp_path: Path, kind: str) -> None:
    docs = db.create_collection("docs", {"id": hw.Int64, "s": hw.String}, "id")
    if kind == "csv":
        (tmp_path / "a.csv").write_text("id,s,s\n1,a,b\n")
    else:
        columns = [pa.array([1]), pa.array(["a"]), pa.array(["b"])]
        pq.write_table(pa.Table.from_arrays(columns, names=["id", "s", "s"]), tmp_path / "a.parquet")
    job = db.jobs.wait(db.imports.start("docs", [[f"a.{kind}"]]).id)
    assert job.state is JobState.FAILED
    assert f"'a.{kind}': column 's' appears 2 times" in job.reason
    assert docs.num_rows == 0


def test_times_of_hive_are_imported_however_far_away(db: hw.Database, tmp_path: Path) -> None:
    docs = db.create_collection("docs", {"id": hw.Int64, "t": hw.TimestampTz}, "id")
    day = datetime.datetime(9999, 12, 31)
    table = pa.table({"id": [1], "t": pa.array([day], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert db.jobs.wait(db.imports.start("docs", [["a.parquet"]]).id).state is JobState.COMPLETED
    docs.insert(tmp_path / "a.parquet")
    assert docs.to_arrow(["t"])["t"].to_pylist() == [day.replace(tzinfo=datetime.UTC)] * 2
