"""Building inverted lists.

k-means on a sample, every row assigned to its nearest centroid by exact search, and a small graph over the centroids to
find the lists to probe, because scanning all centroids would dominate a query. The defaults of `nprobe` and `refine_k`
are measured: the least that find `TARGET_RECALL` of the exact neighbours of sampled rows.
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
from headwater.index.exact import exact_search, to_float32
from headwater.index.faiss_index import (
    ADD_ROWS,
    all_lengths,
    all_one,
    better_exact,
    faiss_threads,
    prepared,
    sample_rows,
    training_sample,
)
from headwater.index.lists import neighbourly_order, write_lists
from headwater.index.params import IndexParams
from headwater.index.protocol import Index
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Built", "build_ivf"]

TARGET_RECALL = 0.98
"""What the default search effort finds of the exact ten neighbours of sampled rows."""

_GRAPH_LISTS = 256
_LEAST_TRAINED = 256
"""Rows that the codes of 8 bits are trained on at the least."""

_TRAIN_PER_LIST = 50
_TRAIN_ROUNDS = 6
_PROBES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_QUERIES = 64
_REFINE = {
    "ivf_flat": (1.0,),
    "ivf_sq8": (2.0, 4.0),
    "ivf_pq": (5.0, 10.0, 20.0, 40.0, 80.0),
    "ivf_rabitq": (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 40.0),
}

Built = Callable[[Any, MetricType, int], Index]
"""Makes an index of faiss's, a metric and a number of rows searchable."""


def build_ivf(
    kind: str,
    vectors: Vectors,
    params: IndexParams,
    path: Path,
    built: Built,
    *,
    present: Bitmap | None,
    progress: Callable[[float], None] | None,
    threads: int | None,
) -> None:
    """Write one artifact; see `IndexKind.build`. Memory: a training sample, one block of rows, and the codes.

    Args:
        kind: of inverted lists.
        vectors: (n, width) as stored.
        params: checked by `parse_params`.
        path: a local path that does not exist yet.
        built: how the new index is searched, to measure what it needs to be asked.
        present: (n,) rows that have a vector; None for all.
        progress: called with the share done.
        threads: cores to use.
    """
    report = progress or (lambda _: None)
    with faiss_threads(threads):
        index = _new_index(kind, params, vectors.shape[1], len(vectors))
        wanted = max(20_000, index.nlist * _TRAIN_PER_LIST)
        sample = training_sample(vectors, wanted, present, least=max(index.nlist, _LEAST_TRAINED))
        index.train(prepared(sample, params.metric))
        report(0.4)
        for start in range(0, len(vectors), ADD_ROWS):
            block = slice(start, start + ADD_ROWS)
            index.add(prepared(vectors[block], params.metric, None if present is None else present[block]))
            report(0.4 + 0.5 * min(1.0, (start + ADD_ROWS) / len(vectors)))
        centroids = index.quantizer.reconstruct_n(0, index.nlist)
        _put_graph_over_centroids(index, centroids)
        effort = _measured_effort(
            index, kind, vectors, params.metric, present, built(index, params.metric, len(vectors))
        )
        with ArtifactWriter(path, kind) as writer:
            write_lists(writer, faiss.downcast_InvertedLists(index.invlists), neighbourly_order(centroids))
            index.reset()
            writer.section("codec", [faiss.serialize_index(index)])
            row_lengths = all_lengths(vectors)
            unit = all_one(row_lengths, present)
            if params.metric is MetricType.COSINE and not unit:
                writer.section("lengths", [row_lengths.tobytes()])
            writer.finish({"num_rows": len(vectors), "dim": vectors.shape[1], "unit": unit, **effort})
    report(1.0)


def _default_nlist(n: int) -> int:
    return max(1, min(65_536, int(4 * math.sqrt(n)), n // 39 or 1))


def _new_index(kind: str, params: IndexParams, dim: int, n: int) -> Any:
    metric = faiss.METRIC_L2 if params.metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
    nlist = min(params.option("nlist", _default_nlist(n)), n)
    coding = {"ivf_flat": "Flat", "ivf_sq8": "SQ8", "ivf_rabitq": "RaBitQ2"}.get(kind) or _pq(params, dim, n)
    index = faiss.index_factory(dim, f"IVF{nlist},{coding}", metric)
    index.cp.niter = _TRAIN_ROUNDS
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


def _put_graph_over_centroids(index: Any, centroids: FloatMatrix) -> None:
    if index.nlist < _GRAPH_LISTS:
        return
    graph = faiss.IndexHNSWFlat(index.d, 32, index.metric_type)
    graph.hnsw.efConstruction = 100
    graph.add(centroids)
    # The index owned the flat quantizer; Python does now, and owns the graph as well.
    faiss.downcast_index(index.quantizer).this.own(True)
    index.quantizer = graph
    index.own_fields = False
    index.referenced_objects = [graph]


def _measured_effort(
    index: Any, kind: str, vectors: Vectors, metric: MetricType, present: Bitmap | None, opened: Index
) -> dict[str, Any]:
    """The least `nprobe` and `refine_k` that reach the target on rows of the segment, themselves left out."""
    nlist, count = index.nlist, len(vectors) if present is None else int(np.count_nonzero(present))
    effort = {"nprobe": nlist, "refine_k": _REFINE[kind][-1]}
    if better_exact(len(vectors), count, 11):
        return effort
    queries_at = sample_rows(len(vectors), _QUERIES, present, seed=1)
    queries = to_float32(vectors[queries_at])
    truth = _others(exact_search(vectors, queries, 11, metric, allowed=present)[1], queries_at)

    def recall(nprobe: int, refine_k: float) -> float:
        options = {"nprobe": nprobe, "refine_k": refine_k}
        found = opened.search(queries, 11, vectors=vectors, allowed=present, options=options)[1]
        pairs = zip(_others(found, queries_at), truth, strict=True)
        return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))

    many = min(nlist, max(64, nlist // 8))
    best = recall(many, _REFINE[kind][-1])
    for refine_k in _REFINE[kind]:
        if recall(many, refine_k) >= min(TARGET_RECALL + 0.005, best):
            effort["refine_k"] = refine_k
            break
    for nprobe in _PROBES:
        if nprobe >= nlist or recall(nprobe, effort["refine_k"]) >= TARGET_RECALL:
            effort["nprobe"] = min(nlist, nprobe)
            break
    return effort


def _others(rows: RowIds, own: RowIds) -> list[list[int]]:
    """Ten neighbours of each row without the row itself."""
    return [[r for r in found.tolist() if r != me][:10] for found, me in zip(rows, own.tolist(), strict=True)]
