"""A little less memory than is wanted costs a little speed: nothing is opened again for each query."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.index import list_budget
from headwater.settings import MaintenanceSettings, TierSettings

ROWS, DIM = 4000, 64


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("tight") / "lake"
    rng = np.random.default_rng(0)
    schema = {
        "id": hw.Int64,
        "year": hw.Int32,
        "name": hw.String,
        "text": hw.String,
        "v": hw.FloatVector(DIM),
    }
    with hw.connect(folder) as db:
        docs = db.create_collection("docs", schema, "id")
        docs.insert(
            {
                "id": np.arange(ROWS),
                "year": rng.integers(0, 1000, ROWS),
                "name": [f"name of {one}" for one in range(ROWS)],
                "text": [f"text number {one} " * 3 for one in range(ROWS)],
                "v": rng.normal(size=(ROWS, DIM)).astype(np.float32),
            }
        )
        docs.flush()
        docs.create_index("v", "IVF_FLAT", params={"nlist": 16})
        docs.build_indexes()
    return folder


class Asked:
    """A process that is asked the same questions within some budget."""

    def __init__(self, lake: Path, policy: str, memory_bytes: int, **more: int) -> None:
        tiers = TierSettings(policy=policy, memory_bytes=memory_bytes, disk_bytes=0, **more)
        settings = hw.Settings(tiers=tiers, maintenance=MaintenanceSettings(automatic=False))
        with hw.connect(lake, settings=settings) as db:
            docs, rng = db.collection("docs"), np.random.default_rng(1)
            self.answers = []
            for number in range(36):
                text = "year < 300" if number % 3 == 2 else None
                found = docs.search(
                    rng.normal(size=DIM), top_k=5, filter=text, output_fields=["name", "text"]
                )
                self.answers.append([(hit["id"], hit["entity"]["text"]) for hit in found[0]])
                if number % 4 == 3:
                    # What every two seconds brings: things are weighed again, and come nearer where there is room.
                    db.tiers.tend()
            memory = db.tiers.report().memory
            self.used = memory.used_bytes
            self.made = {kind.kind: kind.misses for kind in memory.kinds}
            self.within = memory.used_bytes <= memory.budget_bytes


@pytest.mark.parametrize("policy", ["auto", "hot"])
def test_what_does_not_fit_is_used_from_farther_away_and_not_opened_for_each_query(lake, policy, caplog):
    whole = Asked(lake, policy, 1 << 30)
    for share in (0.1, 0.6, 1.0, 1.2):
        tight = Asked(lake, policy, int(whole.used * share))
        assert tight.answers == whole.answers
        assert tight.within, share
        more = {kind: made - whole.made.get(kind, 0) for kind, made in tight.made.items() if kind != "takes"}
        # Each of five columns, a file, an index and a filter may come, leave, and come back once or twice.
        assert sum(more.values()) <= 16, (share, more)


def test_what_never_fits_is_said_once(lake, caplog):
    with caplog.at_level(logging.WARNING, "headwater.tiers"):
        Asked(lake, "auto", 100_000)
    told = [record.getMessage() for record in caplog.records if "tiers.memory_bytes" in record.getMessage()]
    assert told
    assert len(told) == len(set(told))


def test_lists_of_cold_indexes_stay_within_what_they_may_take(lake):
    before = list_budget().limit_bytes
    try:
        whole = Asked(lake, "cold", 1 << 30)
        assert list_budget().limit_bytes == TierSettings().list_bytes
        tight = Asked(lake, "cold", 1 << 30, list_bytes=100_000)
        assert list_budget().limit_bytes == 100_000
        assert tight.answers == whole.answers
    finally:
        list_budget().limit_bytes = before
