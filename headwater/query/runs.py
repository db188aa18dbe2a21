"""Runs of hits: those of one query, or of one group, stand next to one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["places_in_runs"]


def places_in_runs(owner: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(n,) the place of each hit in its run, from 0.

    Args:
        owner: (n,) the query or group of each hit, ascending.
    """
    places: npt.NDArray[np.int64] = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return places
