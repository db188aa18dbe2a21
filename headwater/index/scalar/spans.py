"""Which keys a predicate is about, as spans of positions among sorted keys.

Values are taken only where they compare with the keys exactly; whatever would be rounded or converted on the way is
left to the scan, which has its own rules for it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.index.predicates import Range
from headwater.index.scalar.keys import Keys, NumberKeys, TextKeys
from headwater.index.scalar.patterns import Needles

__all__ = [
    "ABSENT",
    "WIDE",
    "Spans",
    "begun_between",
    "key_of",
    "spans_between",
    "spans_holding",
    "spans_of",
    "total",
]

Spans = npt.NDArray[np.int64]
"""(m, 2) first and after-last positions, ascending and apart."""

_EXACT = 2**53
_NOTHING = np.zeros((0, 2), np.int64)
_MANY_TEXTS = 256
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def total(spans: Spans) -> int:
    """How many positions."""
    return int((spans[:, 1] - spans[:, 0]).sum())


def spans_of(keys: Keys, domain: str, wanted: Sequence[Any]) -> Spans | None:
    """Keys equal to one of some values; None where a value does not compare with them exactly."""
    held = []
    for value in wanted:
        key = key_of(domain, value)
        if key is None:
            return None
        if key is not ABSENT:
            held.append(key)
    if not held or len(keys) == 0:
        return _NOTHING
    if isinstance(keys, TextKeys):
        if len(held) > _MANY_TEXTS:
            texts = pa.array([one.decode() for one in held], pa.large_string())
            return _runs(pc.is_in(keys.texts(), value_set=texts))
        held = sorted(set(held))
        starts, stops = keys.at(held, "left"), keys.at(held, "right")
    else:
        numbers: npt.NDArray[Any] = np.unique(np.asarray(held, WIDE[domain]))
        starts, stops = keys.at(numbers, "left"), keys.at(numbers, "right")
    return np.stack([starts, stops], axis=1)[stops > starts]


def spans_between(keys: Keys, domain: str, bounds: Range) -> Spans | None:
    """Keys between two bounds; None where a bound does not compare with them exactly, or there is none."""
    start, stop = 0, len(keys)
    if bounds.low is None and bounds.high is None:
        return None
    for value, low in ((bounds.low, True), (bounds.high, False)):
        if value is None:
            continue
        inclusive = bounds.low_inclusive if low else bounds.high_inclusive
        place = _bound(domain, value, inclusive, low)
        if place is None:
            return None
        if isinstance(place, bool):
            position = len(keys) if place else 0
        elif isinstance(keys, TextKeys):
            position = int(keys.at([place[0]], place[1])[0])
        else:
            position = int(keys.at(np.asarray([place[0]], WIDE[domain]), place[1])[0])
        start, stop = (max(start, position), stop) if low else (start, min(stop, position))
    return np.asarray([[start, stop]], np.int64) if stop > start else _NOTHING


def begun_between(keys: NumberKeys, domain: str, bounds: Range) -> tuple[int, int] | None:
    """Positions between which the keys of a range are, before they are looked up; None where that tells nothing."""
    places = [None if value is None else key_of(domain, value) for value in (bounds.low, bounds.high)]
    given = [value is not None for value in (bounds.low, bounds.high)]
    if any(here and (place is None or place is ABSENT) for here, place in zip(given, places, strict=True)):
        return None
    return keys.around(*places) if any(given) else None


def spans_holding(keys: TextKeys, needles: Needles) -> tuple[Spans, bool]:
    """Keys that can match a pattern, and whether all of them do."""
    if needles.prefix:
        spans, prefix_only = _with_prefix(keys, needles.prefix.encode()), needles.exactly == "prefix"
        if prefix_only or total(spans) == 0:
            return spans, prefix_only
        if not needles.inner and not needles.suffix:
            return spans, False
        texts = keys.texts().slice(int(spans[0, 0]), total(spans))
        return _runs(_holding(texts, needles), int(spans[0, 0])), needles.exactly is not None
    return _runs(_holding(keys.texts(), needles)), needles.exactly is not None


def _holding(texts: pa.Array, needles: Needles) -> pa.Array:
    held = None
    for needle in needles.inner:
        one = pc.match_substring(texts, needle)
        held = one if held is None else pc.and_(held, one)
    if needles.suffix:
        one = pc.ends_with(texts, needles.suffix)
        held = one if held is None else pc.and_(held, one)
    return held


def _with_prefix(keys: TextKeys, prefix: bytes) -> Spans:
    after = prefix.rstrip(b"\xff")
    start = int(keys.at([prefix], "left")[0])
    stop = len(keys) if not after else int(keys.at([after[:-1] + bytes([after[-1] + 1])], "left")[0])
    return np.asarray([[start, stop]], np.int64) if stop > start else _NOTHING


def _runs(marked: pa.Array, first: int = 0) -> Spans:
    """Spans of the marked positions."""
    at = np.flatnonzero(marked.to_numpy(zero_copy_only=False))
    if len(at) == 0:
        return _NOTHING
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts, stops = at[np.append(0, breaks + 1)], at[np.append(breaks, len(at) - 1)] + 1
    return np.stack([starts, stops], axis=1).astype(np.int64) + first


WIDE: dict[str, type] = {
    "bool": np.int64,
    "int": np.int64,
    "moment": np.int64,
    "single": np.float32,
    "float": np.float64,
}
"""By domain, the type that keys are looked up in."""

ABSENT = object()
"""A value that no key can equal."""


def key_of(domain: str, value: Any) -> Any:
    """The key that equals a value; `ABSENT` where none does, None where that is not ours to say."""
    if domain == "text":
        return value.encode() if isinstance(value, str) and _encodable(value) else None
    if domain == "bool":
        return int(value) if isinstance(value, bool) else None
    if domain == "moment":
        return _moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    if domain == "int":
        if isinstance(value, float):
            if abs(value) >= _EXACT:
                return None
            return int(value) if value.is_integer() else ABSENT
        return value if -(2**63) <= value < 2**63 else ABSENT
    if isinstance(value, int) and abs(value) > _EXACT:
        return None
    # A literal takes the type of the field that it is compared with.
    return float(np.float32(value)) if domain == "single" else float(value)


def _bound(domain: str, value: Any, inclusive: bool, low: bool) -> tuple[Any, Any] | bool | None:
    """What to look up and on which side; True for after all keys, False for before all; None to leave it."""
    if domain == "int" and isinstance(value, float) and value == value and not isinstance(value, bool):
        if math.isinf(value):
            return value > 0
        if abs(value) >= _EXACT:
            return None
        if not value.is_integer():
            # x > 2.5 is x >= 3; x < 2.5 is x <= 2.
            return (math.ceil(value), "left") if low else (math.floor(value), "right")
    if domain == "int" and isinstance(value, int) and not -(2**63) <= value < 2**63:
        return value > 0
    if domain == "bool":
        return None
    key = key_of(domain, value)
    if key is None or key is ABSENT:
        return None
    after = low != inclusive
    return key, "right" if after else "left"


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime.datetime):
        return None
    aware = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return (aware - _EPOCH) // datetime.timedelta(microseconds=1)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)
