"""Turning rows into postings: of texts through an analyzer, of sparse vectors as they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import InvalidArgument
from headwater.index.text.analyzer import Analyzer, Tokens
from headwater.index.text.multi import MultiAnalyzer
from headwater.index.text.postings import MemoryPostings

__all__ = ["invert_sparse", "invert_texts"]


def invert_texts(
    texts: pa.Array | pa.ChunkedArray,
    analyzer: Analyzer | MultiAnalyzer,
    chosen_by: pa.Array | pa.ChunkedArray | None = None,
) -> MemoryPostings:
    """Postings of a column of texts.

    Args:
        texts: (n,) strings; nulls have no terms and no length.
        analyzer: cuts them.
        chosen_by: (n,) of the field that names each row's analyzer, where there are several.
    """
    if isinstance(analyzer, MultiAnalyzer):
        assert chosen_by is not None
        tokens = analyzer.analyze(texts, chosen_by)
    else:
        tokens = analyzer.analyze(texts)
    lengths = np.bincount(tokens.rows, minlength=len(texts)).astype(np.int32)
    if texts.null_count:
        lengths[texts.is_null().to_numpy(zero_copy_only=False)] = -1
    terms, order, ranked = _sorted_tokens(tokens)
    rows, positions = tokens.rows[order], tokens.positions[order]
    new_term = np.diff(ranked, prepend=np.int32(-1)) != 0
    first = new_term | (np.diff(rows, prepend=np.int32(-1)) != 0)
    at = np.flatnonzero(first)
    counts = np.diff(np.append(at, len(rows)))
    starts = np.append(np.flatnonzero(new_term[at]), len(at)).astype(np.int64)
    return MemoryPostings(
        terms,
        starts,
        rows[at],
        counts.astype(_smallest(counts)),
        positions=positions,
        lengths=lengths,
        num_rows=len(texts),
    )


def _sorted_tokens(tokens: Tokens) -> tuple[pa.StringArray, npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """The terms in order, the tokens by term and place, and each one's term."""
    if len(tokens.terms) >= 1 << 32:
        raise InvalidArgument(f"{len(tokens.terms)} terms are too many for one segment, at most {1 << 32}")
    sorted_terms = pc.sort_indices(tokens.vocabulary)
    rank = np.empty(len(sorted_terms), np.uint64)
    rank[sorted_terms.to_numpy()] = np.arange(len(sorted_terms), dtype=np.uint64)
    keys = rank[tokens.terms]
    keys <<= np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    order = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)
    return tokens.vocabulary.take(sorted_terms), order, (keys >> np.uint64(32)).astype(np.int32)


def _smallest(counts: npt.NDArray[np.int64]) -> type[np.unsignedinteger]:
    largest = int(counts.max()) if len(counts) else 0
    return np.uint8 if largest < 1 << 8 else np.uint16 if largest < 1 << 16 else np.uint32


def invert_sparse(vectors: pa.Array | pa.ChunkedArray) -> MemoryPostings:
    """Postings of a column of sparse vectors: their dimensions are the terms.

    Args:
        vectors: (n,) lists of (index, value); nulls have none.
    """
    column = vectors.combine_chunks() if isinstance(vectors, pa.ChunkedArray) else vectors
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    flat = column.flatten()
    dims = flat.field("index").to_numpy(zero_copy_only=False)
    weights = flat.field("value").to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(column), dtype=np.int32), sizes)
    held = np.flatnonzero(weights != 0)
    if len(held) < len(weights):
        dims, weights, rows = dims[held], weights[held], rows[held]
    keys = dims.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    order = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)
    dims = dims[order]
    starts = np.flatnonzero(np.diff(dims.astype(np.int64), prepend=-1))
    return MemoryPostings(
        dims[starts].astype(np.uint32),
        np.append(starts, len(dims)).astype(np.int64),
        rows[order],
        weights[order].astype(np.float32),
        positions=None,
        lengths=None,
        num_rows=len(column),
    )
