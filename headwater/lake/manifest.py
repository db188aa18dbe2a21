"""The state of a collection at one version, as values, and how they are stored.

Everything here is frozen and free of I/O. A manifest names every file that its version is made of; a file that no kept
manifest names is garbage. Stored as canonical JSON under zstd, with its own checksum from the zstd frame.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import zstandard

from headwater.errors import Corrupt
from headwater.schema import Schema

__all__ = [
    "ColumnGroup",
    "ExternalSource",
    "FieldStats",
    "FileRef",
    "Fragment",
    "IndexBuild",
    "IndexSpec",
    "Manifest",
    "Segment",
    "decode_manifest",
    "encode_manifest",
]

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FileRef:
    """An immutable file of the lake: its key, size and checksum."""

    key: str
    size_bytes: int
    checksum: str


@dataclass(frozen=True)
class Fragment:
    """A row range of a file that others own.

    Attributes:
        path: the file's key in the source's store.
        size_bytes: its size when it was looked at.
        etag: its etag then, where the store has one.
        modified_ms: its time then.
        num_rows: rows in the range.
        row_groups: the Parquet row groups that hold them.
    """

    path: str
    size_bytes: int
    etag: str | None
    modified_ms: int
    num_rows: int
    row_groups: tuple[int, ...]


@dataclass(frozen=True)
class ColumnGroup:
    """Columns of a segment: one file of ours, or fragments of files that others own.

    Attributes:
        format: the format that wrote the bytes.
        field_ids: the fields it holds.
        file: our file; None for fragments.
        fragments: external rows, in the segment's row order.
    """

    format: str
    field_ids: tuple[int, ...]
    file: FileRef | None
    fragments: tuple[Fragment, ...] = ()


@dataclass(frozen=True)
class FieldStats:
    """Least and greatest value (None where unknown) and number of nulls of a field in a segment."""

    min: Any
    max: Any
    null_count: int


@dataclass(frozen=True)
class Segment:
    """A sealed, immutable set of rows.

    Attributes:
        id: unique and never used again.
        num_rows: rows, deleted ones included.
        row_ids: stable row ids as runs of (first, count), in row order.
        column_groups: where the columns are.
        stats: by field id; absent where unknown.
        key_bloom: bloom filter on the primary key, base64; None without one.
        delete_vector: rows that are gone; None where there are none.
        num_deleted: how many.
    """

    id: str
    num_rows: int
    row_ids: tuple[tuple[int, int], ...]
    column_groups: tuple[ColumnGroup, ...]
    stats: Mapping[int, FieldStats] = field(default_factory=dict, hash=False)
    key_bloom: str | None = None
    delete_vector: FileRef | None = None
    num_deleted: int = 0


@dataclass(frozen=True)
class IndexSpec:
    """An index that a collection has: what, on which field, with which metric and options."""

    name: str
    field_id: int
    kind: str
    metric: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class IndexBuild:
    """One artifact of an index, over one segment."""

    index: str
    segment: str
    file: FileRef
    num_rows: int


@dataclass(frozen=True)
class ExternalSource:
    """Where an external collection's files are: folders, globs or files. Holds no credentials."""

    urls: tuple[str, ...]
    format: str = "parquet"


