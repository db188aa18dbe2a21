"""A collection's indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater import jobs
from headwater.engine.versions import Versions
from headwater.errors import IndexNotFound
from headwater.index import parse_params
from headwater.jobs import BuildReport, Progress
from headwater.lake import AddIndex, DropIndex, IndexSpec

__all__ = ["Indexing"]


class Indexing(Versions):
    """Rows that no artifact covers are searched exactly: an index changes what a search costs, not what it finds."""

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
        """Declare an index on a field and build it for every segment; rows in the log are sealed first.

        Calling it again with the same arguments covers what is not covered yet; with others it replaces the index.

        Args:
            field: a dense vector field.
            index_type: FLAT, IVF_FLAT, IVF_SQ8, IVF_PQ, IVF_RABITQ, HNSW, HNSW_SQ, AUTOINDEX; BIN_FLAT, BIN_IVF_FLAT.
            metric_type: L2, IP or COSINE (default); HAMMING (default) or JACCARD for binary vectors.
            params: build parameters of the kind (`nlist`, `m`, `M`, `efConstruction`, ...).
            progress: called with (rows indexed, rows to index).
            name: the index's name; the field's name by default.
        """
        target = self._lake.latest().schema.field(field)
        parsed = parse_params(index_type, metric_type, params or {}, target.type)
        spec = IndexSpec(
            name=name or field,
            field_id=target.id,
            kind=parsed.kind,
            metric=str(parsed.metric),
            options=parsed.options,
        )
        self.flush()
        base = self._lake.latest()
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
        self.flush()
        specs = self._lake.latest().indexes
        return [jobs.build_index(self._lake, spec, self._open, progress=progress) for spec in specs]
