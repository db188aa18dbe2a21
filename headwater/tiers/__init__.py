"""Where an object's bytes are, and reading them from there.

`Residency` is the fact, a tier is its name: `hot` bytes are in memory, `warm` ones in a local file, `cold` ones a
request away. A policy says where they are wanted.
"""

from headwater.tiers.allocators import release_freed
from headwater.tiers.checksums import checksum_of
from headwater.tiers.mapped import MAPPED, read_ahead
from headwater.tiers.memory import MemoryCache, MemoryView, Place, taken
from headwater.tiers.notes import Notes
from headwater.tiers.on_demand import OnDemandTiers
from headwater.tiers.pages import MappedFile
from headwater.tiers.policy import Policies, TierPolicy
from headwater.tiers.report import (
    CacheReport,
    DiskReport,
    MappedReport,
    MemoryReport,
    MovesReport,
    ObjectReport,
    Tier,
    TiersReport,
)
from headwater.tiers.residency import Residency, open_object
from headwater.tiers.tiers import Kind, Tiers
from headwater.tiers.work_queue import WorkQueue

__all__ = [
    "MAPPED",
    "CacheReport",
    "DiskReport",
    "Kind",
    "MappedFile",
    "MappedReport",
    "MemoryCache",
    "MemoryReport",
    "MemoryView",
    "Place",
    "MovesReport",
    "Notes",
    "ObjectReport",
    "OnDemandTiers",
    "Policies",
    "Residency",
    "Tier",
    "TierPolicy",
    "Tiers",
    "TiersReport",
    "WorkQueue",
    "checksum_of",
    "open_object",
    "read_ahead",
    "release_freed",
    "taken",
]
