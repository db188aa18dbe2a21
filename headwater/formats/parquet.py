"""Parquet files with small row groups and a page index: for lakes that want only Parquet.

A row group is the unit that a random take reads and decodes, so groups are about 1 MiB of plain values;
scans read several at once. Arrow's schema travels in the file and reads are brought back to the types as
written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Corrupt, SchemaMismatch
from headwater.formats.protocol import FileStats
from headwater.formats.ranged_file import RangedFile
from headwater.formats.rows import check_bitmap, check_columns, check_rows, distinct_rows, one_batch
from headwater.formats.writing import RowCount, check_schema, checked_batches, file_stats, whole_file
from headwater.tiers import Residency
from headwater.types import Bitmap, ByteRange, RowIds

__all__ = ["ParquetFormat", "ParquetReader"]

_GROUP_BYTES = 1 << 20
_MIN_GROUP_ROWS = 512
_MAX_GROUP_ROWS = 16384
_PAGE_BYTES = 64 << 10
_SCAN_ROWS = 1 << 16
_SCAN_BYTES = 16 << 20
_FOOTER_BYTES = 64 << 10


class ParquetReader:
    """An open Parquet file; see the module for its promises.

    Args:
        source: the file.
        schema: the columns to read, with the types they were written with.

    Raises:
        Corrupt: the bytes are no such file.
        SchemaMismatch: the file lacks a column.
    """

    def __init__(self, source: Residency, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._source = source
        self._schema = schema
        tail = ByteRange(max(0, source.size_bytes - _FOOTER_BYTES), source.size_bytes)
        with self._translated():
            file = pq.ParquetFile(self._bytes([tail]))
            self._metadata = file.metadata
            stored = file.schema_arrow
        counts = [self._metadata.row_group(group).num_rows for group in range(self._metadata.num_row_groups)]
        self._starts: npt.NDArray[np.int64] = np.append(0, np.cumsum(counts, dtype=np.int64)).astype(np.int64)
        self.num_rows = int(self._metadata.num_rows)
        for name in schema.names:
            if name not in stored.names:
                raise SchemaMismatch(f"{source.key!r} has no column {name!r}", column=name)
        leaves = [
            self._metadata.schema.column(leaf).path.split(".") for leaf in range(self._metadata.num_columns)
        ]
        self._leaves = {
            name: [
                place
                for place, path in enumerate(leaves)
                if ".".join(path).startswith(f"{name}.") or path == [name]
            ]
            for name in schema.names
        }

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            raise Corrupt(
                f"{self._source.key!r} is no readable Parquet file: {error}",
                hint="the file is damaged; restore it",
                key=self._source.key,
            ) from error

    def _bytes(self, ahead: Sequence[ByteRange]) -> pa.NativeFile:
        if self._source.path is not None:
            return pa.BufferReader(self._source.buffer())
        return pa.PythonFile(RangedFile(self._source, ahead), mode="r")

    def _chunks(self, groups: Sequence[int], names: Sequence[str]) -> list[ByteRange]:
        """The byte ranges of these columns in these row groups."""
        spans = []
        for group in groups:
            metadata = self._metadata.row_group(group)
            for name in names:
                for leaf in self._leaves[name]:
                    column = metadata.column(leaf)
                    first = column.data_page_offset
                    if column.has_dictionary_page and column.dictionary_page_offset:
                        first = min(first, column.dictionary_page_offset)
                    stop = min(first + column.total_compressed_size, self._source.size_bytes)
                    spans.append(ByteRange(first, max(first, stop)))
        return spans

    def _groups(self, schema: pa.Schema, groups: Sequence[int]) -> pa.RecordBatch:
        """Whole row groups, under the types as written."""
        num_rows = int(sum(self._starts[group + 1] - self._starts[group] for group in groups))
        if not len(schema):
            return one_batch(pa.table({"_": pa.nulls(num_rows)}).select([]))
        import pyarrow.parquet as pq

        names = list(dict.fromkeys(schema.names))
        with self._translated():
            ahead = self._chunks(groups, names) if self._source.path is None else []
            file = pq.ParquetFile(self._bytes(ahead), metadata=self._metadata)
            table = file.read_row_groups(list(groups), columns=names)
            arrays = [
                column if column.type == field.type else column.cast(field.type)
                for field in schema
                for column in [table.column(field.name)]
            ]
            return one_batch(pa.Table.from_arrays(arrays, schema=schema))

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """See `ColumnGroupReader.scan`; row groups without a selected row are not read."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        if rows is not None:
            rows = check_bitmap(rows, self.num_rows, what=repr(self._source.key))
        return self._scan(schema, rows)

    def _scan(self, schema: pa.Schema, rows: Bitmap | None) -> Iterator[pa.RecordBatch]:
        for groups in self._runs(rows, schema.names):
            whole = self._groups(schema, groups)
            if rows is None:
                yield whole
                continue
            chosen = np.concatenate([rows[self._starts[group] : self._starts[group + 1]] for group in groups])
            yield whole if chosen.all() else whole.filter(pa.array(chosen))

    def _runs(self, rows: Bitmap | None, names: Sequence[str]) -> Iterator[list[int]]:
        """The row groups with selected rows, in portions of about 65,536 rows or 16 MiB."""
        run: list[int] = []
        size = 0
        for group in range(len(self._starts) - 1):
            start, stop = int(self._starts[group]), int(self._starts[group + 1])
            if start == stop or (rows is not None and not rows[start:stop].any()):
                continue
            run.append(group)
            size += sum(span.size_bytes for span in self._chunks([group], names))
            if (
                size >= _SCAN_BYTES
                or sum(int(self._starts[one + 1] - self._starts[one]) for one in run) >= _SCAN_ROWS
            ):
                yield run
                run, size = [], 0
        if run:
            yield run

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """See `ColumnGroupReader.take`. Cost: each row group with an asked row is read and decoded once."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        found, inverse = distinct_rows(rows)
        if not len(found):
            return one_batch(schema.empty_table())
        owner = np.searchsorted(self._starts, found, side="right") - 1
        groups, firsts = np.unique(owner, return_index=True)
        offsets = np.append(0, np.cumsum(self._starts[groups + 1] - self._starts[groups]))[:-1]
        lengths = np.diff(np.append(firsts, len(found)))
        local = found - np.repeat(self._starts[groups], lengths) + np.repeat(offsets, lengths)
        whole = self._groups(schema, [int(group) for group in groups])
        return whole.take(pa.array(local if inverse is None else local[inverse]))


def _group_rows(batch: pa.RecordBatch) -> int:
    """Rows of a row group of about `_GROUP_BYTES`, judged by the first batch."""
    each = max(1, batch.get_total_buffer_size() // batch.num_rows)
    return int(min(_MAX_GROUP_ROWS, max(_MIN_GROUP_ROWS, _GROUP_BYTES // each)))


def _check_types(schema: pa.Schema, path: Path) -> None:
    import pyarrow.parquet as pq

    for field in schema:
        try:
            pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise SchemaMismatch(
                f"{path}: column {field.name!r}: parquet files hold no {field.type}: {error}",
                column=field.name,
            ) from error


class ParquetFormat:
    """Parquet files for random reads."""

    name: ClassVar[str] = "parquet"
    suffix: ClassVar[str] = ".parquet"

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, cached: bool = True
    ) -> FileStats:
        """See `ColumnGroupFormat.write`; streams, one row group at a time."""
        import pyarrow.parquet as pq

        check_schema(schema, what=str(path))
        _check_types(schema, path)
        count = RowCount()
        with whole_file(path):
            with pq.ParquetWriter(
                str(path),
                schema,
                compression="zstd",
                data_page_size=_PAGE_BYTES,
                write_page_index=True,
                coerce_timestamps=None,
            ) as writer:
                held: list[pa.RecordBatch] = []
                group_rows = 0
                for batch in checked_batches(batches, schema, count, what=str(path)):
                    group_rows = group_rows or _group_rows(batch)
                    held.append(batch)
                    waiting = sum(one.num_rows for one in held)
                    if waiting >= group_rows:
                        table = pa.Table.from_batches(held, schema)
                        full = waiting - waiting % group_rows
                        writer.write_table(table.slice(0, full), row_group_size=group_rows)
                        held = table.slice(full).to_batches()
                if held:
                    writer.write_table(pa.Table.from_batches(held, schema), row_group_size=group_rows)
            return file_stats(path, count.total)

    def open(self, source: Residency, schema: pa.Schema) -> ParquetReader:
        """See `ColumnGroupFormat.open`; reads the footer."""
        return ParquetReader(source, schema)
