"""Boosts: rows that a filter selects gain or lose score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.errors import InvalidArgument, UnsupportedOption
from headwater.query.fetch import fetch_keys
from headwater.query.fuse import Candidates, Floats, Scores
from headwater.types import Bitmap

__all__ = ["BoostRanker", "Boosts", "random_score"]

_MODES = ("multiply", "sum")


@dataclass(frozen=True)
class BoostRanker:
    """Multiplies the score of rows that a filter selects by a weight.

    The score is the search's own: where a smaller distance is better (L2), a weight below 1 promotes. It scores one
    leg; after a fusion pass both: ``ranker=[RRFRanker(), BoostRanker(1.5, filter=...)]``.

    Attributes:
        weight: what a selected row's score is multiplied by.
        filter: selects rows; None for all.
        filter_params: values of its ``{name}`` templates.
        random_score: ``{"seed": int, "field": name}``: the weight is multiplied by a number in [0, 1) that the seed and
            the row's integer field decide; the primary key by default, and 0 for the seed.

    Raises:
        InvalidArgument: the weight is no finite number, or `random_score` is not as above.
    """

    weight: float = 1.0
    filter: str | None = None
    filter_params: Mapping[str, Any] | None = None
    random_score: Mapping[str, Any] | None = None
    name: ClassVar[str] = "boost"

    def __post_init__(self) -> None:
        number = isinstance(self.weight, int | float | np.number) and not isinstance(self.weight, bool)
        if not number or not math.isfinite(self.weight):
            raise InvalidArgument(f"BoostRanker: weight must be a finite number, got {self.weight!r}")
        for name, value in (self.random_score or {}).items():
            if name not in ("seed", "field"):
                raise UnsupportedOption(f"BoostRanker: random_score has no {name!r}", hint="seed, field")
            if not isinstance(value, str if name == "field" else int) or isinstance(value, bool):
                raise InvalidArgument(f"BoostRanker: random_score {name!r} cannot be {value!r}")

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        return Boosts((self,)).rerank(candidates)

    def value(self, candidates: Candidates) -> tuple[Bitmap, Floats]:
        """Which candidates it applies to, and by how much."""
        bound = candidates.snapshot.bind(self.filter, self.filter_params)
        worth = np.full(len(candidates), float(self.weight))
        if self.random_score is not None:
            seed = self.random_score.get("seed", 0)
            worth *= random_score(_integers(candidates, self.random_score.get("field")), seed)
        return candidates.matches(bound), worth


@dataclass(frozen=True)
class Boosts:
    """Several boosts at once.

    Attributes:
        boosts: what may apply to a row.
        boost_mode: how a row's score and its boost go together: multiply or sum; where a smaller distance is better, a
            sum takes the boost from it, so that a positive one promotes.
        function_mode: how the boosts of one row go together: multiply or sum.

    Raises:
        InvalidArgument: a mode is unknown.
    """

    boosts: Sequence[BoostRanker]
    boost_mode: str = "multiply"
    function_mode: str = "multiply"
    name: ClassVar[str] = "boosts"

    def __post_init__(self) -> None:
        for what, mode in (("boost_mode", self.boost_mode), ("function_mode", self.function_mode)):
            if mode not in _MODES:
                raise InvalidArgument(f"{what} {mode!r}: expected one of {', '.join(_MODES)}")

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        if len(candidates.legs) != 1:
            raise InvalidArgument(
                f"a boost scores one leg, got {len(candidates.legs)}",
                hint="fuse first: ranker=[RRFRanker(), BoostRanker(...)]",
            )
        leg = candidates.legs[0]
        values = [boost.value(candidates) for boost in self.boosts]
        product = self.function_mode == "multiply"
        worth = np.full(len(candidates), 1.0 if product else 0.0)
        touched = np.zeros(len(candidates), np.bool_)
        for applies, value in values:
            worth = np.where(applies, worth * value if product else worth + value, worth)
            touched |= applies
        added = worth if leg.descending else -worth
        changed = leg.scores * worth if self.boost_mode == "multiply" else leg.scores + added
        return Scores(np.where(touched, changed, leg.scores), leg.descending)


def random_score(keys: npt.NDArray[np.int64], seed: int) -> Floats:
    """(n,) numbers in [0, 1) that look random and depend on key and seed alone.

    Reference: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014 (its mixing function).
    """
    with np.errstate(over="ignore"):
        z = keys.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % (1 << 64))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    scores: Floats = (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)
    return scores


def _integers(candidates: Candidates, name: str | None) -> npt.NDArray[np.int64]:
    if name is None:
        column = fetch_keys(
            candidates.snapshot, candidates.segments, candidates.which, candidates.rows
        ).to_arrow()
        name = candidates.snapshot.schema.primary_key or "row_id"
    else:
        column = candidates.column(name)
    if not pa.types.is_integer(column.type):
        raise InvalidArgument(
            f"BoostRanker: random_score needs an integer field, {name!r} is {column.type}",
            hint='name one: random_score={"field": ...}',
        )
    numbers: npt.NDArray[np.int64] = column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return numbers
