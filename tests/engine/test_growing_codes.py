"""Rows in the log are searched by codes once they are many: the answers stay those of exact search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.index import ScanCodes
from headwater.index.joined_codes import JoinedCodes
from headwater.lake.log.seal import _sealed
from headwater.query.coded import wait_for_codes
from headwater.settings import MaintenanceSettings, Settings

DIM = 128
ALONE = Settings(maintenance=MaintenanceSettings(automatic=False))
DICE = np.random.default_rng(3)
VECTORS = DICE.normal(size=(12_000, DIM)).astype(np.float32)


def _rows(numbers: np.ndarray, vectors: np.ndarray) -> pa.Table:
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    return pa.table({"id": numbers, "part": numbers % 10, "v": flat})


def _made(path: Path, index: str = "AUTOINDEX", metric: str = "L2") -> Any:
    schema = {"id": hw.Int64, "part": hw.Int64, "v": hw.FloatVector(DIM)}
    table = hw.connect(path, settings=ALONE).create_collection("t", schema, "id")
    table.create_index("v", index, metric_type=metric)
    for start in range(0, len(VECTORS), 1000):
        table.insert(_rows(np.arange(start, start + 1000), VECTORS[start : start + 1000]))
    return table


def _check(table: Any, live: dict[int, np.ndarray], keep: Any = None, **how: Any) -> None:
    numbers = np.array([n for n in live if keep is None or keep(n)])
    vectors = np.stack([live[n] for n in numbers.tolist()])
    queries = DICE.normal(size=(30, DIM)).astype(np.float32)
    found = table.search(queries, top_k=10, **how)
    good = 0
    for query, hits in zip(queries, found, strict=True):
        distances = ((vectors - query) ** 2).sum(axis=1)
        nearest = dict(zip(numbers.tolist(), distances.tolist(), strict=True))
        ids = [hit["id"] for hit in hits]
        assert len(set(ids)) == 10
        np.testing.assert_allclose(
            [hit["distance"] for hit in hits], [nearest[one] for one in ids], rtol=1e-4
        )
        good += len(set(ids) & set(numbers[np.argsort(distances)[:10]].tolist()))
    assert good >= 0.98 * 300


def test_deletes_upserts_and_filters_hold_with_codes(tmp_path: Path) -> None:
    table = _made(tmp_path)
    live = dict(enumerate(VECTORS))
    table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    assert any(codes is not None for one in table._live().pinned.segments for codes in _codes(one))
    _check(table, live)
    _check(table, live, lambda n: n % 10 < 5, filter="part < 5")
    _check(table, live, lambda n: n == n // 100 * 100, filter="part == 0 and id % 100 == 0")
    gone = np.arange(0, 12_000, 3)
    table.delete(gone.tolist())
    for number in gone.tolist():
        del live[number]
    moved = np.arange(1, 900, 3)
    table.upsert(_rows(moved, -VECTORS[moved]))
    live.update({number: -VECTORS[number] for number in moved.tolist()})
    table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    _check(table, live)
    _check(table, live, lambda n: n % 10 < 5, filter="part < 5")
    ranged = table.search(VECTORS[7], top_k=50, params={"radius": 200.0, "range_filter": 10.0})[0]
    distances = {n: float(((v - VECTORS[7]) ** 2).sum()) for n, v in live.items()}
    wanted = sorted(d for d in distances.values() if 10.0 <= d < 200.0)[:50]
    np.testing.assert_allclose([hit["distance"] for hit in ranged], wanted, rtol=1e-4)


def _codes(segment: Any) -> list[Any]:
    return [value for value in segment.memo.values() if isinstance(value, ScanCodes)]


@pytest.mark.parametrize("index", ["FLAT", None])
def test_what_is_declared_exact_stays_exact(tmp_path: Path, index: str | None) -> None:
    table = _made(tmp_path, index or "AUTOINDEX")
    if index is None:
        table.drop_index("v")
    table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    assert not any(_codes(one) for one in table._live().pinned.segments)


def test_a_segment_whose_index_is_not_built_is_searched_by_codes(tmp_path: Path) -> None:
    table = _made(tmp_path)
    table.flush()
    for _ in range(5):
        table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    assert len(table._opened.caches["codes"]) == 1
    _check(table, dict(enumerate(VECTORS)))
    table.optimize()
    _check(table, dict(enumerate(VECTORS)))


def _kept(table: Any) -> list[Any]:
    view = table._opened.caches["codes"]
    return [view.get(key) for key in list(view._entries)]


@pytest.mark.parametrize("reader", ["the writer itself", "another process's"])
def test_sealed_rows_keep_their_codes(tmp_path: Path, reader: str) -> None:
    writer = _made(tmp_path)
    table = writer if reader == "the writer itself" else hw.connect(tmp_path, settings=ALONE).collection("t")
    live = dict(enumerate(VECTORS))
    table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    gone = np.arange(0, 12_000, 20)
    writer.delete(gone.tolist())
    moved = np.arange(1, 2000, 20)
    writer.upsert(_rows(moved, -VECTORS[moved]))
    for number in gone.tolist():
        del live[number]
    live.update({number: -VECTORS[number] for number in moved.tolist()})
    _check(table, live)
    writer.flush()
    _check(table, live)
    assert [type(one) for one in _kept(table)] == [JoinedCodes]
    assert not _growing(table)
    later = np.arange(2, 3000, 20)
    writer.delete(later.tolist())
    for number in later.tolist():
        del live[number]
    _check(table, live)
    _check(table, live, lambda n: n % 10 < 5, filter="part < 5")
    _check(table, live, lambda n: n == n // 100 * 100 + 3, filter="part == 3 and id % 100 == 3")
    writer.optimize()
    _check(table, live)


def test_rows_that_come_while_others_are_sealed_are_found(tmp_path: Path) -> None:
    table = _made(tmp_path)
    other = hw.connect(tmp_path, settings=ALONE).collection("t")
    live = dict(enumerate(VECTORS))
    base = other._log.pin()
    more = DICE.normal(size=(3000, DIM)).astype(np.float32)
    table.insert(_rows(np.arange(12_000, 15_000), more))
    live.update(zip(range(12_000, 15_000), more, strict=True))
    table.search(VECTORS[:1], top_k=1)
    wait_for_codes()
    _check(table, live)
    # The segment that this process has in memory is sealed to its middle, by another that knew less of it.
    change = _sealed(other._log, base, 1_000_000)
    other._lake.commit(base.manifest, [change], operation="seal")
    assert table.count() == 15_000
    assert sum(_growing(table)) == 3000
    _check(table, live)
    assert [type(one) for one in _kept(table)] == [JoinedCodes]


def _growing(table: Any) -> list[int]:
    return [segment.num_rows for segment in table._live().pinned.segments]


def test_fields_that_are_hot_are_decoded_ahead_for_sealed_rows(tmp_path: Path) -> None:
    table = _made(tmp_path)
    table.flush()
    for _ in range(10):
        table.search(VECTORS[:1], top_k=1, output_fields=["part"])
    table.insert(_rows(np.arange(12_000, 14_000), VECTORS[:2000] + 1))
    assert table.count() == 14_000
    table.flush()
    table.count()
    wait_for_codes()
    late = next(one for one in table.manifest.segments if one.num_rows == 2000)
    hot = {key[1] for key in list(table._opened.caches["columns"].keys()) if key[0] == late.id}
    assert hot == {table.schema.field(name).id for name in ("id", "part")}
    assert table.search(VECTORS[:1] + 1, top_k=1, output_fields=["part"])[0][0]["id"] == 12_000
