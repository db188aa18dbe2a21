"""What a user holds of computing on demand: the reads of a database, each answered by a worker that then leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from headwater.engine.on_demand.calls import Call, bounded
from headwater.engine.on_demand.on_ray import RayWorkers
from headwater.engine.on_demand.places import Bounds, Origin
from headwater.engine.on_demand.processes import Processes
from headwater.errors import InvalidArgument
from headwater.query import QueryResult, SearchResult
from headwater.schema import Schema

__all__ = ["Executor", "OnDemand", "OnDemandCollection"]


class Executor(Protocol):
    """Where calls are answered."""

    def run(self, call: Call) -> Any:
        """Answer a call as the call itself answers."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...


def executor_of(name: str, bounds: Bounds, max_workers: int | None) -> Executor:
    """An executor by its name.

    Raises:
        InvalidArgument: there is none of that name.
        MissingExtra: it needs an extra.
    """
    number = max_workers if max_workers is not None else max(1, os.cpu_count() or 1)
    if number < 1:
        raise InvalidArgument(f"max_workers={number}: expected at least 1")
    if name == "subprocess":
        return Processes(bounds, number)
    if name == "ray":
        return RayWorkers(bounds, number)
    raise InvalidArgument(f"executor {name!r}: expected 'subprocess' or 'ray'")


class OnDemand:
    """The reads of a database, computed on demand: each call starts a worker, which answers and leaves.

    Nothing is kept on disk or in memory between calls, nothing is written to the lake, and what a call takes is
    bounded. Calls may come from several threads.

    Args:
        origin: the database.
        executor: where calls are answered.
        bounds: what each may take.
    """

    def __init__(self, origin: Origin, executor: Executor, bounds: Bounds) -> None:
        self._origin = bounded(origin.checked(), bounds.memory_bytes)
        self._executor = executor
        self.bounds = bounds

    def _run(self, collection: str | None, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._executor.run(Call(self._origin, collection, method, args, kwargs))

    def collection(self, name: str) -> OnDemandCollection:
        """The reads of one collection; nothing is asked until one of them is called."""
        return OnDemandCollection(self, name)

    def list_collections(self) -> list[str]:
        """See `Database.list_collections`."""
        found: list[str] = self._run(None, "list_collections")
        return found

    def has_collection(self, name: str) -> bool:
        """See `Database.has_collection`."""
        return bool(self._run(None, "has_collection", name))

    def search(self, name: str, data: Any = None, **request: Any) -> SearchResult:
        """See `Collection.search`."""
        return self.collection(name).search(data, **request)

    def hybrid_search(self, name: str, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """See `Collection.hybrid_search`."""
        return self.collection(name).hybrid_search(reqs, ranker, **request)

    def query(self, name: str, filter: str | None = None, **request: Any) -> QueryResult:
        """See `Collection.query`."""
        return self.collection(name).query(filter, **request)

    def get(self, name: str, ids: Any, **request: Any) -> QueryResult:
        """See `Collection.get`."""
        return self.collection(name).get(ids, **request)

    def count(self, name: str, filter: str | None = None, **request: Any) -> int:
        """See `Collection.count`."""
        return self.collection(name).count(filter, **request)

    def scan(
        self, name: str, columns: Sequence[str] | None = None, filter: str | None = None, **request: Any
    ) -> Iterator[pa.RecordBatch]:
        """See `Collection.scan`; the worker waits when batches are not taken."""
        return self.collection(name).scan(columns, filter, **request)

    def close(self) -> None:
        """End every worker at once; the handle answers no more."""
        self._executor.close()

    def __enter__(self) -> OnDemand:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<database {self._origin.database!r} at {self._origin.url}, on demand>"


class OnDemandCollection:
    """The reads of a collection, with the arguments of `Collection`'s.

    Args:
        owner: the database's handle.
        name: the collection, or an alias of one.
    """

    def __init__(self, owner: OnDemand, name: str) -> None:
        self.name = name
        self._owner = owner

    def _run(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return self._owner._run(self.name, method, *args, **kwargs)

    @property
    def schema(self) -> Schema:
        """See `Collection.schema`."""
        found: Schema = self._run("schema")
        return found

    @property
    def num_rows(self) -> int:
        """See `Collection.num_rows`."""
        return int(self._run("num_rows"))

    def search(self, data: Any = None, **request: Any) -> SearchResult:
        """See `Collection.search`."""
        found: SearchResult = self._run("search", data, **request)
        return found

    def hybrid_search(self, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """See `Collection.hybrid_search`."""
        found: SearchResult = self._run("hybrid_search", reqs, ranker, **request)
        return found

    def query(self, filter: str | None = None, **request: Any) -> QueryResult:
        """See `Collection.query`."""
        found: QueryResult = self._run("query", filter, **request)
        return found

    def get(self, ids: Any, **request: Any) -> QueryResult:
        """See `Collection.get`."""
        found: QueryResult = self._run("get", ids, **request)
        return found

    def count(self, filter: str | None = None, **request: Any) -> int:
        """See `Collection.count`."""
        return int(self._run("count", filter, **request))

    def scan(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **request: Any
    ) -> Iterator[pa.RecordBatch]:
        """See `Collection.scan`; the worker waits when batches are not taken, and leaves when the iterator does."""
        batches: Iterator[pa.RecordBatch] = self._run("scan", columns, filter, **request)
        return batches

    def to_arrow(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **request: Any
    ) -> pa.Table:
        """See `Collection.to_arrow`."""
        return self._run("to_arrow", columns, filter, **request)

    def describe(self) -> dict[str, Any]:
        """See `Collection.describe`."""
        found: dict[str, Any] = self._run("describe")
        return found

    def history(self) -> Any:
        """See `Collection.history`."""
        return self._run("history")

    def __repr__(self) -> str:
        return f"<collection {self.name!r} of {self._owner!r}>"
