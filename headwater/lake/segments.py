"""Read a segment, whatever its columns are made of.

A reader merges our column groups with external fragments, row-aligned. A field that a segment has no column for,
because it was added later, reads as its default or null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater import formats
from headwater.errors import Corrupt, SourceChanged
from headwater.formats import ColumnGroupReader, FetchedVectors, SupportsAhead, SupportsVectors, Vectors
from headwater.lake.manifest import ColumnGroup, FileRef, Fragment, Segment
from headwater.schema import ROW_KEY_SOURCE, Field, Schema, arrow_type, cast_column
from headwater.store import ObjectStore, SingleFlight
from headwater.tiers import Residency, open_object
from headwater.types import Bitmap, RowIds

__all__ = [
    "FileOpener",
    "FragmentOpener",
    "SegmentReader",
    "absent_columns",
    "open_segment",
]

_SCAN_ROWS = 16_384
_ROW_IDS = -1
"""In the place of a column group: the values are the row ids."""


FileOpener = Callable[[FileRef, Sequence[int]], Residency]
"""Opens a file of a segment that holds the fields of some ids."""


class FragmentOpener(Protocol):
    """Opens the external rows of a column group; what `lake.external` provides."""

    def open(self, fragments: Sequence[Fragment], fields: Sequence[Field]) -> ColumnGroupReader:
        """A reader of these fields over these fragments, in order."""
        ...


def open_segment(
    store: ObjectStore,
    segment: Segment,
    schema: Schema,
    *,
    source: FragmentOpener | None = None,
    open_file: FileOpener | None = None,
) -> SegmentReader:
    """Open a segment; nothing is read until asked.

    Args:
        store: where the lake is.
        segment: what to open.
        schema: the fields as the reader's version names them.
        source: opens external fragments; None for a managed collection.
        open_file: opens files of the lake at their tier; where they are by default.
    """
    return SegmentReader(store, segment, schema, source, open_file)


class SegmentReader:
    """An opened segment. Safe to use from several threads."""

    def __init__(
        self,
        store: ObjectStore,
        segment: Segment,
        schema: Schema,
        source: FragmentOpener | None,
        open_file: FileOpener | None = None,
    ) -> None:
        self._open_file = open_file or partial(_where_it_is, store)
        self._segment = segment
        self._schema = schema
        self._source = source
        self._readers: dict[int, ColumnGroupReader] = {}
        self._opening = SingleFlight()
        self._deleted: Bitmap | None = None
        self._read_ids: RowIds | None = None
        self._files: list[Residency] = []
        self.num_rows = segment.num_rows

    @property
    def held_bytes(self) -> int:
        """What it holds in memory: files that were read whole, which rows are gone, and their ids."""
        gone = 0 if self._deleted is None else int(self._deleted.nbytes)
        gone += 0 if self._read_ids is None else int(self._read_ids.nbytes)
        return gone + sum(one.held_bytes for one in list(self._files))

    def _group_of(self, field: Field) -> int | None:
        for position, group in enumerate(self._segment.column_groups):
            if field.id in group.field_ids:
                return position
        return None

    def _reader(self, position: int) -> ColumnGroupReader:
        reader = self._readers.get(position)
        return self._opening.once(position, lambda: self._opened(position)) if reader is None else reader

    def _opened(self, position: int) -> ColumnGroupReader:
        reader = self._readers.get(position)
        if reader is None:
            reader = self._readers[position] = self._open_group(self._segment.column_groups[position])
        return reader

    def groups(self, names: Sequence[str]) -> list[list[str]]:
        """Fields by the column group that holds them, of which each is read by requests of its own."""
        return [[field.name for field in fields] for fields in self._placed(names).values()]

    def has_open(self, name: str) -> bool:
        """Whether the column group that holds a field is open, or it needs none."""
        return all(
            place is None or place == _ROW_IDS or place in self._readers for place in self._placed([name])
        )

    def open_group(self, name: str) -> None:
        """Open the column group that holds a field, before the first row is asked of it."""
        for position in self._placed([name]):
            if position is not None and position != _ROW_IDS:
                self._reader(position)

    def _open_group(self, group: ColumnGroup) -> ColumnGroupReader:
        known = {field.id: field for field in self._schema.every_field}
        if group.file is None:
            if self._source is None:
                raise TypeError("a segment with fragments needs the source that opens them")
            fields = [known[number] for number in group.field_ids if number in known]
            return self._source.open(group.fragments, fields)
        residency = self._open_file(group.file, group.field_ids)
        self._files.append(residency)
        types = pa.schema(
            [
                pa.field(str(number), arrow_type(known[number].type))
                for number in group.field_ids
                if number in known
            ]
        )
        return formats.get(group.format).open(residency, types)

    def _placed(self, names: Sequence[str]) -> Mapping[int | None, list[Field]]:
        placed: dict[int | None, list[Field]] = {}
        for name in dict.fromkeys(names):
            field = self._schema.field(name)
            if self._segment.awaits(field):
                raise SourceChanged(
                    f"field {name!r} was added after the last refresh, so its values are not known yet",
                    hint="refresh the collection (RefreshExternalCollection)",
                )
            place = _ROW_IDS if field.source == ROW_KEY_SOURCE else self._group_of(field)
            placed.setdefault(place, []).append(field)
        return placed

    def open_fields(self, names: Sequence[str]) -> None:
        """Open the column groups of some fields, which reads what every read of them begins with."""
        for position in self._placed(names):
            if position is not None and position != _ROW_IDS:
                self._reader(position)

    def scan(
        self, names: Sequence[str], rows: Bitmap | None = None, *, most: int = _SCAN_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Fields in row order, in batches.

        Args:
            names: fields, in the order wanted.
            rows: (num_rows,) True for the rows wanted; None for all, deleted ones included.
            most: rows of a batch.
        """
        types = self._schema.to_arrow(names)
        count = self.num_rows if rows is None else int(np.count_nonzero(rows))
        streams = [
            _Rebatched(self._columns(position, fields, rows, count), [field.name for field in fields])
            for position, fields in self._placed(names).items()
        ]
        done = 0
        while done < count:
            size = min(most, count - done)
            columns: dict[str, pa.Array] = {}
            for stream in streams:
                columns.update(stream.next(size))
            yield pa.RecordBatch.from_arrays([columns[name] for name in names], schema=types)
            done += size

    def _columns(
        self, position: int | None, fields: Sequence[Field], rows: Bitmap | None, count: int
    ) -> Iterator[pa.RecordBatch]:
        if position is None:
            for start in range(0, count, _SCAN_ROWS):
                yield absent_columns(fields, min(_SCAN_ROWS, count - start))
            return
        if position == _ROW_IDS:
            ids = self.row_ids() if rows is None else self.row_ids()[rows]
            names = [field.name for field in fields]
            yield pa.RecordBatch.from_arrays([pa.array(ids)] * len(names), names=names)
            return
        reader = self._reader(position)
        if self._segment.column_groups[position].file is None:
            yield from reader.scan([field.name for field in fields], rows)
            return
        for batch in reader.scan([str(field.id) for field in fields], rows):
            yield batch.rename_columns([field.name for field in fields])

    def take(self, names: Sequence[str], rows: RowIds) -> pa.Table:
        """Rows at given positions, in the order asked; only the column groups of `names` are touched.

        Raises:
            RowOutOfRange: a position is outside `[0, num_rows)`.
        """
        columns: dict[str, pa.Array] = {}
        for position, fields in self._placed(names).items():
            if position is None:
                batch = absent_columns(fields, len(rows))
            elif position == _ROW_IDS:
                names_of_ids = [field.name for field in fields]
                ids = pa.array(self.row_ids()[rows])
                batch = pa.RecordBatch.from_arrays([ids] * len(names_of_ids), names=names_of_ids)
            elif self._segment.column_groups[position].file is None:
                batch = self._reader(position).take([field.name for field in fields], rows)
            else:
                batch = self._reader(position).take([str(field.id) for field in fields], rows)
            columns.update(zip([field.name for field in fields], batch.columns, strict=True))
        return pa.Table.from_arrays([columns[name] for name in names], schema=self._schema.to_arrow(names))

    def read_ahead(self, names: Sequence[str], rows: RowIds) -> None:
        """Begin with a `take`; see `SupportsAhead.read_ahead`."""
        for position, fields in self._placed(names).items():
            if position is None or position == _ROW_IDS:
                continue
            reader = self._reader(position)
            if self._segment.column_groups[position].file is not None and isinstance(reader, SupportsAhead):
                reader.read_ahead([str(field.id) for field in fields], rows)

    def _placed_vectors(self, field: Field) -> Vectors | None:
        """The vectors of a file of ours as its format gives them; None where they have to be decoded."""
        position = self._group_of(field)
        if position is None or self._segment.column_groups[position].file is None:
            return None
        reader = self._reader(position)
        return reader.vectors(str(field.id)) if isinstance(reader, SupportsVectors) else None

    def vectors(self, name: str) -> Vectors:
        """(num_rows, width) matrix of a dense vector field; a view of the file where the format allows it."""
        field = self._schema.field(name)
        if (placed := self._placed_vectors(field)) is not None:
            return placed
        width, dtype = self._vector_shape(field)
        whole = np.zeros((self.num_rows, width), dtype)
        start = 0
        for part in self._vector_parts(name):
            whole[start : start + len(part)] = part
            start += len(part)
        return whole

    def streamed_vectors(self, name: str) -> Vectors:
        """`vectors` for whoever reads each row about once: nothing that is read is kept."""
        field = self._schema.field(name)
        if (placed := self._placed_vectors(field)) is not None:
            return placed
        width, dtype = self._vector_shape(field)

        def fetch(rows: RowIds) -> npt.NDArray[Any]:
            return _matrix(self.take([name], rows).column(0).combine_chunks(), width, dtype)

        return FetchedVectors((self.num_rows, width), dtype, fetch, scan=partial(self._vector_parts, name))

    def _vector_parts(self, name: str) -> Iterator[npt.NDArray[Any]]:
        width, dtype = self._vector_shape(self._schema.field(name))
        for batch in self._stored(name):
            yield _matrix(batch.column(0), width, dtype)

    def _stored(self, name: str) -> Iterator[pa.RecordBatch]:
        """All rows of a field in batches as they are stored."""
        [(position, fields)] = self._placed([name]).items()
        return self._columns(position, fields, None, self.num_rows)

    @staticmethod
    def _vector_shape(field: Field) -> tuple[int, np.dtype[Any]]:
        kind = arrow_type(field.type)
        return kind.list_size, np.dtype(kind.value_type.to_pandas_dtype())

    def present(self, name: str) -> Bitmap | None:
        """(num_rows,) True where a vector field is not null; None where it nowhere is. Its values are not kept."""
        field = self._schema.field(name)
        position = self._group_of(field)
        if position is not None and self._segment.column_groups[position].file is not None:
            reader = self._reader(position)
            if isinstance(reader, SupportsVectors):
                return reader.validity(str(field.id))
        parts = [batch.column(0).is_valid().to_numpy(zero_copy_only=False) for batch in self.scan([name])]
        valid: Bitmap = np.concatenate([np.empty(0, np.bool_), *parts])
        return None if valid.all() else valid

    def deleted(self) -> Bitmap | None:
        """(num_rows,) True where a row is gone; None when none is."""
        reference = self._segment.delete_vector
        if reference is not None and self._deleted is None:
            residency = self._open_file(reference, ())
            packed = np.frombuffer(residency.read_all(), np.uint8)
            self._deleted = np.unpackbits(packed, count=self.num_rows).astype(np.bool_)
        return self._deleted

    @cached_property
    def _row_ids(self) -> RowIds:
        runs = [np.arange(first, first + count, dtype=np.int64) for first, count in self._segment.row_ids]
        return np.concatenate(runs) if runs else np.empty(0, np.int64)

    def row_ids(self) -> RowIds:
        """(num_rows,) stable row ids."""
        reference = self._segment.row_id_file
        if reference is None:
            return self._row_ids
        if self._read_ids is None:
            data = self._open_file(reference, ()).read_all()
            if len(data) != 8 * self.num_rows:
                raise Corrupt(
                    f"{reference.key!r}: {len(data)} bytes, expected 8 for each of {self.num_rows} rows",
                    hint="the file is damaged; restore it",
                    key=reference.key,
                )
            self._read_ids = np.frombuffer(data, "<i8").astype(np.int64, copy=False)
        return self._read_ids


