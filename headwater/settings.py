"""One typed, frozen settings object.

Each setting is read from the environment as `HEADWATER_<GROUP>_<NAME>`, such as `HEADWATER_STORE_ATTEMPTS=8`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from headwater.errors import InvalidArgument

__all__ = [
    "LakeSettings",
    "MaintenanceSettings",
    "SearchSettings",
    "Settings",
    "StoreSettings",
    "WriteSettings",
]

_OTHER = ("HEADWATER_LAKE",)
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class StoreSettings:
    """How often, and for how long, a request that a store fails is tried again."""

    attempts: int = 8
    deadline_s: float = 60.0


@dataclass(frozen=True)
class LakeSettings:
    """How segments are sized and how long versions are kept."""

    target_segment_rows: int = 1_000_000
    shared_fragment_rows: int = 100_000
    retention_s: float = 7 * 24 * 3600.0
    gc_grace_s: float = 3600.0


@dataclass(frozen=True)
class SearchSettings:
    """How much is held hot."""

    hot_bytes: int = 4 << 30


@dataclass(frozen=True)
class WriteSettings:
    """How rows reach the lake: through the log at once, and into segments when enough of them, or time, have come.

    Attributes:
        deadline_s: how long a write may take before it fails with `Unavailable`.
        seal_entries: log entries that are sealed together, at most; a reader that opens the collection reads these.
        seal_bytes: rows in memory that are sealed together, in bytes.
        seal_age_s: an entry waits no longer than this.
        growing_bytes: writers wait for sealing when rows in memory take more than this.
        bulk_bytes: a larger insert is written as segments at once, and only named in the log.
        takeover: whether a writer takes a shard back that another process took over; else it raises `Fenced`.
        staleness_s: how old an answer may be at the consistency level Bounded.
    """

    deadline_s: float = 60.0
    seal_entries: int = 10_000
    seal_bytes: int = 128 << 20
    seal_age_s: float = 300.0
    growing_bytes: int = 1 << 30
    bulk_bytes: int = 64 << 20
    takeover: bool = True
    staleness_s: float = 5.0


@dataclass(frozen=True)
class MaintenanceSettings:
    """What happens in the background of a process that writes.

    Attributes:
        automatic: whether anything does; `flush`, `optimize` and `gc` do it when asked.
        interval_s: how often a collection is looked at.
        window: hours of the day, UTC, in which compaction may start, such as ``22-6``; empty for any time.
        index_rows: segments of fewer rows are searched exactly and get no index by themselves.
        deleted_share: a segment that has lost more of its rows than this is rewritten.
        merge_segments: so many segments of about one size are merged.
        min_recall: `optimize` builds an index anew when its measured recall@10 is lower.
    """

    automatic: bool = True
    interval_s: float = 1.0
    window: str = ""
    index_rows: int = 10_000
    deleted_share: float = 0.2
    merge_segments: int = 8
    min_recall: float = 0.9


@dataclass(frozen=True)
class Settings:
    """Every setting, by group."""

    store: StoreSettings = field(default_factory=StoreSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    write: WriteSettings = field(default_factory=WriteSettings)
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Defaults, overridden by `HEADWATER_*` variables.

        Raises:
            InvalidArgument: a variable names no setting, or its value is not a number.
        """
        settings = cls()
        known = {
            f"HEADWATER_{group.name}_{one.name}".upper(): (group.name, one.name)
            for group in fields(cls)
            for one in fields(getattr(settings, group.name))
        }
        for name, text in (os.environ if env is None else env).items():
            if not name.startswith("HEADWATER_") or name in _OTHER:
                continue
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"settings: {', '.join(sorted(known))}"
                raise InvalidArgument(f"environment variable {name} names no setting", hint=hint)
            group_name, setting = known[name]
            group = getattr(settings, group_name)
            kind = type(getattr(group, setting))
            try:
                value = _BOOLEANS[text.lower()] if kind is bool else kind(text)
            except (ValueError, KeyError) as error:
                raise InvalidArgument(f"{name}={text!r}: expected {kind.__name__}") from error
            settings = replace(settings, **{group_name: replace(group, **{setting: value})})
        return settings
