"""What every writer shares: batches checked against the schema, a whole file or none, a checksum.

Formats detect damage to varying degrees (Vortex none at all), so the checksum is over the bytes of the file
and does not depend on the format.
"""

from __future__ import annotations

import errno
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from headwater.errors import QuotaExceeded, SchemaMismatch
from headwater.formats.protocol import FileStats
from headwater.formats.rows import same_type
from headwater.store import DirectWriter, write_all
from headwater.tiers import checksum_of

__all__ = [
    "ChecksummedFile",
    "RowCount",
    "check_schema",
    "checked_batches",
    "file_checksum",
    "file_stats",
    "whole_file",
]

_READ_BYTES = 4 << 20
_PIECE_BYTES = 1 << 20
"""Of what is written, summed and written while a core's cache holds it."""


def file_checksum(path: Path) -> str:
    """`crc32:` and eight hexadecimal digits over the bytes of a file, read in pieces."""
    value = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            value = zlib.crc32(piece, value)
    return checksum_of(value)


def file_stats(path: Path, num_rows: int) -> FileStats:
    """The stats of a finished file."""
    return FileStats(num_rows=num_rows, size_bytes=path.stat().st_size, checksum=file_checksum(path))


class ChecksummedFile:
    """A new file to write to, whose checksum is known at its end without reading it again.

    Args:
        path: of the file.
        cached: whether what is written stays in the system's cache.
    """

    def __init__(self, path: Path, *, cached: bool = True) -> None:
        self._closing = ExitStack()
        file = self._closing.enter_context(path.open("wb", buffering=0))
        self._append: Callable[[memoryview], object] = partial(write_all, file.fileno())
        if not cached:
            self._append = self._closing.enter_context(DirectWriter(file.fileno())).write
        self._checksum = 0
        self._size_bytes = 0
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self.closed = True
        self._closing.__exit__(*raised)

    def write(self, data: bytes | memoryview | pa.Buffer) -> int:
        """Append all of some bytes."""
        whole = memoryview(data).cast("B")
        for start in range(0, len(whole), _PIECE_BYTES):
            piece = whole[start : start + _PIECE_BYTES]
            self._append(piece)
            self._checksum = zlib.crc32(piece, self._checksum)
        self._size_bytes += len(whole)
        return len(whole)

    def flush(self) -> None:
        """Nothing is held back that closing does not write."""

    def close(self) -> None:
        """Close the file."""
        self.__exit__(None, None, None)

    def stats(self, num_rows: int) -> FileStats:
        """The stats of what was written, once it is closed."""
        return FileStats(num_rows, self._size_bytes, checksum_of(self._checksum))


class RowCount:
    """Counts rows as they stream by."""

    def __init__(self) -> None:
        self.total = 0


def _has_view(kind: pa.DataType) -> bool:
    types = pa.types
    return (
        types.is_string_view(kind)
        or types.is_binary_view(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
        or any(_has_view(kind.field(child).type) for child in range(kind.num_fields))
    )


def check_schema(schema: pa.Schema, *, what: str) -> None:
    """Refuse what no column group can hold.

    Raises:
        SchemaMismatch: no column at all, two of one name, or views (Arrow cannot take rows of them).
    """
    if not len(schema):
        raise SchemaMismatch(f"{what}: a column group needs at least one column")
    for field in schema:
        if _has_view(field.type):
            raise SchemaMismatch(
                f"{what}: column {field.name!r}: {field.type} is for memory, not for files",
                hint="cast it to string, binary or list",
                column=field.name,
            )
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise SchemaMismatch(
                f"{what}: column {name!r} appears {schema.names.count(name)} times", column=name
            )


def checked_batches(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, count: RowCount, *, what: str
) -> Iterator[pa.RecordBatch]:
    """The batches that have rows, each under exactly `schema`, counted.

    Raises:
        SchemaMismatch: a batch has other columns or types, or a null where the schema allows none.
    """
    for batch in batches:
        if batch.schema.names != schema.names:
            raise SchemaMismatch(f"{what}: expected columns {schema.names}, got {batch.schema.names}")
        arrays = []
        for array, field in zip(batch.columns, schema, strict=True):
            if not same_type(array.type, field.type):
                raise SchemaMismatch(
                    f"{what}: column {field.name!r}: expected {field.type}, got {array.type}",
                    column=field.name,
                )
            if not field.nullable and array.null_count:
                raise SchemaMismatch(
                    f"{what}: column {field.name!r}: {array.null_count} nulls, but the schema allows none",
                    column=field.name,
                )
            arrays.append(array if array.type == field.type else array.cast(field.type))
        if batch.num_rows:
            count.total += batch.num_rows
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


@contextmanager
def whole_file(path: Path) -> Iterator[None]:
    """Leave no partial file behind, and say when the disk is full.

    Raises:
        QuotaExceeded: the disk is full.
    """
    try:
        yield
    except BaseException as error:
        path.unlink(missing_ok=True)
        full = (isinstance(error, OSError) and error.errno == errno.ENOSPC) or (
            isinstance(error, (OSError, RuntimeError)) and "No space left on device" in str(error)
        )
        if full:
            raise QuotaExceeded(
                f"{path}: no space left on the disk while writing",
                hint="free space, then run it again",
                unit="bytes",
            ) from error
        raise
