"""What an opened index holds in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headwater.tiers import Residency

__all__ = ["held_bytes"]

_DEPTH = 6


def held_bytes(index: Any) -> int:
    """Bytes that an opened index, of vectors or of scalars, holds in memory.

    Its own `held_bytes` where it says so; else the arrays, buffers and read objects that it refers to, those of mapped
    files left out. What native code holds is seen only by the index itself.
    """
    said = getattr(index, "held_bytes", None)
    return int(said) if said is not None else _reached(index, set(), _DEPTH)


def _reached(thing: Any, seen: set[int], depth: int) -> int:
    if depth == 0 or id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, Residency):
        return thing.held_bytes
    if isinstance(thing, np.ndarray):
        return int(thing.nbytes) if thing.flags.owndata else _reached(thing.base, seen, depth)
    if isinstance(thing, memoryview):
        return thing.nbytes if isinstance(thing.obj, bytes | bytearray) else 0
    if isinstance(thing, bytes | bytearray):
        return len(thing)
    if isinstance(thing, pa.Array):
        return int(thing.nbytes)
    if isinstance(thing, dict):
        return sum(_reached(one, seen, depth - 1) for one in list(thing.values()))
    if isinstance(thing, list | tuple):
        return sum(_reached(one, seen, depth - 1) for one in thing)
    if type(thing).__module__.startswith("headwater"):
        return (
            sum(_reached(one, seen, depth - 1) for one in list(vars(thing).values())) if _open(thing) else 0
        )
    return 0


def _open(thing: Any) -> bool:
    return hasattr(thing, "__dict__")
