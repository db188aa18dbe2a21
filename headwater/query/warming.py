"""Bringing the files of a snapshot to their tiers before a read asks for them.

A piece of work is one file: the columns of a segment that are in it, or a build of an index. Bringing it to its tier
means that a search finds there what it would otherwise ask the store for: hot bytes are in memory, scalar fields
decoded; warm ones in a file of this machine, which the system is asked to read ahead, vectors mapped and touched; of
cold ones what every search begins with, which are footers and centroids. What is on `auto` is brought to disk where it
is remote. What is to be on demand is left alone, and what there is no room for stays where it is, so that nothing is
brought only to push out what was brought before it. What the first searches would do of their own accord is done as
well: lists of mapped indexes are checked, and small fields of mapped files decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from headwater.index.protocol import SupportsWarmUp
from headwater.index.text import INVERTED_KINDS
from headwater.lake import SCAN_KIND, ColumnGroup, FileRef, IndexBuild, IndexSpec, Segment
from headwater.query.opened import Opened
from headwater.query.snapshot import Snapshot
from headwater.schema import Field, Schema
from headwater.tiers import MAPPED, TierPolicy, read_ahead
from headwater.types import DataType

__all__ = ["WarmPiece", "fields_in_memory", "pieces", "searched_here"]

_DECODED_FILE_BYTES = 32 << 20
_DECODED_GROWTH = 8
_DECODED_SHARE = 0.25
"""Fields of a mapped file are decoded ahead where the file is so small, and what they come to, at so many times its
size, leaves the rest of the budget of memory to what is asked for."""

_UNCOVERED_ROWS = 20_000
"""Rows that no index covers are compared one by one: nobody waits for that who did not ask."""


@dataclass(frozen=True)
class WarmPiece:
    """One file that can be brought to its tier.

    Attributes:
        kind: field or index.
        names: of the fields, or of the index.
        segment: id of its segment.
        file: the file.
        policy: where it is wanted.
        bring: does it, and says whether there was room; may be called again.
    """

    kind: str
    names: tuple[str, ...]
    segment: str
    file: FileRef
    policy: TierPolicy
    bring: Callable[[], bool]


def pieces(
    snapshot: Snapshot, fields: Collection[int] | None = None, indexes: Collection[str] | None = None
) -> Iterator[WarmPiece]:
    """The files of a snapshot, indexes first, as searches need them most.

    Args:
        snapshot: of the partitions that are wanted.
        fields: ids of those wanted; all by default.
        indexes: names of those wanted; all by default.
    """
    policies = snapshot.opened.policies
    specs = {spec.name: spec for spec in snapshot.manifest.indexes}
    segments = {segment.id: segment for segment in snapshot.segments}
    for build in snapshot.manifest.builds:
        policy = policies.of_index(build.index)
        wanted = indexes is None or build.index in indexes
        if wanted and build.segment in segments and policy is not TierPolicy.ON_DEMAND:
            bring = _index(snapshot, build, specs[build.index])
            yield WarmPiece("index", (build.index,), build.segment, build.file, policy, bring)
    known = {one.id: one for one in snapshot.schema.fields}
    for segment in segments.values():
        # A file that comes nearer has its segment opened again, so all of them come before one is opened.
        near = cache(partial(_come_near, snapshot, segment, fields))
        for group in segment.column_groups:
            here = [
                known[one] for one in group.field_ids if one in known and (fields is None or one in fields)
            ]
            policy = policies.of_fields(group.field_ids)
            if group.file is None or not here or policy is TierPolicy.ON_DEMAND:
                continue
            names = tuple(one.name for one in here)
            bring = _columns(snapshot, segment, group, here, near)
            yield WarmPiece("field", names, segment.id, group.file, policy, bring)


def _index(snapshot: Snapshot, build: IndexBuild, spec: IndexSpec) -> Callable[[], bool]:
    opened = snapshot.opened

    def bring() -> bool:
        policy = opened.policies.of_index(build.index)
        opened.open_files.come_near(build.file, policy)
        if not opened.open_files.room_for(build.file, policy):
            return False
        index: object = None
        if spec.kind in INVERTED_KINDS:
            opened.indexes.postings(build, spec)
        elif spec.metric:
            index = opened.indexes.vector(build, spec)
        elif spec.kind != SCAN_KIND:
            opened.indexes.scalar(build, spec)
        _settle(snapshot, build.file, whole=not spec.metric)
        if isinstance(index, SupportsWarmUp):
            index.warm_up()
        return True

    return bring


def _come_near(snapshot: Snapshot, segment: Segment, fields: Collection[int] | None) -> None:
    for group in segment.column_groups:
        if group.file is not None and (fields is None or not set(fields).isdisjoint(group.field_ids)):
            snapshot.opened.open_files.come_near(
                group.file, snapshot.opened.policies.of_fields(group.field_ids)
            )


def _columns(
    snapshot: Snapshot,
    segment: Segment,
    group: ColumnGroup,
    fields: list[Field],
    near: Callable[[], None],
) -> Callable[[], bool]:
    opened, schema = snapshot.opened, snapshot.schema

    def bring() -> bool:
        assert group.file is not None
        near()
        if not opened.open_files.room_for(group.file, opened.policies.of_fields(group.field_ids)):
            return False
        reader = opened.readers.of(segment, schema)
        reader.open_fields([one.name for one in fields])
        reader.deleted()
        vectors = [one.name for one in fields if one.type.data_type.dense_vector]
        # The vectors of a hot file are views of its bytes, so these come first.
        _settle(snapshot, group.file, whole=bool(vectors))
        tier = opened.open_files.tier_of(group.file)
        for name in vectors if tier in ("hot", "warm") else ():
            opened.vectors.of(segment, schema, name)
        if vectors and tier == "warm":
            _populate(snapshot, group.file)
        if tier == "hot" or (tier == "warm" and _decoded_ahead(opened, group.file)):
            for name in (one.name for one in fields if one.name not in vectors):
                opened.fields.hot(segment, schema, name)
        return True

    return bring


def _decoded_ahead(opened: Opened, file: FileRef) -> bool:
    memory = opened.tiers.memory
    room = memory.low_bytes * _DECODED_SHARE - memory.used_bytes
    return file.size_bytes <= min(_DECODED_FILE_BYTES, room / _DECODED_GROWTH)


def searched_here(snapshot: Snapshot, indexes: Collection[str]) -> Iterator[Field]:
    """The vector fields that can be searched by some indexes without asking the store, or comparing many rows.

    Args:
        snapshot: that was warmed up.
        indexes: their names; those of other kinds are left out.
    """
    opened, schema, segments = snapshot.opened, snapshot.schema, snapshot.survivors(None)
    for spec in snapshot.manifest.indexes:
        if spec.name not in indexes or spec.path or not spec.metric:
            continue
        field = schema.field_by_id(spec.field_id)
        kind = field.type.data_type
        if not kind.dense_vector or kind is DataType.BINARY_VECTOR:
            continue
        builds = [snapshot.build_of(spec, segment) for segment in segments]
        uncovered = sum(one.num_rows for one, build in zip(segments, builds, strict=True) if build is None)
        near = map(partial(_near, opened, schema, field.name), segments, builds)
        if uncovered <= _UNCOVERED_ROWS and all(near):
            yield field


def fields_in_memory(snapshot: Snapshot) -> list[str]:
    """The fields that are decoded of all segments, so that taking rows of them brings nothing anywhere."""
    opened, schema, segments = snapshot.opened, snapshot.schema, snapshot.survivors(None)
    return [
        name
        for name in schema.readable_names
        if not schema.field(name).type.data_type.dense_vector
        and all(opened.fields.decoded(segment, schema, name) for segment in segments)
    ]


def _near(opened: Opened, schema: Schema, name: str, segment: Segment, build: IndexBuild | None) -> bool:
    return opened.near(segment, schema, name, build)


def _settle(snapshot: Snapshot, file: FileRef, *, whole: bool) -> None:
    """Have the rest of an open file's bytes where its tier says."""
    residency = snapshot.opened.open_files.placed(file)
    if residency is None:
        return
    if residency.tier == "hot" and whole:
        residency.buffer()
    elif residency.path is not None:
        read_ahead(residency.path, residency.size_bytes)


def _populate(snapshot: Snapshot, file: FileRef) -> None:
    """Touch a file that is mapped, so that no search pays for the first touch."""
    residency = snapshot.opened.open_files.placed(file)
    if residency is not None and residency.mapped_bytes:
        MAPPED.populate(np.frombuffer(residency.buffer(), np.uint8))
