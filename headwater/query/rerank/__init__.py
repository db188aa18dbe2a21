"""Rerankers: one file per kind, each from what the legs of a search say to one score for a row.

A new one is a class with a `name` and a `rerank` method (`Reranker`); `headwater.testing.reranker.RerankerTests` says
what it must do. `declared` has a line for each that Milvus's declarations may name.
"""

from headwater.query.rerank.boost import BoostRanker, Boosts
from headwater.query.rerank.decay import DecayRanker
from headwater.query.rerank.declared import FunctionScore, RerankFunction, model_params
from headwater.query.rerank.http import HttpScorer
from headwater.query.rerank.model import ModelRanker, TextScorer
from headwater.query.rerank.onnx import OnnxScorer
from headwater.query.rerank.protocol import Reranker
from headwater.query.rerank.registry import checked_reranker
from headwater.query.rerank.rrf import RRFRanker
from headwater.query.rerank.sequence import RankerSequence
from headwater.query.rerank.weighted import WeightedRanker

__all__ = [
    "BoostRanker",
    "Boosts",
    "DecayRanker",
    "FunctionScore",
    "HttpScorer",
    "ModelRanker",
    "OnnxScorer",
    "RRFRanker",
    "RankerSequence",
    "RerankFunction",
    "Reranker",
    "TextScorer",
    "WeightedRanker",
    "checked_reranker",
    "model_params",
]
