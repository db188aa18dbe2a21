"""Functions added later: rows that are there are filled, segment by segment, and new ones as they come."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater import errors
from headwater.schema import FieldType

DIM = 8
EMBED = hw.Function("embed", "TEXT_EMBEDDING", "text", "embedding", {"provider": "letters"})
TYPE = hw.FloatVector(DIM)


def letters(texts: Sequence[str]) -> np.ndarray:
    return np.array([[text.count(chr(97 + i)) for i in range(DIM)] for text in texts], np.float32)


def word(i: int) -> str:
    return "".join(chr(97 + (i >> shift) % DIM) for shift in (0, 2, 4))


@pytest.fixture
def db(tmp_path: Path) -> hw.Database:
    db = hw.connect(tmp_path / "lake")
    db.register_embedder("letters", letters)
    return db


def filled(db: hw.Database, n: int = 90, **options: Any) -> hw.Collection:
    fields = [hw.Field("id", hw.Int64), hw.Field("text", hw.String, nullable=True)]
    col = db.create_collection("docs", fields, "id", **options)
    for part in np.array_split(np.arange(n), 3):
        col.insert([{"id": int(i), "text": None if i % 10 == 9 else word(int(i))} for i in part])
        col.flush()
    return col


def check(col: hw.Collection, keys: Sequence[int]) -> None:
    rows = col.query(order_by="id").to_arrow().to_pylist()
    assert [row["id"] for row in rows] == list(keys)
    for row in rows:
        if row["text"] is None:
            assert row["embedding"] is None
        else:
            assert row["embedding"] == letters([row["text"]])[0].tolist()


@pytest.mark.parametrize("form", [None, "parquet"])
def test_rows_that_are_there_are_filled_and_new_ones_as_they_come(db: hw.Database, form: str | None) -> None:
    col = filled(db, format=form)
    col.delete([4])
    col.insert([{"id": 100, "text": "aab"}])
    steps: list[tuple[int, int]] = []
    before = {group.file.key for s in col._lake.latest().segments for group in s.column_groups if group.file}
    report = col.add_function(EMBED, TYPE, progress=lambda done, total: steps.append((done, total)))
    assert report.segments_filled == 4
    assert report.rows == 91
    assert steps[-1] == (91, 91)
    after = {group.file.key for s in col._lake.latest().segments for group in s.column_groups if group.file}
    assert before < after
    col.insert([{"id": 101, "text": "abc"}])
    col.upsert([{"id": 5, "text": "ddd"}])
    every = [i for i in [*range(90), 100, 101] if i != 4]
    check(col, every)
    assert col.search("ddd", anns_field="embedding", top_k=1)[0][0]["id"] == 5
    col.optimize()
    check(col, every)
    check(hw.connect(db._store.url.removeprefix("file://")).collection("docs"), every)


def test_vectors_of_a_version_that_was_left_are_not_taken_for_those_of_another_backfill(
    db: hw.Database,
) -> None:
    """One field of one segment, filled twice: both times its column is the segment's second."""
    order, unfilled = [1], []
    db.register_embedder("letters", lambda texts: letters(texts)[:, :: order[0]])
    col = filled(db)
    wanted = np.array([3, 0, 0, 0, 0, 0, 0, 0], np.float32)

    def stop(done: int, total: int) -> None:
        unfilled.append(col.version)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        col.add_function(EMBED, TYPE, progress=stop)
    col.backfill("embed")
    assert col.search([wanted], anns_field="embedding", top_k=1, output_fields=["text"])[0][0]["entity"] == {
        "text": "aaa"
    }
    col.restore(unfilled[0])
    order[0] = -1
    col.backfill("embed")
    [hits] = col.search([wanted[::-1].copy()], anns_field="embedding", top_k=1, output_fields=["text"])
    assert hits[0]["entity"] == {"text": "aaa"}


def test_a_backfill_that_is_cut_short_goes_on_with_what_is_left(db: hw.Database) -> None:
    col = filled(db)
    calls: list[int] = []

    def once(texts: Sequence[str]) -> Any:
        calls.append(len(texts))
        if len(calls) == 4:
            raise ConnectionError("away")
        return letters(texts)

    db.register_embedder("letters", once)
    with pytest.raises(ConnectionError):
        col.add_function(EMBED, TYPE)
    assert calls[0] == 1
    partly = [row["embedding"] is not None for row in col.query(order_by="id")]
    assert partly == [i < 60 and i % 10 != 9 for i in range(90)]
    # Compaction does not turn what is not filled yet into nulls for good.
    col.optimize()
    db.register_embedder("letters", letters)
    with pytest.raises(errors.AlreadyExists, match="backfill"):
        col.add_function(EMBED, TYPE)
    report = col.backfill("embed")
    assert report.rows == 30
    check(col, range(90))
    assert col.backfill("embed").rows == 0
    col.optimize()
    check(col, range(90))


def test_a_partial_upsert_of_a_row_that_is_not_filled_yet_fills_it(db: hw.Database) -> None:
    col = filled(db)
    col.add_column("note", None, type=hw.String)

    def away(texts: Sequence[str]) -> Any:
        if len(texts) > 1:
            raise ConnectionError("away")
        return letters(texts)

    db.register_embedder("letters", away)
    with pytest.raises(ConnectionError):
        col.add_function(EMBED, TYPE)
    db.register_embedder("letters", letters)
    col.upsert([{"id": 3, "note": "seen"}], partial=True)
    [row] = col.get([3])
    assert row["note"] == "seen"
    assert row["embedding"] == letters([row["text"]])[0].tolist()
    col.flush()
    col.backfill("embed")
    check(col, range(90))


