"""Scanning chosen lists: those that are not there come first, for as many queries together as there is room for."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.index.placed_lists import RowLists
from headwater.types import FloatMatrix, RowIds

__all__ = ["scan_lists"]


def scan_lists(
    index: Any,
    lists: RowLists,
    asked: FloatMatrix,
    wanted: int,
    numbers: npt.NDArray[np.int64],
    distances: FloatMatrix,
    parameters: Any = None,
) -> tuple[FloatMatrix, RowIds]:
    """The rows whose codes are nearest, among those in chosen lists.

    Args:
        index: faiss's inverted file.
        lists: its lists.
        asked: (q, dim) queries as it takes them.
        wanted: rows of each query.
        numbers: (q, p) the lists of each, -1 for none.
        distances: (q, p) of their centroids.
        parameters: faiss's, for p lists and the rows to consider; made here where left out, for all rows.

    Returns:
        (q, wanted) estimated distances and rows, best first, -1 where there are no more.
    """
    found = np.empty((len(asked), wanted), np.int64)
    estimates = np.empty((len(asked), wanted), np.float32)
    if parameters is None:
        parameters = faiss.SearchParametersIVF(nprobe=numbers.shape[1])
    together = lists.queries_together(numbers.shape[1])
    for start in range(0, len(asked), together):
        part = slice(start, start + together)
        given = [np.ascontiguousarray(one[part]) for one in (asked, numbers, distances, estimates, found)]
        queries, *arrays = map(faiss.swig_ptr, given)
        with lists.holding(numbers[part]):
            # The Python form takes no parameters.
            index.search_preassigned_c(len(given[0]), queries, wanted, *arrays, False, parameters)
    return estimates, found
