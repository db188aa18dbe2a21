"""Reciprocal rank fusion: what counts is the place of a row in each leg, not its distance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from headwater.errors import InvalidArgument
from headwater.query.fuse import Candidates, Floats, Scores, total

__all__ = ["RRFRanker"]

_LARGEST_K = 16_384


@dataclass(frozen=True)
class RRFRanker:
    """The sum of `1 / (k + rank)` over the legs that found a row; ranks begin at 1.

    Attributes:
        k: how little the first places stand out, above 0 and below 16,384.

    Raises:
        InvalidArgument: `k` is out of range.

    Reference: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet", SIGIR 2009.
    """

    k: float = 60
    name: ClassVar[str] = "rrf"

    def __post_init__(self) -> None:
        number = isinstance(self.k, int | float | np.number) and not isinstance(self.k, bool)
        if not number or not 0 < self.k < _LARGEST_K:
            raise InvalidArgument(f"RRFRanker: k must be a number between 0 and {_LARGEST_K}, got {self.k!r}")

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        ranks = candidates.ranks
        return Scores(total(_shares(self.k, int(ranks.max(initial=0)).bit_length())[ranks]))


@lru_cache(maxsize=64)
def _shares(k: float, bits: int) -> Floats:
    """What each rank of so many bits adds; 0 where a leg did not find the row."""
    shares: Floats = 1.0 / (k + np.arange(1 << bits, dtype=np.float64))
    shares[0] = 0.0
    shares.flags.writeable = False
    return shares
