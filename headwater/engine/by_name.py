"""What is done to a collection by its name: one call on the handle that the database holds of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from headwater.engine.collection import Collection
from headwater.engine.writing import WriteResult
from headwater.jobs import BuildReport, Progress
from headwater.lake.external import RefreshReport
from headwater.query import QueryResult, SearchResult
from headwater.tiers import TierPolicy

if TYPE_CHECKING:
    from headwater.query.cost import CostReport

__all__ = ["CollectionsByName"]


class CollectionsByName(ABC):
    """The methods of collections, for whoever has a name and no handle."""

    @abstractmethod
    def held(self, name: str) -> Collection:
        """A collection by name or alias, as it is known here."""

    def create_index(
        self, name: str, field: str, index_type: str = "AUTOINDEX", **options: Any
    ) -> BuildReport:
        """`Collection.create_index` on a named collection."""
        return self.held(name).create_index(field, index_type, **options)

    def search(self, name: str, data: Any = None, **request: Any) -> SearchResult:
        """`Collection.search` on a named collection."""
        return self.held(name).search(data, **request)

    def hybrid_search(self, name: str, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """`Collection.hybrid_search` on a named collection."""
        return self.held(name).hybrid_search(reqs, ranker, **request)

    def query(self, name: str, filter: str | None = None, **request: Any) -> QueryResult:
        """`Collection.query` on a named collection."""
        return self.held(name).query(filter, **request)

    def get(self, name: str, ids: Any, **request: Any) -> QueryResult:
        """`Collection.get` on a named collection."""
        return self.held(name).get(ids, **request)

    def count(self, name: str, filter: str | None = None, **request: Any) -> int:
        """`Collection.count` on a named collection."""
        return self.held(name).count(filter, **request)

    def insert(self, name: str, data: Any, **how: Any) -> WriteResult:
        """`Collection.insert` on a named collection."""
        return self.held(name).insert(data, **how)

    def upsert(self, name: str, data: Any, **how: Any) -> WriteResult:
        """`Collection.upsert` on a named collection."""
        return self.held(name).upsert(data, **how)

    def delete(self, name: str, ids: Any = None, **how: Any) -> WriteResult:
        """`Collection.delete` on a named collection."""
        return self.held(name).delete(ids, **how)

    def flush(self, name: str) -> int:
        """`Collection.flush` on a named collection."""
        return self.held(name).flush()

    def refresh(self, name: str, *, progress: Progress | None = None) -> RefreshReport:
        """`Collection.refresh` on a named collection."""
        return self.held(name).refresh(progress=progress)

    def build_indexes(self, name: str, progress: Progress | None = None) -> list[BuildReport]:
        """`Collection.build_indexes` on a named collection."""
        return self.held(name).build_indexes(progress)

    def set_tier(self, name: str, policy: str | TierPolicy | None, **place: str) -> None:
        """`Collection.set_tier` on a named collection."""
        self.held(name).set_tier(policy, **place)

    def cost(self, name: str, **how: Any) -> CostReport:
        """`Collection.cost` of a named collection."""
        return self.held(name).cost(**how)