def test_rows_of_a_process_that_does_not_know_the_function_yet_are_filled_later(db: hw.Database) -> None:
    col = filled(db, 30)
    before = col._managed("insert")
    col.add_function(EMBED, TYPE)
    col.insert([{"id": 200, "text": "bcd"}])
    # Rows of the schema as it was, written after the function was added, and sealed together with others.
    late = pa.table({"id": [201, 202], "text": ["abc", None]}, schema=before.schema.to_arrow())
    col._write_rows(before, late, None, upsert=False)
    col.flush()
    assert [row["embedding"] is None for row in col.get([200, 201, 202])] == [False, True, True]
    assert col.backfill("embed").rows == 1
    check(col, [*range(30), 200, 201, 202])


def test_an_index_built_before_the_values_is_built_again(db: hw.Database) -> None:
    col = filled(db, 300)
    db.register_embedder("letters", lambda texts: letters(texts) if len(texts) == 1 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        col.add_function(EMBED, TYPE)
    col.create_index("embedding", "HNSW", metric_type="L2")
    assert col.search(letters(["abc"]), top_k=5)[0] == []
    db.register_embedder("letters", letters)
    col.backfill("embed")
    for _ in range(2):
        hits = col.search(letters([word(17)]), top_k=1)[0]
        assert hits[0]["distance"] == 0
        col.build_indexes()
    assert col.describe()["indexes"][0]["coverage"] == 1.0


def test_min_hashes_and_bm25_are_added_too(db: hw.Database) -> None:
    text = FieldType(hw.DataType.VARCHAR, max_length=1000, analyzer='{"type": "standard"}')
    col = db.create_collection("docs", {"id": hw.Int64, "text": text}, "id")
    col.insert([{"id": i, "text": f"{word(i)} {word(i + 1)} lake"} for i in range(40)])
    col.add_function(
        hw.Function("near", "MINHASH", "text", "sig", {"shingle_size": 1}), hw.BinaryVector(32 * 64)
    )
    hit = col.search([f"{word(7)} {word(8)} lake"], anns_field="sig", top_k=1)[0][0]
    assert hit["distance"] == 1
    col.add_function(hw.Function("words", "BM25", "text", "sparse"), hw.SparseFloatVector)
    hits = col.search([word(30)], anns_field="sparse", top_k=3)[0]
    assert hits
    assert all(word(30) in col.get([one["id"]])[0]["text"] for one in hits)
    col.drop_function("near")
    col.drop_column("sig")
    assert col.schema.names == ("id", "text", "sparse")


@pytest.mark.parametrize(
    ("function", "field", "error", "said"),
    [
        (EMBED, hw.Field("embedding", TYPE), errors.InvalidArgument, "must be nullable"),
        (EMBED, hw.Field("other", TYPE, nullable=True), errors.InvalidArgument, "fills 'embedding'"),
        (EMBED, hw.FloatVector(5), errors.DimensionMismatch, "8 numbers"),
        (hw.Function("e", "TEXT_EMBEDDING", "none", "v"), TYPE, errors.FieldNotFound, "'none'"),
        (hw.Function("e", "TEXT_EMBEDDING", "id", "v"), TYPE, errors.InvalidArgument, "reads a text"),
        (hw.Function("e", "TEXT_EMBEDDING", "text", "text"), TYPE, errors.AlreadyExists, "'text'"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    db: hw.Database, function: hw.Function, field: Any, error: type[Exception], said: str
) -> None:
    col = filled(db, 10)
    before = col.schema
    with pytest.raises(error, match=said):
        col.add_function(function, field)
    assert col.schema == before


def write(folder: Path, name: str, keys: Sequence[int]) -> None:
    table = pa.table({"id": pa.array(keys, pa.int64()), "text": [word(i) for i in keys]})
    pq.write_table(table, folder / name)


@pytest.mark.parametrize("later", [False, True])
def test_an_external_collection_is_filled_and_refreshed_with_its_functions(
    db: hw.Database, tmp_path: Path, later: bool
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write(folder, "a.parquet", range(20))
    write(folder, "b.parquet", range(20, 30))
    embedded: list[str] = []
    db.register_embedder("letters", lambda texts: (embedded.extend(texts), letters(texts))[1])
    if later:
        col = db.create_external_collection("docs", folder, primary_key="id")
        col.add_function(EMBED, TYPE)
    else:
        fields = {"embedding": hw.Field("embedding", TYPE, nullable=True)}
        col = db.create_external_collection("docs", folder, fields, "id", functions=[EMBED])
    check(col, range(30))
    embedded.clear()
    write(folder, "c.parquet", range(30, 45))
    write(folder, "b.parquet", range(50, 60))
    col.refresh()
    check(col, [*range(20), *range(30, 45), *range(50, 60)])
    assert set(embedded) <= {word(i) for i in [*range(30, 45), *range(50, 60)]}
    col.create_index("embedding", "FLAT")
    assert col.search(word(33), anns_field="embedding", top_k=1)[0][0]["distance"] == pytest.approx(1)
