"""Cold segments' candidates are compared once for all of them: few vectors are read, and answers are those of numpy."""

from __future__ import annotations

from collections.abc import Iterator
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

DIM, EACH, SEGMENTS, K = 96, 2_500, 8, 10
GONE = set(range(0, EACH * SEGMENTS, 37))
METRICS = ("L2", "IP", "COSINE")
EVERY = {"nprobe": 4096, "refine_k": 40}


def drawn(count: int, seed: int) -> npt.NDArray[np.float32]:
    """Rows around centres, of no length in particular."""
    centres = np.random.default_rng(1).normal(size=(60, DIM))
    rng = np.random.default_rng(seed)
    rows = centres[rng.integers(0, 60, count)] + 0.6 * rng.normal(size=(count, DIM))
    return (rows * rng.uniform(0.8, 1.2, (count, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def rows() -> npt.NDArray[np.float32]:
    return drawn(EACH * SEGMENTS, 2)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, rows: npt.NDArray[np.float32]) -> Path:
    folder: Path = tmp_path_factory.mktemp("once") / "lake"
    quiet = hw.Settings.from_values({"maintenance": {"automatic": False}})
    with hw.connect(folder, settings=quiet) as db:
        for metric in METRICS:
            docs = db.create_collection(
                metric, {"id": hw.Int64, "year": hw.Int64, "v": hw.FloatVector(DIM)}, "id"
            )
            for start in range(0, len(rows), EACH):
                ids = np.arange(start, start + EACH)
                flat = pa.array(rows[ids].reshape(-1))
                docs.insert(
                    pa.table({"id": ids, "year": ids % 10, "v": pa.FixedSizeListArray.from_arrays(flat, DIM)})
                )
                docs.flush()
            docs.create_index("v", "IVF_RABITQ", metric_type=metric)
            docs.build_indexes()
            if metric != "L2":
                docs.delete(sorted(GONE))
                docs.flush()
            docs.set_tier("cold")
    return folder


@pytest.fixture
def store(lake: Path) -> RoundsStore:
    return RoundsStore(LocalObjectStore(lake), latency_s=0.01)


@pytest.fixture
def db(store: RoundsStore) -> Iterator[Database]:
    # However slow the machine, no request is one that looks for what others wrote.
    settings = hw.Settings(tiers=TierSettings(disk_bytes=0), write=WriteSettings(staleness_s=3600.0))
    with Database(store, "default", settings) as opened:
        yield opened


def values(metric: str, rows: npt.NDArray[np.float32], query: npt.NDArray[np.float32]) -> Any:
    """Closeness of every row, the more the closer; deleted ones last."""
    near = -((rows - query) ** 2).sum(axis=1) if metric == "L2" else rows @ query
    if metric == "COSINE":
        near = near / np.linalg.norm(rows, axis=1)
    if metric != "L2":
        near[sorted(GONE)] = -np.inf
    return near


def ids(found: Any) -> list[list[int]]:
    return [[hit["id"] for hit in hits] for hits in found]


def test_a_search_of_eight_segments_reads_as_many_vectors_as_one_of_one(
    db: Database, store: RoundsStore, rows: npt.NDArray[np.float32]
) -> None:
    queries = drawn(12, 3)
    db.search("L2", queries[:1], anns_field="v", top_k=K)
    found, vectors, rounds = [], [], []
    for query in queries:
        store.reset()
        found += ids(db.search("L2", query[None], anns_field="v", top_k=K))
        vectors.append(
            [one for one in store.requests if one.key.endswith(".arrow") and "/log/" not in one.key]
        )
        rounds.append(store.rounds)
    # Of each segment's file once at most, all in the same round where the machine is not busy, and few rows of it.
    assert all(len({one.key for one in asked}) == len(asked) <= SEGMENTS for asked in vectors)
    assert min(len({one.round for one in asked}) for asked in vectors) == 1
    assert np.mean([sum(one.ranges for one in asked) for asked in vectors]) < 8 * K
    assert np.mean([sum(one.bytes_read for one in asked) for asked in vectors]) < rows.nbytes / 3
    assert np.median(rounds) <= 3
    truth = [np.argsort(-values("L2", rows, query), kind="stable")[:K] for query in queries]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)]) > 0.96


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("filtered", [False, True])
def test_with_all_effort_answers_are_exact(
    db: Database, rows: npt.NDArray[np.float32], metric: str, filtered: bool
) -> None:
    queries = drawn(7, 4)
    how = {"filter": "year < 3"} if filtered else {}
    found = db.search(metric, queries, anns_field="v", top_k=K, params=EVERY, **how)
    for hits, query in zip(found, queries, strict=True):
        near = values(metric, rows, query)
        if filtered:
            near[np.arange(len(rows)) % 10 >= 3] = -np.inf
        order = np.argsort(-near, kind="stable")[:K]
        assert [hit["id"] for hit in hits] == order.tolist()
        exact = -near[order] if metric == "L2" else near[order]
        if metric == "COSINE":
            exact = exact / np.linalg.norm(query)
        np.testing.assert_allclose([hit["distance"] for hit in hits], exact, rtol=1e-4)


def test_ranges_groups_and_pages_are_those_of_numpy(db: Database, rows: npt.NDArray[np.float32]) -> None:
    query = drawn(1, 5)
    near = values("COSINE", rows, query[0]) / np.linalg.norm(query)
    order = np.argsort(-near, kind="stable")
    bound = float((near[order[5]] + near[order[6]]) / 2)
    inside = db.search("COSINE", query, anns_field="v", top_k=K, params={**EVERY, "radius": bound})
    assert ids(inside)[0] == order[:6].tolist()
    groups = db.search("COSINE", query, anns_field="v", top_k=3, params=EVERY, group_by_field="year")
    first = {int(row) % 10: int(row) for row in order[::-1]}
    assert ids(groups)[0] == sorted(first.values(), key=lambda row: -near[row])[:3]
    pages = db.collection("COSINE").search_iterator(query, batch_size=15, limit=45, params=EVERY)
    assert [hit["id"] for page in pages for hit in page] == order[:45].tolist()


def test_effort_by_default_finds_what_it_aims_at_whatever_is_deleted(
    db: Database, rows: npt.NDArray[np.float32]
) -> None:
    queries = drawn(60, 6)
    for metric in METRICS:
        found = ids(db.search(metric, queries, anns_field="v", top_k=K))
        truth = [np.argsort(-values(metric, rows, query))[:K] for query in queries]
        assert np.mean([np.isin(a, b).mean() for a, b in zip(found, truth, strict=True)]) > 0.96, metric
