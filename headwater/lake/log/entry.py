"""A log entry: what one group commit did, in one immutable object.

Stored form: Arrow IPC streams one after another - first one without fields, whose metadata `headwater` is a JSON
header, then one for each record that has rows or keys - and at the end the CRC-32 of all before (little-endian) and
the four bytes ``HWLG``. Columns are named by field id, as in segments.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headwater.errors import Corrupt
from headwater.lake.manifest import Segment
from headwater.lake.manifest_json import segment_from_json, segment_json, shard_from_json, shard_json
from headwater.lake.shards import Shard

__all__ = [
    "LOGICAL_BITS",
    "AddSegments",
    "CloseShard",
    "DeleteKeys",
    "Entry",
    "InsertRows",
    "Record",
    "decode_entry",
    "encode_entry",
    "entry_key",
    "entry_name",
]

FORMAT_VERSION = 1

LOGICAL_BITS = 18
"""A hybrid timestamp is milliseconds since 1970 shifted by these bits, plus a counter; as Milvus's."""

_LARGE_BYTES = 1 << 20

_MAGIC = b"HWLG"
_HEADER = b"headwater"

_AS_IT_IS = pa.ipc.IpcWriteOptions()
"""Whatever the environment says of Arrow's older formats, which costs more to look up than an entry to write."""


@dataclass(frozen=True)
class InsertRows:
    """New rows.

    Attributes:
        rows: columns named by field id.
        first_row_id: stable row id of the first; the others follow.
        partition: the partition they are in.
    """

    rows: pa.Table
    first_row_id: int
    partition: int = 0


@dataclass(frozen=True)
class DeleteKeys:
    """Rows that go: those that hold one of these keys (or row ids, without a primary key) now.

    Attributes:
        keys: the keys.
        partition: only rows of this partition; None for all.
    """

    keys: pa.Array
    partition: int | None = None


@dataclass(frozen=True)
class AddSegments:
    """New rows, too many for the log: segments written already, with their row ids."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class CloseShard:
    """The last record of a log: the shard is split, and these shards take its keys."""

    into: tuple[Shard, ...]


Record = InsertRows | DeleteKeys | AddSegments | CloseShard


@dataclass(frozen=True)
class Entry:
    """One group commit.

    Attributes:
        sequence: its number in the shard's log, from 1, without gaps.
        epoch: of the writer; never goes back along the log.
        writer: who wrote it; an epoch has one writer.
        commit_id: made once, to know our own entry after a lost answer.
        timestamp: hybrid timestamp, strictly growing along the log.
        records: what it does, in order.
    """

    sequence: int
    epoch: int
    writer: str
    commit_id: str
    timestamp: int
    records: tuple[Record, ...]


def entry_key(root: str, log: str, sequence: int) -> str:
    """The key of a log entry."""
    return f"{root}/log/{log}/{entry_name(sequence)}"


def entry_name(sequence: int) -> str:
    """The last part of an entry's key."""
    return f"{sequence:020d}.arrow"


def encode_entry(entry: Entry) -> bytes | memoryview:
    """The entry's stored bytes; large ones are written once, into memory that is reserved for them."""
    header = {
        "format": FORMAT_VERSION,
        "sequence": entry.sequence,
        "epoch": entry.epoch,
        "writer": entry.writer,
        "commit_id": entry.commit_id,
        "timestamp": entry.timestamp,
        "records": [_record_json(record) for record in entry.records],
    }
    text = json.dumps(header)
    tables = [table for table in map(_table_of, entry.records) if table is not None]
    if sum(table.nbytes for table in tables) > _LARGE_BYTES:
        reserved = pa.allocate_buffer(_room_for(tables) + 2 * len(text))
        # The room is a bound for what Arrow writes today; should it not be one, the entry is written as others are.
        with suppress(pa.ArrowException, OSError):
            return _encoded_into(reserved, text, tables)
    out = pa.BufferOutputStream()
    _write_streams(out, text, tables)
    body = out.getvalue()
    return b"".join((memoryview(body), struct.pack("<I", zlib.crc32(body)), _MAGIC))


