"""Large writes: the rows go straight into the files of segments, and the log only names these.

So they are written once, and nobody holds them in memory. The entry gives them their place in the log's order: what
was deleted before it is not theirs, what is deleted after it is. Files of a write that died before its entry are
garbage, as nothing names them; those that an entry names are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from headwater.lake.log.collection_log import CollectionLog, Receipt, ShardClosed
from headwater.lake.log.writes import NewRows, NewSegments, size_bytes
from headwater.lake.manifest import Segment

__all__ = ["write_large"]


def write_large(
    log: CollectionLog,
    rows: NewRows,
    make: Callable[[NewRows], Sequence[Segment]],
    *,
    large_bytes: int,
    room: Callable[[int], AbstractContextManager[None]],
) -> list[Receipt]:
    """Write many rows; durable and visible to every strong read when this returns.

    Args:
        log: the collection's log.
        rows: what to insert or upsert; they bring their keys.
        make: writes rows as segments, without row ids.
        large_bytes: what a shard gets of them goes into its log as it is where it is not larger than this.
        room: holds room for so many bytes in memory while an entry is written.

    Returns:
        A receipt for each shard written to.

    Raises:
        Unavailable: the store did not answer in time; the outcome may be unknown.
        Fenced: another writer holds the shard, and `takeover` is off.
    """
    receipts: list[Receipt] = []
    left = [rows]
    while left:
        for number, piece in log.routed(left.pop()):
            if size_bytes(piece) <= large_bytes:
                with room(size_bytes(piece)):
                    receipts += log.write(piece)
                continue
            segments = NewSegments(tuple(make(piece)), piece.keys if piece.upsert else None, number)
            try:
                with room(size_bytes(segments)):
                    receipts += log.write(segments)
            except ShardClosed:
                # Its keys are others' now, and so are two segments instead of one.
                left.append(piece)
    return receipts
