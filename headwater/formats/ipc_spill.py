"""One record batch out of many, without holding their rows: each buffer grows in a file, which is mapped at the end.

A reader of a column of vectors maps it as one matrix, so a file should be one batch however its rows come.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.formats.ipc_types import stride_of
from headwater.types import Bitmap

__all__ = ["Spill"]

_MOST_OFFSET = (1 << 31) - 1


class _Bytes:
    """A buffer that grows on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("wb")

    def add(self, data: npt.NDArray[Any] | pa.Buffer) -> None:
        self._file.write(memoryview(data))  # type: ignore[arg-type]

    def done(self) -> pa.Buffer:
        self._file.close()
        if not self._path.stat().st_size:
            return pa.py_buffer(b"")
        with pa.memory_map(str(self._path)) as mapped:
            return mapped.read_buffer()


class _Valid:
    """Which values are not null: a bit each, in memory, where any is null."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, Bitmap | None]] = []
        self.nulls = self.length = 0

    def add(self, array: pa.Array) -> None:
        self.length += len(array)
        self.nulls += array.null_count
        bits = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
        self._parts.append((len(array), bits))

    def done(self) -> pa.Buffer | None:
        if not self.nulls:
            return None
        whole = [np.ones(length, np.bool_) if bits is None else bits for length, bits in self._parts]
        return pa.py_buffer(np.packbits(np.concatenate(whole), bitorder="little"))


class _Numbers:
    """Values of one width."""

    def __init__(self, kind: pa.DataType, files: Iterator[Path]) -> None:
        self._kind = kind
        self._stride = stride_of(kind) or 0
        self._valid = _Valid()
        self._data = _Bytes(next(files))

    def room(self, array: pa.Array) -> bool:
        return True

    def add(self, array: pa.Array) -> None:
        self._valid.add(array)
        if len(array):
            data = array.buffers()[1]
            self._data.add(data.slice(array.offset * self._stride, len(array) * self._stride))

    def done(self) -> pa.Array:
        buffers = [self._valid.done(), self._data.done()]
        return pa.Array.from_buffers(self._kind, self._valid.length, buffers, self._valid.nulls)


class _Vectors:
    """Vectors: their numbers as a column of their own."""

    def __init__(self, kind: pa.DataType, files: Iterator[Path]) -> None:
        self._kind = kind
        self._valid = _Valid()
        self._values = _Numbers(kind.value_type, files)

    def room(self, array: pa.Array) -> bool:
        return True

    def add(self, array: pa.Array) -> None:
        self._valid.add(array)
        width = self._kind.list_size
        self._values.add(array.values.slice(array.offset * width, len(array) * width))

    def done(self) -> pa.Array:
        mask, nulls = self._valid.done(), self._valid.nulls
        children = [self._values.done()]
        return pa.Array.from_buffers(self._kind, self._valid.length, [mask], nulls, children=children)


class _Texts:
    """Texts and bytes: where each ends, and what they are."""

    def __init__(self, kind: pa.DataType, files: Iterator[Path]) -> None:
        self._kind = kind
        wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
        self._number = np.dtype(np.int64 if wide else np.int32)
        self._valid = _Valid()
        self._offsets, self._data = _Bytes(next(files)), _Bytes(next(files))
        self._offsets.add(np.zeros(1, self._number))
        self._end = 0

    def _placed(self, array: pa.Array) -> npt.NDArray[Any]:
        whole = np.frombuffer(array.buffers()[1], self._number)
        return whole[array.offset : array.offset + len(array) + 1]

    def room(self, array: pa.Array) -> bool:
        if self._number.itemsize == 8 or not len(array):
            return True
        placed = self._placed(array)
        return self._end + int(placed[-1]) - int(placed[0]) <= _MOST_OFFSET

    def add(self, array: pa.Array) -> None:
        self._valid.add(array)
        if not len(array):
            return
        placed = self._placed(array)
        first, last = int(placed[0]), int(placed[-1])
        self._offsets.add((placed[1:].astype(np.int64) + (self._end - first)).astype(self._number))
        if last > first:
            self._data.add(array.buffers()[2].slice(first, last - first))
        self._end += last - first

    def done(self) -> pa.Array:
        buffers = [self._valid.done(), self._offsets.done(), self._data.done()]
        return pa.Array.from_buffers(self._kind, self._valid.length, buffers, self._valid.nulls)


class _Held:
    """Values of any other kind, in memory."""

    def __init__(self, kind: pa.DataType) -> None:
        self._parts: list[pa.Array] = [pa.array([], kind)]

    def room(self, array: pa.Array) -> bool:
        return True

    def add(self, array: pa.Array) -> None:
        self._parts.append(array)

    def done(self) -> pa.Array:
        return pa.concat_arrays(self._parts)


class _Lists:
    """Lists: where each ends, and the values of all of them as a column of their own."""

    def __init__(self, kind: pa.DataType, files: Iterator[Path]) -> None:
        self._kind = kind
        self._number = np.dtype(np.int64 if pa.types.is_large_list(kind) else np.int32)
        self._valid = _Valid()
        self._offsets = _Bytes(next(files))
        self._offsets.add(np.zeros(1, self._number))
        self._end = 0
        self._values = _column(kind.value_type, files)

    def _inner(self, array: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Array]:
        """(n + 1,) where lists end, and the values that they hold."""
        placed = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        return placed - placed[0], array.values.slice(int(placed[0]), int(placed[-1] - placed[0]))

    def room(self, array: pa.Array) -> bool:
        if not len(array):
            return True
        placed, values = self._inner(array)
        fits = self._number.itemsize == 8 or self._end + int(placed[-1]) <= _MOST_OFFSET
        return fits and self._values.room(values)

    def add(self, array: pa.Array) -> None:
        if not len(array):
            return
        self._valid.add(array)
        placed, values = self._inner(array)
        self._offsets.add((placed[1:] + self._end).astype(self._number))
        self._values.add(values)
        self._end += int(placed[-1])

    def done(self) -> pa.Array:
        buffers = [self._valid.done(), self._offsets.done()]
        children = [self._values.done()]
        return pa.Array.from_buffers(
            self._kind, self._valid.length, buffers, self._valid.nulls, children=children
        )


class _Structs:
    """Structs: a column for each of their fields."""

    def __init__(self, kind: pa.DataType, files: Iterator[Path]) -> None:
        self._kind = kind
        self._valid = _Valid()
        self._fields = [_column(kind.field(number).type, files) for number in range(kind.num_fields)]

    def room(self, array: pa.Array) -> bool:
        return all(one.room(array.field(number)) for number, one in enumerate(self._fields))

    def add(self, array: pa.Array) -> None:
        self._valid.add(array)
        for number, one in enumerate(self._fields):
            one.add(array.field(number))

    def done(self) -> pa.Array:
        children = [one.done() for one in self._fields]
        return pa.Array.from_buffers(
            self._kind, self._valid.length, [self._valid.done()], self._valid.nulls, children=children
        )


_Column = _Numbers | _Vectors | _Texts | _Held | _Lists | _Structs


def _column(kind: pa.DataType, files: Iterator[Path]) -> _Column:
    types = pa.types
    if (
        types.is_string(kind)
        or types.is_binary(kind)
        or types.is_large_string(kind)
        or types.is_large_binary(kind)
    ):
        return _Texts(kind, files)
    if types.is_list(kind) or types.is_large_list(kind):
        return _Lists(kind, files)
    if types.is_struct(kind):
        return _Structs(kind, files)
    if stride_of(kind) is None:
        return _Held(kind)
    return _Vectors(kind, files) if types.is_fixed_size_list(kind) else _Numbers(kind, files)


class Spill:
    """Batches on disk, to be written as one.

    Args:
        schema: of the batches, whose null vectors hold no null numbers (`plain_vectors`).
        folder: where their buffers grow; its owner removes it.
    """

    def __init__(self, schema: pa.Schema, folder: Path) -> None:
        self._schema = schema
        files = (folder / f"buffer-{number}" for number in count())
        self._columns = [_column(field.type, files) for field in schema]
        self.num_rows = 0

    def room(self, batch: pa.RecordBatch) -> bool:
        """Whether a batch fits too: offsets of 32 bits reach over 2 GiB of texts."""
        pairs = zip(self._columns, batch.columns, strict=True)
        return all(column.room(array) for column, array in pairs)

    def add(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.add(array)
        self.num_rows += batch.num_rows

    def done(self) -> pa.RecordBatch:
        """All rows, over the mapped files; nothing can be added then."""
        return pa.RecordBatch.from_arrays([one.done() for one in self._columns], schema=self._schema)
