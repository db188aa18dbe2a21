"""Parquet files of others that are a request away: what a step reads comes in one round, and a change is still seen."""

from __future__ import annotations

import io
import threading
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import SourceChanged
from headwater.lake.external import parquet_files
from headwater.lake.external.parquet_files import ParquetFiles
from headwater.schema import Schema
from headwater.store import LocalObjectStore, StoreWrapper, open_store
from headwater.testing.rounds import RoundsStore

FILES, ROWS, GROUP = 3, 400, 100


@pytest.fixture
def folder(tmp_path):
    for number in range(FILES):
        ids = np.arange(number * ROWS, (number + 1) * ROWS)
        table = pa.table({"id": ids, "text": [f"text {one}" for one in ids], "other": [b"x" * 500] * ROWS})
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=GROUP)
    return tmp_path


@pytest.fixture
def opened(folder):
    store = RoundsStore(LocalObjectStore(folder))
    files = ParquetFiles([(store, "s3://bucket/docs", ["**"])])
    fields = Schema.of({"id": hw.Int64, "text": hw.String}).fields
    found = [one.fragment for one in files.fragments(files.list_files(), fields, segment_rows=10_000)]
    store.reset()
    return store, files.open(found, fields)


def least(store, call):
    rounds = []
    for _ in range(4):
        store.reset()
        call()
        rounds.append(store.rounds)
    return min(rounds)


ASKED = np.array([1100, 5, 350, 600, 5])


def test_rows_of_several_files_and_row_groups_come_in_one_round(opened):
    store, reader = opened
    assert reader.take(["text"], ASKED).column(0).to_pylist() == [f"text {one}" for one in ASKED]
    first = store.rounds
    assert first <= 3, store.timeline()
    assert least(store, lambda: reader.take(["text"], ASKED)) == 1, store.timeline()
    # A question about each file, and the column's bytes in four row groups: near ones are one request.
    assert len(store.requests) == 2 * FILES
    assert store.bytes_read < 20_000


def test_a_scan_reads_the_columns_asked_for_and_no_other(opened):
    store, reader = opened
    whole = pa.Table.from_batches(reader.scan(["id"]))
    assert whole.column(0).to_pylist() == list(range(FILES * ROWS))
    assert least(store, lambda: list(reader.scan(["id"]))) <= FILES


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("how", ["changed", "gone", "damaged"])
def test_a_file_that_is_another_by_now_is_never_read_as_the_old_one(opened, folder, how, known):
    _, reader = opened
    if known:
        reader.take(["id"], ASKED)
    path = folder / "1.parquet"
    if how == "gone":
        path.unlink()
    elif how == "changed":
        pq.write_table(pq.read_table(path).slice(1), path, row_group_size=GROUP)
    else:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SourceChanged):
        reader.take(["id"], ASKED)


class Swapped(StoreWrapper):
    """Another file takes the place of the one that was asked about, before any more of it is read."""

    def __init__(self, inner):
        super().__init__(inner)
        self.other = None
        self.answered = threading.Event()

    def head(self, key):
        meta = self.inner.head(key)
        if self.other is not None:
            self.inner.put(key, self.other)
        self.answered.set()
        return meta

    def get_ranges(self, key, ranges, **more):
        if self.other is not None:
            self.answered.wait()
        return self.inner.get_ranges(key, ranges, **more)


def numbers(first):
    sink = io.BytesIO()
    table = pa.table({"id": pa.array(range(first, first + ROWS), pa.int64())})
    pq.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=GROUP)
    return sink.getvalue()


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_file_put_in_place_of_another_after_it_was_asked_about_is_not_read_as_it(monkeypatch, known, held):
    inner = open_store(f"memory://{uuid.uuid4().hex}")
    inner.put("a.parquet", numbers(0))
    store = Swapped(inner)
    files = ParquetFiles([(store, "s3://bucket/docs", ["**"])])
    fields = Schema.of({"id": hw.Int64}).fields
    found = [one.fragment for one in files.fragments(files.list_files(), fields, segment_rows=10_000)]
    reader = files.open(found, fields)
    if known:
        assert reader.take(["id"], np.array([7])).column(0).to_pylist() == [7]
    if not held:
        monkeypatch.setattr(parquet_files, "_MOST_HELD", 0)
    store.answered.clear()
    store.other = numbers(1000)
    assert len(store.other) == found[0].size_bytes
    with pytest.raises(SourceChanged):
        reader.take(["id"], np.array([7]))
