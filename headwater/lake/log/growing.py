"""What a log adds to a version: rows that no segment holds yet, and rows of its segments that are gone since.

Entries are noted as they come and worked out only when somebody looks (`pin`), many at once: a stream of single-row
upserts costs its writer an append to a list. In-memory segments are immutable and merged by doubling sizes, so a
reader sees few of them and each row is copied a logarithmic number of times.

Not thread-safe; its owner locks. Working out may read the store, and fail: then nothing has changed, and whoever looks
next tries again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.lake.log.entry import LOGICAL_BITS, AddSegments, DeleteKeys, Entry, InsertRows
from headwater.lake.log.growing_segment import GrowingSegment, growing_segment
from headwater.lake.manifest import FieldStats, Manifest, Segment
from headwater.lake.segment_files import runs_of
from headwater.lake.stats import bloom_may_contain
from headwater.schema import Schema
from headwater.types import Bitmap, RowIds

__all__ = ["GoneRows", "GrowingState", "Merge", "Part", "Pinned", "SegmentKeys", "merge_parts"]

_MERGED_ROWS = 65_536
_MERGED_BYTES = 48 << 20
_SMALL_ROWS = 1_024
_SMALL_BYTES = 512 << 10
"""Where somebody merges in the background, whoever looks merges no more than this by himself: 0.1 ms."""

_MOST_LARGE = 32
"""Parts beyond which a look merges two of them, whatever their size: the background does not keep up."""

_BLOOM_KEYS = 64

_tokens = itertools.count()


class SegmentKeys(Protocol):
    """Finds rows of a segment by primary key, or by row id where the schema has none."""

    def where(self, segment: Segment, schema: Schema, keys: pa.Array) -> RowIds:
        """Positions of the rows that hold one of the keys, deleted rows included."""
        ...

    def deleted(self, segment: Segment, schema: Schema) -> Bitmap | None:
        """(num_rows,) True where the segment's delete vector says that a row is gone."""
        ...

    def sealed(self, grown: Sequence[GrowingSegment], segments: Sequence[Segment], schema: Schema) -> None:
        """Be told of rows that were in memory, and of new segments in files that have them."""
        ...


@dataclass(frozen=True)
class GoneRows:
    """Every row of a segment that is gone.

    Attributes:
        bitmap: (num_rows,) True where gone; never written to.
        count: how many.
        token: equal only for equal bitmaps; a key for caches.
    """

    bitmap: Bitmap
    count: int
    token: int


@dataclass(frozen=True)
class Pinned:
    """What the log adds to a version, up to some entry of each shard.

    Attributes:
        segments: rows that no sealed segment holds, in order.
        gone: by segment id, for segments of the version and of `segments`; a segment not named here has lost only
            what its own delete vector says.
        num_entries: entries that are not in segments.
        num_rows: rows in memory, gone ones included.
        size_bytes: memory of the rows.
    """

    segments: tuple[Segment, ...] = ()
    gone: Mapping[str, GoneRows] = field(default_factory=dict)
    num_entries: int = 0
    num_rows: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class _Event:
    """A record that is noted, and not worked out."""

    shard: int
    sequence: int


@dataclass(frozen=True)
class _Rows(_Event):
    record: InsertRows


@dataclass(frozen=True)
class _Delete(_Event):
    record: DeleteKeys


@dataclass(frozen=True)
class _Stored(_Event):
    record: AddSegments


@dataclass(frozen=True)
class Part:
    """A segment in log order.

    Attributes:
        shard: whose log it is from.
        segment: its rows, in memory or in files.
        sequences: (num_rows,) the log entry of each row.
        gone: rows deleted since.
    """

    shard: int
    segment: Segment
    sequences: npt.NDArray[np.int64]
    gone: GoneRows | None = None


@dataclass(frozen=True)
class Merge:
    """Two neighbouring parts, and both as one.

    Attributes:
        first: the one part.
        last: the one after it.
        merged: their rows, without those that were gone when it was made.
    """

    first: Part
    last: Part
    merged: Part


