"""A version of a collection, copied whole: to another name in the lake, or out of it.

Files first, manifest last, so that a copy is there whole or not at all. A copy starts with the rows, schema, field ids,
indexes and artifacts of its original, and with logs, tags and snapshots of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from headwater.errors import AlreadyExists
from headwater.lake.clock import SYSTEM_CLOCK
from headwater.lake.lake import manifest_key
from headwater.lake.manifest import ColumnGroup, FileRef, Manifest, Segment
from headwater.lake.manifest_json import ManifestEncoder
from headwater.store import ObjectStore, SupportsCopy, put_if_absent, scratch_folder
from headwater.types import ByteRange

__all__ = ["copy_object", "copy_version", "file_sizes", "moved_manifest"]

_IN_MEMORY_BYTES = 64 << 20
_COPIED_BYTES = 4 << 30
"""S3 copies no more than 5 GB by one request."""

_THREADS = 8

CopyProgress = Callable[[int, int], None]
"""Called with (files copied, files to copy); may raise to stop the copy."""


def copy_object(source: ObjectStore, key: str, target: ObjectStore, target_key: str, size_bytes: int) -> None:
    """Copy one object; a large one goes through a file, not through memory."""
    path = source.local_path(key)
    within = source is target and path is None and size_bytes <= _COPIED_BYTES
    if within and isinstance(target, SupportsCopy) and target.copy(key, target_key):
        return
    if path is not None:
        target.put_file(target_key, path)
    elif size_bytes <= _IN_MEMORY_BYTES:
        target.put(target_key, source.get(key))
    else:
        with scratch_folder("copy") as folder:
            part = folder / "object"
            with part.open("wb") as out:
                for start in range(0, size_bytes, _IN_MEMORY_BYTES):
                    stop = min(size_bytes, start + _IN_MEMORY_BYTES)
                    out.write(source.get_ranges(key, [ByteRange(start, stop)])[0])
            target.put_file(target_key, part)


def moved_manifest(manifest: Manifest, old_root: str, new_root: str) -> Manifest:
    """The same version with its files under another prefix."""

    def file(ref: FileRef | None) -> FileRef | None:
        return None if ref is None else replace(ref, key=new_root + ref.key.removeprefix(old_root))

    def group(one: ColumnGroup) -> ColumnGroup:
        return replace(one, file=file(one.file))

    def segment(one: Segment) -> Segment:
        return replace(
            one,
            column_groups=tuple(group(part) for part in one.column_groups),
            delete_vector=file(one.delete_vector),
            row_id_file=file(one.row_id_file),
        )

    builds = tuple(
        replace(build, file=moved) for build in manifest.builds if (moved := file(build.file)) is not None
    )
    return replace(manifest, segments=tuple(segment(one) for one in manifest.segments), builds=builds)


def _first_version(manifest: Manifest, operation: str) -> Manifest:
    """A version as the first of a collection of its own: with empty logs, and without tags and snapshots."""
    return replace(
        manifest,
        version=1,
        commit_id=uuid.uuid4().hex,
        created_ms=SYSTEM_CLOCK.now_ms(),
        parent="",
        tags={},
        snapshots={},
        operation=operation,
        shards=tuple(
            replace(shard, log=f"{shard.number}-{uuid.uuid4().hex[:8]}", sealed=0, epoch=0)
            for shard in manifest.all_shards
        ),
    )


def copy_version(
    source: ObjectStore,
    manifest: Manifest,
    old_root: str,
    target: ObjectStore,
    new_root: str,
    *,
    operation: str,
    files_root: str | None = None,
    progress: CopyProgress = lambda done, total: None,
) -> Manifest:
    """Make a version the first one of a new collection.

    Args:
        source: the store that it is in.
        manifest: the version.
        old_root: the prefix of its files.
        target: the store that the copy goes to.
        new_root: the copy's prefix, where no collection is.
        operation: what this is, for `history`.
        files_root: the prefix of the copy's files; the copy's by default.
        progress: called before the first file and after each, and so once more after the last, before the copy is seen.

    Raises:
        AlreadyExists: a collection is there; nothing of it was touched.
        ObjectNotFound: a file of the version is gone.
    """
    sizes, files_root = file_sizes(manifest), files_root or new_root
    progress(0, len(sizes))
    with ThreadPoolExecutor(_THREADS, "headwater-copy") as pool:
        tasks = [
            pool.submit(copy_object, source, key, target, files_root + key.removeprefix(old_root), size)
            for key, size in sizes.items()
        ]
        try:
            for done, task in enumerate(tasks, start=1):
                task.result()
                progress(done, len(tasks))
        finally:
            for task in tasks:
                task.cancel()
    first = _first_version(moved_manifest(manifest, old_root, files_root), operation)
    if not put_if_absent(target, manifest_key(new_root, 1), ManifestEncoder().encode(first)):
        raise AlreadyExists(f"collection {new_root!r} exists in {target.url}")
    return first


def file_sizes(manifest: Manifest) -> dict[str, int]:
    """Sizes of the lake's files that a version is made of, by key."""
    refs = [build.file for build in manifest.builds]
    for segment in manifest.segments:
        refs += [group.file for group in segment.column_groups if group.file is not None]
        refs += [one for one in (segment.delete_vector, segment.row_id_file) if one is not None]
    return {ref.key: ref.size_bytes for ref in refs}
