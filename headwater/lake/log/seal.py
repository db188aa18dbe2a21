"""Sealing: rows of the log become segments, deletes become delete vectors, and the log is cut, in one commit."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from headwater.errors import CommitConflict
from headwater.lake.changes import DeletedRows, Seal
from headwater.lake.log.collection_log import CollectionLog
from headwater.lake.log.cursor import Cursor
from headwater.lake.log.growing_segment import GrowingReader, GrowingSegment
from headwater.lake.log.live import Live
from headwater.lake.log.splitting import adopt_heirs
from headwater.lake.manifest import FileRef, Manifest, Segment
from headwater.lake.segment_files import preferred_format, with_row_ids, write_segment
from headwater.lake.shards import Shard
from headwater.schema import Schema
from headwater.store import ObjectStore
from headwater.tiers import checksum_of
from headwater.types import Bitmap, RowIds

__all__ = ["seal", "write_delete_vector"]

_ATTEMPTS = 20


def seal(log: CollectionLog, *, segment_rows: int, operation: str = "flush") -> Manifest:
    """Seal every entry of every shard's log up to now.

    Writes go on meanwhile, and stay in the log. Another process that seals the same entries is no harm: one of the two
    commits, the other finds nothing left to do. What came later does not count, so that of many processes that write
    and seal at once each is done when another has sealed its entries.

    Args:
        log: the collection's log.
        segment_rows: most rows of a segment.
        operation: what this is, for `history`.

    Returns:
        The version that holds the rows; the newest one when there was nothing to seal.
    """
    with log.seal_lock:
        wanted: Mapping[int, int] | None = None
        for attempt in range(_ATTEMPTS):
            live = log.pin()
            wanted = wanted or {number: cursor.sequence for number, cursor in live.cursors.items()}
            if not live.pinned.num_entries or _is_sealed(live.manifest, wanted):
                return live.manifest
            if any(cursor.closed for cursor in live.cursors.values()):
                # Nobody may find a log sealed past its last entry and not know its heirs.
                adopted = adopt_heirs(log.lake, live.cursors.values())
                if adopted.version > live.manifest.version:
                    log.advance(adopted)
                    continue
            change = _sealed(log, live, segment_rows)
            try:
                manifest = log.lake.commit(live.manifest, [change], operation=operation)
            except CommitConflict:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue
            log.advance(manifest)
            return manifest
    raise AssertionError("unreachable")


def _is_sealed(manifest: Manifest, wanted: Mapping[int, int]) -> bool:
    """Whether all is in segments that shards' logs have up to some entries; a shard that is gone is, to its end."""
    sealed = {shard.number: shard.sealed for shard in manifest.all_shards}
    return all(sealed.get(number, last) >= last for number, last in wanted.items())


def _sealed(log: CollectionLog, live: Live, segment_rows: int) -> Seal:
    manifest, pinned = live.manifest, live.pinned
    memory: dict[int, list[GrowingSegment]] = {}
    stored: list[Segment] = []
    for segment in pinned.segments:
        if isinstance(segment, GrowingSegment):
            memory.setdefault(segment.partition, []).append(segment)
        else:
            stored.append(_with_gone(log, segment, live))
    for partition, segments in memory.items():
        stored += _written(log, live, segments, partition, segment_rows)
    known = {segment.id: segment for segment in manifest.segments}
    deletes = {
        name: DeletedRows(
            file=write_delete_vector(log.lake.store, log.lake.root, name, gone.bitmap),
            num_deleted=gone.count,
            replaces=known[name].delete_vector,
        )
        for name, gone in pinned.gone.items()
        if name in known
    }
    before = {shard.number: shard for shard in manifest.all_shards}
    return Seal(
        segments=tuple(stored),
        deletes=deletes,
        sealed_from={number: before[number].sealed for number in live.cursors},
        shards=tuple(_after(cursor) for cursor in live.cursors.values()),
        finished=tuple(number for number, cursor in live.cursors.items() if cursor.closed),
    )


def _after(cursor: Cursor) -> Shard:
    return replace(
        cursor.shard,
        sealed=cursor.sequence,
        epoch=cursor.epoch,
        timestamp=cursor.timestamp,
        next_row_id=cursor.next_row_id,
    )


def _with_gone(log: CollectionLog, segment: Segment, live: Live) -> Segment:
    gone = live.pinned.gone.get(segment.id)
    if gone is None:
        return segment
    vector = write_delete_vector(log.lake.store, log.lake.root, segment.id, gone.bitmap)
    return replace(segment, delete_vector=vector, num_deleted=gone.count)


def _written(
    log: CollectionLog, live: Live, segments: Sequence[GrowingSegment], partition: int, segment_rows: int
) -> list[Segment]:
    """The rows of a partition that are not gone, as sealed segments."""
    schema, tables, row_ids = live.manifest.schema, [], []
    # Rows that were written before a function was added are filled by the job that fills the segments.
    given = {name for segment in segments for name in segment.rows.column_names}
    names = [f.name for f in schema.stored_fields if f.name not in schema.outputs or str(f.id) in given]
    for segment in segments:
        reader = GrowingReader(log.lake.store, segment, schema)
        table = pa.Table.from_arrays([reader.column(name) for name in names], schema=schema.to_arrow(names))
        ids = segment.row_id_array()
        gone = live.pinned.gone.get(segment.id)
        tables.append(table if gone is None else table.filter(pa.array(~gone.bitmap)))
        row_ids.append(ids if gone is None else ids[~gone.bitmap])
    form = preferred_format(live.manifest)
    made = []
    for whole, ids in _by_filling(pa.concat_tables(tables), np.concatenate(row_ids), schema):
        for start in range(0, whole.num_rows, segment_rows):
            written = write_segment(
                log.lake.store, log.lake.root, whole.slice(start, segment_rows), schema, form=form
            )
            numbered = with_row_ids(log.lake.store, log.lake.root, written, ids[start : start + segment_rows])
            made.append(replace(numbered, partition=partition))
    return made


def _by_filling(rows: pa.Table, ids: RowIds, schema: Schema) -> list[tuple[pa.Table, RowIds]]:
    """Rows with every value that a function gives them, and rows without, which a backfill is still to fill.

    A process that has not seen a new function yet writes rows without its output. Sealed together with others they
    would read as null, and nobody could tell that a value is missing.
    """
    missing = np.zeros(rows.num_rows, np.bool_)
    functions = [one for one in schema.functions if one.output in rows.column_names]
    for one in functions:
        missing |= one.unfilled(rows).to_numpy(zero_copy_only=False)
    if not missing.any():
        return [(rows, ids)]
    filled = rows.filter(pa.array(~missing)), ids[~missing]
    unfilled = rows.drop_columns([one.output for one in functions]).filter(pa.array(missing)), ids[missing]
    return [part for part in (filled, unfilled) if part[0].num_rows]


def write_delete_vector(store: ObjectStore, root: str, segment_id: str, bitmap: Bitmap) -> FileRef:
    """Write a delete vector: one bit a row, most significant bit first, 1 where the row is gone."""
    data = np.packbits(bitmap).tobytes()
    key = f"{root}/segments/{segment_id}/{uuid.uuid4().hex}.deletes"
    store.put(key, data)
    return FileRef(key, len(data), checksum_of(zlib.crc32(data)))
