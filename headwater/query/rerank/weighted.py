"""A weighted sum of the legs' scores."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from headwater.errors import InvalidArgument
from headwater.query.fuse import Candidates, Floats, Leg, Scores, closeness, normalised, total

__all__ = ["WeightedRanker"]


class WeightedRanker:
    """The sum of `weight * score` over the legs that found a row.

    With `norm_score` each score is brought into [0, 1] first, larger closer, as Milvus does: COSINE `(1 + s) / 2`;
    IP `0.5 + atan(s) / pi`; BM25 `2 atan(s) / pi`; distances `1 - 2 atan(d) / pi`. Without it scores are taken as they
    are; where some legs measure distances and others closeness, distances are turned round by the same formula.

    Args:
        *weights: one for each leg, 0 to 1.
        norm_score: whether scores are normalised.

    Raises:
        InvalidArgument: a weight is out of range.
    """

    name: ClassVar[str] = "weighted"

    def __init__(self, *weights: float, norm_score: bool = True) -> None:
        for weight in weights:
            number = isinstance(weight, int | float | np.number) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight) or not 0 <= weight <= 1:
                raise InvalidArgument(f"WeightedRanker: a weight is a number from 0 to 1, got {weight!r}")
        if not weights:
            raise InvalidArgument("WeightedRanker needs a weight for each leg, got none")
        if not isinstance(norm_score, bool):
            raise InvalidArgument(f"WeightedRanker: norm_score must be True or False, got {norm_score!r}")
        self.weights = tuple(float(weight) for weight in weights)
        self.norm_score = norm_score

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        legs = candidates.legs
        if len(legs) != len(self.weights):
            raise InvalidArgument(
                f"WeightedRanker has {len(self.weights)} weights for {len(legs)} legs",
                hint="give one weight for each request",
            )
        turned = self.norm_score or len({leg.descending for leg in legs}) > 1
        parts = [
            np.where(leg.found, weight * self._score(leg, turned), 0.0)
            for leg, weight in zip(legs, self.weights, strict=True)
        ]
        return Scores(total(np.stack(parts)), descending=turned or legs[0].descending)

    def _score(self, leg: Leg, turned: bool) -> Floats:
        if self.norm_score:
            return normalised(leg.scores, leg.metric)
        return closeness(leg.scores, leg.metric) if turned else leg.scores

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WeightedRanker) and (self.weights, self.norm_score) == (
            other.weights,
            other.norm_score,
        )

    def __hash__(self) -> int:
        return hash((self.weights, self.norm_score))

    def __repr__(self) -> str:
        return f"WeightedRanker({', '.join(map(repr, self.weights))}, norm_score={self.norm_score})"
