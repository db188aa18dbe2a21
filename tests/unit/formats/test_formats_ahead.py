"""What a take shares with other rows can be read before they are known: the take then asks for its own bytes only."""

import uuid

import numpy as np
import pyarrow as pa
import pytest

from headwater import formats
from headwater.errors import RowOutOfRange, StoreUnavailable
from headwater.formats import ipc_texts, vortex_file
from headwater.store import FaultyStore, open_store
from headwater.testing.rounds import RoundsStore
from headwater.tiers import open_object

ROWS = 40_000
TABLE = pa.table({"t": [f"text {i} " * (1 + i % 9) for i in range(ROWS)], "n": pa.array(range(ROWS))})
NEAR = np.array([5, 9, 30_001])


@pytest.fixture(params=["vortex", "arrow_ipc"])
def kind(request):
    ipc_texts.KEPT.clear()
    vortex_file._pieces.cache_clear()
    return request.param


def cold(kind, folder):
    format_of = formats.get(kind)
    path = folder / f"rows{format_of.suffix}"
    stats = format_of.write(TABLE.to_batches(), TABLE.schema, path)
    store = FaultyStore(open_store(f"memory://{uuid.uuid4().hex}"), seed=0)
    store.put(path.name, path.read_bytes())
    reader = format_of.open(open_object(store, path.name, size_bytes=stats.size_bytes), TABLE.schema)
    store.reset()
    return reader, store


def test_a_take_after_it_reads_no_more_than_its_own_rows(kind, tmp_path):
    reader, store = cold(kind, tmp_path)
    assert isinstance(reader, formats.SupportsAhead)
    reader.read_ahead(["t"], NEAR)
    assert store.requests.total() > 0
    store.reset()
    reader.read_ahead(["t"], NEAR + 1)
    assert store.requests.total() == 0
    rows = np.array([30_002, 7, 7])
    assert reader.take(["t"], rows).column(0).equals(TABLE.column("t").combine_chunks().take(pa.array(rows)))
    # Texts are a range of their own each; all else has come.
    assert store.requests.total() == (1 if kind == "arrow_ipc" else 0)


def test_what_a_take_read_is_not_read_ahead(kind, tmp_path):
    reader, store = cold(kind, tmp_path)
    reader.take(["t"], NEAR)
    store.reset()
    reader.read_ahead(["t"], NEAR)
    assert store.requests.total() == 0


def test_nothing_is_read_of_a_file_that_is_here(kind, tmp_path):
    cold(kind, tmp_path)
    [path] = tmp_path.glob("rows.*")
    reader = formats.get(kind).open(open_object(open_store(tmp_path), path.name), TABLE.schema)
    reader.read_ahead(["t", "n"], NEAR)
    assert reader.take(["n"], NEAR).column(0).to_pylist() == NEAR.tolist()


def test_one_that_failed_leaves_the_take_as_it_was(kind, tmp_path):
    reader, store = cold(kind, tmp_path)
    store.fail_before = 1.0
    with pytest.raises(StoreUnavailable):
        reader.read_ahead(["t"], NEAR)
    store.fail_before = 0.0
    assert reader.take(["t"], NEAR).column(0).to_pylist() == [TABLE["t"][i].as_py() for i in NEAR]
    with pytest.raises(RowOutOfRange):
        reader.read_ahead(["t"], np.array([ROWS]))


def test_what_opening_a_file_read_of_its_end_is_not_read_again_with_the_rows_there(tmp_path):
    vortex_file._pieces.cache_clear()
    format_of, path = formats.get("vortex"), tmp_path / "rows.vortex"
    size = format_of.write(TABLE.to_batches(), TABLE.schema, path).size_bytes
    store = RoundsStore(open_store(tmp_path), latency_s=0.0)
    reader = format_of.open(open_object(store, path.name, size_bytes=size), TABLE.schema)
    opening = store.bytes_read
    rows = np.arange(ROWS)
    assert reader.take(["t", "n"], rows).column(1).to_pylist() == rows.tolist()
    assert 0 < opening < size
    assert store.bytes_read <= size, store.timeline()
    assert reader.take(["t"], NEAR).column(0).to_pylist() == [TABLE["t"][i].as_py() for i in NEAR]
