"""Iterators over the hits of a search and the rows of a query: batches of one pinned state, whatever is written."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
import zlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from headwater.engine.searching import SnapshotSearcher
from headwater.errors import InvalidArgument
from headwater.query import QueryResult, SearchResult, Snapshot
from headwater.query.elements import meant_elements
from headwater.query.fetch import fetch_table, json_names, resolve_output_fields
from headwater.query.iterate import QueryCursor, SearchCursor
from headwater.query.results import Hit
from headwater.query.search import finish
from headwater.query.search_plan import MAX_TOP_K, SearchPlan
from headwater.types import Bitmap

__all__ = ["Iterating", "QueryIterator", "SearchIterator", "token_version"]

Batch = TypeVar("Batch", bound=Sequence[Any])
_FORMAT = 1


class _BatchIterator(Iterator[Batch], Generic[Batch]):
    """Batches until there are no more; a context manager that closes itself."""

    def __init__(
        self, snapshot: Snapshot, batch_size: int, limit: int | None, asked: str, taken: int
    ) -> None:
        self._snapshot: Snapshot | None = snapshot
        self._batch_size = batch_size
        self._limit = limit
        self._asked = asked
        self._taken = taken

    @abstractmethod
    def _batch(self, snapshot: Snapshot, count: int) -> Batch: ...

    @abstractmethod
    def _state(self) -> dict[str, Any]: ...

    @property
    def version(self) -> int:
        """The version that is read."""
        return self._open().manifest.version

    def next(self) -> Batch:
        """The next batch; an empty one at the end, as in Milvus.

        Raises:
            InvalidArgument: the iterator is closed.
        """
        batch = self._batch(self._open(), self._left())
        self._taken += len(batch)
        return batch

    def token(self) -> str:
        """A text by which another process goes on after the batches that were handed out here.

        It works with the same arguments, for as long as the version is kept.

        Raises:
            InvalidArgument: the iterator is closed, or reads rows that are in the log and in no version yet.
        """
        snapshot = self._open()
        if snapshot.pinned.num_entries:
            raise InvalidArgument(
                f"this iterator reads rows that are in no version yet, after version {snapshot.manifest.version}",
                hint="make it with version=collection.flush()",
            )
        state = {
            "format": _FORMAT,
            "version": snapshot.manifest.version,
            "now_s": snapshot.now_s,
            "asked": self._asked,
            "taken": self._taken,
            **self._state(),
        }
        return base64.urlsafe_b64encode(zlib.compress(json.dumps(state).encode())).decode()

    def close(self) -> None:
        """Let the pinned state go; may be called again."""
        self._snapshot = None

    def _left(self) -> int:
        """Rows of the next batch."""
        return self._batch_size if self._limit is None else min(self._batch_size, self._limit - self._taken)

    def _open(self) -> Snapshot:
        if self._snapshot is None:
            raise InvalidArgument("the iterator is closed")
        return self._snapshot

    def __next__(self) -> Batch:
        batch = self.next()
        if not len(batch):
            raise StopIteration
        return batch

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SearchIterator(_BatchIterator[list[Hit]]):
    """The hits of one query, best first, in batches: lists of ``{"id", "distance", "entity"}``.

    No hit comes twice and none is left out. Where an index is searched, a row that it missed at first comes in a later
    batch, behind worse ones. Use it from one thread at a time.
    """

    _cursor: SearchCursor
    _plan: SearchPlan

    def next_result(self) -> SearchResult:
        """The next batch as a result of one query, for callers that want Arrow."""
        result = self._result(self._open(), self._left())
        self._taken += result.counts[0]
        return result

    def _batch(self, snapshot: Snapshot, count: int) -> list[Hit]:
        return self._result(snapshot, count)[0]

    def _result(self, snapshot: Snapshot, count: int) -> SearchResult:
        started = time.perf_counter()
        return finish(snapshot, self._plan, self._cursor.take(count), started=started)

    def _state(self) -> dict[str, Any]:
        return {
            "seen": {
                name: [len(bitmap), base64.b64encode(np.packbits(bitmap).tobytes()).decode()]
                for name, bitmap in self._cursor.seen().items()
            }
        }


class QueryIterator(_BatchIterator[QueryResult]):
    """The rows that a filter selects, ordered by primary key (or row id), in batches."""

    _cursor: QueryCursor
    _fields: tuple[str, ...]

    def _batch(self, snapshot: Snapshot, count: int) -> QueryResult:
        started = time.perf_counter()
        rows = self._cursor.take(count)
        table = fetch_table(snapshot, *rows, self._fields)
        elements = meant_elements(snapshot, *rows, self._cursor.bound)
        parsed = json_names(snapshot.schema, self._fields)
        return QueryResult(table, snapshot.info(started=started), parsed, element_indices=elements)

    def _state(self) -> dict[str, Any]:
        return {}


class Iterating(SnapshotSearcher):
    """Iterators over one pinned state."""

    def search_iterator(
        self,
        data: Any,
        *,
        batch_size: int = 1000,
        limit: int | None = None,
        token: str | None = None,
        output_fields: Sequence[str] | None = None,
        **request: Any,
    ) -> SearchIterator:
        """The hits of one query in batches, however many there are.

        Args:
            data: one query.
            batch_size: hits of a batch, 1 to 16,384.
            limit: hits in all; every row by default.
            token: of an iterator with the same arguments; goes on where that one was.
            output_fields: fields of each hit's entity.
            **request: `anns_field`, `filter`, `filter_params` and `params`, as for `search`.

        Raises:
            InvalidArgument: there is not one query, or the token is of other arguments.
        """
        _check_sizes(batch_size, limit)
        known = ("anns_field", "filter", "filter_params", "params")
        for name in request:
            if name not in known:
                raise TypeError(f"search_iterator() got an unexpected keyword argument {name!r}")
        named = {name: request.get(name) for name in known}
        plan = self._planned(
            named["anns_field"],
            batch_size,
            named["filter"],
            named["filter_params"],
            output_fields,
            named["params"],
        )
        query = self._queries(data, None, plan)
        if len(query) != 1:
            raise InvalidArgument(f"search_iterator takes one query, got {len(query)}")
        asked = _digest(self._snapshot, "search", named, plan.field.id, query)
        state = _decoded(token, asked)
        snapshot = _fixed(self._snapshot, state)
        iterator = SearchIterator(snapshot, batch_size, limit, asked, state.get("taken", 0))
        iterator._plan = plan
        iterator._cursor = SearchCursor(snapshot, plan, query, _bitmaps(state.get("seen", {})))
        return iterator

    def query_iterator(
        self,
        filter: str | None = None,
        *,
        batch_size: int = 1000,
        limit: int | None = None,
        token: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        output_fields: Sequence[str] | None = None,
    ) -> QueryIterator:
        """The rows that a filter selects in batches, ordered by primary key (or row id).

        Args:
            filter: boolean expression; None for every row.
            batch_size: rows of a batch, 1 to 16,384.
            limit: rows in all; every row by default.
            token: of an iterator with the same arguments; goes on where that one was.
            filter_params: values for ``{name}`` templates.
            output_fields: fields to return; all of them by default.

        Raises:
            InvalidArgument: a number is out of range, or the token is of other arguments.
        """
        _check_sizes(batch_size, limit)
        names = resolve_output_fields(self.schema, output_fields, self.schema.readable_names)
        asked = _digest(self._snapshot, "query", {"filter": filter, "filter_params": filter_params}, 0, None)
        state = _decoded(token, asked)
        snapshot = _fixed(self._snapshot, state)
        taken = state.get("taken", 0)
        iterator = QueryIterator(snapshot, batch_size, limit, asked, taken)
        iterator._fields = tuple(names)
        iterator._cursor = QueryCursor(snapshot, snapshot.bind(filter, filter_params), taken)
        return iterator


def token_version(token: str) -> int:
    """The version that a token's iterator reads.

    Raises:
        InvalidArgument: it is no token.
    """
    return int(_parsed(token)["version"])


def _check_sizes(batch_size: int, limit: int | None) -> None:
    whole = isinstance(batch_size, int) and not isinstance(batch_size, bool)
    if not whole or not 1 <= batch_size <= MAX_TOP_K:
        raise InvalidArgument(f"batch_size must be an integer from 1 to {MAX_TOP_K}, got {batch_size!r}")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
        raise InvalidArgument(f"limit must be a whole number or None, got {limit!r}")


def _digest(snapshot: Snapshot, kind: str, named: Mapping[str, Any], field_id: int, query: Any) -> str:
    """What a token's iterator was asked for, so that it is not taken for another."""
    partitions = None if snapshot.partitions is None else sorted(snapshot.partitions)
    text = json.dumps(
        [kind, snapshot.manifest.version, field_id, partitions, named], sort_keys=True, default=repr
    )
    several = query if isinstance(query, list) else [query]
    raw = b"".join(one.tobytes() if isinstance(one, np.ndarray) else repr(one).encode() for one in several)
    return hashlib.blake2b(text.encode() + raw, digest_size=12).hexdigest()


