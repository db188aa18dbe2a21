"""All bytes of an object that were fetched are compared with the manifest's checksum."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwater.errors import Corrupt
from headwater.settings import TierSettings
from headwater.store import FaultyStore, LocalObjectStore, StoreWrapper
from headwater.tiers import TierPolicy, Tiers
from headwater.types import ByteRange

KEY = "db/c/segments/s/object"
DATA = np.random.default_rng(0).bytes(200_000)
CHECKSUM = f"crc32:{zlib.crc32(DATA):08x}"


class Altering(StoreWrapper):
    """Alters a byte on its way, as often as it is told to."""

    def __init__(self, inner: Any, times: int) -> None:
        super().__init__(inner)
        self.times = times

    def get_ranges(
        self, key: str, ranges: Sequence[ByteRange], *, near_bytes: int | None = None
    ) -> list[memoryview]:
        found = [bytearray(one) for one in self.inner.get_ranges(key, ranges)]
        if self.times:
            self.times -= 1
            found[0][len(found[0]) // 2] ^= 1
        return [memoryview(one) for one in found]


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def opening(times: int, policy: str, *, disk: bool = True) -> Any:
        store = Altering(FaultyStore(LocalObjectStore(tmp_path / "lake")), times)
        store.put(KEY, DATA)
        tiers = Tiers(TierSettings(disk_path=str(tmp_path / "cache"), disk_bytes=1 << 24 if disk else 0))
        return tiers.open(
            store, KEY, size_bytes=len(DATA), checksum=CHECKSUM, policy=TierPolicy(policy), kind="index"
        )

    return opening


@pytest.mark.parametrize("disk", [True, False])
def test_what_comes_altered_into_memory_is_asked_for_once_more(opened, disk):
    assert opened(1, "hot", disk=disk).buffer().to_pybytes() == DATA
    # Nor is it there for the next process.
    assert bytes(opened(0, "cold", disk=disk).read(ByteRange(0, len(DATA)))) == DATA
    if not disk:
        with pytest.raises(Corrupt, match=r"db/c/segments/s/object.*the manifest says crc32"):
            opened(2, "hot", disk=disk).buffer()


def test_what_comes_altered_to_disk_is_an_error_and_not_kept(opened, tmp_path):
    with pytest.raises(Corrupt, match=r"db/c/segments/s/object.*the manifest says crc32"):
        opened(1, "warm")
    assert not list((tmp_path / "cache").rglob("data"))
    again = opened(0, "warm")
    assert again.tier == "warm"
    assert again.buffer().to_pybytes() == DATA
