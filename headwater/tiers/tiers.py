"""What one process holds of the lakes it reads."""

from __future__ import annotations

import time
from typing import Literal

from headwater.errors import InvalidArgument
from headwater.settings import TierSettings
from headwater.store import ObjectStore
from headwater.tiers.keeper import KEEPER
from headwater.tiers.memory import MemoryCache
from headwater.tiers.policy import TierPolicy
from headwater.tiers.report import ObjectReport, Tier, TiersReport
from headwater.tiers.residency import Residency, open_object

__all__ = ["Tiers"]

_TICK_S = 5.0

OPENED = frozenset({"segments", "takes"})
"""Kinds in memory that are no bytes of their own worth a line in a report."""


class Tiers:
    """Opens objects at the tier that a policy and the budgets give them.

    Args:
        settings: budgets and what they are for; the defaults where nothing is said.

    Attributes:
        memory: the budget of memory, and what lives on it.
    """

    def __init__(self, settings: TierSettings | None = None) -> None:
        self.settings = checked(settings or TierSettings())
        self.memory = MemoryCache(
            self.settings.memory_bytes,
            high=self.settings.high_watermark,
            low=self.settings.low_watermark,
            ttl_s=self.settings.ttl_s,
        )
        KEEPER.add(self)

    def tend(self) -> float:
        """Look after what is held; called by the keeper. How long it may wait before the next time, in seconds."""
        self.memory.tick()
        return _TICK_S

    def open(
        self,
        store: ObjectStore,
        key: str,
        *,
        size_bytes: int | None = None,
        checksum: str | None = None,
        policy: TierPolicy = TierPolicy.AUTO,
        collection: str = "",
        kind: Literal["file", "index"] = "file",
    ) -> Residency:
        """Open an object for reading.

        Args:
            store: where it is.
            key: its key.
            size_bytes: its length as recorded.
            checksum: of the whole object, as the manifest has it.
            policy: where its bytes are wanted.
            collection: whose it is, for reports.
            kind: what it is.

        Raises:
            ObjectNotFound: no such object; found later when it is not local.
            Corrupt: it is shorter than `size_bytes`; found later when it is not local.
        """
        tier: Tier | None = None
        if policy in (TierPolicy.COLD, TierPolicy.ON_DEMAND):
            tier = "cold"
        elif policy is TierPolicy.HOT or store.local_path(key) is None:
            tier = "hot"
        return open_object(store, key, size_bytes=size_bytes, tier=tier)

    def report(self) -> TiersReport:
        """What is where, budgets and counts; asks nothing of a store."""
        now = time.monotonic()
        objects = [
            ObjectReport(
                collection=view.collection,
                kind=view.kind,
                name=str(entry.key),
                tier="hot",
                memory_bytes=entry.weight,
                idle_s=max(0.0, now - entry.used_s),
                pinned=entry.pinned,
            )
            for view in self.memory.views()
            if view.kind not in OPENED
            for entry in view.entries()
        ]
        objects.sort(key=lambda one: (one.collection, one.kind, one.name))
        return TiersReport(memory=self.memory.report(), objects=tuple(objects))


def checked(settings: TierSettings) -> TierSettings:
    """The settings themselves, when they make sense.

    Raises:
        InvalidArgument: a budget is negative, a watermark is no share.
    """
    for name in ("memory_bytes", "mapped_bytes", "disk_bytes", "ttl_s", "disk_ttl_s"):
        if getattr(settings, name) < 0:
            raise InvalidArgument(f"tiers.{name}={getattr(settings, name)}: expected 0 or more")
    if not 0 < settings.low_watermark <= settings.high_watermark <= 1:
        raise InvalidArgument(
            f"tiers.low_watermark={settings.low_watermark} and tiers.high_watermark={settings.high_watermark}: "
            "expected shares above 0 and at most 1, the low one not above the high one"
        )
    return settings
