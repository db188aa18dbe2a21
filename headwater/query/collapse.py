"""Hits of elements made hits of rows: what a leg of a hybrid search says where the other legs find rows.

Only the hits that the leg has found count, so its limit is how many elements a row's value is made of.

Reference: Milvus 3.0's `element_scope`, whose strategies, words and default these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.errors import InvalidArgument
from headwater.query.found import Found
from headwater.query.runs import places_in_runs
from headwater.types import MetricType

__all__ = ["SCOPE", "Collapse", "collapsed"]

SCOPE = "element_scope"
_STRATEGIES = ("max", "sum", "avg", "topk_sum", "topk_avg")


@dataclass(frozen=True)
class Collapse:
    """How the elements of a row become one hit.

    Attributes:
        strategy: `max` is the best of them, `sum` and `avg` are over all of them, `topk_sum` and `topk_avg` over the
            best `topk`.
        topk: how many, of the last two.
    """

    strategy: str = "max"
    topk: int | None = None

    @classmethod
    def of(cls, scope: Any, metric: MetricType) -> Collapse:
        """Read `{"collapse": {"strategy": "topk_sum", "topk": 3}}`.

        Args:
            scope: what `element_scope` says.
            metric: of the leg.

        Raises:
            InvalidArgument: a key or a value is wrong, or sums of distances are asked for.
        """
        collapse = _mapping(scope, SCOPE, ("collapse",)).get("collapse")
        if collapse is None:
            raise InvalidArgument(f"{SCOPE}.collapse is required")
        told = _mapping(collapse, f"{SCOPE}.collapse", ("strategy", "topk"))
        strategy, topk = told.get("strategy", ""), told.get("topk")
        if not isinstance(strategy, str):
            raise InvalidArgument(f"{SCOPE}.collapse.strategy must be a string")
        strategy = strategy.strip()
        if not strategy:
            raise InvalidArgument(f"{SCOPE}.collapse.strategy is required")
        if strategy not in _STRATEGIES:
            raise InvalidArgument(
                f"unsupported {SCOPE}.collapse.strategy: {strategy}",
                hint=f"expected one of {', '.join(_STRATEGIES)}",
            )
        _check_topk(strategy, topk)
        if strategy.endswith("sum") and not metric.larger_is_closer:
            raise InvalidArgument(
                f"{SCOPE}.collapse.strategy {strategy} is only supported for positively related metrics"
            )
        return cls(strategy, topk)


def _check_topk(strategy: str, topk: Any) -> None:
    of_some = strategy.startswith("topk_")
    if topk is None:
        if of_some:
            raise InvalidArgument(f"{SCOPE}.collapse.topk is required for strategy {strategy}")
        return
    if not isinstance(topk, int) or isinstance(topk, bool):
        raise InvalidArgument(f"{SCOPE}.collapse.topk must be an integer")
    if topk <= 0:
        raise InvalidArgument(f"{SCOPE}.collapse.topk must be positive")
    if not of_some:
        raise InvalidArgument(f"{SCOPE}.collapse.topk is only valid for topk strategies")


def _mapping(value: Any, what: str, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{what} must be a JSON object", hint=f"got {value!r}")
    for key in value:
        if key not in known:
            raise InvalidArgument(f"unsupported {what} key: {key}")
    return value


def collapsed(found: Found, metric: MetricType, collapse: Collapse | None) -> Found:
    """Rows in place of elements, each once for a query, best first; equal ones by their best element.

    Args:
        found: elements, by query, best first.
        metric: of their distances.
        collapse: how; None for the best of them.
    """
    counts = np.asarray(found.counts, np.int64)
    query = np.repeat(np.arange(len(counts)), counts)
    keys = np.stack([query, found.which.astype(np.int64), found.rows])
    _, first, group = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    values = found.distances[first].astype(np.float64)
    if collapse is not None and collapse.strategy != "max":
        values = _summed(found.distances, group.reshape(-1), len(first), collapse)
    order = np.lexsort((first, -values if metric.larger_is_closer else values, query[first]))
    chosen = first[order]
    rows = found.taken(chosen, np.bincount(query[chosen], minlength=len(counts)).tolist())
    return rows._replace(distances=values[order].astype(np.float32), elements=None)


def _summed(
    distances: npt.NDArray[np.float32], group: npt.NDArray[Any], groups: int, collapse: Collapse
) -> npt.NDArray[np.float64]:
    """(groups,) sums or averages over the hits of each group, which come best first."""
    if collapse.topk is not None:
        by_group = np.argsort(group, kind="stable")
        ordered = group[by_group]
        kept = by_group[places_in_runs(ordered) < collapse.topk]
        distances, group = distances[kept], group[kept]
    sums = np.zeros(groups)
    np.add.at(sums, group, distances)
    if collapse.strategy.endswith("avg"):
        sums /= np.bincount(group, minlength=groups)
    return sums
