"""Rerankers, function chains and aggregations, from the protocol's messages to the engine's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymilvus.grpc_gen import common_pb2, schema_pb2

from headwater.doors.milvus.codes import invalid, unexpected
from headwater.doors.milvus.params import Pairs
from headwater.doors.milvus.rerank_rules import check_reranker, read_params
from headwater.doors.milvus.rpc import named_values
from headwater.query.buckets import SearchAggregation, TopHits
from headwater.query.chain import FunctionChain
from headwater.query.rerank import FunctionScore, RerankFunction, RRFRanker, WeightedRanker
from headwater.schema import Schema

__all__ = ["aggregation", "chains", "declared", "ranked"]

_RERANK = schema_pb2.FunctionType.Rerank
_READ = ("$score", "$id")
"""What chains read of a hit beside its fields."""


def declared(
    score: schema_pb2.FunctionScore, schema: Schema, num_queries: int, *, lenient: bool
) -> FunctionScore | None:
    """The rerankers that a request declares as functions; None where it declares none.

    Args:
        score: the functions.
        schema: of the collection.
        num_queries: of the search.
        lenient: whether what Milvus refuses and we can do is done, as our own clients ask for.

    Raises:
        MilvusError: 1100, a function that is no reranker; 65535, one that does not go.
    """
    if not score.functions:
        return None
    functions = []
    for one in score.functions:
        if one.type != _RERANK:
            kind = schema_pb2.FunctionType.Name(one.type)
            raise invalid(f"function {one.name!r} is of type {kind}, only rerank functions score a search")
        params = named_values(one.params)
        check_reranker(one.input_field_names, params, schema, num_queries, lenient=lenient)
        functions.append(RerankFunction(one.name, tuple(one.input_field_names), read_params(params)))
    return FunctionScore(functions, named_values(score.params))


def ranked(pairs: Pairs, num_legs: int) -> RRFRanker | WeightedRanker:
    """The ranker of a hybrid search that names a strategy: RRF by default.

    Raises:
        MilvusError: an unknown strategy, or weights that do not fit the legs.
    """
    strategy = pairs.text("strategy") or "rrf"
    params = pairs.mapping("params")
    if strategy == "rrf":
        k = params.get("k", 60)
        if isinstance(k, bool) or not isinstance(k, int | float):
            raise invalid("The type of rank param k should be float")
        if not 0 < k < 16_384:
            raise unexpected(f"The rank params k should be in range (0, 16384), got {k}")
        return RRFRanker(k)
    if strategy == "weighted":
        weights = params.get("weights")
        if not isinstance(weights, list):
            raise invalid("weights not found in rank_params")
        if len(weights) != num_legs:
            raise invalid(
                "the length of weights param mismatch with ann search requests",
                expected=num_legs,
                actual=len(weights),
            )
        for weight in weights:
            if not 0 <= weight <= 1:
                raise unexpected("rank param weight should be in range [0, 1]")
        return WeightedRanker(*weights, norm_score=bool(params.get("norm_score", True)))
    raise unexpected(f"unsupported rank type {strategy}")


def chains(messages: Sequence[schema_pb2.FunctionChain]) -> list[FunctionChain]:
    """Function chains.

    Raises:
        MilvusError: 1100, a stage or a step that there is not here.
    """
    made = []
    for place, message in enumerate(messages):
        if message.stage != schema_pb2.FunctionChainStage.FunctionChainStageL2Rerank:
            stage = schema_pb2.FunctionChainStage.Name(message.stage)
            raise invalid(f"function chain[{place}] stage {stage} is not supported in search request")
        chain = FunctionChain()
        for op in message.ops:
            chain = _step(chain, op)
        made.append(chain)
    return made


def _step(chain: FunctionChain, op: schema_pb2.FunctionChainOp) -> FunctionChain:
    params = {name: _plain(value) for name, value in op.params.items()}
    if op.op == "map":
        if len(op.outputs) != 1:
            raise invalid(f"function chain: map makes one column, got {list(op.outputs)}")
        return _mapped(chain, op.outputs[0], op.expr)
    if op.op == "sort":
        if not op.inputs:
            raise invalid("function chain: sort needs a column")
        return chain.sort(op.inputs[0], params.get("desc", True), params.get("tie_break_col"))
    if op.op == "limit":
        return chain.limit(params.get("limit", 0), params.get("offset", 0))
    raise invalid(f"function chain: operator {op.op!r} is not supported")


def _mapped(chain: FunctionChain, output: str, expr: schema_pb2.FunctionChainExpr) -> FunctionChain:
    columns = [arg.column.name for arg in expr.args if arg.WhichOneof("arg") == "column"]
    params = {name: _plain(value) for name, value in expr.params.items()}
    unread = [name for name in columns if name.startswith("$") and name not in _READ]
    if unread:
        raise invalid(
            f"function chain: system input {unread[0]!r} is not readable by L2 rerank function chain"
        )
    if len(columns) != len(expr.args):
        raise invalid(f"function chain: {expr.name} takes columns, not literals")
    if expr.name == "num_combine":
        return chain.combine(output, columns, params.get("mode", "sum"), params.get("weights"))
    if len(columns) == 1 and expr.name == "decay":
        origin, scale = params.pop("origin", None), params.pop("scale", None)
        return chain.decay(output, columns[0], origin=origin, scale=scale, **params)
    if len(columns) == 1 and expr.name == "round_decimal":
        return chain.round(output, columns[0], params.get("decimal", -1))
    raise invalid(f"function chain: function {expr.name!r} of {len(columns)} columns is not supported")


def _plain(value: schema_pb2.FunctionParamValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(one) for one in value.array_value.values]
    if kind == "object_value":
        return {name: _plain(one) for name, one in value.object_value.fields.items()}
    return None if kind is None else getattr(value, kind)


def aggregation(spec: common_pb2.SearchAggregationSpec) -> SearchAggregation:
    """An aggregation with the levels inside it."""
    top = spec.top_hits if spec.HasField("top_hits") else None
    return SearchAggregation(
        fields=list(spec.fields),
        size=spec.size,
        metrics={alias: {metric.op: metric.field_name} for alias, metric in spec.metrics.items()},
        order=[{one.key: one.direction or "asc"} for one in spec.order] or None,
        top_hits=None
        if top is None
        else TopHits(top.size, [{one.field_name: one.direction or "asc"} for one in top.sort] or None),
        sub_aggregation=aggregation(spec.sub_aggregation) if spec.HasField("sub_aggregation") else None,
        search_size=spec.search_size or None,
    )
