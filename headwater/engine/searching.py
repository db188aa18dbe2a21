"""Searching a snapshot: a caller's words become a plan, and a plan is one call into the query room."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

from headwater.engine.requests import (
    AnnSearchRequest,
    Paging,
    Refining,
    chains,
    checked_options,
    grouping,
    named_metric,
    ordering,
)
from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.index import check_metric, check_search_options
from headwater.index.text import check_sparse_search
from headwater.jobs import Functions
from headwater.query import ISOLATION_PROPERTY, SearchPlan, SearchResult, Snapshot, query_matrix
from headwater.query.buckets import SearchAggregation, aggregated_search
from headwater.query.by_key import StoredQueries
from headwater.query.collapse import SCOPE, Collapse
from headwater.query.fetch import resolve_output_fields
from headwater.query.highlighting import LexicalHighlighter, highlighted, terms_to_highlight
from headwater.query.inverted import text_analyzer, text_input
from headwater.query.max_sim import list_field, list_metric, list_queries
from headwater.query.paths import ordered_path
from headwater.query.ready import ReadySearch, plain_queries
from headwater.query.refine import LegSearch, Refinement, refined_search
from headwater.query.rerank import RRFRanker, checked_reranker
from headwater.query.search import begin
from headwater.query.snapshot import lasting
from headwater.schema import Field, Schema
from headwater.store import Ahead
from headwater.types import DataType, MetricType

__all__ = ["SnapshotSearcher"]

_MOST_READY = 256
_DEFAULT_RANKER = RRFRanker()


class SnapshotSearcher:
    """Searches of one pinned version."""

    def __init__(self, snapshot: Snapshot, functions: Functions | None = None) -> None:
        self._snapshot = snapshot
        self._functions = functions or Functions()

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
        data: Any = None,
        *,
        anns_field: str | None = None,
        top_k: int = 10,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        **refining: Unpack[Refining],
    ) -> SearchResult:
        """Nearest neighbours of each query vector.

        Args:
            data: query vectors: (q, dim) array, a list of vectors, or one vector; or texts, where a function
                fills the field.
            anns_field: the vector field; may be left out when there is one.
            top_k: hits per query, 1 to 16,384.
            filter: boolean expression over scalar fields, such as ``year >= 2020 and lang in ["en", "de"]``.
            filter_params: values for ``{name}`` templates in the filter.
            output_fields: fields of each hit's entity; ``["*"]`` for all. None returns none.
            params: `metric_type`, `radius`, `range_filter`, and the index kind's search parameters (`nprobe`, `ef`);
                Milvus's nested form ``{"metric_type": ..., "params": {...}}`` is taken too.
            **refining: `offset` leaves out that many better hits; `limit` is another name of `top_k`; `ranker` scores
                the hits anew; `order_by_fields` orders the nearest hits by fields, before the page is taken of them;
                `round_decimal` rounds distances; `highlighter` marks terms in the hits' texts; `ids` searches by the
                stored vectors of rows, in place of `data`; one whose row has none has no hits. `group_by_field` (or
                several: `group_by_fields`) counts hits that share a value once: `top_k` and `offset` count groups, each
                with up to `group_size` hits, searched for until it is full where `strict_group_size`; `json_type` reads
                values of a JSON path as one type, with `strict_cast` only those that are of it. `search_aggregation`
                answers buckets in place of hits, in `agg_buckets` of the result. `function_chains` sends the hits
                through steps: score, filter, sort, limit.

        Returns:
            A list of hits per query, ``{"id", "distance", "entity"}``, best first; ``.info`` says what it answers.

        Raises:
            DimensionMismatch: a query vector has another dimension than the field.
            FilterSyntax: the filter does not parse or bind.
            FieldNotFound: a named field does not exist.
        """
        if not refining and data is not None:
            return self.plain_search(data, anns_field, top_k, filter, filter_params, output_fields, params)
        checked_options("search", refining, Refining)
        highlighter = refining.pop("highlighter", None)
        asked: dict[str, Any] = {
            "anns_field": anns_field,
            "top_k": top_k,
            "filter": filter,
            "filter_params": filter_params,
            "output_fields": output_fields,
            "params": params,
            **refining,
        }
        keys = refining.get("ids")
        if data is None and keys is not None and not isinstance(keys, StoredQueries):
            stored = StoredQueries(self._snapshot, _listed(keys))
            held = stored.have_vectors(self._vector_field(anns_field))
            result = self.search(**{**asked, "ids": stored.kept(held), "highlighter": highlighter})
            return result if all(held) else result.spread(held)
        if highlighter is not None:
            return self._highlighted(data, highlighter, asked)
        top_k, ids = refining.pop("limit", top_k), refining.pop("ids", None)
        if (data is None) == (ids is None):
            raise InvalidArgument("search takes queries (data) or the keys of rows (ids), one of them")
        if not refining:
            ready = self._ready(anns_field, top_k, filter, filter_params, output_fields, params)
            queries = self._asked(data, ready) if ids is None else self._queries(data, ids, ready.plan)
            return ready.search(self._snapshot, queries)
        aggregation = refining.pop("search_aggregation", None)
        if aggregation is not None:
            _check_aggregation(aggregation, refining)
            plan = self._planned(anns_field, top_k, filter, filter_params, None, params)
            names = resolve_output_fields(self.schema, output_fields)
            return aggregated_search(self._snapshot, plan, self._queries(data, ids, plan), aggregation, names)
        refinement = self._refinement(top_k, output_fields, refining, refining.get("ranker"))
        refinement = replace(refinement, chains=chains(refining.get("function_chains")))
        plan = self._planned(anns_field, refinement.stop, filter, filter_params, None, params)
        queries = self._queries(data, ids, plan)
        return refined_search(self._snapshot, [LegSearch(plan, queries)], refinement, _texts(data))

    def _highlighted(self, data: Any, highlighter: LexicalHighlighter, asked: dict[str, Any]) -> SearchResult:
        """A search whose hits have the terms of the questions marked in their texts.

        Args:
            data: the questions.
            highlighter: which terms, of which fields, and how they are marked.
            asked: the other arguments of `search`.
        """
        names = resolve_output_fields(self.schema, asked["output_fields"])
        field, files, texts = (
            self._vector_field(asked["anns_field"]),
            self._snapshot.opened.files,
            _texts(data),
        )
        terms = terms_to_highlight(self.schema, field.name, texts or [None], highlighter, files)
        marked = dict.fromkeys(name for one in terms for name in one)
        hidden = [name for name in marked if name not in names]
        result = self.search(data, **{**asked, "anns_field": field.name, "output_fields": [*names, *hidden]})
        terms = terms if texts else terms * len(result)
        return highlighted(self.schema, result, terms, highlighter, files, hidden=hidden)

    def plain_search(
        self,
        data: Any,
        anns_field: str | None = None,
        top_k: int = 10,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> SearchResult:
        """`search` with queries and nothing that refines the hits, on the shortest way."""
        ready = self._ready(anns_field, top_k, filter, filter_params, output_fields, params)
        return ready.search(self._snapshot, self._asked(data, ready))

    def hybrid_search(
        self,
        reqs: Sequence[AnnSearchRequest],
        ranker: Any = None,
        *,
        limit: int = 10,
        output_fields: Sequence[str] | None = None,
        **paging: Unpack[Paging],
    ) -> SearchResult:
        """Several searches, over any fields, made one answer by a reranker.

        Args:
            reqs: the legs, each with its own queries, field, filter, limit and parameters; all ask the same number of
                questions.
            ranker: `RRFRanker()` by default, `WeightedRanker(...)`, or any other reranker.
            limit: hits per question; with `offset` at most 16,384.
            output_fields: fields of each hit's entity.
            **paging: `offset`, `order_by_fields`, `round_decimal` and the `group_` options, as for `search`; the limit
                of a leg counts groups too; `rank_group_scorer` orders groups by their best hit (max), sum or avg.

        Returns:
            A list of hits per question, best first; their distance is the reranker's score, and ``.leg_scores`` has
            what each leg measured.

        Raises:
            InvalidArgument: no leg, or legs and ranker that do not fit.
            DimensionMismatch: a query vector has another dimension than its field.
            FilterSyntax: a filter does not parse or bind.
            FieldNotFound: a named field does not exist.
        """
        checked_options("hybrid_search", paging, Paging)
        requests = _checked_requests(reqs)
        legs = [self._leg(request) for request in requests]
        ranker = _DEFAULT_RANKER if ranker is None else ranker
        refinement = self._refinement(limit, output_fields, paging, ranker)
        texts = [texts for one in requests if (texts := _texts(one.data)) is not None]
        return refined_search(self._snapshot, legs, refinement, texts[0] if texts else None)

    def begin(
        self,
        anns_field: str | None = None,
        filter: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        **others: Any,
    ) -> list[Ahead[None]]:
        """Begin to open what a search with these arguments will read of cold segments; its others are not looked at."""
        plan = self._plan(anns_field, 1, filter, filter_params, output_fields, None)
        return begin(self._snapshot, plan, plan.output_fields)

    def chosen_elements(
        self, filter: str | None = None, filter_params: Mapping[str, Any] | None = None
    ) -> frozenset[str]:
        """The arrays of which a filter means some elements, by `element_filter`.

        Raises:
            FilterSyntax: the filter does not parse or bind.
        """
        bound = self._snapshot.bind(filter, filter_params)
        return frozenset() if bound is None else bound.chosen_elements

    def _leg(self, request: AnnSearchRequest) -> LegSearch:
        asked = (request.anns_field, request.limit, request.chosen_filter, request.chosen_params)
        ready = self._ready(*asked, None, request.param, fetch=False)
        return LegSearch(ready.plan, self._asked(request.data, ready), ready)

    def _refinement(
        self, limit: int, output_fields: Sequence[str] | None, paging: Paging, ranker: Any
    ) -> Refinement:
        order_by = ordering(paging.get("order_by_fields"))
        for one in order_by:
            ordered_path(self.schema, one.name, "order_by_fields")
        return Refinement(
            limit=limit,
            offset=paging.get("offset", 0),
            output_fields=tuple(resolve_output_fields(self.schema, output_fields)),
            reranker=None if ranker is None else checked_reranker(ranker),
            grouping=grouping(self.schema, paging),
            order_by=order_by,
            round_decimal=_decimals(paging.get("round_decimal")),
        )

    def _asked(self, data: Any, ready: ReadySearch) -> Any:
        """Queries in the form that a search takes them."""
        queries = plain_queries(data, ready.dim)
        return self._queries(data, None, ready.plan) if queries is None else queries

    def _queries(self, data: Any, ids: StoredQueries | None, plan: SearchPlan) -> Any:
        """Queries in the form that the plan's field is searched by."""
        if plan.in_lists:
            if ids is not None:
                raise UnsupportedOption(f"ids: {plan.field.name!r} is searched with vectors, not by key")
            return list_queries(data, plan.field, plan.metric)
        if ids is None:
            return query_matrix(self._functions.queries(self.schema, plan.field, data), plan.field)
        return ids.vectors(plan.field)

    def _ready(
        self,
        anns_field: str | None,
        top_k: int,
        filter: str | None,
        filter_params: Mapping[str, Any] | None,
        output_fields: Sequence[str] | None,
        params: Mapping[str, Any] | None,
        *,
        fetch: bool = True,
    ) -> ReadySearch:
        """A search by `_plan`, kept as long as the snapshot is."""
        key = _plan_key(anns_field, top_k, filter, filter_params, output_fields, params)
        kept = self._snapshot.ready if fetch else self._snapshot.ready_legs
        ready: ReadySearch | None = kept.get(key)
        if ready is None:
            plan = self._planned(anns_field, top_k, filter, filter_params, output_fields, params)
            ready = ReadySearch(self._snapshot, plan, fetch=fetch)
            if len(kept) >= _MOST_READY:
                kept.clear()
            if key is not None:
                kept[key] = ready
        return ready

    def _planned(
        self,
        anns_field: str | None,
        top_k: int,
        filter: str | None,
        filter_params: Mapping[str, Any] | None,
        output_fields: Sequence[str] | None,
        params: Mapping[str, Any] | None,
    ) -> SearchPlan:
        """`_plan`, kept between searches of one version."""
        key = _plan_key(anns_field, top_k, filter, filter_params, output_fields, params)
        plan: SearchPlan | None = None if key is None else self._snapshot.cache.plans.get(key)
        if plan is None:
            plan = self._plan(anns_field, top_k, filter, filter_params, output_fields, params)
            if key is not None:
                self._snapshot.cache.plans.put(key, plan)
        return plan

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
        key = self.schema.partition_key
        if (
            key is not None
            and self._snapshot.manifest.properties.get(ISOLATION_PROPERTY, "").lower() == "true"
        ):
            from headwater.query.isolation import check_isolated

            check_isolated(filter, filter_params, key)
        if params and not isinstance(params, Mapping):
            raise InvalidArgument(
                f"params: expected a mapping, got {params!r}", hint='such as {"nprobe": 32}'
            )
        options = dict(params) if params else {}
        options.update(options.pop("params", None) or {})
        metric = self._metric(vector_field, options.pop("metric_type", None))
        radius, range_filter = options.pop("radius", None), options.pop("range_filter", None)
        scope = options.pop(SCOPE, None)
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
            collapse=None if scope is None else _collapse(vector_field, metric, scope),
        )

    def _check_options(self, field: Field, options: Mapping[str, Any]) -> None:
        """Refuse parameters that would change nothing, whether or not an index is built yet."""
        spec = self._snapshot.index_of(field)
        if field.type.data_type is DataType.SPARSE_FLOAT_VECTOR:
            check_sparse_search(options, by_text=field.name in self.schema.virtual)
            if "analyzer_name" in options:
                source, files = text_input(self.schema, field), self._snapshot.opened.files
                text_analyzer(source, files, options["analyzer_name"])
        elif spec is not None:
            check_search_options(spec.kind, options)
        elif options:
            raise UnsupportedOption(
                f"field {field.name!r} has no index, so the search parameters {', '.join(options)} have no effect",
                hint="leave them out, or create an index",
            )

    def _vector_field(self, name: str | None) -> Field:
        if name is not None and name.endswith("]"):
            return list_field(self.schema, name)
        if name is not None:
            field = self.schema.field(name)
            kind = field.type.data_type
            if not kind.dense_vector and kind is not DataType.SPARSE_FLOAT_VECTOR:
                raise InvalidArgument(f"field {name!r} is {kind}, not a vector")
            return field
        return self.schema.only_vector()

    def _metric(self, field: Field, asked: str | None) -> MetricType:
        metric = self._snapshot.metric_of(field)
        if asked is None:
            return metric
        wanted = named_metric(asked)
        if field.type.data_type is DataType.STRUCT_ARRAY:
            return list_metric(field, wanted)
        check_metric(field, wanted)
        if wanted is not metric and self._snapshot.index_of(field) is not None:
            raise InvalidArgument(
                f"metric_type {wanted} differs from the index on {field.name!r}, which is {metric}",
                hint="leave metric_type out, or rebuild the index with another metric",
            )
        return wanted


