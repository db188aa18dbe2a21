"""Compaction writes rows in the order of their inverted lists: what one cold search refines lies in fewer places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import headwater as hw
from headwater.engine import Database
from headwater.settings import TierSettings, WriteSettings
from headwater.store import LocalObjectStore
from headwater.testing.rounds import RoundsStore

ROWS, DIM, QUERIES, K = 6_000, 512, 20, 10
SETTINGS = hw.Settings(
    tiers=TierSettings(policy="cold", disk_bytes=0), write=WriteSettings(staleness_s=3600.0)
)
"""However slow the machine, no request is one that looks for what others wrote."""


def made_vectors() -> npt.NDArray[np.float32]:
    """Rows of a few dimensions that matter, turned into many, in no order."""
    rng = np.random.default_rng(0)
    inner = rng.standard_normal((ROWS, 12)).astype(np.float32)
    turn = rng.standard_normal((12, DIM)).astype(np.float32)
    return inner @ turn + 0.1 * rng.standard_normal((ROWS, DIM)).astype(np.float32)


def table(vectors: npt.NDArray[np.float32], first: int, stop: int) -> pa.Table:
    ids = np.arange(first, stop)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors[first:stop].reshape(-1)), DIM)
    return pa.table({"id": ids, "colour": [f"colour {one % 5}" for one in ids], "v": column})


@pytest.fixture(scope="module")
def vectors() -> npt.NDArray[np.float32]:
    return made_vectors()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, vectors: npt.NDArray[np.float32]) -> Path:
    """The same rows twice: in one segment as they came, and in one that two were merged into."""
    folder: Path = tmp_path_factory.mktemp("lists") / "lake"
    schema = {"id": hw.Int64, "colour": hw.String, "v": hw.FloatVector(DIM)}
    with hw.connect(folder) as db:
        came = db.create_collection("came", schema, "id")
        came.insert(table(vectors, 0, ROWS))
        came.flush()
        came.create_index("v", metric_type="L2")
        merged = db.create_collection("merged", schema, "id")
        for start in (0, ROWS // 2):
            merged.insert(table(vectors, start, start + ROWS // 2))
            merged.flush()
        merged.create_index("v", metric_type="L2")
        merged.delete(filter="id % 10 == 9")
        merged.flush()
        merged.optimize()
        for one in (came, merged):
            assert len(one.manifest.segments) == len(one.manifest.builds) == 1
    return folder


def searched(
    lake: Path, name: str, vectors: npt.NDArray[np.float32], **how: Any
) -> tuple[list[list[int]], int, int]:
    """Keys found for each query; ranges asked for of the vectors by all of them, and all bytes read."""
    store = RoundsStore(LocalObjectStore(lake), latency_s=0.0)
    with Database(store, "default", SETTINGS) as db:
        docs = db.collection(name)
        docs.search(vectors[0], limit=K, consistency_level="Eventually", **how)
        found, requests, read = [], 0, 0
        for number in range(1, QUERIES + 1):
            store.reset()
            hits = docs.search(vectors[number * 10], limit=K, consistency_level="Eventually", **how)[0]
            found.append([hit["id"] for hit in hits])
            requests += sum(one.ranges for one in store.requests if "/segments/" in one.key)
            read += store.bytes_read
        return found, requests, read


def exact(vectors: npt.NDArray[np.float32], number: int, allowed: npt.NDArray[np.bool_]) -> list[int]:
    distances = ((vectors - vectors[number * 10]) ** 2).sum(axis=1)
    distances[~allowed] = np.inf
    return [int(one) for one in np.argsort(distances, kind="stable")[:K]]


def test_a_cold_search_of_merged_rows_asks_for_fewer_ranges(
    lake: Path, vectors: npt.NDArray[np.float32]
) -> None:
    _, came, _ = searched(lake, "came", vectors)
    found, merged, _ = searched(lake, "merged", vectors)
    assert merged < 0.9 * came
    left = np.arange(ROWS) % 10 != 9
    truth = [exact(vectors, number, left) for number in range(1, QUERIES + 1)]
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]) > 0.95


def test_a_filter_finds_the_same_rows_in_lists_that_were_renumbered(
    lake: Path, vectors: npt.NDArray[np.float32]
) -> None:
    found, _, _ = searched(lake, "merged", vectors, filter="colour == 'colour 3'")
    ids = np.arange(ROWS)
    left = (ids % 10 != 9) & (ids % 5 == 3)
    truth = [exact(vectors, number, left) for number in range(1, QUERIES + 1)]
    assert np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth, strict=True)]) > 0.95
