"""Tiers of a process that comes, answers and goes."""

from __future__ import annotations

from typing import Any

from headwater.store import ObjectStore
from headwater.tiers.policy import TierPolicy
from headwater.tiers.residency import Residency
from headwater.tiers.tiers import Tiers

__all__ = ["OnDemandTiers"]


class OnDemandTiers(Tiers):
    """Opens every object as `TierPolicy.ON_DEMAND`, whatever the policy of its collection: nothing is kept on disk.

    A file of this machine is mapped: to map it is to keep nothing.
    """

    def open(
        self, store: ObjectStore, key: str, *, policy: TierPolicy = TierPolicy.AUTO, **known: Any
    ) -> Residency:
        """See `Tiers.open`."""
        chosen = TierPolicy.ON_DEMAND if store.local_path(key) is None else TierPolicy.WARM
        return super().open(store, key, policy=chosen, **known)

    def notes(self, store: ObjectStore, key: str) -> None:
        """None: nothing is kept."""
