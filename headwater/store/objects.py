"""What an object store is: immutable values under keys, and nothing else.

The room promises that a reader sees the whole of an object or no object, that `create` has at most one winner
per key, and that every failure is one of Headwater's errors. Listing is in key order. Keys are `/`-separated,
relative, and hold no empty, `.` or `..` part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from headwater.errors import InvalidArgument, SourceChanged
from headwater.types import ByteRange

__all__ = [
    "Buffers",
    "Keys",
    "ObjectMeta",
    "ObjectStore",
    "SupportsCopy",
    "check_etag",
    "check_key",
    "check_prefix",
]

Buffers = list[memoryview]
"""One read-only view for each range asked for, in the order asked."""

Keys = list[str]
"""Keys or folder names, sorted."""


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What a store knows about an object without reading it.

    Attributes:
        key: the object's key, relative to the store's url.
        size_bytes: length.
        etag: changes whenever the bytes do; None when the store has none.
        modified: when the object was stored, with a time zone.
    """

    key: str
    size_bytes: int
    etag: str | None
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """A folder of objects, on disk, in memory or behind a cloud's API. Safe to share between threads.

    Raises (any method):
        StoreUnavailable: the store failed; the same call may succeed later.
        Timeout: the store did not answer in time.
        PermissionDenied: the store refused.
        QuotaExceeded: the disk is full.
        InvalidArgument: a key is not a key.
    """

    url: str
    """Where the store is; `open_store(url)` opens it again. Holds no secrets."""

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """Store bytes under a key, replacing what was there."""
        ...

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """Store a file's bytes without reading them into memory at once.

        The file stays where it is, but must not be written to afterwards: a local store may share its blocks.
        """
        ...

    def create(self, key: str, data: bytes | memoryview) -> None:
        """Store bytes under a key that must be free.

        After any error but `AlreadyExists` the object may or may not be there, and after a lost response the
        store's own retries may report `AlreadyExists` for our own bytes; call `put_if_absent` instead.

        Raises:
            AlreadyExists: the key is taken, possibly by this very call.
        """
        ...

    def get(self, key: str) -> bytes:
        """An object's bytes.

        Raises:
            ObjectNotFound: no such object.
        """
        ...

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """Parts of an object, in the order asked; near ones are read as one, far ones in parallel.

        Args:
            key: the object.
            ranges: its parts.
            near_bytes: how close parts are near; a store that is a request away goes by their size where nothing is
                said, and one that is not by what suits it.
            etag: what the object's must be, as `head` tells it; the answers tell theirs, and no request is made for it.

        Raises:
            ObjectNotFound: no such object.
            SourceChanged: its etag is another; of a store that tells none, it is not known.
            Corrupt: a range ends past the object's end; names the key, the range and the size.
        """
        ...

    def head(self, key: str) -> ObjectMeta:
        """An object's size, etag and time.

        Raises:
            ObjectNotFound: no such object.
        """
        ...

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """Every object under a folder, at any depth, in key order.

        Args:
            prefix: a folder; `"a"` and `"a/"` are the same, and neither names `"ab/c"`. Empty is everything.
            start_after: yield only keys that sort after this whole key, which need not exist.
        """
        ...

    def list_prefixes(self, prefix: str = "") -> Keys:
        """The names of the folders directly in a folder, sorted; only folders that hold an object."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; an absent one is fine."""
        ...

    def local_path(self, key: str) -> Path | None:
        """The file that holds, or would hold, the object, for memory mapping; None when no file does."""
        ...


@runtime_checkable
class SupportsCopy(Protocol):
    """A store that copies objects by itself, so that their bytes need not come here."""

    def copy(self, key: str, target: str) -> bool:
        """Copy an object within the store, replacing what was there.

        Args:
            key: what.
            target: the copy's key.

        Returns:
            Whether it was copied; a store around one that cannot says so.

        Raises:
            ObjectNotFound: no such object.
        """
        ...


@runtime_checkable
class SupportsSweep(Protocol):
    """A store in which a crash leaves something behind that is no object."""

    def sweep(self, prefix: str = "", *, older_than_s: float = 86_400.0) -> int:
        """Remove it.

        Args:
            prefix: the folder to look under.
            older_than_s: leave what is younger: its writer may be alive.

        Returns:
            How many files were removed.
        """
        ...


def check_key(key: str) -> str:
    """The key itself, when it is one.

    Raises:
        InvalidArgument: the key is empty, absolute, or has an empty, `.` or `..` part, or a NUL.
    """
    parts = key.split("/")
    if "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise InvalidArgument(
            f"object key {key!r}: expected parts joined by single slashes, none of them empty, '.' or '..'",
            hint="keys are relative to the store's url",
        )
    return key


def check_etag(key: str, expected: str | None, found: str | None) -> None:
    """Make sure that an object is the one that is meant.

    Raises:
        SourceChanged: both etags are known, and differ.
    """
    if expected is not None and found is not None and expected != found:
        raise SourceChanged(
            f"object {key!r} is another by now: expected etag {expected}, found {found}", key=key
        )


def check_prefix(prefix: str) -> str:
    """A folder's key without its closing slash; empty for the store's root.

    Raises:
        InvalidArgument: as `check_key`.
    """
    folder = prefix.removesuffix("/")
    return check_key(folder) if folder or prefix else ""
