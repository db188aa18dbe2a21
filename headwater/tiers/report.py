"""What is where, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from headwater.tiers.policy import TierPolicy

__all__ = [
    "CacheReport",
    "DiskReport",
    "MappedReport",
    "MemoryReport",
    "MovesReport",
    "ObjectReport",
    "Tier",
    "TiersReport",
]

Tier = Literal["hot", "warm", "cold"]
"""`hot`: in memory, once read; `warm`: a local file; `cold`: a request away."""


@dataclass(frozen=True)
class CacheReport:
    """One kind of thing in memory.

    Attributes:
        kind: what it is, such as `columns`.
        entries: there now.
        used_bytes: by them.
        hits: answers from it.
        misses: what had to be opened or decoded.
        evictions: entries that left for want of room.
        expired: entries that left because nobody used them.
        refused: values too heavy to be kept.
    """

    kind: str
    entries: int = 0
    used_bytes: int = 0
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    expired: int = 0
    refused: int = 0

    def plus(self, other: CacheReport) -> CacheReport:
        """The sum of two of one kind."""
        return CacheReport(
            self.kind,
            self.entries + other.entries,
            self.used_bytes + other.used_bytes,
            self.hits + other.hits,
            self.misses + other.misses,
            self.evictions + other.evictions,
            self.expired + other.expired,
            self.refused + other.refused,
        )


@dataclass(frozen=True)
class MemoryReport:
    """The budget of memory.

    Attributes:
        budget_bytes: what may be held.
        high_bytes: above this, entries leave.
        low_bytes: until this is reached.
        used_bytes: what is held.
        pinned_bytes: of this, what stays whatever happens.
        kinds: by kind.
    """

    budget_bytes: int = 0
    high_bytes: int = 0
    low_bytes: int = 0
    used_bytes: int = 0
    pinned_bytes: int = 0
    kinds: tuple[CacheReport, ...] = ()


@dataclass(frozen=True)
class DiskReport:
    """The disk cache, as this process sees it; it may be shared with others.

    Attributes:
        path: its folder; None where there is none.
        budget_bytes: what it may take.
        used_bytes: what it takes, as of the last look at the folder.
        objects: there, as of the last look.
        hits: pages that were there and right.
        misses: pages that were not.
        bytes_read: given from it.
        bytes_fetched: read from stores because of it.
        bytes_written: put into it.
        evictions: objects that left for want of room.
        expired: objects that left because nobody used them.
        damaged_pages: that did not fit their checksum, and were read again.
        degradations: times that the disk was full or failed, and reads went past it.
        paused: whether it is left alone for now because of that.
    """

    path: str | None = None
    budget_bytes: int = 0
    used_bytes: int = 0
    objects: int = 0
    hits: int = 0
    misses: int = 0
    bytes_read: int = 0
    bytes_fetched: int = 0
    bytes_written: int = 0
    evictions: int = 0
    expired: int = 0
    damaged_pages: int = 0
    degradations: int = 0
    paused: bool = False


@dataclass(frozen=True)
class MappedReport:
    """Files in this process's address space.

    Attributes:
        budget_bytes: how much of them may be resident; 0 for no bound.
        mapped_bytes: how large they are.
        resident_bytes: how much of the process's memory is theirs, as of the last look.
        trims: times that it was given back.
    """

    budget_bytes: int = 0
    mapped_bytes: int = 0
    resident_bytes: int = 0
    trims: int = 0


@dataclass(frozen=True)
class MovesReport:
    """What went nearer and farther by use.

    Attributes:
        promotions: objects that went nearer.
        demotions: objects that went farther.
        waiting: objects that are to go nearer.
        failures: that did not arrive; they stay where they were.
    """

    promotions: int = 0
    demotions: int = 0
    waiting: int = 0
    failures: int = 0


@dataclass(frozen=True)
class ObjectReport:
    """One object, or one thing decoded from objects.

    Attributes:
        collection: prefix of the collection in the lake.
        kind: `file` for column groups and delete vectors, `index` for artifacts, else a kind of thing in memory.
        name: the object's key, or what says which thing it is.
        tier: where its bytes are used from.
        policy: where they are wanted.
        size_bytes: of the object in the store; 0 for what is decoded.
        memory_bytes: that it takes in memory.
        mapped_bytes: of it, in this process's address space.
        disk_bytes: of it, in the disk cache.
        idle_s: since its last use, to about a minute; None where nobody knows.
        pinned: whether it stays whatever happens.
    """

    collection: str
    kind: str
    name: str
    tier: Tier
    policy: TierPolicy = TierPolicy.AUTO
    size_bytes: int = 0
    memory_bytes: int = 0
    mapped_bytes: int = 0
    disk_bytes: int = 0
    idle_s: float | None = None
    pinned: bool = False


@dataclass(frozen=True)
class TiersReport:
    """What a process holds of its lakes.

    Attributes:
        memory: the budget of memory.
        disk: the disk cache.
        mapped: files in the address space.
        moves: promotions and demotions.
        objects: what is where; by collection, kind and name.
    """

    memory: MemoryReport = field(default_factory=MemoryReport)
    disk: DiskReport = field(default_factory=DiskReport)
    mapped: MappedReport = field(default_factory=MappedReport)
    moves: MovesReport = field(default_factory=MovesReport)
    objects: tuple[ObjectReport, ...] = ()

    def __repr__(self) -> str:
        """What is held of what may be."""
        return (
            f"<TiersReport: {len(self.objects):,} objects; memory {self.memory.used_bytes:,} of "
            f"{self.memory.budget_bytes:,} bytes, disk {self.disk.used_bytes:,} of {self.disk.budget_bytes:,}, "
            f"{self.mapped.resident_bytes:,} mapped>"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> TiersReport:
        """From what `to_json` gave."""
        memory = {
            **data["memory"],
            "kinds": tuple(CacheReport(**one) for one in data["memory"]["kinds"]),
        }
        objects = (ObjectReport(**{**one, "policy": TierPolicy(one["policy"])}) for one in data["objects"])
        return cls(
            MemoryReport(**memory),
            DiskReport(**data["disk"]),
            MappedReport(**data["mapped"]),
            MovesReport(**data["moves"]),
            tuple(objects),
        )
