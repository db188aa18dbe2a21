"""What every source of external rows must do, as tests: subclass `TableSourceTests` and say how its files are written.

    class TestMine(TableSourceTests):
        format = "mine"

        def write(self, table, path): ...

Each promise is tested through a collection, as a user meets it, on a folder and on a store without files.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from headwater.engine import Collection, Database, connect
from headwater.errors import Corrupt, SchemaMismatch, SourceChanged
from headwater.lake import ExternalSource
from headwater.lake.external import SourceFile, TableSource, open_source
from headwater.schema import Schema
from headwater.settings import LakeSettings, Settings
from headwater.store import ObjectStore, open_store

__all__ = ["TableSourceTests"]

_DIM = 8


def rows(first: int, count: int) -> pa.Table:
    """Rows with a key, a text, a nullable number and a vector."""
    vectors = np.random.default_rng(first).normal(size=(count, _DIM)).astype(np.float32)
    numbers = range(first, first + count)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "text": [f"row {i}" for i in numbers],
            "size": pa.array([None if i % 5 == 0 else i for i in numbers], pa.int32()),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), _DIM),
        }
    )


class Place:
    """Where a source's files are: a folder, or a store that has none."""

    def __init__(self, url: str, suite: TableSourceTests, scratch: Path) -> None:
        self.url = url
        self.store: ObjectStore = open_store(url)
        self._suite, self._scratch = suite, scratch

    def write(self, name: str, table: pa.Table) -> None:
        """A file with these rows, new or in the place of another."""
        path = self._scratch / f"{uuid.uuid4().hex}{self._suite.suffix}"
        self._suite.write(table, path)
        self.store.put(name + self._suite.suffix, path.read_bytes())

    def digest(self) -> dict[str, str]:
        """Every file's content, by name."""
        return {meta.key: hashlib.sha256(self.store.get(meta.key)).hexdigest() for meta in self.store.list()}


