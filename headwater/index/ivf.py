"""Inverted lists: rows clustered around centroids, each list one byte range of the artifact, scanned by faiss kernels.

Codes choose candidates; distances are exact, refined from the segment's own vectors. Build: k-means on a sample,
every row assigned to its nearest centroid by exact search, and a small graph over the centroids to find the lists to
probe, because scanning all centroids would dominate a query. The defaults of `nprobe` and `refine_k` are measured
when the index is built: the least that find `TARGET_RECALL` of the exact neighbours of sampled rows.

References: Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011; André et al., "Quicker ADC", 2018;
Gao and Long, "RaBitQ", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.artifact import Artifact, ArtifactWriter, open_artifact
from headwater.index.exact import exact_search, to_float32
from headwater.index.faiss_index import (
    ADD_ROWS,
    all_lengths,
    all_one,
    better_exact,
    complete,
    faiss_threads,
    flat_view,
    in_place,
    prepared,
    sample_rows,
    training_sample,
)
from headwater.index.filtered_lists import Effort, FilteredLists, has_graph
from headwater.index.lists import fill_lists, neighbourly_order, write_lists
from headwater.index.params import IndexParams, check_search_options
from headwater.index.refine import refine
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Ivf", "IvfIndex"]

TARGET_RECALL = 0.98
"""What the default search effort finds of the exact ten neighbours of sampled rows."""

_GRAPH_LISTS = 256
_LEAST_TRAINED = 256
"""Rows that the codes of 8 bits are trained on at the least."""

_TRAIN_PER_LIST = 50
_TRAIN_ROUNDS = 6
_PROBES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_QUERIES = 64
_MAX_KEPT = 1024
_REFINE = {
    "ivf_flat": (1.0,),
    "ivf_sq8": (2.0, 4.0),
    "ivf_pq": (5.0, 10.0, 20.0, 40.0, 80.0),
    "ivf_rabitq": (5.0, 10.0, 20.0, 40.0, 80.0),
}


class Ivf:
    """One kind of inverted lists.

    Args:
        kind: `ivf_flat`, `ivf_sq8`, `ivf_pq` or `ivf_rabitq`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def build(
        self,
        vectors: Vectors,
        params: IndexParams,
        path: Path,
        *,
        present: Bitmap | None = None,
        progress: Callable[[float], None] | None = None,
        threads: int | None = None,
    ) -> None:
        """See `IndexKind.build`. Memory: a training sample, one block of rows, and the codes."""
        report = progress or (lambda _: None)
        with faiss_threads(threads):
            index = _new_index(self._kind, params, vectors.shape[1], len(vectors))
            wanted = max(20_000, index.nlist * _TRAIN_PER_LIST)
            sample = training_sample(vectors, wanted, present, least=max(index.nlist, _LEAST_TRAINED))
            index.train(prepared(sample, params.metric))
            report(0.4)
            for start in range(0, len(vectors), ADD_ROWS):
                block = slice(start, start + ADD_ROWS)
                index.add(
                    prepared(vectors[block], params.metric, None if present is None else present[block])
                )
                report(0.4 + 0.5 * min(1.0, (start + ADD_ROWS) / len(vectors)))
            centroids = index.quantizer.reconstruct_n(0, index.nlist)
            _put_graph_over_centroids(index, centroids)
            effort = _measured_effort(index, self._kind, vectors, params.metric, present)
            with ArtifactWriter(path, self._kind) as writer:
                write_lists(
                    writer, faiss.downcast_InvertedLists(index.invlists), neighbourly_order(centroids)
                )
                index.reset()
                writer.section("codec", [faiss.serialize_index(index)])
                row_lengths = all_lengths(vectors)
                unit = all_one(row_lengths, present)
                if params.metric is MetricType.COSINE and not unit:
                    writer.section("lengths", [row_lengths.tobytes()])
                writer.finish({"num_rows": len(vectors), "dim": vectors.shape[1], "unit": unit, **effort})
        report(1.0)

    def open(self, source: Residency, params: IndexParams) -> IvfIndex:
        """See `IndexKind.open`; reads the whole artifact into memory."""
        artifact = open_artifact(source, self._kind)
        index = _read_codec(artifact)
        index.ntotal = fill_lists(faiss.downcast_InvertedLists(index.invlists), artifact)
        row_lengths = None
        if params.metric is MetricType.COSINE and not artifact.properties["unit"]:
            row_lengths = np.frombuffer(artifact.section("lengths"), "<f4")
        return IvfIndex(index, self._kind, params.metric, artifact.properties, row_lengths)


def _read_codec(artifact: Artifact) -> Any:
    try:
        return faiss.deserialize_index(np.frombuffer(artifact.section("codec"), np.uint8))
    except RuntimeError as error:
        raise artifact.corrupt(f"section 'codec': {error}") from error


