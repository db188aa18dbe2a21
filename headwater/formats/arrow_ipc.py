"""Arrow IPC files, uncompressed, in one record batch when Arrow allows it: the format of vectors.

Row *i* of a column of fixed width is one byte range of the file: warm, `vectors` is a numpy view of the
mapped file and `take` copies rows out of a second map which is advised for random access (so that ten cold
pages are ten small reads and not ten readaheads, while scans over the first map keep theirs); cold, `take`
asks the store for just the rows' bytes. Columns of varying width (strings, lists) and bits are read whole
when a row of them is taken: they belong in Vortex.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import Corrupt, SchemaMismatch
from headwater.formats.fetched import FetchedVectors, Vectors
from headwater.formats.ipc_layout import BatchLayout, read_layout
from headwater.formats.ipc_spill import Spill
from headwater.formats.ipc_texts import (
    holds_texts,
    read_places,
    take_texts_cold,
    take_texts_mapped,
    text_run,
)
from headwater.formats.ipc_types import Column, build, plain_vectors, unsupported
from headwater.formats.protocol import FileStats
from headwater.formats.rows import check_bitmap, check_columns, check_rows, distinct_rows, same_type
from headwater.formats.writing import (
    ChecksummedFile,
    RowCount,
    check_schema,
    checked_batches,
    whole_file,
)
from headwater.store import scratch_folder
from headwater.tiers import MappedFile, Residency
from headwater.types import Bitmap, ByteRange, RowIds

__all__ = ["ArrowIpcFormat", "ArrowIpcReader"]

_BYTES = npt.NDArray[np.uint8]
_PIECE_BYTES = 2 << 20
"""Of a batch that is scanned, given at once."""

_HELD_BYTES = 8 << 20
"""Of rows to write that come in many batches, held in memory."""


class ArrowIpcReader:
    """An open Arrow IPC file; see the module for its promises.

    Args:
        source: the file.
        schema: the columns to read, with the types they were written with.

    Raises:
        Corrupt: the bytes are no such file.
        SchemaMismatch: the file lacks a column, or holds it with another type.
    """

    def __init__(self, source: Residency, schema: pa.Schema) -> None:
        self._source = source
        self._schema = schema
        layout = read_layout(source)
        self._batches = layout.batches
        self._starts = np.array([batch.row_start for batch in self._batches], dtype=np.int64)
        self.num_rows = sum(batch.num_rows for batch in self._batches)
        self._columns = self._place(layout.schema)
        self._mapped: MappedFile | None = None
        self._lock = threading.Lock()

    def _place(self, stored: pa.Schema) -> dict[str, Column]:
        placed: dict[str, Column] = {}
        node = buffer = 0
        for field in stored:
            column = Column(field, node, buffer)
            node, buffer = node + column.num_nodes, buffer + column.num_buffers
            wanted = self._schema.get_field_index(field.name)
            if wanted < 0:
                continue
            if not same_type(field.type, self._schema.field(wanted).type):
                raise SchemaMismatch(
                    f"{self._source.key!r}: column {field.name!r}: expected "
                    f"{self._schema.field(wanted).type}, the file holds {field.type}",
                    column=field.name,
                )
            column.field = self._schema.field(wanted)
            placed[field.name] = column
        for name in self._schema.names:
            if name not in placed:
                raise SchemaMismatch(f"{self._source.key!r} has no column {name!r}", column=name)
        for batch in self._batches:
            if len(batch.nodes) != node or len(batch.buffers) != buffer:
                raise self._corrupt(
                    f"a record batch has {len(batch.nodes)} nodes and {len(batch.buffers)} buffers, "
                    f"its schema asks for {node} and {buffer}"
                )
            for column in placed.values():
                self._check_extent(column, batch)
        return placed

    def _check_extent(self, column: Column, batch: BatchLayout) -> None:
        length, nulls = batch.nodes[column.node]
        if length != batch.num_rows or not 0 <= nulls <= length:
            raise self._corrupt(f"column {column.field.name!r} has {length} rows of {batch.num_rows}")
        if column.stride is not None and batch.buffers[column.values].size_bytes < length * column.stride:
            raise self._corrupt(f"column {column.field.name!r} ends before its {length} rows")

    def _corrupt(self, why: str) -> Corrupt:
        return Corrupt(
            f"{self._source.key!r}: {why}", hint="the file is damaged; restore it", key=self._source.key
        )

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """See `ColumnGroupReader.scan`; batches without a selected row are not read."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        if rows is not None:
            rows = check_bitmap(rows, self.num_rows, what=repr(self._source.key))
        return self._scan(schema, rows)

    def _scan(self, schema: pa.Schema, rows: Bitmap | None) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            size = self._piece_rows(schema, batch)
            by_rows = self._source.path is None and size < batch.num_rows and self._takes_ranges(schema)
            valid = {name: self.validity(name) for name in schema.names} if by_rows else {}
            whole: pa.RecordBatch | None = None
            for start in range(0, batch.num_rows, size):
                stop = min(start + size, batch.num_rows)
                chosen = None if rows is None else rows[batch.row_start + start : batch.row_start + stop]
                if chosen is not None and not chosen.any():
                    continue
                if by_rows:
                    piece = self._run(schema, batch, start, stop, valid)
                else:
                    whole = self._whole(schema, batch) if whole is None else whole
                    piece = whole.slice(start, stop - start)
                yield piece if chosen is None or chosen.all() else piece.filter(pa.array(chosen))

    def _piece_rows(self, schema: pa.Schema, batch: BatchLayout) -> int:
        """Rows of a batch that are given at once."""
        spans = [span for name in schema.names for span in self._columns[name].spans(batch)]
        size = sum(span.size_bytes for span in spans)
        return max(1, batch.num_rows * _PIECE_BYTES // max(size, _PIECE_BYTES))

    def _run(
        self, schema: pa.Schema, batch: BatchLayout, start: int, stop: int, valid: Mapping[str, Bitmap | None]
    ) -> pa.RecordBatch:
        """Rows of a batch that lie together, by the ranges of their bytes."""
        arrays = []
        for name in schema.names:
            column, present = self._columns[name], valid[name]
            first = batch.row_start + start
            here = None if present is None else present[first : first + stop - start]
            if holds_texts(column.field.type):
                arrays.append(text_run(self._source, column, batch, start, stop, here))
                continue
            stride, at = column.stride or 0, batch.buffers[column.values].start
            span = ByteRange(at + start * stride, at + stop * stride)
            values = _aligned(self._source.read_ranges([span])[0]) if stride else pa.py_buffer(b"")
            arrays.append(_strided(column, stop - start, values, here))
        return _as_batch(arrays, schema, stop - start)

    def _takes_ranges(self, schema: pa.Schema) -> bool:
        """Whether rows are read without the whole batch that they are in."""
        placed = [self._columns[name] for name in schema.names]
        return all(
            holds_texts(column.field.type)
            or (column.stride is not None and all(column.strided(batch) for batch in self._batches))
            for column in placed
        )

    def _whole(self, schema: pa.Schema, batch: BatchLayout) -> pa.RecordBatch:
        placed = [self._columns[name] for name in schema.names]
        spans = [span for column in placed for span in column.spans(batch)]
        buffers = iter(self._buffers(spans))
        arrays = []
        for column in placed:
            nodes = iter(batch.nodes[column.node : column.node + column.num_nodes])
            arrays.append(build(column.field.type, nodes, buffers))
        return _as_batch(arrays, schema, batch.num_rows)

    def _buffers(self, spans: Sequence[ByteRange]) -> list[pa.Buffer]:
        if self._source.path is not None:
            whole = self._source.buffer()
            return [whole.slice(span.start, span.size_bytes) for span in spans]
        return [_aligned(data) for data in self._source.read_ranges(spans)]

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """See `ColumnGroupReader.take`. Cost when cold: one range per run of neighbouring rows and column."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        return _as_batch([self._take(self._columns[name], rows) for name in columns], schema, len(rows))

    def _take(self, column: Column, rows: RowIds) -> pa.Array:
        kind = column.field.type
        if column.stride is None or not all(column.strided(batch) for batch in self._batches):
            return self._take_texts(column, rows) if holds_texts(kind) else self._take_whole(column, rows)
        values = pa.py_buffer(self._gather(column, rows))
        return _strided(column, len(rows), values, self._valid_rows(column, rows))

    def read_ahead(self, columns: Sequence[str], rows: RowIds) -> None:
        """See `SupportsAhead.read_ahead`: of texts, where they are; of other values each row is a range of its own."""
        check_columns(self._schema, columns, what=repr(self._source.key))
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        if self._source.path is not None:
            return
        owner = self._owner(rows)
        for column in (self._columns[name] for name in columns):
            if holds_texts(column.field.type):
                for number in np.unique(owner):
                    batch = self._batches[number]
                    read_places(self._source, column, batch, rows[owner == number] - batch.row_start)

    def _take_texts(self, column: Column, rows: RowIds) -> pa.Array:
        owner = self._owner(rows)
        order, parts = [], [pa.array([], column.field.type)]
        valid = self._valid_rows(column, rows)
        for number in np.unique(owner):
            here = np.flatnonzero(owner == number)
            batch = self._batches[number]
            local, present = rows[here] - batch.row_start, None if valid is None else valid[here]
            if self._source.path is None:
                parts.append(take_texts_cold(self._source, column, batch, local, present))
            else:
                parts.append(take_texts_mapped(self._map(), self._source.key, column, batch, local, present))
            order.append(here)
        if len(parts) == 2:
            return parts[1]
        back = np.argsort(np.concatenate([*order, np.empty(0, np.int64)]), kind="stable")
        return pa.concat_arrays(parts).take(pa.array(back))

    def _take_whole(self, column: Column, rows: RowIds) -> pa.Array:
        found, inverse = distinct_rows(rows)
        owner = self._owner(found)
        parts = [pa.array([], column.field.type)]
        for number in np.unique(owner):
            batch = self._batches[number]
            local = found[owner == number] - batch.row_start
            array = self._whole(pa.schema([column.field]), batch).column(0)
            parts.append(array.take(pa.array(local)))
        gathered = pa.concat_arrays(parts)
        return gathered if inverse is None else gathered.take(pa.array(inverse))

    def _owner(self, rows: RowIds) -> npt.NDArray[np.int64]:
        return (np.searchsorted(self._starts, rows, side="right") - 1).astype(np.int64)

    def _gather(self, column: Column, rows: RowIds) -> npt.NDArray[Any]:
        """(n, stride) bytes of the rows, in the order asked."""
        stride = column.stride or 0
        if self._source.path is None:
            return self._gather_cold(column, rows, stride)
        mapped = self._map()
        mapped.read_ahead(self._starts_of(column, rows, stride), stride)
        if len(self._batches) == 1:
            return self._rows_of(column, self._batches[0], mapped.data).take(rows, axis=0)
        out = np.empty((len(rows), stride), np.uint8)
        owner = self._owner(rows)
        for number in np.unique(owner):
            batch = self._batches[number]
            here = owner == number
            found = self._rows_of(column, batch, mapped.data)[rows[here] - batch.row_start]
            out[here] = found.view(np.uint8)
        return out

    def _starts_of(self, column: Column, rows: RowIds, stride: int) -> npt.NDArray[np.int64]:
        """(n,) where the values of rows begin in the file."""
        owner = self._owner(rows)
        bases = np.array([batch.buffers[column.values].start for batch in self._batches], np.int64)
        return bases[owner] + (rows - self._starts[owner]) * stride

    def _gather_cold(self, column: Column, rows: RowIds, stride: int) -> _BYTES:
        found, inverse = distinct_rows(rows)
        out = np.empty((len(found), stride), np.uint8)
        if not len(found) or not stride:
            return np.empty((len(rows), stride), np.uint8)
        starts = self._starts_of(column, found, stride)
        breaks = np.flatnonzero(np.diff(starts) != stride) + 1
        firsts, lasts = np.append(0, breaks), np.append(breaks, len(found))
        spans = [
            ByteRange(int(starts[first]), int(starts[last - 1]) + stride)
            for first, last in zip(firsts, lasts, strict=True)
        ]
        for first, last, data in zip(firsts, lasts, self._source.read_ranges(spans), strict=True):
            out[first:last] = np.frombuffer(data, np.uint8).reshape(last - first, stride)
        return out if inverse is None else out[inverse]

    def _rows_of(self, column: Column, batch: BatchLayout, whole: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(num_rows, width) view of a batch's values, in the widest aligned unit that divides the stride."""
        span, stride = batch.buffers[column.values], column.stride or 0
        values = whole[span.start : span.start + batch.num_rows * stride]
        unit = next(size for size in (8, 4, 2, 1) if stride % size == 0 and span.start % size == 0)
        return values.view(f"u{unit}").reshape(batch.num_rows, stride // unit)

    def _map(self) -> MappedFile:
        with self._lock:
            if self._mapped is None:
                assert self._source.path is not None
                try:
                    self._mapped = MappedFile(self._source.path, self._source.size_bytes)
                except (OSError, ValueError) as error:
                    raise self._corrupt(f"cannot be mapped: {error}") from error
            return self._mapped

    def _valid_rows(self, column: Column, rows: RowIds) -> Bitmap | None:
        valid = self.validity(column.field.name)
        return None if valid is None else valid[rows]

    def validity(self, column: str) -> Bitmap | None:
        """Which rows of a column are not null; None when all are."""
        check_columns(self._schema, [column], what=repr(self._source.key))
        placed = self._columns[column]
        if not any(batch.nodes[placed.node][1] for batch in self._batches) or not placed.num_buffers:
            return None
        valid = np.ones(self.num_rows, np.bool_)
        for batch in self._batches:
            if batch.nodes[placed.node][1]:
                bits = np.frombuffer(self._buffers([batch.buffers[placed.buffer]])[0], np.uint8)
                valid[batch.row_start : batch.row_start + batch.num_rows] = np.unpackbits(
                    bits, count=batch.num_rows, bitorder="little"
                )
        return valid

    def _vector_column(self, name: str) -> tuple[Column, np.dtype[Any]]:
        check_columns(self._schema, [name], what=repr(self._source.key))
        column = self._columns[name]
        if not column.vector or column.stride is None:
            raise SchemaMismatch(
                f"{self._source.key!r}: column {name!r}: expected dense vectors, got {column.field.type}",
                column=name,
            )
        if not all(column.strided(batch) for batch in self._batches):
            raise SchemaMismatch(
                f"{self._source.key!r}: column {name!r}: a vector holds a null value", column=name
            )
        return column, np.dtype(column.field.type.value_type.to_pandas_dtype())

    def vectors(self, column: str) -> Vectors:
        """See `SupportsVectors.vectors`; a copy when the file has several record batches."""
        placed, dtype = self._vector_column(column)
        dim = placed.field.type.list_size
        if self._source.tier == "cold":
            return FetchedVectors((self.num_rows, dim), dtype, partial(self.vector_rows, column))
        stride = placed.stride or 0
        spans = [
            ByteRange(start, start + batch.num_rows * stride)
            for batch in self._batches
            for start in [batch.buffers[placed.values].start]
        ]
        views = (
            [np.frombuffer(data, dtype).reshape(-1, dim) for data in self._buffers(spans)] if stride else []
        )
        if len(views) == 1:
            return views[0]
        return np.concatenate(views) if views else np.empty((self.num_rows, dim), dtype)

    def vector_rows(self, column: str, rows: RowIds) -> npt.NDArray[Any]:
        """See `SupportsVectors.vector_rows`."""
        placed, dtype = self._vector_column(column)
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        return self._gather(placed, rows).view(dtype).reshape(len(rows), placed.field.type.list_size)


def _strided(column: Column, num_rows: int, values: pa.Buffer, valid: Bitmap | None) -> pa.Array:
    """An array of values that lie at a fixed stride."""
    kind = column.field.type
    mask = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    nulls = 0 if valid is None else int(num_rows - np.count_nonzero(valid))
    if not column.vector:
        return pa.Array.from_buffers(kind, num_rows, [mask, values], nulls)
    child = pa.Array.from_buffers(kind.value_type, num_rows * kind.list_size, [None, values], 0)
    return pa.Array.from_buffers(kind, num_rows, [mask], nulls, children=[child])


def _aligned(data: memoryview) -> pa.Buffer:
    """The bytes as a buffer that begins at a multiple of eight, as Arrow's kernels expect."""
    buffer = pa.py_buffer(data)
    return buffer if buffer.address % 8 == 0 else pa.py_buffer(np.frombuffer(data, np.uint8).copy())


def _as_batch(arrays: Sequence[pa.Array], schema: pa.Schema, num_rows: int) -> pa.RecordBatch:
    if arrays:
        return pa.RecordBatch.from_arrays(list(arrays), schema=schema)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * num_rows, pa.struct([])))


