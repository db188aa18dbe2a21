"""What a column-group format does: write rows once, then read columns and take rows.

Invariants: row *i* of the file is row *i* of the segment; a file is written once and never changed; a reader returns
exactly the Arrow types that were written.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt
import pyarrow as pa

from headwater.errors import RowOutOfRange
from headwater.tiers import Residency
from headwater.types import Bitmap, RowIds

__all__ = [
    "ColumnGroupFormat",
    "ColumnGroupReader",
    "FileStats",
    "SupportsVectors",
    "check_rows",
    "file_checksum",
]


@dataclass(frozen=True)
class FileStats:
    """What was written: rows, bytes, and a checksum of the bytes (`crc32:` and eight hexadecimal digits)."""

    num_rows: int
    size_bytes: int
    checksum: str


class ColumnGroupReader(Protocol):
    """An opened file. Safe to use from several threads."""

    num_rows: int

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """Columns in row order, in batches.

        Args:
            columns: the columns, in the order wanted.
            rows: (num_rows,) True for the rows wanted; None for all.
        """
        ...

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked.

        Args:
            columns: the columns, in the order wanted.
            rows: (n,) positions in [0, num_rows); duplicates allowed.

        Raises:
            RowOutOfRange: a position is outside; nothing was read.
        """
        ...


@runtime_checkable
class SupportsVectors(Protocol):
    """A reader that hands out a vector column as one matrix."""

    def vectors(self, column: str) -> npt.NDArray[Any]:
        """(num_rows, width) view; zero-copy when the file is warm. Null rows hold zeros."""
        ...


class ColumnGroupFormat(Protocol):
    """A way to store columns in one file."""

    name: ClassVar[str]
    suffix: ClassVar[str]

    def write(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> FileStats:
        """Write a file.

        Args:
            batches: the rows.
            schema: their Arrow schema.
            path: a local path that does not exist yet.
        """
        ...

    def open(self, source: Residency, schema: pa.Schema) -> ColumnGroupReader:
        """Open a file.

        Args:
            source: its bytes.
            schema: the Arrow types it was written with; not every format keeps them.

        Raises:
            Corrupt: the file is not of this format; names the file.
        """
        ...


def file_checksum(path: Path) -> str:
    """`crc32:` and the CRC-32 of a file's bytes, as in zlib."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return f"crc32:{value:08x}"


def check_rows(rows: RowIds, num_rows: int) -> None:
    """Refuse positions outside a file.

    Raises:
        RowOutOfRange: a position is negative or too large.
    """
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= num_rows):
        raise RowOutOfRange(f"rows from {int(rows.min())} to {int(rows.max())}, expected [0, {num_rows})")
