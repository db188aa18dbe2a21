"""Inverted lists over binary vectors, by Hamming distance; Jaccard distances are refined from the bits.

Reference: Norouzi et al., "Fast Search in Hamming Space with Multi-Index Hashing", 2012, for the problem; the lists
are those of faiss's `IndexBinaryIVF`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.artifact import ArtifactWriter, open_artifact
from headwater.index.exact import exact_search
from headwater.index.faiss_index import faiss_threads, training_sample
from headwater.index.lists import fill_lists, write_lists
from headwater.index.params import IndexParams, check_search_options
from headwater.index.refine import refine
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["BinaryIvf"]

_KIND = "bin_ivf_flat"
_CANDIDATES = {MetricType.HAMMING: 1, MetricType.JACCARD: 20}
_TRAIN_PER_LIST = 100


class BinaryIvf:
    """Kind `bin_ivf_flat`."""

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
        """See `IndexKind.build`; absent rows are indexed as they are, and never allowed."""
        n = len(vectors)
        nlist = min(params.option("nlist", max(1, int(2 * n**0.5))), max(1, n // 39))
        bits = vectors.shape[1] * 8
        index = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(bits), bits, nlist)
        with faiss_threads(threads):
            sample = training_sample(vectors, nlist * _TRAIN_PER_LIST, present, least=nlist)
            index.train(np.ascontiguousarray(sample))
            index.add(np.ascontiguousarray(vectors))
        with ArtifactWriter(path, _KIND) as writer:
            write_lists(writer, faiss.downcast_InvertedLists(index.invlists), np.arange(nlist))
            index.reset()
            writer.section("codec", [faiss.serialize_index_binary(index)])
            writer.finish({"num_rows": n, "dim": bits})
        if progress is not None:
            progress(1.0)

    def open(self, source: Residency, params: IndexParams) -> BinaryIvfIndex:
        """See `IndexKind.open`; reads the whole artifact into memory."""
        artifact = open_artifact(source, _KIND)
        try:
            index = faiss.deserialize_index_binary(np.frombuffer(artifact.section("codec"), np.uint8))
        except RuntimeError as error:
            raise artifact.corrupt(f"section 'codec': {error}") from error
        index.ntotal = fill_lists(faiss.downcast_InvertedLists(index.invlists), artifact)
        opened = BinaryIvfIndex(index, params.metric)
        opened.held_bytes = artifact.size_of("codec") + artifact.size_of("lists")
        return opened


class BinaryIvfIndex:
    """An opened index of one segment.

    Attributes:
        num_rows: rows of the segment.
        held_bytes: what it holds in memory.
    """

    held_bytes = 0

    def __init__(self, index: Any, metric: MetricType) -> None:
        self._index = index
        self._metric = metric
        self._nlist = int(index.nlist)
        self.num_rows = int(index.ntotal)

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """See `Index.search`; filtered searches are exact, since scanning bits is cheap."""
        check_search_options(_KIND, options)
        wanted = k * _CANDIDATES[self._metric]
        if allowed is not None or wanted > self.num_rows // 4:
            trace.note(strategy="exact")
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        probes = int(options.get("nprobe", max(8, self._nlist // 4)))
        parameters = faiss.SearchParametersIVF(nprobe=min(self._nlist, probes))
        trace.note(strategy="inverted lists", lists_probed=min(self._nlist, probes))
        _, rows = self._index.search(queries, wanted, params=parameters)
        return refine(vectors, queries, rows, k, self._metric)
