"""Read every file of a version and compare it with what its manifest says of it.

Reads check what they touch cheaply: sizes, structure, the checksums of formats that have them. This reads everything,
so that a flipped bit in a vector is found too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headwater.errors import Corrupt, ObjectNotFound
from headwater.lake.manifest import FileRef, Manifest
from headwater.store import ObjectStore
from headwater.tiers import checksum_of
from headwater.types import ByteRange

__all__ = ["VerifyReport", "verify"]

_PART_BYTES = 16 << 20


@dataclass(frozen=True)
class VerifyReport:
    """What was found.

    Attributes:
        version: the version whose files were read.
        files: how many.
        bytes_read: their size.
        damaged: a line for each file that is missing, has another size, or another checksum.
    """

    version: int
    files: int
    bytes_read: int
    damaged: tuple[str, ...]


def verify(
    store: ObjectStore, manifest: Manifest, *, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check every file of the lake that a version is made of; files that others own are checked when they are read.

    Args:
        store: where the lake is.
        manifest: the version.
        progress: called with (bytes read, bytes to read).
    """
    references = list(_references(manifest))
    total = sum(reference.size_bytes for reference in references)
    damaged, read = [], 0
    for reference in references:
        problem = _problem(store, reference)
        if problem:
            damaged.append(f"{reference.key}: {problem}")
        read += reference.size_bytes
        if progress:
            progress(read, total)
    return VerifyReport(manifest.version, len(references), read, tuple(damaged))


def _references(manifest: Manifest) -> Iterator[FileRef]:
    for segment in manifest.segments:
        yield from (group.file for group in segment.column_groups if group.file is not None)
        yield from (one for one in (segment.delete_vector, segment.row_id_file) if one is not None)
    yield from (build.file for build in manifest.builds)


def _problem(store: ObjectStore, reference: FileRef) -> str | None:
    crc = 0
    try:
        found = store.head(reference.key).size_bytes
        if found != reference.size_bytes:
            return f"{found} bytes, expected {reference.size_bytes}"
        for start in range(0, reference.size_bytes, _PART_BYTES):
            stop = min(start + _PART_BYTES, reference.size_bytes)
            [part] = store.get_ranges(reference.key, [ByteRange(start, stop)])
            crc = zlib.crc32(part, crc)
    except ObjectNotFound:
        return "missing"
    except Corrupt as error:
        return str(error)
    checksum = checksum_of(crc)
    return None if checksum == reference.checksum else f"{checksum}, expected {reference.checksum}"
