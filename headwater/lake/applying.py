"""How the changes of a commit are applied to a version, and what becomes of them when another commit came first.

`apply` is pure. It is run against the version that a writer saw, and again against a newer one when another writer won
the race; a change that no longer makes sense there raises `CommitConflict`. That is the whole of the rebase rules:

- append: always applies; row ids are given when it does, so two appends never share one;
- add columns: applies to the segments that still exist, and conflicts where rows it has no values for arrived;
- fill column: applies to the segments that still exist and have no values; conflicts when the field was dropped;
- replace segments: conflicts with another change that removed one of the same segments;
- builds: those of segments that are gone are left out; conflicts when the index was dropped or redefined;
- seal: conflicts when the log was sealed further meanwhile, or a segment that it deletes rows of was rewritten;
- describe index: applies to the index of that name;
- expect property: conflicts when the property was set to something else meanwhile;
- add shards: applies once;
- alter schema: conflicts with another alteration; adding different fields does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch

from headwater.errors import CommitConflict, SchemaConflict, TagNotFound
from headwater.lake.changes import (
    AddBuilds,
    AddColumns,
    AddIndex,
    AddShards,
    AlterSchema,
    AppendSegments,
    DeletedRows,
    DeleteRows,
    DescribeIndex,
    DropBuilds,
    DropIndex,
    DropTag,
    ExpectProperty,
    ExpectRows,
    FillColumn,
    ReplaceSegments,
    Restore,
    Seal,
    SetPartition,
    SetProperties,
    SetSnapshot,
    SetSource,
    SetTag,
    Truncate,
)
from headwater.lake.manifest import (
    Manifest,
    Segment,
)
from headwater.lake.shards import descends

__all__ = ["apply"]


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
    for segment in manifest.segments:
        if segment.id in change.deletes and change.deletes[segment.id] != segment.delete_vector:
            raise _conflict(change, manifest, f"rows of segment {segment.id} were deleted meanwhile")
        if change.columns.get(segment.id, segment.column_groups) != segment.column_groups:
            raise _conflict(change, manifest, f"segment {segment.id} has got another column meanwhile")
    removed = set(change.removed)
    added, next_row_id = _numbered(change.added, manifest.next_row_id)
    same = {spec.name for spec in change.specs if spec in manifest.indexes}
    kept = tuple(build for build in manifest.builds if build.segment not in removed)
    return replace(
        manifest,
        segments=tuple(s for s in manifest.segments if s.id not in removed) + added,
        builds=kept + tuple(build for build in change.builds if build.index in same),
        next_row_id=next_row_id,
    )


def _with_deletes(
    change: object, manifest: Manifest, deletes: Mapping[str, DeletedRows]
) -> tuple[tuple[Segment, ...], set[str]]:
    """The segments with new delete vectors, and the ids of those that have no row left."""
    left, empty = [], set()
    for segment in manifest.segments:
        rows = deletes.get(segment.id)
        if rows is None:
            left.append(segment)
        elif segment.delete_vector != rows.replaces:
            raise _conflict(change, manifest, f"rows of segment {segment.id} were deleted meanwhile")
        elif rows.num_deleted == segment.num_rows:
            empty.add(segment.id)
        else:
            left.append(replace(segment, delete_vector=rows.file, num_deleted=rows.num_deleted))
    gone = set(deletes) - {segment.id for segment in manifest.segments}
    if gone:
        raise _conflict(change, manifest, f"segment {min(gone)} is gone")
    return tuple(left), empty


@apply.register
def _(change: Seal, manifest: Manifest) -> Manifest:
    known = {shard.number: shard for shard in manifest.all_shards}
    for number, sealed in change.sealed_from.items():
        if number not in known or known[number].sealed != sealed:
            raise _conflict(change, manifest, f"the log of shard {number} was sealed meanwhile")
    segments, empty = _with_deletes(change, manifest, change.deletes)
    merged = {**known, **{shard.number: shard for shard in change.shards}}
    shards = tuple(merged[number] for number in sorted(merged) if number not in change.finished)
    # Row ids of shard 0 and those that commits give share one count.
    first = max([manifest.next_row_id, *(shard.next_row_id for shard in shards if shard.number == 0)])
    return replace(
        manifest,
        segments=(*segments, *_of_partitions(manifest, change.segments)),
        builds=tuple(build for build in manifest.builds if build.segment not in empty),
        shards=shards,
        next_row_id=first,
    )


def _of_partitions(manifest: Manifest, segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """Segments without those of a partition that is gone: rows that were on their way to it went with it."""
    if manifest.schema.partition_key is not None:
        return segments
    named = {0, *manifest.partitions.values()}
    return tuple(segment for segment in segments if segment.partition in named)


@apply.register
def _(change: AddShards, manifest: Manifest) -> Manifest:
    known = {shard.number for shard in manifest.all_shards}
    taken = any(n == heir.number or descends(n, heir.number) for n in known for heir in change.shards)
    if taken or change.parent not in known:
        # Another process that found the log closed was first; perhaps long ago.
        return manifest
    shards = tuple(sorted((*manifest.all_shards, *change.shards), key=lambda shard: shard.number))
    return replace(manifest, shards=shards)


@apply.register
def _(change: DeleteRows, manifest: Manifest) -> Manifest:
    segments, empty = _with_deletes(change, manifest, change.deletes)
    builds = tuple(build for build in manifest.builds if build.segment not in empty)
    return replace(manifest, segments=segments, builds=builds)


@apply.register
def _(change: Truncate, manifest: Manifest) -> Manifest:
    chosen = change.partitions
    kept = tuple(s for s in manifest.segments if chosen is not None and s.partition not in chosen)
    ids = {segment.id for segment in kept}
    return replace(manifest, segments=kept, builds=tuple(b for b in manifest.builds if b.segment in ids))


@apply.register
def _(change: SetPartition, manifest: Manifest) -> Manifest:
    partitions = dict(manifest.partitions)
    if change.id is None:
        if partitions.pop(change.name, None) is None:
            raise _conflict(change, manifest, f"partition {change.name!r} is gone")
    elif change.name in partitions or change.id in partitions.values():
        raise _conflict(change, manifest, f"partition {change.name!r} was created meanwhile")
    else:
        partitions[change.name] = change.id
    return replace(manifest, partitions=partitions)


@apply.register
def _(change: FillColumn, manifest: Manifest) -> Manifest:
    number = change.field.id
    if all(field.id != number for field in manifest.schema.fields):
        raise _conflict(change, manifest, f"field {change.field.name!r} was dropped")

    def filled(segment: Segment) -> Segment:
        if segment.id not in change.groups or segment.has_field(number):
            return segment
        return replace(
            segment,
            column_groups=(*segment.column_groups, change.groups[segment.id]),
            stats={**segment.stats, **({number: told} if (told := change.stats.get(segment.id)) else {})},
        )

    # An index that was built while there were no values knows none of them.
    of_field = {spec.name for spec in manifest.indexes if spec.field_id == number}
    builds = tuple(
        build
        for build in manifest.builds
        if build.index not in of_field or build.segment not in change.groups
    )
    segments = tuple(filled(segment) for segment in manifest.segments)
    return replace(manifest, segments=segments, builds=builds)


@apply.register
def _(change: AddColumns, manifest: Manifest) -> Manifest:
    schema = manifest.schema
    for added in change.fields:
        if added.name in schema.names:
            raise SchemaConflict(f"field {added.name!r} was added meanwhile, in version {manifest.version}")
        if added.id <= schema.last_field_id:
            raise _conflict(change, manifest, f"field id {added.id} was given to another field meanwhile")
        schema = replace(
            schema, fields=(*schema.fields, added), last_field_id=added.id, version=schema.version + 1
        )
    present = {segment.id for segment in manifest.segments}
    gone = [name for name in change.groups if name not in present]
    if gone:
        # Its rows may be in other segments now, which would have no values.
        raise _conflict(change, manifest, f"segment {gone[0]} is gone")
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
    for spec in manifest.indexes:
        if spec.name == change.spec.name:
            raise _conflict(change, manifest, f"there is an index {spec.name!r} already")
        if spec.place == change.spec.place:
            raise _conflict(
                change, manifest, f"field {spec.field_id}{spec.path} has the index {spec.name!r} already"
            )
    if change.spec.field_id not in {field.id for field in manifest.schema.every_field}:
        raise _conflict(change, manifest, f"the field of index {change.spec.name!r} was dropped")
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
def _(change: DescribeIndex, manifest: Manifest) -> Manifest:
    if all(spec.name != change.name for spec in manifest.indexes):
        raise _conflict(change, manifest, f"index {change.name!r} is gone")
    return replace(
        manifest,
        indexes=tuple(
            replace(spec, declared=dict(change.declared)) if spec.name == change.name else spec
            for spec in manifest.indexes
        ),
    )


@apply.register
def _(change: DropBuilds, manifest: Manifest) -> Manifest:
    return replace(manifest, builds=tuple(b for b in manifest.builds if b.index != change.index))


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
def _(change: ExpectProperty, manifest: Manifest) -> Manifest:
    found = manifest.properties.get(change.name)
    if found != change.value:
        raise _conflict(change, manifest, f"property {change.name!r} was set meanwhile, to {found!r}")
    return manifest


@apply.register
def _(change: ExpectRows, manifest: Manifest) -> Manifest:
    if manifest.source != change.source:
        raise _conflict(change, manifest, "the rows were taken from another source meanwhile")
    if {segment.id: segment.column_groups for segment in manifest.segments} != change.columns:
        raise _conflict(change, manifest, "segments came or went, or got another column, meanwhile")
    return manifest


@apply.register
def _(change: SetTag, manifest: Manifest) -> Manifest:
    return replace(manifest, tags={**manifest.tags, change.name: change.version})


@apply.register
def _(change: DropTag, manifest: Manifest) -> Manifest:
    if change.name not in manifest.tags:
        raise TagNotFound(f"no tag {change.name!r}", hint=f"tags: {', '.join(manifest.tags) or 'none'}")
    return replace(manifest, tags={name: v for name, v in manifest.tags.items() if name != change.name})


@apply.register
def _(change: SetSource, manifest: Manifest) -> Manifest:
    if manifest.source is None:
        raise _conflict(change, manifest, "the collection is managed")
    return replace(manifest, source=change.source)


@apply.register
def _(change: SetSnapshot, manifest: Manifest) -> Manifest:
    if manifest.snapshots.get(change.name) != change.before:
        raise _conflict(change, manifest, f"snapshot {change.name!r} was changed meanwhile")
    kept = {name: one for name, one in manifest.snapshots.items() if name != change.name}
    return replace(manifest, snapshots=kept if change.after is None else {**kept, change.name: change.after})


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
        partitions=old.partitions,
        next_row_id=max(old.next_row_id, manifest.next_row_id),
    )
