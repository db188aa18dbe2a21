"""Candidates whose exact distances are still to be computed, and which of them need be.

Codes give a distance and how far it may be off. A row whose distance is at the best no better than what k others are at
the worst is no neighbour, and its vector need not be read. So what is read follows from how the distances lie, query by
query, and not from how many segments, lists or codes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["LIKELY", "SURE", "Candidates", "worth_comparing"]

LIKELY = 1.25
"""Standard errors of estimates that distances are taken to be off by at the most. Then .993 to .997 of the neighbours
that are among the candidates are found, with 52, 52 and 28 vectors read for ten hits (1 M x 768 and 50 k x 256 in
clusters, 40 k texts). With 1.0 it is .98 to .99 and 40, 40 and 23; with 1.5 .997 to .999 and 67, 68 and 34."""

SURE = 3.0
"""The same where a search says how many candidates it wants compared: what is left out cannot be a hit."""


class Candidates(NamedTuple):
    """What the codes of one segment give.

    Attributes:
        estimates: (q, c) values of the metric, best first.
        rows: (q, c) positions, -1 where there are no more.
        within: (q,) how far the estimates of a query are taken to be off; 0 where they are exact.
    """

    estimates: FloatMatrix
    rows: RowIds
    within: npt.NDArray[np.float32]


def worth_comparing(found: Sequence[Candidates], k: int, metric: MetricType) -> list[Bitmap]:
    """Which candidates may be among the best k of all segments together.

    Args:
        found: by segment, for the same queries.
        k: hits wanted.
        metric: how closeness is measured.

    Returns:
        By segment, (q, c).
    """
    sign = np.float32(-1.0 if metric.larger_is_closer else 1.0)
    keys = [np.where(one.rows >= 0, sign * one.estimates, np.float32(np.inf)) for one in found]
    worst = np.concatenate([key + one.within[:, None] for key, one in zip(keys, found, strict=True)], axis=1)
    if worst.shape[1] < k:
        return [one.rows >= 0 for one in found]
    bounds = np.partition(worst, k - 1, axis=1)[:, k - 1]
    return [
        (one.rows >= 0) & (key - one.within[:, None] <= bounds[:, None])
        for key, one in zip(keys, found, strict=True)
    ]
