"""Where the bytes of an Arrow IPC file lie, learnt from its metadata alone.

Reads the head (schema), the tail (footer) and each record batch's metadata, and gives the absolute byte
range of every buffer, so that a row of fixed width is one range of the file. Arrow's own reader gives no
offsets and reads a batch whole. The FlatBuffers tables `Footer`, `Message` and `RecordBatch` are those of
the Arrow columnar format, version 5 (format/File.fbs, format/Message.fbs); every offset is checked against
the bytes at hand before it is followed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from headwater.errors import Corrupt
from headwater.tiers import Residency
from headwater.types import ByteRange

__all__ = ["BatchLayout", "FileLayout", "read_layout"]

_MAGIC = b"ARROW1"
_END_BYTES = 4 + len(_MAGIC)
_HEAD_BYTES = 8 << 10
_TAIL_BYTES = 64 << 10
_CONTINUATION = 0xFFFFFFFF
_RECORD_BATCH = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """One record batch.

    Attributes:
        row_start: its first row in the file.
        num_rows: its rows.
        nodes: (length, null count) of every column and child, depth first.
        buffers: absolute byte ranges, in the same order.
    """

    row_start: int
    num_rows: int
    nodes: tuple[tuple[int, int], ...]
    buffers: tuple[ByteRange, ...]


@dataclass(frozen=True, slots=True)
class FileLayout:
    """A whole file: its schema and its batches in row order."""

    schema: pa.Schema
    batches: tuple[BatchLayout, ...]


class _MalformedError(Exception):
    """A structure points outside its bytes, or is of another kind than expected."""


class _Table:
    """A FlatBuffers table in some bytes."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _number(data, "<i", at)
        self._size = _number(data, "<H", self._vtable)

    def _slot(self, index: int) -> int | None:
        place = 4 + 2 * index
        if place + 2 > self._size:
            return None
        offset = _number(self._data, "<H", self._vtable + place)
        return self._at + offset if offset else None

    def scalar(self, index: int, kind: str) -> int:
        """A number, 0 when left out."""
        at = self._slot(index)
        return 0 if at is None else _number(self._data, kind, at)

    def has(self, index: int) -> bool:
        """Whether the member is present."""
        return self._slot(index) is not None

    def table(self, index: int) -> _Table:
        """A nested table."""
        at = self._slot(index)
        if at is None:
            raise _MalformedError("a required part is absent")
        return _Table(self._data, at + _number(self._data, "<I", at))

    def structs(self, index: int, kind: str) -> Iterator[tuple[int, ...]]:
        """The items of a vector of structs."""
        at = self._slot(index)
        if at is None:
            return
        at += _number(self._data, "<I", at)
        count = _number(self._data, "<I", at)
        size = struct.calcsize(kind)
        if at + 4 + count * size > len(self._data):
            raise _MalformedError(f"a list of {count} items reaches past the metadata's end")
        yield from struct.iter_unpack(kind, self._data[at + 4 : at + 4 + count * size])


def _number(data: memoryview, kind: str, at: int) -> int:
    if not 0 <= at <= len(data) - struct.calcsize(kind):
        raise _MalformedError(f"offset {at} is outside {len(data)} bytes of metadata")
    return int(struct.unpack_from(kind, data, at)[0])


def _root(data: memoryview) -> _Table:
    return _Table(data, _number(data, "<I", 0))


def _message(data: memoryview) -> memoryview:
    """The FlatBuffers bytes of an encapsulated message that starts at the first byte."""
    if _number(data, "<I", 0) != _CONTINUATION:
        raise _MalformedError("a message has no continuation mark")
    size = _number(data, "<i", 4)
    if size <= 0 or 8 + size > len(data):
        raise _MalformedError(f"a message of {size} bytes of metadata in {len(data)}")
    return data[8 : 8 + size]


def _check_names(field: pa.Field) -> None:
    """Names are decoded when they are read, so read them all."""
    assert isinstance(field.name, str)
    for child in range(field.type.num_fields):
        _check_names(field.type.field(child))


