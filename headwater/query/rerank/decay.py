"""Decay: the further a number or a moment is from an origin, the less of its score a row keeps."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from headwater.errors import InvalidArgument
from headwater.query.fuse import Candidates, Floats, Scores, combined
from headwater.types import NUMBER_TYPES, DataType

__all__ = ["DecayRanker", "decay_factor", "factors"]

_SHAPES = ("gauss", "exp", "linear")
_MODES = ("max", "sum", "avg")


@dataclass(frozen=True)
class DecayRanker:
    """Multiplies each score by a factor of at most 1.

    With `d` the distance of the field from `origin` beyond `offset`, the factor is `decay ** ((d / scale) ** 2)`
    (gauss), `decay ** (d / scale)` (exp), or `1 - (1 - decay) * d / scale`, at least `decay` (linear); it is 0 for rows
    whose field is null, which come last. Distances are turned into closeness first, as for `WeightedRanker`.

    Attributes:
        field: a number or a timestamp.
        origin: where the factor is 1: a number; for a timestamp a datetime, ISO 8601 text, or seconds since 1970.
        scale: the distance at which the factor is `decay`, above 0; for a timestamp seconds or a timedelta.
        function: `gauss`, `exp` or `linear`.
        offset: distances up to it keep all of the score; 0 or more.
        decay: above 0 and below 1; Milvus takes 0.001 to 0.999.
        score_mode: what becomes of the scores of several legs: `max`, `sum` or `avg` of those that found the row.
        norm_score: whether the legs' scores are normalised first, as `WeightedRanker` does.

    Raises:
        InvalidArgument: a parameter is out of range.
    """

    field: str
    origin: Any
    scale: Any
    function: str = "gauss"
    offset: Any = 0
    decay: float = 0.5
    score_mode: str = "max"
    norm_score: bool = False
    name: ClassVar[str] = "decay"

    def __post_init__(self) -> None:
        for what, value, known in (
            ("function", self.function, _SHAPES),
            ("score_mode", self.score_mode, _MODES),
        ):
            if value not in known:
                raise InvalidArgument(f"DecayRanker: {what} {value!r}: expected one of {', '.join(known)}")
        _moment(self.origin, "origin")
        if _span(self.scale, "scale") <= 0:
            raise InvalidArgument(f"DecayRanker: scale must be above 0, got {self.scale!r}")
        if _span(self.offset, "offset") < 0:
            raise InvalidArgument(f"DecayRanker: offset must be 0 or more, got {self.offset!r}")
        if not 0.001 <= _span(self.decay, "decay") <= 0.999:
            raise InvalidArgument(f"DecayRanker: decay must be from 0.001 to 0.999, got {self.decay!r}")

    def rerank(self, candidates: Candidates) -> Scores:
        """See `Reranker`."""
        score = combined(candidates.legs, self.score_mode, normal=self.norm_score)
        return Scores(score * factors(self, candidates))


def factors(ranker: DecayRanker, candidates: Candidates) -> Floats:
    """(n,) what each candidate's score is multiplied by.

    Raises:
        FieldNotFound: there is no such field.
        InvalidArgument: it is neither a number nor a timestamp, or the origin is not of its kind.
    """
    name, origin = ranker.field, ranker.origin
    kind = candidates.snapshot.schema.field(name).type.data_type
    if kind is not DataType.TIMESTAMPTZ and kind not in NUMBER_TYPES:
        raise InvalidArgument(f"DecayRanker: field {name!r} is {kind}: expected a number or a timestamp")
    if kind in NUMBER_TYPES and not isinstance(origin, int | float | np.number):
        raise InvalidArgument(f"DecayRanker: field {name!r} is a number, origin {origin!r} is none")
    return decay_factor(
        _numbers(candidates.column(name), kind),
        ranker.function,
        _moment(origin, "origin"),
        _span(ranker.scale, "scale"),
        _span(ranker.offset, "offset"),
        ranker.decay,
    )


def decay_factor(
    at: Floats, function: str, origin: float, scale: float, offset: float, decay: float
) -> Floats:
    """(n,) factors in [0, 1]; 0 where `at` is NaN. See `DecayRanker`."""
    beyond = np.maximum(0.0, np.abs(at - origin) - offset) / scale
    if function == "linear":
        factor = np.maximum(decay, 1.0 - (1.0 - decay) * beyond)
    else:
        factor = np.exp(math.log(decay) * (beyond**2 if function == "gauss" else beyond))
    return np.where(np.isnan(at), 0.0, factor)


def _numbers(column: pa.Array, kind: DataType) -> Floats:
    """(n,) float64, NaN for null; timestamps as seconds since 1970."""
    if kind is DataType.TIMESTAMPTZ:
        column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers / 1e6 if kind is DataType.TIMESTAMPTZ else numbers


def _moment(value: Any, what: str) -> float:
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise InvalidArgument(f"DecayRanker: {what} {value!r} is no ISO 8601 moment") from error
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=value.tzinfo or datetime.UTC).timestamp()
    return _span(value, what)


def _span(value: Any, what: str) -> float:
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise InvalidArgument(f"DecayRanker: {what} must be a finite number, got {value!r}")
    return float(value)
