"""Arrays of unsigned numbers as base-128 bytes: seven bits each, the lowest first, the high bit on all but the last."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["decode", "encode"]

_LONGEST = 5


def encode(numbers: npt.NDArray[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes, and (n + 1,) where each number's begin.

    Args:
        numbers: (n,) from 0 to 2**32 - 1.
    """
    values = numbers.astype(np.uint32, copy=False)
    sizes = np.ones(len(values), np.int8)
    for i in range(1, _LONGEST):
        sizes += values >= np.uint32(1 << 7 * i)
    starts = np.zeros(len(values) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    out = np.empty(int(starts[-1]), np.uint8)
    out[starts[:-1]] = (values & 0x7F) | ((sizes > 1) * np.uint32(0x80))
    for i in range(1, _LONGEST):
        some = np.flatnonzero(sizes > i)
        if len(some) == 0:
            break
        part = (values[some] >> np.uint32(7 * i)) & np.uint32(0x7F)
        out[starts[some] + i] = part | ((sizes[some] > i + 1) * np.uint32(0x80))
    return out, starts


def decode(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """The numbers that bytes hold."""
    last = data < 0x80
    ends = np.flatnonzero(last)
    if len(ends) == len(data):
        return data.astype(np.uint32)
    starts = np.empty(len(ends), np.int64)
    starts[:1] = 0
    np.add(ends[:-1], 1, out=starts[1:])
    values = (data[starts] & 0x7F).astype(np.uint32)
    some = np.flatnonzero(ends > starts)
    for i in range(1, _LONGEST):
        if len(some) == 0:
            break
        values[some] |= (data[starts[some] + i] & np.uint32(0x7F)).astype(np.uint32) << np.uint32(7 * i)
        some = some[ends[some] > starts[some] + i]
    return values
