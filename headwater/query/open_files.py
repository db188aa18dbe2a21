"""Files of one collection, each opened where its policy says.

What is made of a file may hold on to this, and stays in memory that the process shares; so this holds nothing of what
is made of files. Else a handle that nobody holds any more would be held by what it had opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from headwater.lake import FileRef, IndexBuild, Segment
from headwater.lake.log import GrowingSegment
from headwater.schema import Field
from headwater.store import ObjectStore
from headwater.tiers import Kind, Policies, Residency, TierPolicy, Tiers

__all__ = ["OpenFiles"]


class OpenFiles:
    """Opens the files of one collection.

    Args:
        store: where the lake is.
        tiers: what the process holds.
        root: prefix of the collection in the lake, for reports.

    Attributes:
        policies: where files are opened from now on.
    """

    def __init__(self, store: ObjectStore, tiers: Tiers, root: str) -> None:
        self.policies = Policies()
        self._store = store
        self._tiers = tiers
        self._root = root
        self._residencies: WeakValueDictionary[str, Residency] = WeakValueDictionary()

    def placed(self, file: FileRef) -> Residency | None:
        """A file as it is open now; None where nothing holds it open."""
        return self._residencies.get(file.key)

    def group(self, file: FileRef, field_ids: Sequence[int]) -> Residency:
        """A column group, opened.

        Args:
            file: of the group.
            field_ids: that are wanted of it.
        """
        return self._open(file, self.policies.of_fields(field_ids), "file")

    def group_below(self, file: FileRef, field_ids: Sequence[int]) -> Residency:
        """`group` of what had to leave memory lately."""
        policy = self.policies.of_fields(field_ids)
        return self._open(file, TierPolicy.WARM if policy is TierPolicy.HOT else policy, "file")

    def build(self, build: IndexBuild, kind: Kind = "lookup") -> Residency:
        """The file of an index, opened."""
        return self._open(build.file, self.policies.of_index(build.index), kind)

    def come_near(self, file: FileRef, policy: TierPolicy) -> None:
        """Bring a remote file to disk that is on `auto` and would come there by use; one that is warm already stays."""
        opened = self.placed(file)
        if policy is TierPolicy.AUTO and (opened is None or opened.tier == "cold"):
            self._tiers.prefetch(
                self._store, file.key, size_bytes=file.size_bytes, checksum=file.checksum, wait=True
            )

    def room_for(self, file: FileRef, policy: TierPolicy) -> bool:
        """Whether a file can be used at its tier without anything leaving for it."""
        opened = self.placed(file)
        here = opened is not None and opened.tier == "hot"
        return policy is not TierPolicy.HOT or here or self._tiers.memory.room(file.size_bytes)

    def tier_of(self, file: FileRef | None) -> str:
        """The tier at which a file is open now, for explanations; `elsewhere` for rows that are in no file of ours."""
        opened = None if file is None else self.placed(file)
        return "elsewhere" if file is None else "closed" if opened is None else opened.tier

    def tier_of_field(self, segment: Segment, field: Field) -> str:
        """The tier at which a field's file is open now, for explanations."""
        if isinstance(segment, GrowingSegment):
            return "memory"
        group = next((group for group in segment.column_groups if field.id in group.field_ids), None)
        return self.tier_of(None if group is None else group.file)

    def _open(self, file: FileRef, policy: TierPolicy, kind: Kind) -> Residency:
        opened = self._tiers.open(
            self._store,
            file.key,
            size_bytes=file.size_bytes,
            checksum=file.checksum,
            policy=policy,
            collection=self._root,
            kind=kind,
        )
        opened.opening_bytes = file.opening_bytes
        self._residencies[file.key] = opened
        if kind == "lookup" and opened.tier == "hot":
            # It is read by parts, again and again.
            opened.buffer()
        return opened
