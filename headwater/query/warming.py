"""Bringing the files of a snapshot to their tiers before a read asks for them.

A piece of work is one file: the columns of a segment that are in it, or a build of an index. Bringing it to its tier
means that a search finds there what it would otherwise ask the store for: hot bytes are in memory, scalar fields
decoded; warm ones in a file of this machine, and the system is asked to read it ahead; of cold ones what every search
begins with, which are footers and centroids. What is on `auto` is brought to disk where it is remote. What is to be on
demand is left alone, and what there is no room for stays where it is, so that nothing is brought only to push out what
was brought before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial

from headwater.index.text import INVERTED_KINDS
from headwater.lake import SCAN_KIND, ColumnGroup, FileRef, IndexBuild, IndexSpec, Segment
from headwater.query.snapshot import Snapshot
from headwater.schema import Field
from headwater.tiers import TierPolicy

__all__ = ["WarmPiece", "pieces"]


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
        opened.come_near(build.file, policy)
        if not opened.room_for(build.file, policy):
            return False
        if spec.kind in INVERTED_KINDS:
            opened.postings(build, spec)
        elif spec.metric:
            opened.index(build, spec)
        elif spec.kind != SCAN_KIND:
            opened.scalar(build, spec)
        _settle(snapshot, build.file, whole=not spec.metric)
        return True

    return bring


def _come_near(snapshot: Snapshot, segment: Segment, fields: Collection[int] | None) -> None:
    for group in segment.column_groups:
        if group.file is not None and (fields is None or not set(fields).isdisjoint(group.field_ids)):
            snapshot.opened.come_near(group.file, snapshot.opened.policies.of_fields(group.field_ids))


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
        if not opened.room_for(group.file, opened.policies.of_fields(group.field_ids)):
            return False
        reader = opened.reader(segment, schema)
        reader.open_fields([one.name for one in fields])
        reader.deleted()
        hot = opened.tier_of(group.file) == "hot"
        vectors = any(one.type.data_type.dense_vector for one in fields)
        # The vectors of a hot file are views of its bytes, so these come first.
        _settle(snapshot, group.file, whole=vectors)
        for one in fields if hot else ():
            if one.type.data_type.dense_vector:
                opened.vectors(segment, schema, one.name)
            else:
                opened.hot(segment, schema, one.name)
        return True

    return bring


def _settle(snapshot: Snapshot, file: FileRef, *, whole: bool) -> None:
    """Have the rest of an open file's bytes where its tier says."""
    residency = snapshot.opened.placed(file)
    if residency is None:
        return
    if residency.tier == "hot" and whole:
        residency.buffer()
    elif residency.path is not None and hasattr(os, "posix_fadvise"):
        with residency.path.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
