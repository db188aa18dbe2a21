"""Bulk import: files become segments in the background, and rows of the collection at one moment, all or none.

The segments are written where they will stay, under `staged/` of the collection, and one entry of the log names them
all. Asked to wait for a commit, the job stops before that entry; `commit` writes it, `abort` throws the files away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.engine.background import Job
from headwater.engine.localtimes import localised
from headwater.engine.rows import checked_rows, partition_of_rows, stamped
from headwater.errors import (
    Conflict,
    InvalidArgument,
    ObjectNotFound,
    PartitionNotFound,
    SchemaMismatch,
    Timeout,
)
from headwater.jobs.bulk_files import BulkFile, file_kind, read_bulk
from headwater.lake import (
    JobRecord,
    JobState,
    Manifest,
    Segment,
    preferred_format,
    write_column_group,
    write_segment,
)
from headwater.lake.gc import STAGED_FOLDER
from headwater.lake.log import NewSegments
from headwater.lake.manifest_json import segment_from_json, segment_json
from headwater.schema import Schema
from headwater.store import ObjectStore, RetryingStore, open_store, put_if_absent
from headwater.types import DataType

if TYPE_CHECKING:
    from headwater.engine.collection import Collection
    from headwater.engine.database import Database

__all__ = ["IMPORT_OPTIONS", "MAX_FILES", "Imports"]

MAX_FILES = 1024
"""File groups of one import."""

IMPORT_OPTIONS = ("sep", "nullkey")
"""Options that a file's format takes."""

_SEGMENT_BYTES = 256 << 20
_LOCAL_SCHEMES = ("file", "memory")
_MADE_KEYS = 1 << 62
_KEY_BITS = 32


