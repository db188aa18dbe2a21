"""What is opened of segments and indexes that nobody will ask for again, and how it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headwater.lake import IndexBuild, Manifest, Segment
from headwater.query.coded import later
from headwater.tiers import MemoryView

__all__ = ["forget", "let_go"]

Caches = Iterable[MemoryView[Any, Any]]


def forget(caches: Caches, segments: Iterable[Segment], builds: Iterable[IndexBuild]) -> None:
    """Drop what is opened of some segments and index builds; whoever reads them goes on with it.

    Args:
        caches: of what is opened of their collection.
        segments: whose rows.
        builds: whose files.
    """
    # Every key begins with the name of a segment or a file, or with a word and then such a name.
    names = {*(segment.id for segment in segments), *(build.file.key for build in builds)}
    for cache in caches if names else ():
        # Not under the lock of the cache, which others may be waiting for.
        every = cache.keys()
        for key in every:
            if not names.isdisjoint((key,) if isinstance(key, str) else key[:2]):
                cache.drop(key)


def let_go(caches: Caches, before: Manifest, now: Manifest) -> None:
    """`forget` what a version had and a later one has not, in the background.

    Else it would stay until the budget of memory is full, and the files with it, whose place on the disk is not free
    while they are mapped.
    """
    if before.version >= now.version:
        return

    def drop() -> None:
        segments = {segment.id for segment in now.segments}
        files = {build.file.key for build in now.builds}
        gone = (one for one in before.segments if one.id not in segments)
        forget(caches, gone, (one for one in before.builds if one.file.key not in files))

    if not later(drop):
        drop()
