"""Merged segments hold the same rows under the same ids, in whatever order and format they are written."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.formats import arrow_ipc, shuffle
from headwater.jobs import live_rows
from headwater.lake.manifest_json import ManifestEncoder
from headwater.settings import LakeSettings

ROWS, SEGMENTS, DIM = 1_500, 3, 8
FIELDS = [
    hw.Field("id", hw.Int64),
    hw.Field("place", hw.Int64, nullable=True),
    hw.Field("text", hw.String, nullable=True),
    hw.Field("tags", hw.Array(hw.String, max_capacity=8)),
    hw.Field("v", hw.FloatVector(DIM)),
]


def rows(first: int) -> pa.Table:
    ids = np.arange(first, first + ROWS)
    rng = np.random.default_rng(first)
    place = pa.array(rng.integers(0, 10_000, ROWS), mask=ids % 50 == 0)
    texts = [None if number % 9 == 0 else f"text {number} " * int(number % 40) for number in ids.tolist()]
    vectors = rng.standard_normal(ROWS * DIM).astype(np.float32)
    return pa.table(
        {
            "id": ids,
            "place": place,
            "text": pa.array(texts, pa.string()),
            "tags": [[str(number % 3)] * (number % 4) for number in ids.tolist()],
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors), DIM),
        }
    )


def by_row_id(collection: hw.Collection) -> dict[int, dict[str, object]]:
    """What the sealed segments hold, by row id."""
    found = {}
    snapshot = collection._snapshot(collection._live())
    for segment in snapshot.manifest.segments:
        reader, gone = snapshot.opened.readers.of(segment, snapshot.schema), snapshot.gone(segment)
        table = pa.Table.from_batches(list(reader.scan([field.name for field in FIELDS])))
        for number, row in enumerate(table.to_pylist()):
            if gone is None or not gone[number]:
                found[int(reader.row_ids()[number])] = row
    return found


@pytest.fixture(autouse=True)
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What large segments need: rows are parted on disk, and pass through scratch files in pieces."""
    monkeypatch.setattr(shuffle, "_PART_BYTES", 4_000)
    monkeypatch.setattr(arrow_ipc, "_HELD_BYTES", 10_000)
    monkeypatch.setattr(arrow_ipc, "_PIECE_BYTES", 3_000)
    monkeypatch.setattr(live_rows, "_MOST_ROWS", 300)


@pytest.mark.parametrize("form", [None, "arrow_ipc", "vortex", "parquet"])
def test_sorted_rows_keep_their_ids(tmp_path: Path, form: str | None) -> None:
    options = {} if form is None else {"format": form}
    with hw.connect(tmp_path) as db:
        docs = db.create_collection("docs", hw.Schema(FIELDS, primary_key="id"), **options)
        for number in range(SEGMENTS):
            docs.insert(rows(number * ROWS))
            docs.flush()
        docs.delete(filter="id % 7 == 0")
        docs.flush()
        before, version = by_row_id(docs), docs.version
        [report] = docs.optimize(cluster_by="place").compactions
        assert report.segments_before == SEGMENTS
        assert report.rows == len(before)
        [segment] = docs.manifest.segments
        assert by_row_id(docs) == before
        places = docs.to_arrow(["place"])["place"].to_pylist()
        known = [place for place in places if place is not None]
        assert known == sorted(known)
        assert places[: len(known)] == known
        # No row changed, and the manifest does not grow by them.
        assert not [batch for batch in docs.changes(version) if batch.num_rows]
        assert segment.row_id_file is not None
        assert len(segment.row_ids) == 1
        assert len(ManifestEncoder().encode(docs.manifest)) < 10_000
        assert docs.verify().damaged == ()
        # Rows that go while they are written elsewhere are found again by their ids.
        docs.delete([1, 2, 3])
        docs.flush()
    with hw.connect(tmp_path) as db:
        docs = db.collection("docs")
        docs.optimize()
        left = {number: row for number, row in before.items() if row["id"] not in (1, 2, 3)}
        assert by_row_id(docs) == left


def test_sorted_rows_fill_segments_of_the_size_that_is_set(tmp_path: Path) -> None:
    limits = LakeSettings(target_segment_rows=1_000)
    with hw.connect(tmp_path, settings=hw.Settings(lake=limits)) as db:
        docs = db.create_collection("docs", hw.Schema(FIELDS, primary_key="id"))
        docs.insert(rows(0))
        docs.insert(rows(ROWS))
        docs.flush()
        docs.delete(filter="id % 7 == 0")
        before = by_row_id(docs)
        docs.optimize(cluster_by="place")
        assert [segment.num_rows for segment in docs.manifest.segments] == [1_000, 1_000, 571]
        assert by_row_id(docs) == {number: row for number, row in before.items() if row["id"] % 7}
        bounds = [segment.stats[2] for segment in docs.manifest.segments]
        assert all(one.max <= other.min for one, other in pairwise(bounds))
