"""What searches may carry beside queries: aggregations, function chains and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pymilvus.grpc_gen import common_pb2, schema_pb2

from headwater.doors.rest.errors import invalid_value
from headwater.doors.rest.fields import (
    ANY,
    INT64,
    OBJECT,
    TEXT,
    TEXTS,
    Field,
    Listed,
    Mapped,
    Record,
    Schema,
    need,
)
from headwater.doors.rest.ids import whole
from headwater.doors.rest.route import pairs
from headwater.doors.rest.schemas import FUNCTION, function_schema

__all__ = [
    "AGGREGATION",
    "FUNCTION_CHAIN",
    "FUNCTION_SCORE",
    "aggregation_spec",
    "function_chain",
    "function_score",
]


@dataclass(frozen=True)
class _Inner:
    """An aggregation in an aggregation."""

    def read(self, value: Any, at: str) -> Any:
        if at.count(".subAggregation") > 8:
            raise invalid_value("searchAggregation is nested too deeply")
        return AGGREGATION.read(value, at)

    def schema(self) -> Schema:
        return {"$ref": "#/components/schemas/SearchAggregation"}


_METRIC = Record("MetricAggregation", (need("op"), need("fieldName")))
_ORDER = Record("AggregationOrder", (need("key"), need("direction")))
_SORT = Record("AggregationSort", (need("fieldName"), need("direction")))
_TOP_HITS = Record("TopHits", (Field("size", INT64, default=0), Field("sort", Listed(_SORT))))
AGGREGATION = Record(
    "SearchAggregation",
    (
        Field("fields", TEXTS),
        Field("size", INT64, default=0),
        Field("searchSize", INT64, default=0),
        Field("metrics", Mapped(_METRIC)),
        Field("order", Listed(_ORDER)),
        Field("topHits", _TOP_HITS),
        Field("subAggregation", _Inner()),
    ),
)
"""Hits grouped by fields."""


def aggregation_spec(told: dict[str, Any]) -> common_pb2.SearchAggregationSpec:
    """An aggregation as the protocol has it."""
    fields = [name.strip() for name in told["fields"] or []]
    if not fields:
        raise invalid_value("searchAggregation.fields must be non-empty")
    if "" in fields:
        raise invalid_value("searchAggregation.fields must contain non-empty field names")
    size, search = told["size"], told["searchSize"]
    if size <= 0:
        raise invalid_value("searchAggregation.size must be positive")
    if search < 0:
        raise invalid_value("searchAggregation.searchSize must be non-negative")
    if 0 < search < size:
        raise invalid_value("searchAggregation.searchSize must be greater than or equal to size")
    found = common_pb2.SearchAggregationSpec(fields=fields, size=size, search_size=search)
    for alias, metric in (told["metrics"] or {}).items():
        if not alias.strip():
            raise invalid_value("searchAggregation.metrics alias must be non-empty")
        found.metrics[alias.strip()].op = metric["op"].strip()
        found.metrics[alias.strip()].field_name = metric["fieldName"].strip()
    for order in told["order"] or []:
        found.order.add(key=order["key"].strip(), direction=order["direction"].strip())
    if (top := told["topHits"]) is not None:
        if top["size"] <= 0:
            raise invalid_value("searchAggregation.topHits.size must be positive")
        found.top_hits.size = top["size"]
        for sort in top["sort"] or []:
            found.top_hits.sort.add(field_name=sort["fieldName"].strip(), direction=sort["direction"].strip())
    if told["subAggregation"] is not None:
        found.sub_aggregation.CopyFrom(aggregation_spec(told["subAggregation"]))
    return found


FUNCTION_SCORE = Record("FunctionScore", (Field("functions", Listed(FUNCTION)), Field("params", OBJECT)))
"""Functions that change scores."""


def function_score(told: dict[str, Any]) -> schema_pb2.FunctionScore:
    """Functions that change scores, as the protocol has them."""
    functions = [function_schema(each) for each in told["functions"] or []]
    if told["params"] and not functions:
        raise invalid_value("functionScore.params needs functionScore.functions")
    return schema_pb2.FunctionScore(functions=functions, params=pairs(told["params"]))


_ARG = Record("FunctionChainArg", (Field("column"), Field("literal", ANY)))
_EXPR = Record("FunctionChainExpr", (need("name"), Field("args", Listed(_ARG)), Field("params", OBJECT)))
_OP = Record(
    "FunctionChainOp",
    (
        need("op"),
        Field("expr", _EXPR),
        Field("inputs", TEXTS),
        Field("outputs", TEXTS),
        Field("params", OBJECT),
    ),
)
FUNCTION_CHAIN = Record(
    "FunctionChain", (Field("name", TEXT, default=""), need("stage"), Field("ops", Listed(_OP)))
)
"""Steps that hits go through."""


def function_chain(told: dict[str, Any]) -> schema_pb2.FunctionChain:
    """A chain as the protocol has it."""
    stages = schema_pb2.FunctionChainStage
    stage = told["stage"].strip()
    if stage not in stages.keys() or not stages.Value(stage):  # noqa: SIM118 (an enum of protobuf is no mapping)
        raise invalid_value(f"unsupported function chain stage: {stage}")
    found = schema_pb2.FunctionChain(name=told["name"].strip(), stage=stages.Value(stage))
    for op in told["ops"] or []:
        step = found.ops.add(
            op=op["op"].strip(),
            inputs=[name.strip() for name in op["inputs"] or []],
            outputs=[name.strip() for name in op["outputs"] or []],
        )
        _put_params(step.params, op["params"])
        if op["expr"] is not None:
            _put_expr(step.expr, op["expr"])
    return found


def _put_expr(target: schema_pb2.FunctionChainExpr, told: dict[str, Any]) -> None:
    target.name = told["name"].strip()
    _put_params(target.params, told["params"])
    for place, arg in enumerate(told["args"] or []):
        column, literal = arg["column"], arg["literal"]
        if (column is None) == (literal is None):
            raise invalid_value(f"args[{place}]: exactly one of column or literal is required")
        made = target.args.add()
        if column is not None:
            made.column.name = column.strip()
        else:
            made.literal.CopyFrom(_param(literal, 0))


def _put_params(target: Any, told: dict[str, Any] | None) -> None:
    for name, value in (told or {}).items():
        target[name.strip()].CopyFrom(_param(value, 0))


def _param(value: Any, depth: int) -> schema_pb2.FunctionParamValue:
    made = schema_pb2.FunctionParamValue
    if depth > 32 or value is None:
        raise invalid_value(
            "function param value is nil" if value is None else "a function param is nested too deeply"
        )
    if isinstance(value, bool):
        return made(bool_value=value)
    if isinstance(value, str):
        return made(string_value=value)
    if isinstance(value, list):
        inner = schema_pb2.FunctionParamArray(values=[_param(each, depth + 1) for each in value])
        return made(array_value=inner)
    if isinstance(value, dict):
        fields = {name.strip(): _param(each, depth + 1) for name, each in value.items()}
        return made(object_value=schema_pb2.FunctionParamObject(fields=fields))
    number = whole(value)
    return made(int64_value=number) if number is not None else made(double_value=float(value))
