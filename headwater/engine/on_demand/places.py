"""Where a lake is, so that another process can open it, and what that process may take."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from headwater.errors import InvalidArgument, QuotaExceeded, UnsupportedOption
from headwater.settings import Settings

__all__ = ["Bounds", "Origin", "resident_bytes", "too_much"]

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True)
class Origin:
    """A database as any process opens it.

    Attributes:
        url: folder or URL of the lake.
        options: credentials and endpoint of the store; they go to the worker and into no message.
        database: which database of the lake.
        settings: limits and defaults, by group.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    database: str = "default"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, url: str | Path, options: Mapping[str, Any] | None, database: str, settings: Settings
    ) -> Origin:
        """What `connect` was given; a folder is named from the root, since a worker may stand elsewhere."""
        text = str(url)
        return cls(
            text if "://" in text else str(Path(text).absolute()),
            dict(options or {}),
            database,
            asdict(settings),
        )

    def checked(self) -> Origin:
        """Itself.

        Raises:
            InvalidArgument: no other process can open it.
        """
        if self.url.startswith("memory:"):
            raise InvalidArgument(
                f"lake {self.url}: no other process sees a lake in memory",
                hint="computing on demand needs a folder or an object store",
            )
        return self


@dataclass(frozen=True)
class Bounds:
    """What one worker may take.

    Attributes:
        memory_bytes: resident memory of its own; None for no bound.
        timeout_s: from the call to the last row of its answer; None for no bound.
    """

    memory_bytes: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "timeout_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidArgument(f"{name}={value!r}: expected more than 0, or None for no bound")
        if self.memory_bytes is not None and sys.platform != "linux":
            raise UnsupportedOption(f"memory_bytes is watched on Linux only, not on {sys.platform}")


def resident_bytes(pid: int) -> int:
    """Memory that a process holds and no file backs; 0 of one that is gone.

    Address space is no measure: threads reserve much of it, and mapped files are the page cache's.
    """
    try:
        words = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return max(0, int(words[1]) - int(words[2])) * _PAGE_BYTES


def too_much(call: object, used: int, limit: int) -> QuotaExceeded:
    """A worker holds more memory than it may."""
    return QuotaExceeded(
        f"{call}: its worker holds {used:,} bytes, {limit:,} are allowed",
        hint="give it more (memory_bytes), or ask for fewer rows or fields; scan() streams",
        limit=limit,
        used=used,
        unit="bytes",
    )