class TableSourceTests:
    """The suite.

    Attributes:
        format: the word in the manifest.
        suffix: of its files.
    """

    format: ClassVar[str]
    suffix: ClassVar[str]

    def write(self, table: pa.Table, path: Path) -> None:
        """Write rows as one file, in units of at most 50 rows where the format has such."""
        raise NotImplementedError

    @pytest.fixture(params=["folder", "store"])
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
        """An empty place for the source's files."""
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        (tmp_path / "source").mkdir()
        folder = request.param == "folder"
        return Place(str(tmp_path / "source") if folder else f"memory://{uuid.uuid4().hex}", self, scratch)

    @pytest.fixture
    def db(self, tmp_path: Path) -> Database:
        """A lake whose segments are small."""
        limits = LakeSettings(target_segment_rows=120, shared_fragment_rows=100)
        return connect(tmp_path / "lake", settings=Settings(lake=limits))

    def collection(self, db: Database, place: Place, **options: Any) -> Collection:
        """The place's files as a collection."""
        return db.create_external_collection("docs", place.url, primary_key="id", **options)

    def source(self, place: Place) -> TableSource:
        """The place's files as a source."""
        return open_source(ExternalSource((place.url,), self.format))

    def test_rows_are_those_of_the_files_in_path_order(self, db: Database, place: Place) -> None:
        """Whatever the order of writing."""
        place.write("b", rows(100, 60))
        place.write("a/x", rows(0, 30))
        place.write("c", rows(200, 10))
        expected = pa.concat_tables([rows(0, 30), rows(100, 60), rows(200, 10)])
        docs = self.collection(db, place)
        assert docs.to_arrow().equals(expected.cast(docs.to_arrow().schema))
        assert docs.count("size is null") == 20
        assert docs.get([105, 3])[0]["text"] == "row 105"

    def test_small_files_share_a_segment_and_a_large_one_is_several(self, db: Database, place: Place) -> None:
        """As the settings say."""
        for number in range(9):
            place.write(f"small-{number}", rows(20 * number, 20))
        place.write("x-large", rows(1000, 400))
        docs = self.collection(db, place)
        shared, single = 2, 4
        assert docs.describe()["num_segments"] == shared + single
        assert docs.num_rows == 580

    def test_a_listing_is_sorted_and_tells_files_apart(self, place: Place) -> None:
        """By path, size and etag or time."""
        place.write("b", rows(0, 5))
        place.write("a", rows(5, 5))
        source = self.source(place)
        files = source.list_files()
        assert [file.path for file in files] == sorted(file.path for file in files)
        assert source.list_files() == files
        place.write("a", rows(50, 5))
        changed = [new for new, old in zip(source.list_files(), files, strict=True) if new != old]
        assert [file.path for file in changed] == [files[0].path]

    def test_refresh_reads_only_what_changed(self, db: Database, place: Place) -> None:
        """Added, changed and removed files; the rest keep their rows, row ids and columns of ours."""
        for number in range(6):
            place.write(f"part-{number}", rows(100 * number, 20))
        docs = self.collection(db, place)
        docs.add_column("mine", pa.array(range(120), pa.int64()))
        place.write("part-1", rows(1000, 30))
        place.write("part-9", rows(2000, 7))
        place.store.delete([f"part-4{self.suffix}"])
        report = docs.refresh()
        assert [len(report.added), len(report.changed), len(report.removed), report.unchanged] == [1, 1, 1, 4]
        found = {row["id"]: row for row in docs.query(output_fields=["id", "text", "mine"])}
        wanted = [*range(20), *range(200, 220), *range(300, 320), *range(500, 520)]
        assert sorted(found) == sorted([*wanted, *range(1000, 1030), *range(2000, 2007)])
        assert [found[i]["mine"] for i in wanted] == [20 * (i // 100) + i % 100 for i in wanted]
        assert found[1000]["mine"] is None
        again = docs.refresh()
        assert (again.version, again.bytes_read) == (report.version, 0)

    def test_keys_that_the_files_repeat_are_found_when_asked_for(self, db: Database, place: Place) -> None:
        """In one file and across files, the least ones first, until they are gone."""
        place.write("a", rows(0, 130))
        place.write("b", pa.concat_tables([rows(100, 60), rows(500, 3), rows(500, 2)]))
        docs = self.collection(db, place)
        assert docs.repeated_keys(100) == [*range(100, 130), 500, 501]
        assert docs.repeated_keys(2) == [100, 101]
        assert docs.count("id == 100") == 2
        assert [row["id"] for row in docs.get([100, 131])] == [100, 131]
        place.write("b", rows(130, 60))
        docs.refresh()
        assert docs.repeated_keys() == []

    def test_nothing_of_the_source_is_ever_written(self, db: Database, place: Place) -> None:
        """Whatever is done with the collection."""
        for number in range(3):
            place.write(f"part-{number}", rows(100 * number, 50))
        before = place.digest()
        docs = self.collection(db, place)
        docs.create_index("v", "HNSW")
        docs.add_column("mine", 1)
        docs.drop_column("text")
        docs.gc(grace_s=0.0)
        docs.search(np.ones(_DIM), top_k=3)
        db.drop_collection("docs")
        assert place.digest() == before

    @pytest.mark.parametrize("change", ["other rows", "as many rows", "gone"])
    def test_a_file_that_changed_is_an_error_until_the_next_refresh(
        self, db: Database, place: Place, change: str
    ) -> None:
        """Never other rows."""
        place.write("a", rows(0, 40))
        place.write("b", rows(100, 40))
        docs = self.collection(db, place)
        if change == "gone":
            place.store.delete([f"b{self.suffix}"])
        else:
            place.write("b", rows(500, 40 if change == "as many rows" else 70))
        for read in (
            docs.to_arrow,
            lambda: docs.search(np.ones(_DIM), top_k=80)[0],
            lambda: docs.get([101]),
            lambda: docs.count("size > 3"),
        ):
            with pytest.raises(SourceChanged, match=f"b{self.suffix}"):
                read()
        docs.refresh()
        assert docs.num_rows == {"other rows": 110, "as many rows": 80, "gone": 40}[change]
        assert docs.to_arrow().num_rows == docs.num_rows

    def test_a_broken_file_is_named_and_the_version_before_it_stays(self, db: Database, place: Place) -> None:
        """Empty, cut, or something else."""
        place.write("a", rows(0, 40))
        docs = self.collection(db, place)
        whole = place.store.get(f"a{self.suffix}")
        for content in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
            place.store.put(f"b{self.suffix}", content)
            with pytest.raises(Corrupt, match=f"b{self.suffix}"):
                docs.refresh()
            assert docs.to_arrow().num_rows == 40

    def test_a_file_that_does_not_fit_is_named(self, db: Database, place: Place) -> None:
        """By file and column."""
        place.write("a", rows(0, 40))
        docs = self.collection(db, place)
        for table in (
            rows(100, 5).set_column(1, "text", pa.array([1.0] * 5)),
            rows(100, 5).drop_columns("text"),
        ):
            place.write("b", table)
            required = not docs.schema.field("text").nullable
            if "text" in table.column_names or required:
                with pytest.raises(SchemaMismatch, match=f"b{self.suffix}.*text|text.*b{self.suffix}"):
                    docs.refresh()

    def test_fragments_are_found_without_reading_rows(self, place: Place) -> None:
        """Their numbers of rows add up, and their statistics are true."""
        place.write("a", rows(0, 20_000))
        source = self.source(place)
        files: list[SourceFile] = source.list_files()
        fields = Schema.of(source.arrow_schema(files)).fields
        read = source.bytes_read
        found = source.fragments(files, fields, segment_rows=5000)
        assert source.bytes_read == read, "what was looked into for the columns is not looked into again"
        assert sum(one.fragment.num_rows for one in found) == 20_000
        assert source.bytes_read < files[0].size_bytes / 2
        number = next(field.id for field in fields if field.name == "id")
        for one in found:
            if number in one.stats and one.stats[number].min is not None:
                [batch] = (
                    pa.Table.from_batches(source.open([one.fragment], fields).scan(["id"]))
                    .combine_chunks()
                    .to_batches()
                )
                ids = batch.column(0).to_pylist()
                assert (one.stats[number].min, one.stats[number].max) == (min(ids), max(ids))
