"""No structure: every search is exact over the segment's own vectors. The artifact only records that this is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from headwater import trace
from headwater.formats import Vectors
from headwater.index.artifact import ArtifactWriter, open_artifact
from headwater.index.exact import exact_search
from headwater.index.params import IndexParams, check_search_options
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, MetricType, RowIds

__all__ = ["Flat"]


class Flat:
    """No structure.

    Args:
        kind: `flat` or `bin_flat`.
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
        """Write the row count; there is nothing else to build."""
        with ArtifactWriter(path, self._kind) as writer:
            writer.finish({"num_rows": len(vectors)})
        if progress is not None:
            progress(1.0)

    def open(self, source: Residency, params: IndexParams) -> FlatIndex:
        """See `IndexKind.open`."""
        artifact = open_artifact(source, self._kind)
        return FlatIndex(int(artifact.properties["num_rows"]), self._kind, params.metric)


class FlatIndex:
    """An opened flat index."""

    def __init__(self, num_rows: int, kind: str, metric: MetricType) -> None:
        self.num_rows = num_rows
        self._kind = kind
        self._metric = metric

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """The k nearest rows of each query, exactly."""
        check_search_options(self._kind, options)
        trace.note(strategy="exact")
        return exact_search(vectors, queries, k, self._metric, allowed=allowed)
