"""Files that others own: which there are now, and what to do about the difference to a version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.lake.manifest import Fragment, Manifest, Segment

__all__ = ["RefreshPlan", "RefreshReport", "SourceFile", "plan_refresh"]


@dataclass(frozen=True)
class SourceFile:
    """A file as a listing shows it."""

    path: str
    size_bytes: int
    etag: str | None
    modified_ms: int

    def same_as(self, fragment: Fragment) -> bool:
        """Whether this is the file that a fragment was made from: by etag where both have one, else by time."""
        if self.size_bytes != fragment.size_bytes:
            return False
        if self.etag is not None and fragment.etag is not None:
            return self.etag == fragment.etag
        return self.modified_ms == fragment.modified_ms


@dataclass(frozen=True)
class RefreshPlan:
    """The difference between a version and the source now.

    Attributes:
        added: files to read for the first time.
        changed: files to read again.
        removed: paths that are gone.
        unchanged: how many files are as they were.
        stale: segments that hold rows of changed or removed files.
    """

    added: tuple[SourceFile, ...]
    changed: tuple[SourceFile, ...]
    removed: tuple[str, ...]
    unchanged: int
    stale: tuple[Segment, ...]


@dataclass(frozen=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        version: the version it made, or the present one when nothing changed.
        added: paths of new files.
        changed: paths of files that were read again.
        removed: paths of files that are gone.
        unchanged: how many files were not read.
        rows: rows of the collection now.
        bytes_read: bytes of footers and pages that were read.
        seconds: wall time.
    """

    version: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    rows: int
    bytes_read: int
    seconds: float


def fragments_of(segment: Segment) -> tuple[Fragment, ...]:
    """The external rows of a segment, in row order."""
    return next((group.fragments for group in segment.column_groups if group.file is None), ())


def plan_refresh(manifest: Manifest, files: Sequence[SourceFile]) -> RefreshPlan:
    """Compare a version with a listing; pure."""
    known = {fragment.path: fragment for segment in manifest.segments for fragment in fragments_of(segment)}
    present = {file.path: file for file in files}
    added = tuple(file for file in files if file.path not in known)
    changed = tuple(file for file in files if file.path in known and not file.same_as(known[file.path]))
    removed = tuple(sorted(path for path in known if path not in present))
    touched = {file.path for file in changed} | set(removed)
    stale = tuple(s for s in manifest.segments if any(f.path in touched for f in fragments_of(s)))
    return RefreshPlan(added, changed, removed, len(files) - len(added) - len(changed), stale)