def _where_it_is(store: ObjectStore, file: FileRef, _: Sequence[int]) -> Residency:
    return open_object(store, file.key, size_bytes=file.size_bytes)


def absent_columns(fields: Sequence[Field], count: int) -> pa.RecordBatch:
    """Rows of fields that a segment has no column for: their default, or null."""
    arrays = [
        pa.nulls(count, arrow_type(field.type))
        if field.default is None
        else pa.repeat(cast_column(field, [field.default])[0], count)
        for field in fields
    ]
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in fields])


def _matrix(column: pa.Array, width: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """(n, width) numbers of vectors; those of a null vector are zero."""
    flat = column.values.slice(column.offset * width, len(column) * width)
    if flat.null_count:
        flat = flat.fill_null(0)
    matrix: npt.NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(-1, width)
    if matrix.dtype != dtype:
        matrix = matrix.astype(dtype)
    return matrix


class _Rebatched:
    """A stream of batches cut anew to the sizes asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> None:
        self._batches = batches
        self._names = list(names)
        self._held: list[pa.RecordBatch] = []
        self._num_held = 0

    def next(self, size: int) -> dict[str, pa.Array]:
        """The next `size` rows, by column."""
        while self._num_held < size:
            batch = next(self._batches)
            self._held.append(batch)
            self._num_held += batch.num_rows
        parts, needed = [], size
        while needed:
            head = self._held[0]
            if head.num_rows <= needed:
                parts.append(self._held.pop(0))
                needed -= head.num_rows
            else:
                parts.append(head.slice(0, needed))
                self._held[0] = head.slice(needed)
                needed = 0
        self._num_held -= size
        if len(parts) == 1:
            return dict(zip(self._names, parts[0].columns, strict=True))
        return {
            name: pa.concat_arrays([part.column(i) for part in parts]) for i, name in enumerate(self._names)
        }
