"""Keeping a collection in good form: sealing, indexing, compacting, splitting, and saying how it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from headwater import jobs
from headwater.engine.changing import change_newest
from headwater.engine.writing import Writing
from headwater.errors import InvalidArgument
from headwater.jobs import CompactReport, Progress
from headwater.lake import (
    AlterSchema,
    Change,
    CompactionTask,
    DeletedRows,
    DeleteRows,
    DropBuilds,
    Manifest,
    SetProperties,
    plan_compaction,
    plan_optimization,
)
from headwater.lake.log import seal, split_shard, write_delete_vector
from headwater.query import TTL_FIELD_PROPERTY, TTL_PROPERTY, WRITTEN_FIELD, Snapshot
from headwater.schema import Field, FunctionType, TimestampTz
from headwater.types import DataType

__all__ = ["MaintenanceReport", "Maintaining", "Told", "in_window"]

CLUSTERING_PROPERTY = "clustering_key"

_LOADING_S = 5.0
"""Since the last version: more is likely to come."""

_SPARED_S = 60
"""How long upkeep leaves rows that are past their time: until then a longer time to live brings them back."""

AUTOCOMPACTION_PROPERTY = "collection.autocompaction.enabled"
"""Property of a collection: false where only `optimize` may compact it."""

_OTHERS_PATIENCE = 1.5
"""Times the limits of sealing at which a process that did not write last takes the writer for gone."""


Told = Callable[[str, int, int], None]
"""Called with what upkeep is doing, how much of it is done, and how much there is."""


def _silent(what: str, done: int, total: int) -> None:
    return None


@dataclass(frozen=True)
class MaintenanceReport:
    """What `optimize` did.

    Attributes:
        compactions: a report for each.
        indexes_rebuilt: names of indexes that had fallen below the least recall and were built again.
        rows_indexed: rows that got an index.
        seconds: wall time.
        version: the newest version after it.
    """

    compactions: tuple[CompactReport, ...]
    indexes_rebuilt: tuple[str, ...]
    rows_indexed: int
    seconds: float
    version: int


class Maintaining(Writing):
    """What the background does by itself, and what can be asked for."""

    def optimize(
        self, *, cluster_by: str | None = None, progress: Progress | None = None
    ) -> MaintenanceReport:
        """Seal, merge small segments, drop deleted rows, index everything and rebuild indexes that degraded; now.

        Args:
            cluster_by: sort all rows by this field, so that filters on it skip segments; rewrites everything.
            progress: called with (steps done, steps).
        """
        started = time.perf_counter()
        self._managed("optimize")
        if cluster_by is not None:
            self._lake.latest().schema.field(cluster_by)
        self.flush()
        limits = self._settings.lake
        self._expire()
        tasks = plan_optimization(
            self._lake.latest(),
            target_rows=limits.target_segment_rows,
            target_bytes=limits.target_segment_bytes,
            everything=cluster_by is not None,
        )
        held = self._protected()
        tasks = [task for task in tasks if not held & set(task.segments)]
        reports = []
        for done, task in enumerate(tasks):
            if progress is not None:
                progress(done, len(tasks) + 1)
            reports.append(self._compact(task, cluster_by=cluster_by))
        rebuilt = self._drop_degraded()
        built = self.build_indexes()
        if progress is not None:
            progress(len(tasks) + 1, len(tasks) + 1)
        return MaintenanceReport(
            compactions=tuple(reports),
            indexes_rebuilt=tuple(rebuilt),
            rows_indexed=sum(report.rows for report in built),
            seconds=time.perf_counter() - started,
            version=self.version,
        )

    def health(self, *, queries: int = 64) -> dict[str, Any]:
        """How the collection is: rows in the log, segments, deleted rows, and each index with its measured recall.

        Args:
            queries: rows to search for when recall is measured.
        """
        live = self._live()
        snapshot = self._snapshot(live)
        segments = live.manifest.segments
        stored = sum(segment.num_rows for segment in segments)
        gone = sum(segment.num_deleted for segment in snapshot.segments)
        entries, size_bytes = self._log.backlog
        return {
            "version": live.manifest.version,
            "num_rows": snapshot.num_rows,
            "growing_entries": entries,
            "growing_rows": live.pinned.num_rows,
            "growing_bytes": size_bytes,
            "segments": len(segments),
            "small_segments": sum(
                s.num_rows < self._settings.lake.target_segment_rows // 4 for s in segments
            ),
            "deleted_share": gone / (stored + live.pinned.num_rows) if stored + live.pinned.num_rows else 0.0,
            "shards": [
                {"number": c.shard.number, "entries": c.sequence - c.shard.sealed, "closed": bool(c.closed)}
                for c in live.cursors.values()
            ],
            "indexes": [
                jobs.index_health(snapshot, spec, queries=queries).to_dict() for spec in live.manifest.indexes
            ],
        }

    def split_shard(self, number: int | None = None) -> list[int]:
        """Split a write stream in two while writes go on; metadata only.

        Args:
            number: which; the only one by default.

        Returns:
            The numbers of the shards that took over.
        """
        self._managed("split shard")
        if number is None:
            open_shards = [c.shard.number for c in self._live().cursors.values() if not c.closed]
            if len(open_shards) != 1:
                raise InvalidArgument(f"split_shard needs a number: the open shards are {open_shards}")
            number = open_shards[0]
        return [shard.number for shard in split_shard(self._log, number)]

    def set_ttl(self, seconds: float | None = None, *, field: str | None = None) -> None:
        """Let rows go by themselves. Readers stop seeing them at the moment; upkeep removes them later.

        A longer time brings rows back that are not removed yet: upkeep leaves them for a minute, `optimize` does not.

        Args:
            seconds: how long after its last write a row lives; rows that are there now count from now. None for ever.
            field: a TimestampTz field that holds the moment at which its row is gone; null for never. None for none.
        """
        manifest = self._managed("time to live")
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            raise InvalidArgument(f"a time to live is a positive number of seconds, got {seconds!r}")
        if field is not None and manifest.schema.field(field).type.data_type is not DataType.TIMESTAMPTZ:
            raise InvalidArgument(
                f"field {field!r} is {manifest.schema.field(field).type}, not a TimestampTz"
            )
        self.flush()
        base = self._lake.latest()
        changes: list[Change] = []
        if seconds is not None and not base.schema.hidden:
            now = datetime.fromtimestamp(self._lake.now_ms() / 1000, UTC).isoformat()
            written = Field(WRITTEN_FIELD, TimestampTz, nullable=True, default=now)
            changes.append(AlterSchema(base.schema, base.schema.hide(written)))
        properties = {TTL_PROPERTY: None if seconds is None else str(seconds), TTL_FIELD_PROPERTY: field}
        self._lake.commit(base, [*changes, SetProperties(properties)], operation="set time to live")

    def _expire(self, spared_s: int = 0) -> None:
        """Mark the rows that are past their time as deleted, so that compaction drops them.

        Args:
            spared_s: those whose time has been over for less than this stay.
        """

        def expired(manifest: Manifest) -> list[Change]:
            snapshot = Snapshot(manifest, self._opened)
            deletes = {}
            for segment in manifest.segments if snapshot.expires else ():
                gone = snapshot.gone(segment, spared_s=spared_s)
                count = 0 if gone is None else int(np.count_nonzero(gone))
                if gone is not None and count > segment.num_deleted:
                    vector = write_delete_vector(self._lake.store, self._lake.root, segment.id, gone)
                    deletes[segment.id] = DeletedRows(vector, count, segment.delete_vector)
            return [DeleteRows(deletes)] if deletes else []

        change_newest(self._lake, expired, operation="expire rows")

    # -- what the background does -----------------------------------------------------------------------------------

    def _protected(self) -> frozenset[str]:
        """Segments that a snapshot keeps from compaction now."""
        now = self._lake.now_ms()
        held: set[str] = set()
        for entry in self._lake.latest().snapshots.values():
            if entry.protected_until_ms > now:
                held.update(segment.id for segment in self._lake.at(version=entry.version).segments)
        return frozenset(held)

    def _seal_due(self) -> bool:
        """Seal what is due, or what this process wrote and only has to be named; returns whether there was anything."""
        if not self._due() and not (self._log.num_stored and self._log.wrote_last):
            return False
        seal(self._log, segment_rows=self._settings.lake.target_segment_rows, operation="seal")
        return True

    def _tend(self, *, compaction: bool = True, asked: bool = False, told: Told = _silent) -> bool:
        """One round of upkeep: what is in the log is sealed, and then as `_improve`."""
        sealed = self._seal_due()
        return self._improve(compaction=compaction, asked=asked, told=told) or sealed

    def _improve(self, *, compaction: bool = True, asked: bool = False, told: Told = _silent) -> bool:
        """What any process may do: fill, index, expire and compact. Returns whether there was anything to do.

        Args:
            compaction: whether compaction may start.
            asked: whether somebody waits for the indexes: segments get one that upkeep would leave until they grow.
            told: called with what is being done, how much of it is done, and how much there is.
        """
        limits, worked = self._settings.maintenance, self._fill()
        threads = limits.threads or 1
        manifest = self._lake.latest()
        for spec in manifest.indexes:
            field = manifest.schema.field_by_id(spec.field_id).name
            with self._build_turns.upkeep(field, partial(told, f"index {spec.name}")) as progress:
                if progress is None:
                    continue
                report = jobs.build_index(
                    self._lake,
                    spec,
                    self._open,
                    progress=progress,
                    threads=threads,
                    min_rows=self._indexed_from if asked else limits.index_rows,
                )
                worked = worked or bool(report.rows)
        managed = manifest.source is None
        if managed and compaction and manifest.properties.get(AUTOCOMPACTION_PROPERTY, "").lower() != "false":
            self._expire(_SPARED_S)
            manifest = self._lake.latest()
            tasks = plan_compaction(
                manifest,
                target_rows=self._settings.lake.target_segment_rows,
                target_bytes=self._settings.lake.target_segment_bytes,
                merge_segments=limits.merge_segments,
                deleted_share=limits.deleted_share,
                small_rows=limits.index_rows,
                loading=self._changing and not asked,
            )
            held = self._protected()
            for number, task in enumerate([task for task in tasks if not held & set(task.segments)][:1]):
                told(f"compact {task.why}", number, 1)
                self._compact(task, threads=threads)
                worked = True
        return worked

    @property
    def _changing(self) -> bool:
        """Whether a version came just now, as far as this process knows."""
        known = self._lake.known
        return known is not None and self._lake.now_ms() - known.created_ms < _LOADING_S * 1000

    def _fill(self) -> bool:
        """Go on where adding a function was cut short; an embedder costs money, so its user says so with `backfill`."""
        manifest = self._lake.latest()
        outputs = {
            one.name: manifest.schema.field(one.output).id
            for one in manifest.schema.functions
            if one.type is FunctionType.MINHASH
        }
        left = [
            name
            for name, number in outputs.items()
            if not all(segment.has_field(number) for segment in manifest.segments)
        ]
        for name in left:
            jobs.backfill(self._lake, name, self._functions, self._open)
        return bool(left)

    def _due(self) -> bool:
        """Whether enough, or for long enough, is in the log only.

        Whoever wrote last seals. Others would do the same work for nothing, and make their readers wait; they seal what
        is left behind.
        """
        limits, patience = self._settings.write, 1.0 if self._log.wrote_last else _OTHERS_PATIENCE
        entries, size_bytes = self._log.backlog
        oldest_ms = self._log.oldest_ms
        age_ms = 0 if oldest_ms is None else self._lake.now_ms() - oldest_ms
        return (
            entries >= limits.seal_entries * patience
            or size_bytes >= limits.seal_bytes * patience
            or age_ms > limits.seal_age_s * 1000 * patience
        )

    def _compact(
        self,
        task: CompactionTask,
        *,
        cluster_by: str | None = None,
        threads: int | None = None,
        segment_bytes: int | None = None,
    ) -> CompactReport:
        properties = self._lake.latest().properties
        report = jobs.compact(
            self._lake,
            task,
            self._open,
            cluster_by=cluster_by or properties.get(CLUSTERING_PROPERTY),
            segment_rows=self._settings.lake.target_segment_rows,
            segment_bytes=segment_bytes or self._settings.lake.target_segment_bytes,
            index_rows=self._settings.maintenance.index_rows,
            threads=threads,
        )
        # A process that has never read the log need not begin now.
        if self._log.age_s < float("inf"):
            self._log.pin()
        return report

    def _drop_degraded(self) -> list[str]:
        """Forget the artifacts of indexes that find too little, so that they are built anew."""
        manifest = self._lake.latest()
        snapshot = Snapshot(manifest, self._opened)
        least = self._settings.maintenance.min_recall
        bad = [spec for spec in manifest.indexes if jobs.index_health(snapshot, spec).recall < least]
        for spec in bad:
            self._lake.commit(self._lake.latest(), [DropBuilds(spec.name)], operation=f"rebuild {spec.name}")
        return [spec.name for spec in bad]


def in_window(window: str, hour: int) -> bool:
    """Whether an hour of the day is in a maintenance window such as ``22-6``; any hour is in an empty one.

    Raises:
        InvalidArgument: the window is not two hours of the day.
    """
    if not window:
        return True
    try:
        first, last = (int(part) for part in window.split("-"))
    except ValueError as error:
        raise InvalidArgument(f"maintenance window {window!r}: expected hours such as '22-6'") from error
    if not (0 <= first <= 24 and 0 <= last <= 24):
        raise InvalidArgument(f"maintenance window {window!r}: hours are from 0 to 24")
    return first <= hour < last if first <= last else hour >= first or hour < last
