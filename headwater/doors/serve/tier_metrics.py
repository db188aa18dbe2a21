"""Figures of tiers for Prometheus: what is where, what it may take, how often it was there."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.tiers import TiersReport

__all__ = ["TIER_FAMILIES", "tier_rows"]

_PLACES = "memory, disk or mapped"

TIER_FAMILIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "headwater_tier_bytes": (
        "gauge",
        "Bytes of what is open, by where it is used from (hot, warm, cold) and what it is.",
        ("tier", "kind"),
    ),
    "headwater_tier_budget_bytes": ("gauge", f"What may be held, by place: {_PLACES}.", ("place",)),
    "headwater_tier_used_bytes": ("gauge", f"What is held, by place: {_PLACES}.", ("place",)),
    "headwater_tier_hits": (
        "counter",
        "Reads that found in memory, or on disk, what they needed.",
        ("place",),
    ),
    "headwater_tier_misses": ("counter", "Reads that did not.", ("place",)),
    "headwater_tier_evictions": ("counter", "What left for want of room.", ("place",)),
    "headwater_tier_expired": ("counter", "What left because nobody used it.", ("place",)),
    "headwater_tier_moves": (
        "counter",
        "Objects that went nearer or farther by use: promotions, demotions, failures.",
        ("move",),
    ),
    "headwater_disk_cache_bytes": (
        "counter",
        "Bytes that the disk cache gave (read), got from stores (fetched) and kept (written).",
        ("what",),
    ),
    "headwater_disk_cache_faults": (
        "counter",
        "Pages that did not fit their checksum (damaged), and times that the disk was left out (degraded).",
        ("what",),
    ),
}
"""As `metrics.FAMILIES`."""


def tier_rows(reports: Iterable[TiersReport]) -> dict[str, list[tuple[tuple[str, ...], float]]]:
    """The rows of every family.

    Args:
        reports: of what the process holds; their figures are added up.
    """
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in TIER_FAMILIES}

    def add(family: str, *labels: str, value: float) -> None:
        rows = found[f"headwater_{family}"]
        rows[labels] = rows.get(labels, 0) + value

    for report in reports:
        for one in report.objects:
            add("tier_bytes", one.tier, one.kind, value=max(one.size_bytes, one.memory_bytes))
        memory, disk, mapped, moves = report.memory, report.disk, report.mapped, report.moves
        add("tier_budget_bytes", "memory", value=memory.budget_bytes)
        add("tier_budget_bytes", "disk", value=disk.budget_bytes)
        add("tier_budget_bytes", "mapped", value=mapped.budget_bytes)
        add("tier_used_bytes", "memory", value=memory.used_bytes)
        add("tier_used_bytes", "disk", value=disk.used_bytes)
        add("tier_used_bytes", "mapped", value=mapped.resident_bytes)
        for figure in ("hits", "misses", "evictions", "expired"):
            add(f"tier_{figure}", "memory", value=sum(getattr(one, figure) for one in memory.kinds))
            add(f"tier_{figure}", "disk", value=getattr(disk, figure))
        for move in ("promotions", "demotions", "failures"):
            add("tier_moves", move, value=getattr(moves, move))
        for what in ("read", "fetched", "written"):
            add("disk_cache_bytes", what, value=getattr(disk, f"bytes_{what}"))
        add("disk_cache_faults", "damaged", value=disk.damaged_pages)
        add("disk_cache_faults", "degraded", value=disk.degradations)
    return {name: list(rows.items()) for name, rows in found.items()}
