"""Function chains: hits go through small steps in the order written, as in Milvus 3.0's last rerank stage.

A chain is a frozen value; each method gives a longer one. Columns are the fields of the collection, `$score`, `$id`,
and what earlier steps computed; every step works on whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import FieldNotFound, InvalidArgument
from headwater.query.fetch import fetch_keys
from headwater.query.fuse import Candidates, Floats, Scores, as_found
from headwater.query.rerank import DecayRanker, ModelRanker, TextScorer
from headwater.query.rerank.decay import factors
from headwater.query.runs import places_in_runs
from headwater.query.search_plan import MAX_TOP_K
from headwater.types import ORDERED_TYPES

__all__ = ["FunctionChain", "run_chains"]

_SCORE, _ID = "$score", "$id"
_MODES = ("multiply", "sum", "max", "min", "avg", "weighted")


@dataclass
class _State:
    """What the steps work on: candidates that are left, in order, and columns over all of them."""

    candidates: Candidates
    order: npt.NDArray[np.int64]
    computed: dict[str, Floats]

    def column(self, name: str) -> pa.Array:
        """(n,) a column over all candidates."""
        if name in self.computed:
            return pa.array(self.computed[name])
        if name == _ID:
            at = (self.candidates.segments, self.candidates.which, self.candidates.rows)
            return fetch_keys(self.candidates.snapshot, *at).to_arrow()
        if name not in self.candidates.snapshot.schema.names:
            known = ", ".join((*self.candidates.snapshot.schema.names, *self.computed, _ID))
            raise FieldNotFound(f"function chain: no column {name!r}", hint=f"columns: {known}")
        return self.candidates.column(name)

    def numbers(self, name: str) -> Floats:
        """(n,) float64 of a column, NaN for null."""
        if name in self.computed:
            return self.computed[name]
        column = self.column(name)
        if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
            raise InvalidArgument(f"function chain: column {name!r} is {column.type}, expected numbers")
        numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return numbers

    def ordered(self, name: str) -> pa.Array:
        """`column`, of values that have an order."""
        column = self.column(name)
        if name not in self.computed and name != _ID:
            kind = self.candidates.snapshot.schema.field(name).type.data_type
            if kind not in ORDERED_TYPES:
                raise InvalidArgument(f"function chain: column {name!r} is {kind}, which has no order")
        return column

    def query(self) -> npt.NDArray[np.int64]:
        """(left,) the question of each candidate that is left."""
        return self.candidates.query[self.order]


@dataclass(frozen=True)
class _Combine:
    output: str
    columns: tuple[str, ...]
    mode: str
    weights: tuple[float, ...] | None

    def apply(self, state: _State) -> None:
        parts = [state.numbers(name) for name in self.columns]
        if self.weights is not None:
            parts = [part * weight for part, weight in zip(parts, self.weights, strict=True)]
        fold = {"multiply": np.multiply, "max": np.maximum, "min": np.minimum}.get(self.mode, np.add)
        made: Floats = reduce(fold, parts)
        state.computed[self.output] = made / len(parts) if self.mode == "avg" else made


@dataclass(frozen=True)
class _Decay:
    output: str
    ranker: DecayRanker

    def apply(self, state: _State) -> None:
        if self.ranker.field in state.computed:
            raise InvalidArgument(f"function chain: decay reads a field, {self.ranker.field!r} is computed")
        state.computed[self.output] = factors(self.ranker, state.candidates)


@dataclass(frozen=True)
class _Round:
    output: str
    column: str
    decimal: int

    def apply(self, state: _State) -> None:
        state.computed[self.output] = np.round(state.numbers(self.column), self.decimal)


@dataclass(frozen=True)
class _Model:
    output: str
    ranker: ModelRanker

    def apply(self, state: _State) -> None:
        left = np.sort(state.order)
        out = np.full(len(state.candidates), np.nan)
        out[left] = self.ranker.rerank(state.candidates.take(left)).values
        state.computed[self.output] = out


@dataclass(frozen=True)
class _Filter:
    text: str
    params: Mapping[str, Any] | None = field(default=None, compare=False)

    def apply(self, state: _State) -> None:
        bound = state.candidates.snapshot.bind(self.text, self.params)
        state.order = state.order[state.candidates.matches(bound)[state.order]]


@dataclass(frozen=True)
class _Sort:
    column: str
    desc: bool
    tie_break: str | None

    def apply(self, state: _State) -> None:
        arrays = [pa.array(state.query()), state.ordered(self.column).take(pa.array(state.order))]
        keys = [("0", "ascending", "at_end"), ("1", "descending" if self.desc else "ascending", "at_end")]
        if self.tie_break is not None:
            arrays.append(state.ordered(self.tie_break).take(pa.array(state.order)))
            keys.append((str(len(keys)), "ascending", "at_end"))
        arrays.append(pa.array(np.arange(len(state.order))))
        keys.append((str(len(keys)), "ascending", "at_end"))
        table = pa.table(arrays, names=[str(i) for i in range(len(arrays))])
        state.order = state.order[pc.sort_indices(table, sort_keys=keys).to_numpy()]


@dataclass(frozen=True)
class _Limit:
    limit: int
    offset: int

    def apply(self, state: _State) -> None:
        place = places_in_runs(state.query())
        state.order = state.order[(place >= self.offset) & (place < self.offset + self.limit)]


@dataclass(frozen=True)
class FunctionChain:
    """Steps that the hits of a search go through; their distance is `$score` at the end.

    The hits come in best first. `search(..., top_k=, offset=)` says how many come in, and pages what is left.

    Attributes:
        ops: the steps, in order.

    Reference: Milvus 3.0's `FunctionChain`, stage L2_RERANK. `filter` is ours; Milvus's `xgboost` is not there.
    """

    ops: tuple[Any, ...] = ()
    stage: ClassVar[str] = "L2_RERANK"

    def _with(self, op: Any) -> FunctionChain:
        return replace(self, ops=(*self.ops, op))

    def combine(
        self, output: str, columns: Sequence[str], mode: str = "sum", weights: Sequence[float] | None = None
    ) -> FunctionChain:
        """Make a column of two or more columns of numbers; where one is null, so is the result.

        Args:
            output: the column to make, `$score` perhaps.
            columns: what to combine.
            mode: multiply, sum, max, min, avg, or weighted, a sum with `weights`.
            weights: one for each column, with ``mode="weighted"`` only.

        Raises:
            InvalidArgument: too few columns, an unknown mode, or weights that do not fit it.
        """
        if isinstance(columns, str) or len(columns) < 2:
            raise InvalidArgument(f"combine: expected two columns or more, got {columns!r}")
        if mode not in _MODES:
            raise InvalidArgument(f"combine: mode {mode!r}: expected one of {', '.join(_MODES)}")
        if (weights is None) == (mode == "weighted") or (
            weights is not None and len(weights) != len(columns)
        ):
            raise InvalidArgument(
                "combine: mode 'weighted' takes a weight for each column, other modes take none"
            )
        chosen = None if weights is None else tuple(float(weight) for weight in weights)
        return self._with(_Combine(_output(output), tuple(columns), mode, chosen))

    def decay(self, output: str, column: str, *, origin: Any, scale: Any, **how: Any) -> FunctionChain:
        """Make a column of factors in [0, 1] that fall with the distance of a field from `origin`.

        Args:
            output: the column to make.
            column: a number or a timestamp.
            origin: where the factor is 1; see `DecayRanker`.
            scale: the distance at which it is `decay`.
            **how: `function`, `offset` and `decay` of `DecayRanker`.

        Raises:
            InvalidArgument: a parameter is out of range, or unknown.
        """
        unknown = set(how) - {"function", "offset", "decay"}
        if unknown:
            raise InvalidArgument(f"decay: unknown parameter {sorted(unknown)[0]!r}")
        return self._with(_Decay(_output(output), DecayRanker(column, origin, scale, **how)))

    def round(self, output: str, column: str, decimal: int) -> FunctionChain:
        """Make a column of rounded numbers, 0 to 6 digits after the point."""
        if not isinstance(decimal, int) or isinstance(decimal, bool) or not 0 <= decimal <= 6:
            raise InvalidArgument(f"round: decimal must be an integer from 0 to 6, got {decimal!r}")
        return self._with(_Round(_output(output), column, decimal))

    def model(
        self, output: str, scorer: TextScorer, column: str, queries: Sequence[str] | str | None = None
    ) -> FunctionChain:
        """Make a column of a model's scores of a text field; see `ModelRanker`. Only hits that are left are sent."""
        return self._with(_Model(_output(output), ModelRanker(scorer, column, queries)))

    def filter(self, text: str, filter_params: Mapping[str, Any] | None = None) -> FunctionChain:
        """Keep the hits whose fields a filter selects."""
        return self._with(_Filter(text, filter_params))

    def sort(self, by: str, desc: bool = True, tie_break: str | None = None) -> FunctionChain:
        """Order the hits of each question by a column, nulls last, then by `tie_break`; equal ones stay as they are."""
        if not isinstance(desc, bool):
            raise InvalidArgument(f"sort: desc must be True or False, got {desc!r}")
        return self._with(_Sort(by, desc, tie_break))

    def limit(self, limit: int, offset: int = 0) -> FunctionChain:
        """Keep `limit` hits of each question, past the first `offset`."""
        for name, value, least in (("limit", limit, 1), ("offset", offset, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_TOP_K:
                raise InvalidArgument(f"{name} must be an integer from {least} to {MAX_TOP_K}, got {value!r}")
        return self._with(_Limit(limit, offset))


def _output(name: Any) -> str:
    """The name of a column that a step may make."""
    if not isinstance(name, str) or not name or (name.startswith("$") and name != _SCORE):
        raise InvalidArgument(
            f"function chain: expected the name of a column to make, got {name!r}",
            hint="of the names that begin with $, only $score can be made",
        )
    return name


def run_chains(
    candidates: Candidates, scores: Scores, chains: Sequence[FunctionChain], offset: int, stop: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Positions of the candidates that are left of each query's `[offset, stop)`, and the score of every candidate.

    Args:
        candidates: the hits.
        scores: of each.
        chains: one after the other.
        offset: hits of each query to leave out at the end.
        stop: one past the last hit of each query at the end.
    """
    state = _State(candidates, as_found(candidates), {_SCORE: scores.values})
    for chain in chains:
        for op in chain.ops:
            op.apply(state)
    place = places_in_runs(state.query())
    return state.order[(place >= offset) & (place < stop)], state.computed[_SCORE]
