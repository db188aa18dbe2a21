"""The main job through the Python door: point at a lake, index it in place, search it, refresh it."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw

DIM = 32


def clustered(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(16, DIM)).astype(np.float32)
    return centres[rng.integers(0, 16, n)] + 0.3 * rng.normal(size=(n, DIM)).astype(np.float32)


def documents(n: int, seed: int, first: int = 0) -> pa.Table:
    vectors = clustered(n, seed)
    return pa.table(
        {
            "doc_id": pa.array(range(first, first + n), pa.int64()),
            "text": [f"document {i}" for i in range(first, first + n)],
            "year": pa.array([2000 + (first + i) % 25 for i in range(n)], pa.int32()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM),
        }
    )


def cosine_top(
    vectors: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> list[int]:
    scores = vectors @ query / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    return np.argsort(-scores, kind="stable")[:k].tolist()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for part in range(4):
        pq.write_table(documents(500, seed=part, first=500 * part), folder / f"part-{part}.parquet")
    return folder


@pytest.fixture
def docs(db: hw.Database, source: Path) -> hw.Collection:
    schema = {"doc_id": hw.Int64, "text": hw.String, "year": hw.Int32, "embedding": hw.FloatVector(DIM)}
    return db.create_external_collection(
        "docs", src=f"{source}/*.parquet", schema=schema, primary_key="doc_id"
    )


def all_vectors(source: Path) -> np.ndarray:
    tables = [pq.read_table(path) for path in sorted(source.glob("*.parquet"))]
    return np.concatenate(
        [t["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, DIM) for t in tables]
    )


@pytest.mark.parametrize(
    "index_type", [None, "FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_RABITQ", "HNSW", "AUTOINDEX"]
)
def test_search_finds_the_exact_neighbours(docs: hw.Collection, source: Path, index_type: str | None) -> None:
    if index_type:
        docs.create_index("embedding", index_type)
    vectors = all_vectors(source)
    found = total = 0
    for query in clustered(20, seed=99):
        [hits] = docs.search([query], top_k=10, output_fields=["text"])
        assert all(hit["entity"]["text"] == f"document {hit['id']}" for hit in hits)
        found += len({hit["id"] for hit in hits} & set(cosine_top(vectors, query, 10)))
        total += 10
    assert found / total >= 0.95


@pytest.mark.parametrize("share", [25, 5, 1])
def test_filtered_search_holds_recall_at_every_selectivity(
    docs: hw.Collection, source: Path, share: int
) -> None:
    docs.create_index("embedding")
    vectors = all_vectors(source)
    years = 2000 + np.arange(len(vectors)) % 25
    allowed = years >= 2025 - share
    found = total = 0
    for query in clustered(10, seed=98):
        [hits] = docs.search([query], top_k=10, filter=f"year >= {2025 - share}", output_fields=["year"])
        assert len(hits) == 10
        assert all(hit["entity"]["year"] >= 2025 - share for hit in hits)
        found += len({hit["id"] for hit in hits} & set(cosine_top(vectors, query, 10, allowed)))
        total += 10
    assert found / total >= 0.95


def test_refresh_reads_only_what_changed(docs: hw.Collection, source: Path) -> None:
    assert docs.refresh().version == docs.version
    before = docs.version
    pq.write_table(documents(100, seed=7, first=2000), source / "part-9.parquet")
    report = docs.refresh()
    assert (len(report.added), len(report.changed), len(report.removed)) == (1, 0, 0)
    assert docs.num_rows == 2100
    assert docs.at(version=before).num_rows == 2000
    (source / "part-0.parquet").unlink()
    report = docs.refresh()
    assert (len(report.added), len(report.changed), len(report.removed)) == (0, 0, 1)
    assert docs.count() == 1600
    assert docs.count("doc_id < 500") == 0


def test_an_index_covers_only_new_segments_after_a_refresh(docs: hw.Collection, source: Path) -> None:
    docs.create_index("embedding", "FLAT")
    assert docs.search(clustered(1, 1)).info.index_coverage == 1.0
    pq.write_table(documents(100, seed=7, first=2000), source / "part-9.parquet")
    docs.refresh()
    result = docs.search(clustered(1, 7)[:1], top_k=5)
    assert 0 < result.info.index_coverage < 1
    assert len(result[0]) == 5
    [report] = docs.build_indexes()
    assert report.segments_built >= 1
    assert docs.search(clustered(1, 1)).info.index_coverage == 1.0


def test_a_source_file_that_changed_is_an_error_and_never_wrong_rows(
    docs: hw.Collection, source: Path
) -> None:
    pq.write_table(documents(500, seed=42, first=10_000), source / "part-1.parquet")
    with pytest.raises(hw.errors.SourceChanged, match="part-1"):
        docs.to_arrow()
    docs.refresh()
    assert docs.count("doc_id >= 10000") == 500


def test_nothing_but_the_lake_matters(
    docs: hw.Collection, db: hw.Database, tmp_path: Path, source: Path
) -> None:
    docs.create_index("embedding", "IVF_FLAT")
    query = clustered(1, 5)
    expected = docs.search(query, output_fields=["text", "year"])
    shutil.copytree(tmp_path / "lake", tmp_path / "elsewhere")
    again = hw.connect(tmp_path / "elsewhere").collection("docs")
    assert again.search(query, output_fields=["text", "year"]) == expected


def test_add_column_writes_only_the_column(docs: hw.Collection, tmp_path: Path) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (tmp_path / "lake").rglob("*") if p.is_file()}

    before = files()
    values = np.arange(2000, dtype=np.int64) * 3
    written = docs.add_column("triple", values)
    after = files()
    assert before.items() <= after.items()
    assert written <= 1.1 * values.nbytes
    rows = docs.query("doc_id in [7, 1999]", output_fields=["doc_id", "triple"], order_by="doc_id")
    assert list(rows) == [{"doc_id": 7, "triple": 21}, {"doc_id": 1999, "triple": 5997}]


def test_versions_tags_and_restore(db: hw.Database) -> None:
    notes = db.create_collection("notes", {"id": hw.Int64, "text": hw.String, "v": hw.FloatVector(2)}, "id")
    notes.insert([{"id": 1, "text": "one", "v": [1.0, 0.0]}])
    first = notes.tag("first")
    notes.insert({"id": [2, 3], "text": ["two", "three"], "v": [[0.0, 1.0], [1.0, 1.0]]})
    notes.rename_column("text", "body")
    assert notes.num_rows == 3
    assert notes.at(tag="first").query(order_by="-id")[0] == {"id": 1, "text": "one", "v": [1.0, 0.0]}
    assert notes.at(version=first).num_rows == 1
    assert notes.get([3, 1, 9], output_fields=["id", "body"]) == [
        {"id": 3, "body": "three"},
        {"id": 1, "body": "one"},
    ]
    notes.restore(first)
    assert notes.query(output_fields=["id"]) == [{"id": 1}]
    assert "text" in notes.schema.names
    operations = [entry.operation for entry in notes.history()]
    assert operations[-1].startswith("restore")


def test_a_tag_keeps_its_version_until_it_is_dropped(
    db: hw.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("headwater.lake.gc"), "READER_GRACE_S", -1.0)
    notes = db.create_collection("notes", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    notes.insert([{"id": 1, "v": [1.0, 0.0]}])
    first = notes.tag("first")
    notes.delete([1])
    notes.flush()
    notes.gc(retention_s=-1, grace_s=-1)
    assert notes.at(tag="first").num_rows == 1
    notes.drop_tag("first")
    with pytest.raises(hw.errors.TagNotFound, match="first"):
        notes.at(tag="first")
    notes.gc(retention_s=-1, grace_s=-1)
    with pytest.raises(hw.errors.VersionNotFound):
        notes.at(version=first)
    assert notes.num_rows == 0


def test_insert_takes_every_form_and_returns_the_same_rows(db: hw.Database, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    table = documents(50, seed=1)
    pq.write_table(table, tmp_path / "rows.parquet")
    forms = {
        "arrow": table,
        "batch": table.to_batches()[0],
        "dicts": table.to_pylist(),
        "columns": table.to_pydict(),
        "pandas": pandas.DataFrame(table.to_pylist()),
        "polars": polars.from_arrow(table),
        "parquet": tmp_path / "rows.parquet",
    }
    for name, data in forms.items():
        collection = db.create_collection(name, table.schema, "doc_id")
        assert collection.insert(data).count == 50
        assert collection.to_arrow().to_pylist() == table.to_pylist(), name


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1, "v": [1.0]}, r'(?s)row 0.*"v".*2.*1'),
        ({"id": 1, "v": [1.0, float("nan")]}, r'row 0.*"v"'),
        ({"id": "one", "v": [1.0, 2.0]}, r'row 0.*"id"'),
        ({"id": 1, "v": [1.0, 2.0], "extra": 3}, "extra"),
        ({"id": 1}, '"v"'),
    ],
)
def test_a_bad_row_is_refused_whole_and_named(db: hw.Database, row: dict, message: str) -> None:
    collection = db.create_collection("strict", {"id": hw.Int64, "v": hw.FloatVector(2)}, "id")
    with pytest.raises(hw.errors.SchemaMismatch, match=message):
        collection.insert([row])
    assert collection.num_rows == 0


def test_range_search_keeps_what_is_inside_the_radius(docs: hw.Collection, source: Path) -> None:
    query = clustered(1, 5)
    result = docs.search(query, top_k=2000, params={"radius": 0.9})
    vectors = all_vectors(source)
    scores = vectors @ query[0] / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query[0]))
    assert {hit["id"] for hit in result[0]} == set(np.flatnonzero(scores > 0.9).tolist())


def test_wrong_calls_say_what_is_wrong(docs: hw.Collection, db: hw.Database) -> None:
    with pytest.raises(hw.errors.DimensionMismatch, match="embedding"):
        docs.search([[1.0, 2.0]])
    with pytest.raises(hw.errors.FilterSyntax, match="yeer"):
        docs.search(clustered(1, 1), filter="yeer > 3")
    with pytest.raises(hw.errors.CollectionNotFound, match="nope"):
        db.collection("nope")
    with pytest.raises(hw.errors.FieldNotFound, match="nofield"):
        docs.query(output_fields=["nofield"])
    with pytest.raises(hw.errors.UnsupportedOption, match="nlists"):
        docs.create_index("embedding", "IVF_FLAT", params={"nlists": 3})
    with pytest.raises(hw.errors.VersionNotFound):
        docs.search(clustered(1, 1), min_version=99)
    with pytest.raises(hw.errors.AlreadyExists, match="docs"):
        db.create_collection("docs", {"id": hw.Int64}, "id")


def test_dropped_collection_is_gone_and_the_source_stays(
    docs: hw.Collection, db: hw.Database, source: Path
) -> None:
    db.drop_collection("docs")
    assert db.list_collections() == []
    assert len(list(source.iterdir())) == 4


@pytest.mark.parametrize("form", [None, "parquet", "vortex", "arrow_ipc"])
def test_a_managed_collection_keeps_its_columns_in_the_format_asked(
    db: hw.Database, tmp_path: Path, form: str | None
) -> None:
    table = documents(300, seed=5)
    kept = db.create_collection("kept", table.schema, "doc_id", format=form)
    kept.insert(table)
    kept.add_column("length", pa.array(range(300), pa.int64()))
    found = {path.suffix for path in (tmp_path / "lake").rglob("segments/**/*") if path.is_file()}
    expected = {None: {".arrow", ".vortex"}, "arrow_ipc": {".arrow"}}
    assert found == expected.get(form, {f".{form}"})
    kept.create_index("embedding", "HNSW")
    query = clustered(1, 9)[0]
    vectors = np.stack(table.column("embedding").to_numpy(zero_copy_only=False))
    [hits] = kept.search(query, top_k=5, output_fields=["text", "length"])
    assert [hit["id"] for hit in hits] == cosine_top(vectors, query, 5)
    assert [hit["entity"]["length"] for hit in hits] == [hit["id"] for hit in hits]
    assert kept.to_arrow().drop_columns("length").equals(table.cast(kept.to_arrow().schema.remove(4)))


def test_a_format_that_is_none_is_refused(db: hw.Database) -> None:
    with pytest.raises(hw.errors.UnsupportedOption, match="orc"):
        db.create_collection("kept", {"id": hw.Int64}, format="orc")


def test_a_collection_dropped_and_made_again_by_another_is_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.lake.lake.LISTING_INTERVAL_S", 0.0)
    ours, theirs = hw.connect(tmp_path / "lake"), hw.connect(tmp_path / "lake")
    for year, handle in ((1999, ours), (2026, theirs)):
        if year == 2026:
            theirs.drop_collection("t")
        made = handle.create_collection("t", {"id": hw.Int64, "year": hw.Int32}, "id")
        made.insert([{"id": 1, "year": year}])
        made.flush()
        if year == 1999:
            reader = ours.collection("t")
            assert reader.query()[0]["year"] == 1999
    with pytest.raises(hw.errors.CollectionNotFound):
        reader.count()
    assert ours.collection("t").query()[0]["year"] == 2026
    theirs.drop_collection("t")
    with pytest.raises(hw.errors.CollectionNotFound):
        ours.collection("t")


@pytest.mark.parametrize("kind", [hw.Int64, hw.Int32, hw.String])
def test_get_finds_keys_in_the_order_asked(db: hw.Database, kind: hw.DataType) -> None:
    rng = np.random.default_rng(2)
    numbers = rng.permutation(3000).tolist()
    keys = [f"k{number}" for number in numbers] if kind is hw.String else numbers
    made = db.create_collection("keyed", {"key": kind, "n": hw.Int64}, "key")
    for part in range(3):
        chosen = slice(1000 * part, 1000 * part + 1000)
        made.insert({"key": keys[chosen], "n": numbers[chosen]})
    asked = [keys[i] for i in rng.integers(0, 3000, 200)]
    absent = ["none"] if kind is hw.String else [-1, 5000]
    found = made.get([*asked, *absent])
    assert [row["key"] for row in found] == asked
    assert all(row["n"] == numbers[keys.index(row["key"])] for row in found)
    assert list(made.get([])) == []