def _schema(source: Residency, head: memoryview) -> pa.Schema:
    if bytes(head[: len(_MAGIC)]) != _MAGIC:
        raise _MalformedError(f"expected {_MAGIC!r} at the start, got {bytes(head[: len(_MAGIC)])!r}")
    needed = 16 + _number(head, "<i", 12)
    if needed > len(head):
        if needed > source.size_bytes:
            raise _MalformedError("the schema reaches past the file's end")
        head = source.read(ByteRange(0, needed))
    try:
        schema = pa.ipc.read_schema(pa.BufferReader(head[8:]))
        for field in schema:
            _check_names(field)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _MalformedError(f"its schema does not parse: {error}") from error
    return schema


def _footer(source: Residency, tail: memoryview) -> _Table:
    if bytes(tail[-len(_MAGIC) :]) != _MAGIC:
        raise _MalformedError(f"expected {_MAGIC!r} at the end, got {bytes(tail[-len(_MAGIC) :])!r}")
    size = _number(tail, "<i", len(tail) - _END_BYTES)
    if not 0 < size <= source.size_bytes - _END_BYTES:
        raise _MalformedError(f"a footer of {size} bytes in a file of {source.size_bytes}")
    if size + _END_BYTES > len(tail):
        tail = source.read(ByteRange(source.size_bytes - size - _END_BYTES, source.size_bytes))
    return _root(tail[len(tail) - size - _END_BYTES : len(tail) - _END_BYTES])


def _batch(metadata: memoryview, body: ByteRange, row_start: int) -> BatchLayout:
    message = _root(_message(metadata))
    if message.scalar(1, "<B") != _RECORD_BATCH:
        raise _MalformedError(f"expected a record batch, got a message of kind {message.scalar(1, '<B')}")
    header = message.table(2)
    if header.has(3):
        raise _MalformedError(
            "its record batches are compressed; vectors are read as byte ranges of plain ones"
        )
    num_rows = header.scalar(0, "<q")
    if num_rows < 0:
        raise _MalformedError(f"a record batch of {num_rows} rows")
    buffers = []
    for offset, size in header.structs(2, "<qq"):
        if offset < 0 or size < 0 or offset + size > body.size_bytes:
            raise _MalformedError(f"bytes [{offset}, {offset + size}) in a batch body of {body.size_bytes}")
        buffers.append(ByteRange(body.start + offset, body.start + offset + size))
    nodes = tuple((length, nulls) for length, nulls in header.structs(1, "<qq"))
    return BatchLayout(row_start, num_rows, nodes, tuple(buffers))


def _read(source: Residency) -> FileLayout:
    size = source.size_bytes
    if size < 2 * _END_BYTES:
        raise _MalformedError(f"{size} bytes are too few for a file")
    head, tail = source.read_ranges(
        [ByteRange(0, min(_HEAD_BYTES, size)), ByteRange(max(0, size - _TAIL_BYTES), size)]
    )
    schema = _schema(source, head)
    parts = []
    for offset, metadata_size, body_size in _footer(source, tail).structs(3, "<qi4xq"):
        if min(offset, metadata_size, body_size) < 0 or offset + metadata_size + body_size > size:
            raise _MalformedError(f"a record batch at {offset} reaches past the file's {size} bytes")
        start = offset + metadata_size
        parts.append((ByteRange(offset, start), ByteRange(start, start + body_size)))
    batches: list[BatchLayout] = []
    row_start = 0
    for metadata, (_, body) in zip(_metadata(source, head, [part[0] for part in parts]), parts, strict=True):
        batches.append(_batch(metadata, body, row_start))
        row_start += batches[-1].num_rows
    return FileLayout(schema, tuple(batches))


def _metadata(source: Residency, head: memoryview, spans: list[ByteRange]) -> list[memoryview]:
    """Bytes that are in the head already, where that is all of them: the first batch follows the schema."""
    if all(span.stop <= len(head) for span in spans):
        return [head[span.start : span.stop] for span in spans]
    return source.read_ranges(spans)


def read_layout(source: Residency) -> FileLayout:
    """The layout of an IPC file. One round of range reads, of metadata only; a second where there are several batches.

    Raises:
        Corrupt: the metadata makes no sense, or the batches are compressed.
    """
    try:
        return _read(source)
    except _MalformedError as error:
        raise Corrupt(
            f"{source.key!r} is no readable Arrow IPC file: {error}",
            hint="the file was cut short, damaged or written by another program; restore it",
            key=source.key,
        ) from error
