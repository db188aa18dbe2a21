"""Fields of a few rows, as a search fetches them: kept in the cheapest form until a caller asks for Python or Arrow.

A gather of ten rows through Arrow costs more than the search that found them, so numbers are gathered by numpy and
texts are cut from the hot column only when they are read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.lake import KeyLookup
from headwater.schema.geometry import to_wkt
from headwater.types import RowIds

__all__ = [
    "WKB",
    "ArrowColumn",
    "Column",
    "GeometryColumn",
    "HotColumn",
    "JoinedTexts",
    "NumberColumn",
    "TextColumn",
    "concatenated",
    "rows_of",
]


WKB = {"ARROW:extension:name": "geoarrow.wkb"}
"""Metadata of an Arrow field that holds geometries, as GeoArrow names them."""


_MANY = 32
"""Rows from which on their offsets are looked up by numpy."""


class Column(Protocol):
    """One field of a few rows."""

    def to_pylist(self) -> list[Any]:
        """The values as Python objects."""
        ...

    def to_arrow(self) -> pa.Array:
        """The values as an Arrow array."""
        ...


class ArrowColumn:
    """Values of any type."""

    __slots__ = ("array",)

    def __init__(self, array: pa.Array) -> None:
        self.array = array

    def to_pylist(self) -> list[Any]:
        """See `Column`."""
        values: list[Any] = self.array.to_pylist()
        return values

    def to_arrow(self) -> pa.Array:
        """See `Column`."""
        return self.array


class GeometryColumn:
    """Geometries: WKB in Arrow, WKT in Python."""

    __slots__ = ("_wkb",)

    def __init__(self, wkb: Column) -> None:
        self._wkb = wkb

    def to_pylist(self) -> list[Any]:
        """See `Column`."""
        return to_wkt(self._wkb.to_pylist())

    def to_arrow(self) -> pa.Array:
        """See `Column`."""
        return self._wkb.to_arrow()


class NumberColumn:
    """Numbers, none of them null."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: npt.NDArray[Any]) -> None:
        self.numbers = numbers

    def to_pylist(self) -> list[Any]:
        """See `Column`."""
        values: list[Any] = self.numbers.tolist()
        return values

    def to_arrow(self) -> pa.Array:
        """See `Column`."""
        return pa.array(self.numbers)


class TextColumn:
    """Texts, none of them null, still in the hot column that they are rows of."""

    __slots__ = ("_hot", "_rows")

    def __init__(self, hot: HotColumn, rows: RowIds) -> None:
        self._hot = hot
        self._rows = rows

    def to_pylist(self) -> list[Any]:
        """See `Column`."""
        return self._hot.texts(self._rows)

    def to_arrow(self) -> pa.Array:
        """See `Column`."""
        return self._hot.array.take(pa.array(self._rows))


class HotColumn:
    """All rows of one field in memory.

    Attributes:
        array: the rows; texts and bytes with 64-bit offsets, so that taking many cannot overflow.
    """

    __slots__ = ("_bytes", "_cuts", "_lookup", "_numbers", "_offsets", "_text", "array")

    def __init__(self, array: pa.Array) -> None:
        self.array = _wide_offsets(array)
        self._numbers: npt.NDArray[Any] | None = None
        self._offsets: memoryview[int] | None = None
        self._lookup: KeyLookup | None = None
        kind = self.array.type
        if self.array.null_count:
            return
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            self._numbers = self.array.to_numpy()
        elif pa.types.is_large_string(kind):
            self._cuts, self._text = _cut_texts(self.array)
            self._offsets, self._bytes = self._cuts.data, np.frombuffer(self._text, np.uint8)
            held = [None, pa.py_buffer(self._offsets), pa.py_buffer(self._text)]
            self.array = pa.Array.from_buffers(kind, len(self.array), held)

    def take(self, rows: RowIds) -> Column:
        """Rows at given positions, in the order asked."""
        if self._numbers is not None:
            return NumberColumn(self._numbers[rows])
        if self._offsets is not None:
            return TextColumn(self, rows)
        return ArrowColumn(self.array.take(pa.array(rows)))

    @property
    def held_bytes(self) -> int:
        """What it holds in memory, its lookup included."""
        return int(self.array.nbytes) + (0 if self._lookup is None else self._lookup.order_bytes)

    def where(self, values: Sequence[Any] | pa.Array) -> RowIds:
        """Positions of the rows that hold one of some values, ascending; see `KeyLookup.where`."""
        if self._lookup is None:
            self._lookup = KeyLookup(self.array)
        return self._lookup.where(values)

    def texts(self, rows: RowIds) -> list[str]:
        """Texts at given positions, decoded; only of a column of texts without nulls."""
        offsets, text, every = self._offsets, self._text, self._cuts
        assert offsets is not None
        # Looked at together first: memory has ten places that are far apart sooner at once than one after another.
        self._bytes[every[rows]]
        if len(rows) > _MANY:
            cuts = zip(every[rows].tolist(), every[rows + 1].tolist(), strict=True)
            return [text[start:stop].decode() for start, stop in cuts]
        return [text[offsets[row] : offsets[row + 1]].decode() for row in rows.tolist()]


def _cut_texts(array: pa.Array) -> tuple[npt.NDArray[np.int64], bytes]:
    """(n + 1,) offsets from 0, and the bytes between and one more: they are cut in half the time of a view."""
    _, offsets, text = array.buffers()
    cuts = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    first, last = int(cuts[0]), int(cuts[-1])
    # The last byte is where an empty text at the end begins.
    held = b"".join((b"" if text is None else memoryview(text)[first:last], b"\0"))
    return cuts - first if first else cuts, held


def rows_of(array: pa.Array, rows: RowIds) -> Column:
    """Rows of an array that is in memory but not kept decoded, in the order asked."""
    kind = array.type
    if not array.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return NumberColumn(array.to_numpy()[rows])
    return ArrowColumn(array.take(pa.array(rows)))


class JoinedTexts:
    """Texts of several columns of one field, in the order given; joined when they are read."""

    __slots__ = ("_order", "_parts")

    def __init__(self, parts: Sequence[Column], order: RowIds) -> None:
        self._parts = parts
        self._order = order

    def to_pylist(self) -> list[Any]:
        """See `Column`."""
        values = list(itertools.chain.from_iterable(part.to_pylist() for part in self._parts))
        return [values[place] for place in self._order.tolist()]

    def to_arrow(self) -> pa.Array:
        """See `Column`."""
        return _joined(self._parts, self._order)


def _joined(parts: Sequence[Column], order: RowIds) -> pa.Array:
    return pa.concat_arrays([_wide_offsets(part.to_arrow()) for part in parts]).take(pa.array(order))


def concatenated(parts: Sequence[Column], order: RowIds) -> Column:
    """Several columns of one field as one, its rows in the order given."""
    numbers = [part.numbers for part in parts if isinstance(part, NumberColumn)]
    if len(numbers) == len(parts):
        return NumberColumn(np.concatenate(numbers)[order])
    if any(isinstance(part, TextColumn) for part in parts):
        return JoinedTexts(parts, order)
    return ArrowColumn(_joined(parts, order))


def _wide_offsets(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        return array.cast(pa.large_string())
    if pa.types.is_binary(array.type):
        return array.cast(pa.large_binary())
    return array
