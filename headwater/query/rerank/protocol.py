"""What a reranker is: from what the legs say about each candidate to one score."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from headwater.query.fuse import Candidates, Scores

__all__ = ["Reranker"]


@runtime_checkable
class Reranker(Protocol):
    """Scores candidates; holds parameters and no state, so one object serves many searches and threads.

    Promises: a score for each candidate, in the order given, that depends on the candidates of its own query alone;
    no candidate is changed.

    Attributes:
        name: the word that declarations know it by.
    """

    name: ClassVar[str]

    def rerank(self, candidates: Candidates) -> Scores:
        """A score for each candidate.

        Raises:
            InvalidArgument: its parameters do not fit the legs or the schema.
        """
        ...
