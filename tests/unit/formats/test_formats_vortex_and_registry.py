import random

import numpy as np
import pyarrow as pa
import pytest

from headwater import formats
from headwater.errors import Corrupt, SchemaMismatch, StoreUnavailable, UnsupportedOption
from headwater.formats.vortex_file import VortexReader
from headwater.schema import FloatVector, Int64, String
from headwater.store import open_store
from headwater.testing.formats import sample_table
from headwater.tiers import Residency, open_object


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(3),
        pa.duration("s"),
        pa.map_(pa.string(), pa.int64()),
        pa.month_day_nano_interval(),
        pa.list_(pa.duration("us")),
        pa.struct([("in", pa.list_(pa.binary(2)))]),
        pa.uuid(),
        pa.string_view(),
        pa.list_view(pa.int8()),
    ],
    ids=str,
)
@pytest.mark.parametrize("rows", [0, 1])
def test_what_vortex_cannot_hold_is_refused_by_column(tmp_path, kind, rows):
    schema = pa.schema([("fine", pa.int64()), ("odd", kind)])
    batch = pa.RecordBatch.from_arrays([pa.nulls(rows, pa.int64()), pa.nulls(rows, kind)], schema=schema)
    with pytest.raises(SchemaMismatch, match="'odd'"):
        formats.get("vortex").write([batch], schema, tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.large_binary(),
        pa.large_list(pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
        pa.date32(),
        pa.time64("us"),
        pa.timestamp("ns"),
        pa.decimal128(12, 3),
        pa.uint64(),
        pa.null(),
    ],
    ids=str,
)
def test_vortex_gives_back_the_type_as_written(tmp_path, kind):
    texts = {
        "large_string": ["a", None],
        "large_list<item: string>": [["a"], None],
    }
    array = pa.array(texts.get(str(kind), [None, None]), kind)
    metadata = {b"PARQUET:field_id": b"7"}
    schema = pa.schema([pa.field("x", kind, metadata=metadata)], metadata={b"k": b"v"})
    table = pa.Table.from_arrays([array], schema=schema)
    formats.get("vortex").write(table.to_batches(), schema, tmp_path / "x")
    reader = formats.get("vortex").open(open_object(open_store(tmp_path), "x"), schema)
    (batch,) = reader.scan(["x"])
    assert batch.schema.field(0).equals(schema.field(0), check_metadata=True)
    assert batch.column(0).equals(array)
    assert reader.take(["x"], np.array([1, 0])).column(0).to_pylist() == array.to_pylist()[::-1]


def test_a_non_nullable_column_stays_so(tmp_path):
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False)])
    for name in formats.FORMATS:
        batch = pa.RecordBatch.from_arrays([pa.array([1, 2])], schema=schema)
        formats.get(name).write([batch], schema, tmp_path / name)
        reader = formats.get(name).open(open_object(open_store(tmp_path), name), schema)
        assert next(reader.scan(["x"])).schema == schema
        assert reader.take(["x"], np.array([1, 1])).schema == schema
        nulls = pa.record_batch({"x": pa.array([None], pa.int64())})
        with pytest.raises(SchemaMismatch, match="'x'"):
            formats.get(name).write([nulls], schema, tmp_path / "nulls")


@pytest.mark.parametrize("name", ["vortex", "parquet"])
def test_damage_raises_and_does_not_end_the_process(tmp_path, name):
    table = sample_table(300).select(["id", "varchar", "double", "array_text"])
    path = tmp_path / "whole"
    formats.get(name).write(table.to_batches(), table.schema, path)
    data = path.read_bytes()
    rng = random.Random(3)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(6):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            source = open_object(open_store(tmp_path), "damaged")
            reader = formats.get(name).open(source, table.schema)
            list(reader.scan(table.column_names))
        except (Corrupt, SchemaMismatch):
            pass


class Failing(Residency):
    broken = False

    def read_ranges(self, ranges):
        if self.broken:
            raise StoreUnavailable("the store is away")
        return super().read_ranges(ranges)


@pytest.mark.parametrize("name", sorted(formats.FORMATS))
def test_the_stores_own_error_comes_through_a_cold_read(tmp_path, name):
    table = pa.table({"x": np.random.default_rng(0).random(200_000)})
    formats.get(name).write(table.to_batches(), table.schema, tmp_path / "x")
    store = open_store(tmp_path)
    source = Failing(store, "x", size_bytes=(tmp_path / "x").stat().st_size, path=None)
    reader = formats.get(name).open(source, table.schema)
    source.broken = True
    with pytest.raises(StoreUnavailable, match="away"):
        reader.take(["x"], np.array([1000]))
    with pytest.raises(StoreUnavailable, match="away"):
        list(reader.scan(["x"]))
    source.broken = False
    assert reader.take(["x"], np.array([1000]))["x"].to_pylist() == [table["x"][1000].as_py()]


def test_parquet_has_small_row_groups_and_a_page_index(tmp_path):
    import pyarrow.parquet as pq

    table = pa.table({"id": np.arange(50_000), "text": ["word " * 40] * 50_000})
    formats.get("parquet").write(table.to_batches(max_chunksize=999), table.schema, tmp_path / "p")
    metadata = pq.ParquetFile(tmp_path / "p").metadata
    counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert len(counts) > 5
    assert set(counts[:-1]) == {counts[0]}
    assert metadata.row_group(0).column(0).has_offset_index


def test_the_registry_knows_its_words():
    for name in ("arrow_ipc", "vortex", "parquet"):
        assert formats.get(name).name == name
        assert formats.get(name).suffix.startswith(".")
    with pytest.raises(UnsupportedOption, match="votex"):
        formats.get("votex")


@pytest.mark.parametrize(
    ("field_type", "values", "expected"),
    [
        (FloatVector(2), pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), "arrow_ipc"),
        (Int64, pa.array([1, 2]), "vortex"),
        (String, pa.array(["en", "de"]), "vortex"),
        (String, pa.array([], pa.string()), "vortex"),
        (String, pa.array(["word " * 50, "word " * 20]), "arrow_ipc"),
    ],
)
def test_the_format_of_a_column_follows_how_it_is_read(field_type, values, expected):
    assert formats.default_format(field_type, pa.chunked_array([values])) == expected


def test_the_checksum_of_a_known_file(tmp_path):
    (tmp_path / "x").write_bytes(b"123456789")
    assert formats.file_checksum(tmp_path / "x") == "crc32:cbf43926"


def test_vortex_readers_are_what_open_gives(tmp_path):
    table = pa.table({"x": [1]})
    formats.get("vortex").write(table.to_batches(), table.schema, tmp_path / "x")
    assert isinstance(
        formats.get("vortex").open(open_object(open_store(tmp_path), "x"), table.schema), VortexReader
    )
