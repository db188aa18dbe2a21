"""Collections with schema functions, from the first row to compaction."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater import errors
from headwater.schema import FieldType

TEXT = FieldType(hw.DataType.VARCHAR, max_length=1000, analyzer='{"type": "standard"}')
BM25 = hw.Function("bm25", "BM25", "text", "sparse")
FIELDS = {"id": hw.Int64, "text": TEXT, "sparse": hw.SparseFloatVector}


def column_ids(col: hw.Collection) -> set[int]:
    return {n for s in col._lake.latest().segments for g in s.column_groups for n in g.field_ids}


def test_the_output_of_bm25_is_never_stored(tmp_path: Path) -> None:
    db = hw.connect(tmp_path)
    col = db.create_collection("docs", FIELDS, "id", functions=[BM25])
    col.insert([{"id": i, "text": f"row {i}"} for i in range(100)])
    assert col.get(3)[0] == {"id": 3, "text": "row 3"}
    col.upsert([{"id": 3, "text": "other"}])
    col.upsert([{"id": 4, "text": "another"}], partial=True)
    col.flush()
    col.insert([{"id": i, "text": f"row {i}"} for i in range(100, 200)])
    col.flush()
    col.optimize()
    assert column_ids(col) == {1, 2}
    reopened = hw.connect(tmp_path).collection("docs")
    assert reopened.schema.functions == (BM25,)
    assert reopened.num_rows == 200
    assert set(reopened.to_arrow().column_names) == {"id", "text"}
    assert reopened.query("id in [3, 4]", output_fields=["*"]).to_arrow()["text"].to_pylist() == [
        "other",
        "another",
    ]
    with pytest.raises(errors.InvalidArgument, match="stores nothing"):
        reopened.query("id == 3", output_fields=["sparse"])
    with pytest.raises(errors.InvalidArgument, match="filled in by the function 'bm25'"):
        reopened.insert([{"id": 1000, "text": "a", "sparse": {1: 2.0}}])
    with pytest.raises(errors.InvalidArgument, match="filled in by the function 'bm25'"):
        reopened.upsert([{"id": 3, "sparse": {1: 2.0}}], partial=True)


def test_a_dropped_bm25_function_takes_its_field_with_it(tmp_path: Path) -> None:
    col = hw.connect(tmp_path).create_collection("docs", FIELDS, "id", functions=[BM25])
    col.insert([{"id": 1, "text": "a"}])
    with pytest.raises(errors.InvalidArgument, match="reads it"):
        col.drop_column("text")
    with pytest.raises(errors.InvalidArgument, match="fills it"):
        col.drop_column("sparse")
    col.rename_column("text", "body")
    assert col.schema.functions[0].inputs == ("body",)
    col.drop_function("bm25")
    assert col.schema.names == ("id", "body")
    col.insert([{"id": 2, "body": "b"}])
    assert col.num_rows == 2
    assert col.describe()["functions"] == []


def test_an_external_collection_has_no_column_for_bm25_either(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    pq.write_table(pa.table({"id": [1, 2], "text": ["a", "b"]}), tmp_path / "files" / "a.parquet")
    db = hw.connect(tmp_path / "lake")
    schema = hw.Schema.of(FIELDS, functions=[BM25])
    col = db.create_external_collection("docs", tmp_path / "files", schema, "id")
    pq.write_table(pa.table({"id": [3], "text": ["c"]}), tmp_path / "files" / "b.parquet")
    col.refresh()
    assert col.query(order_by="id").to_arrow()["text"].to_pylist() == ["a", "b", "c"]
    assert column_ids(col) == {1, 2}
