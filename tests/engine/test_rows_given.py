"""Rows come in the forms that people have them in: frames of mixed columns, generators, nothing at all."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import InvalidArgument, SchemaMismatch

SCHEMA = {
    "id": hw.Int64,
    "text": hw.String,
    "about": hw.JSON,
    "at": hw.TimestampTz,
    "tags": hw.Array(hw.String),
    "v": hw.FloatVector(2),
}
NOON = datetime.datetime(2026, 1, 1, 12)


@pytest.fixture
def notes(tmp_path: Path) -> hw.Collection:
    db = hw.connect(tmp_path / "lake")
    schema = [hw.Field(name, kind, nullable=name != "id") for name, kind in SCHEMA.items()]
    return db.create_collection("notes", schema, "id")


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [1, 2, 3],
            "text": ["a", None, float("nan")],
            "about": [{"a": 1}, {"b": [2]}, None],
            "at": pd.to_datetime([NOON, None, NOON]),
            "tags": [["x"], [], None],
            "v": [np.array([1.0, 0.0]), [0.0, 1.0], None],
        }
    )


def test_a_frame_is_taken_as_it_is(notes: hw.Collection) -> None:
    """Dicts keep their own keys, missing values of any spelling are null."""
    assert notes.insert(frame()).count == 3
    rows = notes.query(order_by="id")
    assert [row["about"] for row in rows] == [{"a": 1}, {"b": [2]}, None]
    assert [row["text"] for row in rows] == ["a", None, None]
    assert [row["tags"] for row in rows] == [["x"], [], None]
    assert [row["at"] and row["at"].hour for row in rows] == [12, None, 12]
    assert notes.to_arrow(["v"])["v"].null_count == 1


def test_times_of_a_frame_are_in_the_time_zone_of_the_collection(notes: hw.Collection) -> None:
    notes.set_properties({"timezone": "Asia/Shanghai"})
    notes.insert(frame())
    assert notes.get(1)[0]["at"].astimezone(datetime.UTC).hour == 4


def test_a_frame_of_mixed_values_is_told_the_row(notes: hw.Collection) -> None:
    with pytest.raises(SchemaMismatch, match='row 1, field "text": expected varchar, got 5'):
        notes.insert(frame().assign(text=["a", 5, "b"]))
    twice = pd.concat([frame(), frame()[["text"]]], axis=1)
    with pytest.raises(SchemaMismatch, match="'text' appears 2 times"):
        notes.insert(twice)
    assert notes.num_rows == 0


def test_rows_may_come_from_a_generator(notes: hw.Collection) -> None:
    assert notes.insert({"id": i, "text": str(i)} for i in range(3)).count == 3
    assert notes.upsert(iter([{"id": 1, "text": "new"}]), partial=True).count == 1
    batches = pa.table({"id": [7, 8]}).to_batches(max_chunksize=1)
    assert notes.insert(iter(batches)).count == 2
    assert [row["text"] for row in notes.get([1, 2, 8])] == ["new", "2", None]


def test_no_rows_are_no_mistake(notes: hw.Collection) -> None:
    for nothing in ([], iter([]), frame().iloc[:0], pa.table({"id": pa.array([], pa.int64())})):
        result = notes.insert(nothing)
        assert result.count == 0
        assert result.keys is not None
        assert len(result.keys) == 0
    assert notes.version == 1


def test_columns_that_the_schema_does_not_name_are_dynamic_keys(tmp_path: Path) -> None:
    """In frames and Arrow as in dicts; a row has not the keys of which it has null."""
    db = hw.connect(tmp_path / "lake")
    docs = db.create_collection("docs", hw.Schema.of({"id": hw.Int64}, primary_key="id", dynamic=True))
    docs.insert(
        pd.DataFrame(
            {"id": [1, 2], "colour": ["red", None], "size": [1.5, 2.5], "more": [{"a": 1}, {"b": 2}]}
        )
    )
    docs.insert(pa.table({"id": [3], "colour": ["blue"]}))
    docs.insert({"id": [4], "colour": np.array(["green"])})
    docs.upsert(pa.table({"id": [3], "size": [9]}), partial=True)
    rows = docs.query(order_by="id", output_fields=["*"])
    assert [row.get("$meta", row) for row in rows] == [
        {"colour": "red", "size": 1.5, "more": {"a": 1}},
        {"size": 2.5, "more": {"b": 2}},
        {"colour": "blue", "size": 9},
        {"colour": "green"},
    ]
    assert docs.count('colour in ["red", "green"]') == 2
    assert docs.count("more['b'] == 2") == 1


def test_a_column_is_added_from_a_frame(notes: hw.Collection) -> None:
    notes.insert([{"id": i} for i in range(3)])
    notes.add_column("rank", pd.Series([3.0, None, 1.0], index=[7, 8, 9]))
    assert [row["rank"] for row in notes.query(order_by="id")] == [3.0, None, 1.0]


def test_a_column_is_added_by_key_from_a_frame(notes: hw.Collection) -> None:
    notes.insert([{"id": i} for i in range(3)])
    notes.add_column("rank", pd.DataFrame({"id": [2, 0], "rank": [5, 7]}))
    notes.add_column("word", pl.DataFrame({"id": [1], "word": ["one"]}))
    rows = list(notes.query(output_fields=["rank", "word"], order_by="id"))
    assert rows == [{"rank": 7, "word": None}, {"rank": None, "word": "one"}, {"rank": 5, "word": None}]


@pytest.mark.parametrize(
    ("values", "how", "error", "says"),
    [
        (None, {}, InvalidArgument, "'new' cannot be inferred from nulls"),
        ([None, None, None], {}, InvalidArgument, "'new' cannot be inferred from nulls"),
        ({1: "a"}, {}, InvalidArgument, "'new' cannot be inferred"),
        ([1, "a", 2], {}, InvalidArgument, "'new' cannot be inferred"),
        (pd.Series([1, "a", 2]), {}, SchemaMismatch, "'new'"),
        (pd.DataFrame({"id": [1], "other": [2]}), {}, SchemaMismatch, "no column 'new', but id, other"),
        (lambda batch: 1, {"type": hw.Int64}, SchemaMismatch, "'new': the function returned int"),
        (
            lambda batch: [1],
            {"type": hw.Int64},
            SchemaMismatch,
            "'new': the function returned 1 values for 3",
        ),
    ],
)
def test_a_column_that_does_not_fit_is_told_by_its_name(
    notes: hw.Collection, values: Any, how: dict[str, Any], error: type[Exception], says: str
) -> None:
    notes.insert([{"id": i} for i in range(3)])
    with pytest.raises(error, match=says):
        notes.add_column("new", values, **how)
    assert "new" not in notes.schema.names


def test_a_url_is_no_file_to_insert(notes: hw.Collection) -> None:
    with pytest.raises(InvalidArgument, match=r"'s3://bucket/x\.parquet'") as refused:
        notes.insert("s3://bucket/x.parquet")
    assert "create_external_collection" in (refused.value.hint or "")


def test_record_batches_come_in_a_list_too(notes: hw.Collection) -> None:
    table = pa.table({"id": list(range(9))})
    notes.insert(table.to_batches(max_chunksize=2))
    notes.insert(iter(table.slice(0, 1).to_batches()))
    assert notes.num_rows == 10


def test_a_key_in_the_index_of_a_frame_is_told(notes: hw.Collection) -> None:
    with pytest.raises(SchemaMismatch, match='"id" is missing') as refused:
        notes.insert(pd.DataFrame({"id": [1], "text": ["a"]}).set_index("id"))
    assert "reset_index()" in (refused.value.hint or "")
