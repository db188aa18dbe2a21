"""One typed, frozen settings object.

Each setting is read from the environment as `HEADWATER_<GROUP>_<NAME>`, such as `HEADWATER_STORE_ATTEMPTS=8`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from headwater.errors import InvalidArgument

__all__ = ["LakeSettings", "SearchSettings", "Settings", "StoreSettings"]

_OTHER = ("HEADWATER_LAKE",)


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
class Settings:
    """Every setting, by group."""

    store: StoreSettings = field(default_factory=StoreSettings)
    lake: LakeSettings = field(default_factory=LakeSettings)
    search: SearchSettings = field(default_factory=SearchSettings)

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
                value = kind(text)
            except ValueError as error:
                raise InvalidArgument(f"{name}={text!r}: expected {kind.__name__}") from error
            settings = replace(settings, **{group_name: replace(group, **{setting: value})})
        return settings
