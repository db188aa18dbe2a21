"""A collection as a user holds it: the newest version for reads, one commit for each change.

Every read pins the newest manifest first, so it sees one version whole. Methods are one call into one room; reads of an
older version are the same methods on what `at` returns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from headwater import jobs
from headwater.engine.data import as_table
from headwater.engine.reading import SnapshotReader
from headwater.errors import AlreadyExists, IndexNotFound, InvalidArgument, VersionNotFound
from headwater.index import parse_params
from headwater.jobs import BuildReport, Progress
from headwater.lake import (
    AddIndex,
    AlterSchema,
    AppendSegments,
    DropIndex,
    DropTag,
    GcReport,
    IndexSpec,
    Lake,
    Manifest,
    Restore,
    SetTag,
    SnapshotInfo,
    VerifyReport,
    gc,
    preferred_format,
    verify,
    write_segment,
)
from headwater.lake.external import RefreshReport, TableSource, open_source, refresh
from headwater.query import Opened, QueryResult, SearchResult, Snapshot
from headwater.schema import Field, FieldType, Schema, validate
from headwater.settings import Settings

__all__ = ["Collection", "CollectionAt"]


class CollectionAt(SnapshotReader):
    """One pinned version of a collection: every read, no change."""

    def __init__(self, name: str, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self.name = name

    def __repr__(self) -> str:
        return f"<collection {self.name!r} at version {self.version}: {self.num_rows:,} rows>"


class Collection:
    """A named set of rows in the lake.

    Args:
        name: its name.
        lake: its folder in the lake.
        settings: limits and defaults.
        source_options: credentials of an external source's store; never written to the lake.
    """

    def __init__(
        self, name: str, lake: Lake, settings: Settings, source_options: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self._lake = lake
        self._settings = settings
        source = lake.newest_readable().source
        self._source: TableSource | None = None if source is None else open_source(source, source_options)
        self._opened = Opened(lake.store, source=self._source, hot_bytes=settings.search.hot_bytes)
        self._held: Snapshot | None = None

    # -- versions ---------------------------------------------------------------------------------------------------

    def _open(self, manifest: Manifest) -> Snapshot:
        held = self._held
        if held is None or held.manifest is not manifest:
            held = self._held = Snapshot(manifest, self._opened)
        return held

    def _pinned(self, version: int | None = None, min_version: int | None = None) -> CollectionAt:
        manifest = self._lake.latest() if version is None else self._lake.at(version=version)
        if min_version is not None and manifest.version < min_version:
            raise VersionNotFound(
                f"collection {self.name!r} is at version {manifest.version}, min_version={min_version} was asked",
                hint="the version is not committed yet, or was committed to another lake",
            )
        return CollectionAt(self.name, self._open(manifest))

    def at(
        self, version: int | None = None, *, time: datetime | None = None, tag: str | None = None
    ) -> CollectionAt:
        """An older version, pinned: by number, by time (the newest not after it) or by tag.

        Raises:
            VersionNotFound: no such version, or it is expired.
            TagNotFound: no such tag.
        """
        if sum(choice is not None for choice in (version, time, tag)) != 1:
            raise InvalidArgument("at() needs exactly one of version, time and tag")
        return CollectionAt(self.name, self._open(self._lake.at(version=version, time=time, tag=tag)))

    def history(self) -> list[SnapshotInfo]:
        """The versions still kept, oldest first."""
        return self._lake.history()

    def tag(self, name: str, version: int | None = None) -> int:
        """Name a version (the newest by default), which also keeps it from `gc`. Returns the version tagged."""
        base = self._lake.latest()
        target = base.version if version is None else self._lake.at(version=version).version
        self._lake.commit(base, [SetTag(name=name, version=target)], operation=f"tag {name}")
        return target

    def drop_tag(self, name: str) -> None:
        """Forget a tag; its version is kept only as long as retention keeps it."""
        self._lake.commit(self._lake.latest(), [DropTag(name=name)], operation=f"drop tag {name}")

    def restore(self, version: int) -> int:
        """Make an older version the present again, as a new version. Returns its number."""
        target = self._lake.at(version=version)
        change = Restore(manifest=target)
        return self._lake.commit(self._lake.latest(), [change], operation=f"restore {version}").version

    def gc(
        self, *, retention_s: float | None = None, grace_s: float | None = None, dry_run: bool = False
    ) -> GcReport:
        """Forget versions past retention and delete the objects that no kept version names.

        Args:
            retention_s: how long versions are kept; the setting `lake.retention_s` by default.
            grace_s: objects younger than this are never deleted; the setting `lake.gc_grace_s` by default.
            dry_run: report only.
        """
        return gc(
            self._lake,
            retention_s=self._settings.lake.retention_s if retention_s is None else retention_s,
            grace_s=self._settings.lake.gc_grace_s if grace_s is None else grace_s,
            dry_run=dry_run,
        )

    def verify(self, version: int | None = None, *, progress: Progress | None = None) -> VerifyReport:
        """Read every file of a version (the newest by default) and compare it with its checksum.

        Args:
            version: which.
            progress: called with (bytes read, bytes to read).
        """
        manifest = self._lake.latest() if version is None else self._lake.at(version=version)
        return verify(self._lake.store, manifest, progress=progress)

    # -- reads of the newest version ----------------------------------------------------------------------------------

    @property
    def schema(self) -> Schema:
        """The newest schema."""
        return self._lake.latest().schema

    @property
    def version(self) -> int:
        """The newest version number."""
        return self._lake.latest().version

    @property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return self._pinned().num_rows

    def search(
        self, data: Any, *, version: int | None = None, min_version: int | None = None, **request: Any
    ) -> SearchResult:
        """Nearest neighbours; the arguments of `SnapshotReader.search`, and which version to read.

        Args:
            data: query vectors.
            version: read this version; the newest by default.
            min_version: fail rather than answer from an older version than this.
            **request: `anns_field`, `top_k`, `filter`, `output_fields`, `params`, ...
        """
        return self._pinned(version, min_version).search(data, **request)

    def query(
        self,
        filter: str | None = None,
        *,
        version: int | None = None,
        min_version: int | None = None,
        **request: Any,
    ) -> QueryResult:
        """Rows that a filter selects; the arguments of `SnapshotReader.query`, and which version to read."""
        return self._pinned(version, min_version).query(filter, **request)

    def get(
        self, ids: Any, *, output_fields: Sequence[str] | None = None, version: int | None = None
    ) -> QueryResult:
        """Rows by primary key (or row id), in the order of `ids`; absent keys are left out."""
        return self._pinned(version).get(ids, output_fields=output_fields)

    def count(self, filter: str | None = None, *, version: int | None = None) -> int:
        """Number of rows that a filter selects."""
        return self._pinned(version).count(filter)

    def scan(
        self, columns: Sequence[str] | None = None, filter: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches of the newest version."""
        return self._pinned().scan(columns, filter)

    def to_arrow(self, columns: Sequence[str] | None = None, filter: str | None = None) -> pa.Table:
        """Rows as an Arrow table, in stored order."""
        return self._pinned().to_arrow(columns, filter)

    def to_pandas(self, columns: Sequence[str] | None = None, filter: str | None = None) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        return self._pinned().to_pandas(columns, filter)

    def to_polars(self, columns: Sequence[str] | None = None, filter: str | None = None) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return self._pinned().to_polars(columns, filter)

    def describe(self) -> dict[str, Any]:
        """Schema, rows, segments and indexes of the newest version as a plain dict."""
        return {"name": self.name, **self._pinned().describe()}

    # -- changes ------------------------------------------------------------------------------------------------------

    def insert(self, data: Any) -> int:
        """Add rows; durable and visible when this returns.

        Args:
            data: Arrow table, record batch or reader, pandas or Polars frame, list of dicts, dict of lists, or the
                path of a Parquet file.

        Returns:
            The number of rows added.

        Raises:
            SchemaMismatch: a value does not fit; names row, field, expectation and what came. Nothing is added.
            InvalidArgument: the collection is external; its rows belong to the source.
        """
        base = self._lake.latest()
        if base.source is not None:
            raise InvalidArgument(
                f"collection {self.name!r} is external and cannot be inserted into",
                hint="add files to the source and call refresh()",
            )
        table = validate(as_table(data), base.schema)
        if table.num_rows == 0:
            return 0
        size = self._settings.lake.target_segment_rows
        segments = tuple(
            write_segment(
                self._lake.store,
                self._lake.root,
                table.slice(start, size),
                base.schema,
                form=preferred_format(base),
            )
            for start in range(0, table.num_rows, size)
        )
        self._lake.commit(base, [AppendSegments(segments)], operation="insert")
        return int(table.num_rows)

    def refresh(self) -> RefreshReport:
        """Look at the source again and commit the difference; only files that changed are read.

        Raises:
            InvalidArgument: the collection is not external.
            Corrupt: a source file cannot be read; the previous version stays.
        """
        if self._source is None:
            raise InvalidArgument(f"collection {self.name!r} is managed: it has no source to refresh from")
        limits = self._settings.lake
        _, report = refresh(
            self._lake,
            self._source,
            segment_rows=limits.target_segment_rows,
            shared_rows=limits.shared_fragment_rows,
        )
        return report

    def add_column(
        self,
        name: str,
        values: Any = None,
        *,
        type: FieldType | None = None,
        inputs: Sequence[str] = (),
    ) -> int:
        """Add a field, and its values, without rewriting anything.

        Args:
            name: the new field.
            values: an array in row order; a table with the primary key (or `row_id`) and the column; a function from
                a record batch to an array; one value for every row; None for nulls.
            type: the field's type; inferred from the values by default. A function needs it.
            inputs: the fields a function reads; all by default.

        Returns:
            Bytes written for the column.
        """
        snapshot = self._open(self._lake.latest())
        if name in snapshot.schema.names:
            raise AlreadyExists(f"field {name!r} exists in collection {self.name!r}")
        field = jobs.infer_field(name, values) if type is None else Field(name=name, type=type, nullable=True)
        return jobs.add_column(self._lake, snapshot, field, values, inputs=tuple(inputs))[1]

    def drop_column(self, name: str) -> None:
        """Remove a field from the schema; metadata only. Older versions still have it."""
        base = self._lake.latest()
        field = base.schema.field(name)
        if name == base.schema.primary_key:
            raise InvalidArgument(f"field {name!r} is the primary key and cannot be dropped")
        drops = [DropIndex(name=spec.name) for spec in base.indexes if spec.field_id == field.id]
        self._lake.commit(
            base, [*drops, AlterSchema(base.schema, base.schema.drop(name))], operation=f"drop column {name}"
        )

    def rename_column(self, old: str, new: str) -> None:
        """Rename a field; metadata only."""
        base = self._lake.latest()
        self._lake.commit(
            base, [AlterSchema(base.schema, base.schema.rename(old, new))], operation=f"rename column {old}"
        )

    def create_index(
        self,
        field: str,
        index_type: str = "AUTOINDEX",
        *,
        metric_type: str | None = None,
        params: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> BuildReport:
        """Declare an index on a field and build it for every segment.

        Calling it again with the same arguments covers what is not covered yet; with others it replaces the index.

        Args:
            field: a dense vector field.
            index_type: FLAT, IVF_FLAT, IVF_SQ8, IVF_PQ, IVF_RABITQ, HNSW, HNSW_SQ, AUTOINDEX; BIN_FLAT, BIN_IVF_FLAT.
            metric_type: L2, IP or COSINE (default); HAMMING (default) or JACCARD for binary vectors.
            params: build parameters of the kind (`nlist`, `m`, `M`, `efConstruction`, ...).
            progress: called with (rows indexed, rows to index).
            name: the index's name; the field's name by default.
        """
        base = self._lake.latest()
        target = base.schema.field(field)
        parsed = parse_params(index_type, metric_type, params or {}, target.type)
        spec = IndexSpec(
            name=name or field,
            field_id=target.id,
            kind=parsed.kind,
            metric=str(parsed.metric),
            options=parsed.options,
        )
        existing = next((one for one in base.indexes if one.field_id == target.id), None)
        if existing != spec:
            drop = [DropIndex(name=existing.name)] if existing else []
            self._lake.commit(base, [*drop, AddIndex(spec)], operation=f"create index {spec.name}")
        return jobs.build_index(self._lake, spec, self._open, progress=progress)

    def drop_index(self, field: str) -> None:
        """Remove the index of a field; searches on it become exact."""
        base = self._lake.latest()
        target = base.schema.field(field)
        spec = next((one for one in base.indexes if one.field_id == target.id), None)
        if spec is None:
            raise IndexNotFound(f"field {field!r} of collection {self.name!r} has no index")
        self._lake.commit(base, [DropIndex(name=spec.name)], operation=f"drop index {spec.name}")

    def build_indexes(self, progress: Progress | None = None) -> list[BuildReport]:
        """Cover the segments that the declared indexes do not cover yet, such as those of a refresh."""
        specs = self._lake.latest().indexes
        return [jobs.build_index(self._lake, spec, self._open, progress=progress) for spec in specs]

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"<collection {self.name!r}: {self.num_rows:,} rows at version {self.version}>"
