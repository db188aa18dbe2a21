"""Rerankers one after the other: each scores what the one before made of the candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headwater.errors import InvalidArgument
from headwater.query.fuse import Candidates, Scores
from headwater.query.rerank.protocol import Reranker

__all__ = ["RankerSequence"]


@dataclass(frozen=True)
class RankerSequence:
    """The first sees the legs of the search; each further one sees one leg, the scores so far.

    Attributes:
        rankers: in the order they are applied.

    Raises:
        InvalidArgument: there is none.
    """

    rankers: tuple[Reranker, ...]
    name: ClassVar[str] = "sequence"

    def __post_init__(self) -> None:
        if not self.rankers:
            raise InvalidArgument("ranker: expected at least one reranker, got an empty list")

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        scores = self.rankers[0].rerank(candidates)
        for ranker in self.rankers[1:]:
            scores = ranker.rerank(candidates.scored(scores))
        return scores
