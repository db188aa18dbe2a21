"""What a writer asks of a log, before the log gives it row ids, a sequence number and a timestamp."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.lake.log.entry import AddSegments, CloseShard, DeleteKeys, InsertRows, Record
from headwater.lake.manifest import Segment
from headwater.lake.shards import Shard

__all__ = ["Close", "Deletion", "NewRows", "NewSegments", "Write", "numbered", "piece_of", "size_bytes"]


@dataclass(frozen=True)
class NewRows:
    """Rows to insert, or to upsert.

    Attributes:
        rows: columns named by field id.
        keys: the key of each; None where there is no primary key, or where the log makes the keys.
        partition: the partition they go to.
        upsert: whether rows that hold one of the keys go at the same moment.
        auto_key: id of the key field that takes the row id as its value; None where the rows bring their keys.
        partitions: (n,) the partition of each row; None where `partition` is that of all.
        auto_text: whether a key that is made is the row id's digits, as a text.
    """

    rows: pa.Table
    keys: pa.Array | None = None
    partition: int = 0
    upsert: bool = False
    auto_key: int | None = None
    partitions: npt.NDArray[np.int64] | None = field(default=None, compare=False)
    auto_text: bool = False


@dataclass(frozen=True)
class NewSegments:
    """Segments of new rows, written already, without row ids.

    Attributes:
        segments: the segments.
        replaces: keys whose older rows go; None for an insert.
        shard: whose keys these rows have; None where the rows are new to every shard, and may be in any log.
    """

    segments: tuple[Segment, ...]
    replaces: pa.Array | None = None
    shard: int | None = None


@dataclass(frozen=True)
class Deletion:
    """Keys whose rows go.

    Attributes:
        keys: keys, or row ids without a primary key.
        partition: only in this partition; None for all.
    """

    keys: pa.Array
    partition: int | None = None


@dataclass(frozen=True)
class Close:
    """Close the log for good: these shards take over."""

    into: tuple[Shard, ...]


Write = NewRows | NewSegments | Deletion | Close


def numbered(write: Write, next_row_id: int) -> tuple[list[Record], int, pa.Array | None]:
    """A write as log records.

    Args:
        write: what is asked.
        next_row_id: the first row id to give.

    Returns:
        The records, the next row id after them, and the keys that were made for the rows, if they were.
    """
    if isinstance(write, Deletion):
        return [DeleteKeys(write.keys, write.partition)], next_row_id, None
    if isinstance(write, Close):
        return [CloseShard(write.into)], next_row_id, None
    if isinstance(write, NewSegments):
        return _numbered_segments(write, next_row_id)
    records: list[Record] = []
    if write.upsert and write.keys is not None:
        records.append(DeleteKeys(write.keys))
    rows, count = write.rows, write.rows.num_rows
    ids = np.arange(next_row_id, next_row_id + count, dtype=np.int64)
    made = None if write.auto_key is None else pa.array(ids)
    if made is not None and write.auto_text:
        made = made.cast(pa.string())
    if made is not None:
        rows = rows.append_column(str(write.auto_key), made)
    if write.partitions is None:
        return [*records, InsertRows(rows, next_row_id, write.partition)], next_row_id + count, made
    return (
        [*records, *_spread(rows, write.partitions, next_row_id, write.auto_key)],
        next_row_id + count,
        made,
    )


def _spread(
    rows: pa.Table, partitions: npt.NDArray[np.int64], first_row_id: int, auto_key: int | None
) -> list[Record]:
    """Rows by partition; those of one partition get row ids that follow each other, unless these are their keys."""
    order = np.argsort(partitions, kind="stable")
    names, starts = np.unique(partitions[order], return_index=True)
    bounds = [*starts.tolist(), len(order)]
    records: list[Record] = []
    for name, start, stop in zip(names.tolist(), bounds, bounds[1:], strict=False):
        chosen = order[start:stop]
        part = rows.take(pa.array(chosen))
        if auto_key is None:
            records.append(InsertRows(part, first_row_id + start, name))
            continue
        cuts = [0, *(np.flatnonzero(np.diff(chosen) != 1) + 1).tolist(), len(chosen)]
        for cut, end in itertools.pairwise(cuts):
            records.append(InsertRows(part.slice(cut, end - cut), first_row_id + int(chosen[cut]), name))
    return records


def _numbered_segments(write: NewSegments, next_row_id: int) -> tuple[list[Record], int, None]:
    segments = []
    for segment in write.segments:
        segments.append(replace(segment, row_ids=((next_row_id, segment.num_rows),)))
        next_row_id += segment.num_rows
    before: list[Record] = [] if write.replaces is None else [DeleteKeys(write.replaces)]
    return [*before, AddSegments(tuple(segments))], next_row_id, None


def piece_of(write: NewRows | Deletion, chosen: npt.NDArray[np.bool_]) -> NewRows | Deletion:
    """The part of a write that is about some of its rows or keys.

    Args:
        write: what is asked.
        chosen: (n,) True for the rows, or keys, wanted.
    """
    if chosen.all():
        return write
    mask = pa.array(chosen)
    if isinstance(write, Deletion):
        return replace(write, keys=write.keys.filter(mask))
    keys = None if write.keys is None else write.keys.filter(mask)
    partitions = None if write.partitions is None else write.partitions[chosen]
    return replace(write, rows=write.rows.filter(mask), keys=keys, partitions=partitions)


def size_bytes(write: Write) -> int:
    """About how many bytes the write adds to a log entry."""
    if isinstance(write, NewRows):
        return int(write.rows.nbytes)
    if isinstance(write, NewSegments):
        return 0 if write.replaces is None else int(write.replaces.nbytes)
    return int(write.keys.nbytes) if isinstance(write, Deletion) else 0
