"""Forget old versions and delete what no kept version names.

Order makes it safe to die at any moment: manifests go first, oldest first, so that a readable manifest never names a
missing file; objects go after, and only those older than the grace period, because a writer stores its files before it
commits the manifest that names them. In between it is looked whether somebody has named or restored one of the versions
that went: its files stay then. Who does that looks afterwards whether the version is still there (`Lake.is_kept`), so
that one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from headwater.errors import ObjectNotFound
from headwater.lake.lake import READER_GRACE_S, Lake, manifest_key, manifest_version
from headwater.lake.log.entry import AddSegments, decode_entry
from headwater.lake.manifest import Manifest
from headwater.lake.manifest_json import ManifestEncoder, decode_manifest
from headwater.store import ObjectMeta, SupportsSweep

__all__ = ["STAGED_FOLDER", "GcReport", "gc"]

STAGED_FOLDER = "staged"
"""Of a collection: files that a long job writes before it, or somebody's commit, names them."""

_STAGED_GRACE_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class GcReport:
    """What garbage collection did, or would do.

    Attributes:
        versions_expired: manifests deleted.
        versions_kept: manifests kept.
        objects_deleted: files deleted, manifests excluded.
        bytes_deleted: their size.
        dry_run: whether nothing was deleted in fact.
    """

    versions_expired: int
    versions_kept: int
    objects_deleted: int
    bytes_deleted: int
    dry_run: bool


def _entries(lake: Lake, objects: Iterable[ObjectMeta]) -> Iterator[tuple[str, int, ObjectMeta]]:
    """The log folder and sequence number of each log entry."""
    folder = f"{lake.root}/log/"
    for meta in objects:
        if meta.key.startswith(folder):
            log, _, name = meta.key.removeprefix(folder).partition("/")
            yield log, int(name.split(".")[0]), meta


def _named_in_logs(lake: Lake, objects: Iterable[ObjectMeta], newest: Manifest) -> set[str]:
    """Files of segments that only the log names yet."""
    sealed = {shard.log: shard.sealed for shard in newest.all_shards}
    named: set[str] = set()
    for log, sequence, meta in _entries(lake, objects):
        if sequence > sealed.get(log, 0):
            with suppress(ObjectNotFound):
                entry = decode_entry(lake.store.get(meta.key), meta.key)
                for record in entry.records:
                    if isinstance(record, AddSegments):
                        named.update(*(segment.files() for segment in record.segments))
    return named


def _sealed_entries(
    lake: Lake, objects: Iterable[ObjectMeta], manifests: Iterable[Manifest]
) -> list[ObjectMeta]:
    """Log entries whose rows have been in segments for so long that no reader looks for them.

    Entries of a log that is in no manifest belong to a collection that was dropped, or to a shard that was split and
    sealed to its end.
    """
    before_ms = lake.now_ms() - int(READER_GRACE_S * 1000)
    chain = sorted(manifests, key=lambda manifest: manifest.version)
    settled = [manifest for manifest in chain if manifest.created_ms <= before_ms]
    known = {shard.log for manifest in chain for shard in manifest.all_shards}
    done = {shard.log: shard.sealed for manifest in settled for shard in manifest.all_shards}
    alive = {shard.log for shard in chain[-1].all_shards}
    ended = {log for log in done if log not in alive and settled and log not in _logs(settled[-1])}
    return [
        meta
        for log, sequence, meta in _entries(lake, objects)
        if log in ended
        or sequence <= done.get(log, 0)
        or (log not in known and meta.modified.timestamp() * 1000 < before_ms)
    ]


def _logs(manifest: Manifest) -> set[str]:
    return {shard.log for shard in manifest.all_shards}


def _needed_again(lake: Lake, looked_at: Manifest, expired: Mapping[int, Manifest]) -> set[str]:
    """Files that versions name which have come since; of a version that went and was named since, it is put back."""
    needed: set[str] = set()
    for number in range(looked_at.version + 1, lake.latest().version + 1):
        manifest = lake.at(number)
        needed |= manifest.files()
        named = {*manifest.tags.values(), *(one.version for one in manifest.snapshots.values())}
        for version in named & expired.keys():
            lake.store.put(manifest_key(lake.root, version), ManifestEncoder().encode(expired[version]))
            needed |= expired[version].files()
    return needed


def gc(lake: Lake, *, retention_s: float, grace_s: float, dry_run: bool = False) -> GcReport:
    """Collect garbage.

    Args:
        lake: the collection.
        retention_s: versions that were replaced longer ago than this (at least `READER_GRACE_S`, a minute) are
            forgotten, unless a tag or a snapshot names them.
        grace_s: unnamed objects younger than this stay.
        dry_run: report only.
    """
    now = lake.now_ms() / 1000
    retention_s = max(retention_s, READER_GRACE_S)
    objects = sorted(lake.store.list(f"{lake.root}/"), key=lambda meta: meta.key)
    folder = f"{lake.root}/manifests/"
    versions = [manifest_version(meta.key) for meta in objects if meta.key.startswith(folder)]
    newest = lake.latest()
    manifests = {newest.version: newest}
    for version in versions:
        key = manifest_key(lake.root, version)
        # A listing may show what another collector has deleted.
        with suppress(ObjectNotFound):
            manifests[version] = decode_manifest(lake.store.get(key), key)
    versions = sorted(manifests)
    named_versions = {one.version for one in newest.snapshots.values()}
    pinned = {newest.version, *newest.tags.values(), *named_versions}
    expired = [
        version
        for version, replaced_by in pairwise(versions)
        if version not in pinned and now - manifests[replaced_by].created_ms / 1000 > retention_s
    ]
    named = _named_in_logs(lake, objects, newest)
    for version, manifest in manifests.items():
        if version not in expired:
            named |= manifest.files()
    staged = f"{lake.root}/{STAGED_FOLDER}/"
    garbage = [
        meta
        for meta in objects
        if not meta.key.startswith((folder, f"{lake.root}/log/"))
        and meta.key not in named
        and now - meta.modified.timestamp() > (_STAGED_GRACE_S if meta.key.startswith(staged) else grace_s)
    ]
    garbage += _sealed_entries(lake, objects, manifests.values())
    if not dry_run:
        for version in expired:
            lake.store.delete([manifest_key(lake.root, version)])
        needed = _needed_again(lake, newest, {version: manifests[version] for version in expired})
        garbage = [meta for meta in garbage if meta.key not in needed]
        for start in range(0, len(garbage), 1000):
            lake.store.delete([meta.key for meta in garbage[start : start + 1000]])
        if isinstance(lake.store, SupportsSweep):
            lake.store.sweep(lake.root, older_than_s=grace_s)
    return GcReport(
        versions_expired=len(expired),
        versions_kept=len(versions) - len(expired),
        objects_deleted=len(garbage),
        bytes_deleted=sum(meta.size_bytes for meta in garbage),
        dry_run=dry_run,
    )
