"""A collection's tiers: where its bytes are wanted, and where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headwater.engine.changing import change_newest, check_one_place, index_named
from headwater.engine.indexing import Indexing
from headwater.engine.policies import (
    MMAP_PARAM,
    POLICY_PROPERTY,
    TIERS_PROPERTY,
    earliest,
    own_policies,
    policies_of,
    stored_policies,
    tier_policy,
    warmups_of,
)
from headwater.lake import (
    AlterSchema,
    Change,
    DescribeIndex,
    ExpectProperty,
    FileRef,
    Manifest,
    Segment,
    SetProperties,
)
from headwater.tiers import TierPolicy

__all__ = ["CollectionTiers", "Placement", "Tiering"]


@dataclass(frozen=True)
class Placement:
    """One file of a collection: where it is wanted, and where it is.

    Attributes:
        kind: field or index.
        names: of the fields that the file holds, or of the index.
        segment: id of its segment.
        policy: where it is wanted.
        tier: where it is used from: hot, warm or cold; None where it is not open.
        size_bytes: of the file.
        where: memory, a path, or the URL of the store.
        warmup: when it comes there, once the collection is loaded: sync, async or disable.
    """

    kind: str
    names: tuple[str, ...]
    segment: str
    policy: TierPolicy
    tier: str | None
    size_bytes: int
    where: str
    warmup: str = "disable"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Placement:
        """From what `to_json` gave."""
        given = {**data, "names": tuple(data["names"]), "policy": TierPolicy(data["policy"])}
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "kind": self.kind,
            "names": list(self.names),
            "segment": self.segment,
            "policy": str(self.policy),
            "tier": self.tier,
            "size_bytes": self.size_bytes,
            "where": self.where,
            "warmup": str(self.warmup),
        }


@dataclass(frozen=True)
class CollectionTiers:
    """The tiers of a collection, as of its newest version.

    Attributes:
        policy: where bytes of what has no policy of its own are wanted.
        fields: policies of fields, by name.
        indexes: policies of indexes, by name.
        files: every file of the version; rows that are in the log only are in memory, and in no file.
    """

    policy: TierPolicy
    fields: dict[str, TierPolicy]
    indexes: dict[str, TierPolicy]
    files: tuple[Placement, ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> CollectionTiers:
        """From what `to_json` gave."""
        return cls(
            TierPolicy(data["policy"]),
            {name: TierPolicy(policy) for name, policy in data["fields"].items()},
            {name: TierPolicy(policy) for name, policy in data["indexes"].items()},
            tuple(Placement.of(one) for one in data["files"]),
        )

    @property
    def bytes_by_tier(self) -> dict[str, int]:
        """Sizes of the files that are open, by tier; `closed` are the others."""
        found: dict[str, int] = {}
        for one in self.files:
            found[one.tier or "closed"] = found.get(one.tier or "closed", 0) + one.size_bytes
        return found

    def __repr__(self) -> str:
        """What is wanted, and bytes by tier; `files` has each."""
        named = {**self.fields, **self.indexes}
        wanted = ", ".join([str(self.policy), *(f"{name} {policy}" for name, policy in named.items())])
        sizes = ", ".join(f"{size:,} bytes {tier}" for tier, size in self.bytes_by_tier.items())
        return f"<CollectionTiers: wanted {wanted}; {len(self.files):,} files: {sizes or 'none'}>"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "policy": str(self.policy),
            "fields": {name: str(policy) for name, policy in self.fields.items()},
            "indexes": {name: str(policy) for name, policy in self.indexes.items()},
            "bytes_by_tier": self.bytes_by_tier,
            "files": [one.to_json() for one in self.files],
        }


class Tiering(Indexing):
    """Tiers change where bytes are read from, and no answer."""

    def set_tier(
        self, policy: str | TierPolicy | None, *, field: str | None = None, index: str | None = None
    ) -> None:
        """Say where the bytes of the collection, or of one field or index of it, are wanted.

        It holds from the next read on, in every process that has the collection open. A file that holds several fields
        goes by the one that is wanted nearest.

        Args:
            policy: `auto`, `hot`, `warm`, `cold` or `on_demand`; None to go by what holds
                around it again: the collection's, or that of the settings.
            field: of this field; of the whole collection by default.
            index: of this index.

        Raises:
            InvalidArgument: there is no such policy, or both a field and an index are named.
            FieldNotFound: there is no such field.
            IndexNotFound: there is no such index.
        """
        check_one_place("set_tier", field, index)
        chosen = None if policy is None else tier_policy(policy, f"collection {self.name!r}")
        done = change_newest(
            self._lake, lambda base: _changes(base, self.name, chosen, field, index), operation="set tier"
        )
        self._log.advance(done)

    def tiers(self) -> CollectionTiers:
        """Where every file of the newest version is wanted, and where this process has it now."""
        manifest = self._log.pin().manifest
        self._follow(manifest)
        policies = policies_of(manifest, self._settings.tiers.policy)
        names = {one.id: one.name for one in manifest.schema.every_field}
        return CollectionTiers(
            policies.collection,
            {names[number]: policy for number, policy in policies.fields.items() if number in names},
            {
                spec.name: policies.indexes[spec.name]
                for spec in manifest.indexes
                if spec.name in policies.indexes
            },
            tuple(self._placements(manifest)),
        )

    def _placements(self, manifest: Manifest) -> Iterator[Placement]:
        policies = policies_of(manifest, self._settings.tiers.policy)
        modes = warmups_of(manifest, self._settings.tiers.warmup)
        names = {one.id: one.name for one in manifest.schema.every_field}
        for segment in manifest.segments:
            for file, ids in _column_files(segment):
                known = [number for number in ids if number in names]
                if known:
                    yield self._placed(
                        Placement(
                            "field",
                            tuple(names[number] for number in known),
                            segment.id,
                            policies.of_fields(ids),
                            None,
                            file.size_bytes,
                            self._lake.store.url,
                            earliest([modes.fields[number] for number in known]),
                        ),
                        file,
                    )
        for build in manifest.builds:
            yield self._placed(
                Placement(
                    "index",
                    (build.index,),
                    build.segment,
                    policies.of_index(build.index),
                    None,
                    build.file.size_bytes,
                    self._lake.store.url,
                    modes.indexes[build.index],
                ),
                build.file,
            )

    def _placed(self, wanted: Placement, file: FileRef) -> Placement:
        """With where the file is now."""
        opened = self._opened.open_files.placed(file)
        if opened is None or opened.tier == "cold":
            return replace(wanted, tier=None if opened is None else opened.tier)
        kept = opened.on_disk
        path = opened.path if kept is None or opened.path is None else kept.cached.folder / "data"
        where = "memory" if path is None else str(path)
        return replace(wanted, tier=opened.tier, where=where)


def _column_files(segment: Segment) -> Iterator[tuple[FileRef, Sequence[int]]]:
    for group in segment.column_groups:
        if group.file is not None:
            yield group.file, group.field_ids


def _changes(
    base: Manifest, name: str, policy: TierPolicy | None, field: str | None, index: str | None
) -> list[Change]:
    """What is to change so that a place has a policy, and no `mmap.enabled` beside it."""
    if field is None and index is None:
        value = None if policy is None else policy.value
        there = base.properties.get(POLICY_PROPERTY), base.properties.get(MMAP_PARAM)
        return [] if there == (value, None) else [SetProperties({POLICY_PROPERTY: value, MMAP_PARAM: None})]
    placed = own_policies(base)
    known = {spec.name for spec in base.indexes}
    ids = {one.id for one in base.schema.every_field}
    # What is of fields and indexes that are gone goes with the next change.
    fields = {number: one for number, one in placed.fields.items() if number in ids}
    indexes = {one: value for one, value in placed.indexes.items() if one in known}
    also: list[Change] = []
    if field is not None:
        target = base.schema.field(field)
        _put(fields, target.id, policy)
        if MMAP_PARAM in dict(target.params):
            params = tuple(pair for pair in target.params if pair[0] != MMAP_PARAM)
            altered = tuple(
                replace(one, params=params) if one is target else one for one in base.schema.fields
            )
            after = replace(base.schema, fields=altered, version=base.schema.version + 1)
            also.append(AlterSchema(base.schema, after))
    elif index is not None:
        declared = index_named(base, name, index).declared
        _put(indexes, index, policy)
        if MMAP_PARAM in declared:
            also.append(DescribeIndex(index, {k: v for k, v in declared.items() if k != MMAP_PARAM}))
    stored, before = stored_policies(fields, indexes), base.properties.get(TIERS_PROPERTY)
    if stored == before and not also:
        return []
    return [ExpectProperty(TIERS_PROPERTY, before), SetProperties({TIERS_PROPERTY: stored}), *also]


def _put(places: dict[Any, TierPolicy], place: Any, policy: TierPolicy | None) -> None:
    if policy is None:
        places.pop(place, None)
    else:
        places[place] = policy
