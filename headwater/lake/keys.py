"""Find the rows of given keys in a column, fast and again and again."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.types import RowIds

__all__ = ["KeyLookup"]

_SCANNED_ROWS = 4096
"""Of a shorter column of texts a scan is as fast as an order, which must be made first."""


class KeyLookup:
    """Positions of values in a column, through an order of it that is made when first asked, 8 bytes a row.

    Args:
        column: integers or texts; nulls match nothing.
    """

    __slots__ = ("_column", "_lock", "_numbers", "_order", "_sorted")

    def __init__(self, column: pa.Array) -> None:
        self._column = column
        self._order: npt.NDArray[np.int64] | None = None
        self._sorted: npt.NDArray[Any] | _Texts | None = None
        self._lock = threading.Lock()
        whole = pa.types.is_integer(column.type) and not column.null_count
        self._numbers: npt.NDArray[Any] | None = column.to_numpy() if whole else None

    @property
    def order_bytes(self) -> int:
        """What its order takes in memory; 0 before it is made."""
        order, ordered = self._order, self._sorted
        own = ordered.nbytes if isinstance(ordered, np.ndarray) else 0
        return int(order.nbytes + own) if order is not None else 0

    @property
    def held_bytes(self) -> int:
        """What it holds in memory, the column included."""
        return int(self._column.nbytes) + self.order_bytes

    def where(self, values: Sequence[Any] | pa.Array) -> RowIds:
        """Positions of the rows that hold one of some values, ascending.

        Args:
            values: of the column's type.

        Raises:
            pyarrow.ArrowException: a value is of another type.
        """
        wanted = values if isinstance(values, pa.Array) else pa.array(list(values), safe=True)
        if self._numbers is not None and pa.types.is_integer(wanted.type):
            return self._where_numbers(wanted)
        text = pa.types.is_string(self._column.type) or pa.types.is_large_string(self._column.type)
        if text and len(self._column) > _SCANNED_ROWS and len(wanted) < len(self._column) // 64:
            return self._where_texts(wanted)
        matches = pc.is_in(self._column, value_set=wanted.cast(self._column.type), skip_nulls=True)
        return np.flatnonzero(matches.to_numpy(zero_copy_only=False)).astype(np.int64, copy=False)

    def _where_numbers(self, wanted: pa.Array) -> RowIds:
        numbers = self._numbers
        assert numbers is not None
        keys = np.unique(wanted.drop_null().to_numpy(zero_copy_only=False))
        with self._lock:
            if self._order is None:
                self._order = np.argsort(numbers, kind="stable").astype(np.int64, copy=False)
                self._sorted = numbers[self._order]
        order, ordered = self._order, self._sorted
        assert isinstance(ordered, np.ndarray)
        starts = np.searchsorted(ordered, keys, side="left")
        stops = np.searchsorted(ordered, keys, side="right")
        if np.array_equal(stops - starts, np.ones(len(keys), np.int64)):
            return np.sort(order[starts])
        return _runs(order, starts.tolist(), stops.tolist())

    def _where_texts(self, wanted: pa.Array) -> RowIds:
        with self._lock:
            if self._order is None:
                valid = pc.indices_nonzero(self._column.is_valid()).cast(pa.int64())
                ranks = pc.array_sort_indices(self._column.take(valid))
                self._order = valid.take(ranks).to_numpy().astype(np.int64)
                self._sorted = _Texts(self._column, self._order)
        order, ordered = self._order, self._sorted
        assert isinstance(ordered, _Texts)
        keys = sorted({text.encode() for text in wanted.to_pylist() if text is not None})
        starts = [bisect_left(ordered, key) for key in keys]
        stops = [bisect_right(ordered, key) for key in keys]
        return _runs(order, starts, stops)


def _runs(order: npt.NDArray[np.int64], starts: Sequence[int], stops: Sequence[int]) -> RowIds:
    found = [order[start:stop] for start, stop in zip(starts, stops, strict=True) if stop > start]
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


class _Texts(Sequence[bytes]):
    """A column of texts in an order, as bytes cut when they are looked at; UTF-8 sorts as its code points do."""

    def __init__(self, column: pa.Array, order: npt.NDArray[np.int64]) -> None:
        wide = column.cast(pa.large_string())
        _, offsets, text = wide.buffers()
        self._offsets = memoryview(offsets).cast("B").cast("q")[wide.offset :]
        self._text = memoryview(text or b"")
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, place: Any) -> Any:
        row = int(self._order[place])
        return bytes(self._text[self._offsets[row] : self._offsets[row + 1]])