def _encoded_into(reserved: pa.Buffer, header: str, tables: Sequence[pa.Table]) -> memoryview:
    out = pa.FixedSizeBufferWriter(reserved)
    _write_streams(out, header, tables)
    whole = memoryview(reserved).cast("B")
    size = out.tell()
    out.write(struct.pack("<I", zlib.crc32(whole[:size])) + _MAGIC)
    return whole[: size + 8]


def _room_for(tables: Sequence[pa.Table]) -> int:
    """Bytes that are enough for the streams of some tables, and a header."""
    size_bytes = sum(table.nbytes for table in tables)
    parts = sum(1 + column.num_chunks for table in tables for column in table.columns)
    return int(size_bytes + 4096 * (1 + len(tables) + parts))


def _write_streams(out: pa.NativeFile, header: str, tables: Sequence[pa.Table]) -> None:
    with pa.ipc.new_stream(out, pa.schema([], metadata={_HEADER: header}), options=_AS_IT_IS):
        pass
    for table in tables:
        with pa.ipc.new_stream(out, table.schema, options=_AS_IT_IS) as stream:
            stream.write_table(table)


def _table_of(record: Record) -> pa.Table | None:
    if isinstance(record, InsertRows):
        return record.rows
    if isinstance(record, DeleteKeys):
        return pa.table({"key": record.keys})
    return None


def _record_json(record: Record) -> dict[str, Any]:
    if isinstance(record, InsertRows):
        return {"kind": "insert", "first_row_id": record.first_row_id, "partition": record.partition}
    if isinstance(record, DeleteKeys):
        return {"kind": "delete", "partition": record.partition}
    if isinstance(record, AddSegments):
        return {"kind": "segments", "segments": [segment_json(one) for one in record.segments]}
    return {"kind": "close", "into": [shard_json(one) for one in record.into]}


def decode_entry(data: bytes, key: str) -> Entry:
    """The inverse of `encode_entry`.

    Args:
        data: the object's bytes; the entry's columns are views of them.
        key: its name, for errors.

    Raises:
        Corrupt: the bytes are torn, altered, or of a later format; names the file.
    """
    if len(data) < 8 or data[-4:] != _MAGIC:
        raise Corrupt(f"{key!r} is not a whole log entry: it does not end in {_MAGIC!r}", key=key)
    expected = struct.unpack("<I", data[-8:-4])[0]
    found = zlib.crc32(memoryview(data)[:-8])
    if found != expected:
        raise Corrupt(f"{key!r}: checksum {found:08x}, expected {expected:08x}", key=key)
    source = pa.BufferReader(data)
    try:
        metadata = _next_stream(source).schema.metadata
        header = json.loads(metadata[_HEADER])
        if header["format"] > FORMAT_VERSION:
            raise Corrupt(
                f"{key!r} has log format {header['format']}, this release reads up to {FORMAT_VERSION}",
                hint="upgrade headwater",
                key=key,
            )
        records = tuple(_record(one, source) for one in header["records"])
        return Entry(
            sequence=header["sequence"],
            epoch=header["epoch"],
            writer=header["writer"],
            commit_id=header["commit_id"],
            timestamp=header["timestamp"],
            records=records,
        )
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"{key!r} is not a readable log entry: {error}", key=key) from error


def _next_stream(source: pa.BufferReader) -> pa.Table:
    return pa.ipc.open_stream(source).read_all()


def _record(header: Mapping[str, Any], source: pa.BufferReader) -> Record:
    kind = header["kind"]
    if kind == "insert":
        return InsertRows(_next_stream(source), header["first_row_id"], header["partition"])
    if kind == "delete":
        keys = _next_stream(source).column("key").combine_chunks()
        return DeleteKeys(keys, header["partition"])
    if kind == "segments":
        return AddSegments(tuple(segment_from_json(one) for one in header["segments"]))
    if kind == "close":
        return CloseShard(tuple(shard_from_json(one) for one in header["into"]))
    raise ValueError(f"unknown record kind {kind!r}")
