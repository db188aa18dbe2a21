"""Which segments were made from which, and which are gone, as the kept versions tell it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from headwater.errors import ObjectNotFound
from headwater.lake.lake import Lake
from headwater.lake.manifest import Manifest, Segment
from headwater.lake.manifest_json import decode_manifest

__all__ = ["Lineage", "lineage"]

_MOST_VERSIONS = 512
_MOST_BYTES = 4 << 20
_THREADS = 8


@dataclass(frozen=True)
class Lineage:
    """What became of segments.

    Attributes:
        gone: segments that a version had and the newest has not, in the order in which they went.
        sources: by id of a segment that a compaction made, the ids of those that it was made from.
    """

    gone: tuple[Segment, ...] = ()
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def lineage(lake: Lake) -> Lineage:
    """What the newest versions tell: at most 512 of them, and no more than 4 MiB of manifests."""
    known: dict[str, Segment] = {}
    sources: dict[str, tuple[str, ...]] = {}
    versions = _versions(lake)
    for older, newer in pairwise(versions):
        before = {segment.id: segment for segment in older.segments}
        after = {segment.id for segment in newer.segments}
        removed = tuple(name for name in before if name not in after)
        known.update((name, before[name]) for name in removed)
        if removed and newer.operation == "compact" and newer.version == older.version + 1:
            sources.update((name, removed) for name in after if name not in before)
    present = {segment.id for segment in versions[-1].segments} if versions else set()
    return Lineage(tuple(one for one in known.values() if one.id not in present), sources)


def _versions(lake: Lake) -> list[Manifest]:
    """The newest versions, oldest first."""
    newest: list[str] = []
    size = 0
    metas = [meta for meta in lake.store.list(f"{lake.root}/manifests/") if meta.key.endswith(".json.zst")]
    for meta in metas[: -_MOST_VERSIONS - 1 : -1]:
        size += meta.size_bytes
        if newest and size > _MOST_BYTES:
            break
        newest.append(meta.key)

    def read(key: str) -> Manifest | None:
        try:
            return decode_manifest(lake.store.get(key), key)
        except ObjectNotFound:  # Forgotten since.
            return None

    with ThreadPoolExecutor(_THREADS, "headwater-lineage") as pool:
        return [found for found in pool.map(read, reversed(newest)) if found is not None]
