"""The versions of a collection: history, tags, restore, and forgetting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from headwater.engine.core import CollectionAt, CollectionCore
from headwater.errors import InvalidArgument, VersionNotFound
from headwater.jobs import Progress
from headwater.lake import DropTag, GcReport, Restore, SetTag, SnapshotInfo, VerifyReport, gc, verify
from headwater.lake.log import seal
from headwater.query import CHANGE_COLUMN, Snapshot, changed_rows
from headwater.query.fetch import resolve_output_fields
from headwater.query.repeated import repeated_values

__all__ = ["Changes", "Versions"]


class Changes(Iterable[pa.RecordBatch]):
    """Changed rows, to be read once.

    Attributes:
        version: up to which version; what to pass as `since` the next time.
    """

    def __init__(
        self, version: int, batches: Iterator[pa.RecordBatch], new: Snapshot, names: Sequence[str]
    ) -> None:
        self.version = version
        self.schema = pa.schema([pa.field(CHANGE_COLUMN, pa.string()), *new.schema.to_arrow(names)])
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def to_arrow(self) -> pa.Table:
        """All of them as one table."""
        return pa.Table.from_batches(self._batches, self.schema)


class Versions(CollectionCore):
    """A version is a commit; rows in the log become part of one when they are sealed."""

    @property
    def version(self) -> int:
        """The newest version number."""
        return self._lake.latest().version

    def at(
        self, version: int | None = None, *, time: datetime | None = None, tag: str | None = None
    ) -> CollectionAt:
        """An older version, pinned: by number, by time (the newest not after it; UTC without an offset) or by tag.

        Raises:
            InvalidArgument: not exactly one of them is given, or the time is no datetime.
            VersionNotFound: no such version, or it is expired.
            TagNotFound: no such tag.
        """
        if sum(choice is not None for choice in (version, time, tag)) != 1:
            raise InvalidArgument("at() needs exactly one of version, time and tag")
        return CollectionAt(self.name, self._open(self._lake.at(version=version, time=time, tag=tag)))

    def history(self) -> list[SnapshotInfo]:
        """The versions still kept, oldest first."""
        return self._lake.history()

    def flush(self) -> int:
        """Seal the rows that are in the log only, as a new version. Returns the newest version's number."""
        if self._source is not None:
            return self.version
        return seal(self._log, segment_rows=self._settings.lake.target_segment_rows).version

    def changes(
        self, since: int, until: int | None = None, *, columns: Sequence[str] | None = None
    ) -> Changes:
        """Rows inserted, updated and deleted between two versions: the base of incremental jobs and replication.

        Args:
            since: the older version; 0 for the beginning, when every row is an insert.
            until: the newer version; by default the newest, with all that was written until now.
            columns: fields to return; all by default.

        Returns:
            Record batches with a column `change` (`insert`, `update` or `delete`) and the fields; its `.version` is
            what to pass as `since` the next time.

        Raises:
            VersionNotFound: a version is not kept any more; start again from a full read.
        """
        newest = self._lake.at(version=self.flush() if until is None else until)
        empty = replace(newest, segments=(), builds=())
        oldest = empty if since == 0 else self._lake.at(version=since)
        if oldest is not empty and oldest.version > newest.version:
            raise InvalidArgument(f"changes since version {since}, until the older version {newest.version}")
        new = self._open(newest)
        names = tuple(resolve_output_fields(new.schema, columns, new.schema.readable_names))
        for name in names:
            new.schema.field(name)
        return Changes(newest.version, changed_rows(self._open(oldest), new, names), new, names)

    def tag(self, name: str, version: int | None = None) -> int:
        """Name a version, which also keeps it from `gc`. Returns the version tagged.

        Args:
            name: the tag.
            version: which; by default the newest, with all that was written until now.
        """
        target = self.flush() if version is None else self._lake.at(version=version).version
        self._lake.commit(self._lake.latest(), [SetTag(name=name, version=target)], operation=f"tag {name}")
        if not self._lake.is_kept(target):
            self.drop_tag(name)
            raise _forgotten(target)
        return target

    def drop_tag(self, name: str) -> None:
        """Forget a tag; its version is kept only as long as retention keeps it."""
        self._lake.commit(self._lake.latest(), [DropTag(name=name)], operation=f"drop tag {name}")

    def restore(self, version: int) -> int:
        """Make an older version the present again, as a new version. Returns its number.

        What was written since is sealed first, so it can be restored in turn.

        Raises:
            VersionNotFound: no such version, or it is forgotten at this very moment.
        """
        target = self._lake.at(version=version)
        self.flush()
        before = self._lake.latest()
        done = self._lake.commit(before, [Restore(manifest=target)], operation=f"restore {version}")
        if not self._lake.is_kept(version):
            # Its files may be going.
            self._lake.commit(done, [Restore(manifest=before)], operation=f"undo restore {version}")
            raise _forgotten(version)
        return done.version

    def gc(
        self, *, retention_s: float | None = None, grace_s: float | None = None, dry_run: bool = False
    ) -> GcReport:
        """Forget versions past retention and delete the objects that no kept version names.

        Args:
            retention_s: how long versions are kept; the setting `lake.retention_s` by default.
            grace_s: objects younger than this are never deleted; the setting `lake.gc_grace_s` by default.
            dry_run: report only.
        """
        return gc(
            self._lake,
            retention_s=self._settings.lake.retention_s if retention_s is None else retention_s,
            grace_s=self._settings.lake.gc_grace_s if grace_s is None else grace_s,
            dry_run=dry_run,
        )

    def verify(self, version: int | None = None, *, progress: Progress | None = None) -> VerifyReport:
        """Read every file of a version (the newest by default) and compare it with its checksum.

        Args:
            version: which.
            progress: called with (bytes read, bytes to read).
        """
        manifest = self._lake.latest() if version is None else self._lake.at(version=version)
        return verify(self._lake.store, manifest, progress=progress)

    def repeated_keys(self, most: int = 10) -> list[Any]:
        """Primary keys that more than one row has; what files of others hold is not checked when they are registered.

        Reads the keys of every row of the newest version.

        Args:
            most: no more than so many, the least ones.

        Raises:
            InvalidArgument: the collection has no primary key, or `most` is not positive.
            SourceChanged: a file of the source is no longer what was registered.
        """
        newest = self.at(version=self.version)
        key = newest.schema.primary_key
        if key is None:
            raise InvalidArgument(f"collection {self.name!r} has no primary key")
        if most < 1:
            raise InvalidArgument(f"repeated_keys: most is {most}, expected a positive number")
        return repeated_values(newest.scan([key]), newest.schema.to_arrow([key]).field(0).type, most)


def _forgotten(version: int) -> VersionNotFound:
    return VersionNotFound(
        f"version {version} was forgotten at the same moment, being past retention",
        hint="history() lists them",
    )
