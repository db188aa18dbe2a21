"""From what a caller passes as a ranker to a reranker."""

from __future__ import annotations

from typing import Any

from headwater.errors import InvalidArgument
from headwater.query.rerank.declared import from_declaration, looks_declared
from headwater.query.rerank.protocol import Reranker
from headwater.query.rerank.rrf import RRFRanker
from headwater.query.rerank.sequence import RankerSequence
from headwater.query.rerank.weighted import WeightedRanker

__all__ = ["checked_reranker"]

_OFTEN = (RRFRanker, WeightedRanker)
"""Known without looking for the parts of a protocol, which takes longer than they do."""


def checked_reranker(ranker: Any) -> Reranker:
    """A reranker.

    Args:
        ranker: a `Reranker`, several to be applied one after the other, or a declaration as Milvus's.

    Raises:
        InvalidArgument: it is none of these.
        UnsupportedOption: it declares a reranker, or a parameter, that is unknown.
    """
    if isinstance(ranker, _OFTEN):
        return ranker
    if isinstance(ranker, list | tuple):
        return RankerSequence(tuple(checked_reranker(one) for one in ranker))
    if isinstance(ranker, type):
        raise InvalidArgument(f"ranker: expected a reranker, got the class {ranker.__name__}; call it")
    if isinstance(ranker, Reranker):
        return ranker
    if looks_declared(ranker):
        return from_declaration(ranker)
    raise InvalidArgument(
        f"ranker: expected a reranker, got {ranker!r}", hint="pass RRFRanker(), WeightedRanker(0.7, 0.3), ..."
    )
