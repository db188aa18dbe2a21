"""Hierarchical navigable small worlds: a graph over the vectors, for collections kept in memory.

`hnsw` compares the segment's own vectors where faiss can read them as they are, and float32 copies of them else;
`hnsw_sq` compares codes of 4 to 16 bits a number and is refined from the segment's vectors. Reference: Malkov and
Yashunin, "Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs",
2018.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.artifact import ArtifactWriter, open_artifact
from headwater.index.exact import exact_search, normalised
from headwater.index.faiss_index import (
    better_exact,
    complete,
    faiss_threads,
    flat_view,
    prepared,
    searched,
)
from headwater.index.params import IndexParams, check_search_options
from headwater.index.reading import Reading, at_least
from headwater.index.refine import refine
from headwater.index.selected import num_selected
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Hnsw"]

_MAX_KEPT = 1024
_REFINE_SQ = 3
_TRAINING_ROWS = 20_000
_UPPER_LINKS = 2
"""Of a row above the lowest level, on average and rounded up."""

_CODES = {"SQ4U": "SQ4", "SQ6": "SQ6", "SQ8": "SQ8", "BF16": "SQbf16", "FP16": "SQfp16"}
_NODE_COST = 20
"""Comparing this many rows costs as much as walking over one more node of the graph."""


class Hnsw:
    """A graph over float32 vectors (`hnsw`) or codes (`hnsw_sq`).

    Args:
        kind: which of them.
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
        """See `IndexKind.build`."""
        metric = faiss.METRIC_L2 if params.metric is MetricType.L2 else faiss.METRIC_INNER_PRODUCT
        storage = "Flat" if self._kind == "hnsw" else _CODES[dict(params.options).get("sq_type", "SQ8")]
        index = faiss.index_factory(vectors.shape[1], f"HNSW{params.option('M', 32)},{storage}", metric)
        index.hnsw.efConstruction = params.option("efConstruction", 200)
        reading, n = Reading(vectors, params.metric, present), len(vectors)
        with faiss_threads(threads):
            if not index.is_trained:
                sample, _, _ = reading.sample(_TRAINING_ROWS, 1, 0)
                index.train(at_least(sample, 1))
            _reserve(index, n)
            for start, rows, _ in reading.blocks():
                index.add(rows)
                if progress is not None:
                    progress((start + len(rows)) / n)
        # A shared graph walks the segment's own vectors: the artifact holds the links alone.
        as_stored = vectors.dtype == np.float32 and (params.metric is not MetricType.COSINE or reading.unit)
        shared = self._kind == "hnsw" and present is None and as_stored
        skipped = faiss.IO_FLAG_SKIP_STORAGE if shared else 0
        with ArtifactWriter(path, self._kind) as writer:
            writer.section_from(
                "graph", lambda write: faiss.write_index(index, faiss.PyCallbackIOWriter(write), skipped)
            )
            writer.finish({"num_rows": n, "dim": vectors.shape[1], "shared": shared})

    def open(self, source: Residency, params: IndexParams) -> HnswIndex:
        """See `IndexKind.open`; reads the whole artifact into memory."""
        artifact = open_artifact(source, self._kind)
        try:
            index = faiss.deserialize_index(np.frombuffer(artifact.section("graph"), np.uint8))
        except RuntimeError as error:
            raise artifact.corrupt(f"section 'graph': {error}") from error
        opened = HnswIndex(index, self._kind, params.metric, shared=bool(artifact.properties["shared"]))
        opened.held_bytes = artifact.size_of("graph")
        return opened


def _reserve(index: Any, num_rows: int) -> None:
    """Take the memory of so many rows at once: what grows as it fills is copied, and takes up to twice as much."""
    storage = faiss.downcast_index(index.storage)
    links = int(index.hnsw.nb_neighbors(0) + _UPPER_LINKS)
    for held, size in ((storage.codes, storage.sa_code_size()), (index.hnsw.neighbors, links)):
        held.resize(num_rows * size)
        held.resize(0)


class _Effort(NamedTuple):
    """What `nearest` goes by.

    Attributes:
        k: rows that each query finds.
        parameters: of the one call of faiss; None inside a filter.
        wanted: candidates inside a filter; 0 where every allowed row is compared.
        least: nodes kept while walking, at the least; inside a filter.
        num_allowed: rows.
    """

    k: int
    parameters: Any
    wanted: int = 0
    least: int = 0
    num_allowed: int = 0


