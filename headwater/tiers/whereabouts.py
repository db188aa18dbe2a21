"""What is where, object by object."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from headwater.tiers.memory import MemoryCache
from headwater.tiers.policy import TierPolicy
from headwater.tiers.report import ObjectReport
from headwater.tiers.residency import Residency

__all__ = ["object_reports"]

_NO_BYTES = frozenset({"segments", "takes"})
"""Kinds in memory that are no bytes of their own worth a line."""


def object_reports(
    files: Sequence[tuple[Residency, str, str, TierPolicy]], memory: MemoryCache
) -> tuple[ObjectReport, ...]:
    """A line for each open object, with what was opened from it, and for each thing decoded.

    Args:
        files: open objects, each with its collection, kind and policy.
        memory: what is decoded and opened.
    """
    now = time.monotonic()
    found: dict[tuple[str, str], ObjectReport] = {}
    for one, collection, kind, policy in files:
        found[collection, one.key] = _of_file(one, collection, kind, policy, now)
    for view in memory.views():
        if view.kind in _NO_BYTES:
            continue
        for entry in view.entries():
            idle_s = max(0.0, now - entry.used_s)
            key = view.collection, entry.name
            there = found.get(key)
            if there is None:
                found[key] = ObjectReport(
                    view.collection, view.kind, entry.name, "hot",
                    memory_bytes=entry.weight, idle_s=idle_s, pinned=entry.pinned,
                )  # fmt: skip
                continue
            found[key] = replace(
                there,
                memory_bytes=max(there.memory_bytes, entry.weight),
                idle_s=idle_s if there.idle_s is None else min(idle_s, there.idle_s),
                pinned=there.pinned or entry.pinned,
            )
    return tuple(sorted(found.values(), key=lambda one: (one.collection, one.kind, one.name)))


def _of_file(one: Residency, collection: str, kind: str, policy: TierPolicy, now: float) -> ObjectReport:
    kept, disk_bytes, pinned, idle_s = one.on_disk, 0, False, None
    if kept is not None:
        with suppress(OSError):
            disk_bytes = kept.cached.disk_bytes()
        pinned = kept.disk.pinned(kept.cached)
        idle_s = now - kept.cached.used_s if kept.cached.used_s else None
    if one.uses is not None:
        idle_s = now - one.uses.used_s
    return ObjectReport(
        collection,
        kind,
        one.key,
        one.tier,
        policy=policy,
        size_bytes=one.size_bytes,
        memory_bytes=one.held_bytes,
        mapped_bytes=one.mapped_bytes,
        disk_bytes=disk_bytes,
        idle_s=idle_s,
        pinned=pinned,
    )
