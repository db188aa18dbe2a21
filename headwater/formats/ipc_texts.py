"""Rows of a column of texts or bytes in plain Arrow IPC batches, by byte ranges: the offsets first, then the values.

Two rounds of reads whatever the number of rows, each round issued together, and no byte of another row: what makes
output fields cheap on a cold store and a cold disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Corrupt
from headwater.formats.ipc_layout import BatchLayout
from headwater.formats.ipc_types import Column
from headwater.tiers import MappedFile, Residency
from headwater.types import ByteRange, RowIds

__all__ = ["holds_texts", "take_texts_cold", "take_texts_mapped"]

_OFFSETS: dict[int, np.dtype[Any]] = {4: np.dtype("<i4"), 8: np.dtype("<i8")}
Offsets = npt.NDArray[np.int64]


def _offset_bytes(kind: pa.DataType) -> int:
    wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    return 8 if wide else 4 if pa.types.is_string(kind) or pa.types.is_binary(kind) else 0


def holds_texts(kind: pa.DataType) -> bool:
    """Whether a type is stored as offsets and values."""
    return _offset_bytes(kind) > 0


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
    first = (offsets_at.start + rows * width).tolist()
    pairs = source.read_ranges([ByteRange(at, at + 2 * width) for at in first])
    bounds = np.frombuffer(b"".join(pairs), _OFFSETS[width]).reshape(-1, 2).astype(np.int64)
    starts, stops = bounds[:, 0], bounds[:, 1]
    _check(source.key, column, starts, stops, values_at)
    spans = [
        ByteRange(values_at.start + start, values_at.start + stop)
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)
    ]
    return _gathered(kind, source.read_ranges(spans), stops - starts, valid)


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
