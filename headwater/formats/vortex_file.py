"""Vortex files: the format of scalars, text and JSON; fast scans of columns and takes of rows.

Vortex keeps values, not Arrow's details: strings come back as views, dictionaries decoded, metadata
dropped. So every read is given the types as written. Files are pinned to one edition, which older and newer
readers understand. Rows are asked for in strictly increasing order and inside the file, because Vortex
takes no other request and answers a row past the end with a panic. Results are exported one by one and not
through Arrow's C stream, where a panic over a damaged file would end the process instead of raising.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from headwater.errors import Corrupt, HeadwaterError, SchemaMismatch
from headwater.formats.protocol import FileStats
from headwater.formats.rows import check_bitmap, check_columns, check_rows, distinct_rows
from headwater.formats.vortex_import import vortex
from headwater.formats.writing import RowCount, check_schema, checked_batches, file_stats, whole_file
from headwater.tiers import Residency
from headwater.types import Bitmap, ByteRange, RowIds

__all__ = ["VortexFormat", "VortexReader"]


@cache
def _pieces() -> Any:
    """Encoded pieces of cold files that were read last, of all files of the process together."""
    return vortex().SegmentCache(_PIECES_BYTES)


def _caching(source: Residency) -> dict[str, Any]:
    """How Vortex keeps what it read: of cold files in one bounded cache, of what is in memory not again."""
    if source.tier != "cold":
        return {"without_segment_cache": True}
    return {"segment_cache": _pieces(), "cache_key": f"{source.store.url} {source.key} {source.size_bytes}"}


_PIECES_BYTES = 128 << 20
_EDITION = "core2025.10.0"
_SPARSE_SHARE = 0.25

_AHEAD_ROWS = 4096
"""Rows of one block of which it is known that they were read: a piece of texts of 64 bytes holds four such blocks."""

_MOST_KNOWN = 2048
"""Blocks of one file known as read; then they are forgotten, as their pieces may be."""


def _unsupported(kind: pa.DataType) -> pa.DataType | None:
    """The part of a type that Vortex cannot write, None when there is none."""
    types = pa.types
    refused = (
        isinstance(kind, pa.BaseExtensionType)
        or (types.is_fixed_size_binary(kind) and not types.is_decimal(kind))
        or types.is_duration(kind)
        or types.is_interval(kind)
        or types.is_map(kind)
        or types.is_union(kind)
    )
    if refused:
        return kind
    if types.is_dictionary(kind):
        return _unsupported(kind.value_type)
    for child in range(kind.num_fields):
        if (found := _unsupported(kind.field(child).type)) is not None:
            return found
    return None


def _summary(error: BaseException) -> str:
    return str(error).split("\nBacktrace", 1)[0].strip()


class _Source:
    """An object's bytes as Vortex asks for them; keeps our own error, which Vortex makes into text.

    Vortex reads the end of a file to open it, and then pieces of which the last may lie there: what was read first is
    kept for the next read, and no longer.
    """

    def __init__(self, source: Residency) -> None:
        self._source = source
        self._opened = False
        self._end: tuple[int, memoryview] | None = None
        self.error: HeadwaterError | None = None

    def size(self) -> int:
        """Length of the object."""
        return self._source.size_bytes

    def read_at(self, offset: int, length: int) -> memoryview:
        """Bytes `[offset, offset + length)`."""
        stop, end = offset + length, self._end
        self._end = None
        try:
            if end is None or not offset <= end[0] < stop:
                found = self._source.read(ByteRange(offset, stop))
            else:
                found = self._source.read(ByteRange(offset, end[0]))
                found = memoryview(b"".join((found, end[1][: stop - end[0]])))
        except HeadwaterError as error:
            self.error = error
            raise
        if not self._opened and self._source.tier == "cold" and stop == self._source.size_bytes:
            self._end = (offset, found)
        self._opened = True
        return found


class VortexReader:
    """An open Vortex file; see the module for its promises.

    Args:
        source: the file.
        schema: the columns to read, with the types they were written with.

    Raises:
        Corrupt: the bytes are no such file.
        SchemaMismatch: the file lacks a column.
    """

    def __init__(self, source: Residency, schema: pa.Schema) -> None:
        self._source = source
        self._schema = schema
        self._reading = _Source(source)
        self._known: set[tuple[str, int]] = set()
        with self._translated():
            if source.path is not None:
                self._file = vortex().open(str(source.path), memory_map=True)
            else:
                self._file = vortex().open_readable(self._reading, **_caching(source))
            self.num_rows = len(self._file)
            dtype = self._file.dtype
            stored = set(dtype.names()) if isinstance(dtype, vortex().StructDType) else set()
        for name in schema.names:
            if name not in stored:
                raise SchemaMismatch(f"{source.key!r} has no column {name!r}", column=name)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise the store's own error, or `Corrupt`, for what Vortex raises, panics included."""
        try:
            yield
        except BaseException as error:
            panic = type(error).__name__ == "PanicException"
            if not panic and not isinstance(error, (RuntimeError, ValueError, OSError, pa.ArrowException)):
                raise
            cause, self._reading.error = self._reading.error, None
            if cause is not None:
                raise cause from error
            raise Corrupt(
                f"{self._source.key!r} is no readable Vortex file: {_summary(error)}",
                hint="the file is damaged or was written by another version; restore it",
                key=self._source.key,
            ) from error

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """See `ColumnGroupReader.scan`; few rows are asked of the file, many are filtered after."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        if rows is not None:
            rows = check_bitmap(rows, self.num_rows, what=repr(self._source.key))
            selected = int(np.count_nonzero(rows))
            if not selected:
                return iter(())
            if selected < self.num_rows * _SPARSE_SHARE:
                return self._read(schema, np.flatnonzero(rows).astype(np.int64, copy=False))
            if selected < self.num_rows:
                return self._filtered(schema, rows)
        return self._read(schema, None)

    def _filtered(self, schema: pa.Schema, rows: Bitmap) -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in self._read(schema, None):
            chosen = rows[start : start + batch.num_rows]
            start += batch.num_rows
            if chosen.any():
                yield batch.filter(pa.array(chosen))

    def _read(self, schema: pa.Schema, rows: RowIds | None) -> Iterator[pa.RecordBatch]:
        names = list(dict.fromkeys(schema.names))
        kind = pa.struct([schema.field(schema.names.index(name)) for name in names])
        indices = None if rows is None else vortex().Array.from_arrow(pa.array(rows.astype(np.uint64)))
        with self._translated():
            found = iter(self._file.scan(names, indices=indices))
        while True:
            with self._translated():
                array = next(found, None)
                if array is None:
                    return
                struct = array.to_arrow_array(arrow_type=kind, combine_chunks=True)
            if len(struct):
                yield _as_batch(struct, names, schema)

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """See `ColumnGroupReader.take`. Cost: the encoded pieces (about 1 MiB) that hold the rows."""
        schema = check_columns(self._schema, columns, what=repr(self._source.key))
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        found, inverse = distinct_rows(rows)
        batches = list(self._read(schema, found)) if len(found) else []
        self._now_known(self._unknown(columns, found))
        batch = batches[0] if len(batches) == 1 else pa.concat_batches([*batches, _empty(schema)])
        return batch if inverse is None else batch.take(pa.array(inverse))

    def read_ahead(self, columns: Sequence[str], rows: RowIds) -> None:
        """See `SupportsAhead.read_ahead`: the encoded pieces that hold the rows."""
        check_columns(self._schema, columns, what=repr(self._source.key))
        rows = check_rows(rows, self.num_rows, what=repr(self._source.key))
        unknown = self._unknown(columns, rows)
        if not unknown:
            return
        names = list(dict.fromkeys(name for name, _ in unknown))
        blocks = np.unique([block for _, block in unknown])
        found, _ = distinct_rows(rows[np.isin(rows // _AHEAD_ROWS, blocks)])
        for _ in self._read(check_columns(self._schema, names, what=repr(self._source.key)), found):
            pass
        self._now_known(unknown)

    def _unknown(self, columns: Sequence[str], rows: RowIds) -> set[tuple[str, int]]:
        """The columns and blocks of rows that were not read lately, of a file that is a request away."""
        if self._source.tier != "cold":
            return set()
        blocks = np.unique(rows // _AHEAD_ROWS).tolist()
        return {(name, block) for name in columns for block in blocks} - self._known

    def _now_known(self, blocks: set[tuple[str, int]]) -> None:
        if len(self._known) + len(blocks) > _MOST_KNOWN:
            self._known = set()
        self._known |= blocks


def _as_batch(struct: pa.StructArray, names: Sequence[str], schema: pa.Schema) -> pa.RecordBatch:
    if not len(schema):
        return pa.RecordBatch.from_struct_array(struct)
    arrays: dict[str, Any] = {name: struct.field(position) for position, name in enumerate(names)}
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


class VortexFormat:
    """Vortex files of one pinned edition."""

    name: ClassVar[str] = "vortex"
    suffix: ClassVar[str] = ".vortex"

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, cached: bool = True
    ) -> FileStats:
        """See `ColumnGroupFormat.write`; streams."""
        check_schema(schema, what=str(path))
        for field in schema:
            if (part := _unsupported(field.type)) is not None:
                raise SchemaMismatch(
                    f"{path}: column {field.name!r}: {self.name} files hold no {part}",
                    hint="cast the column, or keep it in another format",
                    column=field.name,
                )
        count = RowCount()
        failed: list[Exception] = []

        def stream() -> Iterator[pa.RecordBatch]:
            try:
                yield from checked_batches(batches, schema, count, what=str(path))
            except Exception as error:
                failed.append(error)
                raise

        with whole_file(path):
            path.unlink(missing_ok=True)
            try:
                vortex().io.write(
                    pa.RecordBatchReader.from_batches(schema, stream()), str(path), edition=_EDITION
                )
            except RuntimeError as error:
                if failed:
                    raise failed[0] from None
                raise RuntimeError(f"{path}: Vortex could not write: {_summary(error)}") from error
            return file_stats(path, count.total)

    def open(self, source: Residency, schema: pa.Schema) -> VortexReader:
        """See `ColumnGroupFormat.open`; reads the footer."""
        return VortexReader(source, schema)
