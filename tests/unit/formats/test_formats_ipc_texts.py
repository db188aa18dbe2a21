import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import formats
from headwater.errors import Corrupt
from headwater.formats.ipc_layout import read_layout
from headwater.store import FaultyStore, open_store
from headwater.tiers import open_object

KINDS = [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()]


def readers(table, folder, batch_rows):
    path = folder / "texts.arrow"
    stats = formats.get("arrow_ipc").write(table.to_batches(max_chunksize=batch_rows), table.schema, path)
    cold = FaultyStore(open_store(f"memory://{uuid.uuid4().hex}"), seed=0)
    cold.put("texts.arrow", path.read_bytes())
    for store in (open_store(folder), cold):
        source = open_object(store, "texts.arrow", size_bytes=stats.size_bytes)
        yield formats.get("arrow_ipc").open(source, table.schema), store


@given(
    kind=st.sampled_from(KINDS),
    values=st.lists(st.one_of(st.none(), st.text(max_size=30)), min_size=1, max_size=60),
    batch_rows=st.integers(1, 70),
    data=st.data(),
)
def test_a_take_is_arrows_own_take(tmp_path_factory, kind, values, batch_rows, data):
    column = pa.array([None if one is None else one.encode() for one in values], pa.binary()).cast(kind)
    rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=80)), np.int64)
    for reader, _ in readers(pa.table({"t": column}), tmp_path_factory.mktemp("ipc"), batch_rows):
        taken = reader.take(["t"], rows).column(0)
        taken.validate(full=True)
        assert taken.equals(column.take(pa.array(rows)))


def test_a_cold_take_reads_the_texts_asked_for_and_no_other(tmp_path):
    texts = [f"{i:06d}" * 50 for i in range(50_000)]
    _, (reader, store) = readers(pa.table({"t": texts}), tmp_path, 1 << 20)
    before = store.bytes_read
    assert reader.take(["t"], np.array([40_000, 7, 123])).column(0).to_pylist() == [
        texts[40_000],
        texts[7],
        texts[123],
    ]
    assert store.bytes_read - before < 3 * 70_000


@pytest.mark.parametrize("cold", [False, True])
def test_offsets_that_descend_are_damage(tmp_path, cold):
    texts = ["a" * 100, "b" * 100, "c" * 100]
    (_, store), _ = readers(pa.table({"t": texts}), tmp_path, 10)
    layout = read_layout(open_object(store, "texts.arrow"))
    raw = bytearray((tmp_path / "texts.arrow").read_bytes())
    offsets = layout.batches[0].buffers[1]
    raw[offsets.start + 4 : offsets.start + 8] = (1 << 30).to_bytes(4, "little")
    (tmp_path / "bad.arrow").write_bytes(raw)
    store = open_store(tmp_path)
    if cold:
        store = open_store(f"memory://{uuid.uuid4().hex}")
        store.put("bad.arrow", bytes(raw))
    schema = pa.schema({"t": pa.string()})
    with pytest.raises(Corrupt, match=r"bad\.arrow.*'t'"):
        formats.get("arrow_ipc").open(open_object(store, "bad.arrow"), schema).take(["t"], np.array([0]))
