"""The disk cache under a collection: killed while it is filled, too small, damaged, removed; answers stay right."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.engine.database import Database
from headwater.settings import MaintenanceSettings, Settings, TierSettings
from headwater.store import FaultyStore, LocalObjectStore

ROWS, DIM = 20_000, 32

FILL = """
import sys, time
from pathlib import Path
from headwater.settings import TierSettings
from headwater.store import FaultyStore, LocalObjectStore
from headwater.tiers import TierPolicy, Tiers

lake, cache, key, size, policy = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
store = FaultyStore(LocalObjectStore(lake), latency_s=0.01, bandwidth_bytes_s=2_000_000)
tiers = Tiers(TierSettings(disk_path=cache))
print("begun", flush=True)
opened = tiers.open(store, key, size_bytes=size, checksum="crc32:1", policy=TierPolicy(policy))
from headwater.types import ByteRange
for start in range(0, size, 20_000):
    opened.read(ByteRange(start, min(start + 20_000, size)))
# Killed at the latest here, however late that comes.
sys.stdin.read()
"""


@pytest.mark.parametrize("policy", ["cold", "warm"])
def test_a_process_killed_while_it_fills_leaves_nothing_wrong(tmp_path, policy):
    from headwater.tiers import TierPolicy, Tiers
    from headwater.types import ByteRange

    data = np.random.default_rng(1).bytes(3_000_000)
    store = FaultyStore(LocalObjectStore(tmp_path / "lake"))
    store.put("db/c/segments/s/object", data)
    cache = tmp_path / "cache"
    arguments = [str(tmp_path / "lake"), str(cache), "db/c/segments/s/object", str(len(data)), policy]
    for round_s in (0.2,):
        process = subprocess.Popen(
            [sys.executable, "-c", FILL, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"begun\n"
        time.sleep(round_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        for wanted in (TierPolicy.COLD, TierPolicy.WARM):
            tiers = Tiers(TierSettings(disk_path=str(tmp_path / "copy")))
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            if cache.exists():
                shutil.copytree(cache, tmp_path / "copy")
            opened = tiers.open(
                store, "db/c/segments/s/object", size_bytes=len(data), checksum="crc32:1", policy=wanted
            )
            assert bytes(opened.read(ByteRange(0, len(data)))) == data
            assert opened.buffer().to_pybytes() == data
            assert tiers.report().disk.degradations == 0


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    rng = np.random.default_rng(7)
    with hw.connect(folder / "lake") as db:
        docs = db.create_collection(
            "docs", {"id": hw.Int64, "v": hw.FloatVector(DIM), "title": hw.VarChar(64)}, primary_key="id"
        )
        for part in range(4):
            first = part * ROWS // 4
            docs.insert(
                {
                    "id": np.arange(first, first + ROWS // 4),
                    "v": rng.standard_normal((ROWS // 4, DIM)).astype(np.float32),
                    "title": [f"title {number}" for number in range(first, first + ROWS // 4)],
                }
            )
            docs.flush()
        docs.create_index("v")
    return folder


class Served:
    """The lake as one process serves it from afar."""

    def __init__(self, lake: Path, policy: str, **tiers: object) -> None:
        self.store = FaultyStore(LocalObjectStore(lake / "lake"))
        settings = Settings(
            tiers=TierSettings(**{"policy": policy, "disk_path": str(lake / "cache"), **tiers}),
            maintenance=MaintenanceSettings(automatic=False),
        )
        self.db = Database(self.store, "default", settings)

    def answers(self) -> list[object]:
        """Searches with and without a filter, exact ones, and rows by key."""
        docs, rng = self.db.collection("docs"), np.random.default_rng(3)
        queries = rng.standard_normal((4, DIM)).astype(np.float32)
        found: list[object] = []
        for filter in (None, "id % 7 == 3", "title like 'title 1%'"):
            hits = docs.search(queries, limit=5, filter=filter, output_fields=["title"])
            found.append([[(hit["id"], hit["entity"]["title"]) for hit in one] for one in hits])
        found.append(sorted(row["title"] for row in docs.get([1, 5_000, 19_999])))
        found.append(docs.count("id >= 100"))
        return found


@pytest.fixture(scope="module")
def truth(lake) -> list[object]:
    with hw.connect(lake / "lake") as db:
        served = Served.__new__(Served)
        served.db = db
        return served.answers()


@pytest.mark.parametrize("policy", ["auto", "hot", "warm", "cold", "on_demand"])
def test_answers_are_the_same_at_every_tier_and_after_a_restart(lake, truth, policy):
    shutil.rmtree(lake / "cache", ignore_errors=True)
    first = Served(lake, policy)
    assert first.answers() == truth
    first.db.tiers.tend()
    assert first.db.tiers.mover.wait(30)
    assert first.answers() == truth
    again = Served(lake, policy)
    assert again.answers() == truth
    if policy in ("hot", "warm", "cold"):
        assert again.store.bytes_read < 0.2 * first.store.bytes_read
    assert (lake / "cache").exists() == (policy != "on_demand")


@pytest.mark.parametrize("policy", ["auto", "hot", "warm", "cold"])
def test_a_collection_ten_times_the_budgets_is_served(lake, truth, policy):
    shutil.rmtree(lake / "cache", ignore_errors=True)
    size = Served(lake, policy).db.collection("docs").size_bytes
    served = Served(lake, policy, memory_bytes=size // 10, disk_bytes=size // 10, mapped_bytes=size // 10)
    try:
        for _ in range(3):
            assert served.answers() == truth
            served.db.tiers.tend()
            assert served.db.tiers.mover.wait(30)
            served.db.tiers.disk.sweep()
        report = served.db.tiers.report()
        assert report.memory.used_bytes <= size // 10
        assert report.disk.used_bytes <= size // 10
    finally:
        Served(lake, policy, mapped_bytes=0)


@pytest.mark.parametrize("policy", ["warm", "cold"])
def test_flipped_bytes_between_restarts_change_no_answer(lake, truth, policy):
    shutil.rmtree(lake / "cache", ignore_errors=True)
    assert Served(lake, policy).answers() == truth
    rng = np.random.default_rng(5)
    for path in (lake / "cache").rglob("data"):
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), 200):
            content[place] ^= 0x55
        with path.open("r+b") as file:
            file.write(content)
    served = Served(lake, policy)
    assert served.answers() == truth
    assert served.db.tiers.report().disk.damaged_pages > 0


def test_the_folder_may_go_at_any_time(lake, truth):
    for policy in ("cold", "warm", "auto"):
        served = Served(lake, policy)
        for _ in range(3):
            assert served.answers() == truth
            shutil.rmtree(lake / "cache", ignore_errors=True)
            served.db.tiers.tend()


def test_a_dropped_collection_leaves_nothing_in_memory(tmp_path):
    with hw.connect(tmp_path) as db:
        docs = db.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(8)}, primary_key="id")
        docs.insert({"id": np.arange(1000), "v": np.ones((1000, 8), np.float32)})
        docs.flush()
        docs.search([[1.0] * 8], limit=3, filter="id > 5", output_fields=["id"])
        assert db.tiers.report().memory.used_bytes > 0
        db.drop_collection("docs")
        assert db.tiers.report().memory.used_bytes == 0
        assert db.tiers.memory.views() == []


def test_no_cache_folder_is_made_for_what_is_here_already(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    for url in (tmp_path / "lake", "memory://nothing-on-disk"):
        with hw.connect(url) as db:
            docs = db.create_collection("docs", {"id": hw.Int64, "v": hw.FloatVector(8)}, primary_key="id")
            docs.insert({"id": np.arange(1000), "v": np.ones((1000, 8), np.float32)})
            docs.flush()
            assert len(docs.search([[1.0] * 8], limit=3)[0]) == 3
    assert not os.path.exists(tmp_path / "caches")
