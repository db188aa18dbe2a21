"""Headwater: one lake table on object storage, indexed once, searched and processed in place.

import headwater as hw

db = hw.connect("./lake")
docs = db.create_collection("docs", {"id": hw.Int64, "text": hw.String, "embedding": hw.FloatVector(384)}, "id")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from headwater import errors
from headwater.doors.connecting import connect
from headwater.engine import (
    AnnSearchRequest,
    Collection,
    CollectionAt,
    CollectionTiers,
    Database,
    Placement,
    WarmupReport,
    WriteResult,
    run_analyzer,
)
from headwater.query import Explanation, QueryResult, SearchResult, explain
from headwater.query.buckets import SearchAggregation, TopHits
from headwater.query.chain import FunctionChain
from headwater.query.highlighting import LexicalHighlighter
from headwater.query.rerank import (
    BoostRanker,
    DecayRanker,
    FunctionScore,
    HttpScorer,
    ModelRanker,
    OnnxScorer,
    RerankFunction,
    RRFRanker,
    WeightedRanker,
)
from headwater.schema import (
    JSON,
    Array,
    BFloat16Vector,
    Binary,
    BinaryVector,
    Bool,
    Double,
    Field,
    Float,
    Float16Vector,
    FloatVector,
    Function,
    FunctionType,
    Geometry,
    Int8,
    Int8Vector,
    Int16,
    Int32,
    Int64,
    Reference,
    Schema,
    SparseFloatVector,
    String,
    StructArray,
    Text,
    TimestampTz,
    VarChar,
)
from headwater.settings import Settings
from headwater.types import ConsistencyLevel, DataType, MetricType

if TYPE_CHECKING:
    from headwater.query.cost import CostReport, Prices, Workload

__version__ = "0.1.0"

__all__ = [
    "JSON",
    "LexicalHighlighter",
    "AnnSearchRequest",
    "Array",
    "BFloat16Vector",
    "Binary",
    "BinaryVector",
    "Bool",
    "BoostRanker",
    "Collection",
    "CollectionAt",
    "CollectionTiers",
    "ConsistencyLevel",
    "CostReport",
    "DataType",
    "Database",
    "DecayRanker",
    "Double",
    "Explanation",
    "Field",
    "Float",
    "Float16Vector",
    "FloatVector",
    "Function",
    "FunctionChain",
    "FunctionScore",
    "FunctionType",
    "Geometry",
    "HttpScorer",
    "Int16",
    "Int32",
    "Int64",
    "Int8",
    "Int8Vector",
    "MetricType",
    "ModelRanker",
    "OnnxScorer",
    "Placement",
    "Prices",
    "QueryResult",
    "RRFRanker",
    "Reference",
    "RerankFunction",
    "Schema",
    "SearchAggregation",
    "SearchResult",
    "Settings",
    "SparseFloatVector",
    "String",
    "StructArray",
    "Text",
    "TimestampTz",
    "TopHits",
    "VarChar",
    "WarmupReport",
    "WeightedRanker",
    "Workload",
    "WriteResult",
    "connect",
    "errors",
    "explain",
    "run_analyzer",
]

_LATE = dict.fromkeys(("CostReport", "Prices", "Workload"), "headwater.query.cost")
"""Names that few programs ask for, and the rooms that are imported for them."""


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """A name of `_LATE`, as PEP 562 has it."""
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LATE[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted(globals().keys() | _LATE.keys())