def _default_nlist(n: int) -> int:
    return max(1, min(65_536, int(4 * math.sqrt(n)), n // 39 or 1))


def _new_index(kind: str, params: IndexParams, dim: int, n: int) -> Any:
    metric = faiss.METRIC_L2 if params.metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
    nlist = min(params.option("nlist", _default_nlist(n)), n)
    coding = {"ivf_flat": "Flat", "ivf_sq8": "SQ8", "ivf_rabitq": "RaBitQfs"}.get(kind) or _pq(params, dim, n)
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
    index: Any, kind: str, vectors: Vectors, metric: MetricType, present: Bitmap | None
) -> dict[str, Any]:
    """The least `nprobe` and `refine_k` that reach the target on rows of the segment, themselves left out."""
    nlist, count = index.nlist, len(vectors) if present is None else int(np.count_nonzero(present))
    effort = {"nprobe": nlist, "refine_k": _REFINE[kind][-1]}
    if better_exact(len(vectors), count, 11):
        return effort
    queries_at = sample_rows(len(vectors), _QUERIES, present, seed=1)
    queries = to_float32(vectors[queries_at])
    truth = _others(exact_search(vectors, queries, 11, metric, allowed=present)[1], queries_at)
    opened = IvfIndex(index, kind, metric, {"num_rows": len(vectors), "unit": False, **effort}, None)

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


class IvfIndex:
    """An opened index of one segment.

    Attributes:
        num_rows: rows of the segment.
        nprobe: lists probed by default.
        refine_k: candidates refined by default, as a multiple of k.
    """

    def __init__(
        self,
        index: Any,
        kind: str,
        metric: MetricType,
        properties: Mapping[str, Any],
        row_lengths: npt.NDArray[np.float32] | None,
    ) -> None:
        self._index = index
        self._kind = kind
        self._metric = metric
        self._lengths = row_lengths
        self._nlist = int(index.nlist)
        self._graph = has_graph(index)
        self._unit = bool(properties["unit"])
        self._kept: dict[tuple[int, float], Any] = {}
        self._refining: Any = None
        self._filtered = FilteredLists(index, int(properties["num_rows"]))
        self.num_rows = int(properties["num_rows"])
        self.nprobe = int(properties["nprobe"])
        self.refine_k = float(properties["refine_k"])

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """See `Index.search`; exact where few rows are allowed or many are asked for.

        Args:
            queries: (q, dim) float32.
            k: how many.
            allowed: rows to consider.
            vectors: the segment's vectors.
            options: `nprobe`, lists to probe; `refine_k`, candidates to refine as a multiple of k, as in Milvus.
        """
        check_search_options(self._kind, options)
        count = self.num_rows if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, count)
        if better_exact(self.num_rows, count, k):
            trace.note(strategy="exact over the selected rows")
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        probes, refine_k = (
            int(options.get("nprobe", self.nprobe)),
            float(options.get("refine_k", self.refine_k)),
        )
        asked = prepared(queries, self._metric)
        if allowed is not None:
            rows = self._filtered.candidates(asked, k, Effort(probes, refine_k), allowed, count)
            # Of vectors of length one, the inner product is the cosine, and no length need be known.
            unit = self._unit and self._metric is MetricType.COSINE
            metric = MetricType.IP if unit else self._metric
            return refine(vectors, asked, rows, k, metric, allowed=allowed, row_lengths=self._lengths)
        parameters = self._unfiltered(min(probes, self._nlist), refine_k)
        trace.note(strategy="inverted lists", lists_probed=min(probes, self._nlist), refine_k=refine_k)
        if self._kind == "ivf_flat":
            distances, rows = self._index.search(asked, k, params=parameters.base_index_params)
        elif in_place(vectors, self._metric, unit=self._unit):
            distances, rows = self._refiner(vectors).search(asked, k, params=parameters)
        else:
            wanted = min(count, math.ceil(k * refine_k))
            _, rows = self._index.search(asked, wanted, params=parameters.base_index_params)
            return refine(vectors, asked, rows, k, self._metric, row_lengths=self._lengths)
        if complete(rows):
            return distances, rows
        return refine(vectors, queries, rows, k, self._metric)

    def _refiner(self, vectors: npt.NDArray[Any]) -> Any:
        """The index with exact distances on top, read from these vectors where they are."""
        if self._refining is None:
            # The segment's vectors never change: the first array given is kept.
            self._refining = faiss.IndexRefine(self._index, flat_view(vectors, self._metric))
        return self._refining

    def _unfiltered(self, probes: int, refine_k: float) -> Any:
        """Parameters of a search without a filter, kept: making them costs as much as scanning a list."""
        parameters = self._kept.get((probes, refine_k))
        if parameters is None:
            parameters = self._parameters(probes, refine_k)
            if len(self._kept) < _MAX_KEPT:
                self._kept[probes, refine_k] = parameters
        return parameters

    def _parameters(self, probes: int, refine_k: float) -> Any:
        if self._graph:
            effort = faiss.SearchParametersHNSW(efSearch=max(16, min(2 * probes, probes + 32)))
            lists = faiss.SearchParametersIVF(nprobe=probes, quantizer_params=effort)
        else:
            lists = faiss.SearchParametersIVF(nprobe=probes)
        return faiss.IndexRefineSearchParameters(k_factor=refine_k, base_index_params=lists)
