"""The live rows of some segments as one stream, in row order or in any other: what a compaction writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.formats import FetchedVectors, Vectors, shuffled
from headwater.lake import Segment, SegmentReader
from headwater.query.snapshot import Snapshot
from headwater.schema import Field, Schema
from headwater.types import Bitmap, RowIds

__all__ = ["LiveRows"]

_BATCH_BYTES = 2 << 20
_MOST_ROWS = 16_384
_SAMPLE_BYTES = 64 << 10


class LiveRows:
    """Rows that are read by ranges, nothing of which is kept; see `lake.Rows`.

    Attributes:
        num_rows: how many.
        names: fields that all segments have.

    Args:
        snapshot: the version that the segments are of.
        segments: of one partition, in row order.
    """

    def __init__(self, snapshot: Snapshot, segments: Sequence[Segment]) -> None:
        schema: Schema = snapshot.schema
        self.snapshot = snapshot
        self.segments = segments
        self._schema = schema
        self._readers = [snapshot.opened.readers.streamed(segment, schema) for segment in segments]
        gone = [snapshot.gone(segment) for segment in segments]
        self._chosen: list[Bitmap | None] = [None if one is None else ~one for one in gone]
        self._order: RowIds | None = None
        self._count()
        self.names: Sequence[str] = [
            field.name
            for field in schema.stored_fields
            if field.name not in schema.outputs or all(segment.has_field(field.id) for segment in segments)
        ]

    def _count(self) -> None:
        counts = [
            reader.num_rows if chosen is None else int(np.count_nonzero(chosen))
            for reader, chosen in zip(self._readers, self._chosen, strict=True)
        ]
        self._ends: npt.NDArray[np.int64] = np.cumsum(counts, dtype=np.int64)
        self.num_rows = int(self._ends[-1])

    @cached_property
    def _row_bytes(self) -> float:
        """Bytes of a row on disk, on average."""
        groups = [group for segment in self.segments for group in segment.column_groups]
        size = sum(group.file.size_bytes for group in groups if group.file is not None)
        return size / max(1, sum(segment.num_rows for segment in self.segments))

    @property
    def row_bytes(self) -> float:
        """Bytes of a row on disk, on average."""
        return self._row_bytes

    def row_ids(self) -> RowIds:
        """(num_rows,) stable row ids, in the order of the rows."""
        parts = [
            reader.row_ids() if chosen is None else reader.row_ids()[chosen]
            for reader, chosen in self._sources()
        ]
        ids: RowIds = np.concatenate(parts)
        return ids if self._order is None else ids[self._order]

    def _sources(self) -> Iterator[tuple[SegmentReader, Bitmap | None]]:
        return zip(self._readers, self._chosen, strict=True)

    def sorted_by(self, name: str) -> RowIds:
        """(num_rows,) the rows in the order of a field; nulls last."""
        kind = self._schema.to_arrow([name]).field(0).type
        column = pa.chunked_array([batch.column(0) for batch in self.batches([name])], kind)
        order = pc.sort_indices(pa.table({"key": column}), sort_keys=[("key", "ascending", "at_end")])
        positions: RowIds = order.to_numpy().astype(np.int64)
        return positions

    def part(self, start: int, stop: int, order: RowIds | None = None) -> LiveRows:
        """Some of the rows, as they are in an order.

        Args:
            start: the first.
            stop: one after the last.
            order: (num_rows,) all rows in the order wanted; as they are, where left out.
        """
        part: LiveRows = object.__new__(LiveRows)
        part.__dict__.update(self.__dict__)
        part._order = order
        if (start, stop) == (0, self.num_rows):
            return part
        wanted = np.zeros(self.num_rows, np.bool_)
        wanted[slice(start, stop) if order is None else order[start:stop]] = True
        part._chosen = []
        for first, last, (reader, chosen) in zip(
            np.append(0, self._ends), self._ends, self._sources(), strict=False
        ):
            bitmap = np.ones(reader.num_rows, np.bool_) if chosen is None else chosen.copy()
            bitmap[np.flatnonzero(bitmap)] = wanted[first:last]
            part._chosen.append(bitmap)
        part._count()
        if order is not None:
            part._order = (np.cumsum(wanted) - 1)[order[start:stop]]
        return part

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `lake.Rows.batches`."""
        most = int(min(_MOST_ROWS, max(256, _BATCH_BYTES // max(1.0, self._row_bytes))))
        parts = chain.from_iterable(
            reader.scan(names, chosen, most=most)
            for reader, chosen in self._sources()
            if chosen is None or chosen.any()
        )
        return parts if self._order is None else shuffled(parts, self._order)

    def sample(self, name: str) -> pa.ChunkedArray:
        """See `lake.Rows.sample`: the first rows of each segment."""
        kind = self._schema.to_arrow([name]).field(0).type
        most = int(max(64, min(_MOST_ROWS, _SAMPLE_BYTES // max(1.0, self._row_bytes))))
        heads = [
            batch.column(0)
            for reader, chosen in self._sources()
            if chosen is None or chosen.any()
            for batch in islice(reader.scan([name], chosen, most=most), 1)
        ]
        return pa.chunked_array(heads, kind)

    def vectors(self, field: Field) -> tuple[Vectors, Bitmap | None]:
        """(num_rows, width) vectors in the segments' order, and which rows have one; None for all."""
        parts = [
            self.snapshot.opened.vectors.streamed(segment, self._schema, field.name)
            for segment in self.segments
        ]
        live = [None if chosen is None else np.flatnonzero(chosen) for chosen in self._chosen]
        present = [self.snapshot.present(segment, field) for segment in self.segments]
        valid = None
        if any(one is not None for one in present):
            whole = [
                np.ones(reader.num_rows, np.bool_) if one is None else one
                for reader, one in zip(self._readers, present, strict=True)
            ]
            pairs = zip(whole, self._chosen, strict=True)
            valid = np.concatenate([one if chosen is None else one[chosen] for one, chosen in pairs])
        shape = (self.num_rows, parts[0].shape[1])
        fetch = partial(_fetched, parts, live, self._ends)
        scans = [one.scan for one in parts if not isinstance(one, np.ndarray) and one.scan is not None]
        scan = partial(_scanned, parts, self._chosen) if scans else None
        return FetchedVectors(shape, parts[0].dtype, fetch, scan=scan), valid


def _fetched(
    parts: Sequence[Vectors], live: Sequence[RowIds | None], ends: npt.NDArray[np.int64], rows: RowIds
) -> npt.NDArray[Any]:
    """Vectors at positions among the live rows of all parts."""
    out = np.empty((len(rows), parts[0].shape[1]), parts[0].dtype)
    owner = np.searchsorted(ends, rows, side="right")
    for number in np.unique(owner).tolist():
        here = np.flatnonzero(owner == number)
        local = rows[here] - (ends[number - 1] if number else 0)
        positions = live[number]
        out[here] = parts[number][local if positions is None else positions[local]]
    return out


def _scanned(parts: Sequence[Vectors], chosen: Sequence[Bitmap | None]) -> Iterator[npt.NDArray[Any]]:
    """All live vectors in order."""
    for part, wanted in zip(parts, chosen, strict=True):
        start = 0
        for block in _in_order(part):
            here = None if wanted is None else wanted[start : start + len(block)]
            start += len(block)
            yield block if here is None else block[here]


def _in_order(part: Vectors) -> Iterator[npt.NDArray[Any]]:
    if not isinstance(part, np.ndarray) and part.scan is not None:
        yield from part.scan()
        return
    size = max(256, _BATCH_BYTES // max(1, part.shape[1] * part.dtype.itemsize))
    for start in range(0, len(part), size):
        yield part[start : start + size]
