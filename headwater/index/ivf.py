"""Inverted lists: rows clustered around centroids, each list one byte range of the artifact, scanned by faiss kernels.

Codes choose candidates; distances are exact, refined from the segment's own vectors. `ivf_build.py` builds them.

References: Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011; André et al., "Quicker ADC", 2018;
Gao and Long, "RaBitQ", 2024.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.artifact import Artifact, open_artifact
from headwater.index.candidates import LIKELY, SURE, Candidates
from headwater.index.centroids import has_graph, reach
from headwater.index.cold_costs import Effort, ReadCosts, bounded
from headwater.index.effort import graph_effort
from headwater.index.exact import exact_search, normalised, score_at
from headwater.index.faiss_index import (
    better_exact,
    complete,
    flat_view,
    in_place,
    prepared,
    searched,
)
from headwater.index.filtered_lists import EXACT_NUMBERS, FilteredLists
from headwater.index.ivf_build import build_ivf
from headwater.index.open_lists import open_lists
from headwater.index.owners import owners_in, read_owners
from headwater.index.params import IndexParams, check_search_options
from headwater.index.placed_lists import FaissLists, PlacedLists, RowLists
from headwater.index.refine import refine
from headwater.index.scan_lists import scan_lists
from headwater.index.selected import num_selected
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Ivf", "IvfIndex"]

_MAX_KEPT = 1024
_AHEAD = 4
_FEW = 4
"""Queries whose lists are read before it is known what their filter selects; more of them want most lists anyway."""

_GUESS = 288
_MOST_GUESSED = 5 << 20
"""Codec and directory stand at a file's end and grow as the square root of it, as the number of lists does: 1.4 MB of
24 MB for 100,000 rows of 768 dimensions. Of a cold file so much is asked for with the footer: where that is enough it
saves a round of requests, and what is read too much takes less time than a round."""

_LEAST_HELD = 2
"""Allowed rows in the lists that are probed inside a filter, at the least, as a multiple of the hits."""

_MORE = 2.0
"""Candidates named where those that are compared are chosen among them, as a multiple of what is refined else."""

_GLANCED_LISTS, _GLANCE_REFINED = 8, 2.0
"""Lists probed, at the most, and candidates refined as a multiple of those asked for, where some may be missing."""

_MOST_PRECOMPUTED = 64 << 20
"""Bytes of distances between codewords and lists, at most, that product codes compute when they are opened."""


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
        build_ivf(self._kind, vectors, params, path, present=present, progress=progress, threads=threads)

    def build_ordered(
        self,
        vectors: Vectors,
        params: IndexParams,
        path: Path,
        *,
        present: Bitmap | None = None,
        threads: int | None = None,
    ) -> RowIds:
        """See `SupportsOrder.build_ordered`."""
        rows = build_ivf(
            self._kind, vectors, params, path, present=present, progress=None, threads=threads, reorder=True
        )
        assert rows is not None
        return rows

    def open(self, source: Residency, params: IndexParams) -> IvfIndex:
        """See `IndexKind.open`; a hot source is read as a whole, of others what every search needs."""
        if source.tier == "warm":
            source.buffer()
        guess = source.opening_bytes or min(int(_GUESS * math.sqrt(source.size_bytes)), _MOST_GUESSED)
        artifact = open_artifact(source, self._kind, guess=guess)
        names = ["codec", "directory"]
        # Lengths of rows that are fetched are computed from them.
        if params.metric is MetricType.COSINE and not artifact.properties["unit"] and source.tier != "cold":
            names.append("lengths")
        codec, directory, *more = artifact.sections(names)
        index = _read_codec(artifact, codec)
        lists = open_lists(artifact, directory, index)
        row_lengths = np.frombuffer(more[0], "<f4") if more else None
        return IvfIndex(index, self._kind, params.metric, artifact.properties, row_lengths, lists, artifact)


def _read_codec(artifact: Artifact, data: memoryview) -> Any:
    try:
        # Centroids and links stay where they were read, or are mapped.
        held = np.frombuffer(data, np.uint8)
        reader = faiss.ZeroCopyIOReader(faiss.swig_ptr(held), len(held))
        index = faiss.read_index(reader, faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
        index.referenced_objects = [held]
    except RuntimeError as error:
        raise artifact.corrupt(f"section 'codec': {error}") from error
    codes = getattr(index, "pq", None)
    if codes is not None and index.nlist * codes.M * codes.ksub * 4 <= _MOST_PRECOMPUTED:
        index.precompute_table()
    return index


class _Parameters(NamedTuple):
    """An effort as faiss takes it: lists and refinement together, lists alone, centroids alone, lists to probe."""

    refined: Any
    lists: Any
    centroids: Any
    nprobe: int


class _Inside(NamedTuple):
    """What `nearest` goes by inside a filter.

    Attributes:
        k: rows that each query finds.
        num_allowed: rows.
        effort: how far a search goes; None where every allowed row is compared.
    """

    k: int
    num_allowed: int
    effort: Effort | None


class _Effort(NamedTuple):
    """What `nearest` goes by.

    Attributes:
        k: rows that each query finds.
        wanted: candidates that it is compared with.
        parameters: of the calls of faiss.
        in_place: whether faiss can compare them itself.
    """

    k: int
    wanted: int
    parameters: _Parameters
    in_place: bool


def _owners(artifact: Artifact | None, lists: RowLists, nlist: int, num_rows: int) -> npt.NDArray[Any]:
    """(num_rows,) the list that each row is in."""
    if artifact is not None and artifact.has("owners"):
        return read_owners(artifact, nlist)
    return owners_in(lists, num_rows)


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
        lists: PlacedLists | None = None,
        artifact: Artifact | None = None,
    ) -> None:
        self._index = index
        self._artifact = artifact
        self._lists: RowLists = lists or FaissLists(index)
        self._quantizer = faiss.downcast_index(index.quantizer)
        self._kind = kind
        self._metric = metric
        self._lengths = row_lengths
        self._nlist = int(index.nlist)
        self._graph = has_graph(index)
        self._unit = bool(properties["unit"])
        # Of vectors of length one, the inner product is the cosine, and no length need be known.
        of_unit = self._unit and metric is MetricType.COSINE
        self._refined_by = MetricType.IP if of_unit else metric
        self._kept: dict[tuple[int, float], _Parameters] = {}
        self._refining: Any = None
        self.num_rows = int(properties["num_rows"])
        # No method of ours: an index that refers to itself keeps its memory until the collector comes by.
        owners = partial(_owners, artifact, self._lists, self._nlist, self.num_rows)
        self._filtered = FilteredLists(index, self.num_rows, self._lists, owners)
        self.nprobe = int(properties["nprobe"])
        self.refine_k = float(properties["refine_k"])
        self._error: float | None = properties.get("error")

    @property
    def held_bytes(self) -> int:
        """See `Index`."""
        lengths = 0 if self._lengths is None else int(self._lengths.nbytes)
        read = (
            [] if self._artifact is None else [self._artifact.size_of(one) for one in ("codec", "directory")]
        )
        return sum(read) + lengths + self._lists.held_bytes + self._filtered.held_bytes

    def warm_up(self) -> None:
        """See `SupportsWarmUp`."""
        self._lists.check()

    def prepare_filter(self) -> None:
        """See `SupportsFilterAhead`."""
        self._filtered.owners()

    def bring_near(self, queries: npt.NDArray[Any], options: Mapping[str, Any]) -> None:
        """See `SupportsFilterAhead`: the nearest lists, as many as a filter of one row in sixteen takes."""
        probes = min(_AHEAD * int(options.get("nprobe", self.nprobe)), self._nlist)
        if self._lists.whole or self._lists.queries_together(probes) < len(queries) or len(queries) > _FEW:
            return
        parameters = self._unfiltered(probes, self.refine_k)
        asked = prepared(queries, self._metric)
        _, numbers = self._quantizer.search(asked, probes, params=parameters.centroids)
        with self._lists.holding(numbers):
            trace.count(lists_ahead=numbers.size)

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
        if allowed is not None:
            return self._inside(queries, self._planned(k, vectors, options, allowed), allowed, vectors)
        k = min(k, self.num_rows)
        probes, refine_k = self._asked_for(options)
        effort = self._effort(Effort(probes, refine_k), vectors, None, self.num_rows, k)
        if effort is None:
            trace.note(strategy="exact over the selected rows")
            return exact_search(vectors, queries, k, self._metric)
        asked = prepared(queries, self._metric)
        parameters = self._unfiltered(probes, refine_k)
        trace.note(strategy="inverted lists", lists_probed=probes, refine_k=refine_k)
        if (
            self._kind != "ivf_flat"
            and self._lists.whole
            and in_place(vectors, self._metric, unit=self._unit)
        ):
            found = self._refiner(vectors).search(asked, k, params=parameters.refined)
            return found if complete(found[1]) else refine(vectors, queries, found[1], k, self._metric)
        wanted = k if self._kind == "ivf_flat" else min(self.num_rows, math.ceil(k * refine_k))
        distances, rows = self._candidates(asked, wanted, parameters)
        if effort.least_rows and len(short := np.flatnonzero(rows[:, k - 1] < 0)):
            # Rows of further lists cost less than all the vectors.
            distances[short], rows[short] = self._filtered.further(asked[short], wanted)
        if self._kind == "ivf_flat" and complete(rows):
            return distances, rows
        return refine(vectors, asked, rows, k, self._refined_by, row_lengths=self._lengths)

    def effort(
        self, k: int, vectors: Vectors, options: Mapping[str, Any], allowed: Bitmap | None = None
    ) -> _Effort | _Inside | None:
        """See `SupportsEffort`."""
        if allowed is not None:
            return self._planned(k, vectors, options, allowed)
        probes, refine_k = self._asked_for(options)
        k = min(k, self.num_rows)
        if self._kind == "ivf_flat" or better_exact(self.num_rows, self.num_rows, k):
            return None
        wanted = min(self.num_rows, max(k, math.ceil(k * refine_k)))
        own = in_place(vectors, self._metric, unit=self._unit)
        return _Effort(k, wanted, self._unfiltered(probes, refine_k), own)

    def nearest(
        self,
        queries: npt.NDArray[Any],
        vectors: npt.NDArray[Any],
        effort: _Effort | _Inside,
        allowed: Bitmap | None = None,
    ) -> tuple[FloatMatrix, RowIds] | None:
        """See `SupportsEffort`."""
        if self._lists.fetched_bytes:
            return None
        if isinstance(effort, _Inside):
            return None if allowed is None else self._inside(queries, effort, allowed, vectors)
        k, wanted, parameters, own = effort
        asked = normalised(queries) if self._metric is MetricType.COSINE else queries
        if own and self._lists.whole:
            found = searched(self._refiner(vectors), asked, k, parameters.refined)
            return found if complete(found[1]) else None
        _, rows = self._candidates(asked, wanted, parameters)
        return refine(vectors, asked, rows, k, self._refined_by, row_lengths=self._lengths)

    def glance(self, reach: int, k: int) -> tuple[Mapping[str, Any], int]:
        """See `SupportsGlance`."""
        held = math.ceil(2 * _GLANCE_REFINED * k * self._nlist / self.num_rows)
        probes = min(self._nlist, max(held, min(_GLANCED_LISTS, self.nprobe) << reach))
        return {"nprobe": probes, "refine_k": _GLANCE_REFINED}, self.num_rows * probes // self._nlist

    def candidates(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
        segments: int = 1,
    ) -> Candidates | None:
        """See `SupportsCandidates`; None of plain vectors, and of files that do not say how far estimates are off."""
        if self._error is None or self._kind == "ivf_flat":
            return None
        count = self.num_rows if allowed is None else num_selected(allowed)
        probes, refine_k = self._asked_for(options)
        given = "refine_k" in options
        k, refine_k = min(k, count), refine_k if given else _MORE * refine_k
        share = 1.0 / (segments if given else _MORE * segments)
        effort = self._effort(Effort(probes, refine_k), vectors, allowed, count, k, share=share)
        if effort is None:
            return None
        asked = prepared(queries, self._metric)
        if allowed is not None:
            estimates, rows, nearest = self._filtered.candidates(asked, k, effort, allowed, count)
        else:
            parameters, wanted = self._unfiltered(probes, refine_k), min(count, math.ceil(k * refine_k))
            apart, numbers = self._quantizer.search(asked, probes, params=parameters.centroids)
            trace.note(strategy="inverted lists", lists_probed=probes, refine_k=refine_k)
            estimates, rows = scan_lists(self._index, self._lists, asked, wanted, numbers, apart)
            nearest = numbers[:, 0]
            if effort.least_rows and len(short := np.flatnonzero(rows[:, k - 1] < 0)):
                estimates[short], rows[short] = self._filtered.further(asked[short], wanted)
        within = np.float32((SURE if given else LIKELY) * self._error) * reach(self._index, asked, nearest)
        if len(short := np.flatnonzero((rows >= 0).sum(axis=1) < k)):
            rows[short] = -1
            estimates[short, :k], rows[short, :k] = exact_search(
                vectors, queries[short], k, self._metric, allowed=allowed
            )
            within[short] = 0
        return Candidates(estimates, rows, within)

    def compare(self, queries: npt.NDArray[Any], rows: RowIds, vectors: Vectors) -> FloatMatrix:
        """See `SupportsCandidates`."""
        return score_at(vectors, prepared(queries, self._metric), rows, self._refined_by, self._lengths)

    def _asked_for(self, options: Mapping[str, Any]) -> tuple[int, float]:
        """Lists to probe, and candidates to refine as a multiple of k."""
        check_search_options(self._kind, options)
        probes = min(int(options.get("nprobe", self.nprobe)), self._nlist)
        return probes, float(options.get("refine_k", self.refine_k))

    def _effort(
        self,
        effort: Effort,
        vectors: Vectors,
        allowed: Bitmap | None,
        count: int,
        k: int,
        *,
        share: float = 1.0,
    ) -> Effort | None:
        """How far a search goes; None where comparing every selected row is the better plan."""
        if isinstance(vectors, np.ndarray):
            if better_exact(self.num_rows, count, k):
                return None
            # Rows of further lists cost less than all that a filter selects.
            least = 0 if allowed is None else _LEAST_HELD * k
            return effort._replace(exact_rows=EXACT_NUMBERS // vectors.shape[1], least_rows=least)
        row_bytes = vectors.shape[1] * vectors.dtype.itemsize
        share = 0.0 if self._kind == "ivf_flat" else share
        costs = ReadCosts.of_lists(self._lists.fetched_bytes, self._nlist, row_bytes, share)
        return bounded(effort, costs, self.num_rows, allowed, count, k)

    def _planned(self, k: int, vectors: Vectors, options: Mapping[str, Any], allowed: Bitmap) -> _Inside:
        """How the k nearest of the allowed rows are found."""
        count = num_selected(allowed)
        probes, refine_k = self._asked_for(options)
        k = min(k, count)
        return _Inside(k, count, self._effort(Effort(probes, refine_k), vectors, allowed, count, k))

    def _inside(
        self, queries: npt.NDArray[Any], plan: _Inside, allowed: Bitmap, vectors: Vectors
    ) -> tuple[FloatMatrix, RowIds]:
        """The best k of the allowed rows."""
        k, count, effort = plan
        asked = prepared(queries, self._metric)
        if effort is None:
            trace.note(strategy="exact over the selected rows")
            return exact_search(
                vectors, asked, k, self._refined_by, allowed=allowed, row_lengths=self._lengths
            )
        distances, rows, _ = self._filtered.candidates(asked, k, effort, allowed, count)
        if self._kind == "ivf_flat" and complete(rows[:, :k]):
            return distances[:, :k], rows[:, :k]
        return refine(vectors, asked, rows, k, self._refined_by, allowed=allowed, row_lengths=self._lengths)

    def _candidates(
        self, asked: FloatMatrix, wanted: int, parameters: _Parameters
    ) -> tuple[FloatMatrix, RowIds]:
        """(q, wanted) estimated distances and rows of the nearest codes in the nearest lists."""
        if self._lists.whole:
            return searched(self._index, asked, wanted, parameters.lists)
        apart, numbers = searched(self._quantizer, asked, parameters.nprobe, parameters.centroids)
        return scan_lists(self._index, self._lists, asked, wanted, numbers, apart)

    def _refiner(self, vectors: npt.NDArray[Any]) -> Any:
        """The index with exact distances on top, read from these vectors where they are."""
        kept = self._refining
        if kept is None or kept[0]() is not vectors:
            # Never held by the index: whoever asks holds them, and decides how long they are in memory.
            kept = weakref.ref(vectors), faiss.IndexRefine(self._index, flat_view(vectors, self._metric))
            self._refining = kept
        return kept[1]

    def _unfiltered(self, probes: int, refine_k: float) -> _Parameters:
        """Parameters of a search without a filter, kept: making them costs as much as scanning a list."""
        parameters = self._kept.get((probes, refine_k))
        if parameters is None:
            parameters = self._parameters(probes, refine_k)
            if len(self._kept) < _MAX_KEPT:
                self._kept[probes, refine_k] = parameters
        return parameters

    def _parameters(self, probes: int, refine_k: float) -> _Parameters:
        graph = None
        if self._graph:
            graph = faiss.SearchParametersHNSW(efSearch=graph_effort(probes))
        lists = faiss.SearchParametersIVF(nprobe=probes, quantizer_params=graph)
        refined = faiss.IndexRefineSearchParameters(k_factor=refine_k, base_index_params=lists)
        return _Parameters(refined, lists, graph, probes)