def _parsed(token: str) -> dict[str, Any]:
    try:
        state = json.loads(zlib.decompress(base64.urlsafe_b64decode(token)))
        if state["format"] == _FORMAT and isinstance(state["version"], int):
            return dict(state)
    except (binascii.Error, zlib.error, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument("the token of an iterator is cut short or something else") from error
    raise InvalidArgument(f"the token of an iterator has another format than {_FORMAT}")


def _decoded(token: str | None, asked: str) -> dict[str, Any]:
    if token is None:
        return {}
    state = _parsed(token)
    if state["asked"] != asked:
        raise InvalidArgument(
            f"the token is of an iterator with other arguments, over version {state['version']}",
            hint="pass the same query, filter, field, parameters and partitions",
        )
    return state


def _fixed(snapshot: Snapshot, state: Mapping[str, Any]) -> Snapshot:
    """The snapshot with the moment that times to live are measured at held still."""
    held = replace(snapshot)
    held.__dict__["now_s"] = state.get("now_s", snapshot.now_s)
    return held


def _bitmaps(seen: Mapping[str, Any]) -> dict[str, Bitmap]:
    return {
        name: np.unpackbits(np.frombuffer(base64.b64decode(packed), np.uint8), count=count).astype(np.bool_)
        for name, (count, packed) in seen.items()
    }
