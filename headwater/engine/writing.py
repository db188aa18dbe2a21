"""Writes to a collection: insert, upsert, delete, truncate. Durable, and visible to strong reads, when they return."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.engine.core import DEFAULT_PARTITION
from headwater.engine.localtimes import localised
from headwater.engine.merging import given_parts, merged_rows
from headwater.engine.rows import (
    ALLOW_KEYS_PROPERTY,
    checked_rows,
    key_array,
    last_of_each_key,
    new_rows,
    rekeyed_rows,
    stamped,
)
from headwater.engine.streaming import insert_file
from headwater.engine.warming import Warming
from headwater.errors import AlreadyExists, InvalidArgument, PartitionNotFound
from headwater.lake import Manifest, Segment, SetPartition, Truncate, preferred_format, write_segment
from headwater.lake.log import Deletion, Live, NewRows, NewSegments, Receipt, size_bytes, write_large
from headwater.query import Snapshot, get, query_keys
from headwater.store import ahead

__all__ = ["WriteResult", "Writing"]

PARTITION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}")

_ENTRY_BYTES = 64 << 20
"""Of rows in one entry of the log."""

_MOST_STORED = 64
"""Segments that only the log names; a writer that finds more seals them itself."""


@dataclass(frozen=True)
class WriteResult:
    """What a write did.

    Attributes:
        count: rows written, or keys deleted.
        keys: primary keys of the rows, in the order given; made by the lake with `auto_id`; None without a primary key.
        timestamp: hybrid timestamp of the write; a read with `min_timestamp` of it sees the write, in any process.
    """

    count: int
    keys: pa.Array | None
    timestamp: int

    def after(self, others: Sequence[WriteResult]) -> WriteResult:
        """What this write did, and others of the same rows before it."""
        every = [*others, self]
        keys = [one.keys for one in every if one.keys is not None]
        return WriteResult(
            sum(one.count for one in every),
            pa.concat_arrays(keys) if keys else None,
            max(one.timestamp for one in every),
        )

    def __repr__(self) -> str:
        keys = None if self.keys is None else [*self.keys[:5].to_pylist(), *["..."][: len(self.keys) > 5]]
        return f"WriteResult(count={self.count:,}, keys={keys}, timestamp={self.timestamp})"


class Writing(Warming):
    """Rows go to the log, and from there into segments in the background."""

    _after_write: Callable[[], None] | None = None

    def insert(self, data: Any, *, partition: str | None = None) -> WriteResult:
        """Add rows; durable and visible when this returns.

        A key that is there already is not looked for, and would then be there twice: use `upsert` where it may be.

        Args:
            data: Arrow table, record batch or reader, pandas or Polars frame, list or iterator of dicts or of record
                batches, dict of lists, or the path of a Parquet file, which may be larger than memory.
            partition: the partition they go to; the default one by default.

        Raises:
            SchemaMismatch: a value does not fit; names row, field, expectation and what came. Nothing is added.
            InvalidArgument: the collection is external; its rows belong to the source.
            PartitionNotFound: there is no such partition, or another process dropped it meanwhile.
            Unavailable: the store did not answer within `write.deadline_s`; the rows may or may not be there.
        """
        manifest = self._managed("insert", partition)
        with self._partition_stays(manifest, partition):
            if isinstance(data, str | Path):
                return insert_file(self, manifest, data, partition)
            table = self._functions.fill(self._given_rows(manifest, data), manifest.schema)
            return self._write_rows(manifest, table, partition, upsert=False)

    def upsert(
        self,
        data: Any,
        *,
        partial: bool = False,
        array_ops: Mapping[str, str] | None = None,
        partition: str | None = None,
        new_keys: bool = False,
    ) -> WriteResult:
        """Add rows, or replace those that have the same primary key, at one moment.

        Args:
            data: as for `insert`. Of rows with the same key the last counts.
            partial: fields that a row leaves out keep the values they have; a new key needs every required field.
            array_ops: with `partial`, what an array field's value means: ``"replace"`` (the default), ``"append"``, or
                ``"remove"``, which takes out every element that is equal to a given one.
            partition: the partition they go to; a row of the same key leaves whichever it is in.
            new_keys: where the lake makes the keys, the new rows get new ones in place of those that they bring.

        Raises:
            SchemaMismatch: a value does not fit, or a new row lacks a field. Nothing is changed.
            InvalidArgument: the collection has no primary key, or is external.
            PartitionNotFound: there is no such partition, or another process dropped it meanwhile.
        """
        manifest = self._managed("upsert", partition)
        key = manifest.schema.primary_key
        if key is None:
            raise InvalidArgument(
                f"upsert needs a primary key, and collection {self.name!r} has none",
                hint="create it with primary_key=, or use delete and insert",
            )
        if array_ops and not partial:
            raise InvalidArgument("array_ops needs partial=True")
        with self._partition_stays(manifest, partition):
            fill = self._functions.fill
            data = localised(data, manifest)
            if not partial:
                table = last_of_each_key(checked_rows(data, manifest.schema, upsert=True), key)
                table = fill(table, manifest.schema)
                if manifest.schema.auto_id and new_keys:
                    return self._write_rekeyed(manifest, table, partition)
                if manifest.schema.auto_id and not _keys_allowed(manifest):
                    return self._upsert_prepared(lambda now: self._replaced_rows(now, table), partition)
                return self._write_rows(manifest, table, partition, upsert=True)
            # Computed before, because nobody else writes between the look at the rows and the write.
            parts, operations, complete = (
                given_parts(data, manifest.schema, fill),
                array_ops or {},
                self._functions.complete,
            )
            return self._upsert_prepared(lambda now: merged_rows(now, parts, operations, complete), partition)

    def delete(
        self,
        ids: Any = None,
        *,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        partition: str | None = None,
    ) -> WriteResult:
        """Delete rows by primary key (or row id), or those that a filter selects at this moment.

        Args:
            ids: keys; those that are absent are no error.
            filter: boolean expression, instead of `ids`.
            filter_params: values for ``{name}`` templates.
            partition: only in this partition.

        Returns:
            `count` is the number of keys given, or of rows that the filter selected.
        """
        manifest = self._managed("delete")
        if (ids is None) == (filter is None):
            raise InvalidArgument("delete() needs either ids or filter")
        by_row_id = manifest.schema.primary_key is None
        place = None if partition is None else self._partition_id(manifest, partition)
        if filter is None:
            keys = key_array(ids, manifest.schema)
            if len(keys) == 0:
                return WriteResult(0, keys, self._log.pin(max_age_s=float("inf")).timestamp)
            with self._room.taken(keys.nbytes):
                receipts = self._log.write(Deletion(keys, place), by_row_id=by_row_id)
            return self._written(receipts, len(keys), keys)

        def select(live: Live) -> Deletion | None:
            snapshot = self._snapshot(live)
            if place is not None:
                snapshot = snapshot.within(frozenset({place}))
            found = query_keys(snapshot, snapshot.bind(filter, filter_params))
            return Deletion(found, place) if len(found) else None

        with self._room.taken(0):
            receipts = self._log.write_prepared(select, by_row_id=by_row_id)
        keys = _written_keys(receipts)
        return self._written(receipts, 0 if keys is None else len(keys), keys)

    def truncate(self, partitions: Sequence[str] | None = None) -> int:
        """Delete every row, or those of some partitions; metadata only. Returns the new version's number.

        Older versions keep them until they expire.
        """
        if self.external:
            raise InvalidArgument(f"truncate operation is not supported on external collections: {self.name}")
        manifest = self._managed("truncate")
        self.flush()
        chosen = None if partitions is None else tuple(self._partition_ids(manifest, partitions))
        base = self._lake.latest()
        done = self._lake.commit(base, [Truncate(chosen)], operation="truncate")
        self._log.advance(done)
        return done.version

    # -- partitions -------------------------------------------------------------------------------------------------

    @property
    def partitions(self) -> list[str]:
        """Names of the partitions; the default one comes first."""
        return [DEFAULT_PARTITION, *sorted(self._live().manifest.partitions)]

    @property
    def partition_ids(self) -> dict[str, int]:
        """The partitions and the ids that the lake knows them by; the default one comes first.

        Those that a partition key spreads rows over are called ``_default_0`` and so on, as in Milvus.
        """
        manifest = self._lake.latest()
        if manifest.schema.partition_key is not None:
            return {f"{DEFAULT_PARTITION}_{one}": 1 + one for one in range(manifest.schema.num_partitions)}
        return {DEFAULT_PARTITION: 0, **dict(sorted(manifest.partitions.items()))}

    def create_partition(self, name: str) -> None:
        """Add a partition by name: rows go to it with `insert(partition=)`, reads look in it with `partitions=`."""
        manifest = self._managed("create partition")
        if manifest.schema.partition_key is not None:
            raise InvalidArgument(f"rows of {self.name!r} go where their partition key says")
        if not PARTITION_NAME.fullmatch(name):
            raise InvalidArgument(
                f"partition name {name!r} must be letters, digits, underscores and dashes after the first, 255 at most"
            )
        if name == DEFAULT_PARTITION or name in manifest.partitions:
            raise AlreadyExists(f"partition {name!r} exists in collection {self.name!r}")
        number = 1 + uuid.uuid4().int % (1 << 31)
        self._lake.commit(
            self._lake.latest(), [SetPartition(name, number)], operation=f"create partition {name}"
        )

    def drop_partition(self, name: str) -> None:
        """Delete a partition with its rows; metadata only."""
        manifest = self._managed("drop partition")
        if name == DEFAULT_PARTITION:
            raise InvalidArgument("the default partition cannot be dropped", hint="truncate() it")
        number = self._partition_id(manifest, name)
        self.flush()
        self._lake.commit(
            self._lake.latest(),
            [Truncate((number,)), SetPartition(name, None)],
            operation=f"drop partition {name}",
        )

    # -- inside -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _partition_stays(self, manifest: Manifest, name: str | None) -> Iterator[None]:
        """A write to a partition is acknowledged where the partition is there still.

        What is known of the collection may be some seconds old, and rows of a partition that was dropped meanwhile are
        gone with it. So its newest version is looked for beside the write, which costs no time where the store is away.
        """
        if name is None or manifest.schema.partition_key is not None:
            yield
            return
        number = self._partition_id(manifest, name)
        newest = ahead(self._lake.latest) if self._opened.waits else None
        yield
        if number != self._partition_id(newest.result() if newest else self._lake.latest(), name):
            raise PartitionNotFound(f"partition {name!r} of collection {self.name!r} was dropped meanwhile")

    def _given_rows(self, manifest: Manifest, data: Any) -> pa.Table:
        """A caller's new rows, as the schema has them."""
        return checked_rows(localised(data, manifest), manifest.schema, allow_keys=_keys_allowed(manifest))

    def _new_rows(
        self, manifest: Manifest, table: pa.Table, partition: str | None, *, upsert: bool = False
    ) -> NewRows:
        """Complete rows as the log takes them, written now.

        Raises:
            InvalidArgument: a partition is given where the partition key says which.
        """
        if partition is not None and manifest.schema.partition_key is not None:
            raise InvalidArgument(
                f"partition={partition!r}: rows of {self.name!r} go where their partition key says",
                hint=f"leave it out; the key is {manifest.schema.partition_key!r}",
            )
        place = 0 if partition is None else self._partition_id(manifest, partition)
        return new_rows(stamped(table, manifest.schema, self._lake.now_ms()), manifest, place, upsert=upsert)

    def _write_rows(
        self, manifest: Manifest, table: pa.Table, partition: str | None, *, upsert: bool
    ) -> WriteResult:
        rows = self._new_rows(manifest, table, partition, upsert=upsert)
        if table.num_rows == 0:
            key = manifest.schema.primary_key
            none = None if key is None else pa.array([], manifest.schema.to_arrow([key]).field(0).type)
            return WriteResult(0, none, self._log.pin(max_age_s=float("inf")).timestamp)
        if rows.rows.nbytes > self._settings.write.bulk_bytes and rows.auto_key is None:
            return self._written(self._write_large(manifest, rows), table.num_rows, rows.keys)
        receipts = self._write_pieces(rows)
        made = [receipt.made_keys for receipt in receipts if receipt.made_keys is not None]
        return self._written(receipts, table.num_rows, pa.concat_arrays(made) if made else rows.keys)

    def _write_rekeyed(self, manifest: Manifest, table: pa.Table, partition: str | None) -> WriteResult:
        """Rows in place of those whose keys they bring, under keys that the lake makes."""
        place = 0 if partition is None else self._partition_id(manifest, partition)
        rows = rekeyed_rows(stamped(table, manifest.schema, self._lake.now_ms()), manifest, place)
        receipts = self._write_pieces(rows)
        # Rows of several shards are written shard by shard; their keys are told in the order of the rows.
        old = pa.concat_arrays([one.write.keys for one in receipts if isinstance(one.write, NewRows)])
        made = pa.concat_arrays([one.made_keys for one in receipts if one.made_keys is not None])
        return self._written(receipts, table.num_rows, made.take(pc.index_in(rows.keys, old)))

    def _replaced_rows(self, snapshot: Snapshot, table: pa.Table) -> pa.Table:
        """Rows to upsert where the lake makes the keys: a key that it has not made would be made again."""
        key = snapshot.schema.primary_key or ""
        keys = table.column(key).to_pylist()
        unknown = set(keys) - set(get(snapshot, keys, (key,)).to_arrow().column(key).to_pylist())
        if unknown:
            raise InvalidArgument(
                f"upsert of key {min(unknown)!r}, which is not there: the lake makes the keys of {self.name!r}",
                hint="insert new rows without a key",
            )
        return table

    def _upsert_prepared(self, rows_of: Callable[[Snapshot], pa.Table], partition: str | None) -> WriteResult:
        """Upsert rows that are made from the collection as it is at the very moment before."""

        def prepare(live: Live) -> NewRows:
            table = stamped(rows_of(self._snapshot(live)), live.manifest.schema, self._lake.now_ms())
            place = 0 if partition is None else self._partition_id(live.manifest, partition)
            return new_rows(table, live.manifest, place, upsert=True)

        with self._room.taken(0):
            receipts = self._log.write_prepared(prepare)
        keys = _written_keys(receipts)
        return self._written(receipts, 0 if keys is None else len(keys), keys)

    def _in_segments(self, manifest: Manifest, rows: NewRows, root: str | None = None) -> list[Segment]:
        """Rows that are too many for the log, written where they will stay."""
        names = {str(field.id): field.name for field in manifest.schema.every_field}
        table = rows.rows.rename_columns([names[one] for one in rows.rows.column_names])
        parts = (
            [(rows.partition, table)]
            if rows.partitions is None
            else [(int(p), table.filter(pa.array(rows.partitions == p))) for p in np.unique(rows.partitions)]
        )
        limits = self._settings.lake
        row_bytes = max(1, table.nbytes // table.num_rows)
        size = max(1, min(limits.target_segment_rows, limits.target_segment_bytes // row_bytes))
        segments = []
        for place, part in parts:
            for start in range(0, part.num_rows, size):
                written = write_segment(
                    self._lake.store,
                    root or self._lake.root,
                    part.slice(start, size),
                    manifest.schema,
                    form=preferred_format(manifest),
                    waited=True,
                )
                segments.append(replace(written, partition=place))
        return segments

    def _write_large(self, manifest: Manifest, rows: NewRows) -> list[Receipt]:
        """Write rows as segments that the log names."""
        if self._log.num_stored >= _MOST_STORED:
            self.flush()
        return write_large(
            self._log,
            rows,
            partial(self._in_segments, manifest),
            large_bytes=self._settings.write.bulk_bytes,
            room=self._room.taken,
        )

    def _name_segments(self, segments: NewSegments) -> list[Receipt]:
        """Let segments of new rows be there, by one entry of the log."""
        if self._log.num_stored >= _MOST_STORED:
            self.flush()
        with self._room.taken(size_bytes(segments)):
            return self._log.write(segments)

    def _write_pieces(self, rows: NewRows) -> list[Receipt]:
        """Write rows, each log entry once there is room for it in memory."""
        receipts = []
        for piece in _pieces(rows, _ENTRY_BYTES):
            with self._room.taken(size_bytes(piece)):
                receipts += self._log.write(piece)
        return receipts

    def _written(self, receipts: Sequence[Receipt], count: int, keys: pa.Array | None) -> WriteResult:
        timestamp = max((receipt.timestamp for receipt in receipts), default=0)
        if self._after_write is not None:
            self._after_write()
        return WriteResult(count, keys, timestamp)


def _keys_allowed(manifest: Manifest) -> bool:
    return manifest.properties.get(ALLOW_KEYS_PROPERTY, "").lower() == "true"


def _written_keys(receipts: Sequence[Receipt]) -> pa.Array | None:
    """The keys of what was written from the state of the moment; None where nothing was."""
    writes = [one.write for one in receipts if isinstance(one.write, NewRows | Deletion)]
    keys = [write.keys for write in writes if write.keys is not None]
    return pa.concat_arrays(keys) if keys else None


def _pieces(rows: NewRows, limit_bytes: int) -> list[NewRows]:
    """Rows cut so that each piece fits a log entry."""
    size = max(1, rows.rows.nbytes)
    count = -(-size // limit_bytes)
    if count == 1:
        return [rows]
    step = -(-rows.rows.num_rows // count)
    return [
        replace(
            rows,
            rows=rows.rows.slice(start, step),
            keys=None if rows.keys is None else rows.keys.slice(start, step),
            partitions=None if rows.partitions is None else rows.partitions[start : start + step],
        )
        for start in range(0, rows.rows.num_rows, step)
    ]
