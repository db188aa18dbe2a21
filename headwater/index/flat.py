"""No structure: every search is exact over the segment's own vectors. The artifact only records that this is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from headwater.errors import Corrupt, UnsupportedOption
from headwater.index.exact import exact_search
from headwater.index.params import IndexParams
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Flat"]

_MAGIC = b"HWFLAT1 "


class Flat:
    """Kinds `flat` and `bin_flat`."""

    def build(
        self,
        vectors: npt.NDArray[Any],
        params: IndexParams,
        path: Path,
        *,
        progress: Callable[[float], None] | None = None,
        threads: int | None = None,
    ) -> None:
        """Write the row count; there is nothing else to build."""
        path.write_bytes(_MAGIC + len(vectors).to_bytes(8, "little"))
        if progress is not None:
            progress(1.0)

    def open(self, source: Residency, params: IndexParams) -> FlatIndex:
        """Open an artifact."""
        data = bytes(source.read_all())
        if len(data) != 16 or not data.startswith(_MAGIC):
            raise Corrupt(f"{source.key!r} is not a flat index", key=source.key)
        return FlatIndex(int.from_bytes(data[8:], "little"), params.metric)


class FlatIndex:
    """An opened flat index."""

    def __init__(self, num_rows: int, metric: MetricType) -> None:
        self.num_rows = num_rows
        self._metric = metric

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: npt.NDArray[Any],
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """The k nearest rows of each query, exactly."""
        if options:
            raise UnsupportedOption(f"a flat index has no search parameter {next(iter(options))!r}")
        return exact_search(vectors, queries, k, self._metric, allowed=allowed)
