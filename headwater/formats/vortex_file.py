"""Vortex: the format of scalars, text and JSON; compressed, fast to scan and to take rows from.

Vortex drops field metadata and widens some Arrow types, so every read casts back to the types that were written. A file
is written under a temporary name, because a local Vortex file is visible while it grows. Reference: vortex.dev.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import vortex as vx

from headwater.errors import Corrupt, SchemaMismatch
from headwater.formats.protocol import FileStats, check_rows, file_checksum
from headwater.tiers import Residency
from headwater.types import Bitmap, ByteRange, RowIds

__all__ = ["Vortex"]

EDITION = "core2025.10.0"
"""The set of encodings that files use; any reader from that edition on can read them."""


class Vortex:
    """The format, see the module."""

    name: ClassVar[str] = "vortex"
    suffix: ClassVar[str] = "vortex"

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> FileStats:
        """Write a file."""
        table = pa.Table.from_batches(batches, schema)
        try:
            vx.io.write(table, str(path), edition=EDITION)
        except (ValueError, RuntimeError, pa.ArrowException) as error:
            types = ", ".join(f"{field.name}: {field.type}" for field in schema)
            raise SchemaMismatch(f"Vortex cannot hold one of ({types}): {error}") from error
        return FileStats(table.num_rows, path.stat().st_size, file_checksum(path))

    def open(self, source: Residency, schema: pa.Schema) -> VortexReader:
        """Open a file: memory-mapped when warm, by ranges when cold."""
        try:
            if source.path is not None:
                file = vx.open(str(source.path), memory_map=True)
            else:
                file = vx.open_readable(_Ranges(source))
        except (ValueError, RuntimeError, OSError, pa.ArrowException) as error:
            raise Corrupt(f"{source.key!r} is not a readable Vortex file: {error}", key=source.key) from error
        return VortexReader(file, schema, source.key)


class _Ranges:
    """A Residency in the shape that Vortex reads from."""

    def __init__(self, source: Residency) -> None:
        self._source = source

    def size(self) -> int:
        """Length in bytes."""
        return self._source.size_bytes

    def read_at(self, offset: int, length: int) -> bytes:
        """Bytes at an offset."""
        return bytes(self._source.read(ByteRange(offset, offset + length)))


class VortexReader:
    """An opened file."""

    def __init__(self, file: Any, schema: pa.Schema, key: str) -> None:
        self._file = file
        self._schema = schema
        self._key = key
        self.num_rows: int = len(file)

    def _types(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self._schema.field(name) for name in columns])

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in row order, in batches."""
        types = self._types(columns)
        if self.num_rows == 0:
            return
        indices = None
        if rows is not None:
            positions = np.flatnonzero(rows)
            if len(positions) == 0:
                return
            indices = vx.array(pa.array(positions.astype(np.uint64)))
        try:
            for batch in self._file.to_arrow(list(columns), indices=indices, schema=types):
                yield _as_written(batch, types)
        except (ValueError, RuntimeError, OSError) as error:
            raise Corrupt(f"{self._key!r} cannot be read: {error}", key=self._key) from error

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked."""
        check_rows(rows, self.num_rows)
        types = self._types(columns)
        if len(rows) == 0:
            return pa.RecordBatch.from_pylist([], types)
        unique, back = np.unique(rows, return_inverse=True)
        wanted = np.zeros(self.num_rows, np.bool_)
        wanted[unique] = True
        table = pa.Table.from_batches(self.scan(columns, wanted), types).combine_chunks()
        return table.take(pa.array(back)).combine_chunks().to_batches()[0]


def _as_written(batch: pa.RecordBatch, types: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(i) if batch.column(i).type == field.type else batch.column(i).cast(field.type)
        for i, field in enumerate(types)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=types)
