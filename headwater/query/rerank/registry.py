"""From what a caller passes as a ranker to a reranker."""

from __future__ import annotations

from typing import Any

from headwater.errors import InvalidArgument
from headwater.query.rerank.protocol import Reranker

__all__ = ["checked_reranker"]


def checked_reranker(ranker: Any) -> Reranker:
    """A reranker.

    Args:
        ranker: a `Reranker`.

    Raises:
        InvalidArgument: it is none.
    """
    if isinstance(ranker, Reranker) and not isinstance(ranker, type):
        return ranker
    raise InvalidArgument(
        f"ranker: expected a reranker, got {ranker!r}", hint="pass RRFRanker(), WeightedRanker(0.7, 0.3), ..."
    )
