"""How far a search of inverted lists has to go: measured when they are built, by searching for rows of their own.

The neighbours of these rows are known exactly, because the pass that adds rows compares each with them.
"""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.index.centroids import has_graph, reach
from headwater.index.reading import Nearest
from headwater.types import Bitmap, FloatMatrix, RowIds

__all__ = [
    "NEIGHBOURS",
    "TARGET_RECALL",
    "estimate_error",
    "graph_effort",
    "measured_effort",
    "most_effort",
    "neighbours_within",
    "num_queries",
    "others",
]

TARGET_RECALL = 0.98
"""What the default search effort finds of the exact ten neighbours of sampled rows."""

NEIGHBOURS = 11
"""Ten, and the query itself."""

_LEAST_QUERIES, _MOST_QUERIES = 64, 256
_LISTS_PER_QUERY = 16
_PROBES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Finer steps save lists, and what they save was missing: 3 probes passed for 64 rows and found .964, 4 found .982."""

_REFINE = {
    "ivf_flat": (1.0,),
    "ivf_sq8": (2.0, 4.0),
    "ivf_pq": (5.0, 10.0, 20.0, 40.0, 80.0),
    "ivf_rabitq": (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 40.0),
}


def num_queries(nlist: int) -> int:
    """Rows to search for: a sixteenth of what each row is compared with anyway, to find its list."""
    return max(_LEAST_QUERIES, min(_MOST_QUERIES, nlist // _LISTS_PER_QUERY))


def neighbours_within(share: float) -> int:
    """Of the ten neighbours among all rows of a collection, how many a part of the rows holds, or hardly ever more.

    Rows beyond them are no hits of a search of the collection. Where few rows of a cluster are in each segment they
    are as far as any: 20,000 rows with 8 of a cluster were searched to the last of 512 lists to find ten.

    Args:
        share: of the rows, in the part.
    """
    mean = (NEIGHBOURS - 1) * share
    return max(1, min(NEIGHBOURS - 1, math.ceil(mean + 2 * math.sqrt(mean * (1 - share)))))


def graph_effort(probes: int) -> int:
    """Centroids kept while walking their graph to the nearest so many."""
    return max(16, min(2 * probes, probes + 32))


def most_effort(index: Any, kind: str) -> dict[str, Any]:
    """`nprobe` and `refine_k` where rows are too few to measure them: all lists."""
    return {"nprobe": int(index.nlist), "refine_k": _REFINE[kind][-1]}


def _list_parameters(graph: bool, probes: int, selector: Any) -> Any:
    """Parameters of a search of the nearest lists, found through a graph or not, for rows that a selector takes."""
    walk = faiss.SearchParametersHNSW(efSearch=graph_effort(probes)) if graph else None
    return faiss.SearchParametersIVF(sel=selector, nprobe=probes, quantizer_params=walk)


def measured_effort(
    index: Any, kind: str, queries: FloatMatrix, truth: RowIds, present: Bitmap | None
) -> dict[str, Any]:
    """The least `nprobe` and `refine_k` with which the candidates hold as much of the truth as is wanted.

    Refined, a candidate that is a neighbour is a hit, so that no vector need be read to know what would be found.
    Neighbours in clusters are found all or not at all, so that a mean over 64 rows is off by .017; taken as it is, the
    first effort to pass is one that was lucky (.964 was found of a million rows where .98 had been measured). So the
    mean has to pass less a standard error.

    Args:
        index: trained and filled.
        kind: of inverted lists.
        queries: (q, dim) rows of the segment.
        truth: (q, k) the other rows that are nearest to each.
        present: (n,) rows that have a vector; None for all.
    """
    nlist, graph = int(index.nlist), has_graph(index)
    selector = None if present is None else faiss.IDSelectorBitmap(np.packbits(present, bitorder="little"))

    def candidates(nprobe: int, refine_k: float) -> RowIds:
        parameters = _list_parameters(graph, nprobe, selector)
        found: RowIds = index.search(queries, wanted(refine_k), params=parameters)[1]
        return found

    def wanted(refine_k: float) -> int:
        return min(int(index.ntotal), math.ceil(NEIGHBOURS * refine_k))

    def recall(found: RowIds) -> float:
        shares = np.array([np.isin(row, rows).mean() for row, rows in zip(truth, found, strict=True)])
        return float(shares.mean() - shares.std() / math.sqrt(len(shares)))

    effort = most_effort(index, kind)
    # Fewer candidates are the first of more.
    most = candidates(min(nlist, max(64, nlist // 8)), _REFINE[kind][-1])
    enough = min(TARGET_RECALL + 0.005, recall(most))
    for refine_k in _REFINE[kind]:
        if recall(most[:, : wanted(refine_k)]) >= enough:
            effort["refine_k"] = refine_k
            break
    for nprobe in _PROBES:
        if nprobe >= nlist or recall(candidates(nprobe, effort["refine_k"])) >= TARGET_RECALL:
            effort["nprobe"] = min(nlist, nprobe)
            break
    return effort


def others(rows: RowIds, own: RowIds) -> RowIds:
    """(q, k - 1) neighbours of each row without the row itself."""
    return np.array([found[found != me][: rows.shape[1] - 1] for found, me in zip(rows, own, strict=True)])


def estimate_error(index: Any, queries: FloatMatrix, nearest: Nearest, own: RowIds) -> float | None:
    """How far estimates are off, as a share of the distance between a query and its nearest centroid.

    Args:
        index: trained and filled.
        queries: (q, dim) rows of the segment.
        nearest: to them, exactly.
        own: (q,) their positions.

    Returns:
        The root of the mean square over queries and their neighbours; None where there are none to measure.
    """
    if not len(queries):
        return None
    _, lists = index.quantizer.search(queries, 1)
    apart = reach(index, queries, lists[:, 0])
    found = _estimates(index, queries, nearest.rows)
    off = (found - nearest.distances)[(nearest.rows != own[:, None]) & np.isfinite(found)]
    size = float(np.sqrt(np.mean(np.square(off, dtype=np.float64)))) if len(off) else 0.0
    typical = float(apart.mean())
    return size / typical if size and typical else None


def _estimates(index: Any, queries: FloatMatrix, rows: RowIds) -> npt.NDArray[np.float32]:
    """(q, k) what codes say of given rows; NaN where a search of many candidates does not come by them."""
    wanted = min(int(index.ntotal), 20 * NEIGHBOURS)
    parameters = _list_parameters(has_graph(index), min(int(index.nlist), 64), None)
    estimates, found = index.search(queries, wanted, params=parameters)
    out = np.full(rows.shape, np.nan, np.float32)
    for at, (row, values, wished) in enumerate(zip(found, estimates, rows, strict=True)):
        order = np.argsort(row)
        places = np.minimum(np.searchsorted(row[order], wished), len(row) - 1)
        there = row[order][places] == wished
        out[at, there] = values[order][places][there]
    return out
