"""What every column-group format must do, as tests: subclass `FormatTests`, give it a `format_name` fixture.

    class TestMine(FormatTests):
        @pytest.fixture
        def format_name(self):
            return "mine"

Each promise is tested warm (a local file) and cold (an object read by ranges). `SAMPLES` holds one nullable
column of each logical type; a format that refuses a type names it in `refused`.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from headwater import formats
from headwater.errors import Corrupt, FieldNotFound, InvalidArgument, RowOutOfRange, SchemaMismatch
from headwater.formats import ColumnGroupReader, FileStats
from headwater.store import open_store
from headwater.tiers import open_object

__all__ = ["SAMPLES", "FormatTests", "Written", "sample_table"]

_SPARSE = pa.list_(pa.struct([("index", pa.uint32()), ("value", pa.float32())]))
_REFERENCE = pa.struct([("uri", pa.string()), ("offset", pa.int64()), ("etag", pa.string())])

SAMPLES: dict[str, pa.Array] = {
    "bool": pa.array([True, None, False, True]),
    "int8": pa.array([-128, None, 127, 0], pa.int8()),
    "int16": pa.array([-1, None, 300, 0], pa.int16()),
    "int32": pa.array([1 << 30, None, -1, 0], pa.int32()),
    "int64": pa.array([1 << 62, None, -(1 << 62), 0], pa.int64()),
    "float": pa.array([1.5, None, float("inf"), -0.0], pa.float32()),
    "double": pa.array([1e300, None, -1e-300, 0.1], pa.float64()),
    "varchar": pa.array(["", None, "na\u00efve \u8a9e", "x" * 300]),
    "json": pa.array(['{"a":1}', None, "[]", "null"]),
    "array_int": pa.array([[1, None], None, [], [2, 3, 4]], pa.list_(pa.int64())),
    "array_text": pa.array([["a", None], None, [], ["", "b"]], pa.list_(pa.string())),
    "struct_array": pa.array(
        [[{"a": 1, "b": "x"}], None, [], [{"a": None, "b": None}, None]],
        pa.list_(pa.struct([("a", pa.int32()), ("b", pa.string())])),
    ),
    "timestamptz": pa.array([0, None, -1, 1 << 50], pa.timestamp("us", "UTC")),
    "binary": pa.array([b"", None, b"\x00\xff", b"z" * 300]),
    "reference": pa.array(
        [
            {"uri": "s3://b/k", "offset": 0, "etag": None},
            None,
            {"uri": None, "offset": None, "etag": "e"},
            None,
        ],
        _REFERENCE,
    ),
    "sparse_float_vector": pa.array([[{"index": 7, "value": 0.5}], None, [], []], _SPARSE),
    "float_vector": pa.array([[1, 2, 3], None, [4, 5, 6], [0, 0, 0]], pa.list_(pa.float32(), 3)),
    "float16_vector": pa.array([[1, 2, 3], None, [4, 5, 6], [0, 0, 0]], pa.list_(pa.float16(), 3)),
    "bfloat16_vector": pa.array([[1, 2], None, [65535, 5], [0, 0]], pa.list_(pa.uint16(), 2)),
    "int8_vector": pa.array([[-128, 127], None, [4, 5], [0, 0]], pa.list_(pa.int8(), 2)),
    "binary_vector": pa.array([[255], None, [4], [0]], pa.list_(pa.uint8(), 1)),
}
"""One column of each logical type, with nulls and edge values."""


def sample_table(num_rows: int, seed: int = 0) -> pa.Table:
    """Every sample type, rows drawn at random from the samples, and an `id` of the row."""
    rng = np.random.default_rng(seed)
    columns = {name: array.take(pa.array(rng.integers(0, 4, num_rows))) for name, array in SAMPLES.items()}
    return pa.table({"id": pa.array(np.arange(num_rows), pa.int64()), **columns})


class Written:
    """One written file: what it holds, its stats and an open reader."""

    def __init__(self, table: pa.Table, stats: FileStats, reader: ColumnGroupReader, path: Path) -> None:
        self.table = table
        self.stats = stats
        self.reader = reader
        self.path = path


Write = Callable[..., Written]


class FormatTests:
    """The suite; every test takes the fixture `format_name`."""

    refused: ClassVar[frozenset[str]] = frozenset()
    """Sample types that the format does not hold."""

    @pytest.fixture
    def format_name(self) -> str:
        """The word of the format to test; subclasses say which."""
        raise NotImplementedError("define a fixture `format_name` in the subclass")

    @pytest.fixture(params=["warm", "cold"])
    def write(self, request: pytest.FixtureRequest, format_name: str, tmp_path: Path) -> Write:
        """Writes a table in batches of some rows, and opens the file warm or cold."""

        def run(table: pa.Table, batch_rows: int = 1 << 20) -> Written:
            format_ = formats.get(format_name)
            path = tmp_path / f"{uuid.uuid4().hex}{format_.suffix}"
            stats = format_.write(table.to_batches(max_chunksize=batch_rows), table.schema, path)
            cold = request.param == "cold"
            store = open_store(f"memory://{uuid.uuid4().hex}" if cold else tmp_path)
            if cold:
                store.put(path.name, path.read_bytes())
            source = open_object(store, path.name, size_bytes=stats.size_bytes)
            assert source.tier == request.param
            return Written(table, stats, format_.open(source, table.schema), path)

        return run

    def table(self, num_rows: int) -> pa.Table:
        """Samples of every type that the format holds."""
        table = sample_table(num_rows)
        return table.select([name for name in table.column_names if name not in self.refused])

    def test_every_type_comes_back_exactly(self, write: Write) -> None:
        """Types, nulls and values are those written."""
        written = write(self.table(64))
        found = pa.Table.from_batches(list(written.reader.scan(written.table.column_names)))
        assert found.schema.equals(written.table.schema)
        found.validate(full=True)
        assert found.combine_chunks().equals(written.table.combine_chunks())

    def test_each_type_alone_scans_and_takes(self, write: Write) -> None:
        """A file of one column works, whatever the type."""
        for name in self.table(0).column_names:
            written = write(self.table(9).select([name]))
            rows = np.array([8, 0, 0, 3])
            assert (
                written.reader.take([name], rows)
                .column(0)
                .equals(one(written.table[name]).take(pa.array(rows)))
            )

    def test_a_refused_type_names_its_column(self, format_name: str, tmp_path: Path) -> None:
        """A type that the format cannot hold is an error and leaves no file."""
        for name in sorted(self.refused):
            table = pa.table({"fine": pa.array([1, 2, 3, 4]), name: SAMPLES[name]})
            with pytest.raises(SchemaMismatch, match=name):
                formats.get(format_name).write(table.to_batches(), table.schema, tmp_path / "refused")
            assert not (tmp_path / "refused").exists()

    def test_many_small_batches_are_one_file(self, write: Write) -> None:
        """Row order is kept over batches, slices included."""
        table = self.table(301).slice(1)
        written = write(table, batch_rows=7)
        assert written.reader.num_rows == written.stats.num_rows == 300
        found = pa.Table.from_batches(list(written.reader.scan(table.column_names)))
        assert found.combine_chunks().equals(table.combine_chunks())

    def test_an_empty_file_has_types_and_no_rows(self, write: Write) -> None:
        """No rows: no batches, and an empty take of the right types."""
        written = write(self.table(0))
        assert written.reader.num_rows == 0
        assert list(written.reader.scan(written.table.column_names)) == []
        taken = written.reader.take(written.table.column_names, np.array([], np.int64))
        assert taken.num_rows == 0
        assert taken.schema.equals(written.table.schema)

    def test_columns_come_in_the_order_asked(self, write: Write) -> None:
        """Some columns, another order; none at all keeps the count of rows."""
        reader = write(self.table(20)).reader
        assert next(reader.scan(["varchar", "id"])).schema.names == ["varchar", "id"]
        assert reader.take(["varchar", "id"], np.array([3])).schema.names == ["varchar", "id"]
        assert sum(batch.num_rows for batch in reader.scan([])) == 20
        assert reader.take([], np.array([3, 3])).num_rows == 2

    def test_scan_gives_the_selected_rows_in_order(self, write: Write) -> None:
        """A bitmap selects: few, many, one, all, none."""
        written = write(self.table(1000), batch_rows=300)
        rng = np.random.default_rng(1)
        for share in (0.0, 0.002, 0.1, 0.6, 0.999, 1.0):
            rows = rng.random(1000) < share
            batches = list(written.reader.scan(["varchar", "id"], rows))
            assert all(batch.num_rows for batch in batches)
            found = [one_id for batch in batches for one_id in batch["id"].to_pylist()]
            assert found == np.flatnonzero(rows).tolist()

    def test_take_keeps_order_and_duplicates(self, write: Write) -> None:
        """Any order, any repetition, any integer type."""
        written = write(self.table(1000), batch_rows=300)
        names = written.table.column_names
        whole = written.table.combine_chunks()
        for rows in ([], [999], [0], [5, 3, 3, 999, 0, 5], list(range(1000)), list(range(999, -1, -1))):
            positions = np.array(rows, np.int64)
            found = written.reader.take(names, positions)
            assert found.schema.equals(whole.schema)
            found.validate(full=True)
            assert pa.Table.from_batches([found]).equals(whole.take(pa.array(positions)).combine_chunks())
        assert written.reader.take(["id"], np.array([7], np.uint32))["id"].to_pylist() == [7]

    def test_a_row_outside_is_refused(self, write: Write) -> None:
        """Negative or past the end: `RowOutOfRange` with the row."""
        reader = write(self.table(10)).reader
        for bad in (-1, 10, 1 << 40):
            with pytest.raises(RowOutOfRange, match=str(bad)):
                reader.take(["id"], np.array([0, bad]))
        with pytest.raises(InvalidArgument):
            reader.take(["id"], np.array([0.5]))

    def test_an_unknown_column_is_named(self, write: Write) -> None:
        """`FieldNotFound` with the column's name, before anything is read."""
        reader = write(self.table(10)).reader
        with pytest.raises(FieldNotFound, match="nope"):
            reader.take(["nope"], np.array([0]))
        with pytest.raises(FieldNotFound, match="nope"):
            list(reader.scan(["nope"]))

    def test_a_bitmap_of_another_length_is_refused(self, write: Write) -> None:
        """A bitmap has one boolean for each row."""
        reader = write(self.table(10)).reader
        with pytest.raises(InvalidArgument):
            list(reader.scan(["id"], np.ones(9, np.bool_)))
        with pytest.raises(InvalidArgument):
            list(reader.scan(["id"], np.ones(10, np.int64)))

    def test_stats_describe_the_file(self, write: Write) -> None:
        """Rows, size and a checksum over the bytes."""
        written = write(self.table(50))
        data = written.path.read_bytes()
        assert written.stats == FileStats(50, len(data), f"crc32:{zlib.crc32(data):08x}")

    def test_a_batch_of_another_type_leaves_no_file(self, format_name: str, tmp_path: Path) -> None:
        """The error names the column, and there is no partial file."""
        good = pa.record_batch({"a": pa.array([1, 2])})
        bad = pa.record_batch({"a": pa.array(["x"])})
        path = tmp_path / "partial"
        with pytest.raises(SchemaMismatch, match="'a'"):
            formats.get(format_name).write([good, bad], good.schema, path)
        assert not path.exists()

    def test_a_failing_producer_leaves_no_file(self, format_name: str, tmp_path: Path) -> None:
        """The producer's own error comes through."""

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.record_batch({"a": pa.array([1, 2])})
            raise LookupError("no more")

        path = tmp_path / "partial"
        with pytest.raises(LookupError, match="no more"):
            formats.get(format_name).write(batches(), pa.schema([("a", pa.int64())]), path)
        assert not path.exists()

    def test_a_duplicate_column_is_refused(self, format_name: str, tmp_path: Path) -> None:
        """Two columns of one name cannot be told apart."""
        schema = pa.schema([("a", pa.int64()), ("a", pa.int64())])
        with pytest.raises(SchemaMismatch, match="'a'"):
            formats.get(format_name).write([], schema, tmp_path / "twice")

    def test_a_column_that_the_file_lacks_is_named(self, write: Write, format_name: str) -> None:
        """Opening under a schema with one column more is `SchemaMismatch`."""
        written = write(self.table(3))
        source = open_object(open_store(written.path.parent), written.path.name)
        with pytest.raises(SchemaMismatch, match="extra"):
            formats.get(format_name).open(source, written.table.schema.append(pa.field("extra", pa.int64())))

    @pytest.mark.parametrize("keep", [0, 1, 9, 0.5, 0.99])
    def test_a_cut_file_is_corrupt(self, write: Write, format_name: str, tmp_path: Path, keep: float) -> None:
        """A file that lost its end never opens."""
        written = write(self.table(100))
        data = written.path.read_bytes()
        (tmp_path / "cut").write_bytes(data[: int(keep if keep == int(keep) else keep * len(data))])
        with pytest.raises(Corrupt, match="cut"):
            formats.get(format_name).open(open_object(open_store(tmp_path), "cut"), written.table.schema)

    def test_threads_share_a_reader(self, write: Write) -> None:
        """Concurrent takes and scans give what single ones give."""
        written = write(self.table(2000))

        def work(seed: int) -> bool:
            rows = np.random.default_rng(seed).integers(0, 2000, 50)
            taken = written.reader.take(["id", "varchar"], rows)["id"].to_pylist()
            return (
                bool(taken == rows.tolist())
                and sum(batch.num_rows for batch in written.reader.scan(["id"])) == 2000
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(16)))


def one(column: pa.ChunkedArray) -> pa.Array:
    """All chunks of a column as one array."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
