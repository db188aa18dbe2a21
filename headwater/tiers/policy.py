"""Where the bytes of a collection, a field or an index are wanted."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Policies", "TierPolicy"]


class TierPolicy(enum.StrEnum):
    """Where bytes are wanted.

    AUTO: nearer the more they are used, as far as the budgets go.
    HOT: in memory.
    WARM: in a file of this machine, mapped.
    COLD: in the store; what a query needs is read by ranges, and ranges may be kept for the next one.
    ON_DEMAND: as cold, and nothing is kept when the process goes.
    """

    AUTO = "auto"
    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    ON_DEMAND = "on_demand"

    @property
    def in_store(self) -> bool:
        """Whether bytes stay in the store, and are read by ranges."""
        return self in (TierPolicy.COLD, TierPolicy.ON_DEMAND)


_NEARNESS = (TierPolicy.HOT, TierPolicy.WARM, TierPolicy.AUTO, TierPolicy.COLD, TierPolicy.ON_DEMAND)


@dataclass(frozen=True)
class Policies:
    """The policies of one collection.

    Attributes:
        collection: what holds where nothing else is said.
        fields: by field id.
        indexes: by name.
    """

    collection: TierPolicy = TierPolicy.AUTO
    fields: Mapping[int, TierPolicy] = field(default_factory=dict)
    indexes: Mapping[str, TierPolicy] = field(default_factory=dict)

    def of_fields(self, ids: Sequence[int]) -> TierPolicy:
        """Of a file that holds these fields: the nearest that one of them has, else the collection's."""
        if not self.fields:
            return self.collection
        own = [self.fields[one] for one in ids if one in self.fields]
        return min(own, key=_NEARNESS.index) if own else self.collection

    def of_index(self, name: str) -> TierPolicy:
        """Of the files of an index."""
        return self.indexes.get(name, self.collection)
