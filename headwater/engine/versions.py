"""The versions of a collection: history, tags, restore, and forgetting."""

from __future__ import annotations

from datetime import datetime

from headwater.engine.core import CollectionAt, CollectionCore
from headwater.errors import InvalidArgument
from headwater.jobs import Progress
from headwater.lake import DropTag, GcReport, Restore, SetTag, SnapshotInfo, VerifyReport, gc, verify
from headwater.lake.log import seal

__all__ = ["Versions"]


class Versions(CollectionCore):
    """A version is a commit; rows in the log become part of one when they are sealed."""

    @property
    def version(self) -> int:
        """The newest version number."""
        return self._lake.latest().version

    def at(
        self, version: int | None = None, *, time: datetime | None = None, tag: str | None = None
    ) -> CollectionAt:
        """An older version, pinned: by number, by time (the newest not after it) or by tag.

        Raises:
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

    def tag(self, name: str, version: int | None = None) -> int:
        """Name a version, which also keeps it from `gc`. Returns the version tagged.

        Args:
            name: the tag.
            version: which; by default the newest, with all that was written until now.
        """
        target = self.flush() if version is None else self._lake.at(version=version).version
        self._lake.commit(self._lake.latest(), [SetTag(name=name, version=target)], operation=f"tag {name}")
        return target

    def drop_tag(self, name: str) -> None:
        """Forget a tag; its version is kept only as long as retention keeps it."""
        self._lake.commit(self._lake.latest(), [DropTag(name=name)], operation=f"drop tag {name}")

    def restore(self, version: int) -> int:
        """Make an older version the present again, as a new version. Returns its number.

        What was written since is sealed first, so it can be restored in turn.
        """
        target = self._lake.at(version=version)
        self.flush()
        change = Restore(manifest=target)
        return self._lake.commit(self._lake.latest(), [change], operation=f"restore {version}").version

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
