"""What one process holds of the lakes it reads."""

from __future__ import annotations

from headwater.store import ObjectStore
from headwater.tiers.policy import TierPolicy
from headwater.tiers.residency import Residency, Tier, open_object

__all__ = ["Tiers"]


class Tiers:
    """Opens objects at the tier that a policy and the budgets give them."""

    def open(
        self,
        store: ObjectStore,
        key: str,
        *,
        size_bytes: int | None = None,
        checksum: str | None = None,
        policy: TierPolicy = TierPolicy.AUTO,
    ) -> Residency:
        """Open an object for reading.

        Args:
            store: where it is.
            key: its key.
            size_bytes: its length as recorded.
            checksum: of the whole object, as the manifest has it.
            policy: where its bytes are wanted.

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
