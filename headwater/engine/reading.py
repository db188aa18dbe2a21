"""Reading a snapshot, as both `Collection` (the newest version) and `CollectionAt` (a pinned one) do it.

Each method binds the caller's words (field names, filter text, parameters) to the snapshot's schema and makes one call
into the query room.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater.engine.extras import polars
from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index import check_search_options
from headwater.query import (
    QueryRequest,
    QueryResult,
    SearchPlan,
    SearchResult,
    Snapshot,
    count,
    get,
    query,
    query_matrix,
    scan,
    search,
)
from headwater.query.fetch import resolve_output_fields
from headwater.schema import Field, Schema
from headwater.types import MetricType

__all__ = ["SnapshotReader"]

_LONGEST_KEPT = 4096


class SnapshotReader:
    """Reads of one pinned version; the base of `CollectionAt`, and what `Collection` makes for each call."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @property
    def schema(self) -> Schema:
        """The schema at this version."""
        return self._snapshot.schema

    @property
    def version(self) -> int:
        """The version number."""
        return self._snapshot.manifest.version

    @property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return self._snapshot.num_rows

    def search(
        self,
        data: Any,
        *,
        anns_field: str | None = None,
        top_k: int = 10,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """Nearest neighbours of each query vector.

        Args:
            data: query vectors: (q, dim) array, a list of vectors, or one vector.
            anns_field: the vector field; may be left out when there is one.
            top_k: hits per query, 1 to 16,384.
            filter: boolean expression over scalar fields, such as ``year >= 2020 and lang in ["en", "de"]``.
            filter_params: values for ``{name}`` templates in the filter.
            output_fields: fields of each hit's entity; ``["*"]`` for all. None returns none.
            params: `metric_type`, `radius`, `range_filter`, and the index kind's search parameters (`nprobe`, `ef`);
                Milvus's nested form ``{"metric_type": ..., "params": {...}}`` is taken too.

        Returns:
            A list of hits per query, ``{"id", "distance", "entity"}``, best first; ``.info`` says what it answers.

        Raises:
            DimensionMismatch: a query vector has another dimension than the field.
            FilterSyntax: the filter does not parse or bind.
            FieldNotFound: a named field does not exist.
        """
        key = _plan_key(anns_field, top_k, filter, filter_params, output_fields, params)
        plan: SearchPlan | None = None if key is None else self._snapshot.cache.plans.get(key)
        if plan is None:
            plan = self._plan(anns_field, top_k, filter, filter_params, output_fields, params)
            if key is not None:
                self._snapshot.cache.plans.put(key, plan)
        return search(self._snapshot, plan, query_matrix(data, plan.field))

    def _plan(
        self,
        anns_field: str | None,
        top_k: int,
        filter: str | None,
        filter_params: Mapping[str, Any] | None,
        output_fields: Sequence[str] | None,
        params: Mapping[str, Any] | None,
    ) -> SearchPlan:
        vector_field = self._vector_field(anns_field)
        options = dict(params) if params else {}
        options.update(options.pop("params", None) or {})
        metric = self._metric(vector_field, options.pop("metric_type", None))
        radius, range_filter = options.pop("radius", None), options.pop("range_filter", None)
        self._check_options(vector_field, options)
        return SearchPlan(
            field=vector_field,
            top_k=top_k,
            metric=metric,
            filter=self._snapshot.bind(filter, filter_params),
            output_fields=tuple(resolve_output_fields(self.schema, output_fields)),
            radius=radius,
            range_filter=range_filter,
            options=options,
        )

    def _check_options(self, field: Field, options: Mapping[str, Any]) -> None:
        """Refuse parameters that would change nothing, whether or not an index is built yet."""
        spec = self._snapshot.index_of(field.id)
        if spec is not None:
            check_search_options(spec.kind, options)
        elif options:
            raise UnsupportedOption(
                f"field {field.name!r} has no index, so the search parameters {', '.join(options)} have no effect",
                hint="leave them out, or create an index",
            )

    def _vector_field(self, name: str | None) -> Field:
        fields = self.schema.vector_fields
        if name is not None:
            field = self.schema.field(name)
            if not field.type.data_type.dense_vector:
                raise InvalidArgument(f"field {name!r} is {field.type.data_type}, not a dense vector")
            return field
        if len(fields) != 1:
            found = ", ".join(field.name for field in fields) or "none"
            raise InvalidArgument(
                f"search needs anns_field: the schema has {len(fields)} vector fields ({found})",
                hint="pass anns_field=",
            )
        return fields[0]

    def _metric(self, field: Field, asked: str | None) -> MetricType:
        metric = self._snapshot.metric_of(field)
        if asked is None:
            return metric
        try:
            wanted = MetricType(str(asked).upper())
        except ValueError as error:
            known = ", ".join(MetricType)
            raise InvalidArgument(f"unknown metric_type {asked!r}, expected one of {known}") from error
        if wanted is not metric and self._snapshot.index_of(field.id) is not None:
            raise InvalidArgument(
                f"metric_type {wanted} differs from the index on {field.name!r}, which is {metric}",
                hint="leave metric_type out, or rebuild the index with another metric",
            )
        return wanted

    def query(
        self,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        order_by: str | Sequence[str | tuple[str, str]] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> QueryResult:
        """Rows that a filter selects.

        Args:
            filter: boolean expression; None for every row.
            filter_params: values for ``{name}`` templates.
            output_fields: fields to return; all of them by default.
            order_by: a field, or several; ``"-year"`` or ``("year", "desc")`` for descending. Nulls come last.
            limit: most rows to return.
            offset: rows to skip first.
        """
        request = QueryRequest(
            filter=self._snapshot.bind(filter, filter_params),
            output_fields=tuple(resolve_output_fields(self.schema, output_fields, self.schema.names)),
            order_by=_ordering(order_by),
            limit=limit,
            offset=offset,
        )
        return query(self._snapshot, request)

    def get(self, ids: Any, *, output_fields: Sequence[str] | None = None) -> QueryResult:
        """Rows by primary key (or row id), in the order of `ids`; keys that are absent are left out."""
        many = list(ids) if isinstance(ids, list | tuple | set) or hasattr(ids, "__array__") else [ids]
        names = resolve_output_fields(self.schema, output_fields, self.schema.names)
        return get(self._snapshot, many, tuple(names))

    def count(self, filter: str | None = None, *, filter_params: Mapping[str, Any] | None = None) -> int:
        """Number of rows that a filter selects."""
        return count(self._snapshot, self._snapshot.bind(filter, filter_params))

    def scan(
        self, columns: Sequence[str] | None = None, filter: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches; memory stays bounded by a batch."""
        names = resolve_output_fields(self.schema, columns, self.schema.names)
        return scan(self._snapshot, names, self._snapshot.bind(filter))

    def to_arrow(self, columns: Sequence[str] | None = None, filter: str | None = None) -> pa.Table:
        """Rows as an Arrow table, in stored order."""
        names = resolve_output_fields(self.schema, columns, self.schema.names)
        batches = list(scan(self._snapshot, names, self._snapshot.bind(filter)))
        return pa.Table.from_batches(batches, self.schema.to_arrow(names))

    def to_pandas(self, columns: Sequence[str] | None = None, filter: str | None = None) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        return self.to_arrow(columns, filter).to_pandas()

    def to_polars(self, columns: Sequence[str] | None = None, filter: str | None = None) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return polars().from_arrow(self.to_arrow(columns, filter))

    def describe(self) -> dict[str, Any]:
        """The collection at this version as a plain dict: schema, rows, segments, indexes with their coverage."""
        manifest = self._snapshot.manifest
        return {
            "version": manifest.version,
            "age_s": max(0.0, time.time() - manifest.created_ms / 1000),
            "num_rows": self.num_rows,
            "num_segments": len(manifest.segments),
            "growing_rows": self._snapshot.pinned.num_rows,
            "primary_key": self.schema.primary_key,
            "external": manifest.source is not None,
            "fields": [
                {"name": f.name, "type": str(f.type.data_type), "dim": f.type.dim, "nullable": f.nullable}
                for f in self.schema.fields
            ],
            "indexes": [
                {
                    "name": spec.name,
                    "field": self.schema.field_by_id(spec.field_id).name,
                    "kind": spec.kind,
                    "metric": str(spec.metric),
                    "options": dict(spec.options),
                    "coverage": self._snapshot.coverage(spec),
                    "size_bytes": sum(b.file.size_bytes for b in manifest.builds if b.index == spec.name),
                }
                for spec in manifest.indexes
            ],
            "tags": dict(manifest.tags),
            "properties": dict(manifest.properties),
        }


def _plan_key(
    anns_field: str | None,
    top_k: int,
    filter: str | None,
    filter_params: Mapping[str, Any] | None,
    output_fields: Sequence[str] | None,
    params: Mapping[str, Any] | None,
) -> Hashable | None:
    """What two searches of one version must share to share a plan; None where that cannot be told cheaply."""
    if filter_params or (filter is not None and len(filter) > _LONGEST_KEPT):
        return None
    fields = None if output_fields is None else tuple(output_fields)
    # Types too, because 1 and True and 1.0 are equal, and only the first is a number of lists to probe.
    options = tuple((name, value, type(value)) for name, value in params.items()) if params else ()
    key = (anns_field, top_k, type(top_k), filter, fields, options)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _ordering(order_by: str | Sequence[str | tuple[str, str]] | None) -> tuple[tuple[str, bool], ...]:
    if order_by is None:
        return ()
    ordering: list[tuple[str, bool]] = []
    for item in [order_by] if isinstance(order_by, str) else order_by:
        name, direction = (
            (item.lstrip("-"), "desc" if item.startswith("-") else "asc") if isinstance(item, str) else item
        )
        if direction.lower() not in ("asc", "desc"):
            raise InvalidArgument(f"order_by {name!r}: direction must be 'asc' or 'desc', got {direction!r}")
        ordering.append((name, direction.lower() == "desc"))
    return tuple(ordering)
