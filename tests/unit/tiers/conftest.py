"""Remote objects and a disk cache of one's own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from headwater.settings import TierSettings
from headwater.store import FaultyStore, LocalObjectStore
from headwater.tiers import Residency, TierPolicy, Tiers
from headwater.types import ByteRange

DATA = random.Random(1).randbytes(3_000_001)


class Remote:
    """An object in a store that hides its files, and ways to open it."""

    def __init__(self, folder: Path, data: bytes = DATA) -> None:
        self.data = data
        self.store = FaultyStore(LocalObjectStore(folder / "lake"))
        self.store.put("db/c/segments/s/object", data)
        self.cache = folder / "cache"
        self.settings = TierSettings(disk_path=str(self.cache), disk_bytes=64 << 20)

    def tiers(self, **other: object) -> Tiers:
        """A process's view, as after a start."""
        return Tiers(TierSettings(**{**self.settings.__dict__, **other}))

    def open(self, tiers: Tiers, policy: TierPolicy = TierPolicy.COLD) -> Residency:
        """The object."""
        return tiers.open(
            self.store, "db/c/segments/s/object", size_bytes=len(self.data), checksum="crc32:1", policy=policy
        )

    def right(self, opened: Residency, *spans: tuple[int, int]) -> None:
        """Reads are what was stored."""
        found = opened.read_ranges([ByteRange(*span) for span in spans])
        assert [bytes(one) for one in found] == [self.data[start:stop] for start, stop in spans]

    @property
    def asked(self) -> int:
        """Requests for bytes so far."""
        return self.store.requests["get_ranges"] + self.store.requests["get"]

    def file(self, name: str = "data") -> Path:
        """The one file of this name in the cache."""
        (found,) = self.cache.glob(f"v1/*/*/{name}")
        return found


class Idle:
    """In place of the thread that looks after what is held: tests say when it is time."""

    def add(self, kept: object) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def _no_keeper(monkeypatch):
    monkeypatch.setattr("headwater.tiers.tiers.KEEPER", Idle())
    monkeypatch.setattr("headwater.tiers.mapped.KEEPER", Idle())


@pytest.fixture
def remote(tmp_path):
    return Remote(tmp_path)
