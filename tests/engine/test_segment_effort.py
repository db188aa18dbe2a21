"""The effort that a search makes in each of several segments: what finds the neighbours of all of them, and no more."""

from __future__ import annotations

import numpy as np
import pytest

import headwater as hw
from headwater.index.effort import neighbours_within
from headwater.settings import MaintenanceSettings

DIM, ROWS, SEGMENTS, NEAR = 32, 5000, 5, 8


@pytest.fixture(scope="module")
def vectors():
    """Clusters with a few rows in each segment: fewer than a search has hits, and enough in all segments together."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(ROWS // NEAR, DIM))
    of = np.concatenate([rng.permutation(np.arange(ROWS) % len(centres)) for _ in range(SEGMENTS)])
    near = centres[of] + 0.35 * rng.normal(size=(len(of), DIM))
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


def test_a_segment_is_not_searched_for_neighbours_that_others_hold(tmp_path, vectors):
    settings = hw.Settings(maintenance=MaintenanceSettings(automatic=False))
    with hw.connect(tmp_path, settings=settings) as db:
        docs = db.create_collection("docs", {"id": hw.Int64, "near": hw.FloatVector(DIM)}, "id")
        for start in range(0, len(vectors), ROWS):
            docs.insert({"id": np.arange(start, start + ROWS), "near": vectors[start : start + ROWS]})
            docs.flush()
        docs.create_index("near", "IVF_RABITQ")
        snapshot = docs._pinned()._snapshot
        [spec] = snapshot.manifest.indexes
        opened = [snapshot.opened.indexes.vector(build, spec) for build in snapshot.manifest.builds]
        assert len(opened) == SEGMENTS
        assert max(one.nprobe for one in opened) <= 16

        asked = np.arange(0, len(vectors), 250)
        found = docs.search(vectors[asked], top_k=10)
        exact = np.argsort(-(vectors[asked] @ vectors.T), axis=1)[:, :10]
        shares = [
            len({hit["id"] for hit in hits} & set(rows.tolist()))
            for hits, rows in zip(found, exact, strict=True)
        ]
        assert np.mean(shares) / 10 >= 0.97


@pytest.mark.parametrize(("share", "wanted"), [(1.0, 10), (0.9, 10), (0.5, 9), (0.2, 5), (0.01, 1), (0.0, 1)])
def test_neighbours_that_a_part_of_the_rows_holds(share, wanted):
    assert neighbours_within(share) == wanted
    held = np.random.default_rng(0).binomial(10, share, 10_000)
    assert np.mean(held <= wanted) >= 0.9
