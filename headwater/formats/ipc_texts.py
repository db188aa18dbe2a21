"""Rows of a column of texts or bytes in plain Arrow IPC batches, by byte ranges: the offsets first, then the values.

Two rounds of reads whatever the number of rows, each round issued together, and no byte of another row: what makes
output fields cheap on a cold store and a cold disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Corrupt
from headwater.formats.ipc_layout import BatchLayout
from headwater.formats.ipc_types import Column
from headwater.tiers import MappedFile, Residency
from headwater.types import ByteRange, RowIds

__all__ = ["holds_texts", "read_places", "take_texts_cold", "take_texts_mapped", "text_run"]

_OFFSETS: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<i8")}
Offsets = npt.NDArray[np.int64]


def _offset_bytes(kind: pa.DataType) -> int:
    wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    return 8 if wide else 4 if pa.types.is_string(kind) or pa.types.is_binary(kind) else 0


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a type is stored as offsets and values."""
    return _offset_bytes(kind) > 0


def text_run(
    source: Residency,
    column: Column,
    batch: BatchLayout,
    start: int,
    stop: int,
    valid: npt.NDArray[np.bool_] | None,
) -> pa.Array:
    """Rows `[start, stop)` of one batch, by two ranges: their offsets and their values.

    Args:
        source: the file.
        column: of texts or bytes.
        batch: where the rows are.
        start: the first.
        stop: one after the last.
        valid: (stop - start,) False where a row is null; None when none is.

    Raises:
        Corrupt: offsets do not ascend, or end after the values.
    """
    kind = column.field.type
    width = _offset_bytes(kind)
    _, offsets_at, values_at = batch.buffers[column.buffer : column.buffer + 3]
    span = ByteRange(offsets_at.start + start * width, offsets_at.start + (stop + 1) * width)
    bounds = np.frombuffer(source.read_ranges([span])[0], _OFFSETS[width]).astype(np.int64)
    _check(source.key, column, bounds[:-1], bounds[1:], values_at)
    first, last = int(bounds[0]), int(bounds[-1])
    values: Any = b""
    if last > first:
        [values] = source.read_ranges([ByteRange(values_at.start + first, values_at.start + last)])
    mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    nulls = 0 if valid is None else int(len(valid) - np.count_nonzero(valid))
    offsets = pa.py_buffer((bounds - first).astype(_OFFSETS[width]))
    return pa.Array.from_buffers(kind, stop - start, [mask, offsets, pa.py_buffer(values)], nulls)


def take_texts_mapped(
    file: MappedFile,
    key: str,
    column: Column,
    batch: BatchLayout,
    rows: RowIds,
    valid: npt.NDArray[np.bool_] | None,
) -> pa.Array:
    """Rows of one batch of a mapped file.

    Args:
        file: the file.
        key: its name in errors.
        column: of texts or bytes.
        batch: where the rows are.
        rows: (n,) positions in the batch.
        valid: (n,) False where a row is null; None when none is.

    Raises:
        Corrupt: offsets do not ascend, or end after the values.
    """
    kind = column.field.type
    width = _offset_bytes(kind)
    _, offsets_at, values_at = batch.buffers[column.buffer : column.buffer + 3]
    file.read_ahead(offsets_at.start + rows * width, 2 * width)
    offsets = file.data[offsets_at.start : offsets_at.start + (batch.num_rows + 1) * width].view(
        _OFFSETS[width]
    )
    starts, stops = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
    _check(key, column, starts, stops, values_at)
    file.read_ahead(values_at.start + starts, stops - starts)
    values = file.data.data[values_at.start : values_at.stop]
    return _gathered(
        kind,
        [values[a:b] for a, b in zip(starts.tolist(), stops.tolist(), strict=True)],
        stops - starts,
        valid,
    )


