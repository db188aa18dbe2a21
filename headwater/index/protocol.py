"""What an index kind does: build one file over a segment's vectors, open it, search it.

Invariants: an index never changes an answer beyond its recall. The distances it returns are exact, rows outside
`allowed` never appear, and at least min(k, allowed rows) rows are found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy.typing as npt

from headwater.formats import Vectors
from headwater.index.candidates import Candidates
from headwater.index.params import IndexParams
from headwater.tiers import Residency
from headwater.types import Bitmap, FloatMatrix, RowIds

__all__ = [
    "Index",
    "IndexKind",
    "SupportsCandidates",
    "SupportsEffort",
    "SupportsFilterAhead",
    "SupportsGlance",
    "SupportsOrder",
    "SupportsWarmUp",
    "supports_effort",
]


class Index(Protocol):
    """An opened artifact. Safe to search from several threads.

    An index whose memory is not all in arrays that it refers to, because native code holds it, says how much it
    holds by an attribute `held_bytes`, which may change (`index.held_bytes`).
    """

    num_rows: int

    def search(
        self,
        queries: npt.NDArray[Any],
        k: int,
        *,
        allowed: Bitmap | None = None,
        vectors: Vectors,
        options: Mapping[str, Any],
    ) -> tuple[FloatMatrix, RowIds]:
        """The k nearest rows of each query.

        Args:
            queries: (q, dim) float32, or packed uint8 for binary.
            k: how many.
            allowed: (num_rows,) rows to consider; None for all.
            vectors: (num_rows, width) the segment's vectors as stored, for refinement.
            options: search parameters of the kind.

        Returns:
            (q, k) distances and positions, best first, -1 where there are no more.

        Raises:
            UnsupportedOption: the kind has no such search parameter.
            InvalidArgument: its value does not fit.
        """
        ...


@runtime_checkable
class SupportsWarmUp(Protocol):
    """An index of which some is done when a search first asks for it."""

    def warm_up(self) -> None:
        """Do it now, of what is in memory or mapped.

        Raises:
            Corrupt: some of it is altered.
        """
        ...


@runtime_checkable
class SupportsFilterAhead(Protocol):
    """An index that reads something only for searches with a filter, whatever the filter selects."""

    def prepare_filter(self) -> None:
        """Read it, while the filter is evaluated."""
        ...

    def bring_near(self, queries: npt.NDArray[Any], options: Mapping[str, Any]) -> None:
        """Read what a search of these queries is likely to want inside a filter, before it is known what that selects.

        Args:
            queries: as `search` takes them.
            options: as `search` takes them.
        """
        ...


@runtime_checkable
class SupportsEffort(Protocol):
    """An index that works out once how searches go that the same rows may be found by."""

    def effort(
        self, k: int, vectors: Vectors, options: Mapping[str, Any], allowed: Bitmap | None = None
    ) -> Any | None:
        """What `nearest` goes by; small, and good for every opening of the same file.

        Args:
            k: how many rows each query finds.
            vectors: the segment's.
            options: search parameters of the kind.
            allowed: rows to consider; None for all.

        Returns:
            None where `search` has to plan such a search each time.
        """
        ...

    def nearest(
        self,
        queries: npt.NDArray[Any],
        vectors: npt.NDArray[Any],
        effort: Any,
        allowed: Bitmap | None = None,
    ) -> tuple[FloatMatrix, RowIds] | None:
        """`search` of queries in one C-contiguous float32 array, inside the bitmap that the effort was worked out for.

        None where `search` has to do it.
        """
        ...


@runtime_checkable
class SupportsGlance(Index, Protocol):
    """An index that can be searched with little effort, for candidates of which some may be missing."""

    def glance(self, reach: int, k: int) -> tuple[Mapping[str, Any], int]:
        """Options of a search that looks near each query only, and how many rows a query looks at.

        Args:
            reach: 0 for the least effort; each number more is twice as much.
            k: rows wanted of each query.
        """
        ...


def supports_effort(index: object) -> TypeGuard[SupportsEffort]:
    """Whether an index is a `SupportsEffort`; `isinstance` takes 10 us to tell, a tenth of a search."""
    return hasattr(index, "nearest")


@runtime_checkable
class SupportsCandidates(Protocol):
    """An index that can name rows by their estimated distances, and leave comparing them to the caller."""

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
        """Rows that may be the k nearest of each query, at least k where so many are allowed.

        Args:
            queries: see `Index.search`, as all but the last.
            k: how many.
            allowed: rows to consider.
            vectors: of the segment.
            options: search parameters of the kind.
            segments: searched together, which share the vectors that are read.

        Returns:
            None where a search compares every row, or knows no bound of its estimates.
        """
        ...

    def compare(self, queries: npt.NDArray[Any], rows: RowIds, vectors: Vectors) -> FloatMatrix:
        """(q, c) exact values of the metric between each query and its rows."""
        ...


class IndexKind(Protocol):
    """Builds and opens artifacts of one kind."""

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
        """Write one file at `path`.

        Args:
            vectors: (n, width) as stored; n > 0.
            params: checked by `parse_params`.
            path: a local path that does not exist yet.
            present: (n,) rows that have a vector; None for all. Searches never allow the others.
            progress: called with the share done, 0 to 1.
            threads: cores to use.
        """
        ...

    def open(self, source: Residency, params: IndexParams) -> Index:
        """Open an artifact.

        Raises:
            Corrupt: it is torn or of another kind; names the file.
        """
        ...


@runtime_checkable
class SupportsOrder(Protocol):
    """A kind by which rows can be ordered, so that those which one search refines lie near each other."""

    def build_ordered(
        self,
        vectors: Vectors,
        params: IndexParams,
        path: Path,
        *,
        present: Bitmap | None = None,
        threads: int | None = None,
    ) -> RowIds:
        """`IndexKind.build` for a segment that is still to be written, from its rows in any order.

        Returns:
            (n,) the rows in the order in which the segment has to have them.
        """
        ...
