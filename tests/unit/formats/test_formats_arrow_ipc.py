import random
import uuid

import numpy as np
import pyarrow as pa
import pytest

from headwater import formats
from headwater.errors import Corrupt, RowOutOfRange, SchemaMismatch
from headwater.formats import SupportsVectors
from headwater.formats.ipc_layout import read_layout
from headwater.store import FaultyStore, open_store
from headwater.testing.formats import sample_table
from headwater.tiers import open_object

DIM = 96
TYPES = [pa.float32(), pa.float16(), pa.int8(), pa.uint8(), pa.uint16()]


def vectors_of(kind, num_rows, dim=DIM):
    values = np.random.default_rng(0).integers(0, 100, num_rows * dim).astype(kind.to_pandas_dtype())
    return pa.FixedSizeListArray.from_arrays(pa.array(values, kind), dim), values.reshape(num_rows, dim)


def opened(table, folder, *, cold=False, batch_rows=1 << 20):
    path = folder / f"{uuid.uuid4().hex}.arrow"
    format_ = formats.get("arrow_ipc")
    stats = format_.write(table.to_batches(max_chunksize=batch_rows), table.schema, path)
    if not cold:
        return format_.open(open_object(open_store(folder), path.name), table.schema), None
    store = FaultyStore(open_store(f"memory://{uuid.uuid4().hex}"), seed=0)
    store.put(path.name, path.read_bytes())
    return format_.open(open_object(store, path.name, size_bytes=stats.size_bytes), table.schema), store


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_vectors_are_one_matrix(tmp_path, kind, cold):
    array, matrix = vectors_of(kind, 500)
    reader, _ = opened(pa.table({"id": np.arange(500), "v": array}), tmp_path, cold=cold, batch_rows=64)
    assert isinstance(reader, SupportsVectors)
    found = reader.vectors("v")[:]
    assert found.dtype == matrix.dtype
    np.testing.assert_array_equal(found, matrix)
    rows = np.array([499, 0, 0, 17, 18, 19])
    np.testing.assert_array_equal(reader.vector_rows("v", rows), matrix[rows])
    assert reader.vector_rows("v", np.array([], np.int64)).shape == (0, DIM)


def test_warm_vectors_are_a_view_of_the_mapped_file(tmp_path):
    array, _ = vectors_of(pa.float32(), 1000)
    path = tmp_path / "v.arrow"
    table = pa.table({"v": array})
    formats.get("arrow_ipc").write(table.to_batches(max_chunksize=10), table.schema, path)
    source = open_object(open_store(tmp_path), "v.arrow")
    found = formats.get("arrow_ipc").open(source, table.schema).vectors("v")
    start = found.__array_interface__["data"][0] - source.buffer().address
    assert 0 <= start < source.size_bytes
    assert not found.flags.writeable
    assert len(read_layout(source).batches) == 1


def test_a_cold_take_reads_only_the_rows_asked_for(tmp_path):
    array, matrix = vectors_of(pa.float32(), 20_000)
    reader, store = opened(pa.table({"v": array}), tmp_path, cold=True)
    before_bytes, before_requests = store.bytes_read, sum(store.requests.values())
    rows = np.array([19_999, 3, 4, 5, 10_000, 3])
    taken = reader.take(["v"], rows)
    np.testing.assert_array_equal(np.stack(taken["v"].to_numpy(zero_copy_only=False)), matrix[rows])
    assert store.bytes_read - before_bytes == 5 * DIM * 4
    assert sum(store.requests.values()) - before_requests == 1


def test_opening_cold_reads_metadata_only(tmp_path):
    array, _ = vectors_of(pa.float32(), 20_000)
    _, store = opened(pa.table({"v": array}), tmp_path, cold=True)
    assert store.bytes_read < 80_000


@pytest.mark.parametrize("cold", [False, True])
def test_null_vectors_stay_null(tmp_path, cold):
    array = pa.array([[1, 2], None, [3, 4]] * 40, pa.list_(pa.float32(), 2))
    reader, _ = opened(pa.table({"v": array}), tmp_path, cold=cold)
    assert reader.take(["v"], np.array([2, 1, 0]))["v"].to_pylist() == [[3, 4], None, [1, 2]]
    assert reader.validity("v").tolist() == [True, False, True] * 40
    assert reader.vectors("v").shape == (120, 2)


@pytest.mark.parametrize("cold", [False, True])
def test_a_file_of_several_batches_reads_as_one(tmp_path, cold):
    array, matrix = vectors_of(pa.float32(), 200)
    table = sample_table(200).append_column("v", array)
    path = tmp_path / "many.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=33)
    store = open_store("memory://many-batches" if cold else tmp_path)
    if cold:
        store.put("many.arrow", path.read_bytes())
    reader = formats.get("arrow_ipc").open(open_object(store, "many.arrow"), table.schema)
    rows = np.array([199, 0, 33, 32, 66, 66])
    found = pa.Table.from_batches([reader.take(table.column_names, rows)])
    assert found.equals(table.take(pa.array(rows)).combine_chunks())
    np.testing.assert_array_equal(reader.vectors("v")[:], matrix)
    np.testing.assert_array_equal(reader.vector_rows("v", rows), matrix[rows])
    with pytest.raises(RowOutOfRange):
        reader.vector_rows("v", np.array([200]))


