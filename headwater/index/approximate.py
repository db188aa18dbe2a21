"""Inverted lists and graphs on faiss.

Every kind proposes candidates and refines them from the segment's own vectors, so distances are exact and only the
choice of candidates is approximate. A filter that leaves few rows is answered exactly over those rows, because graphs
and lists silently lose recall there. References: Jégou et al., "Product Quantization", 2011; Malkov and Yashunin,
"HNSW", 2018; Gao and Long, "RaBitQ", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.errors import Corrupt, InvalidArgument, UnsupportedOption
from headwater.index.exact import exact_search, normalised, score, to_float32
from headwater.index.params import IndexParams
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Approximate"]

EXACT_ROWS = 2_000
"""Fewer selected rows than this are scored exactly: cheaper than any index, and complete."""

EXACT_SHARE = 0.02
"""Below this share of selected rows, exact scoring of them beats searching inside the bitmap."""

_ADD_ROWS = 65_536
_MAX_MADE = 256
_TRAIN_PER_LIST = 50
_SEARCH_OPTIONS = {"ivf": ("nprobe", "refine_k"), "hnsw": ("ef",)}
_REFINE = {"ivf_flat": 1, "ivf_sq8": 3, "ivf_pq": 20, "ivf_rabitq": 10, "hnsw": 1, "hnsw_sq": 3}


class Approximate:
    """One kind of inverted lists or graph.

    Args:
        kind: `ivf_flat`, `ivf_sq8`, `ivf_pq`, `ivf_rabitq`, `hnsw` or `hnsw_sq`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def build(
        self,
        vectors: npt.NDArray[Any],
        params: IndexParams,
        path: Path,
        *,
        progress: Callable[[float], None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Train on a sample, then add all rows in blocks."""
        n = len(vectors)
        index = _new_index(self._kind, params, vectors.shape[1], n)
        if threads:
            faiss.omp_set_num_threads(threads)
        if not index.is_trained:
            index.train(_prepared(_sample(vectors, index), params.metric))
        for start in range(0, n, _ADD_ROWS):
            index.add(_prepared(vectors[start : start + _ADD_ROWS], params.metric))
            if progress is not None:
                progress(min(1.0, (start + _ADD_ROWS) / n))
        faiss.write_index(index, str(path))

    def open(self, source: Residency, params: IndexParams) -> ApproximateIndex:
        """Open an artifact."""
        try:
            if source.path is not None:
                index = faiss.read_index(str(source.path))
            else:
                index = faiss.deserialize_index(np.frombuffer(source.read_all(), np.uint8))
        except RuntimeError as error:
            raise Corrupt(f"{source.key!r} is not a readable index: {error}", key=source.key) from error
        return ApproximateIndex(index, self._kind, params.metric)


def _prepared(vectors: npt.NDArray[Any], metric: MetricType) -> FloatMatrix:
    wide = to_float32(vectors)
    return normalised(wide) if metric is MetricType.COSINE else wide


def _default_nlist(n: int) -> int:
    return max(1, min(65_536, int(4 * math.sqrt(n)), n // 39 or 1))


def _new_index(kind: str, params: IndexParams, dim: int, n: int) -> Any:
    metric = faiss.METRIC_L2 if params.metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
    if kind.startswith("hnsw"):
        links = params.option("M", 32)
        storage = "Flat" if kind == "hnsw" else "SQ8"
        index = faiss.index_factory(dim, f"HNSW{links},{storage}", metric)
        index.hnsw.efConstruction = params.option("efConstruction", 200)
        return index
    nlist = min(params.option("nlist", _default_nlist(n)), n)
    coding = {"ivf_flat": "Flat", "ivf_sq8": "SQ8", "ivf_rabitq": "RaBitQ"}.get(kind)
    if coding is None:
        bits = params.option("nbits", 8)
        bits = bits if n >= 1 << bits else 4
        coding = "Flat" if n < 1 << bits else f"PQ{params.option('m', _default_pq_m(dim))}x{bits}"
    index = faiss.index_factory(dim, f"IVF{nlist},{coding}", metric)
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = _TRAIN_PER_LIST
    return index


def _default_pq_m(dim: int) -> int:
    return next(m for m in range(max(1, dim // 4), 0, -1) if dim % m == 0)


def _sample(vectors: npt.NDArray[Any], index: Any) -> npt.NDArray[Any]:
    wanted = max(20_000, getattr(index, "nlist", 1) * _TRAIN_PER_LIST)
    if len(vectors) <= wanted:
        return vectors
    rows = np.random.default_rng(0).choice(len(vectors), wanted, replace=False)
    return vectors[np.sort(rows)]


class ApproximateIndex:
    """An opened index of one segment."""

    def __init__(self, index: Any, kind: str, metric: MetricType) -> None:
        self._index = index
        self._kind = kind
        self._metric = metric
        self.num_rows = int(index.ntotal)
        self._family = "hnsw" if kind.startswith("hnsw") else "ivf"
        self._exact_distances = kind in ("hnsw", "ivf_flat")
        self._made: dict[tuple[Any, ...], Any] = {}

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: npt.NDArray[Any],
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """The k nearest rows of each query; exact where few rows are allowed or many are asked for."""
        self._check(options)
        count = self.num_rows if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, count)
        if count <= EXACT_ROWS or count < EXACT_SHARE * self.num_rows or k > count // 4:
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        wanted = min(count, max(k, int(options.get("refine_k", k * _REFINE[self._kind]))))
        if allowed is None:
            parameters = self._unfiltered(options, wanted)
        else:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            parameters = self._parameters(options, selector, wanted, count / self.num_rows)
        distances, rows = self._index.search(_prepared(queries, self._metric), wanted, params=parameters)
        if self._exact_distances and (rows >= 0).all():
            return distances, rows
        return self._refined(vectors, queries, rows, k, allowed)

    def _unfiltered(self, options: Mapping[str, Any], wanted: int) -> Any:
        """Parameters of a search without a filter, made once: building them costs as much as a short search."""
        key = (wanted, *sorted(options.items()))
        parameters = self._made.get(key)
        if parameters is None:
            parameters = self._parameters(options, None, wanted, 1.0)
            if len(self._made) < _MAX_MADE:
                self._made[key] = parameters
        return parameters

    def _check(self, options: Mapping[str, Any]) -> None:
        known = _SEARCH_OPTIONS[self._family]
        for name, value in options.items():
            if name not in known:
                raise UnsupportedOption(
                    f"{self._kind} has no search parameter {name!r}", hint=f"parameters: {', '.join(known)}"
                )
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgument(f"{self._kind}: {name} must be a positive integer, got {value!r}")

    def _parameters(self, options: Mapping[str, Any], selector: Any, wanted: int, share: float) -> Any:
        if self._family == "hnsw":
            ef = int(options.get("ef", 0)) or max(64, 2 * wanted)
            if share < 1.0:
                ef = int(min(self.num_rows, ef / max(share, 0.02)))
            return faiss.SearchParametersHNSW(sel=selector, efSearch=max(ef, wanted))
        nlist = int(self._index.nlist)
        probes = int(options.get("nprobe", 0)) or max(8, nlist // 16)
        if share < 1.0:
            probes = int(probes / math.sqrt(share))
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(nlist, probes))

    def _refined(
        self,
        vectors: npt.NDArray[Any],
        queries: npt.NDArray[Any],
        rows: RowIds,
        k: int,
        allowed: Bitmap | None,
    ) -> tuple[FloatMatrix, RowIds]:
        """Exact distances of the candidates, and the best k; exact search where there are too few."""
        out = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for i, candidates in enumerate(rows):
            found = candidates[candidates >= 0]
            if len(found) < k:
                exact = exact_search(vectors, queries[i : i + 1], k, self._metric, allowed=allowed)
                out[0][i], out[1][i] = exact[0][0], exact[1][0]
                continue
            distances = score(vectors[found], queries[i : i + 1], self._metric)[0]
            order = (-distances if self._metric.larger_is_closer else distances).argsort(kind="stable")[:k]
            out[0][i], out[1][i] = distances[order], found[order]
        return out
