"""What changed between two versions, row by row: the base of incremental jobs, replication and change data capture.

Stable row ids make it a difference of two sets: compaction moves rows and changes none. Segments that both versions
share, delete vector included, are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.lake import Segment
from headwater.query.snapshot import Snapshot
from headwater.types import RowIds

__all__ = ["CHANGE_COLUMN", "changed_rows"]

CHANGE_COLUMN = "change"
"""Column that says what happened to a row: `insert`, `update` or `delete`."""


def changed_rows(old: Snapshot, new: Snapshot, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Rows that differ, as they are in the newer version; deleted ones as they were.

    A row whose key was there before, and is there again with other values, is one `update`. Without a primary key an
    update is a `delete` and an `insert`. What happened and was undone in between is not told.

    Args:
        old: the older version.
        new: the newer one.
        names: fields to return; those that the older version lacks are null in its deleted rows.

    Yields:
        Record batches of `change` and the fields: deleted rows first, then updated and inserted ones.
    """
    kept = {(s.id, s.delete_vector) for s in old.segments} & {(s.id, s.delete_vector) for s in new.segments}
    before = [segment for segment in old.segments if (segment.id, segment.delete_vector) not in kept]
    after = [segment for segment in new.segments if (segment.id, segment.delete_vector) not in kept]
    old_ids, new_ids = _live_ids(old, before), _live_ids(new, after)
    gone = [ids[~np.isin(ids, _joined(new_ids))] for ids in old_ids]
    come = [ids[~np.isin(ids, _joined(old_ids))] for ids in new_ids]
    key = new.schema.primary_key
    gone_keys = _keys(old, before, gone, key)
    come_keys = _keys(new, after, come, key)
    shared = [name for name in names if name in old.schema.names]
    for segment, ids, keys in zip(before, gone, gone_keys, strict=True):
        replaced = _among(keys, come_keys, len(ids))
        for batch in _rows(old, segment, ids[~replaced], shared):
            yield _labelled(batch, pa.array(["delete"] * batch.num_rows), new, names)
    for segment, ids, keys in zip(after, come, come_keys, strict=True):
        replacing = _among(keys, gone_keys, len(ids))
        for change, chosen in (("update", ids[replacing]), ("insert", ids[~replacing])):
            for batch in _rows(new, segment, chosen, names):
                yield _labelled(batch, pa.array([change] * batch.num_rows), new, names)


def _live_ids(snapshot: Snapshot, segments: Sequence[Segment]) -> list[RowIds]:
    found = []
    for segment in segments:
        ids, gone = snapshot.opened.readers.of(segment, snapshot.schema).row_ids(), snapshot.gone(segment)
        found.append(ids if gone is None else ids[~gone])
    return found


def _joined(parts: Sequence[RowIds]) -> RowIds:
    return np.concatenate([np.empty(0, np.int64), *parts])


def _positions(snapshot: Snapshot, segment: Segment, ids: RowIds) -> npt.NDArray[np.bool_]:
    return np.isin(snapshot.opened.readers.of(segment, snapshot.schema).row_ids(), ids)


def _keys(
    snapshot: Snapshot, segments: Sequence[Segment], chosen: Sequence[RowIds], key: str | None
) -> list[pa.Array | None]:
    """The keys of chosen rows of each segment, in row order; None without a primary key."""
    if key is None or key not in snapshot.schema.names:
        return [None] * len(segments)
    found: list[pa.Array | None] = []
    for segment, ids in zip(segments, chosen, strict=True):
        batches = list(_rows(snapshot, segment, ids, [key]))
        kind = snapshot.schema.to_arrow([key]).field(0).type
        found.append(pa.concat_arrays([pa.array([], kind), *(batch.column(0) for batch in batches)]))
    return found


def _among(keys: pa.Array | None, others: Sequence[pa.Array | None], count: int) -> npt.NDArray[np.bool_]:
    """(n,) True where a key is among others, in the order of the row ids that the keys are of."""
    known = [other for other in others if other is not None and len(other)]
    if keys is None or not known:
        return np.zeros(count, np.bool_)
    found: npt.NDArray[np.bool_] = pc.is_in(keys, value_set=pa.concat_arrays(known)).to_numpy(
        zero_copy_only=False
    )
    return found


def _rows(
    snapshot: Snapshot, segment: Segment, ids: RowIds, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    if len(ids):
        wanted = _positions(snapshot, segment, ids)
        yield from snapshot.opened.readers.of(segment, snapshot.schema).scan(list(names), wanted)


def _labelled(batch: pa.RecordBatch, change: pa.Array, new: Snapshot, names: Sequence[str]) -> pa.RecordBatch:
    types = new.schema.to_arrow(names)
    columns = [
        batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, types.field(name).type)
        for name in names
    ]
    return pa.RecordBatch.from_arrays(
        [change, *columns], schema=pa.schema([pa.field(CHANGE_COLUMN, pa.string()), *types])
    )
