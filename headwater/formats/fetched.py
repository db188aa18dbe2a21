"""Vectors whose rows are fetched when they are asked for: what a cold column is instead of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from headwater.types import RowIds

__all__ = ["FetchedVectors", "Vectors"]


class FetchedVectors:
    """(n, width) stored vectors that are not here; indexing fetches the rows asked for, all at once.

    Attributes:
        shape: rows and numbers of a row.
        dtype: as stored.
        scan: gives all rows in order, in parts of any size; None where single rows are no dearer than in a scan.

    Args:
        shape: rows and numbers of a row.
        dtype: as stored.
        fetch: gives (m, width) of m positions, in the order asked; safe to call from several threads.
        scan: see the attribute.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        fetch: Callable[[RowIds], npt.NDArray[Any]],
        *,
        scan: Callable[[], Iterator[npt.NDArray[Any]]] | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.scan = scan
        self._fetch = fetch

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | RowIds) -> npt.NDArray[Any]:
        if isinstance(rows, slice):
            return self._fetch(np.arange(*rows.indices(len(self)), dtype=np.int64))
        return self._fetch(rows)


Vectors = npt.NDArray[Any] | FetchedVectors
"""(n, width) stored vectors of a segment: in memory, mapped, or a request away; sliced and indexed alike."""