def _as_few(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in as few batches as their types allow; in memory while they are small or come in one batch."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if len(held) > 1 and size > _HELD_BYTES:
            yield from _through_files(chain(_drained(held), batches), schema)
            return
    yield pa.Table.from_batches(held, schema).combine_chunks()


def _drained(held: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, none of which is held any more once it is given."""
    held.reverse()
    while held:
        yield held.pop()


def _through_files(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    waiting: pa.RecordBatch | None = next(batches)
    while waiting is not None:
        with scratch_folder("batch") as folder:
            spill = Spill(schema, folder)
            while waiting is not None and (not spill.num_rows or spill.room(waiting)):
                spill.add(waiting)
                waiting = next(batches, None)
            yield pa.Table.from_batches([spill.done()])


class ArrowIpcFormat:
    """Uncompressed Arrow IPC files."""

    name: ClassVar[str] = "arrow_ipc"
    suffix: ClassVar[str] = ".arrow"

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, cached: bool = True
    ) -> FileStats:
        """See `ColumnGroupFormat.write`. The file is one batch; rows that come in many pass through scratch files."""
        check_schema(schema, what=str(path))
        for field in schema:
            if (part := unsupported(field.type)) is not None:
                raise SchemaMismatch(
                    f"{path}: column {field.name!r}: {self.name} files hold no {part}",
                    hint="cast the column to a plain type",
                    column=field.name,
                )
        count = RowCount()
        checked = checked_batches(batches, schema, count, what=str(path))
        plain = (
            pa.RecordBatch.from_arrays([plain_vectors(column) for column in batch.columns], schema=schema)
            for batch in checked
        )
        options = pa.ipc.IpcWriteOptions(compression=None, allow_64bit=True)
        with whole_file(path):
            with (
                ChecksummedFile(path, cached=cached) as sink,
                pa.ipc.new_file(sink, schema, options=options) as writer,
            ):
                for table in _as_few(plain, schema):
                    writer.write_table(table)
            return sink.stats(count.total)

    def open(self, source: Residency, schema: pa.Schema) -> ArrowIpcReader:
        """See `ColumnGroupFormat.open`; reads metadata only."""
        return ArrowIpcReader(source, schema)
