"""Objects as files: what is acknowledged survives a power cut, and what is visible is whole.

Every object is written to a temporary file beside its place, synced, put in place by one rename or hard link,
and then the folder is synced. `create` uses the hard link, which fails when the name is taken, so that two
processes racing for a key have one winner; its two syncs are one where the file system allows it (`write_back`).
Files whose names start with `.hwtmp-` are such temporary files: listings skip them, and `sweep` removes those that a
crash left behind.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from headwater.errors import AlreadyExists, Corrupt, InvalidArgument, UnsupportedOption
from headwater.store.direct import DIRECT_BYTES, DirectWriter, write_all
from headwater.store.objects import Buffers, Keys, ObjectMeta, check_etag, check_key, check_prefix
from headwater.store.ranges import Run, merge_ranges, slice_runs
from headwater.store.translate import local_errors
from headwater.store.write_back import names_follow_bytes, write_back, write_back_in_parts
from headwater.types import ByteRange

__all__ = ["LocalObjectStore"]

_TEMPORARY = ".hwtmp-"
# A page-cache read of 16 KiB costs about what one more system call does.
_GAP_BYTES = 16 * 1024
_RUN_BYTES = 8 * 1024 * 1024
_PARALLEL_BYTES = 16 * 1024 * 1024
_COPY_BYTES = 8 * 1024 * 1024


class LocalObjectStore:
    """A folder of files as an object store. The folder is made by the first write.

    Args:
        root: the folder; `~` is the home folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self.url = self.root.as_uri()
        self._folder = str(self.root)

    def __repr__(self) -> str:
        return f"LocalObjectStore({str(self.root)!r})"

    def put(self, key: str, data: bytes | memoryview) -> ObjectMeta:
        """See `ObjectStore.put`."""
        return self._store(key, lambda temporary: _write_synced(temporary, data), os.replace)

    def put_file(self, key: str, path: Path) -> ObjectMeta:
        """See `ObjectStore.put_file`; within one file system no byte is copied."""
        with local_errors("put_file", str(path)):
            os.stat(path)
        return self._store(key, lambda temporary: _link_or_copy_synced(Path(path), temporary), os.replace)

    def create(self, key: str, data: bytes | memoryview) -> None:
        """See `ObjectStore.create`."""
        target = self._place(key)
        with local_errors("put", key):
            if _linked_from_nameless(target, data):
                return
        self._store(key, lambda temporary: _write_synced(temporary, data), _link_new)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        path = self._path(key)
        with local_errors("get", key):
            return path.read_bytes()

    def get_ranges(
        self,
        key: str,
        ranges: Sequence[ByteRange],
        *,
        near_bytes: int | None = None,
        etag: str | None = None,
    ) -> Buffers:
        """See `ObjectStore.get_ranges`."""
        path = self._path(key)
        runs = merge_ranges(ranges, gap_bytes=_GAP_BYTES, limit_bytes=_RUN_BYTES)
        with local_errors("get_ranges", key):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                blocks = _read_runs(descriptor, runs)
                if etag is not None:
                    # When all is read: its owner may have written over it meanwhile.
                    check_etag(key, etag, _meta(key, os.fstat(descriptor)).etag)
                for run, block in zip(runs, blocks, strict=True):
                    if len(block) < run.span.size_bytes:
                        raise Corrupt(
                            f"{path}: bytes [{run.span.start}, {run.span.stop}) asked for, "
                            f"but the file ends at {os.fstat(descriptor).st_size}",
                            key=key,
                        )
            finally:
                os.close(descriptor)
        return slice_runs(ranges, runs, blocks)

    def head(self, key: str) -> ObjectMeta:
        """See `ObjectStore.head`."""
        path = self._path(key)
        with local_errors("head", key):
            found = os.stat(path)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(str(path))
            return _meta(key, found)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectMeta]:
        """See `ObjectStore.list`."""
        folder = check_prefix(prefix)
        with local_errors("list", prefix):
            yield from _walk(self.root / folder, f"{folder}/" if folder else "", start_after, ())

    def list_prefixes(self, prefix: str = "") -> Keys:
        """See `ObjectStore.list_prefixes`."""
        folder = check_prefix(prefix)
        with local_errors("list_prefixes", prefix):
            names = [name.removesuffix("/") for name, _ in _entries(self.root / folder) if name.endswith("/")]
            return [n for n in names if next(_walk(self.root / folder / n, "", None, ()), None) is not None]

    def delete(self, keys: Sequence[str]) -> None:
        """See `ObjectStore.delete`; folders that become empty go too."""
        for key in keys:
            path = self._path(key)
            with (
                local_errors("delete", key),
                suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError),
            ):
                path.unlink()
        for folder in sorted({self._path(key).parent for key in keys}, reverse=True):
            with suppress(OSError):
                while folder != self.root and folder.is_relative_to(self.root):
                    folder.rmdir()
                    folder = folder.parent

    def local_path(self, key: str) -> Path | None:
        """See `ObjectStore.local_path`."""
        return self._path(key)

    def sweep(self, prefix: str = "", *, older_than_s: float = 86_400.0) -> int:
        """Remove temporary files that a crash left behind.

        Args:
            prefix: the folder to look under.
            older_than_s: leave younger ones: their writers may be alive.

        Returns:
            How many files were removed.
        """
        removed = 0
        for path in (self.root / check_prefix(prefix)).rglob(f"{_TEMPORARY}*"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_s:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, key: str) -> Path:
        return Path(self._place(key))

    def _place(self, key: str) -> str:
        if _TEMPORARY in key and any(part.startswith(_TEMPORARY) for part in key.split("/")):
            raise InvalidArgument(
                f"object key {key!r}: names starting with {_TEMPORARY!r} are the store's own"
            )
        return os.path.join(self._folder, check_key(key))

    def _store(
        self, key: str, fill: Callable[[Path], None], place: Callable[[Path, Path], None]
    ) -> ObjectMeta:
        target = self._path(key)
        with local_errors("put", key):
            temporary = _fill_beside(target, fill)
            try:
                place(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            meta = _meta(key, target.stat())
            _sync(target.parent)
        return meta


def _linked_from_nameless(target: str, data: bytes | memoryview) -> bool:
    """Put bytes in place through a file that has no name until it is whole: half the time of a temporary file.

    Returns:
        False where the system has no such files, or the folder is not there yet; nothing was written then.

    Raises:
        AlreadyExists: the name is taken.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    parent = os.path.dirname(target)
    try:
        folder = os.open(parent, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        file = os.open(parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    except OSError as error:
        os.close(folder)
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
            return False
        raise
    try:
        _write(file, data)
        one_sync = names_follow_bytes(os.fstat(folder).st_dev)
        write_back(file) if one_sync else os.fsync(file)
        os.link(f"/proc/self/fd/{file}", target, src_dir_fd=folder, follow_symlinks=True)
        os.fsync(file if one_sync else folder)
    except FileExistsError as error:
        raise AlreadyExists(f"object {target!r} exists already", key=target) from error
    except FileNotFoundError:
        # No /proc here, or the folder was deleted meanwhile.
        return False
    finally:
        os.close(file)
        os.close(folder)
    return True


def _write(descriptor: int, data: bytes | memoryview) -> None:
    if len(data) <= DIRECT_BYTES:
        write_all(descriptor, data)
        return
    with DirectWriter(descriptor) as writer:
        writer.write(data)


def _fill_beside(target: Path, fill: Callable[[Path], None]) -> Path:
    """Write a temporary file next to the target. A delete may remove the folder meanwhile; then again."""
    temporary = target.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    for last in (False, False, True):
        _make_folder(target.parent)
        try:
            fill(temporary)
        except FileNotFoundError:
            if last:
                raise
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        else:
            break
    return temporary


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each entry synced, so that a synced file cannot lose its way down."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb", buffering=0) as file:
        _write(file.fileno(), data)
        _sync_bytes(file.fileno())


def _link_or_copy_synced(source: Path, path: Path) -> None:
    try:
        os.link(os.path.realpath(source), path)
        # `modified` is when the object was stored; gc's grace period counts from it.
        os.utime(path)
    except OSError:
        path.unlink(missing_ok=True)
        with (
            source.open("rb") as reader,
            path.open("xb", buffering=0) as copy,
            DirectWriter(copy.fileno()) as writer,
        ):
            while piece := reader.read(_COPY_BYTES):
                writer.write(piece)
    with path.open("rb") as file:
        _sync_bytes(file.fileno())


def _sync_bytes(descriptor: int) -> None:
    """Sync a file that may be large; a thread that makes way does so in parts, between which others get the disk."""
    write_back_in_parts(descriptor)
    os.fsync(descriptor)


def _link_new(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target)
    except FileExistsError as error:
        raise AlreadyExists(f"object {str(target)!r} exists already", key=str(target)) from error
    except (PermissionError, NotImplementedError) as error:
        raise UnsupportedOption(
            f"{target.parent}: this file system refused a hard link, which put-if-absent needs: {error}",
            hint="keep the database on a file system with hard links",
        ) from error


def _meta(key: str, found: os.stat_result) -> ObjectMeta:
    return ObjectMeta(
        key,
        found.st_size,
        f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}",
        datetime.fromtimestamp(found.st_mtime, UTC),
    )


def _read_runs(descriptor: int, runs: Sequence[Run]) -> Buffers:
    def read(run: Run) -> memoryview:
        return _pread(descriptor, run.span)

    if len(runs) > 1 and sum(run.span.size_bytes for run in runs) >= _PARALLEL_BYTES:
        return [*_readers().map(read, runs)]
    return [read(run) for run in runs]


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="headwater-pread")


def _pread(descriptor: int, span: ByteRange) -> memoryview:
    """The span's bytes, fewer when the file ends inside it."""
    data = os.pread(descriptor, span.size_bytes, span.start)
    if len(data) == span.size_bytes:
        return memoryview(data)
    # The kernel gives at most 2 GiB at once.
    parts = [data]
    size_bytes = len(data)
    while data and size_bytes < span.size_bytes:
        data = os.pread(descriptor, span.size_bytes - size_bytes, span.start + size_bytes)
        parts.append(data)
        size_bytes += len(data)
    return memoryview(b"".join(parts))


def _entries(folder: Path) -> Sequence[tuple[str, os.DirEntry[str]]]:
    """Names in a folder in key order; a folder's name ends in a slash, because its keys sort by it."""
    try:
        with os.scandir(folder) as found:
            named = [
                (f"{e.name}/" if e.is_dir() else e.name, e)
                for e in found
                if not e.name.startswith(_TEMPORARY)
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(named, key=lambda pair: pair[0])


def _walk(folder: Path, prefix: str, after: str | None, above: tuple[str, ...]) -> Iterator[ObjectMeta]:
    """Objects under a folder in key order; a link back to a folder on the way down is not followed."""
    here = (*above, os.path.realpath(folder))
    for name, entry in _entries(folder):
        key = prefix + name
        if name.endswith("/"):
            passed = after is not None and key < after and not after.startswith(key)
            looped = entry.is_symlink() and os.path.realpath(entry.path) in here
            if not passed and not looped:
                yield from _walk(folder / entry.name, key, after, here)
        elif after is None or key > after:
            try:
                meta = _meta(key, entry.stat())
            except FileNotFoundError:
                # Deleted since the folder was read.
                continue
            yield meta
