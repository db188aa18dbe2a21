"""What a commit does, as values, and how each is applied to a version.

`apply` is pure. It is run against the version that a writer saw, and again against a newer one when another writer won
the race; a change that no longer makes sense there raises `CommitConflict`. That is the whole of the rebase rules:

- append: always applies; row ids are given when it does, so two appends never share one;
- add columns: applies to the segments that still exist, and conflicts where rows it has no values for arrived;
- replace segments: conflicts with another change that removed one of the same segments;
- builds: those of segments that are gone are left out; conflicts when the index was dropped or redefined;
- alter schema: conflicts with another alteration; adding different fields does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import singledispatch

from headwater.errors import CommitConflict, SchemaConflict, TagNotFound
from headwater.lake.manifest import ColumnGroup, FieldStats, IndexBuild, IndexSpec, Manifest, Segment
from headwater.schema import Field, Schema

__all__ = [
    "AddBuilds",
    "AddColumns",
    "AddIndex",
    "AlterSchema",
    "AppendSegments",
    "Change",
    "DropIndex",
    "DropTag",
    "ReplaceSegments",
    "Restore",
    "SetProperties",
    "SetTag",
    "apply",
]


@dataclass(frozen=True)
class AppendSegments:
    """New rows. Segments without row ids get them when the change is applied."""

    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class ReplaceSegments:
    """Segments `removed` give way to `added`; compaction and refresh. Added segments may bring row ids of old rows."""

    removed: tuple[str, ...]
    added: tuple[Segment, ...]


@dataclass(frozen=True)
class AddColumns:
    """New fields, with a column group and statistics for each segment they have values for."""

    fields: tuple[Field, ...]
    groups: Mapping[str, ColumnGroup]
    stats: Mapping[str, Mapping[int, FieldStats]]


@dataclass(frozen=True)
class AddIndex:
    """Declare an index."""

    spec: IndexSpec


@dataclass(frozen=True)
class DropIndex:
    """Forget an index and its artifacts."""

    name: str


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
class SetTag:
    """Name a version."""

    name: str
    version: int


@dataclass(frozen=True)
class DropTag:
    """Forget a tag."""

    name: str


@dataclass(frozen=True)
class Restore:
    """Make an older version's rows, schema and indexes the present; tags and counters stay."""

    manifest: Manifest


Change = (
    AppendSegments
    | ReplaceSegments
    | AddColumns
    | AddIndex
    | DropIndex
    | AddBuilds
    | AlterSchema
    | SetProperties
    | SetTag
    | DropTag
    | Restore
)


def _conflict(change: object, manifest: Manifest, why: str) -> CommitConflict:
    return CommitConflict(
        f"{type(change).__name__} does not apply to version {manifest.version}: {why}",
        hint="read the newest version and try again",
        change=type(change).__name__,
        with_version=manifest.version,
    )


@singledispatch
def apply(change: object, manifest: Manifest) -> Manifest:
    """The version that a change makes of another; version number and commit id are the committer's to set.

    Raises:
        CommitConflict: the change does not apply to this version.
    """
    raise TypeError(f"{type(change).__name__} is not a change")


def _numbered(segments: tuple[Segment, ...], next_row_id: int) -> tuple[tuple[Segment, ...], int]:
    """Give row ids to the segments that have none."""
    numbered = []
    for segment in segments:
        if segment.row_ids or segment.num_rows == 0:
            numbered.append(_with_fresh_runs(segment, next_row_id))
            next_row_id += sum(count for first, count in segment.row_ids if first < 0)
        else:
            numbered.append(replace(segment, row_ids=((next_row_id, segment.num_rows),)))
            next_row_id += segment.num_rows
    return tuple(numbered), next_row_id


def _with_fresh_runs(segment: Segment, next_row_id: int) -> Segment:
    """Replace runs that start at -1 (new rows among old ones) by fresh ids."""
    runs = []
    for first, count in segment.row_ids:
        if first < 0:
            runs.append((next_row_id, count))
            next_row_id += count
        else:
            runs.append((first, count))
    return replace(segment, row_ids=tuple(runs))


@apply.register
def _(change: AppendSegments, manifest: Manifest) -> Manifest:
    segments, next_row_id = _numbered(change.segments, manifest.next_row_id)
    return replace(manifest, segments=manifest.segments + segments, next_row_id=next_row_id)


