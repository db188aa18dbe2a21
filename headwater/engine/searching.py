"""Searching a snapshot: a caller's words become a plan, and a plan is one call into the query room."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index import check_search_options
from headwater.query import SearchPlan, SearchResult, Snapshot, query_matrix, search
from headwater.query.fetch import resolve_output_fields
from headwater.schema import Field, Schema
from headwater.types import MetricType

__all__ = ["SnapshotSearcher"]

_LONGEST_KEPT = 4096


class SnapshotSearcher:
    """Searches of one pinned version."""

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
