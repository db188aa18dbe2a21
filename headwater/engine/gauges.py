"""Figures of what a process holds, for whoever watches it: no request, no look at a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.engine.maintainer import Maintainer

if TYPE_CHECKING:
    from headwater.engine.collection import Collection

__all__ = ["CacheGauges", "CollectionGauges", "Gauges", "gauges_of"]


@dataclass(frozen=True)
class CollectionGauges:
    """One collection, as of the newest version that this process has seen.

    Attributes:
        name: its name.
        version: of the manifest.
        segments: sealed.
        rows: in them, deleted ones included.
        log_entries: that are not in segments yet.
        log_bytes: about the memory they take.
        builds: artifacts of indexes.
    """

    name: str
    version: int
    segments: int
    rows: int
    log_entries: int
    log_bytes: int
    builds: int


@dataclass(frozen=True)
class CacheGauges:
    """One kind of cache, summed over collections.

    Attributes:
        entries: in it.
        used_bytes: by them.
        hits: answers from it.
        misses: what had to be opened or decoded.
        evictions: entries that left for want of room.
    """

    entries: int
    used_bytes: int
    hits: int
    misses: int
    evictions: int


@dataclass(frozen=True)
class Gauges:
    """What a process holds of a database.

    Attributes:
        collections: that it has opened.
        caches: by kind.
        upkeep_failures: rounds of background work that failed.
    """

    collections: tuple[CollectionGauges, ...]
    caches: Mapping[str, CacheGauges]
    upkeep_failures: int


def gauges_of(collections: Mapping[str, Collection], maintainer: Maintainer) -> Gauges:
    """The figures of some collections."""
    found: list[CollectionGauges] = []
    caches: dict[str, CacheGauges] = {}
    for name, collection in collections.items():
        manifest = collection._lake.known
        entries, size_bytes = collection._log.backlog
        if manifest is not None:
            found.append(
                CollectionGauges(
                    name,
                    manifest.version,
                    len(manifest.segments),
                    sum(segment.num_rows for segment in manifest.segments),
                    entries,
                    size_bytes,
                    len(manifest.builds),
                )
            )
        for kind, cache in collection._opened.caches.items():
            before = caches.get(kind, CacheGauges(0, 0, 0, 0, 0))
            caches[kind] = CacheGauges(
                before.entries + len(cache),
                before.used_bytes + cache.used,
                before.hits + cache.hits,
                before.misses + cache.misses,
                before.evictions + cache.evictions,
            )
    return Gauges(tuple(found), caches, maintainer.failures)
