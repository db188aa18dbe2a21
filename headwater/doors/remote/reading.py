"""Searches and queries of a server's collection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.remote.asked import Reading, hybrid_request, query_request, search_request
from headwater.doors.remote.core import RemoteCore
from headwater.doors.remote.decoded import asked_names, hits_of, rows_of
from headwater.doors.remote.iterators import RemoteQueryIterator, RemoteSearchIterator
from headwater.doors.remote.raised import unsupported
from headwater.engine.rows import key_array
from headwater.errors import InvalidArgument
from headwater.extras import load_extra
from headwater.query import QueryResult, SearchResult

__all__ = ["RemoteReads"]

_KEYS_AT_ONCE = 10_000
_AGGREGATES = ("count(", "sum(", "avg(", "min(", "max(")


class RemoteReads(RemoteCore):
    """What may be asked of a server's collection."""

    @property
    def num_rows(self) -> int:
        """Rows, deleted ones excluded."""
        return self.count()

    def search(self, data: Any = None, **request: Any) -> SearchResult:
        """See `Collection.search`; `highlighter`, `search_aggregation` and `function_chains` are refused."""
        started = time.perf_counter()
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        asked = search_request(self.name, self._schema, data, reading, {**request, "output_fields": names})
        return hits_of(self._call("Search", asked).results, self._schema, names, started)

    def hybrid_search(self, reqs: Any, ranker: Any = None, **request: Any) -> SearchResult:
        """See `Collection.hybrid_search`; a reranker beside RRF and weights is declared as `RerankFunction`."""
        started = time.perf_counter()
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        asked = hybrid_request(
            self.name, self._schema, reqs, ranker, reading, {**request, "output_fields": names}
        )
        return hits_of(self._call("HybridSearch", asked).results, self._schema, names, started)

    def query(
        self,
        filter: str | None = None,
        *,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        limit: int | None = None,
        **words: Any,
    ) -> QueryResult:
        """See `Collection.query`: `order_by`, `offset` and `group_by_fields`; what every read takes."""
        started = time.perf_counter()
        reading = self._reading(words)
        known = {"order_by", "offset", "group_by_fields"}
        for name in words:
            if name not in known:
                raise TypeError(f"query() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        grouped = bool(words.get("group_by_fields")) or any(
            name.replace(" ", "").lower().startswith(_AGGREGATES) for name in names
        )
        given = {name: value for name, value in words.items() if value}
        if limit is None and not grouped:
            if given:
                raise InvalidArgument(
                    f"{' and '.join(given)} of a query to a server needs a limit", hint="pass limit= too"
                )
            batches = self._batches(filter, filter_params, names, reading, None)
            return self._whole(list(batches), names, started)
        if limit is None and "group_by_fields" in given and "order_by" in given:
            limit = 16_384
        if limit is not None:
            given["limit"] = limit
        if not filter and limit == 0:
            return self._whole([], names, started)
        asked = query_request(self.name, filter, reading, names, filter_params, **given)
        return rows_of(self._call("Query", asked), self._schema, names, started)

    def query_iterator(
        self,
        filter: str | None = None,
        *,
        batch_size: int = 1000,
        limit: int | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
        **words: Any,
    ) -> RemoteQueryIterator:
        """See `Collection.query_iterator`; an iterator cannot be taken up by a token."""
        if words.pop("token", None) is not None:
            raise unsupported("an iterator by its token")
        reading = self._reading(words)
        for name in words:
            raise TypeError(f"query_iterator() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        return self._batches(filter, filter_params, names, reading, limit, batch_size)

    def search_iterator(
        self, data: Any, *, batch_size: int = 1000, limit: int | None = None, **request: Any
    ) -> RemoteSearchIterator:
        """See `Collection.search_iterator`; an iterator cannot be taken up by a token."""
        if request.pop("token", None) is not None:
            raise unsupported("an iterator by its token")
        reading = self._reading(request)
        names = asked_names(self._schema, request.pop("output_fields", None), ())
        sizes = (batch_size, limit)
        return RemoteSearchIterator(
            self._call, self.name, self._schema, data, reading, names=names, request=request, sizes=sizes
        )

    def get(self, ids: Any, *, output_fields: Sequence[str] | None = None, **reading: Any) -> QueryResult:
        """Rows by primary key, in the order of `ids`; absent keys are left out."""
        started = time.perf_counter()
        read = self._reading(reading)
        for name in reading:
            raise TypeError(f"get() got an unexpected keyword argument {name!r}")
        names = asked_names(self._schema, output_fields, self._schema.readable_names)
        key = self._key()
        keys = key_array(ids, self._schema).to_pylist()
        parts = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = keys[start : start + _KEYS_AT_ONCE]
            asked = query_request(
                self.name, f"{key} in {{keys}}", read, [*names, key], {"keys": some}, limit=len(set(some))
            )
            answer = self._call("Query", asked)
            found = rows_of(answer, self._schema, [key], started).to_arrow().column(0).to_pylist()
            places = {value: place for place, value in enumerate(found)}
            order = [places[one] for one in some if one in places]
            part = rows_of(answer, self._schema, names, started)
            parts.append(
                QueryResult(part.to_arrow().take(pa.array(order, pa.int64())), part.info, part.json_fields)
            )
        return self._whole(parts, names, started)

    def count(
        self, filter: str | None = None, *, filter_params: Mapping[str, Any] | None = None, **reading: Any
    ) -> int:
        """Number of rows that a filter selects."""
        counted = self.query(filter, filter_params=filter_params, output_fields=["count(*)"], **reading)
        return int(counted[0]["count(*)"])

    def scan(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Iterator[pa.RecordBatch]:
        """Stream record batches, by primary key; what is written meanwhile is not in them."""
        for batch in self.query_iterator(filter, output_fields=columns, batch_size=8192, **reading):
            yield from batch.to_arrow().to_batches()

    def to_arrow(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> pa.Table:
        """Rows as an Arrow table, by primary key."""
        return self.query(filter, output_fields=columns, **reading).to_arrow()

    def to_pandas(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Any:
        """Rows as a pandas DataFrame; needs the `pandas` extra."""
        load_extra("pandas", "pandas", need="to_pandas()")
        return self.to_arrow(columns, filter, **reading).to_pandas()

    def to_polars(
        self, columns: Sequence[str] | None = None, filter: str | None = None, **reading: Any
    ) -> Any:
        """Rows as a Polars DataFrame; needs the `polars` extra."""
        return load_extra("polars", "polars", need="to_polars()").from_arrow(
            self.to_arrow(columns, filter, **reading)
        )

    def _batches(
        self,
        filter: str | None,
        filter_params: Mapping[str, Any] | None,
        names: Sequence[str],
        reading: Reading,
        limit: int | None,
        batch_size: int = 8192,
    ) -> RemoteQueryIterator:
        self._key()
        return RemoteQueryIterator(
            self._call,
            self.name,
            self._schema,
            reading,
            names,
            filter=(filter, filter_params),
            batch_size=batch_size,
            limit=limit,
        )

    def _whole(self, parts: Sequence[QueryResult], names: Sequence[str], started: float) -> QueryResult:
        """One result of several."""
        nothing = rows_of(milvus_pb2.QueryResults(), self._schema, names, started)
        if not parts:
            return nothing
        joined = pa.concat_tables([one.to_arrow() for one in parts], promote_options="permissive")
        return QueryResult(joined, nothing.info, frozenset().union(*(one.json_fields for one in parts)))
