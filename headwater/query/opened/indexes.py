"""Index builds as they are open, and the inverted indexes that are made in memory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from headwater import index as index_kinds
from headwater import trace
from headwater.index import SCALAR_KINDS, Index, IndexParams, ScalarIndex, ScalarParams
from headwater.index.text import Postings, open_postings
from headwater.lake import IndexBuild, IndexSpec, Segment
from headwater.query.max_sim import single_metric
from headwater.query.open_files import OpenFiles
from headwater.query.opened.keys import column_key, kept
from headwater.query.opened.views import MOST_OPEN, Views
from headwater.query.placed import Placed, placed_bytes, postings_bytes
from headwater.schema import Field
from headwater.tiers import MemoryView, Place, Policies, TierPolicy
from headwater.types import MetricType

__all__ = ["OpenedIndexes", "index_params"]

V = TypeVar("V")
_Kept = MemoryView[tuple[Any, ...], Placed[V]]


def index_params(spec: IndexSpec, share: float = 1.0) -> IndexParams:
    """The index room's parameters of an index named in a manifest, over a share of the collection's rows."""
    return IndexParams(spec.kind, single_metric(MetricType(spec.metric)), tuple(spec.options), share)


class OpenedIndexes:
    """The opened index builds of one collection.

    Args:
        open_files: files as they are open.
        views: where they are kept.
    """

    def __init__(self, open_files: OpenFiles, views: Views) -> None:
        self._open_files = open_files
        self._vectors: _Kept[Index] = views.new("vector_indexes", placed_bytes, most=MOST_OPEN)
        self._scalars: _Kept[ScalarIndex] = views.new("scalar_indexes", placed_bytes, most=MOST_OPEN)
        self._postings: _Kept[Postings] = views.new("postings", postings_bytes)

    def vector(self, build: IndexBuild, spec: IndexSpec) -> Index:
        """The opened build of a vector index."""

        def open_index() -> Placed[Index]:
            params = index_params(spec)
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self._open_files.build(build, "index")
                return Placed(index_kinds.get(params.kind).open(residency, params), residency)

        return self._vectors.get_or(self._key(build), open_index).value

    def scalar(self, build: IndexBuild, spec: IndexSpec) -> ScalarIndex:
        """The opened build of a scalar index."""

        def open_index() -> Placed[ScalarIndex]:
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self._open_files.build(build)
                params = ScalarParams(spec.kind, spec.options)
                return Placed(SCALAR_KINDS[spec.kind].open(residency, params), residency)

        return self._scalars.get_or(self._key(build), open_index).value

    def postings(self, build: IndexBuild, spec: IndexSpec) -> Postings:
        """The opened build of an inverted index."""

        def open_index() -> Placed[Postings]:
            with trace.step("open index", index=spec.name, size_bytes=build.file.size_bytes):
                residency = self._open_files.build(build)
                return Placed(open_postings(residency), residency)

        return self._postings.get_or(("index", *self._key(build)), open_index).value

    def inverted(self, segment: Segment, field: Field, make: Callable[[], Postings]) -> Postings:
        """The inverted index in memory of one field of a segment; kept hot within the budget."""
        key = ("inverted", *column_key(segment, field))
        return kept(self._postings, segment, key, lambda: Placed(make(), None)).value

    def here(self, build: IndexBuild) -> bool:
        """Whether a vector index is open, and a search of it asks the store nothing."""
        placed = self._vectors.get(self._key(build))
        return placed is not None and (placed.residency is None or placed.residency.tier != "cold")

    def place(self, build: IndexBuild) -> Place | None:
        """Where an open vector index is; None where it is not."""
        return self._vectors.place(self._key(build))

    def use_policies(self, policies: Policies) -> None:
        """Close what is open elsewhere than these say."""
        self._vectors.discard(lambda key: key[-1] is not policies.of_index(key[1]))
        self._scalars.discard(lambda key: key[-1] is not policies.of_index(key[1]))
        self._postings.discard(lambda key: key[0] == "index" and key[-1] is not policies.of_index(key[2]))

    def moved(self, keys: Collection[str]) -> None:
        """Open these files again when they are used next."""
        self._vectors.discard(lambda key: key[0] in keys)
        self._scalars.discard(lambda key: key[0] in keys)
        self._postings.discard(lambda key: key[0] == "index" and key[1] in keys)

    def _key(self, build: IndexBuild) -> tuple[str, str, TierPolicy]:
        return build.file.key, build.index, self._open_files.policies.of_index(build.index)
