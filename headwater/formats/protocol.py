"""What a column-group format promises: write a file once, then read columns of it, or rows of it.

A column group is a file whose row *i* is the segment's row *i*. Invariants of every format:

- A file is immutable. `write` leaves a whole file at the path, or none when it fails.
- What is read has exactly the Arrow types of the schema that was written, whatever the file keeps of them.
- Row order is kept; row *i* of the file is the *i*-th row that was written.
- A type that a format cannot hold is refused by `write`, naming the column; nothing is converted in
  silence.
- Readers are safe to share between threads and hold no open handle that must be closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy.typing as npt
import pyarrow as pa

from headwater.formats.fetched import Vectors
from headwater.tiers import Residency
from headwater.types import Bitmap, RowIds

__all__ = ["ColumnGroupFormat", "ColumnGroupReader", "FileStats", "SupportsAhead", "SupportsVectors"]


@dataclass(frozen=True, slots=True)
class FileStats:
    """What a manifest keeps of a written file.

    Attributes:
        num_rows: rows written.
        size_bytes: length of the file.
        checksum: `crc32:` and eight hexadecimal digits, over the whole file.
    """

    num_rows: int
    size_bytes: int
    checksum: str


class ColumnGroupReader(Protocol):
    """An open column group."""

    num_rows: int

    def scan(self, columns: Sequence[str], rows: Bitmap | None = None) -> Iterator[pa.RecordBatch]:
        """The selected rows in row order.

        Args:
            columns: columns to read, in the order wanted; only their bytes are read where possible.
            rows: (num_rows,) bool, True where a row is wanted; every row when left out.

        Returns:
            Batches of at least one row; none at all when no row is selected.

        Raises:
            FieldNotFound: the file was opened without such a column.
            InvalidArgument: `rows` has another shape or is not boolean.
            Corrupt: the file's bytes make no sense.
        """
        ...

    def take(self, columns: Sequence[str], rows: RowIds) -> pa.RecordBatch:
        """Rows at given positions, in the order asked.

        Args:
            columns: columns to read, in the order wanted.
            rows: (n,) integer positions in [0, num_rows); duplicates allowed.

        Returns:
            n rows.

        Raises:
            FieldNotFound: the file was opened without such a column.
            RowOutOfRange: a position is negative or >= num_rows; nothing was read.
            Corrupt: the file's bytes make no sense.
        """
        ...


@runtime_checkable
class SupportsVectors(Protocol):
    """A reader that gives dense vectors as matrices, without a copy where it can."""

    def vectors(self, column: str) -> Vectors:
        """(num_rows, dim) matrix in the stored type.

        A read-only view of the mapped file when warm; when cold, rows are fetched when they are asked for. Rows
        that are null hold unspecified values.

        Raises:
            SchemaMismatch: the column holds no dense vectors.
        """
        ...

    def validity(self, column: str) -> Bitmap | None:
        """(num_rows,) True where a column is not null; None where it nowhere is."""
        ...

    def vector_rows(self, column: str, rows: RowIds) -> npt.NDArray[Any]:
        """(n, dim) matrix of the rows asked for, in the order asked; as `take`, without Arrow around it.

        Raises:
            SchemaMismatch: the column holds no dense vectors.
            RowOutOfRange: a position is negative or >= num_rows; nothing was read.
        """
        ...


@runtime_checkable
class SupportsAhead(Protocol):
    """A reader that can begin with a take before it is known which rows it will be of."""

    def read_ahead(self, columns: Sequence[str], rows: RowIds) -> None:
        """Read what `take` of these rows would share with other rows: encoded pieces, the places of texts.

        It stays for the next take, as far as there is room; nothing is read of a file that is no request away, or that
        was read already.

        Args:
            columns: columns that are likely to be taken.
            rows: (n,) positions in [0, num_rows) that are.

        Raises:
            Corrupt: the file's bytes make no sense.
        """
        ...


class ColumnGroupFormat(Protocol):
    """One file format.

    Attributes:
        name: the word stored in manifests.
        suffix: the ending of file names, with its dot.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]

    def write(
        self, batches: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path, *, cached: bool = True
    ) -> FileStats:
        """Write one file.

        Args:
            batches: the rows; every batch has the types of `schema`, column by column.
            schema: the columns.
            path: where; a file there is replaced.
            cached: whether it is better left in the system's cache, as a file that is read next. A format whose
                files a library writes leaves them there.

        Returns:
            What the manifest keeps.

        Raises:
            SchemaMismatch: a batch differs from `schema`, or the format cannot hold a type; names the column.
            QuotaExceeded: the disk is full.
        """
        ...

    def open(self, source: Residency, schema: pa.Schema) -> ColumnGroupReader:
        """Open a file for reading.

        Args:
            source: the file.
            schema: the columns to read with the types they were written with; formats may drop such details.

        Raises:
            Corrupt: the bytes are no file of this format.
            SchemaMismatch: the file lacks a column of `schema`, or holds it with another type.
        """
        ...
