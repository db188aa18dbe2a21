import tempfile
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import formats
from headwater.store import open_store
from headwater.tiers import open_object

SCALARS = [
    (pa.bool_(), st.booleans()),
    (pa.int8(), st.integers(-128, 127)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float32(), st.floats(width=32, allow_nan=False)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    (pa.binary(), st.binary(max_size=20)),
    (pa.timestamp("us", "UTC"), st.integers(-(2**50), 2**50)),
]
scalars = st.sampled_from(SCALARS)


def listed(one):
    kind, values = one
    return pa.list_(kind), st.lists(st.none() | values, max_size=4)


def structured(pair):
    (left, left_values), (right, right_values) = pair
    kind = pa.struct([("l", left), ("r", right)])
    return kind, st.fixed_dictionaries({"l": st.none() | left_values, "r": st.none() | right_values})


def vector(dim):
    return pa.list_(pa.float32(), dim), st.lists(
        st.floats(width=32, allow_nan=False), min_size=dim, max_size=dim
    )


kinds = st.one_of(
    scalars,
    scalars.map(listed),
    st.tuples(scalars, scalars).map(structured),
    st.tuples(scalars, scalars).map(structured).map(listed),
    st.integers(1, 5).map(vector),
)


@st.composite
def tables(draw):
    num_rows = draw(st.integers(0, 30))
    columns = {}
    for number in range(draw(st.integers(1, 4))):
        kind, values = draw(kinds)
        if draw(st.booleans()):
            values = st.none() | values
        columns[f"c{number}"] = pa.array(draw(st.lists(values, min_size=num_rows, max_size=num_rows)), kind)
    table = pa.table(columns)
    skip = draw(st.integers(0, num_rows))
    rows = draw(st.lists(st.integers(0, max(0, num_rows - skip - 1)), max_size=12)) if num_rows > skip else []
    return table.slice(skip), np.array(rows, np.int64), draw(st.integers(1, 31))


@pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
@pytest.mark.parametrize("name", sorted(formats.FORMATS))
@settings(max_examples=40)
@given(drawn=tables())
def test_what_is_written_is_what_is_read(name, cold, drawn):
    table, rows, batch_rows = drawn
    format_ = formats.get(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        stats = format_.write(table.to_batches(max_chunksize=batch_rows), table.schema, path)
        store = open_store(f"memory://{uuid.uuid4().hex}" if cold else folder)
        if cold:
            store.put("file", path.read_bytes())
        reader = format_.open(open_object(store, "file", size_bytes=stats.size_bytes), table.schema)
        whole = table.combine_chunks()
        assert reader.num_rows == table.num_rows
        found = pa.Table.from_batches(list(reader.scan(table.column_names)), table.schema)
        found.validate(full=True)
        assert found.combine_chunks().equals(whole)
        mask = np.zeros(table.num_rows, np.bool_)
        mask[rows] = True
        some = pa.Table.from_batches(list(reader.scan(table.column_names, mask)), table.schema)
        assert some.combine_chunks().equals(whole.filter(pa.array(mask)).combine_chunks())
        taken = reader.take(table.column_names, rows)
        taken.validate(full=True)
        assert pa.Table.from_batches([taken]).equals(whole.take(pa.array(rows)).combine_chunks())
