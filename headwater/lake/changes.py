"""What a commit does, as values; how each is applied to a version stands in `applying.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headwater.lake.manifest import (
    ColumnGroup,
    ExternalSource,
    FieldStats,
    FileRef,
    IndexBuild,
    IndexSpec,
    Manifest,
    Segment,
    SnapshotEntry,
)
from headwater.lake.shards import Shard
from headwater.schema import Field, Schema

__all__ = [
    "AddBuilds",
    "AddColumns",
    "AddIndex",
    "AddShards",
    "AlterSchema",
    "AppendSegments",
    "Change",
    "DeleteRows",
    "DeletedRows",
    "DescribeIndex",
    "DropBuilds",
    "DropIndex",
    "DropTag",
    "ExpectProperty",
    "ExpectRows",
    "FillColumn",
    "ReplaceSegments",
    "Restore",
    "Seal",
    "SetPartition",
    "SetProperties",
    "SetSnapshot",
    "SetSource",
    "SetTag",
    "Truncate",
]


@dataclass(frozen=True)
class AppendSegments:
    """New rows. Segments without row ids get them when the change is applied."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class ReplaceSegments:
    """Segments `removed` give way to `added`; compaction and refresh. Added segments may bring row ids of old rows.

    Attributes:
        removed: ids.
        added: what takes their place.
        deletes: by removed id, the delete vector that the new segments were made with; conflicts with a newer one.
        columns: by removed id, the column groups that they were made with; conflicts with a column that came since.
        builds: artifacts over the added segments.
        specs: the indexes that these are artifacts of; those of one dropped or redefined meanwhile are left out.
    """

    removed: tuple[str, ...]
    added: tuple[Segment, ...]
    deletes: Mapping[str, FileRef | None] = field(default_factory=dict)
    columns: Mapping[str, tuple[ColumnGroup, ...]] = field(default_factory=dict)
    builds: tuple[IndexBuild, ...] = ()
    specs: tuple[IndexSpec, ...] = ()


@dataclass(frozen=True)
class DeletedRows:
    """A new delete vector of a segment, which holds all that the one before holds.

    Attributes:
        file: the new one.
        num_deleted: rows that it marks.
        replaces: the one it was made from; None for none.
    """

    file: FileRef
    num_deleted: int
    replaces: FileRef | None


@dataclass(frozen=True)
class Seal:
    """Rows and deletes of the log become segments and delete vectors, and the log is truncated.

    Attributes:
        segments: the rows, with their row ids.
        deletes: by segment id.
        sealed_from: by shard number, the last entry that was in segments before.
        shards: the shards as they are after.
        finished: numbers of shards that were split and are in segments to their end.
    """

    segments: tuple[Segment, ...]
    deletes: Mapping[str, DeletedRows]
    sealed_from: Mapping[int, int]
    shards: tuple[Shard, ...]
    finished: tuple[int, ...] = ()


@dataclass(frozen=True)
class AddShards:
    """A shard's log is closed, and these take over its keys."""

    parent: int
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class DeleteRows:
    """Delete vectors made outside the log: rows that are past their time, or that a compaction found gone."""

    deletes: Mapping[str, DeletedRows]


@dataclass(frozen=True)
class Truncate:
    """Every row of the version goes, or of some partitions; what is in the log stays.

    Attributes:
        partitions: ids; None for all.
    """

    partitions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SetPartition:
    """Name a partition (`id` None drops it; its rows must be truncated first)."""

    name: str
    id: int | None


@dataclass(frozen=True)
class AddColumns:
    """New fields, with a column group and statistics for each segment they have values for."""

    fields: tuple[Field, ...]
    groups: Mapping[str, ColumnGroup]
    stats: Mapping[str, Mapping[int, FieldStats]]


@dataclass(frozen=True)
class FillColumn:
    """Values of a field for segments that have none.

    Attributes:
        field: whose values.
        groups: by segment id.
        stats: by segment id.
    """

    field: Field
    groups: Mapping[str, ColumnGroup]
    stats: Mapping[str, FieldStats]


@dataclass(frozen=True)
class AddIndex:
    """Declare an index."""

    spec: IndexSpec


@dataclass(frozen=True)
class DropIndex:
    """Forget an index and its artifacts."""

    name: str


@dataclass(frozen=True)
class DescribeIndex:
    """Replace what was declared of an index, which stays as it is."""

    name: str
    declared: Mapping[str, str]


@dataclass(frozen=True)
class DropBuilds:
    """Forget the artifacts of an index, which stays declared, so that they are built anew."""

    index: str


@dataclass(frozen=True)
class AddBuilds:
    """Artifacts of a declared index."""

    spec: IndexSpec
    builds: tuple[IndexBuild, ...]


@dataclass(frozen=True)
class AlterSchema:
    """Replace the schema `base` by `schema`: a drop or a rename."""

    base: Schema
    schema: Schema


@dataclass(frozen=True)
class SetProperties:
    """Set free-text properties; None removes one."""

    properties: Mapping[str, str | None]


@dataclass(frozen=True)
class ExpectProperty:
    """What a property must still be for the other changes of a commit to make sense; None for not set."""

    name: str
    value: str | None


@dataclass(frozen=True)
class ExpectRows:
    """What the rows must still be for the other changes of a commit to make sense: what a refresh has looked at.

    Attributes:
        source: that they come from.
        columns: by segment id, all segments there are.
    """

    source: ExternalSource | None
    columns: Mapping[str, tuple[ColumnGroup, ...]]


@dataclass(frozen=True)
class SetTag:
    """Name a version."""

    name: str
    version: int


@dataclass(frozen=True)
class DropTag:
    """Forget a tag."""

    name: str


@dataclass(frozen=True)
class SetSource:
    """Let the rows of an external collection come from elsewhere from now on."""

    source: ExternalSource


@dataclass(frozen=True)
class SetSnapshot:
    """Name a version with all that is said of it, alter that, or (`after` None) forget the name.

    Attributes:
        name: of the snapshot.
        before: what was known of it; conflicts with anything else.
        after: what is known of it from now on.
    """

    name: str
    before: SnapshotEntry | None
    after: SnapshotEntry | None


@dataclass(frozen=True)
class Restore:
    """Make an older version's rows, schema and indexes the present; tags and counters stay."""

    manifest: Manifest


Change = (
    AppendSegments
    | ReplaceSegments
    | AddColumns
    | FillColumn
    | AddIndex
    | DropIndex
    | AddBuilds
    | DescribeIndex
    | DropBuilds
    | AlterSchema
    | SetProperties
    | ExpectProperty
    | ExpectRows
    | SetTag
    | DropTag
    | Restore
    | SetSnapshot
    | SetSource
    | Seal
    | AddShards
    | DeleteRows
    | Truncate
    | SetPartition
)