class GrowingState:
    """The entries of all logs of a collection after those that its newest known version has sealed.

    Attributes:
        manifest: the version.
        num_entries: entries that are not in segments.
        num_stored: segments of these entries that are in files already, and only wait for a version that names them.
        size_bytes: about the memory of their rows and keys.

    Args:
        manifest: the version.
        keys: finds rows of segments by key.
        merges_all: whether a look merges large parts too; else somebody calls `due` and `merged`.
    """

    def __init__(self, manifest: Manifest, keys: SegmentKeys, *, merges_all: bool = True) -> None:
        self.manifest = manifest
        self._keys = keys
        self._merges_all = merges_all
        self._parts: list[Part] = []
        self._events: list[_Event] = []
        self._deletes: list[_Delete] = []
        self._unresolved: list[DeleteKeys] = []
        self._gone: dict[str, GoneRows] = {}
        self._entries: dict[int, dict[int, int]] = {}
        self._pinned: Pinned | None = None
        self.num_entries = 0
        self.num_stored = 0
        self.size_bytes = 0

    def apply(self, shard: int, entry: Entry) -> None:
        """Take in the next entry of a shard's log."""
        self._pinned = None
        self._entries.setdefault(shard, {})[entry.sequence] = entry.timestamp
        self.num_entries += 1
        for record in entry.records:
            if isinstance(record, InsertRows):
                self._events.append(_Rows(shard, entry.sequence, record))
                self.size_bytes += record.rows.nbytes
            elif isinstance(record, DeleteKeys):
                self._events.append(_Delete(shard, entry.sequence, record))
                self.size_bytes += record.keys.nbytes
            elif isinstance(record, AddSegments):
                self._events.append(_Stored(shard, entry.sequence, record))
                self.num_stored += len(record.segments)

    @property
    def held_bytes(self) -> int:
        """About the memory of these entries and of what readers have derived from their rows."""
        segments = [part.segment for part in list(self._parts)]
        return self.size_bytes + sum(one.derived_bytes for one in segments if isinstance(one, GrowingSegment))

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest of these entries was written, milliseconds since 1970."""
        firsts = [next(iter(entries.values())) for entries in self._entries.values() if entries]
        return min(firsts) >> LOGICAL_BITS if firsts else None

    def pin(self) -> Pinned:
        """What the entries so far add to the version."""
        if self._pinned is None:
            self._settle()
            self._resolve()
            gone = dict(self._gone)
            gone.update({part.segment.id: part.gone for part in self._parts if part.gone is not None})
            live = [
                part for part in self._parts if part.gone is None or part.gone.count < part.segment.num_rows
            ]
            memory = [p.segment for p in self._parts if isinstance(p.segment, GrowingSegment)]
            self._pinned = Pinned(
                segments=tuple(part.segment for part in live),
                gone=gone,
                num_entries=self.num_entries,
                num_rows=sum(segment.num_rows for segment in memory),
                size_bytes=sum(segment.size_bytes for segment in memory),
            )
        return self._pinned

    def due(self) -> tuple[Part, Part] | None:
        """Two neighbouring parts that are better one; None where all is well, and where a look merges all."""
        if self._merges_all:
            return None
        # The last part grows with the next look, which would undo the merge.
        grows = bool(self._parts) and self._parts[-1].segment.num_rows < _SMALL_ROWS
        pairs = itertools.pairwise(self._parts[:-1] if grows else self._parts)
        return next((pair for pair in pairs if _mergeable(*pair, large=True)), None)

    def replace(self, merge: Merge) -> bool:
        """Put a merged part in the place of two.

        Args:
            merge: of parts that `due` gave, and `merge_parts` has made one.

        Returns:
            Whether the two were still there; else nothing has changed.
        """
        for place, (first, last) in enumerate(itertools.pairwise(self._parts)):
            if first.segment is merge.first.segment and last.segment is merge.last.segment:
                bitmaps = [_since(merge.first, first), _since(merge.last, last)]
                merged = _with_gone(merge.merged, np.concatenate(bitmaps))
                self._parts[place : place + 2] = [merged] if merged.segment.num_rows else []
                self._pinned = None
                return True
        return False

    def advance(self, manifest: Manifest) -> None:
        """Go over to a newer version: what it has sealed is dropped here."""
        self._settle()
        sealed = {shard.number: shard.sealed for shard in manifest.all_shards}

        def is_sealed(shard: int, sequence: int) -> bool:
            # A shard that is in the manifest no more was split, and sealed to its end.
            return shard not in sealed or sequence <= sealed[shard]

        remaining = [one for one in self._deletes if not is_sealed(one.shard, one.sequence)]
        gone = self._carried(manifest, [one.record for one in remaining])
        parts = [kept for part in self._parts for kept in _after(part, sealed.get(part.shard))]
        self._tell_of_sealed(parts, manifest)
        self._gone, self._unresolved, self._deletes, self._parts = gone, [], remaining, parts
        self._entries = {
            shard: {n: timestamp for n, timestamp in entries.items() if not is_sealed(shard, n)}
            for shard, entries in self._entries.items()
            if shard in sealed
        }
        self.num_entries = sum(map(len, self._entries.values()))
        memory = [part.segment.size_bytes for part in self._parts if isinstance(part.segment, GrowingSegment)]
        self.num_stored = len(self._parts) - len(memory)
        self.size_bytes = sum(memory) + sum(one.record.keys.nbytes for one in self._deletes)
        self.manifest = manifest
        self._pinned = None

    def _tell_of_sealed(self, parts: Sequence[Part], manifest: Manifest) -> None:
        """Say which rows in memory are not in these parts any more, and which segments came with a version."""
        left = {part.segment.id for part in parts}
        went = [part.segment for part in self._parts if part.segment.id not in left]
        grown = [segment for segment in went if isinstance(segment, GrowingSegment)]
        if grown:
            old = {segment.id for segment in self.manifest.segments}
            self._keys.sealed(grown, [one for one in manifest.segments if one.id not in old], manifest.schema)

    def _carried(self, manifest: Manifest, remaining: Sequence[DeleteKeys]) -> dict[str, GoneRows]:
        """What is gone of a newer version's segments by the deletes that it has not sealed."""
        gone: dict[str, GoneRows] = {}
        if not remaining:
            return gone
        before = {segment.id: segment for segment in self.manifest.segments}
        for segment in manifest.segments:
            known = before.get(segment.id)
            if known is not None and known.delete_vector == segment.delete_vector:
                if segment.id in self._gone:
                    gone[segment.id] = self._gone[segment.id]
                self._resolve_segment(segment, self._unresolved, gone)
            else:
                self._resolve_segment(segment, remaining, gone)
        return gone

    # -- working out ------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Turn the noted entries into parts, and deletes of rows of parts."""
        parts = list(self._parts)
        for _, run in itertools.groupby(self._events, key=lambda event: isinstance(event, _Stored)):
            events = list(run)
            deletes = [event.record for event in events if isinstance(event, _Delete)]
            if deletes:
                parts = [self._without(part, deletes) for part in parts]
            for event in events:
                if isinstance(event, _Stored):
                    for segment in event.record.segments:
                        sequences = np.full(segment.num_rows, event.sequence, np.int64)
                        parts.append(Part(event.shard, segment, sequences))
            groups: dict[tuple[int, int], list[int]] = {}
            for place, event in enumerate(events):
                if isinstance(event, _Rows) and event.record.rows.num_rows:
                    groups.setdefault((event.shard, event.record.partition), []).append(place)
            for (shard, partition), places in groups.items():
                parts.append(self._settled_part(events, places, shard, partition))
                _merge_last(parts, large=self._merges_all)
                if len(parts) > _MOST_LARGE:
                    _merge_one(parts)
        noted = [event for event in self._events if isinstance(event, _Delete)]
        self._deletes += noted
        self._unresolved += [event.record for event in noted]
        self._parts, self._events = parts, []

    def _settled_part(
        self, events: Sequence[_Event], places: Sequence[int], shard: int, partition: int
    ) -> Part:
        inserts = [event for event in (events[place] for place in places) if isinstance(event, _Rows)]
        counts = [insert.record.rows.num_rows for insert in inserts]
        rows = pa.concat_tables([insert.record.rows for insert in inserts], promote_options="default")
        segment = growing_segment(
            rows,
            [(insert.record.first_row_id, size) for insert, size in zip(inserts, counts, strict=True)],
            partition,
        )
        part = Part(
            shard, segment, np.repeat([insert.sequence for insert in inserts], counts).astype(np.int64)
        )
        last_delete: dict[Any, int] = {}
        for place, event in enumerate(events):
            if isinstance(event, _Delete) and event.record.partition in (None, partition):
                last_delete.update(dict.fromkeys(event.record.keys.to_pylist(), place))
        if not last_delete:
            return part
        keys = self._key_column(segment)
        found = pc.index_in(keys, value_set=pa.array(list(last_delete), keys.type))
        deleted_at = np.array([*last_delete.values(), -1], np.int64)
        inserted_at = np.repeat(places, counts)
        which = found.fill_null(len(last_delete)).to_numpy(zero_copy_only=False)
        return _with_gone(part, deleted_at[which] > inserted_at)

    def _key_column(self, segment: GrowingSegment) -> pa.Array:
        key = self.manifest.schema.primary_key
        if key is None:
            return pa.array(segment.row_id_array())
        return segment.rows.column(str(self.manifest.schema.field(key).id)).combine_chunks()

    def _without(self, part: Part, deletes: Sequence[DeleteKeys]) -> Part:
        keys = _keys_for(part.segment.partition, deletes)
        if keys is None:
            return part
        positions = self._keys.where(part.segment, self.manifest.schema, keys)
        if len(positions) == 0:
            return part
        bitmap = self._start_of(part.segment) if part.gone is None else part.gone.bitmap.copy()
        bitmap[positions] = True
        return _with_gone(part, bitmap)

    def _start_of(self, segment: Segment) -> Bitmap:
        stored = self._keys.deleted(segment, self.manifest.schema) if segment.delete_vector else None
        return np.zeros(segment.num_rows, np.bool_) if stored is None else stored.copy()

    def _resolve(self) -> None:
        """Find the rows of the version's segments that the noted deletes mean."""
        if self._unresolved:
            gone = dict(self._gone)
            for segment in self.manifest.segments:
                self._resolve_segment(segment, self._unresolved, gone)
            self._gone, self._unresolved = gone, []

    def _resolve_segment(
        self, segment: Segment, deletes: Sequence[DeleteKeys], into: dict[str, GoneRows]
    ) -> None:
        keys = _keys_for(segment.partition, deletes)
        if keys is None or not self._may_hold(segment, keys):
            return
        positions = self._keys.where(segment, self.manifest.schema, keys)
        if len(positions) == 0:
            return
        held = into.get(segment.id)
        bitmap = self._start_of(segment) if held is None else held.bitmap.copy()
        bitmap[positions] = True
        into[segment.id] = _gone(bitmap)

    def _may_hold(self, segment: Segment, keys: pa.Array) -> bool:
        key = self.manifest.schema.primary_key
        if key is None:
            bounds = pc.min_max(keys).as_py()
            return any(first <= bounds["max"] and bounds["min"] < first + n for first, n in segment.row_ids)
        stats: FieldStats | None = segment.stats.get(self.manifest.schema.field(key).id)
        if stats is not None and stats.min is not None:
            bounds = pc.min_max(keys).as_py()
            if bounds["max"] < stats.min or bounds["min"] > stats.max:
                return False
        if segment.key_bloom is None or len(keys) > _BLOOM_KEYS:
            return True
        return any(bloom_may_contain(segment.key_bloom, one) for one in keys.to_pylist())


