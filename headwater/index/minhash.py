"""Locality-sensitive hashing of min-hash signatures: rows that share a whole band of hashes are candidates.

The hashes of a signature are cut into b bands of r; each band's hash is kept in order with its rows. A query looks its
bands up and scores the rows that share one exactly, by the share of hashes that agree. A row of similarity s is a
candidate with probability 1 - (1 - s**r)**b.

Reference: Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.formats import Vectors, blocks
from headwater.index.artifact import ArtifactWriter, open_artifact
from headwater.index.exact import exact_search
from headwater.index.params import IndexParams, check_search_options
from headwater.index.refine import refine
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, RowIds

__all__ = ["MinHashLsh"]

_KIND = "minhash_lsh"
_HASHES_PER_BAND = 4
_FOLD = np.uint64(0x9E3779B97F4A7C15)


class MinHashLsh:
    """Kind `minhash_lsh`."""

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
        n, hashes = len(vectors), vectors.shape[1] // 4
        bands = min(hashes, params.option("mh_lsh_band", max(1, hashes // _HASHES_PER_BAND)))
        keys, rows = np.empty((bands, n), "<u8"), np.empty((bands, n), "<u4")
        for start, signatures in blocks(vectors):
            for band in range(bands):
                hashed = _band_hashes(signatures, band, hashes // bands)
                keys[band, start : start + len(signatures)] = hashed
        for band in range(bands):
            order = np.argsort(keys[band], kind="stable")
            keys[band], rows[band] = keys[band][order], order
            if progress is not None:
                progress((band + 1) / bands)
        with ArtifactWriter(path, _KIND) as writer:
            writer.section("keys", [keys])
            writer.section("rows", [rows])
            writer.finish({"num_rows": len(vectors), "hashes": hashes, "bands": bands})

    def open(self, source: Residency, params: IndexParams) -> MinHashIndex:
        """See `IndexKind.open`."""
        artifact = open_artifact(source, _KIND)
        count, bands = int(artifact.properties["num_rows"]), int(artifact.properties["bands"])
        keys = np.frombuffer(artifact.section("keys"), "<u8")
        rows = np.frombuffer(artifact.section("rows"), "<u4")
        if len(keys) != count * bands or len(rows) != count * bands:
            raise artifact.corrupt(f"{len(keys)} keys and {len(rows)} rows for {bands} bands of {count} rows")
        width = int(artifact.properties["hashes"]) // bands
        return MinHashIndex(keys.reshape(bands, count), rows.reshape(bands, count), width, params)


class MinHashIndex:
    """An opened index of one segment.

    Args:
        keys: (bands, n) hashes of each band, ascending.
        rows: (bands, n) whose each is.
        width: hashes of a band.
        params: of the index.
    """

    def __init__(
        self, keys: npt.NDArray[np.uint64], rows: npt.NDArray[np.uint32], width: int, params: IndexParams
    ) -> None:
        self.num_rows = keys.shape[1]
        self._keys = keys
        self._rows = rows
        self._width = width
        self._metric = params.metric

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """See `Index.search`; a query with fewer than k candidates is searched exactly."""
        check_search_options(_KIND, options)
        most = options.get("refine_k")
        k = min(k, self.num_rows if allowed is None else int(np.count_nonzero(allowed)))
        low, high = self._places(queries)
        found = [self._candidates(low[:, i], high[:, i], allowed) for i in range(len(queries))]
        if most is not None:
            found = [rows[: max(k, int(most))] for rows in found]
        width = max((len(rows) for rows in found), default=0)
        if width < k or not len(queries):
            return exact_search(vectors, queries, k, self._metric, allowed=allowed)
        candidates = np.full((len(queries), width), -1, np.int64)
        for i, rows in enumerate(found):
            candidates[i, : len(rows)] = rows
        return refine(vectors, queries, candidates, k, self._metric, allowed=allowed)

    def _places(self, queries: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(bands, q) where the rows that share each band with each query start and stop."""
        low = np.empty((len(self._keys), len(queries)), np.int64)
        high = np.empty_like(low)
        for band, keys in enumerate(self._keys):
            wanted = _band_hashes(queries, band, self._width)
            low[band] = np.searchsorted(keys, wanted, "left")
            high[band] = np.searchsorted(keys, wanted, "right")
        return low, high

    def _candidates(
        self, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64], allowed: Bitmap | None
    ) -> RowIds:
        """Rows that share a band with a query, those that share most first.

        Args:
            low: (bands,) where those of each band start.
            high: (bands,) where they stop.
            allowed: (num_rows,) rows to consider; None for all.
        """
        shared = [self._rows[band, low[band] : high[band]] for band in np.flatnonzero(high > low)]
        if not shared:
            return np.empty(0, np.int64)
        rows, bands = np.unique(np.concatenate(shared), return_counts=True)
        if allowed is not None:
            kept = allowed[rows]
            rows, bands = rows[kept], bands[kept]
        ordered: RowIds = rows[np.argsort(-bands, kind="stable")].astype(np.int64)
        return ordered


def _band_hashes(signatures: npt.NDArray[Any], band: int, width: int) -> npt.NDArray[np.uint64]:
    """(n,) one hash of the hashes in a band."""
    part = np.ascontiguousarray(signatures[:, band * width * 4 : (band + 1) * width * 4]).view("<u4")
    folded = np.full(len(part), band + 1, np.uint64)
    for place in range(width):
        folded = (folded ^ part[:, place]) * _FOLD
        folded ^= folded >> np.uint64(29)
    return folded