class HnswIndex:
    """An opened index of one segment.

    Attributes:
        num_rows: rows of the segment.
        held_bytes: what it holds in memory.
    """

    held_bytes = 0

    def __init__(self, index: Any, kind: str, metric: MetricType, *, shared: bool) -> None:
        self._index = index
        self._shared = shared
        self._walked: Any = None
        self._kept: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._kind = kind
        self._metric = metric
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
        """See `Index.search`; exact where few rows are allowed or many are asked for.

        Args:
            queries: (q, dim) float32.
            k: how many.
            allowed: rows to consider.
            vectors: the segment's vectors.
            options: `ef`, nodes kept while walking the graph, 64 or twice the candidates by default; `refine_k` of
                `hnsw_sq`, candidates to refine as a multiple of k.
        """
        if allowed is not None:
            return self._inside(vectors, queries, self._planned(k, options, allowed), allowed)
        check_search_options(self._kind, options)
        k = min(k, self.num_rows)
        if better_exact(self.num_rows, self.num_rows, k):
            trace.note(strategy="exact over the selected rows")
            return exact_search(vectors, queries, k, self._metric)
        if self._shared and self._walked is None:
            self._walk(vectors)
        wanted, effort = self._wanted(k, self.num_rows, options), int(options.get("ef", 0))
        distances, rows = self._walked_to(
            prepared(queries, self._metric), wanted, effort or max(64, 2 * wanted)
        )
        if self._kind == "hnsw" and complete(rows):
            return distances, rows
        return refine(vectors, queries, rows, k, self._metric)

    def effort(
        self, k: int, vectors: Vectors, options: Mapping[str, Any], allowed: Bitmap | None = None
    ) -> _Effort | None:
        """See `SupportsEffort`."""
        if allowed is not None:
            return self._planned(k, options, allowed)
        check_search_options(self._kind, options)
        k = min(k, self.num_rows)
        if self._kind != "hnsw" or better_exact(self.num_rows, self.num_rows, k):
            return None
        return _Effort(k, self._parameters(max(k, int(options.get("ef", 0)) or max(64, 2 * k))))

    def nearest(
        self,
        queries: npt.NDArray[Any],
        vectors: npt.NDArray[Any],
        effort: _Effort,
        allowed: Bitmap | None = None,
    ) -> tuple[FloatMatrix, RowIds] | None:
        """See `SupportsEffort`."""
        if allowed is not None:
            return self._inside(vectors, queries, effort, allowed)
        if self._shared and self._walked is None:
            self._walk(vectors)
        asked = normalised(queries) if self._metric is MetricType.COSINE else queries
        found = searched(self._index, asked, effort.k, effort.parameters)
        return found if complete(found[1]) else None

    def _wanted(self, k: int, count: int, options: Mapping[str, Any]) -> int:
        """Candidates, of so many rows."""
        if self._kind == "hnsw":
            return k
        return min(count, math.ceil(k * float(options.get("refine_k", _REFINE_SQ))))

    def _planned(self, k: int, options: Mapping[str, Any], allowed: Bitmap) -> _Effort:
        """How the k nearest of the allowed rows are found."""
        check_search_options(self._kind, options)
        count = num_selected(allowed)
        k = min(k, count)
        if better_exact(self.num_rows, count, k):
            return _Effort(k, None, num_allowed=count)
        return _Effort(k, None, self._wanted(k, count, options), int(options.get("ef", 0)), count)

    def _inside(
        self, vectors: Vectors, queries: npt.NDArray[Any], effort: _Effort, allowed: Bitmap
    ) -> tuple[FloatMatrix, RowIds]:
        """The best k of the allowed rows."""
        k, _, wanted, least, count = effort
        if not wanted:
            trace.note(strategy="exact over the selected rows")
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        if self._shared and self._walked is None:
            self._walk(vectors)
        rows = self._past_others(prepared(queries, self._metric), wanted, least, allowed, count)
        return refine(vectors, queries, rows, k, self._metric, allowed=allowed)

    def _walked_to(self, asked: FloatMatrix, wanted: int, effort: int) -> tuple[FloatMatrix, RowIds]:
        effort = max(effort, wanted)
        trace.note(strategy="graph walk", ef=effort)
        found: tuple[FloatMatrix, RowIds] = self._index.search(asked, wanted, params=self._parameters(effort))
        return found

    def _past_others(
        self, asked: FloatMatrix, wanted: int, effort: int, allowed: Bitmap, count: int
    ) -> RowIds:
        """(q, wanted) nearest allowed rows that a walk among all rows comes by; -1 throughout where they are too few.

        A walk that steps on allowed rows only finds the wrong ones where a filter goes along with the vectors (recall
        of .61 to .95 was measured), so the walk knows no filter and is asked for as many rows as hold enough allowed
        ones if the filter has nothing to do with the query. Where they do not, it goes further, as long as that is
        cheaper than comparing every allowed row, which is what `refine` does for a query without candidates.
        """
        found = np.full((len(asked), wanted), -1, np.int64)
        pending = np.arange(len(asked))
        reach = math.ceil((wanted + 4 * math.sqrt(wanted)) * self.num_rows / count)
        while len(pending) and reach * _NODE_COST < count:
            _, rows = self._walked_to(asked[pending], reach, max(effort, math.ceil(1.5 * reach)))
            held = (rows >= 0) & allowed[rows]
            enough = held.sum(axis=1) >= wanted
            order = np.argsort(~held[enough], axis=1, kind="stable")[:, :wanted]
            found[pending[enough]] = np.take_along_axis(rows[enough], order, axis=1)
            pending, reach = pending[~enough], 4 * reach
        if len(pending):
            trace.note(exact_queries=len(pending))
        return found

    def _parameters(self, effort: int) -> Any:
        """Parameters of a walk, kept: making them costs a tenth of a search."""
        parameters = self._kept.get(effort)
        if parameters is None:
            parameters = faiss.SearchParametersHNSW(efSearch=min(self.num_rows, effort))
            if len(self._kept) < _MAX_KEPT:
                self._kept[effort] = parameters
        return parameters

    def _walk(self, vectors: Vectors) -> None:
        """Compare the segment's vectors from now on; they never change, so the first array given is kept."""
        with self._lock:
            if self._walked is None:
                held = vectors[:]
                self._walked = held, flat_view(held, self._metric)
                self._index.storage = self._walked[1]
