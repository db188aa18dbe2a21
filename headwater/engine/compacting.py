"""Compaction that somebody asked for: planned at once, done in the background, its outcome in the job's record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.engine.background import Job
from headwater.engine.maintaining import CLUSTERING_PROPERTY
from headwater.lake import CompactionTask, JobRecord, Manifest, plan_optimization

if TYPE_CHECKING:
    from headwater.engine.collection import Collection
    from headwater.engine.database import Database

__all__ = ["compact_in_background"]


def compact_in_background(
    database: Database,
    name: str,
    *,
    cluster: bool = False,
    deletes_only: bool = False,
    target_bytes: int | None = None,
) -> JobRecord:
    """Merge small segments and drop deleted rows and those that are past their time, as a job.

    Args:
        database: the collection's.
        name: of the collection.
        cluster: sort all rows by the collection's clustering key; nothing to do where it has none.
        deletes_only: only rewrite segments that have lost rows.
        target_bytes: size of a full segment; as the settings say by default.

    Returns:
        The job; `details["plans"]` are the tasks: `sources`, and when it is done `targets`, ids of segments.

    Raises:
        InvalidArgument: the collection is external.
    """
    collection = database.collection(name)
    collection._managed("compaction")
    collection._expire()
    tasks, cluster_by = _planned(collection, cluster, deletes_only, target_bytes)
    plans = [{"sources": list(task.segments), "targets": [], "why": task.why} for task in tasks]

    def work(job: Job) -> Mapping[str, Any]:
        done = []
        for number, task in enumerate(tasks):
            job.report(number, len(tasks))
            report = collection._compact(task, cluster_by=cluster_by, segment_bytes=target_bytes)
            done.append(
                {
                    "sources": list(task.segments),
                    "targets": list(report.added),
                    "why": task.why,
                    "given_up": report.version is None and _there(collection, task),
                }
            )
        return {"plans": done}

    details = {"plans": plans, "cluster": cluster, "deletes_only": deletes_only}
    return database.jobs.start("compact", database.name, collection.name, work, details)


def _planned(
    collection: Collection, cluster: bool, deletes_only: bool, target_bytes: int | None
) -> tuple[Sequence[CompactionTask], str | None]:
    manifest = collection._lake.latest()
    held = collection._protected()
    if cluster:
        key = manifest.properties.get(CLUSTERING_PROPERTY)
        tasks = (
            [] if key is None else plan_optimization(manifest, target_rows=1, target_bytes=1, everything=True)
        )
        return _allowed(tasks, held), key
    if deletes_only:
        tasks = [
            CompactionTask((one.id,), f"{one.num_deleted} rows are deleted")
            for one in manifest.segments
            if one.num_deleted
        ]
        return _allowed(tasks, held), None
    limits = collection._settings.lake
    rows, size = limits.target_segment_rows, limits.target_segment_bytes
    if target_bytes is not None:
        size = target_bytes
        rows = max(1, int(target_bytes / max(_row_bytes(manifest), 1e-9)))
    return _allowed(plan_optimization(manifest, target_rows=rows, target_bytes=size), held), None


def _there(collection: Collection, task: CompactionTask) -> bool:
    """Whether all of a task's segments are there still; where they are not, another compaction did what it was for."""
    return set(task.segments) <= {segment.id for segment in collection._lake.latest().segments}


def _allowed(tasks: Sequence[CompactionTask], held: frozenset[str]) -> list[CompactionTask]:
    """The tasks that touch no segment that a snapshot protects."""
    return [task for task in tasks if not held & set(task.segments)]


def _row_bytes(manifest: Manifest) -> float:
    """Bytes that a row takes, on average."""
    rows = sum(segment.num_rows for segment in manifest.segments)
    files = [
        group.file.size_bytes
        for segment in manifest.segments
        for group in segment.column_groups
        if group.file is not None
    ]
    return sum(files) / rows if rows else 0.0
