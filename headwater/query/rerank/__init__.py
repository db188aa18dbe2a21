"""Rerankers: one file per kind, each from what the legs of a search say to one score for a row."""

from headwater.query.rerank.protocol import Reranker
from headwater.query.rerank.registry import checked_reranker
from headwater.query.rerank.rrf import RRFRanker
from headwater.query.rerank.weighted import WeightedRanker

__all__ = ["RRFRanker", "Reranker", "WeightedRanker", "checked_reranker"]
