"""Statistics of a segment's fields, and a bloom filter on its primary key: what lets a query skip it."""

from __future__ import annotations

import base64
import datetime
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.lake.manifest import FieldStats
from headwater.store import give_turn

__all__ = ["MAX_BLOOM_KEYS", "RunningStats", "bloom_may_contain", "field_stats", "key_bloom"]

MAX_TEXT = 64
"""Longer least and greatest texts are not kept; a segment without them cannot be pruned by that field."""

_BITS_PER_KEY = 10
_HASHES = 7
_HASHED_AT_ONCE = 256
"""Of the keys, which takes 0.2 ms of the interpreter; then others that wait for it get their turn."""

MAX_BLOOM_KEYS = 20_000
"""A larger segment has no filter on its key."""


class RunningStats:
    """Statistics of a column that comes in parts."""

    def __init__(self) -> None:
        self._nulls = 0
        self._low: Any = None
        self._high: Any = None
        self._known = True

    def add(self, column: pa.Array | pa.ChunkedArray) -> None:
        """Look at the next part."""
        self._nulls += column.null_count
        if not self._known or column.null_count == len(column):
            return
        bounds = _bounds(column)
        if bounds is None:
            self._known = False
            return
        low, high = bounds
        self._low = low if self._low is None else min(low, self._low)
        self._high = high if self._high is None else max(high, self._high)

    def done(self) -> FieldStats:
        """Of all parts together; see `field_stats`."""
        low, high = self._low, self._high
        unknown = not self._known or low is None
        unknown = unknown or (isinstance(low, str) and max(len(low), len(high)) > MAX_TEXT)
        unknown = unknown or (isinstance(low, float) and not (math.isfinite(low) and math.isfinite(high)))
        return FieldStats(None if unknown else low, None if unknown else high, self._nulls)


def _bounds(column: pa.Array | pa.ChunkedArray) -> tuple[Any, Any] | None:
    """Least and greatest of some values, at least one of which is not null; None where there is no such thing."""
    kind = column.type
    moments = pa.types.is_timestamp(kind)
    ordered = (
        moments
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
    )
    if not ordered or (pa.types.is_floating(kind) and pc.any(pc.is_nan(column)).as_py()):
        return None
    if moments:
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    bounds = pc.min_max(column).as_py()
    return bounds["min"], bounds["max"]


def field_stats(column: pa.Array | pa.ChunkedArray) -> FieldStats:
    """Least, greatest and null count of a column; None for types without an order, and where a NaN hides it.

    Timestamps are microseconds since 1970 in UTC.
    """
    running = RunningStats()
    running.add(column)
    return running.done()


def _hashes(values: Sequence[Any]) -> npt.NDArray[np.uint64]:
    digests: list[bytes] = []
    for start in range(0, len(values), _HASHED_AT_ONCE):
        if start:
            give_turn()
        some = values[start : start + _HASHED_AT_ONCE]
        digests += [hashlib.blake2b(_text(value), digest_size=16).digest() for value in some]
    return np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)


def _text(value: Any) -> bytes:
    if isinstance(value, datetime.datetime):
        value = value.isoformat()
    return f"{type(value).__name__[0]}:{value}".encode()


def _positions(values: Sequence[Any], bits: int) -> npt.NDArray[np.uint64]:
    pairs = _hashes(values)
    steps = np.arange(_HASHES, dtype=np.uint64)
    positions: npt.NDArray[np.uint64] = (pairs[:, :1] + steps * (pairs[:, 1:] | np.uint64(1))) % np.uint64(
        bits
    )
    return positions


def key_bloom(column: pa.Array | pa.ChunkedArray) -> str | None:
    """A bloom filter on a key column, as base64: about 1 % false positives.

    None for a large segment, whose filter would be too big for a manifest.

    Reference: Kirsch and Mitzenmacher, "Less Hashing, Same Performance", 2006.
    """
    if len(column) > MAX_BLOOM_KEYS or len(column) == 0:
        return None
    bits = max(64, 1 << (len(column) * _BITS_PER_KEY - 1).bit_length())
    field = np.zeros(bits // 8, np.uint8)
    positions = _positions(column.to_pylist(), bits).reshape(-1)
    np.bitwise_or.at(
        field,
        (positions >> np.uint64(3)).astype(np.int64),
        (1 << (positions & np.uint64(7))).astype(np.uint8),
    )
    return base64.b64encode(field.tobytes()).decode()


def bloom_may_contain(bloom: str, value: Any) -> bool:
    """False only when no row of the segment has this key."""
    field = base64.b64decode(bloom)
    return all(field[int(p) >> 3] >> (int(p) & 7) & 1 for p in _positions([value], len(field) * 8)[0])