@apply.register
def _(change: ReplaceSegments, manifest: Manifest) -> Manifest:
    present = {segment.id for segment in manifest.segments}
    gone = [segment for segment in change.removed if segment not in present]
    if gone:
        raise _conflict(change, manifest, f"segment {gone[0]} is gone")
    removed = set(change.removed)
    added, next_row_id = _numbered(change.added, manifest.next_row_id)
    return replace(
        manifest,
        segments=tuple(s for s in manifest.segments if s.id not in removed) + added,
        builds=tuple(build for build in manifest.builds if build.segment not in removed),
        next_row_id=next_row_id,
    )


@apply.register
def _(change: AddColumns, manifest: Manifest) -> Manifest:
    schema = manifest.schema
    for field in change.fields:
        if field.name in schema.names:
            raise SchemaConflict(f"field {field.name!r} was added meanwhile, in version {manifest.version}")
        if field.id <= schema.last_field_id:
            raise _conflict(change, manifest, f"field id {field.id} was given to another field meanwhile")
        schema = replace(
            schema, fields=(*schema.fields, field), last_field_id=field.id, version=schema.version + 1
        )
    missing = [segment.id for segment in manifest.segments if segment.id not in change.groups]
    if missing and not all(field.nullable or field.default is not None for field in change.fields):
        raise _conflict(change, manifest, f"segment {missing[0]} arrived and has no values for it")
    segments = tuple(
        replace(
            segment,
            column_groups=(*segment.column_groups, change.groups[segment.id]),
            stats={**segment.stats, **change.stats.get(segment.id, {})},
        )
        if segment.id in change.groups
        else segment
        for segment in manifest.segments
    )
    return replace(manifest, schema=schema, segments=segments)


@apply.register
def _(change: AddIndex, manifest: Manifest) -> Manifest:
    if any(spec.field_id == change.spec.field_id for spec in manifest.indexes):
        raise _conflict(change, manifest, f"field {change.spec.field_id} has an index already")
    manifest.schema.field_by_id(change.spec.field_id)
    return replace(manifest, indexes=(*manifest.indexes, change.spec))


@apply.register
def _(change: DropIndex, manifest: Manifest) -> Manifest:
    if all(spec.name != change.name for spec in manifest.indexes):
        raise _conflict(change, manifest, f"index {change.name!r} is gone")
    return replace(
        manifest,
        indexes=tuple(spec for spec in manifest.indexes if spec.name != change.name),
        builds=tuple(build for build in manifest.builds if build.index != change.name),
    )


@apply.register
def _(change: AddBuilds, manifest: Manifest) -> Manifest:
    if change.spec not in manifest.indexes:
        raise _conflict(change, manifest, f"index {change.spec.name!r} was dropped or redefined")
    present = {segment.id for segment in manifest.segments}
    covered = {(build.index, build.segment) for build in manifest.builds}
    fresh = tuple(b for b in change.builds if b.segment in present and (b.index, b.segment) not in covered)
    return replace(manifest, builds=manifest.builds + fresh)


@apply.register
def _(change: AlterSchema, manifest: Manifest) -> Manifest:
    if manifest.schema != change.base:
        raise SchemaConflict(
            f"the schema was altered meanwhile, in version {manifest.version}",
            hint="read the newest schema and try again",
        )
    return replace(manifest, schema=change.schema)


@apply.register
def _(change: SetProperties, manifest: Manifest) -> Manifest:
    merged = {**manifest.properties, **change.properties}
    return replace(manifest, properties={name: value for name, value in merged.items() if value is not None})


@apply.register
def _(change: SetTag, manifest: Manifest) -> Manifest:
    return replace(manifest, tags={**manifest.tags, change.name: change.version})


@apply.register
def _(change: DropTag, manifest: Manifest) -> Manifest:
    if change.name not in manifest.tags:
        raise TagNotFound(f"no tag {change.name!r}", hint=f"tags: {', '.join(manifest.tags) or 'none'}")
    return replace(manifest, tags={name: v for name, v in manifest.tags.items() if name != change.name})


@apply.register
def _(change: Restore, manifest: Manifest) -> Manifest:
    old = change.manifest
    schema = replace(
        old.schema,
        last_field_id=max(old.schema.last_field_id, manifest.schema.last_field_id),
        version=manifest.schema.version + 1,
    )
    return replace(
        manifest,
        schema=schema,
        segments=old.segments,
        indexes=old.indexes,
        builds=old.builds,
        properties=old.properties,
        source=old.source,
        next_row_id=max(old.next_row_id, manifest.next_row_id),
    )