@dataclass(frozen=True)
class Manifest:
    """One version of a collection.

    Attributes:
        version: its number, from 1.
        commit_id: made once per logical commit, to recognise our own write after a lost answer.
        created_ms: when it was committed, milliseconds since 1970.
        schema: the fields.
        segments: in row order.
        indexes: the declared indexes.
        builds: their artifacts.
        properties: free text.
        source: of an external collection; None for a managed one.
        next_row_id: never goes back.
        tags: names of versions.
        operation: what this commit did, for people.
        last_field_id: never goes back, even by a restore.
    """

    version: int
    commit_id: str
    created_ms: int
    schema: Schema
    segments: tuple[Segment, ...] = ()
    indexes: tuple[IndexSpec, ...] = ()
    builds: tuple[IndexBuild, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    source: ExternalSource | None = None
    next_row_id: int = 0
    tags: Mapping[str, int] = field(default_factory=dict)
    operation: str = ""

    def files(self) -> set[str]:
        """Keys of every file of the lake that this version is made of."""
        keys = {build.file.key for build in self.builds}
        for segment in self.segments:
            keys.update(group.file.key for group in segment.column_groups if group.file is not None)
            if segment.delete_vector is not None:
                keys.add(segment.delete_vector.key)
        return keys


def encode_manifest(manifest: Manifest) -> bytes:
    """A manifest's stored bytes."""
    document = {"format": FORMAT_VERSION, **_plain(manifest), "schema": manifest.schema.to_json()}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return zstandard.ZstdCompressor(write_checksum=True).compress(text.encode())


def _plain(value: Any) -> Any:
    """Frozen values as JSON values; absent and empty members are left out."""
    if isinstance(value, Schema):
        return None
    if dataclasses.is_dataclass(value):
        members = {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
        return {name: member for name, member in members.items() if member not in (None, [], {})}
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    return value


def decode_manifest(data: bytes, key: str) -> Manifest:
    """The inverse of `encode_manifest`.

    Raises:
        Corrupt: the bytes are torn or not a manifest, or of a later format; names the file.
    """
    try:
        document = json.loads(zstandard.ZstdDecompressor().decompress(data))
        if document["format"] > FORMAT_VERSION:
            raise Corrupt(
                f"{key!r} has manifest format {document['format']}, this release reads up to {FORMAT_VERSION}",
                hint="upgrade headwater",
                key=key,
            )
        return _manifest(document)
    except (zstandard.ZstdError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, Corrupt):
            raise
        raise Corrupt(f"{key!r} is not a readable manifest: {error}", key=key) from error


def _manifest(data: Mapping[str, Any]) -> Manifest:
    source = data.get("source")
    return Manifest(
        version=data["version"],
        commit_id=data["commit_id"],
        created_ms=data["created_ms"],
        schema=Schema.from_json(data["schema"]),
        segments=tuple(_segment(one) for one in data.get("segments", ())),
        indexes=tuple(_index_spec(one) for one in data.get("indexes", ())),
        builds=tuple(
            IndexBuild(one["index"], one["segment"], FileRef(**one["file"]), one["num_rows"])
            for one in data.get("builds", ())
        ),
        properties=data.get("properties", {}),
        source=None if source is None else ExternalSource(tuple(source["urls"]), source["format"]),
        next_row_id=data.get("next_row_id", 0),
        tags=data.get("tags", {}),
        operation=data.get("operation", ""),
    )


def _segment(data: Mapping[str, Any]) -> Segment:
    vector = data.get("delete_vector")
    return Segment(
        id=data["id"],
        num_rows=data["num_rows"],
        row_ids=tuple((first, count) for first, count in data.get("row_ids", ())),
        column_groups=tuple(_column_group(one) for one in data.get("column_groups", ())),
        stats={
            int(number): FieldStats(one.get("min"), one.get("max"), one["null_count"])
            for number, one in data.get("stats", {}).items()
        },
        key_bloom=data.get("key_bloom"),
        delete_vector=None if vector is None else FileRef(**vector),
        num_deleted=data.get("num_deleted", 0),
    )


def _column_group(data: Mapping[str, Any]) -> ColumnGroup:
    file = data.get("file")
    return ColumnGroup(
        format=data["format"],
        field_ids=tuple(data.get("field_ids", ())),
        file=None if file is None else FileRef(**file),
        fragments=tuple(
            Fragment(
                path=one["path"],
                size_bytes=one["size_bytes"],
                etag=one.get("etag"),
                modified_ms=one["modified_ms"],
                num_rows=one["num_rows"],
                row_groups=tuple(one.get("row_groups", ())),
            )
            for one in data.get("fragments", ())
        ),
    )


def _index_spec(data: Mapping[str, Any]) -> IndexSpec:
    options = tuple((name, value) for name, value in data.get("options", ()))
    return IndexSpec(data["name"], data["field_id"], data["kind"], data["metric"], options)
