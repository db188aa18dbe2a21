"""The filter language: text to tree, tree bound to a schema, evaluated over columns, or over statistics."""

from headwater.query.expr.bind import Bound, bind
from headwater.query.expr.evaluate import evaluate, evaluate_elements
from headwater.query.expr.nodes import Node
from headwater.query.expr.parse import filter_text, parse
from headwater.query.expr.prune import StatsOf, may_match
from headwater.query.expr.rows import FilterRows, TextQuery

__all__ = [
    "Bound",
    "FilterRows",
    "Node",
    "StatsOf",
    "TextQuery",
    "bind",
    "evaluate",
    "evaluate_elements",
    "filter_text",
    "may_match",
    "parse",
]