def _collapse(field: Field, metric: MetricType, scope: Any) -> Collapse:
    if field.type.data_type is not DataType.STRUCT_ARRAY or metric.startswith("MAX_SIM"):
        raise InvalidArgument(
            f"{SCOPE} is only supported for element-level search on struct array vector sub-fields"
        )
    return Collapse.of(scope, metric)


def _plan_key(
    anns_field: str | None,
    top_k: int,
    filter: str | None,
    filter_params: Mapping[str, Any] | None,
    output_fields: Sequence[str] | None,
    params: Mapping[str, Any] | None,
) -> Hashable | None:
    """What two searches of one version must share to share a plan; None where that cannot be told cheaply."""
    try:
        if not lasting(filter or "", filter_params):
            return None
        fields = None if output_fields is None else tuple(output_fields)
        # Types too, because 1 and True and 1.0 are equal, and only the first is a number of lists to probe.
        options = (*params.items(), *map(type, params.values())) if params else ()
        key = (anns_field, top_k, type(top_k), filter, fields, options)
        hash(key)
    except (TypeError, AttributeError):
        return None  # what is wrong is said where it is read
    return key


def _checked_requests(reqs: Any) -> Sequence[AnnSearchRequest]:
    several = list(reqs) if isinstance(reqs, list | tuple) else [reqs]
    if not several:
        raise InvalidArgument("hybrid_search needs at least one AnnSearchRequest, got none")
    for i, one in enumerate(several):
        if not isinstance(one, AnnSearchRequest):
            raise InvalidArgument(
                f"hybrid_search, request {i}: expected an AnnSearchRequest, got {type(one).__name__}"
            )
    return several


def _check_aggregation(aggregation: Any, others: Mapping[str, Any]) -> None:
    if others:
        raise UnsupportedOption(f"search_aggregation does not go with {', '.join(others)}")
    if not isinstance(aggregation, SearchAggregation):
        raise UnsupportedOption(f"search_aggregation is no SearchAggregation: {aggregation!r}")


def _listed(ids: Any) -> list[Any]:
    """Keys, of which one may come by itself."""
    return list(ids) if isinstance(ids, list | tuple | set) or hasattr(ids, "__array__") else [ids]


def _texts(data: Any) -> tuple[str, ...] | None:
    """The questions, where they are texts."""
    if isinstance(data, str):
        return (data,)
    if isinstance(data, list | tuple) and data and all(isinstance(one, str) for one in data):
        return tuple(data)
    return None


def _decimals(asked: int | None) -> int | None:
    """Digits to round to; -1 is Milvus's word for none."""
    return None if asked == -1 and not isinstance(asked, bool) else asked
