"""Where an object's bytes are, and reading them from there.

`Residency` is the fact, a tier is its name: `hot` bytes are in memory, `warm` ones in a local file, `cold` ones a
request away. A policy says where they are wanted.
"""

from headwater.tiers.pages import MappedFile
from headwater.tiers.policy import Policies, TierPolicy
from headwater.tiers.residency import Residency, Tier, open_object
from headwater.tiers.tiers import Tiers

__all__ = ["MappedFile", "Policies", "Residency", "Tier", "TierPolicy", "Tiers", "open_object"]
