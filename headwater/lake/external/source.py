"""Files that others own: which there are now, and what to do about the difference to a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pyarrow as pa

from headwater.formats import ColumnGroupReader
from headwater.lake.manifest import FieldStats, Fragment, Manifest, Segment
from headwater.schema import Field

__all__ = [
    "FoundFragment",
    "Progress",
    "RefreshPlan",
    "RefreshReport",
    "SourceFile",
    "TableSource",
    "plan_refresh",
]

Progress = Callable[[int, int], None]
"""Called with (files looked into, files to look into)."""


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
class FoundFragment:
    """Rows of a file, and what the file says of them.

    Attributes:
        fragment: the rows.
        stats: by field id; absent where the file says nothing.
    """

    fragment: Fragment
    stats: Mapping[int, FieldStats]


class TableSource(Protocol):
    """Files or a table that others own: which files there are now, what is in them, and their rows.

    Invariants: nothing of the source is ever written, and a file is not read unless it is asked for.

    Attributes:
        name: the word stored in the manifest.
        bytes_read: of footers and pages, since it was last set to zero.
    """

    name: ClassVar[str]
    bytes_read: int

    def list_files(self) -> list[SourceFile]:
        """The files there are now, sorted by path, each once."""
        ...

    def arrow_schema(self, files: Sequence[SourceFile], *, progress: Progress | None = None) -> pa.Schema:
        """The columns of the files, those together that each has alone, and those that their folders name.

        Where files have a column with different types it is of one that holds both, if there is one. The next call of
        `fragments` reads nothing of these files again.

        Args:
            files: of the last listing.
            progress: called for each file.

        Raises:
            ObjectNotFound: there is no file of one of the places; names it.
            Corrupt: a file is not readable; names it.
        """
        ...

    def fragments(
        self,
        files: Sequence[SourceFile],
        fields: Sequence[Field],
        *,
        segment_rows: int,
        mapped: bool = False,
        progress: Progress | None = None,
    ) -> list[FoundFragment]:
        """The rows of files, in order; only their metadata is read.

        Args:
            files: of the last listing.
            fields: what they must hold.
            segment_rows: a larger file is several fragments, where its layout allows.
            mapped: the fields name their columns one by one, so that each file has each of them, nullable or not, and
                JSON comes from texts or nested values, as in Milvus.
            progress: called for each file that is read.

        Raises:
            Corrupt: a file is not readable; names it.
            SchemaMismatch: a file does not fit the fields; names file and column.
        """
        ...

    def open(self, fragments: Sequence[Fragment], fields: Sequence[Field]) -> ColumnGroupReader:
        """A reader of these fields over these fragments, in order.

        Its reads raise `SourceChanged` when a file is no longer the one that its fragment was made from.
        """
        ...


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

    def __repr__(self) -> str:
        """The figures, without the paths of what may be thousands of files."""
        files = ", ".join(f"{len(getattr(self, name)):,} {name}" for name in ("added", "changed", "removed"))
        return (
            f"<RefreshReport: version {self.version}, {self.rows:,} rows; files: {files}, {self.unchanged:,} "
            f"unchanged; {self.bytes_read:,} bytes read in {self.seconds:.3g} s>"
        )


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