def _keys_for(partition: int, deletes: Iterable[DeleteKeys]) -> pa.Array | None:
    """The keys that these deletes take from a partition; None for none."""
    arrays = [one.keys for one in deletes if one.partition in (None, partition) and len(one.keys)]
    if not arrays:
        return None
    return arrays[0] if len(arrays) == 1 else pa.concat_arrays(arrays)


def _gone(bitmap: Bitmap) -> GoneRows:
    bitmap.flags.writeable = False
    return GoneRows(bitmap, int(np.count_nonzero(bitmap)), next(_tokens))


def _with_gone(part: Part, bitmap: Bitmap) -> Part:
    gone = _gone(bitmap)
    return replace(part, gone=gone if gone.count else None)


def _merge_last(parts: list[Part], *, large: bool) -> None:
    """Merge the last parts while the one before is not much larger."""
    while len(parts) > 1 and _mergeable(*parts[-2:], large=large):
        merged = merge_parts(*parts[-2:]).merged
        parts[-2:] = [merged] if merged.segment.num_rows else []


def _merge_one(parts: list[Part]) -> None:
    """Merge the last two neighbours that are better one; no more, so that no look pays for all that is behind."""
    for place in range(len(parts) - 2, -1, -1):
        if _mergeable(*parts[place : place + 2], large=True):
            merged = merge_parts(*parts[place : place + 2]).merged
            parts[place : place + 2] = [merged] if merged.segment.num_rows else []
            return


