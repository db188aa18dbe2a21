"""Building inverted lists.

k-means on a sample, every row assigned to its nearest centroid by exact search, and a small graph over the centroids to
find the lists to probe, because scanning all centroids would dominate a query. The default effort is measured
(`effort.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from headwater.formats import Vectors
from headwater.index.artifact import ArtifactWriter
from headwater.index.centroids import graph_over_centroids, put_graph, stored_centroids
from headwater.index.effort import (
    NEIGHBOURS,
    estimate_error,
    measured_effort,
    most_effort,
    neighbours_within,
    num_queries,
    others,
)
from headwater.index.faiss_index import better_exact, faiss_threads
from headwater.index.lists import neighbourly_order, rows_in_lists, write_lists
from headwater.index.owners import write_owners
from headwater.index.params import IndexParams
from headwater.index.reading import Nearest, Reading, at_least
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["build_ivf"]

_LEAST_TRAINED = 256
"""Rows that the codes of 8 bits are trained on at the least."""

_TRAIN_PER_LIST = 50
_TRAIN_ROUNDS = 6
_CODE_ROWS = 8_192
_SAMPLED, _TRAINED, _ADDED = 0.05, 0.5, 0.97
"""Shares of a build."""


def build_ivf(
    kind: str,
    vectors: Vectors,
    params: IndexParams,
    path: Path,
    *,
    present: Bitmap | None,
    progress: Callable[[float], None] | None,
    threads: int | None,
    reorder: bool = False,
) -> RowIds | None:
    """Write one artifact; see `IndexKind.build`. Memory: a training sample, then a few blocks of rows and the codes.

    Args:
        kind: of inverted lists.
        vectors: (n, width) as stored; read once, and the sample before.
        params: checked by `parse_params`.
        path: a local path that does not exist yet.
        present: (n,) rows that have a vector; None for all.
        progress: called with the share done.
        threads: cores to use.
        reorder: for a segment whose rows will lie in the order of their lists.

    Returns:
        (n,) these rows in that order; None where nothing is reordered.
    """
    report = progress or (lambda _: None)
    n, count = len(vectors), len(vectors) if present is None else int(np.count_nonzero(present))
    reading = Reading(vectors, params.metric, present)
    with faiss_threads(threads):
        index = _new_index(kind, params, vectors.shape[1], n)
        queries, asked = _trained(index, reading, min(count // 2, num_queries(int(index.nlist))), report)
        graph = graph_over_centroids(index)
        nearest = Nearest(queries, NEIGHBOURS, params.metric)
        for start, rows, here in reading.blocks():
            index.add(rows)
            nearest.add(start, rows, here)
            report(_TRAINED + (_ADDED - _TRAINED) * (start + len(rows)) / n)
        put_graph(index, graph)
        if better_exact(n, count, NEIGHBOURS):
            effort = most_effort(index, kind)
        else:
            truth = others(nearest.rows, asked)[:, : neighbours_within(params.share)]
            effort = measured_effort(index, kind, queries, truth, present)
        error = None if kind == "ivf_flat" else estimate_error(index, queries, nearest, asked)
        with ArtifactWriter(path, kind) as writer:
            order, lists = (
                neighbourly_order(stored_centroids(index)),
                faiss.downcast_InvertedLists(index.invlists),
            )
            moved = rows_in_lists(lists, order) if reorder else None
            directory = write_lists(writer, lists, order, renumbered=reorder)
            owners = write_owners(writer, index, moved)
            index.reset()
            unit = reading.unit
            if params.metric is MetricType.COSINE and not unit:
                writer.section("lengths", [reading.lengths if moved is None else reading.lengths[moved]])
            # What opening reads stands last, so that one request of a cold reader has it all.
            writer.section("directory", [directory])
            writer.section("codec", [faiss.serialize_index(index)])
            writer.finish(
                {"num_rows": n, "dim": vectors.shape[1], "unit": unit, "error": error, **owners, **effort}
            )
    report(1.0)
    return moved


def _trained(
    index: Any, reading: Reading, num_queries: int, report: Callable[[float], None]
) -> tuple[FloatMatrix, RowIds]:
    """Train an index on a sample, which is given back to the system then; rows to search for, and their positions."""
    nlist = int(index.nlist)
    sample, queries, asked = reading.sample(max(20_000, nlist * _TRAIN_PER_LIST), nlist, num_queries)
    sample = at_least(sample, max(nlist, _LEAST_TRAINED))
    report(_SAMPLED)
    quantizer = faiss.downcast_index(index.quantizer)
    index.cp.niter = 1
    rounds = faiss.Clustering(index.d, nlist, index.cp)
    for done in range(_TRAIN_ROUNDS):
        # Each goes on from the centroids of the one before.
        rounds.train(sample, quantizer)
        report(_SAMPLED + (_TRAINED - _SAMPLED) * (done + 1) / _TRAIN_ROUNDS)
    step = max(1, len(sample) // max(_CODE_ROWS, index.train_encoder_num_vectors()))
    few = sample[::step].copy()
    del sample
    index.train(few)
    return queries, asked


def _default_nlist(n: int) -> int:
    return max(1, min(65_536, int(4 * math.sqrt(n)), n // 39 or 1))


def _new_index(kind: str, params: IndexParams, dim: int, n: int) -> Any:
    metric = faiss.METRIC_L2 if params.metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
    nlist = min(params.option("nlist", _default_nlist(n)), n)
    coding = {"ivf_flat": "Flat", "ivf_sq8": "SQ8", "ivf_rabitq": "RaBitQ2"}.get(kind) or _pq(params, dim, n)
    index = faiss.index_factory(dim, f"IVF{nlist},{coding}", metric)
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _TRAIN_PER_LIST
    return index


def _pq(params: IndexParams, dim: int, n: int) -> str:
    """Product quantiser; 4 bits are scanned in registers. With too few rows to train one, plain vectors."""
    bits = params.option("nbits", 8)
    if n < 1 << bits:
        bits = 4
    if n < 1 << bits:
        return "Flat"
    default_m = next(m for m in range(max(1, dim // 4), 0, -1) if dim % m == 0)
    # Without "np" faiss orders the codewords by simulated annealing for a polysemous search that nothing here makes.
    return f"PQ{params.option('m', default_m)}x{bits}{'fs' if bits == 4 else 'np'}"
