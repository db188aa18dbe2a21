"""Uncompressed Arrow IPC: the format of vectors.

A vector's bytes stand at a fixed stride, so row *i* is one byte range of the file: a view of the memory map when warm,
one range request when cold. Reference: Arrow columnar format, IPC file format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Corrupt
from headwater.formats.protocol import FileStats, check_rows, file_checksum
from headwater.tiers import Residency
from headwater.types import Bitmap, RowIds

__all__ = ["ArrowIpc"]

_SCAN_ROWS = 16_384


class ArrowIpc:
    """The format, see the module."""

    name: ClassVar[str] = "arrow_ipc"
    suffix: ClassVar[str] = "arrow"

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> FileStats:
        """Write all rows as one record batch, so that a vector column is one matrix."""
        table = pa.Table.from_batches(batches, schema).combine_chunks()
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in table.to_batches(max_chunksize=max(1, table.num_rows)):
                writer.write_batch(batch)
        return FileStats(table.num_rows, path.stat().st_size, file_checksum(path))

    def open(self, source: Residency, schema: pa.Schema) -> ArrowIpcReader:
        """Open a file without reading its values."""
        try:
            reader = pa.ipc.open_file(pa.BufferReader(source.buffer()))
            table = reader.read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise Corrupt(
                f"{source.key!r} is not a readable Arrow IPC file: {error}", key=source.key
            ) from error
        return ArrowIpcReader(table)


class ArrowIpcReader:
    """An opened file; the table is a view of its bytes."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.num_rows: int = table.num_rows

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in row order, in batches."""
        table = self._table.select(list(columns))
        if rows is None:
            yield from table.to_batches(max_chunksize=_SCAN_ROWS)
            return
        for start in range(0, self.num_rows, _SCAN_ROWS):
            wanted = rows[start : start + _SCAN_ROWS]
            if wanted.any():
                yield from table.slice(start, _SCAN_ROWS).filter(pa.array(wanted)).to_batches()

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked."""
        check_rows(rows, self.num_rows)
        taken = self._table.select(list(columns)).take(pa.array(rows)).combine_chunks()
        arrays = [
            column.chunk(0) if column.num_chunks else pa.array([], column.type) for column in taken.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=taken.schema)

    def vectors(self, column: str) -> npt.NDArray[Any]:
        """(num_rows, width) view of a fixed-size list column."""
        chunked = self._table.column(column)
        width = chunked.type.list_size
        dtype = chunked.type.value_type.to_pandas_dtype()
        if chunked.num_chunks == 0:
            return np.empty((0, width), dtype)
        parts = [
            chunk.values.slice(chunk.offset * width, len(chunk) * width).to_numpy(zero_copy_only=False)
            for chunk in chunked.chunks
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.reshape(-1, width)
