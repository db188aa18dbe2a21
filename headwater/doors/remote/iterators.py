"""Answers in batches; the server holds still what the first one saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from headwater.doors.remote.asked import Reading, query_request, search_request
from headwater.doors.remote.decoded import hits_of, rows_of
from headwater.errors import InvalidArgument
from headwater.query import QueryResult, SearchResult
from headwater.query.results import Hit
from headwater.schema import Schema
from headwater.types import DataType

__all__ = ["RemoteQueryIterator", "RemoteSearchIterator", "check_sizes"]

_MOST = 16_384

Send = Callable[[str, Any], Any]
"""Makes a call about the collection."""


def check_sizes(batch_size: Any, limit: Any) -> None:
    """Refuse sizes out of range.

    Raises:
        InvalidArgument: a number is out of range.
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or not 1 <= batch_size <= _MOST:
        raise InvalidArgument(f"batch_size must be an integer from 1 to {_MOST}, got {batch_size!r}")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise InvalidArgument(f"limit must be a whole number or None, got {limit!r}")


class RemoteQueryIterator(Iterator[QueryResult]):
    """The rows that a filter selects, ordered by primary key, in batches.

    Args:
        send: makes the calls.
        name: the collection.
        schema: its schema.
        filter: which rows.
        filter_params: values for templates in it.
        names: columns.
        reading: what every read may say.
        batch_size: rows of a batch.
        limit: rows in all.
    """

    def __init__(
        self,
        send: Send,
        name: str,
        schema: Schema,
        reading: Reading,
        names: Sequence[str],
        *,
        filter: tuple[str | None, Mapping[str, Any] | None],
        batch_size: int,
        limit: int | None,
    ) -> None:
        check_sizes(batch_size, limit)
        self._send = send
        self._name, self._schema, self._names = name, schema, list(names)
        self._filter, self._params = filter
        self._reading, self._batch_size, self._left = reading, batch_size, limit
        self._last: Any = None
        self._done = False

    def __next__(self) -> QueryResult:
        if self._done or self._left == 0:
            raise StopIteration
        started = time.perf_counter()
        count = self._batch_size if self._left is None else min(self._batch_size, self._left)
        key = self._schema.primary_key or ""
        request = query_request(
            self._name,
            self._bounded(key),
            self._reading,
            list(dict.fromkeys([*self._names, key])),
            self._params,
            limit=count,
            iterator="True",
            reduce_stop_for_best=True,
        )
        answer: milvus_pb2.QueryResults = self._send("Query", request)
        if answer.session_ts:
            self._reading.timestamp = answer.session_ts
        result = rows_of(answer, self._schema, self._names, started)
        if not len(result):
            self._done = True
            raise StopIteration
        keys = rows_of(answer, self._schema, [key], started).to_arrow().column(0)
        self._last = keys[-1].as_py()
        self._done = len(result) < count
        if self._left is not None:
            self._left -= len(result)
        return result

    def _bounded(self, key: str) -> str | None:
        """The filter, of the rows after the last one."""
        if self._last is None:
            kind = self._schema.field(key).type.data_type
            everything = f'{key} >= ""' if kind is DataType.VARCHAR else f"{key} >= {-(1 << 63)}"
            return self._filter or everything
        bound = f"{key} > {_literal(self._last)}"
        return f"({self._filter}) and {bound}" if self._filter else bound


class RemoteSearchIterator(Iterator[list[Hit]]):
    """The hits of one query in batches, best first.

    Args:
        send: makes the calls.
        name: the collection.
        schema: its schema.
        data: the query.
        reading: what every read may say.
        names: output fields.
        request: as of a search.
        batch_size: hits of a batch.
        limit: hits in all.
    """

    def __init__(
        self,
        send: Send,
        name: str,
        schema: Schema,
        data: Any,
        reading: Reading,
        *,
        names: Sequence[str],
        request: Mapping[str, Any],
        sizes: tuple[int, int | None],
    ) -> None:
        self._batch_size, self._left = sizes
        check_sizes(*sizes)
        self._send = send
        self._name, self._schema, self._data, self._names = name, schema, data, list(names)
        self._reading, self._request = reading, dict(request)
        self._token, self._bound = "", None
        self._done = False

    def __next__(self) -> list[Hit]:
        if self._done or self._left == 0:
            raise StopIteration
        result = self.next_result()
        if not len(result.distances):
            raise StopIteration
        return result[0]

    def next_result(self) -> SearchResult:
        """The next batch as a result of one query, for callers that want Arrow."""
        started = time.perf_counter()
        # The server makes batches of the size that the first step asked for.
        count = self._batch_size
        asked = search_request(
            self._name,
            self._schema,
            self._data,
            self._reading,
            {**self._request, "top_k": count, "output_fields": self._names},
        )
        if asked.nq != 1:
            raise InvalidArgument(f"search_iterator takes one query, got {asked.nq}")
        words = {"iterator": "True", "search_iter_v2": "True", "search_iter_batch_size": str(count)}
        if self._token:
            words |= {"search_iter_id": self._token, "search_iter_last_bound": str(self._bound)}
        for key, value in words.items():
            asked.search_params.add(key=key, value=value)
        answer: milvus_pb2.SearchResults = self._send("Search", asked)
        step = answer.results.search_iterator_v2_results
        self._token, self._bound = step.token, step.last_bound
        if answer.session_ts:
            self._reading.timestamp = answer.session_ts
        result = hits_of(answer.results, self._schema, self._names, started, self._left)
        found = len(result.distances)
        self._done = not found
        if self._left is not None:
            self._left -= found
        return result


def _literal(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)
