"""Timestamps come in as text, datetimes, pandas and Arrow; those without an offset are in the time zone of the rows."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import InvalidArgument

NOON = datetime.datetime(2025, 7, 1, 12)
UTC = datetime.UTC
FIELDS = [hw.Field("id", hw.Int64), hw.Field("t", hw.TimestampTz, nullable=True)]
SPELLINGS: dict[str, Any] = {
    "text": [{"id": 1, "t": "2025-07-01T12:00:00"}],
    "datetime": [{"id": 1, "t": NOON}],
    "pandas stamp": [{"id": 1, "t": pd.Timestamp(NOON)}],
    "columns": {"id": [1], "t": [NOON]},
    "frame": pd.DataFrame({"id": [1], "t": [NOON]}),
    "arrow": pa.table({"id": [1], "t": pa.array([NOON], pa.timestamp("ms"))}),
    "arrow text": pa.table({"id": [1], "t": ["2025-07-01T12:00:00"]}),
    "batch": pa.RecordBatch.from_pydict({"id": [1], "t": pa.array([NOON], pa.timestamp("us"))}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("zone", [None, "Asia/Shanghai"])
def test_a_time_without_an_offset_is_local(tmp_path: Path, spelling: str, zone: str | None) -> None:
    properties = {"timezone": zone} if zone else {}
    made = hw.connect(tmp_path).create_collection("t", FIELDS, "id", properties=properties)
    made.insert(SPELLINGS[spelling])
    made.upsert([{"id": 2, "t": "2025-07-01T12:00:00+00:00"}, {"id": 3, "t": None}])
    hours = 8 if zone else 0
    expected = NOON.replace(tzinfo=UTC) - datetime.timedelta(hours=hours)
    assert [row["t"] for row in made.query("id <= 2", order_by="id")] == [expected, NOON.replace(tzinfo=UTC)]
    assert made.count("t == '2025-07-01T12:00:00'") == (1 if zone else 2)
    assert made.count(f"t == ISO '{expected.isoformat()}'") == (1 if zone else 2)


def test_an_unknown_time_zone_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="unknown or invalid IANA Time Zone ID: Mars/Olympus"):
        hw.connect(tmp_path).create_collection("t", FIELDS, "id", properties={"timezone": "Mars/Olympus"})


def test_segments_are_passed_over_by_their_times(tmp_path: Path) -> None:
    made = hw.connect(tmp_path).create_collection("t", FIELDS, "id")
    for month in (1, 2, 3):
        made.insert([{"id": month, "t": datetime.datetime(2025, month, 5, tzinfo=UTC)}])
        made.flush()
    found = made.query("ISO '2025-02-01' <= t < ISO '2025-03-01'")
    assert [row["id"] for row in found] == [2]
    assert found.info.segments_pruned == 2
    assert made.query("t > ISO '2026-01-01'").info.segments_pruned == 3
    assert made.query("t is null").info.segments_pruned == 3
