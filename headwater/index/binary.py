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
from headwater.formats import Vectors, blocks
from headwater.index.artifact import ArtifactWriter, open_artifact
from headwater.index.exact import exact_search
from headwater.index.faiss_index import faiss_threads, training_sample
from headwater.index.lists import write_lists
from headwater.index.open_lists import open_lists
from headwater.index.params import IndexParams, check_search_options
from headwater.index.placed_lists import PlacedLists
from headwater.index.refine import refine
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["BinaryIvf"]

_KIND = "bin_ivf_flat"
_CANDIDATES = {MetricType.HAMMING: 1, MetricType.JACCARD: 20}
_TRAIN_PER_LIST = 100
_TRAINED = 0.4
"""Share of a build."""


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
        report = progress or (lambda _: None)
        with faiss_threads(threads):
            sample = training_sample(vectors, nlist * _TRAIN_PER_LIST, present, least=nlist)
            index.train(np.ascontiguousarray(sample))
            report(_TRAINED)
            for start, rows in blocks(vectors):
                index.add(np.ascontiguousarray(rows))
                report(_TRAINED + (1 - _TRAINED) * (start + len(rows)) / n)
        with ArtifactWriter(path, _KIND) as writer:
            directory = write_lists(writer, faiss.downcast_InvertedLists(index.invlists), np.arange(nlist))
            index.reset()
            writer.section("directory", [directory])
            writer.section("codec", [faiss.serialize_index_binary(index)])
            writer.finish({"num_rows": n, "dim": bits})

    def open(self, source: Residency, params: IndexParams) -> BinaryIvfIndex:
        """See `IndexKind.open`; a hot source is read as a whole, of others what every search needs."""
        artifact = open_artifact(source, _KIND)
        codec, directory = artifact.sections(["codec", "directory"])
        try:
            index = faiss.deserialize_index_binary(np.frombuffer(codec, np.uint8))
        except RuntimeError as error:
            raise artifact.corrupt(f"section 'codec': {error}") from error
        return BinaryIvfIndex(index, params.metric, open_lists(artifact, directory, index), len(codec))


class BinaryIvfIndex:
    """An opened index of one segment.

    Attributes:
        num_rows: rows of the segment.

    Args:
        index: faiss's.
        metric: how closeness is measured.
        lists: where its lists are.
        codec_bytes: what the rest of it holds in memory.
    """

    def __init__(self, index: Any, metric: MetricType, lists: PlacedLists, codec_bytes: int) -> None:
        self._codec_bytes = codec_bytes
        self._index = index
        self._lists = lists
        self._centroids = faiss.downcast_IndexBinary(index.quantizer)
        self._metric = metric
        self._nlist = int(index.nlist)
        self.num_rows = int(index.ntotal)

    @property
    def held_bytes(self) -> int:
        """See `Index`."""
        return self._codec_bytes + self._lists.held_bytes

    def warm_up(self) -> None:
        """See `SupportsWarmUp`."""
        self._lists.check()

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
        if self._lists.whole:
            _, rows = self._index.search(queries, wanted, params=parameters)
        else:
            rows = self._scanned(queries, wanted, parameters)
        return refine(vectors, queries, rows, k, self._metric)

    def _scanned(self, queries: npt.NDArray[Any], wanted: int, parameters: Any) -> RowIds:
        """(q, wanted) rows of the nearest lists, which are held meanwhile."""
        apart, numbers = self._centroids.search(queries, parameters.nprobe)
        found = np.empty((len(queries), wanted), np.int64)
        estimates = np.empty((len(queries), wanted), np.int32)
        arrays = map(faiss.swig_ptr, (numbers, apart, estimates, found))
        with self._lists.holding(numbers):
            # The Python form takes no parameters.
            self._index.search_preassigned_c(
                len(queries), faiss.swig_ptr(queries), wanted, *arrays, False, parameters
            )
        return found
