"""Reading a snapshot, as both `Collection` (the newest version) and `CollectionAt` (a pinned one) do it.

Each method binds the caller's words (field names, filter text, parameters) to the snapshot's schema and makes one call
into the query room.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from headwater.engine.iterators import Iterating
from headwater.engine.requests import ordering, whole
from headwater.extras import load_extra
from headwater.index.scalar import spell_json_path
from headwater.lake import IndexSpec
from headwater.query import (
    QueryRequest,
    QueryResult,
    count,
    get,
    query,
    scan,
)
from headwater.query.aggregate import aggregate, aggregate_query, names_aggregate
from headwater.query.fetch import resolve_output_fields
from headwater.query.max_sim import indexed_field
from headwater.schema import Field

__all__ = ["SnapshotReader"]


class SnapshotReader(Iterating):
    """Reads of one pinned version; the base of `CollectionAt`, and what `Collection` makes for each call."""

    def query(
        self,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        order_by: str | Sequence[str | tuple[str, ...]] | None = None,
        limit: int | None = None,
        offset: int = 0,
        group_by_fields: Sequence[str] | None = None,
    ) -> QueryResult:
        """Rows that a filter selects, or, where an output field is an aggregate, one row for each group of them.

        Args:
            filter: boolean expression; None for every row.
            filter_params: values for ``{name}`` templates.
            output_fields: fields to return; all of them by default. ``count(*)``, ``count(x)``, ``sum(x)``, ``avg(x)``,
                ``min(x)`` and ``max(x)`` aggregate; beside them stand fields that are grouped by.
            order_by: a field, or several; ``"-year"`` or ``("year", "desc")`` for descending, paths such as
                ``meta["year"]`` too. Nulls come last, or first with ``("year", "desc", "nulls_first")``.
            limit: most rows to return.
            offset: rows to skip first.
            group_by_fields: what the rows of a group share: fields, paths such as ``meta["region"]``,
                ``histogram(price, 10)`` or ``histogram(at, "1d")``.
        """
        limit = None if limit is None else whole("limit", limit)
        offset = whole("offset", offset)
        if group_by_fields or names_aggregate(self.schema, output_fields):
            page = {"order_by": ordering(order_by), "limit": limit, "offset": offset}
            bound = self._snapshot.bind(filter, filter_params)
            asked = aggregate_query(self.schema, bound, output_fields, group_by_fields or (), **page)
            return aggregate(self._snapshot, asked)
        request = QueryRequest(
            filter=self._snapshot.bind(filter, filter_params),
            output_fields=tuple(
                resolve_output_fields(self.schema, output_fields, self.schema.readable_names)
            ),
            order_by=ordering(order_by),
            limit=limit,
            offset=offset,
        )
        return query(self._snapshot, request)

    def get(self, ids: Any, *, output_fields: Sequence[str] | None = None) -> QueryResult:
        """Rows by primary key (or row id), in the order of `ids`; keys that are absent are left out."""
        many = list(ids) if isinstance(ids, list | tuple | set) or hasattr(ids, "__array__") else [ids]
        names = resolve_output_fields(self.schema, output_fields, self.schema.readable_names)
        return get(self._snapshot, many, tuple(names))

    def count(self, filter: str | None = None, *, filter_params: Mapping[str, Any] | None = None) -> int:
        """Number of rows that a filter selects."""
        return count(self._snapshot, self._snapshot.bind(filter, filter_params))

    def scan(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches; memory stays bounded by a batch."""
        names = resolve_output_fields(self.schema, columns, self.schema.readable_names)
        return scan(self._snapshot, names, self._snapshot.bind(filter, filter_params))

    def to_arrow(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
    ) -> pa.Table:
        """Rows as an Arrow table, in stored order."""
        names = resolve_output_fields(self.schema, columns, self.schema.readable_names)
        batches = list(scan(self._snapshot, names, self._snapshot.bind(filter, filter_params)))
        return pa.Table.from_batches(batches, self.schema.to_arrow(names))

    def to_pandas(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        load_extra("pandas", "pandas", need="to_pandas()")
        return self.to_arrow(columns, filter, filter_params=filter_params).to_pandas()

    def to_polars(
        self,
        columns: Sequence[str] | None = None,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
    ) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return load_extra("polars", "polars", need="to_polars()").from_arrow(
            self.to_arrow(columns, filter, filter_params=filter_params)
        )

    def index_on(self, field: Field) -> IndexSpec | None:
        """The index of vectors that is declared on a field, or on a member of a struct array, if any."""
        found = self._snapshot.index_of(field)
        if found is not None or not field.name.endswith("]"):
            return found
        path = spell_json_path((field.name[:-1].partition("[")[2],))
        return next(
            (one for one in self._snapshot.manifest.indexes if one.field_id == field.id and one.path == path),
            None,
        )

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
            "functions": [one.to_json() for one in self.schema.functions],
            "indexes": [
                {
                    "name": spec.name,
                    "field": indexed_field(self.schema, spec).name,
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