def take_texts_cold(
    source: Residency, column: Column, batch: BatchLayout, rows: RowIds, valid: npt.NDArray[np.bool_] | None
) -> pa.Array:
    """Rows of one batch of an object that is a request away; as `take_texts_mapped`."""
    kind = column.field.type
    width = _offset_bytes(kind)
    _, offsets_at, values_at = batch.buffers[column.buffer : column.buffer + 3]
    starts, stops = _offsets_cold(source, ByteRange(offsets_at.start, offsets_at.stop), width, rows)
    _check(source.key, column, starts, stops, values_at)
    spans = [
        ByteRange(values_at.start + start, values_at.start + stop)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    return _gathered(kind, source.read_ranges(spans), stops - starts, valid)


def read_places(source: Residency, column: Column, batch: BatchLayout, rows: RowIds) -> None:
    """Read where the texts of some rows of one batch are, as `take_texts_cold` begins with."""
    place = batch.buffers[column.buffer + 1]
    _offsets_cold(source, ByteRange(place.start, place.stop), _offset_bytes(column.field.type), rows)


def _offsets_cold(source: Residency, place: ByteRange, width: int, rows: RowIds) -> tuple[Offsets, Offsets]:
    """(n,) where the values of rows begin and end; pages of offsets that were read are kept for the next rows."""
    first = rows * width
    touched = np.unique(np.concatenate([first, first + 2 * width - 1]) // PAGE_BYTES).tolist()
    name = (source.store.url, source.key, place.start)
    pages = {number: KEPT.get((*name, number)) for number in touched}
    missing = [number for number, page in pages.items() if page is None]
    if missing:
        spans = [
            ByteRange(
                place.start + number * PAGE_BYTES, min(place.start + (number + 1) * PAGE_BYTES, place.stop)
            )
            for number in missing
        ]
        for number, data in zip(missing, source.read_ranges(spans), strict=True):
            pages[number] = KEPT.put((*name, number), bytes(data))
    bounds = np.empty((len(rows), 2), np.int64)
    for place_of, at in enumerate(first.tolist()):
        pair = b"".join(_cut(pages, at + width * one, width) for one in (0, 1))
        bounds[place_of] = np.frombuffer(pair, _OFFSETS[width])
    return bounds[:, 0], bounds[:, 1]


def _cut(pages: Mapping[int, bytes | None], at: int, width: int) -> bytes:
    page = pages[at // PAGE_BYTES]
    assert page is not None
    return page[at % PAGE_BYTES : at % PAGE_BYTES + width]


class KeptPages:
    """The pages of offsets that were read last, of all cold files of the process. Safe between threads.

    They are a few bytes a row: kept, a step of a search less; read again, a round trip more.

    Args:
        most: pages that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._pages: OrderedDict[tuple[str, str, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, int, int]) -> bytes | None:
        """A page, where it is kept."""
        with self._lock:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
            return page

    def put(self, key: tuple[str, str, int, int], page: bytes) -> bytes:
        """Keep a page."""
        with self._lock:
            self._pages[key] = page
            while len(self._pages) > self._most:
                self._pages.popitem(last=False)
        return page

    def clear(self) -> None:
        """Keep none."""
        with self._lock:
            self._pages.clear()


PAGE_BYTES = 1 << 15
"""Of a page of offsets, a multiple of their width: as near ranges are merged, smaller ones would save no request."""

KEPT_BYTES = 64 << 20
"""Of pages that are kept, in all."""

KEPT = KeptPages(KEPT_BYTES // PAGE_BYTES)


def _check(key: str, column: Column, starts: Offsets, stops: Offsets, values: ByteRange) -> None:
    if len(starts) and (starts.min() < 0 or (stops < starts).any() or stops.max() > values.size_bytes):
        raise Corrupt(
            f"{key!r}: column {column.field.name!r}: offsets do not ascend within {values.size_bytes} bytes",
            hint="the file is damaged; restore it",
            key=key,
        )


def _gathered(
    kind: pa.DataType, parts: Sequence[memoryview], sizes: Offsets, valid: npt.NDArray[np.bool_] | None
) -> pa.Array:
    width = _offset_bytes(kind)
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [mask, pa.py_buffer(offsets.astype(_OFFSETS[width])), pa.py_buffer(b"".join(parts))]
    nulls = 0 if valid is None else int(len(sizes) - np.count_nonzero(valid))
    return pa.Array.from_buffers(kind, len(sizes), buffers, nulls)
