"""Large log entries are written another way than small ones, and are the same bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import Corrupt, SchemaMismatch
from headwater.lake.log import entry as entries
from headwater.lake.log.entry import DeleteKeys, Entry, InsertRows, decode_entry, encode_entry


def _entry(count: int) -> Entry:
    numbers = np.arange(count)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(16 * count, np.float32)), 16)
    texts = pa.array([None if n % 3 else "ü" * (n % 50) for n in numbers.tolist()])
    lists = pa.array([[n] * (n % 4) for n in numbers.tolist()])
    table = pa.table({"1": numbers, "2": vectors, "3": texts, "4": lists, "5": pa.array(numbers % 2 == 0)})
    chunked = pa.concat_tables([table.slice(5, count // 2), table.slice(1, 3), table.slice(0, 0)])
    keys = pa.array([str(n) for n in numbers.tolist()])
    records = (InsertRows(table, 0), DeleteKeys(keys.slice(3)), InsertRows(chunked, count, 7))
    return Entry(3, 2, "writer", "commit", 99, records)


def test_both_ways_write_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = _entry(20_000)
    large = encode_entry(made)
    assert isinstance(large, memoryview), "large enough for the other way"
    monkeypatch.setattr(entries, "_LARGE_BYTES", 1 << 60)
    small = encode_entry(made)
    assert isinstance(small, bytes)
    assert small == large
    monkeypatch.undo()
    monkeypatch.setattr(entries, "_room_for", lambda tables: 64)
    assert encode_entry(made) == small, "where the room were not enough"
    back = decode_entry(bytes(large), "k")
    for record, other in zip(back.records, made.records, strict=True):
        if isinstance(record, InsertRows):
            assert isinstance(other, InsertRows)
            assert record.rows.equals(other.rows)
    with pytest.raises(Corrupt):
        decode_entry(bytes(large[:-9]) + bytes(large[-8:]), "k")


@pytest.mark.parametrize("kind", [hw.FloatVector, hw.Float16Vector])
def test_not_finite_numbers_are_found_and_large_ones_taken(kind: type, tmp_path: Path) -> None:
    dtype, most = (np.float32, 3e38) if kind is hw.FloatVector else (np.float16, 65504)
    table = hw.connect(tmp_path).create_collection("t", {"id": hw.Int64, "v": kind(4)}, "id")
    vectors = np.full((300, 4), most, dtype)
    table.insert({"id": np.arange(300), "v": vectors})
    assert table.count() == 300
    for bad in (np.nan, np.inf, -np.inf):
        vectors[217, 2] = bad
        with pytest.raises(SchemaMismatch, match="217"):
            table.insert({"id": np.arange(300) + 1000, "v": vectors})