def test_vectors_of_another_column_are_refused(tmp_path):
    reader, _ = opened(
        pa.table({"id": [1], "inner": pa.array([[1, None]], pa.list_(pa.int8(), 2))}), tmp_path
    )
    with pytest.raises(SchemaMismatch, match="'id'"):
        reader.vectors("id")
    with pytest.raises(SchemaMismatch, match="'inner'"):
        reader.vectors("inner")
    assert reader.take(["inner"], np.array([0]))["inner"].to_pylist() == [[1, None]]


@pytest.mark.parametrize(
    "kind",
    [pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.list_(pa.binary_view())],
    ids=str,
)
def test_a_type_without_plain_buffers_is_refused(tmp_path, kind):
    with pytest.raises(SchemaMismatch, match="'odd'"):
        formats.get("arrow_ipc").write([], pa.schema([("odd", kind)]), tmp_path / "x")


@pytest.mark.parametrize(
    "kind",
    [
        pa.map_(pa.string(), pa.int64()),
        pa.binary(3),
        pa.decimal128(10, 2),
        pa.large_list(pa.large_string()),
        pa.duration("s"),
        pa.null(),
        pa.list_(pa.list_(pa.bool_(), 2)),
    ],
    ids=str,
)
def test_other_types_are_kept(tmp_path, kind):
    rows = {
        "map": [[("a", 1)], None],
        "fixed": [b"abc", None],
        "large": [["a", None], None],
        "list": [[[True, None]], None],
    }
    values = next((some for word, some in rows.items() if str(kind).startswith(word)), [None, None])
    table = pa.table({"x": pa.array(values, kind)})
    for cold in (False, True):
        reader, _ = opened(table, tmp_path, cold=cold)
        assert pa.Table.from_batches(list(reader.scan(["x"]))).equals(table)
        assert reader.take(["x"], np.array([1, 0]))["x"].to_pylist() == table["x"].to_pylist()[::-1]


def test_compressed_files_are_named_as_such(tmp_path):
    table = pa.table({"a": np.zeros(1000)})
    with pa.OSFile(str(tmp_path / "z"), "wb") as sink:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    with pytest.raises(Corrupt, match="compressed"):
        formats.get("arrow_ipc").open(open_object(open_store(tmp_path), "z"), table.schema)


def test_damaged_metadata_raises_and_never_reads_outside(tmp_path):
    table = sample_table(20)
    path = tmp_path / "whole"
    formats.get("arrow_ipc").write(table.to_batches(), table.schema, path)
    data = path.read_bytes()
    rng = random.Random(5)
    source = open_object(open_store(tmp_path), "whole")
    body = range(
        min(span.start for span in read_layout(source).batches[0].buffers if span.size_bytes),
        max(span.stop for span in read_layout(source).batches[0].buffers),
    )
    outside = [at for at in range(len(data)) if at not in body]
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[rng.choice(outside)] ^= 1 << rng.randrange(8)
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            reader = formats.get("arrow_ipc").open(open_object(open_store(tmp_path), "damaged"), table.schema)
            reader.vectors("float_vector")
            reader.take(["id"], np.array([19]))
        except (Corrupt, SchemaMismatch, RowOutOfRange):
            pass


def test_null_vectors_in_slices_keep_their_places(tmp_path):
    array = pa.array([[1, 2], None, [3, 4], None, [5, 6]] * 20, pa.list_(pa.int8(), 2)).slice(1, 90)
    for batch_rows in (7, 1000):
        reader, _ = opened(pa.table({"v": array}), tmp_path, batch_rows=batch_rows)
        assert next(reader.scan(["v"]))["v"].to_pylist() == array.to_pylist()
        valid = reader.validity("v")
        expected = [one for one in array.to_pylist() if one is not None]
        assert reader.vectors("v")[valid].tolist() == expected


@pytest.mark.parametrize("cold", [False, True])
def test_vectors_of_no_dimension_are_harmless(tmp_path, cold):
    table = pa.table({"v": pa.array([[], None, []], pa.list_(pa.float32(), 0))})
    reader, _ = opened(table, tmp_path, cold=cold)
    assert reader.vectors("v").shape == (3, 0)
    assert reader.vector_rows("v", np.array([2, 2])).shape == (2, 0)
    assert reader.take(["v"], np.array([1, 0]))["v"].to_pylist() == [None, []]


def test_a_file_cut_short_after_it_was_opened_is_corrupt(tmp_path):
    array, _ = vectors_of(pa.float32(), 1000)
    table = pa.table({"v": array})
    formats.get("arrow_ipc").write(table.to_batches(), table.schema, tmp_path / "v")
    reader = formats.get("arrow_ipc").open(open_object(open_store(tmp_path), "v"), table.schema)
    with (tmp_path / "v").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(Corrupt, match="'v'"):
        reader.take(["v"], np.array([999]))
