"""Parquet: for those who want only Parquet, tuned for random reads by small row groups and pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.errors import Corrupt
from headwater.formats.protocol import FileStats, check_rows, file_checksum
from headwater.tiers import Residency
from headwater.types import Bitmap, RowIds

__all__ = ["Parquet"]

ROW_GROUP_ROWS = 8192


class Parquet:
    """The format, see the module."""

    name: ClassVar[str] = "parquet"
    suffix: ClassVar[str] = "parquet"

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> FileStats:
        """Write a file in row groups of 8,192 rows."""
        table = pa.Table.from_batches(batches, schema)
        pq.write_table(
            table,
            path,
            row_group_size=ROW_GROUP_ROWS,
            compression="zstd",
            write_page_index=True,
            write_page_checksum=True,
            data_page_size=64 << 10,
        )
        return FileStats(table.num_rows, path.stat().st_size, file_checksum(path))

    def open(self, source: Residency, schema: pa.Schema) -> ParquetReader:
        """Open a file; only its footer is read."""
        try:
            file = pq.ParquetFile(pa.BufferReader(source.buffer()), page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise Corrupt(
                f"{source.key!r} is not a readable Parquet file: {error}", key=source.key
            ) from error
        return ParquetReader(file, schema, source.key)


class ParquetReader:
    """An opened file."""

    def __init__(self, file: pq.ParquetFile, schema: pa.Schema, key: str) -> None:
        self._file = file
        self._schema = schema
        self._key = key
        self.num_rows: int = file.metadata.num_rows
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def _group(self, number: int, columns: Sequence[str]) -> pa.Table:
        types = pa.schema([self._schema.field(name) for name in columns])
        try:
            return self._file.read_row_group(number, columns=list(columns)).select(list(columns)).cast(types)
        except (pa.ArrowException, OSError) as error:
            raise Corrupt(f"{self._key!r}, row group {number}: {error}", key=self._key) from error

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in row order; row groups without a wanted row are not read."""
        for number in range(len(self._starts) - 1):
            wanted = None if rows is None else rows[self._starts[number] : self._starts[number + 1]]
            if wanted is not None and not wanted.any():
                continue
            table = self._group(number, columns)
            yield from (table if wanted is None else table.filter(pa.array(wanted))).to_batches()

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked."""
        check_rows(rows, self.num_rows)
        types = pa.schema([self._schema.field(name) for name in columns])
        if len(rows) == 0:
            return pa.RecordBatch.from_pylist([], types)
        unique, back = np.unique(rows, return_inverse=True)
        wanted = np.zeros(self.num_rows, np.bool_)
        wanted[unique] = True
        table = pa.Table.from_batches(self.scan(columns, wanted), types).combine_chunks()
        return table.take(pa.array(back)).combine_chunks().to_batches()[0]
