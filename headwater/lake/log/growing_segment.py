"""Rows of the log that no sealed segment holds yet, as a segment in memory."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.formats import Vectors
from headwater.lake.manifest import Segment
from headwater.lake.segments import FileOpener, FragmentOpener, SegmentReader, absent_columns, open_segment
from headwater.schema import Field, Schema, arrow_type
from headwater.store import ObjectStore
from headwater.types import Bitmap, RowIds

__all__ = [
    "GrowingReader",
    "GrowingSegment",
    "column_in",
    "growing_segment",
    "open_rows",
    "places_in",
    "vectors_in",
]

_SCAN_ROWS = 16_384

_PIECE_BYTES = 16 << 10
"""Pieces that are smaller on average cost more as pieces than as one."""

_SMALL_BYTES = 1 << 20
"""Fewer bytes are joined by whoever reads them, in memory of the C library: Arrow's own allocator gives back what is
freed and takes new memory in pages of 2 MB, of which the first touch takes a virtual machine 5 ms, one read in 300."""

_numbers = itertools.count()


@dataclass(frozen=True)
class GrowingSegment(Segment):
    """Rows in memory. Immutable: more rows make another segment.

    Attributes:
        rows: columns named by field id; `whole` has each in one chunk.
        memo: what readers derive from the rows, so that it goes when they do.
    """

    rows: pa.Table = field(default=None, compare=False, repr=False)
    memo: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    def whole(self) -> pa.Table:
        """The rows with each column in one chunk; kept, so that they are copied once, by the first who needs that."""
        if any(column.num_chunks > 1 for column in self.rows.columns):
            object.__setattr__(self, "rows", _joined(self.rows))
        return self.rows

    @property
    def derived_bytes(self) -> int:
        """Memory of what readers have derived from the rows, as far as it says so."""
        return sum(getattr(one, "held_bytes", 0) for one in list(self.memo.values()))

    def row_id_array(self) -> RowIds:
        """(num_rows,) stable row ids."""
        return row_ids_of(self.row_ids)

    @cached_property
    def size_bytes(self) -> int:
        """Memory of the rows."""
        return int(self.rows.nbytes)


def _joined(rows: pa.Table) -> pa.Table:
    """Rows with each column in one chunk."""
    return rows.combine_chunks(memory_pool=pa.system_memory_pool() if rows.nbytes < _SMALL_BYTES else None)


def growing_segment(rows: pa.Table, row_ids: Sequence[tuple[int, int]], partition: int = 0) -> GrowingSegment:
    """A growing segment of some rows; large pieces are left as they are, so that whoever holds a lock copies little."""
    pieces = max((column.num_chunks for column in rows.columns), default=0)
    if pieces > 1 and rows.nbytes < _PIECE_BYTES * pieces:
        rows = _joined(rows)
    return GrowingSegment(
        id=f"growing-{next(_numbers)}",
        num_rows=rows.num_rows,
        row_ids=joined_runs(row_ids),
        column_groups=(),
        partition=partition,
        rows=rows,
    )


def row_ids_of(runs: Sequence[tuple[int, int]]) -> RowIds:
    """The row ids of runs of (first, count)."""
    if len(runs) == 1:
        return np.arange(runs[0][0], runs[0][0] + runs[0][1], dtype=np.int64)
    if not runs:
        return np.empty(0, np.int64)
    firsts, counts = np.array(runs, np.int64).T
    starts = np.cumsum(counts) - counts
    return np.repeat(firsts - starts, counts) + np.arange(int(counts.sum()), dtype=np.int64)


def places_in(segment: Segment, row_ids: RowIds) -> RowIds:
    """(n,) positions of the rows of these ids in a segment; -1 for those that its runs do not name."""
    if segment.row_id_file is not None or not segment.row_ids:
        return np.full(len(row_ids), -1, np.int64)
    firsts, counts = np.array(segment.row_ids, np.int64).T
    order = np.argsort(firsts)
    run = order[np.maximum(np.searchsorted(firsts[order], row_ids, side="right") - 1, 0)]
    behind = row_ids - firsts[run]
    starts = np.cumsum(counts) - counts
    return np.where((behind >= 0) & (behind < counts[run]), starts[run] + behind, -1)


def joined_runs(runs: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Runs with neighbours that continue each other made one."""
    joined: list[tuple[int, int]] = []
    for first, count in runs:
        if joined and joined[-1][0] + joined[-1][1] == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + count)
        else:
            joined.append((first, count))
    return tuple(joined)


class GrowingReader(SegmentReader):
    """Reads a growing segment as `SegmentReader` reads a sealed one; no byte leaves memory."""

    def __init__(self, store: ObjectStore, segment: GrowingSegment, schema: Schema) -> None:
        super().__init__(store, segment, schema, None)
        self._growing = segment

    def column(self, name: str) -> pa.Array:
        """All rows of one field."""
        return column_in(self._growing, self._schema.field(name))

    def scan(
        self, names: Sequence[str], rows: Bitmap | None = None, *, most: int = _SCAN_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """See `SegmentReader.scan`."""
        table = pa.Table.from_arrays(
            [self.column(name) for name in names], schema=self._schema.to_arrow(names)
        )
        if rows is not None:
            table = table.filter(pa.array(rows))
        yield from table.to_batches(max_chunksize=most)

    def _stored(self, name: str) -> Iterator[pa.RecordBatch]:
        return self.scan([name])

    def take(self, names: Sequence[str], rows: RowIds) -> pa.Table:
        """See `SegmentReader.take`."""
        columns = [self.column(name).take(pa.array(rows)) for name in names]
        return pa.Table.from_arrays(columns, schema=self._schema.to_arrow(names))

    def vectors(self, name: str) -> Vectors:
        """See `SegmentReader.vectors`."""
        column = self.column(name)
        return super().vectors(name) if column.null_count else _matrix(column)


def column_in(segment: GrowingSegment, field: Field) -> pa.Array:
    """All rows of a field; what it stands for where they were written without it."""
    place = segment.rows.schema.get_field_index(str(field.id))
    if place < 0:
        return absent_columns([field], segment.num_rows).column(0)
    column = segment.rows.column(place)
    if not column.num_chunks:
        return pa.array([], arrow_type(field.type))
    return column.chunk(0) if column.num_chunks == 1 else segment.whole().column(place).chunk(0)


def _matrix(column: pa.Array) -> npt.NDArray[Any]:
    width = column.type.list_size
    flat = column.values.slice(column.offset * width, len(column) * width)
    whole: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    return whole


def vectors_in(segment: GrowingSegment, field_id: int) -> npt.NDArray[Any] | None:
    """(num_rows, width) the vectors of a field as stored; None where it is absent, or null in some row."""
    name = str(field_id)
    if name not in segment.rows.column_names or segment.rows.column(name).null_count:
        return None
    column = segment.whole().column(name)
    return _matrix(column.chunk(0)) if column.num_chunks == 1 else None


def open_rows(
    store: ObjectStore,
    segment: Segment,
    schema: Schema,
    *,
    source: FragmentOpener | None = None,
    open_file: FileOpener | None = None,
) -> SegmentReader:
    """`open_segment`, of growing segments too."""
    if isinstance(segment, GrowingSegment):
        return GrowingReader(store, segment, schema)
    return open_segment(store, segment, schema, source=source, open_file=open_file)