class Imports:
    """The bulk imports of a database.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(
        self,
        collection: str,
        files: Sequence[Sequence[str]],
        *,
        partition: str | None = None,
        options: Mapping[str, str] | None = None,
        source_options: Mapping[str, Any] | None = None,
        auto_commit: bool = True,
        timeout_s: float | None = None,
    ) -> JobRecord:
        """Import files, in the background.

        Args:
            collection: where to.
            files: groups of paths; a group is one file, or for numpy one file for each field. Paths are relative to
                the lake, or to the setting `imports.root`; or URLs of a remote store.
            partition: where the rows go; the default one by default.
            options: `sep` and `nullkey` of CSV files.
            source_options: configuration of the store that URLs are on; never written to the lake.
            auto_commit: whether the rows are there when the job is done, or when `commit` is called.
            timeout_s: the job fails if it has not read all files so many seconds after it was asked for.

        Returns:
            The job. `details["rows"]` is how many rows it has read, `details["group_rows"]` how many of each group,
            and `details["group_bytes"]` how long its files are.

        Raises:
            InvalidArgument: the collection is external; a path or an option is refused.
        """
        held = self._database.collection(collection)
        manifest = held._managed("import")
        groups = [tuple(group) for group in files if group]
        if not groups:
            raise InvalidArgument("import request is empty")
        if len(groups) > MAX_FILES:
            raise InvalidArgument(
                f"The max number of import files should not exceed {MAX_FILES}, but got {len(groups)}"
            )
        for name in options or {}:
            if name not in IMPORT_OPTIONS:
                raise InvalidArgument(
                    f"import option {name!r} is not supported", hint=f"options: {', '.join(IMPORT_OPTIONS)}"
                )
        for group in groups:
            file_kind(group)
        if partition is not None and manifest.schema.partition_key is not None:
            raise InvalidArgument("not allow to set partition name for collection with partition key")
        place = 0 if partition is None else held._partition_id(manifest, partition)
        places = [[self._located(path, source_options) for path in group] for group in groups]

        def work(job: Job) -> Mapping[str, Any] | JobState:
            return _Import(self._database, held, job, place, dict(options or {}), auto_commit, timeout_s).run(
                places
            )

        details = {
            "files": [list(group) for group in groups],
            "partition": partition or "",
            "partition_id": place,
            "auto_commit": auto_commit,
            "rows": 0,
            "group_rows": [0] * len(groups),
            "group_bytes": [0] * len(groups),
            "root": held.root,
        }
        return self._database.jobs.start("import", self._database.name, held.name, work, details)

    def commit(self, job: int) -> JobRecord:
        """Let the rows of an import that waits be there; they are written now, for a time to live. Once is enough.

        Raises:
            Conflict: the job does not wait for a commit, and none has been; or what its rows are for was dropped: then
                it has failed.
        """
        record = self._database.jobs.get(job)
        if record.kind == "import" and record.state is JobState.COMPLETED:
            return record
        record = self._claimed(job, "commit", JobState.RUNNING)
        held = self.goal(record)
        lost = _lost(held, record)
        if held is None or lost:
            self._failed(record, lost)
            raise Conflict(f"import job {job}: {lost}", change="commit")
        store, key = held._lake.store, _staged_key(held, job)
        try:
            with self._database.jobs.holding(job):
                segments = [segment_from_json(one) for one in json.loads(store.get(key))]
                stamped_now = [_stamped(held, one, job) for one in segments]
                self._database.jobs.confirm(job)
                _publish(held, stamped_now)
        except BaseException:
            self._database.jobs.records.move(job, JobState.READY)
            raise
        return self._database.jobs.records.move(job, JobState.COMPLETED, progress=100)

    def goal(self, record: JobRecord) -> Collection | None:
        """What a job imports into, under the name that it has now; None where it was dropped."""
        root = record.details["root"]
        folder = root.removeprefix(f"{self._database.name}/")
        folders = self._database._names.chain.latest().folders
        name = next((name for name, one in folders.items() if one == folder), folder)
        held = self._database.held(name) if self._database.has_collection(name) else None
        return held if held is not None and held.root == root else None

    def looked_at(self, record: JobRecord) -> JobRecord:
        """The record of a job as it is now: one that waits, for a collection that was dropped, has failed."""
        if record.state is not JobState.READY or self.goal(record) is not None:
            return record
        return self._failed(record, _lost(None, record))

    def _failed(self, record: JobRecord, reason: str) -> JobRecord:
        _throw_away(self._database._store, record.details["root"], record.id)
        return self._database.jobs.records.move(record.id, JobState.FAILED, reason=reason)

    def abort(self, job: int) -> JobRecord:
        """Throw away the rows of an import that waits.

        Raises:
            Conflict: the job does not wait for a commit.
        """
        record = self._claimed(job, "abort", JobState.ABORTED)
        _throw_away(self._database._store, record.details["root"], job)
        return record

    def _claimed(self, job: int, verb: str, state: JobState) -> JobRecord:
        """The record, moved on by this caller alone."""
        records = self._database.jobs.records
        taken = False

        def alter(record: JobRecord) -> JobRecord | None:
            nonlocal taken
            taken = record.kind == "import" and record.state is JobState.READY
            return record.moved(state, records.now_ms()) if taken else None

        record = records.change(job, alter)
        if not taken:
            raise Conflict(
                f"import job {job} is {record.state}, and cannot {verb}, expected Uncommitted", change=verb
            )
        return record

    def _located(self, path: str, source_options: Mapping[str, Any] | None) -> tuple[ObjectStore, str]:
        """The store and the key of a path; a client cannot name any file of the server's machine.

        Raises:
            InvalidArgument: the path is not allowed.
        """
        scheme, found, rest = path.partition("://")
        if found:
            bucket, _, key = rest.partition("/")
            if scheme in _LOCAL_SCHEMES or not key:
                raise InvalidArgument(
                    f"import path {path!r}: expected a path in the lake, or a URL of a remote store",
                    hint="the setting imports.root names another folder that paths are relative to",
                )
            return RetryingStore(open_store(f"{scheme}://{bucket}", source_options)), key
        root = self._database._settings.imports.root
        store = RetryingStore(open_store(root, source_options)) if root else self._database._store
        base = store.local_path("x")
        if path.startswith("/") and base is not None and Path(path).is_relative_to(base.parent):
            path = str(Path(path).relative_to(base.parent))
        if path.startswith("/") or ".." in path.split("/"):
            raise InvalidArgument(f"import path {path!r} is outside of {store.url}")
        return store, path.removeprefix("./")


class _Import:
    """One import at work."""

    def __init__(
        self,
        database: Database,
        collection: Collection,
        job: Job,
        partition: int,
        options: Mapping[str, str],
        auto_commit: bool,
        timeout_s: float | None,
    ) -> None:
        self._database = database
        self._collection = collection
        self._job = job
        self._partition = partition
        self._options = options
        self._auto_commit = auto_commit
        self._timeout_s = timeout_s
        self._manifest: Manifest = collection._lake.latest()
        schema = self._manifest.schema
        # When the rows of one that waits were written is when it is committed.
        self._schema = schema if auto_commit else replace(schema, hidden=())
        self._root = _root(collection, job.id)
        self._rows: list[int] = []
        self._bytes: list[int] = []
        self._keys: tuple[int, int] | None = None

    def run(self, places: Sequence[Sequence[tuple[ObjectStore, str]]]) -> Mapping[str, Any] | JobState:
        try:
            segments = self._staged(places)
            if self._collection._lake.latest().schema != self._manifest.schema:
                raise Conflict("the schema of the collection was altered during the import")
            if lost := _lost(self._collection, self._job.record):
                raise Conflict(lost)
            self._job.confirm()
            if self._auto_commit:
                _publish(self._collection, segments)
                return self._details()
            stored = json.dumps([segment_json(one) for one in segments]).encode()
            self._collection._lake.store.put(_staged_key(self._collection, self._job.id), stored)
            self._database.jobs.records.renew(
                self._job.id, details={**self._job.record.details, **self._details()}
            )
            return JobState.READY
        except BaseException:
            _throw_away(self._collection._lake.store, self._collection.root, self._job.id)
            raise

    def _details(self) -> dict[str, Any]:
        made = {} if self._keys is None else {"first_key": self._keys[0], "last_key": self._keys[1] - 1}
        return {"rows": sum(self._rows), "group_rows": self._rows, "group_bytes": self._bytes, **made}

    def _staged(self, places: Sequence[Sequence[tuple[ObjectStore, str]]]) -> list[Segment]:
        sizes = self._bytes = [sum(_size(store, key) for store, key in group) for group in places]
        segments: list[Segment] = []
        held: list[pa.Table] = []
        held_bytes = done = 0
        for group, size in zip(places, sizes, strict=True):
            self._rows.append(0)
            for table in self._tables(group):
                self._rows[-1] += table.num_rows
                held.append(table)
                held_bytes += table.nbytes
                if held_bytes > _SEGMENT_BYTES:
                    segments += self._written(pa.concat_tables(held))
                    held, held_bytes = [], 0
                self._report(done, sum(sizes))
            done += size
            self._report(done, sum(sizes))
        if held:
            segments += self._written(pa.concat_tables(held))
        return segments

    def _report(self, done: int, total: int) -> None:
        self._job.report(done, total)
        taken_s = (self._database.jobs.records.now_ms() - self._job.record.created_ms) / 1000
        if self._timeout_s is not None and taken_s > self._timeout_s:
            raise Timeout(
                f"import timeout: {taken_s:.1f} s have passed, and {self._timeout_s:g} s were given"
            )

    def _tables(self, group: Sequence[tuple[ObjectStore, str]]) -> Iterator[pa.Table]:
        """The rows of a group of files, checked and complete."""
        manifest, functions = self._manifest, self._collection._functions
        schema = self._schema
        files: list[BulkFile] = [(key, partial(store.get, key)) for store, key in group]
        for piece in read_bulk(files, schema.given, self._options):
            try:
                table = functions.fill(
                    _whole(checked_rows(localised(piece, manifest), schema), schema), schema
                )
            except (SchemaMismatch, InvalidArgument) as error:
                names = ", ".join(repr(key) for _, key in group)
                raise SchemaMismatch(f"{names}: {error.message}", hint=error.hint) from error
            key = schema.primary_key
            if key is not None and key not in table.column_names:
                table = table.append_column(key, self._made_keys(table.num_rows))
            yield stamped(table, schema, self._collection.now_ms())

    def _made_keys(self, count: int) -> pa.Array:
        """Keys that nothing else makes: from a range that this import has claimed."""
        if self._keys is None:
            store, seconds = self._collection._lake.store, int(time.time())
            mine = str(self._job.id).encode()
            while not put_if_absent(store, f"{self._collection.root}/{STAGED_FOLDER}/keys/{seconds}", mine):
                seconds += 1
            first = _MADE_KEYS | seconds << _KEY_BITS
            self._keys = (first, first)
        first, after = self._keys
        self._keys = (first, after + count)
        return pa.array(np.arange(after, after + count, dtype=np.int64))

    def _written(self, table: pa.Table) -> list[Segment]:
        schema = self._schema
        places = partition_of_rows(table, schema)
        parts = [(self._partition, table)]
        if places is not None:
            parts = [(int(one), table.filter(pa.array(places == one))) for one in np.unique(places)]
        size = self._collection._settings.lake.target_segment_rows
        form = preferred_format(self._manifest)
        store, segments = self._collection._lake.store, []
        for place, part in parts:
            for start in range(0, part.num_rows, size):
                made = write_segment(store, self._root, part.slice(start, size), schema, form=form)
                segments.append(replace(made, partition=place))
        return segments


def _whole(table: pa.Table, schema: Schema) -> pa.Table:
    """The table, in whose arrays nothing is null: clients that write such files could not tell it.

    Raises:
        SchemaMismatch: something is.
    """
    for field in schema.fields:
        given = field.type.data_type is DataType.ARRAY and field.name in table.column_names
        if given and pc.list_flatten(table[field.name]).null_count:
            raise SchemaMismatch(f'field "{field.name}": an array of a file may hold no null')
    return table


def _publish(collection: Collection, segments: Sequence[Segment]) -> None:
    """Let segments be rows of the collection, by one entry of the log."""
    if segments:
        receipts = collection._log.write(NewSegments(tuple(segments)))
        collection._written(receipts, sum(one.num_rows for one in segments), None)
    collection.flush()


def _lost(held: Collection | None, record: JobRecord) -> str:
    """What the rows of a job were for and is not there any more; empty where all is."""
    if held is None:
        return f"collection {record.collection!r} was dropped"
    partition, manifest = record.details["partition"], held._lake.latest()
    try:
        same = not partition or held._partition_id(manifest, partition) == record.details["partition_id"]
    except PartitionNotFound:
        same = False
    return "" if same else f"partition {partition!r} was dropped"


def _stamped(collection: Collection, segment: Segment, job: int) -> Segment:
    """The segment with the hidden fields that it lacks: its rows are written now."""
    manifest = collection._lake.latest()
    for field in manifest.schema.hidden:
        if segment.has_field(field.id):
            continue
        rows = pa.table({"": pa.nulls(segment.num_rows)})
        alone = replace(manifest.schema, hidden=(field,))
        group, stats = write_column_group(
            collection._lake.store,
            _root(collection, job),
            segment.id,
            stamped(rows, alone, collection.now_ms()).select([field.name]),
            (field,),
            form=preferred_format(manifest),
        )
        segment = replace(
            segment, column_groups=(*segment.column_groups, group), stats={**segment.stats, **stats}
        )
    return segment


def _root(collection: Collection, job: int) -> str:
    return f"{collection.root}/{STAGED_FOLDER}/{job}"


def _staged_key(collection: Collection, job: int) -> str:
    return f"{_root(collection, job)}/segments.json"


def _throw_away(store: ObjectStore, root: str, job: int) -> None:
    store.delete([meta.key for meta in store.list(f"{root}/{STAGED_FOLDER}/{job}")])


def _size(store: ObjectStore, key: str) -> int:
    try:
        return store.head(key).size_bytes
    except ObjectNotFound as error:
        raise ObjectNotFound(f"import file {key!r} does not exist in {store.url}") from error
