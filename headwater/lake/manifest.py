"""The state of a collection at one version, as values.

Everything here is frozen and free of I/O. A manifest names every file that its version is made of; a file that no kept
manifest names is garbage. `manifest_json` says how one is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headwater.lake.shards import Shard, whole_shard
from headwater.schema import ROW_KEY_SOURCE, Field, Schema

__all__ = [
    "ColumnGroup",
    "ExternalSource",
    "FieldStats",
    "FileRef",
    "Fragment",
    "IndexBuild",
    "IndexSpec",
    "Manifest",
    "SCAN_KIND",
    "Segment",
    "SnapshotEntry",
]


@dataclass(frozen=True)
class FileRef:
    """An immutable file of the lake.

    Attributes:
        key: its key.
        size_bytes: its length.
        checksum: of all of it.
        opening_bytes: so many bytes at its end are all that opening it reads; 0 where that is not known.
    """

    key: str
    size_bytes: int
    checksum: str
    opening_bytes: int = 0


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
        row_ids: stable row ids as runs of (first, count), in row order; with `row_id_file`, runs that hold them all.
        column_groups: where the columns are.
        stats: by field id; absent where unknown.
        key_bloom: bloom filter on the primary key, base64; None without one.
        delete_vector: rows that are gone; None where there are none.
        num_deleted: how many.
        partition: id of the partition that its rows are in; 0 is the default one.
        row_id_file: stable row ids as one little-endian int64 for each row, where their runs would be many.
    """

    id: str
    num_rows: int
    row_ids: tuple[tuple[int, int], ...]
    column_groups: tuple[ColumnGroup, ...]
    stats: Mapping[int, FieldStats] = field(default_factory=dict, hash=False)
    key_bloom: str | None = None
    delete_vector: FileRef | None = None
    num_deleted: int = 0
    partition: int = 0
    row_id_file: FileRef | None = None

    @property
    def columns_key(self) -> str | int:
        """Names the bytes of its columns among all that a segment of this id ever has.

        Column groups are only ever added, each in a file of a name of its own; but a restored version may get others
        than those that it had before.
        """
        last = self.column_groups[-1].file if self.column_groups else None
        return len(self.column_groups) if last is None else last.key.rpartition("/")[2]

    def has_field(self, number: int) -> bool:
        """Whether it has a column of a field."""
        return any(number in group.field_ids for group in self.column_groups)

    def awaits(self, field: Field) -> bool:
        """Whether its rows are in files of others, and a refresh has not looked for this field's column there yet."""
        return (
            field.source not in (None, ROW_KEY_SOURCE)
            and not self.has_field(field.id)
            and any(group.file is None for group in self.column_groups)
        )

    def files(self) -> set[str]:
        """Keys of the files of the lake that it is made of."""
        keys = {group.file.key for group in self.column_groups if group.file is not None}
        return keys | {one.key for one in (self.delete_vector, self.row_id_file) if one is not None}


SCAN_KIND = "scan"
"""An index that is declared and has no files: what it is on is always scanned."""


@dataclass(frozen=True)
class IndexSpec:
    """An index that a collection has: what, on which field, with which metric and options.

    The metric of a scalar index is empty.

    Attributes:
        declared: what whoever made it asked for, in his own words; says nothing about what it is.
    """

    name: str
    field_id: int
    kind: str
    metric: str
    options: tuple[tuple[str, Any], ...] = ()
    declared: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def path(self) -> str:
        """The path in a JSON field that it is of; empty for the field itself."""
        return str(dict(self.options).get("json_path", ""))

    @property
    def place(self) -> tuple[int, str, bool]:
        """What it is an index of; there is one at most of each: a field or path, and the words of a text field."""
        return self.field_id, self.path, self.kind == "text"


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
class SnapshotEntry:
    """A version that was given a name and a description, and is kept until the name is dropped.

    Attributes:
        id: 63 bits, unique in the lake.
        version: which.
        description: free text.
        created_ms: when it was named.
        protected_until_ms: compaction leaves its segments alone until then; 0 for no protection.
        pins: (pin id, when it runs out in milliseconds since 1970, 0 for never); it cannot be dropped while one holds.
    """

    id: int
    version: int
    description: str = ""
    created_ms: int = 0
    protected_until_ms: int = 0
    pins: tuple[tuple[int, int], ...] = ()

    def held(self, now_ms: int) -> bool:
        """Whether a pin holds it."""
        return any(until == 0 or until > now_ms for _, until in self.pins)


@dataclass(frozen=True)
class Manifest:
    """One version of a collection.

    Attributes:
        version: its number, from 1.
        commit_id: made once per logical commit, to recognise our own write after a lost answer.
        created_ms: when it was committed, milliseconds since 1970.
        parent: commit id of the version before; empty for the first.
        schema: the fields.
        segments: in row order.
        indexes: the declared indexes.
        builds: their artifacts.
        properties: free text.
        source: of an external collection; None for a managed one.
        next_row_id: never goes back.
        tags: names of versions.
        operation: what this commit did, for people.
        shards: the write streams, and how far each log is in segments; none for an external collection.
        partitions: names of partitions to their ids; the default partition is not named here.
        snapshots: versions that were given a name, by name.
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
    shards: tuple[Shard, ...] = ()
    partitions: Mapping[str, int] = field(default_factory=dict)
    parent: str = ""
    snapshots: Mapping[str, SnapshotEntry] = field(default_factory=dict)

    @property
    def all_shards(self) -> tuple[Shard, ...]:
        """The write streams: none of an external collection, one of every key where a managed one names none."""
        if self.source is not None:
            return ()
        return self.shards or (whole_shard(next_row_id=self.next_row_id),)

    @property
    def size_bytes(self) -> int:
        """Bytes of the lake's files that this version is made of."""
        columns = sum(
            group.file.size_bytes
            for segment in self.segments
            for group in segment.column_groups
            if group.file is not None
        )
        return columns + sum(build.file.size_bytes for build in self.builds)

    def files(self) -> set[str]:
        """Keys of every file of the lake that this version is made of."""
        keys = {build.file.key for build in self.builds}
        for segment in self.segments:
            keys |= segment.files()
        return keys
