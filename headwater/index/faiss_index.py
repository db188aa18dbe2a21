"""What indexes made by faiss have in common: vectors prepared for it, search options checked, when not to use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import faiss
import numpy as np
import numpy.typing as npt

from headwater.formats import Vectors, drawn
from headwater.index.exact import normalised, to_float32
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = [
    "EXACT_ROWS",
    "all_one",
    "better_exact",
    "complete",
    "faiss_threads",
    "flat_view",
    "in_place",
    "prepared",
    "search_threads",
    "searched",
    "sample_rows",
    "training_sample",
]

EXACT_ROWS = 2_000
"""Fewer selected rows than this are scored exactly: cheaper than any index, and complete."""

EXACT_SHARE = 0.02
"""Below this share of selected rows, exact scoring of them beats searching inside the bitmap."""

_UNIT_TOLERANCE = 1e-6
_SHARED_QUERIES = 8
_CORES = faiss.omp_get_max_threads()


def better_exact(num_rows: int, count: int, k: int) -> bool:
    """Whether exact search over the selected rows is the better plan.

    Args:
        num_rows: rows of the segment.
        count: rows selected.
        k: hits wanted.
    """
    return count <= EXACT_ROWS or count < EXACT_SHARE * num_rows or k > count // 4


def prepared(vectors: npt.NDArray[Any], metric: MetricType, present: Bitmap | None = None) -> FloatMatrix:
    """Stored vectors as faiss takes them: float32, of length one for COSINE, absent ones zero."""
    wide = to_float32(vectors)
    if present is not None and not present.all():
        wide = np.where(present[:, None], wide, np.float32(0))
    return normalised(wide) if metric is MetricType.COSINE else wide


def sample_rows(
    num_rows: int, wanted: int, present: Bitmap | None, *, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Up to `wanted` positions of present rows, drawn without replacement, ascending."""
    rows = np.arange(num_rows) if present is None else np.flatnonzero(present)
    if len(rows) <= wanted:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def training_sample(vectors: Vectors, wanted: int, present: Bitmap | None, *, least: int) -> npt.NDArray[Any]:
    """Rows to train on: present ones, and drawn ones where too few rows of a nullable field are present.

    Args:
        vectors: (n, width) as stored.
        wanted: at most so many.
        present: (n,) True where a row has a vector; None where all have.
        least: what the training needs, such as the number of lists.
    """
    rows = drawn(vectors, sample_rows(len(vectors), wanted, present))
    if present is None or len(rows) >= least:
        return rows
    draw = np.random.default_rng(0)
    shape = (least - len(rows), vectors.shape[1])
    made: npt.NDArray[Any]
    if vectors.dtype == np.uint16:
        # Numbers in bfloat16 are the upper halves of those in float32.
        made = (draw.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    elif vectors.dtype.kind in "iu":
        limits = np.iinfo(vectors.dtype)
        made = draw.integers(limits.min, limits.max, shape, vectors.dtype, endpoint=True)
    else:
        made = draw.standard_normal(shape).astype(vectors.dtype)
    return np.concatenate([rows, made])


def all_one(row_lengths: npt.NDArray[np.float32], present: Bitmap | None) -> bool:
    """Whether every present vector is of length one, as most embedding models give them."""
    known = row_lengths if present is None else row_lengths[present]
    return bool((np.abs(known - 1) < _UNIT_TOLERANCE).all())


def flat_view(vectors: npt.NDArray[Any], metric: MetricType) -> Any:
    """A faiss flat index over the stored vectors where they are: no copy, mapped or not; whoever uses it holds them.

    Args:
        vectors: (n, dim) float32, C-contiguous.
        metric: L2; else inner products.
    """
    index = (faiss.IndexFlatL2 if metric is MetricType.L2 else faiss.IndexFlatIP)(vectors.shape[1])
    address = faiss.cast_integer_to_void_ptr(vectors.ctypes.data)
    nobody = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(address, vectors.nbytes, nobody)
    index.ntotal = len(vectors)
    return index


def complete(rows: RowIds) -> bool:
    """Whether every query found as many rows as it asked for; what is missing stands at the end, as -1."""
    return bool(rows[0, -1] >= 0) if len(rows) == 1 else bool((rows[:, -1] >= 0).all())


def in_place(vectors: Vectors, metric: MetricType, *, unit: bool) -> TypeGuard[npt.NDArray[Any]]:
    """Whether faiss can score the stored vectors as they are, through `flat_view`.

    Args:
        vectors: (n, dim) as stored.
        metric: how closeness is measured.
        unit: whether every vector is of length one, which makes an inner product a cosine.
    """
    return (
        isinstance(vectors, np.ndarray)
        and vectors.dtype == np.float32
        and vectors.flags.c_contiguous
        and (metric is not MetricType.COSINE or unit)
    )


def search_threads(num_queries: int) -> None:
    """Let faiss search these queries, in this thread, with as many cores as they are worth.

    One query is not divided: two cores answered it no sooner than one (0.14 and 0.12 ms), and while another process
    kept the cores busy, waiting for each other took them 4.8 ms where one took 0.17.

    Args:
        num_queries: searched together.
    """
    faiss.omp_set_num_threads(1 if num_queries < _SHARED_QUERIES else _CORES)


def searched(index: Any, queries: FloatMatrix, k: int, parameters: Any) -> tuple[FloatMatrix, RowIds]:
    """`index.search` of queries that need no more looking at: what its wrapper does besides takes up to 2 us.

    Args:
        index: of faiss.
        queries: (q, dim) float32, C-contiguous, as the index compares them.
        k: how many.
        parameters: of the search.
    """
    distances = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    pointer = faiss.swig_ptr
    index.search_c(len(queries), pointer(queries), k, pointer(distances), pointer(rows), parameters)
    return distances, rows


@contextmanager
def faiss_threads(threads: int | None) -> Iterator[None]:
    """Let faiss use this many cores in the block; it keeps one number for each thread that calls it."""
    before = faiss.omp_get_max_threads()
    if threads is not None:
        faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
