"""Splitting a shard: its log is closed by a last entry that names its heirs, then the heirs join the version.

Nothing is moved. Writers find the last entry where they meant to write, and go to the heirs; should the splitter die
between the two steps, whoever finds the closed log completes it. The old log is read until its rows are in segments.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from headwater.errors import InvalidArgument
from headwater.lake.applying import apply
from headwater.lake.changes import AddShards
from headwater.lake.lake import Lake
from headwater.lake.log.cursor import Cursor
from headwater.lake.manifest import Manifest
from headwater.lake.shards import Shard, halves

if TYPE_CHECKING:
    from headwater.lake.log.collection_log import CollectionLog

__all__ = ["adopt_heirs", "split_shard"]


def split_shard(log: CollectionLog, number: int) -> tuple[Shard, ...]:
    """Split a shard in two equal ranges of its keys; writes go on.

    Args:
        log: the collection's log.
        number: the shard.

    Returns:
        The shards that took over.

    Raises:
        InvalidArgument: no open shard has this number, or it cannot be divided further.
    """
    cursors = log.pin().cursors
    if number not in cursors or cursors[number].closed:
        open_shards = [one.shard.number for one in cursors.values() if not one.closed]
        raise InvalidArgument(f"shard {number} is not open", hint=f"open shards: {open_shards}")

    def heirs(at: Cursor) -> tuple[Shard, ...]:
        first, second = (f"{child}-{uuid.uuid4().hex[:8]}" for child in (2 * number + 1, 2 * number + 2))
        return halves(replace(at.shard, timestamp=at.timestamp), (first, second))

    made = log.close_shard(number, heirs)
    log.advance(adopt_heirs(log.lake, log.pin().cursors.values()))
    return made


def adopt_heirs(lake: Lake, cursors: Iterable[Cursor]) -> Manifest:
    """Make the heirs of closed logs part of the newest version, unless they are."""
    manifest = lake.latest()
    changes = [AddShards(cursor.shard.number, cursor.closed) for cursor in cursors if cursor.closed]
    changes = [change for change in changes if apply(change, manifest) is not manifest]
    return lake.commit(manifest, changes, operation="split shard") if changes else manifest
