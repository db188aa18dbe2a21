"""Inverted lists over binary vectors, by Hamming distance; Jaccard is refined from the bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater.errors import Corrupt, InvalidArgument, UnsupportedOption
from headwater.index.exact import exact_search, score
from headwater.index.params import IndexParams
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["BinaryIvf"]

_CANDIDATES = {MetricType.HAMMING: 1, MetricType.JACCARD: 20}


class BinaryIvf:
    """Kind `bin_ivf_flat`."""

    def build(
        self,
        vectors: npt.NDArray[Any],
        params: IndexParams,
        path: Path,
        *,
        progress: Callable[[float], None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Cluster the bits and fill the lists."""
        nlist = min(params.option("nlist", max(1, int(2 * len(vectors) ** 0.5))), max(1, len(vectors) // 39))
        bits = vectors.shape[1] * 8
        quantizer = faiss.IndexBinaryFlat(bits)
        index = faiss.IndexBinaryIVF(quantizer, bits, nlist)
        data = np.ascontiguousarray(vectors)
        index.train(data)
        index.add(data)
        faiss.write_index_binary(index, str(path))
        if progress is not None:
            progress(1.0)

    def open(self, source: Residency, params: IndexParams) -> BinaryIvfIndex:
        """Open an artifact."""
        try:
            index = faiss.deserialize_index_binary(np.frombuffer(source.read_all(), np.uint8))
        except RuntimeError as error:
            raise Corrupt(f"{source.key!r} is not a readable index: {error}", key=source.key) from error
        return BinaryIvfIndex(index, params.metric)


class BinaryIvfIndex:
    """An opened index of one segment."""

    def __init__(self, index: Any, metric: MetricType) -> None:
        self._index = index
        self._metric = metric
        self.num_rows = int(index.ntotal)

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: npt.NDArray[Any],
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """The k nearest rows of each query; filtered searches are exact, since scanning bits is cheap."""
        for name, value in options.items():
            if name != "nprobe":
                raise UnsupportedOption(
                    f"bin_ivf_flat has no search parameter {name!r}", hint="parameters: nprobe"
                )
            if not isinstance(value, int) or value < 1:
                raise InvalidArgument(f"bin_ivf_flat: nprobe must be a positive integer, got {value!r}")
        wanted = k * _CANDIDATES[self._metric]
        if allowed is not None or wanted > self.num_rows // 4:
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        nlist = int(self._index.nlist)
        parameters = faiss.SearchParametersIVF(
            nprobe=min(nlist, int(options.get("nprobe", max(8, nlist // 4))))
        )
        _, rows = self._index.search(queries, wanted, params=parameters)
        distances = np.empty((len(queries), k), np.float32)
        best = np.empty((len(queries), k), np.int64)
        for i, candidates in enumerate(rows):
            found = candidates[candidates >= 0]
            if len(found) < k:
                exact = exact_search(vectors, queries[i : i + 1], k, self._metric)
                distances[i], best[i] = exact[0][0], exact[1][0]
                continue
            values = score(vectors[found], queries[i : i + 1], self._metric)[0]
            order = np.argsort(values, kind="stable")[:k]
            distances[i], best[i] = values[order], found[order]
        return distances, best