def _mergeable(first: Part, last: Part, *, large: bool) -> bool:
    one, other = first.segment, last.segment
    if (first.shard, one.partition) != (last.shard, other.partition):
        return False
    if not isinstance(one, GrowingSegment) or not isinstance(other, GrowingSegment):
        return False
    rows, size_bytes = one.num_rows + other.num_rows, one.size_bytes + other.size_bytes
    if rows <= _SMALL_ROWS and size_bytes <= _SMALL_BYTES:
        return True
    if not large or rows > _MERGED_ROWS or size_bytes > _MERGED_BYTES:
        return False
    return one.num_rows <= 2 * other.num_rows


def merge_parts(first: Part, last: Part) -> Merge:
    """Both as one, without the rows that are gone."""
    tables, row_ids, sequences = [], [], []
    for part in (first, last):
        assert isinstance(part.segment, GrowingSegment)
        kept = _kept(part)
        rows, ids = part.segment.rows, part.segment.row_id_array()
        tables.append(rows if kept is None else rows.filter(pa.array(kept)))
        row_ids.append(ids if kept is None else ids[kept])
        sequences.append(part.sequences if kept is None else part.sequences[kept])
    rows = pa.concat_tables(tables, promote_options="default")
    runs = runs_of(np.concatenate(row_ids))
    segment = growing_segment(rows, runs, first.segment.partition)
    return Merge(first, last, Part(first.shard, segment, np.concatenate(sequences)))


def _since(before: Part, now: Part) -> Bitmap:
    """Of the rows that a part had left, those that have gone since."""
    kept = _kept(before)
    if now.gone is None:
        return np.zeros(before.segment.num_rows if kept is None else int(np.count_nonzero(kept)), np.bool_)
    return now.gone.bitmap if kept is None else now.gone.bitmap[kept]


def _kept(part: Part) -> Bitmap | None:
    return None if part.gone is None else ~part.gone.bitmap


def _after(part: Part, sealed: int | None) -> list[Part]:
    """What of a part comes after the sealed entries of its shard; None when all of the shard is sealed."""
    if sealed is None:
        return []
    if len(part.sequences) and int(part.sequences[0]) > sealed:
        return [part]
    start = int(np.searchsorted(part.sequences, sealed, side="right"))
    if start == len(part.sequences) or not isinstance(part.segment, GrowingSegment):
        return []
    rows, ids = part.segment.rows.slice(start), part.segment.row_id_array()[start:]
    segment = growing_segment(rows, runs_of(ids), part.segment.partition)
    cut = Part(part.shard, segment, part.sequences[start:])
    return [cut if part.gone is None else _with_gone(cut, part.gone.bitmap[start:].copy())]
